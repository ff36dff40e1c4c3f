#include "proxy/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "cache/retire.h"
#include "wire/inventory.h"

namespace infinicache::proxy {
namespace {

using wire::RespParser;
using wire::RespWriter;

constexpr std::size_t kInputBytes = 16 * kKiB;

// Redis's text for a command that does not exist, with its arguments cut to 128 bytes in all.
std::string UnknownCommand(std::span<const RespParser::Argument> arguments) {
  constexpr std::size_t kShownMax = 128;
  std::string shown;
  for (const RespParser::Argument& argument : arguments.subspan(1)) {
    if (shown.size() >= kShownMax) break;
    shown += fmt::format("'{}' ", argument.bytes.substr(0, kShownMax - shown.size()));
  }
  return fmt::format("ERR unknown command '{}', with args beginning with: {}",
                     arguments[0].bytes.substr(0, kShownMax), shown);
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

}  // namespace

Session::Session(Server& server, cache::Worker& worker, net::Socket socket, std::uint64_t id)
    : authenticated(server.options().password.empty()),
      server_(server),
      worker_(worker),
      socket_(std::move(socket)),
      id_(id),
      parser_(Limits()),
      input_(kInputBytes),
      moved_at_(net::EventLoop::Now()),
      connected_at_(moved_at_),
      address_(socket_.peer_address()),
      local_address_(socket_.local_address()) {}

Session::~Session() {
  IsStalled(net::EventLoop::Now());
}

RespParser::Limits Session::Limits() const {
  RespParser::Limits limits;
  limits.buffered_argument_bytes_max = kBufferedArgumentBytesMax;
  limits.bulk_bytes_max = worker_.options().object_bytes_max;
  limits.authenticated = authenticated;
  return limits;
}

void Session::set_authenticated(bool yes) {
  authenticated = yes;
  parser_.set_limits(Limits());
}

net::Task<> Session::Run() {
  while (!broken_) {
    std::size_t consumed = 0;
    const RespParser::Event event = parser_.Parse(Input(), consumed);
    begin_ += consumed;
    Status status;
    switch (event) {
      case RespParser::Event::kNeedMore:
        status = co_await Flush();
        if (status) status = co_await ReadMore();
        break;
      case RespParser::Event::kCommand:
        co_await Execute();
        if (!uploads_.empty()) co_await DropUploads();
        value_began_.reset();
        if (closing_ || output_.size() > kOutputBytesMax) status = co_await Flush();
        if (closing_) co_return;
        break;
      case RespParser::Event::kLargeArgument:
        status = co_await ReceiveLargeArgument();
        break;
      case RespParser::Event::kError:
        RespWriter(output_, protocol).Error(parser_.error());
        Add(server_.mutable_stats().error_replies);
        co_await Flush();
        co_return;
    }
    if (!status) co_return;
  }
}

net::Task<Status> Session::ReadMore() {
  begin_ = end_ = 0;
  busy_ = !uploads_.empty();
  const auto bytes = co_await socket_.ReadSome(std::as_writable_bytes(std::span(input_)));
  busy_ = true;
  if (!bytes) co_return tl::make_unexpected(bytes.error());
  end_ = *bytes;
  co_return Status{};
}

net::Task<Status> Session::Flush() {
  if (output_.empty()) co_return Status{};
  iovec piece = net::ToIovec(output_);
  const Status status = co_await socket_.WriteAll(std::span(&piece, 1));
  output_.clear();
  if (output_.capacity() > 2 * kOutputBytesMax) output_.shrink_to_fit();
  co_return status;
}

net::Task<> Session::Execute() {
  const std::span<const RespParser::Argument> arguments = parser_.arguments();
  Call call{*this, server_, worker_, arguments, RespWriter(output_, protocol)};
  const auto fail = [&](std::string_view text) {
    call.reply.Error(text);
    Add(server_.mutable_stats().error_replies);
  };
  Add(server_.mutable_stats().commands);
  const auto index = FindCommand(arguments[0].bytes);
  if (!index) {
    // A browser that was made to send its request here; Redis closes such connections too.
    if (EqualsIgnoreCase(arguments[0].bytes, "post") ||
        EqualsIgnoreCase(arguments[0].bytes, "host:")) {
      LOG_WARN_EVERY(std::chrono::minutes(1), "possible cross-protocol request from {}; closed",
                     address_);
      Break();
      co_return;
    }
    fail(UnknownCommand(arguments));
    co_return;
  }
  const CommandSpec& spec = Commands()[*index];
  const std::size_t count = arguments.size();
  if (spec.arity >= 0 ? count != static_cast<std::size_t>(spec.arity)
                      : count < static_cast<std::size_t>(-spec.arity)) {
    fail(fmt::format("ERR wrong number of arguments for '{}' command", spec.name));
    co_return;
  }
  if (!authenticated && (spec.flags & kNoAuth) == 0) {
    fail("NOAUTH Authentication required.");
    co_return;
  }
  last_command_ = spec.name;
  for (std::size_t i = 0; i < count; ++i) {
    if (!arguments[i].large || Upload(i) != nullptr) continue;
    fail(fmt::format("ERR argument {} of '{}' is too long ({} bytes)", i, spec.name,
                     arguments[i].large_bytes));
    co_return;
  }
  if (worker_.shared().rebuild.loading() && !co_await AwaitRebuilt(spec)) {
    fail("LOADING InfiniCache is rebuilding its directory");
    co_return;
  }
  CommandStats& stats = server_.mutable_command_stats(*index);
  const TimePoint begin = value_began_.value_or(net::EventLoop::Now());
  const std::uint64_t errors = call.reply.errors();
  if (spec.now != nullptr) {
    spec.now(call);
  } else {
    co_await spec.later(call);
  }
  const double seconds = std::chrono::duration<double>(net::EventLoop::Now() - begin).count();
  Add(stats.calls);
  Add(stats.micros, static_cast<std::uint64_t>(seconds * 1e6));
  stats.latency.Observe(seconds);
  if (call.reply.errors() > errors || broken_) {
    Add(stats.failed);
    Add(server_.mutable_stats().error_replies);
  }
}

// Values that were stored as they came and that the command did not take: a condition did not hold,
// or its options are wrong. A client that is told so must not find them after a restart.
net::Task<> Session::DropUploads() {
  std::vector<cache::ObjectRef> dropped;
  for (auto& [index, upload] : uploads_)
    if (upload) dropped.push_back(std::move(*upload));
  uploads_.clear();
  co_await cache::Retire(worker_, dropped, wire::kVoidMark);
}

net::Task<bool> Session::AwaitRebuilt(const CommandSpec& spec) {
  constexpr Duration kPoll = std::chrono::milliseconds(2);
  if ((spec.flags & (kWrite | kReadOnly)) == 0) co_return true;
  const cache::RebuildProgress& rebuild = worker_.shared().rebuild;
  const TimePoint deadline = net::EventLoop::Now() + worker_.options().node_timeout;
  const auto arguments = parser_.arguments();
  const int count = static_cast<int>(arguments.size());
  const int last = spec.last_key < 0 ? count + spec.last_key : spec.last_key;
  const auto settled = [&] {
    if (spec.first_key == 0) return !rebuild.loading();  // it is about all keys
    for (int i = spec.first_key; i <= last && i < count; i += spec.key_step)
      if (!rebuild.IsSettled(cache::HashKey(arguments[static_cast<std::size_t>(i)].bytes)))
        return false;
    return true;
  };
  while (!settled()) {
    if (worker_.stopping() || net::EventLoop::Now() >= deadline) co_return false;
    co_await worker_.loop().Sleep(kPoll);
  }
  co_return true;
}

Result<cache::ObjectRef>* Session::Upload(std::size_t index) {
  const auto found = uploads_.find(index);
  return found == uploads_.end() ? nullptr : &found->second;
}

// A value goes to its nodes as it arrives. What cannot be a value, or cannot be stored, is skipped;
// the command then answers with the reason.
net::Task<Status> Session::ReceiveLargeArgument() {
  if (!value_began_) value_began_ = net::EventLoop::Now();
  const auto arguments = parser_.arguments();
  const std::size_t index = arguments.size() - 1;
  std::uint64_t left = parser_.large_argument_bytes();
  const auto command = FindCommand(arguments[0].bytes);
  const CommandSpec* spec = command ? &Commands()[*command] : nullptr;
  const int position = static_cast<int>(index);
  const bool is_value =
      spec != nullptr && authenticated && spec->first_value > 0 && position >= spec->first_value &&
      (spec->value_step == 0 ? position == spec->first_value
                             : (position - spec->first_value) % spec->value_step == 0);
  if (is_value) {
    const RespParser::Argument& key =
        arguments[index - static_cast<std::size_t>(spec->value_key_distance)];
    if (key.large) {
      uploads_.emplace(index, Fail(ErrorCode::kTooLarge, "the key is too long"));
    } else {
      cache::ObjectWriter writer(worker_, key.bytes, left);
      auto stored = co_await StreamValue(writer, left);
      if (!stored && stored.error().code == ErrorCode::kCancelled)
        co_return tl::make_unexpected(stored.error());
      uploads_.emplace(index, std::move(stored));
    }
  }
  const Status skipped = co_await SkipInput(left);
  if (skipped) parser_.FinishLargeArgument();
  co_return skipped;
}

// Error kCancelled: the client went away. Any other: the object cannot be stored, and `left` bytes
// remain to be skipped.
net::Task<Result<cache::ObjectRef>> Session::StreamValue(cache::ObjectWriter& writer,
                                                         std::uint64_t& left) {
  busy_ = true;
  if (auto begun = co_await writer.Begin(); !begun) co_return tl::make_unexpected(begun.error());
  while (writer.bytes_left() > 0) {
    const auto memory = co_await writer.Next();
    if (!memory) co_return tl::make_unexpected(memory.error());
    std::size_t count = 0;
    for (const iovec& piece : *memory) {
      if (begin_ == end_) break;
      count += TakeInput(static_cast<std::byte*>(piece.iov_base), piece.iov_len);
    }
    if (count == 0) {
      // What follows the value comes along with its last bytes.
      begin_ = end_ = 0;
      std::array<iovec, kCodeWidthMax + 1> pieces;
      std::copy(memory->begin(), memory->end(), pieces.begin());
      std::size_t room = 0;
      for (const iovec& piece : *memory) room += piece.iov_len;
      std::size_t used = memory->size();
      if (room == left) pieces[used++] = {input_.data(), input_.size()};
      const auto read = socket_.TryRead(std::span(pieces).first(used));
      if (!read) co_return Fail(ErrorCode::kCancelled, read.error().message);
      if (*read == 0) {
        if (auto status = co_await socket_.WaitReadable(); !status)
          co_return Fail(ErrorCode::kCancelled, status.error().message);
        continue;
      }
      count = std::min(*read, room);
      end_ = *read - count;
    }
    left -= count;
    if (auto status = writer.Wrote(count); !status) co_return tl::make_unexpected(status.error());
  }
  co_return co_await writer.Finish();
}

std::size_t Session::TakeInput(std::byte* to, std::size_t bytes) {
  const std::size_t count = std::min(bytes, end_ - begin_);
  std::memcpy(to, input_.data() + begin_, count);
  begin_ += count;
  return count;
}

net::Task<Status> Session::SkipInput(std::uint64_t bytes) {
  while (bytes > 0) {
    if (begin_ == end_) {
      if (auto status = co_await ReadMore(); !status) co_return status;
    }
    const std::size_t count =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes, end_ - begin_));
    begin_ += count;
    bytes -= count;
  }
  co_return Status{};
}

bool Session::IsStalled(TimePoint now) {
  ProxyStats& stats = server_.mutable_stats();
  Add(stats.net_input_bytes,
      socket_.bytes_read() - std::exchange(counted_input_, socket_.bytes_read()));
  Add(stats.net_output_bytes,
      socket_.bytes_written() - std::exchange(counted_output_, socket_.bytes_written()));
  const std::uint64_t moved = counted_input_ + counted_output_;
  if (moved != moved_ || !busy_) {
    moved_ = moved;
    moved_at_ = now;
    return false;
  }
  return now - moved_at_ > server_.options().client_timeout;
}

std::string Session::Describe() const {
  const TimePoint now = net::EventLoop::Now();
  const auto seconds = [](Duration d) {
    return std::chrono::duration_cast<std::chrono::seconds>(d).count();
  };
  return fmt::format(
      "id={} addr={} laddr={} fd={} name={} age={} idle={} flags=N db=0 sub=0 psub=0 ssub=0 "
      "multi=-1 qbuf={} "
      "qbuf-free={} argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={} oll=0 omem={} tot-mem={} events=r "
      "cmd={} user=default "
      "redir=-1 resp={} lib-name={} lib-ver={}",
      id_, address_, local_address_, const_cast<net::Socket&>(socket_).fd(), identity.name,
      seconds(now - connected_at_), seconds(now - moved_at_), end_ - begin_,
      input_.size() - (end_ - begin_), output_.size(), output_.capacity(),
      input_.size() + output_.capacity() + parser_.memory_bytes(), Lower(last_command_), protocol,
      identity.library_name, identity.library_version);
}

}  // namespace infinicache::proxy
