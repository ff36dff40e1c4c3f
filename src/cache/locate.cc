#include "cache/locate.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "net/notification.h"
#include "pool/link.h"

namespace infinicache::cache {
namespace {

// Whether the pieces are the chunk's strips, and within the memory.
bool Agrees(const wire::ChunkLocation& location, const coding::StripeLayout& layout,
            std::size_t chunk, std::uint64_t memory_bytes) {
  std::size_t strips = 0;
  while (strips < layout.rows() && layout.StripBytes(strips, chunk) > 0) ++strips;
  if (location.strips.size() != strips) return false;
  for (std::size_t row = 0; row < strips; ++row) {
    std::uint64_t bytes = 0;
    for (const auto& piece : location.PiecesOf(location.strips[row])) {
      if (piece.offset > memory_bytes || piece.bytes > memory_bytes - piece.offset) return false;
      bytes += piece.bytes;
    }
    if (bytes != layout.StripBytes(row, chunk)) return false;
  }
  return true;
}

class Locator final : public pool::FrameSink {
 public:
  Locator(Worker& worker, const ObjectRecord& record)
      : worker_(worker), record_(record), progress_(worker.loop()) {}
  Locator(const Locator&) = delete;
  Locator& operator=(const Locator&) = delete;
  ~Locator() {
    for (const Question& question : questions_) question.link->Forget(question.request);
  }

  void Ask(std::size_t chunk) {
    const pool::Place place = record_.place(chunk);
    pool::Link* link = worker_.LinkTo(place);
    if (link == nullptr || link->memory() == nullptr) return;
    const std::uint64_t request = link->Register(this);
    questions_.push_back({chunk, link, request, place, link->memory()->bytes(), {}});
    wire::FrameHeader header;
    header.type = wire::FrameType::kLocate;
    header.request = request;
    header.chunk = record_.chunk(chunk);
    link->Send(header);
  }

  net::Task<> Await(TimePoint deadline) {
    while (!questions_.empty()) {
      if (!co_await progress_.Wait(deadline)) break;
    }
  }

  struct Answer {
    std::size_t chunk;
    ObjectMap::Chunk where;
  };
  std::vector<Answer>& answers() { return answers_; }

 private:
  struct Question {
    std::size_t chunk;
    pool::Link* link;
    std::uint64_t request;
    pool::Place place;
    std::uint64_t memory_bytes;
    std::shared_ptr<std::string> bytes;  // the answer, as it comes in
  };

  std::vector<Question>::iterator Find(pool::Link& link, std::uint64_t request) {
    return std::find_if(questions_.begin(), questions_.end(), [&](const Question& question) {
      return question.link == &link && question.request == request;
    });
  }

  Target OnData(pool::Link& link, const wire::FrameHeader& header) override {
    const auto found = Find(link, header.request);
    if (found == questions_.end()) return {};
    found->bytes = std::make_shared<std::string>(header.payload_bytes, '\0');
    return {Target::Kind::kMemory, reinterpret_cast<std::byte*>(found->bytes->data()),
            found->bytes};
  }

  void OnFrame(pool::Link& link, const wire::FrameHeader& header) override {
    const auto found = Find(link, header.request);
    if (found == questions_.end()) return;
    if (header.type == wire::FrameType::kLocated && found->bytes != nullptr) Take(*found);
    link.Forget(header.request);
    questions_.erase(found);
    progress_.Notify();
  }

  void OnLinkLost(pool::Link& link, std::uint64_t request) override {
    const auto found = Find(link, request);
    if (found == questions_.end()) return;
    questions_.erase(found);
    progress_.Notify();
  }

  void Take(const Question& question) {
    auto location = wire::ParseChunkLocation(*question.bytes);
    if (!location || !Agrees(*location, record_.layout(), question.chunk, question.memory_bytes)) {
      LOG_ERROR("node {} says that a chunk is where it cannot be", question.link->node().value());
      return;
    }
    answers_.push_back(
        {question.chunk,
         {question.place, std::make_shared<const wire::ChunkLocation>(std::move(*location))}});
  }

  Worker& worker_;
  const ObjectRecord& record_;
  net::Notification progress_;
  std::vector<Question> questions_;
  std::vector<Answer> answers_;
};

}  // namespace

net::Task<> Locate(Worker& worker, const ObjectRef& record, std::uint64_t chunks) {
  Locator locator(worker, *record);
  for (std::size_t i = 0; i < record->width(); ++i) {
    if ((chunks >> i & 1) != 0) locator.Ask(i);
  }
  co_await locator.Await(net::EventLoop::Now() + worker.hedge_delay().Get());
  if (locator.answers().empty()) co_return;
  auto map = std::make_unique<ObjectMap>();
  if (const ObjectMap* known = record->map(); known != nullptr) map->chunks = known->chunks;
  map->chunks.resize(record->width());
  for (auto& [chunk, where] : locator.answers()) map->chunks[chunk] = std::move(where);
  record->set_map(std::move(map));
}

}  // namespace infinicache::cache
