#include "net/handshake.h"

#include <fmt/format.h>

#include <array>

#include "net/crypto.h"
#include "net/timer.h"

namespace infinicache::net {
namespace {

constexpr std::size_t kNonceBytes = 16;
constexpr std::string_view kLabel = "infinicache link 1";
constexpr const char* kUnproven =
    "the peer does not prove the pool's secret: its secret or its version differs from ours";

std::string Nonce() {
  std::string nonce(kNonceBytes, '\0');
  RandomBytes(std::as_writable_bytes(std::span(nonce)));
  return nonce;
}

std::string Proof(std::string_view secret, char role, std::string_view nonce_d,
                  std::string_view nonce_a) {
  const Digest digest = HmacSha256(secret, fmt::format("{}{}{}{}", kLabel, role, nonce_d, nonce_a));
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

bool SameProof(std::string_view a, std::string_view b) {
  return EqualInConstantTime(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)));
}

struct Message {
  std::uint16_t link_number = 0;
  std::string meta;
};

// Reads one frame of `type` whose payload is a block of metadata.
Task<Result<Message>> ExpectMessage(FrameReader& reader, wire::FrameType type) {
  const auto header = co_await reader.ReadHeader();
  if (!header) co_return tl::make_unexpected(header.error());
  if (header->type == wire::FrameType::kError && header->status == ErrorCode::kUnauthenticated) {
    co_return Fail(ErrorCode::kUnauthenticated,
                   "the peer refused our proof: its secret or its version differs from ours");
  }
  if (header->type != type || header->meta_bytes != header->payload_bytes) {
    co_return Fail(ErrorCode::kProtocol,
                   fmt::format("expected a {} frame, got {}", wire::FrameTypeName(type),
                               wire::FrameTypeName(header->type)));
  }
  std::string meta(header->payload_bytes, '\0');
  if (auto status = co_await reader.ReadPayload(std::as_writable_bytes(std::span(meta))); !status) {
    co_return tl::make_unexpected(status.error());
  }
  co_return Message{header->chunk.index, std::move(meta)};
}

Task<Result<std::string>> Expect(FrameReader& reader, wire::FrameType type) {
  auto message = co_await ExpectMessage(reader, type);
  if (!message) co_return tl::make_unexpected(message.error());
  co_return std::move(message->meta);
}

Task<Status> SendMeta(Socket& socket, wire::FrameType type, std::string_view meta,
                      std::uint16_t link_number = 0) {
  wire::FrameHeader header;
  header.type = type;
  header.chunk.index = link_number;
  co_return co_await SendMetaFrame(socket, header, meta);
}

// Ends the connection at a deadline, which makes whatever waits for it fail.
class Cutoff {
 public:
  Cutoff(Socket& socket, TimePoint deadline) : timer_(socket.loop()) {
    timer_.Start(deadline - EventLoop::Now(), [this, &socket] {
      passed_ = true;
      socket.Shutdown();
    });
  }
  bool passed() const { return passed_; }

 private:
  bool passed_ = false;
  Timer timer_;
};

tl::unexpected<Error> TooLate() {
  return Fail(ErrorCode::kDeadlineExceeded, "the peer did not finish the handshake in time");
}

Task<Result<wire::NodeStatus>> ReadWelcome(FrameReader& reader) {
  const auto welcome = co_await Expect(reader, wire::FrameType::kWelcome);
  if (!welcome) co_return tl::make_unexpected(welcome.error());
  co_return wire::ParseNodeStatus(*welcome);
}

// Up to the kAuth frame.
Task<Status> ProveAsDialer(Socket& socket, FrameReader& reader, std::string_view secret,
                           std::uint16_t link_number) {
  const std::string nonce_d = Nonce();
  if (auto sent = co_await SendMeta(socket, wire::FrameType::kHello, nonce_d, link_number); !sent)
    co_return sent;
  const auto challenge = co_await Expect(reader, wire::FrameType::kChallenge);
  if (!challenge) co_return tl::make_unexpected(challenge.error());
  if (challenge->size() != kNonceBytes + Digest{}.size())
    co_return Fail(ErrorCode::kProtocol, "challenge has a bad length");
  const std::string_view nonce_a = std::string_view(*challenge).substr(0, kNonceBytes);
  if (!SameProof(challenge->substr(kNonceBytes), Proof(secret, 'a', nonce_d, nonce_a))) {
    co_return Fail(ErrorCode::kUnauthenticated, kUnproven);
  }
  co_return co_await SendMeta(socket, wire::FrameType::kAuth, Proof(secret, 'd', nonce_d, nonce_a));
}

// Up to the kAuth frame. Returns the link's number.
Task<Result<std::uint16_t>> ProveAsAcceptor(Socket& socket, FrameReader& reader,
                                            std::string_view secret) {
  const auto hello = co_await ExpectMessage(reader, wire::FrameType::kHello);
  if (!hello) co_return tl::make_unexpected(hello.error());
  const std::string& nonce_d = hello->meta;
  if (nonce_d.size() != kNonceBytes) co_return Fail(ErrorCode::kProtocol, "hello has a bad length");
  const std::string nonce_a = Nonce();
  const std::string challenge = nonce_a + Proof(secret, 'a', nonce_d, nonce_a);
  if (auto sent = co_await SendMeta(socket, wire::FrameType::kChallenge, challenge); !sent)
    co_return tl::make_unexpected(sent.error());
  const auto proof = co_await Expect(reader, wire::FrameType::kAuth);
  if (!proof) co_return tl::make_unexpected(proof.error());
  if (!SameProof(*proof, Proof(secret, 'd', nonce_d, nonce_a))) {
    wire::FrameHeader refusal;
    refusal.type = wire::FrameType::kError;
    refusal.status = ErrorCode::kUnauthenticated;
    co_await SendMetaFrame(socket, refusal, "");
    co_return Fail(ErrorCode::kUnauthenticated, kUnproven);
  }
  co_return hello->link_number;
}

Task<Result<wire::NodeStatus>> ExchangeAsDialer(Socket& socket, FrameReader& reader,
                                                std::string_view secret,
                                                std::uint16_t link_number) {
  const auto proven = co_await ProveAsDialer(socket, reader, secret, link_number);
  if (!proven) co_return tl::make_unexpected(proven.error());
  co_return co_await ReadWelcome(reader);
}

Task<Result<std::uint16_t>> ExchangeAsAcceptor(Socket& socket, FrameReader& reader,
                                               std::string_view secret,
                                               const wire::NodeStatus& status) {
  const auto link_number = co_await ProveAsAcceptor(socket, reader, secret);
  if (!link_number) co_return link_number;
  const auto sent =
      co_await SendMeta(socket, wire::FrameType::kWelcome, wire::EncodeNodeStatus(status));
  if (!sent) co_return tl::make_unexpected(sent.error());
  co_return link_number;
}

Task<Status> ExchangeAsDialingNode(Socket& socket, FrameReader& reader, std::string_view secret,
                                   const wire::NodeStatus& status, std::uint16_t link_number) {
  const auto proven = co_await ProveAsDialer(socket, reader, secret, link_number);
  if (!proven) co_return proven;
  const auto sent =
      co_await SendMeta(socket, wire::FrameType::kWelcome, wire::EncodeNodeStatus(status));
  if (!sent) co_return sent;
  const auto taken = co_await Expect(reader, wire::FrameType::kWelcome);
  if (!taken) co_return tl::make_unexpected(taken.error());
  co_return Status{};
}

Task<Result<ArrivedNode>> ExchangeAsAcceptingProxy(Socket& socket, FrameReader& reader,
                                                   std::string_view secret) {
  const auto link_number = co_await ProveAsAcceptor(socket, reader, secret);
  if (!link_number) co_return tl::make_unexpected(link_number.error());
  const auto status = co_await ReadWelcome(reader);
  if (!status) co_return tl::make_unexpected(status.error());
  // The node sends nothing before this, so that nothing is in `reader` that belongs to the link.
  const auto sent = co_await SendMeta(socket, wire::FrameType::kWelcome, {});
  if (!sent) co_return tl::make_unexpected(sent.error());
  co_return ArrivedNode{*status, *link_number};
}

}  // namespace

Task<Status> SendMetaFrame(Socket& socket, wire::FrameHeader header, std::string_view meta) {
  header.meta_bytes = header.payload_bytes = static_cast<std::uint32_t>(meta.size());
  std::array<std::byte, wire::kFrameHeaderBytes> bytes;
  wire::EncodeFrameHeader(header, bytes);
  std::array<iovec, 2> buffers = {ToIovec(bytes), ToIovec(meta)};
  co_return co_await socket.WriteAll(buffers);
}

Task<Result<wire::NodeStatus>> HandshakeAsDialer(Socket& socket, FrameReader& reader,
                                                 std::string_view secret, TimePoint deadline,
                                                 std::uint16_t link_number) {
  const Cutoff cutoff(socket, deadline);
  auto status = co_await ExchangeAsDialer(socket, reader, secret, link_number);
  if (cutoff.passed()) co_return TooLate();
  co_return status;
}

Task<Result<std::uint16_t>> HandshakeAsAcceptor(Socket& socket, FrameReader& reader,
                                                std::string_view secret,
                                                const wire::NodeStatus& status,
                                                TimePoint deadline) {
  const Cutoff cutoff(socket, deadline);
  auto link_number = co_await ExchangeAsAcceptor(socket, reader, secret, status);
  if (cutoff.passed()) co_return TooLate();
  co_return link_number;
}

Task<Status> HandshakeAsDialingNode(Socket& socket, FrameReader& reader, std::string_view secret,
                                    const wire::NodeStatus& status, std::uint16_t link_number,
                                    TimePoint deadline) {
  const Cutoff cutoff(socket, deadline);
  auto sent = co_await ExchangeAsDialingNode(socket, reader, secret, status, link_number);
  if (cutoff.passed()) co_return TooLate();
  co_return sent;
}

Task<Result<ArrivedNode>> HandshakeAsAcceptingProxy(Socket& socket, FrameReader& reader,
                                                    std::string_view secret, TimePoint deadline) {
  const Cutoff cutoff(socket, deadline);
  auto arrived = co_await ExchangeAsAcceptingProxy(socket, reader, secret);
  if (cutoff.passed()) co_return TooLate();
  co_return arrived;
}

}  // namespace infinicache::net
