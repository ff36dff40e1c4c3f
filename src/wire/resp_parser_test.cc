#include "wire/resp_parser.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "wire/request_replay.h"

namespace infinicache::wire {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Command = RequestReplay::Command;
using Event = RespParser::Event;

// Properties are checked from a fixed seed unless the environment asks for another.
[[maybe_unused]] const int kSeedIsSet = setenv("RC_PARAMS", "seed=20240611", 0);

constexpr RespParser::Limits kSmallLimits = {.buffered_argument_bytes_max = 16,
                                             .bulk_bytes_max = 100000,
                                             .arguments_max = 1000,
                                             .buffered_command_bytes_max = 400};

std::vector<Command> Commands(std::string_view stream) {
  RequestReplay whole(RespParser::Limits{});
  whole.Feed(stream);
  RequestReplay bytewise(RespParser::Limits{});
  for (const char c : stream) bytewise.Feed({&c, 1});
  EXPECT_EQ(whole.error(), "") << stream;
  EXPECT_EQ(bytewise.error(), "") << stream;
  EXPECT_EQ(whole.commands(), bytewise.commands()) << stream;
  return whole.commands();
}

std::string ErrorOf(std::string_view stream, const RespParser::Limits& limits = {}) {
  RequestReplay whole(limits);
  whole.Feed(stream);
  RequestReplay bytewise(limits);
  for (const char c : stream) bytewise.Feed({&c, 1});
  EXPECT_EQ(whole.error(), bytewise.error()) << stream.substr(0, 100);
  EXPECT_EQ(whole.commands(), bytewise.commands()) << stream.substr(0, 100);
  constexpr std::string_view kPrefix = "ERR Protocol error: ";
  return whole.error().empty() ? "" : whole.error().substr(kPrefix.size());
}

std::string Encode(const Command& command) {
  std::string out = fmt::format("*{}\r\n", command.size());
  for (const std::string& argument : command) {
    out += fmt::format("${}\r\n{}\r\n", argument.size(), argument);
  }
  return out;
}

TEST(RespParser, ReadsPipelinedArrays) {
  EXPECT_THAT(Commands("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n"),
              ElementsAre(Command{"GET", "k"}, Command{"PING"}));
  EXPECT_THAT(Commands("*1\r\n$0\r\n\r\n"), ElementsAre(Command{""}));
}

TEST(RespParser, ReturnsAtTheEndOfEachCommand) {
  RespParser parser({});
  const std::string_view stream = "*1\r\n$4\r\nPING\r\nPING\r\n";
  std::size_t consumed = 0;
  EXPECT_EQ(parser.Parse(stream, consumed), Event::kCommand);
  EXPECT_EQ(consumed, 14u);
  EXPECT_EQ(parser.Parse(stream.substr(14), consumed), Event::kCommand);
  EXPECT_EQ(consumed, 6u);
  EXPECT_EQ(parser.Parse({}, consumed), Event::kNeedMore);
  EXPECT_EQ(consumed, 0u);
}

TEST(RespParser, SkipsEmptyCommands) {
  EXPECT_THAT(Commands("*0\r\n*-1\r\n\r\n\n   \r\n*-10\r\nPING\r\n"), ElementsAre(Command{"PING"}));
}

// redis-server 7.0.15 answers PONG to these.
TEST(RespParser, DoesNotLookAtLineEnds) {
  EXPECT_THAT(Commands("*1\r\n$4\r\nPING\n\r*1\rX$4\rYPINGab"),
              ElementsAre(Command{"PING"}, Command{"PING"}));
}

TEST(RespParser, ReadsInlineCommandsWithQuotes) {
  EXPECT_THAT(Commands("PING\r\n"), ElementsAre(Command{"PING"}));
  EXPECT_THAT(Commands("PING\nPING\r\r\n"), ElementsAre(Command{"PING"}, Command{"PING"}));
  EXPECT_THAT(Commands("  SET\tk  v \r\n"), ElementsAre(Command{"SET", "k", "v"}));
  EXPECT_THAT(Commands("echo \"a\\x41\\n\\q\"\r\n"), ElementsAre(Command{"echo", "aA\nq"}));
  EXPECT_THAT(Commands("echo \"\\r\\t\\b\\a\\\\\\\"\\xZZ\\x4\"\r\n"),
              ElementsAre(Command{"echo", "\r\t\b\a\\\"xZZx4"}));
  EXPECT_THAT(Commands("echo 'a\\'b\\n'\r\n"), ElementsAre(Command{"echo", "a'b\\n"}));
  EXPECT_THAT(Commands("echo a\"b c\"\r\n"), ElementsAre(Command{"echo", "ab c"}));
  EXPECT_THAT(Commands("echo a\\x41\r\n"), ElementsAre(Command{"echo", "a\\x41"}));
  EXPECT_THAT(Commands("echo \"\" ''\r\n"), ElementsAre(Command{"echo", "", ""}));
  EXPECT_THAT(Commands("echo \x0bz a\x0b"
                       "b\r\n"),
              ElementsAre(Command{"echo", "z",
                                  "a\x0b"
                                  "b"}));
  EXPECT_THAT(Commands("echo \"a\rb\" c\rd\r\n"), ElementsAre(Command{"echo", "a\rb", "c", "d"}));
}

// Each text as redis-server 7.0.15 sends it for the same bytes.
TEST(RespParser, GivesTheProtocolErrorsOfRedis) {
  for (const char* stream : {"*abc\r\n", "*\r\n", "*-0\r\n", "*01\r\n", "*+1\r\n", "* 1\r\n",
                             "*2147483648\r\n", "*99999999999999999999\r\n"}) {
    EXPECT_EQ(ErrorOf(stream), "invalid multibulk length") << stream;
  }
  for (const char* stream :
       {"*1\r\n$-1\r\n", "*1\r\n$abc\r\n", "*1\r\n$\r\n", "*1\r\n$536870913\r\n",
        "*1\r\n$04\r\nPING\r\n", "*1\r\n$99999999999999999999999999999999999999\r\n"}) {
    EXPECT_EQ(ErrorOf(stream), "invalid bulk length") << stream;
  }
  EXPECT_EQ(ErrorOf("*1\r\nxyz\r\n"), "expected '$', got 'x'");
  EXPECT_EQ(ErrorOf("*1\r\n:4\r\n"), "expected '$', got ':'");
  EXPECT_EQ(ErrorOf("*1\r\n\xff\r\n"), "expected '$', got '\xff'");
  EXPECT_EQ(ErrorOf("*1\r\n\r\n"), "expected '$', got ' '");
  EXPECT_EQ(ErrorOf("*1\r\n\n\r\n"), "expected '$', got ' '");
  for (const char* stream : {"\"abc\r\n", "'abc\r\n", "echo \"a\"b\r\n", "echo \"a\\\r\n"}) {
    EXPECT_EQ(ErrorOf(stream), "unbalanced quotes in request") << stream;
  }
}

TEST(RespParser, BoundsLinesAt64KiB) {
  constexpr std::size_t kMax = 64 * kKiB;
  EXPECT_EQ(ErrorOf(std::string(kMax, 'a')), "");
  EXPECT_EQ(ErrorOf(std::string(kMax, 'a') + "\n"), "");
  EXPECT_EQ(ErrorOf(std::string(kMax + 1, 'a')), "too big inline request");
  EXPECT_EQ(ErrorOf(std::string(kMax + 1, 'a') + "\n"), "too big inline request");
  EXPECT_EQ(ErrorOf("*" + std::string(kMax - 1, '1')), "");
  EXPECT_EQ(ErrorOf("*" + std::string(kMax, '1')), "too big mbulk count string");
  EXPECT_EQ(ErrorOf("*1\r\n$" + std::string(kMax - 1, '1')), "");
  EXPECT_EQ(ErrorOf("*1\r\n$" + std::string(kMax, '1')), "too big bulk count string");
  EXPECT_EQ(ErrorOf("*1\r\nx" + std::string(kMax, '1')), "too big bulk count string");
  EXPECT_EQ(ErrorOf("*" + std::string(kMax, '1') + "\r\n"), "too big mbulk count string");
}

TEST(RespParser, BoundsWhatStrangersSend) {
  const RespParser::Limits limits = {.authenticated = false};
  EXPECT_EQ(ErrorOf("*10\r\n", limits), "");
  EXPECT_EQ(ErrorOf("*11\r\n", limits), "unauthenticated multibulk length");
  EXPECT_EQ(ErrorOf("*1\r\n$16384\r\n", limits), "");
  EXPECT_EQ(ErrorOf("*1\r\n$16385\r\n", limits), "unauthenticated bulk length");
  EXPECT_EQ(ErrorOf("*1\r\n$536870913\r\n", limits), "invalid bulk length");
}

TEST(RespParser, LimitsCanChangeBetweenCommands) {
  RequestReplay replay({.authenticated = false});
  replay.Feed("PING\r\n");
  replay.parser().set_limits({.authenticated = true});
  replay.Feed(Encode(Command(11, "x")));
  EXPECT_EQ(replay.commands().size(), 2u);
  EXPECT_EQ(replay.error(), "");
}

TEST(RespParser, BoundsArgumentsAndBufferedBytesOfOneCommand) {
  EXPECT_EQ(ErrorOf("*1000\r\n", kSmallLimits), "");
  EXPECT_EQ(ErrorOf("*1001\r\n", kSmallLimits), "invalid multibulk length");
  EXPECT_EQ(ErrorOf(Encode(Command(25, std::string(16, 'x'))), kSmallLimits), "");
  EXPECT_EQ(ErrorOf(Encode(Command(26, std::string(16, 'x'))), kSmallLimits),
            "command larger than 400 bytes");
  // The sum is per command, and large arguments are not part of it.
  std::string stream = Encode(Command(25, std::string(16, 'x')));
  stream += Encode(Command(50, std::string(17, 'y')));
  EXPECT_EQ(ErrorOf(stream, kSmallLimits), "");
}

TEST(RespParser, ErrorsAreFinal) {
  RespParser parser({});
  std::size_t consumed = 0;
  EXPECT_EQ(parser.Parse("*x\r\n", consumed), Event::kError);
  EXPECT_EQ(parser.Parse("PING\r\n", consumed), Event::kError);
  EXPECT_EQ(consumed, 0u);
  EXPECT_EQ(parser.error(), "ERR Protocol error: invalid multibulk length");
}

TEST(RespParser, AnnouncesLargeArgumentsWithWhatCameBefore) {
  RespParser parser({.buffered_argument_bytes_max = 4});
  std::size_t consumed = 0;
  EXPECT_EQ(parser.Parse("*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello", consumed),
            Event::kLargeArgument);
  EXPECT_EQ(consumed, 24u);
  ASSERT_EQ(parser.arguments().size(), 3u);
  EXPECT_EQ(parser.arguments()[0].bytes, "SET");
  EXPECT_EQ(parser.arguments()[1].bytes, "k");
  EXPECT_TRUE(parser.arguments()[2].large);
  EXPECT_EQ(parser.large_argument_bytes(), 5u);
  parser.FinishLargeArgument();
  EXPECT_EQ(parser.Parse("\r", consumed), Event::kNeedMore);
  EXPECT_EQ(parser.Parse("\n$2\r\nXX\r\n", consumed), Event::kCommand);
  ASSERT_EQ(parser.arguments().size(), 4u);
  EXPECT_EQ(parser.arguments()[0].bytes, "SET");
  EXPECT_EQ(parser.arguments()[2].large_bytes, 5u);
  EXPECT_EQ(parser.arguments()[3].bytes, "XX");
}

TEST(RespParser, LargeArgumentsMayBeGigabytes) {
  RespParser parser({.bulk_bytes_max = 1ULL << 40});
  std::size_t consumed = 0;
  EXPECT_EQ(parser.Parse("*1\r\n$1099511627776\r\n", consumed), Event::kLargeArgument);
  EXPECT_EQ(parser.large_argument_bytes(), 1ULL << 40);
}

TEST(RespParserDeathTest, ParsingOnInALargeArgumentIsABug) {
  RespParser parser({.buffered_argument_bytes_max = 4});
  std::size_t consumed = 0;
  EXPECT_EQ(parser.Parse("*1\r\n$5\r\n", consumed), Event::kLargeArgument);
  EXPECT_DEATH(parser.Parse("hello", consumed), "FinishLargeArgument");
}

TEST(RespParser, ReusesItsStorage) {
  RespParser parser({});
  const std::string stream = Encode({"SET", "key", std::string(10000, 'v')});
  std::size_t consumed = 0;
  ASSERT_EQ(parser.Parse(stream, consumed), Event::kCommand);
  parser.Parse(stream, consumed);
  const char* const storage = parser.arguments()[0].bytes.data();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(parser.Parse(stream, consumed), Event::kCommand);
    ASSERT_EQ(parser.arguments()[0].bytes.data(), storage);
  }
}

TEST(RespParser, ReleaseMemoryKeepsTheCommandUnderWay) {
  RespParser parser({});
  std::size_t consumed = 0;
  EXPECT_EQ(parser.Parse("*2\r\n$3\r\nGET\r\n$3\r\nk", consumed), Event::kNeedMore);
  parser.ReleaseMemory();
  EXPECT_EQ(parser.Parse("ey\r\n", consumed), Event::kCommand);
  EXPECT_EQ(parser.arguments()[1].bytes, "key");
  parser.ReleaseMemory();
  EXPECT_THAT(parser.arguments(), IsEmpty());
  EXPECT_EQ(parser.Parse("PING\r\n", consumed), Event::kCommand);
  EXPECT_EQ(parser.arguments()[0].bytes, "PING");
}

TEST(RespParser, GivesBackTheStorageOfARareBigCommand) {
  RequestReplay replay(RespParser::Limits{});
  const Command big(1000, std::string(1000, 'b'));
  for (int round = 0; round < 3; ++round) {
    replay.Feed(Encode(big));
    EXPECT_EQ(replay.commands().back(), big);
    EXPECT_GT(replay.parser().memory_bytes(), kMiB / 2);
    for (int i = 0; i < 100; ++i) {
      replay.Feed("SET k v\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
      ASSERT_EQ(replay.commands().back(), (Command{"GET", "k"}));
    }
    EXPECT_LT(replay.parser().memory_bytes(), 4 * kKiB);
  }
}

// Growth must not cost a pass over all arguments each time: a client could stop the server with it.
TEST(RespParser, ManySmallArgumentsTakeLinearTime) {
  const std::string stream = Encode(Command(500000, "0123456789"));
  RespParser parser({});
  std::size_t consumed = 0;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(parser.Parse(stream, consumed), Event::kCommand);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(parser.arguments().size(), 500000u);
  EXPECT_EQ(parser.arguments().front().bytes, "0123456789");
}

// --- Properties ---------------------------------------------------------------------------------

void FeedInPieces(RequestReplay& replay, std::string_view stream,
                  const std::vector<std::uint8_t>& sizes) {
  for (std::size_t i = 0; !stream.empty(); ++i) {
    const std::size_t size = sizes.empty() ? 1 : std::size_t{1} + sizes[i % sizes.size()];
    replay.Feed(stream.substr(0, size));
    stream.remove_prefix(std::min(size, stream.size()));
  }
}

rc::Gen<std::string> AnyBytes() {
  return rc::gen::container<std::string>(rc::gen::arbitrary<char>());
}

RC_GTEST_PROP(RespParserProperty, AnyCutGivesTheCommandsThatWereEncoded, ()) {
  const auto commands = *rc::gen::container<std::vector<Command>>(
      rc::gen::nonEmpty(rc::gen::container<Command>(AnyBytes())));
  const auto sizes = *rc::gen::arbitrary<std::vector<std::uint8_t>>();
  const auto large_from = *rc::gen::inRange<std::size_t>(0, 100);
  std::string stream;
  for (const Command& command : commands) stream += Encode(command);
  RequestReplay replay({.buffered_argument_bytes_max = large_from});
  FeedInPieces(replay, stream, sizes);
  RC_ASSERT(replay.error() == "");
  RC_ASSERT(replay.commands() == commands);
}

// Fragments of the grammar and noise between them, so that each state sees wrong bytes.
rc::Gen<std::string> Fragment() {
  return rc::gen::oneOf(rc::gen::element<std::string>(
                            "*1\r\n", "*2\r\n", "*3\r\n", "*0\r\n", "*-1\r\n", "$3\r\nSET\r\n",
                            "$0\r\n\r\n", "$20\r\n01234567890123456789\r\n", "$17\r\n", "GET k\r\n",
                            "SET \"a b\" 'c'\r\n", "\r\n", "\"", "'", "\\x4"),
                        AnyBytes());
}

RC_GTEST_PROP(RespParserProperty, AnyCutOfAnyStreamGivesTheSameEvents, ()) {
  const auto fragments = *rc::gen::container<std::vector<std::string>>(Fragment());
  const auto sizes = *rc::gen::arbitrary<std::vector<std::uint8_t>>();
  std::string stream;
  for (const std::string& fragment : fragments) stream += fragment;
  RequestReplay whole(kSmallLimits);
  whole.Feed(stream);
  RequestReplay cut(kSmallLimits);
  FeedInPieces(cut, stream, sizes);
  RC_ASSERT(cut.error() == whole.error());
  RC_ASSERT(cut.commands() == whole.commands());
  RC_ASSERT(cut.payloads() == whole.payloads());
}

// What a careful client writes, it gets back, whatever the bytes.
RC_GTEST_PROP(RespParserProperty, QuotedInlineCommandsReadBack, ()) {
  const auto command = *rc::gen::nonEmpty(rc::gen::container<Command>(AnyBytes()));
  std::string line;
  for (const std::string& argument : command) {
    line += " \"";
    for (const char c : argument) line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    line += "\"";
  }
  RC_PRE(line.size() < 60 * kKiB);
  RequestReplay replay(RespParser::Limits{});
  replay.Feed(line + "\r\n");
  RC_ASSERT(replay.error() == "");
  RC_ASSERT(replay.commands() == std::vector<Command>{command});
}

}  // namespace
}  // namespace infinicache::wire
