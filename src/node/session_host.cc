#include "node/session_host.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace infinicache::node {

SessionHost::SessionHost(net::EventLoop& loop, InstanceId instance, Options options,
                         std::function<wire::NodeFill()> fill,
                         std::function<void(SessionId, wire::ByeTotals)> on_end)
    : instance_(instance),
      options_(options),
      fill_(std::move(fill)),
      on_end_(std::move(on_end)),
      lifetime_(options.lifetime),
      timer_(loop) {}

SessionHost::~SessionHost() = default;

void SessionHost::Open(SessionId session, policy::SessionLifetime::Opening opening) {
  CHECK(session != SessionId());
  const TimePoint now = net::EventLoop::Now();
  session_ = session;
  opened_ = now;
  opening_ = opening;
  announced_ = false;
  announce_pending_ = false;
  ponged_.reset();
  finished_ = 0;
  if (options_.standing) return;
  timer_.Cancel();
  armed_for_ = TimePoint::max();
  Arm(now + kAnnouncePatience);
}

void SessionHost::StartLifetime() {
  const TimePoint now = net::EventLoop::Now();
  lifetime_.Start(opened_, now, opening_);
  // What an earlier session was ended with is still under way.
  for (std::uint64_t i = 0; i < in_flight_; ++i) (void)lifetime_.OnRequestStarted(now);
  Arm(lifetime_.due());
}

void SessionHost::Announce() {
  if (!running() || announced_) return;
  announce_pending_ = control_ == nullptr && !options_.standing;
  if (announce_pending_) return;
  announced_ = true;
  if (!options_.standing) StartLifetime();
  SendPong();
  for (net::Notification* waiter : waiters_) waiter->Notify();
}

void SessionHost::SendPong() {
  if (control_ == nullptr) return;
  const TimePoint now = net::EventLoop::Now();
  const Duration runs_for =
      options_.standing ? Duration(std::chrono::hours(24)) : lifetime_.Promise(now) - now;
  ponged_ = now;
  control_->SendControl(wire::EncodePong({session_, instance_, runs_for, fill_()}), {});
  if (options_.on_pong) options_.on_pong();
}

void SessionHost::SetControl(Control* control) {
  control_ = control;
  if (announce_pending_) {
    Announce();
  } else if (running() && announced_) {
    SendPong();
  }
}

void SessionHost::ControlEnded(Control* control) {
  if (control_ == control) control_ = nullptr;
}

void SessionHost::OnPing(SessionId session) {
  if (!running() || session != session_ || !announced_) return;
  if (!options_.standing && !lifetime_.OnPreflight(net::EventLoop::Now())) return;
  if (!options_.standing) Arm(lifetime_.due());
  SendPong();
}

void SessionHost::Begin() {
  ++in_flight_;
  if (options_.standing) return;
  const TimePoint now = net::EventLoop::Now();
  if (ponged_) lifetime_.ObserveRoundTrip(now - *std::exchange(ponged_, std::nullopt));
  // Not counted if time has run out since Accepts.
  (void)lifetime_.OnRequestStarted(now);
}

void SessionHost::Finish() {
  CHECK(in_flight_ > 0);
  --in_flight_;
  ++finished_;
  if (options_.standing || !announced_ || lifetime_.in_flight() == 0) return;
  lifetime_.OnRequestFinished(net::EventLoop::Now());
  Arm(lifetime_.due());
}

void SessionHost::ExpectMore() {
  if (!options_.standing && announced_) lifetime_.OnMoreExpected(net::EventLoop::Now());
}

void SessionHost::FinishAndEnd(SessionId session) {
  Finish();
  if (!options_.standing && running() && session_ == session && in_flight_ == 0) End();
}

void SessionHost::SendControl(const wire::FrameHeader& header, std::string meta) {
  if (control_ != nullptr) control_->SendControl(header, std::move(meta));
}

// A timer that is due early checks and is armed again, so that requests need not move it.
void SessionHost::Arm(TimePoint when) {
  if (when >= armed_for_) return;
  armed_for_ = when;
  timer_.Start(std::max(when - net::EventLoop::Now(), Duration(0)), [this] {
    armed_for_ = TimePoint::max();
    Check();
  });
}

void SessionHost::Check() {
  if (!running()) return;
  if (!announced_) {
    LOG_WARN("no link to the proxy for this session: it ends");
    return End();
  }
  const auto verdict = lifetime_.Check(net::EventLoop::Now());
  if (verdict.ended) {
    End();
  } else {
    Arm(verdict.next);
  }
}

void SessionHost::Shut() {
  if (running()) End();
}

void SessionHost::End() {
  timer_.Cancel();
  armed_for_ = TimePoint::max();
  const SessionId session = std::exchange(session_, SessionId());
  const wire::ByeTotals totals{finished_, net::EventLoop::Now() - opened_};
  announced_ = false;
  announce_pending_ = false;
  if (control_ != nullptr) {
    control_->SendControl(wire::EncodeBye(session, instance_, fill_()),
                          wire::EncodeByeTotals(totals));
  }
  if (on_end_) on_end_(session, totals);
}

}  // namespace infinicache::node
