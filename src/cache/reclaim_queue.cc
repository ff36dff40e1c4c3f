#include "cache/reclaim_queue.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"

namespace infinicache::cache {
namespace {
constexpr auto kRetryAfter = std::chrono::milliseconds(200);
}  // namespace

ReclaimQueue::ReclaimQueue(pool::LoopLinks& links)
    : links_(links), timer_(links.loop()), sleep_timer_(links.loop()) {
  for (const auto& link : links_.all()) link->set_on_awake([this] { OnAwake(); });
}

void ReclaimQueue::Reclaim(pool::Place place, const ChunkId& chunk) {
  Push({place, chunk, std::nullopt, net::EventLoop::Now() + kSleepAtMost});
}

void ReclaimQueue::SetExpiry(pool::Place place, const ChunkId& chunk, WallMillis expires_at) {
  Push({place, chunk, expires_at,
        expires_at == wire::kDeletedMark ? net::EventLoop::Now() + kSleepAtMost : TimePoint{}});
}

void ReclaimQueue::Push(Entry entry) {
  const std::scoped_lock lock(mutex_);
  if (stopped_) return;
  if (!entry.expires_at) ++pending_;
  entries_.push_back(entry);
  if (std::exchange(send_planned_, true)) return;
  links_.loop().Post([this] { timer_.Start(kGatherFor, [this] { Send(); }); });
}

void ReclaimQueue::Flush() {
  links_.loop().Post([this] {
    {
      const std::scoped_lock lock(mutex_);
      for (Entry& entry : entries_) entry.may_sleep_until = {};
    }
    Send();
  });
}

// Within a call of the link, which must not be called back from there.
void ReclaimQueue::OnAwake() {
  if (std::exchange(sleeping_, false)) links_.loop().Post([this] { Send(); });
}

std::size_t ReclaimQueue::pending() const {
  const std::scoped_lock lock(mutex_);
  return pending_;
}

void ReclaimQueue::Stop() {
  timer_.Cancel();
  sleep_timer_.Cancel();
  for (const auto& link : links_.all()) link->set_on_awake(nullptr);
  for (const auto& [request, entries] : unanswered_) request.first->Forget(request.second);
  unanswered_.clear();
  sent_.clear();
  const std::scoped_lock lock(mutex_);
  stopped_ = true;
  entries_.clear();
  pending_ = 0;
}

bool ReclaimQueue::MayAllSleep(const Entries& entries, const Entries& waiting) const {
  const TimePoint now = net::EventLoop::Now();
  return entries.size() + waiting.size() <= kSleepingMax &&
         std::all_of(waiting.begin(), waiting.end(),
                     [now](const Entry& entry) { return now < entry.may_sleep_until; });
}

void ReclaimQueue::Send() {
  Entries entries;
  {
    const std::scoped_lock lock(mutex_);
    entries.swap(entries_);
    send_planned_ = false;
    // The chunks of instances that have ended are gone.
    std::erase_if(entries, [this](const Entry& entry) {
      const bool gone = !links_.at(entry.place.node).shared().Holds(entry.place.epoch);
      if (gone && !entry.expires_at) --pending_;
      return gone;
    });
  }
  const Entries waiting = Defer(entries);
  const TimePoint now = net::EventLoop::Now();
  const bool may_sleep = MayAllSleep(entries, waiting);
  Entries unreachable;
  Entries asleep;
  std::map<NodeId, Entries> by_node;
  for (const Entry& entry : entries) {
    pool::Link& link = links_.at(entry.place.node);
    if (!link.IsCurrent() || !link.shared().Holds(entry.place.epoch)) {
      unreachable.push_back(entry);
    } else if (may_sleep && now < entry.may_sleep_until && !link.awake()) {
      asleep.push_back(entry);
    } else {
      by_node[entry.place.node].push_back(entry);
    }
  }
  for (const auto& [node, of_node] : by_node) SendTo(links_.at(node), of_node);
  // What waits for answers is looked at again soon, what waits for nodes to wake when they do.
  const bool soon = !unanswered_.empty() || !unreachable.empty();
  Entries& together = soon ? unreachable : asleep;
  together.insert(together.end(), waiting.begin(), waiting.end());
  LetSleep(asleep);
  Requeue(unreachable);
}

ReclaimQueue::Entries ReclaimQueue::Defer(Entries& entries) {
  boost::unordered_flat_map<ObjectId, Version, std::hash<ObjectId>> oldest;
  for (const Entry& entry : entries) {
    const auto [found, added] = oldest.try_emplace(entry.chunk.object, entry.chunk.version);
    if (!added) found->second = std::min(found->second, entry.chunk.version);
  }
  const TimePoint now = net::EventLoop::Now();
  Entries ready;
  Entries waiting;
  for (const Entry& entry : entries) {
    const auto under_way = sent_.find(entry.chunk.object);
    const bool answers_are_due = under_way != sent_.end() && now < under_way->second.wait_until;
    const Version first =
        answers_are_due ? under_way->second.version : oldest.at(entry.chunk.object);
    (entry.chunk.version == first ? ready : waiting).push_back(entry);
  }
  deferred_ = !waiting.empty();
  entries.swap(ready);
  return waiting;
}

// Frames of one kind after the other, so that what came for a chunk first is sent first.
void ReclaimQueue::SendTo(pool::Link& link, const Entries& entries) {
  static_assert(kDeleteBatch <= wire::kExpiryListMax);
  for (std::size_t begin = 0; begin < entries.size();) {
    const bool expiries = entries[begin].expires_at.has_value();
    std::size_t end = begin;
    while (end < entries.size() && end - begin < kDeleteBatch &&
           entries[end].expires_at.has_value() == expiries)
      ++end;
    SendBatch(link, std::span(entries).subspan(begin, end - begin));
    begin = end;
  }
}

void ReclaimQueue::SendBatch(pool::Link& link, std::span<const Entry> batch) {
  wire::FrameHeader header;
  header.request = link.Register(this);
  unanswered_.emplace(std::pair(&link, header.request), Entries(batch.begin(), batch.end()));
  const TimePoint wait_until = net::EventLoop::Now() + kAnswerAtMost;
  for (const Entry& entry : batch) {
    Sent& sent = sent_[entry.chunk.object];
    sent.version = entry.chunk.version;
    sent.wait_until = wait_until;
    ++sent.chunks;
  }
  if (batch.front().expires_at) {
    std::vector<wire::ChunkExpiry> list;
    list.reserve(batch.size());
    for (const Entry& entry : batch) list.push_back({entry.chunk, *entry.expires_at});
    header.type = wire::FrameType::kSetExpiry;
    link.Send(header, wire::EncodeExpiryList(list));
    return;
  }
  std::vector<ChunkId> chunks;
  chunks.reserve(batch.size());
  for (const Entry& entry : batch) chunks.push_back(entry.chunk);
  header.type = wire::FrameType::kDelete;
  link.Send(header, wire::EncodeChunkList(chunks));
}

void ReclaimQueue::PutBack(const Entries& entries) {
  // In front of what came meanwhile.
  entries_.insert(entries_.begin(), entries.begin(), entries.end());
}

void ReclaimQueue::Requeue(const Entries& entries) {
  if (entries.empty()) return;
  const std::scoped_lock lock(mutex_);
  if (stopped_) return;
  PutBack(entries);
  if (std::exchange(send_planned_, true)) return;
  timer_.Start(kRetryAfter, [this] { Send(); });
}

void ReclaimQueue::LetSleep(const Entries& entries) {
  if (entries.empty()) return;
  const std::scoped_lock lock(mutex_);
  if (stopped_) return;
  PutBack(entries);
  sleeping_ = true;
  TimePoint first = TimePoint::max();
  for (const Entry& entry : entries) first = std::min(first, entry.may_sleep_until);
  sleep_timer_.Start(std::max(first - net::EventLoop::Now(), Duration(0)), [this] { Send(); });
}

ReclaimQueue::Entries ReclaimQueue::TakeAnswered(pool::Link& link, std::uint64_t request) {
  auto answered = unanswered_.extract({&link, request});
  CHECK(!answered.empty());
  for (const Entry& entry : answered.mapped()) {
    const auto sent = sent_.find(entry.chunk.object);
    if (--sent->second.chunks == 0) sent_.erase(sent);
  }
  return std::move(answered.mapped());
}

pool::FrameSink::Target ReclaimQueue::OnData(pool::Link&, const wire::FrameHeader&) {
  return {};
}

void ReclaimQueue::OnFrame(pool::Link& link, const wire::FrameHeader& header) {
  link.Forget(header.request);
  const Entries answered = TakeAnswered(link, header.request);
  if (!answered.front().expires_at) {
    const std::scoped_lock lock(mutex_);
    pending_ -= answered.size();
  }
  if (deferred_ && unanswered_.empty()) Send();
}

void ReclaimQueue::OnLinkLost(pool::Link& link, std::uint64_t request) {
  Requeue(TakeAnswered(link, request));
}

}  // namespace infinicache::cache
