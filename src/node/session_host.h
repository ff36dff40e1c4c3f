// The sessions of one instance: opens them when the platform invokes, ends them by
// policy::SessionLifetime, and lets requests in only while one runs.
//
// Every session begins with a PONG on the control link, before anything else is sent, and ends with
// a BYE there before the invocation returns. Its time runs from the PONG, whatever it took to get
// the links; one that gets no control link ends after kAnnouncePatience. Between sessions an
// instance may be frozen at any point, so it takes no request then: what arrives stays in the
// sockets until the next session. A standing instance (Options::standing) has one session that
// lasts as long as it lives.
//
//   platform ── Open ──▶ SessionHost ── PONG, BYE ──▶ control link
//                         ▲  │ resume
//          Begin, Finish  │  ▼
//                        links
//
// The monotonic clock runs on through a freeze, so at a thaw every timer is due at once; the next
// Open starts from the new time.
//
// Thread-safety: none; one event loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "net/notification.h"
#include "net/timer.h"
#include "policy/session_lifetime.h"
#include "wire/session_frames.h"

namespace infinicache::node {

class SessionHost {
 public:
  struct Options {
    // A session, once opened, lasts until the instance ends, and requests are served at any time.
    bool standing = true;
    policy::SessionLifetime::Options lifetime = {};
    std::function<void()> on_pong = {};  // behind each PONG, before anything else is sent
  };

  static constexpr Duration kAnnouncePatience = std::chrono::seconds(3);

  // Where PONG and BYE go: the control link, while there is one. Its calls do not suspend.
  class Control {
   public:
    virtual ~Control() = default;
    virtual void SendControl(const wire::FrameHeader& header, std::string meta) = 0;
  };

  // `fill` tells how full the node is. `on_end` is called when a session is over and its BYE is on
  // its way: the invocation returns.
  SessionHost(net::EventLoop& loop, InstanceId instance, Options options,
              std::function<wire::NodeFill()> fill,
              std::function<void(SessionId, wire::ByeTotals)> on_end);
  ~SessionHost();

  // The platform invokes. A session that is open is over: the platform has ended it unasked.
  // Announce follows when the links are there.
  void Open(SessionId session, policy::SessionLifetime::Opening opening);
  // Sends the PONG of the open session, now or when there is a control link, and serves requests
  // from then on.
  void Announce();
  // Ends the open session in order, whatever is in flight: the instance is told to end.
  void Shut();

  void SetControl(Control* control);
  void ControlEnded(Control* control);
  // A PING of the proxy for `session`, answered by a PONG unless that session is over or ends.
  void OnPing(SessionId session);

  // Whether a request may begin now.
  bool Accepts() const {
    return options_.standing || (announced_ && lifetime_.Accepts(net::EventLoop::Now()));
  }
  // A request begins, or ends. REQUIRES for Begin: Accepts().
  void Begin();
  void Finish();
  // Who had the last answer will ask for more.
  void ExpectMore();
  // As Finish, of what `session` was for: if it is open, it ends now unless more is in flight.
  void FinishAndEnd(SessionId session);

  // Sends a message beside those of the session. Lost if there is no control link.
  void SendControl(const wire::FrameHeader& header, std::string meta);

  // For a link that waits until Accepts(): `waiter` is notified when a session was announced.
  void Await(net::Notification* waiter) { waiters_.push_back(waiter); }
  void StopAwaiting(net::Notification* waiter) { waiters_.remove(waiter); }

  InstanceId instance() const { return instance_; }
  bool running() const { return session_ != SessionId(); }
  SessionId session() const { return session_; }
  std::uint64_t in_flight() const { return in_flight_; }

 private:
  void StartLifetime();
  void Arm(TimePoint when);
  void Check();
  void End();
  void SendPong();

  const InstanceId instance_;
  const Options options_;
  std::function<wire::NodeFill()> fill_;
  std::function<void(SessionId, wire::ByeTotals)> on_end_;
  policy::SessionLifetime lifetime_;
  net::Timer timer_;
  TimePoint armed_for_ = TimePoint::max();

  SessionId session_;  // the open one; 0: none
  TimePoint opened_{};
  policy::SessionLifetime::Opening opening_ = policy::SessionLifetime::Opening::kRequest;
  bool announced_ = false;
  bool announce_pending_ = false;    // until there is a control link
  std::optional<TimePoint> ponged_;  // when the PONG went whose request is awaited
  std::uint64_t in_flight_ = 0;      // of this instance
  std::uint64_t finished_ = 0;       // in the open session
  Control* control_ = nullptr;
  std::list<net::Notification*> waiters_;
};

}  // namespace infinicache::node
