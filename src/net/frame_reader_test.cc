#include "net/frame_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"
#include "net/testing.h"

namespace infinicache::net {
namespace {

using ::testing::HasSubstr;
using wire::FrameHeader;
using wire::kFrameHeaderBytes;

struct Frame {
  FrameHeader header;
  std::string payload;
};

Frame MakeFrame(std::uint64_t request, std::size_t payload_bytes) {
  Frame frame;
  frame.header.type = wire::FrameType::kData;
  frame.header.request = request;
  frame.header.payload_bytes = static_cast<std::uint32_t>(payload_bytes);
  for (std::size_t i = 0; i < payload_bytes; ++i)
    frame.payload += static_cast<char>(31 * request + 7 * i + i / 251);
  return frame;
}

std::string Encode(const Frame& frame) {
  std::array<std::byte, kFrameHeaderBytes> header;
  wire::EncodeFrameHeader(frame.header, header);
  return std::string(reinterpret_cast<const char*>(header.data()), header.size()) + frame.payload;
}

std::span<std::byte> BytesOf(std::string& text) {
  return std::as_writable_bytes(std::span(text));
}

Task<Status> SendAll(Socket& socket, std::string bytes) {
  iovec piece = ToIovec(bytes);
  co_return co_await socket.WriteAll(std::span(&piece, 1));
}

// Reads the next frame whole.
Task<Result<Frame>> ReadFrame(FrameReader& reader) {
  const auto header = co_await reader.ReadHeader();
  if (!header) co_return tl::make_unexpected(header.error());
  Frame frame{*header, std::string(header->payload_bytes, '\0')};
  if (auto status = co_await reader.ReadPayload(BytesOf(frame.payload)); !status)
    co_return tl::make_unexpected(status.error());
  co_return frame;
}

class FrameReaderTest : public testing::Test {
 protected:
  void Send(std::string_view bytes) {
    const Status sent = RunTask(loop_, SendAll(pair_.dialer, std::string(bytes)));
    ASSERT_TRUE(sent) << sent.error().message;
  }

  // The next `bytes` bytes of the socket, past the reader.
  std::string TakeFromSocket(std::size_t bytes) {
    std::string taken(bytes, '\0');
    const Status read = RunTask(loop_, pair_.acceptor.ReadAll(BytesOf(taken)));
    EXPECT_TRUE(read) << read.error().message;
    return taken;
  }

  FrameHeader ReadHeader(FrameReader& reader) {
    const auto header = RunTask(loop_, reader.ReadHeader());
    EXPECT_TRUE(header) << header.error().message;
    return header.value_or(FrameHeader{});
  }

  void ExpectFrame(Started<Result<Frame>>& reading, const Frame& expected) {
    const auto frame = reading.Get();
    ASSERT_TRUE(frame) << frame.error().message;
    EXPECT_EQ(frame->header, expected.header);
    EXPECT_TRUE(frame->payload == expected.payload);
  }

  EventLoop loop_{"test"};
  SocketPair pair_ = ConnectedPair(loop_);
};

TEST_F(FrameReaderTest, ReadsFramesThatAreSplitAtAnyByte) {
  const Frame first = MakeFrame(1, 20);
  const Frame second = MakeFrame(2, 0);
  const Frame third = MakeFrame(3, 5);
  const std::string stream = Encode(first) + Encode(second) + Encode(third);
  for (const std::size_t read_ahead : {std::size_t{64}, std::size_t{100}, std::size_t{4096}}) {
    FrameReader reader(pair_.acceptor, read_ahead);
    for (std::size_t split = 0; split <= stream.size(); ++split) {
      SCOPED_TRACE(testing::Message() << "read-ahead " << read_ahead << ", split at " << split);
      Started<Result<Frame>> reading(loop_, ReadFrame(reader));
      Send(std::string_view(stream).substr(0, split));
      RunReady(loop_);
      Send(std::string_view(stream).substr(split));
      ExpectFrame(reading, first);
      for (const Frame* frame : {&second, &third}) {
        Started<Result<Frame>> next(loop_, ReadFrame(reader));
        ExpectFrame(next, *frame);
      }
      ASSERT_EQ(reader.buffered(), 0U);
    }
  }
}

TEST_F(FrameReaderTest, WhatIsHereIsTakenWithoutAWait) {
  const Frame first = MakeFrame(1, 100);
  const Frame second = MakeFrame(2, 0);
  FrameReader reader(pair_.acceptor, 4096);
  const auto none = reader.TryHeader();
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->has_value());
  Send(Encode(first) + Encode(second) + Encode(first).substr(0, 100));
  ASSERT_TRUE(RunTask(loop_, reader.WaitReadable()));
  for (const Frame* frame : {&first, &second}) {
    const auto header = reader.TryHeader();
    ASSERT_TRUE(header && header->has_value());
    EXPECT_EQ(**header, frame->header);
    std::string payload(frame->payload.size(), '\0');
    iovec piece = ToIovec(BytesOf(payload));
    std::span<iovec> rest(&piece, 1);
    EXPECT_EQ(reader.TryPayload(rest), true);
    EXPECT_TRUE(payload == frame->payload);
    EXPECT_EQ(reader.HasFrame(), frame == &first) << "the third frame is not whole";
  }
  ASSERT_TRUE(reader.TryHeader());
  EXPECT_EQ(reader.TryDiscard(), false);
  Send(Encode(first).substr(100));
  ASSERT_TRUE(RunTask(loop_, reader.WaitReadable()));
  EXPECT_EQ(reader.TryDiscard(), true);
}

TEST_F(FrameReaderTest, TheReadAheadCanChange) {
  const Frame frame = MakeFrame(1, 1000);
  FrameReader reader(pair_.acceptor, 4096);
  reader.set_read_ahead(kFrameHeaderBytes);
  Send(Encode(frame));
  EXPECT_EQ(ReadHeader(reader), frame.header);
  EXPECT_EQ(reader.buffered(), 0U);
  EXPECT_TRUE(TakeFromSocket(1000) == frame.payload);
  reader.ConsumedOutside(1000);
  reader.set_read_ahead(4096);
  Send(Encode(frame));
  EXPECT_EQ(ReadHeader(reader), frame.header);
  EXPECT_EQ(reader.buffered(), 1000U);
}

TEST_F(FrameReaderTest, AReadAheadOfOneHeaderLeavesPayloadsInTheSocket) {
  const Frame first = MakeFrame(1, 1000);
  const Frame second = MakeFrame(2, 500);
  Send(Encode(first) + Encode(second) + Encode(first));
  FrameReader reader(pair_.acceptor, kFrameHeaderBytes);

  EXPECT_EQ(ReadHeader(reader), first.header);
  EXPECT_EQ(reader.payload_left(), 1000U);
  EXPECT_EQ(reader.buffered(), 0U);
  EXPECT_EQ(TakeFromSocket(1000), first.payload);
  reader.ConsumedOutside(1000);
  EXPECT_EQ(reader.payload_left(), 0U);

  // A payload that the reader receives brings the next header along, and no more than that.
  EXPECT_EQ(ReadHeader(reader), second.header);
  std::string payload(500, '\0');
  ASSERT_TRUE(RunTask(loop_, reader.ReadPayload(BytesOf(payload))));
  EXPECT_EQ(payload, second.payload);
  EXPECT_EQ(reader.buffered(), kFrameHeaderBytes);
  const std::uint64_t read_before = pair_.acceptor.bytes_read();
  EXPECT_EQ(ReadHeader(reader), first.header);
  EXPECT_EQ(pair_.acceptor.bytes_read(), read_before) << "the header had been read already";
  EXPECT_EQ(reader.buffered(), 0U);
  EXPECT_EQ(TakeFromSocket(1000), first.payload);
}

TEST_F(FrameReaderTest, APartOfAPayloadIsReadExactly) {
  const Frame frame = MakeFrame(1, 1000);
  Send(Encode(frame) + Encode(frame));
  FrameReader reader(pair_.acceptor, kFrameHeaderBytes);
  EXPECT_EQ(ReadHeader(reader), frame.header);
  std::string part(300, '\0');
  ASSERT_TRUE(RunTask(loop_, reader.ReadPayload(BytesOf(part))));
  EXPECT_EQ(part, frame.payload.substr(0, 300));
  EXPECT_EQ(reader.payload_left(), 700U);
  EXPECT_EQ(reader.buffered(), 0U);
  EXPECT_EQ(TakeFromSocket(700), frame.payload.substr(300));
}

TEST_F(FrameReaderTest, ALargerReadAheadTakesManyFramesWithOneRead) {
  std::string stream;
  for (std::uint64_t i = 0; i < 30; ++i) stream += Encode(MakeFrame(i, i));
  Send(stream);
  FrameReader reader(pair_.acceptor, 4096);
  Started<Result<Frame>> first(loop_, ReadFrame(reader));
  ExpectFrame(first, MakeFrame(0, 0));
  EXPECT_EQ(pair_.acceptor.bytes_read(), stream.size());
  EXPECT_EQ(reader.buffered(), stream.size() - kFrameHeaderBytes);
  for (std::uint64_t i = 1; i < 30; ++i) {
    Started<Result<Frame>> next(loop_, ReadFrame(reader));
    ExpectFrame(next, MakeFrame(i, i));
  }
}

TEST_F(FrameReaderTest, FillsAnyNumberOfPiecesExactly) {
  const Frame frame = MakeFrame(1, 100 * kKiB);
  const Frame next = MakeFrame(2, 10);
  FrameReader reader(pair_.acceptor, 4096);
  Started<Status> sending(loop_, SendAll(pair_.dialer, Encode(frame) + Encode(next)));
  EXPECT_EQ(ReadHeader(reader), frame.header);
  // More pieces than one system call takes, some of them empty; in two calls.
  std::string payload(frame.payload.size(), '\0');
  std::vector<iovec> pieces;
  std::span<std::byte> rest = BytesOf(payload);
  for (std::size_t bytes = 0; !rest.empty(); bytes = (bytes + 577) % 3000) {
    pieces.push_back(ToIovec(rest.first(std::min(bytes, rest.size()))));
    rest = rest.subspan(pieces.back().iov_len);
  }
  const std::size_t half = pieces.size() / 2;
  ASSERT_TRUE(RunTask(loop_, reader.ReadPayload(std::span(pieces).first(half))));
  EXPECT_GT(reader.payload_left(), 0U);
  ASSERT_TRUE(RunTask(loop_, reader.ReadPayload(std::span(pieces).subspan(half))));
  EXPECT_EQ(reader.payload_left(), 0U);
  EXPECT_TRUE(payload == frame.payload);
  EXPECT_TRUE(sending.Get());
  Started<Result<Frame>> following(loop_, ReadFrame(reader));
  ExpectFrame(following, next);
}

TEST_F(FrameReaderTest, DiscardSkipsWhatIsLeftOfThePayload) {
  for (const std::size_t read_ahead : {std::size_t{64}, std::size_t{4096}}) {
    for (const std::size_t taken : {std::size_t{0}, std::size_t{3}, std::size_t{150'000}}) {
      SCOPED_TRACE(testing::Message() << "read-ahead " << read_ahead << ", " << taken << " taken");
      const Frame skipped = MakeFrame(1, 150'000);
      const Frame next = MakeFrame(2, 9);
      FrameReader reader(pair_.acceptor, read_ahead);
      Started<Status> sending(loop_, SendAll(pair_.dialer, Encode(skipped) + Encode(next)));
      EXPECT_EQ(ReadHeader(reader), skipped.header);
      std::string part(taken, '\0');
      ASSERT_TRUE(RunTask(loop_, reader.ReadPayload(BytesOf(part))));
      EXPECT_TRUE(part == skipped.payload.substr(0, taken));
      ASSERT_TRUE(RunTask(loop_, reader.Discard()));
      EXPECT_EQ(reader.payload_left(), 0U);
      ASSERT_TRUE(RunTask(loop_, reader.Discard())) << "there is nothing to discard";
      Started<Result<Frame>> following(loop_, ReadFrame(reader));
      ExpectFrame(following, next);
      ASSERT_TRUE(sending.Get());
    }
  }
}

TEST_F(FrameReaderTest, WhatIsNotAFrameIsAProtocolError) {
  FrameReader reader(pair_.acceptor, 4096);
  Send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: somebody-at-the-wrong-port\r\n\r\n");
  const auto header = RunTask(loop_, reader.ReadHeader());
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().code, ErrorCode::kProtocol);
  EXPECT_THAT(header.error().message, HasSubstr("magic"));
}

TEST_F(FrameReaderTest, AConnectionThatEndsWithinAFrameIsUnavailable) {
  const std::string stream = Encode(MakeFrame(1, 100));
  for (const std::size_t sent :
       {std::size_t{0}, std::size_t{63}, std::size_t{64}, std::size_t{163}}) {
    SCOPED_TRACE(testing::Message() << sent << " bytes sent");
    SocketPair pair = ConnectedPair(loop_);
    FrameReader reader(pair.acceptor, kFrameHeaderBytes);
    ASSERT_TRUE(RunTask(loop_, SendAll(pair.dialer, stream.substr(0, sent))));
    pair.dialer.Close();
    const auto frame = RunTask(loop_, ReadFrame(reader));
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code, ErrorCode::kUnavailable);
    EXPECT_THAT(frame.error().message, HasSubstr("connection closed"));
  }
}

// Frames of all lengths, sent and consumed in pieces of all lengths.
TEST_F(FrameReaderTest, AnyWayOfConsumingGivesTheSameFrames) {
  constexpr std::uint64_t kSeed = 41;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  Random random(kSeed);
  for (const std::size_t read_ahead : {std::size_t{64}, std::size_t{65}, std::size_t{1000}}) {
    FrameReader reader(pair_.acceptor, read_ahead);
    for (std::uint64_t i = 0; i < 200; ++i) {
      SCOPED_TRACE(testing::Message() << "read-ahead " << read_ahead << ", frame " << i);
      const Frame frame =
          MakeFrame(i, random.Below(2) == 0 ? random.Below(50) : random.Below(8000));
      const std::string bytes = Encode(frame);
      const std::size_t split = random.Below(bytes.size() + 1);
      Started<Result<FrameHeader>> reading(loop_, reader.ReadHeader());
      Send(std::string_view(bytes).substr(0, split));
      RunReady(loop_);
      Send(std::string_view(bytes).substr(split));
      const auto header = reading.Get();
      ASSERT_TRUE(header) << header.error().message;
      ASSERT_EQ(*header, frame.header);
      std::string payload;
      while (reader.payload_left() > 0) {
        std::string part(1 + random.Below(reader.payload_left()), '\0');
        if (random.Below(8) == 0) {
          ASSERT_TRUE(RunTask(loop_, reader.Discard()));
          break;
        }
        if (reader.buffered() == 0 && random.Below(2) == 0) {
          part = TakeFromSocket(part.size());
          reader.ConsumedOutside(part.size());
        } else {
          ASSERT_TRUE(RunTask(loop_, reader.ReadPayload(BytesOf(part))));
        }
        payload += part;
      }
      ASSERT_TRUE(frame.payload.starts_with(payload));
    }
  }
}

using FrameReaderDeathTest = FrameReaderTest;

TEST_F(FrameReaderDeathTest, StopsTheProgramWhenAPayloadIsLeftUnread) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Send(Encode(MakeFrame(1, 10)));
  FrameReader reader(pair_.acceptor, 4096);
  ReadHeader(reader);
  EXPECT_DEATH((void)RunTask(loop_, reader.ReadHeader()),
               "10 bytes of the last payload are unread");
}

}  // namespace
}  // namespace infinicache::net
