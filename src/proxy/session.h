// One client's connection.
//
// Reads commands, answers them in order. Replies are collected and sent when no further command is
// at hand, so that a pipeline costs one write. A value too large to buffer is cut into chunks and
// sent to its nodes while it arrives; the command runs when all of it is there, and commits or
// drops the upload.
//
// Thread-safety: one event loop, its worker's.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/object.h"
#include "cache/object_writer.h"
#include "cache/worker.h"
#include "net/socket.h"
#include "proxy/command.h"
#include "proxy/server.h"
#include "wire/resp_parser.h"

namespace infinicache::proxy {

class Session {
 public:
  // Larger values are streamed instead of buffered.
  static constexpr std::size_t kBufferedArgumentBytesMax = 32 * kKiB;
  static constexpr std::size_t kOutputBytesMax =
      256 * kKiB;  // then it is sent before the next command

  Session(Server& server, cache::Worker& worker, net::Socket socket, std::uint64_t id);
  ~Session();

  // Serves the client until it goes.
  net::Task<> Run();
  // Makes Run end soon.
  void Close() { socket_.Shutdown(); }

  // Called about once a second; true if a request has been under way for client_timeout without a
  // byte moving.
  bool IsStalled(TimePoint now);

  net::Socket& socket() { return socket_; }
  std::string& output() { return output_; }
  std::uint64_t id() const { return id_; }

  // Ends the connection when the replies so far are sent.
  void CloseAfterReply() { closing_ = true; }
  // The reply was cut short: ends the connection at once.
  void Break() { broken_ = true; }
  bool broken() const { return broken_; }

  // The upload of the large argument at `index`, or null if that argument was buffered.
  Result<cache::ObjectRef>* Upload(std::size_t index);

  // What the client told of itself.
  struct Identity {
    std::string name;
    std::string library_name;
    std::string library_version;
  };
  Identity identity;
  int protocol = 2;
  bool authenticated = false;
  void set_authenticated(bool yes);
  // The line of CLIENT LIST.
  std::string Describe() const;

 private:
  net::Task<Status> ReadMore();
  net::Task<Status> Flush();
  net::Task<> Execute();
  net::Task<> DropUploads();
  // Waits until the directory has the keys of a call, if it is being rebuilt; false: not in time.
  net::Task<bool> AwaitRebuilt(const CommandSpec& spec);
  net::Task<Status> ReceiveLargeArgument();
  net::Task<Result<cache::ObjectRef>> StreamValue(cache::ObjectWriter& writer, std::uint64_t& left);
  net::Task<Status> SkipInput(std::uint64_t bytes);
  std::string_view Input() const { return {input_.data() + begin_, end_ - begin_}; }
  std::size_t TakeInput(std::byte* to, std::size_t bytes);
  wire::RespParser::Limits Limits() const;

  Server& server_;
  cache::Worker& worker_;
  net::Socket socket_;
  const std::uint64_t id_;
  wire::RespParser parser_;
  std::vector<char> input_;
  std::size_t begin_ = 0;  // [begin_, end_) of input_ is unparsed
  std::size_t end_ = 0;
  std::string output_;
  std::map<std::size_t, Result<cache::ObjectRef>> uploads_;  // by argument
  std::optional<TimePoint> value_began_;                     // of the command's first large value
  bool closing_ = false;
  bool broken_ = false;

  // For IsStalled.
  bool busy_ = false;
  std::uint64_t moved_ = 0;
  TimePoint moved_at_;
  std::uint64_t counted_input_ = 0;
  std::uint64_t counted_output_ = 0;

  TimePoint connected_at_;
  std::string_view last_command_ = "NULL";
  std::string address_;
  std::string local_address_;
};

}  // namespace infinicache::proxy
