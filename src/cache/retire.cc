#include "cache/retire.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "net/notification.h"
#include "pool/link.h"
#include "wire/inventory.h"

namespace infinicache::cache {
namespace {

// Objects whose marks are under way at once.
constexpr std::size_t kObjectsAtOnce = 2048;

// The marks of some objects, and what is not answered of them.
class Marking final : private pool::FrameSink {
 public:
  explicit Marking(Worker& worker) : worker_(worker), answered_(worker.loop()) {}
  Marking(const Marking&) = delete;
  Marking& operator=(const Marking&) = delete;
  ~Marking() {
    for (const auto& [request, count] : unanswered_) request.first->Forget(request.second);
  }

  void Add(const ObjectRecord& object, WallMillis mark) {
    std::size_t wanted = object.layout().code.parity + std::size_t{1};
    // Nodes that are known to be late only if there are no others.
    for (const bool suspect : {false, true}) {
      for (std::size_t i = 0; i < object.width() && wanted > 0; ++i) {
        pool::Link* const link = worker_.LinkTo(object.place(i));
        if (link == nullptr || link->suspect() != suspect) continue;
        marks_[link].push_back({object.chunk(i), mark});
        --wanted;
      }
    }
    // Chunks that live, and cannot be reached from here.
    for (std::size_t i = 0; i < object.width() && wanted > 0; ++i) {
      const pool::Place place = object.place(i);
      if (!worker_.Survives(place) || worker_.LinkTo(place) != nullptr) continue;
      infinicache::Add(worker_.stats().marks_unconfirmed);
      --wanted;
    }
  }

  net::Task<> Send() {
    for (const auto& [link, marks] : marks_) SendTo(*link, marks);
    while (!unanswered_.empty()) {
      if (co_await answered_.Wait(net::EventLoop::Now() + kMarkAnswerAtMost)) continue;
      for (const auto& [request, count] : unanswered_) {
        request.first->Suspect();
        infinicache::Add(worker_.stats().marks_unconfirmed, count);
      }
      co_return;
    }
  }

 private:
  void SendTo(pool::Link& link, std::span<const wire::ChunkExpiry> marks) {
    while (!marks.empty()) {
      const auto batch = marks.first(std::min(marks.size(), wire::kExpiryListMax));
      marks = marks.subspan(batch.size());
      wire::FrameHeader header;
      header.type = wire::FrameType::kSetExpiry;
      header.request = link.Register(this);
      unanswered_.emplace(std::pair(&link, header.request), batch.size());
      link.Send(header, wire::EncodeExpiryList(batch));
    }
  }

  Target OnData(pool::Link&, const wire::FrameHeader&) override { return {}; }
  void OnFrame(pool::Link& link, const wire::FrameHeader& header) override {
    link.Forget(header.request);
    Answered(link, header.request);
  }
  void OnLinkLost(pool::Link& link, std::uint64_t request) override { Answered(link, request); }
  void Answered(pool::Link& link, std::uint64_t request) {
    unanswered_.erase({&link, request});
    answered_.Notify();
  }

  Worker& worker_;
  net::Notification answered_;
  std::map<pool::Link*, std::vector<wire::ChunkExpiry>> marks_;
  std::map<std::pair<pool::Link*, std::uint64_t>, std::size_t> unanswered_;  // marks
};

}  // namespace

net::Task<> Retire(Worker& worker, std::span<const ObjectRef> objects, WallMillis mark) {
  while (!objects.empty()) {
    const auto some = objects.first(std::min(objects.size(), kObjectsAtOnce));
    objects = objects.subspan(some.size());
    Marking marking(worker);
    for (const ObjectRef& object : some) marking.Add(*object, mark);
    co_await marking.Send();
  }
}

}  // namespace infinicache::cache
