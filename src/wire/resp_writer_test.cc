#include "wire/resp_writer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>

namespace infinicache::wire {
namespace {

// What `write` appends in protocol 2 and in protocol 3.
template <typename Write>
void ExpectReply(Write write, const std::string& resp2, const std::string& resp3) {
  for (const int protocol : {2, 3}) {
    std::string out = "before";
    RespWriter writer(out, protocol);
    EXPECT_EQ(writer.protocol(), protocol);
    write(writer);
    EXPECT_EQ(out, "before" + (protocol == 2 ? resp2 : resp3)) << "protocol " << protocol;
  }
}

template <typename Write>
void ExpectReply(Write write, const std::string& both) {
  ExpectReply(write, both, both);
}

TEST(RespWriter, WritesLines) {
  ExpectReply([](RespWriter& w) { w.Simple("OK"); }, "+OK\r\n");
  ExpectReply([](RespWriter& w) { w.Error("ERR syntax error"); }, "-ERR syntax error\r\n");
  ExpectReply([](RespWriter& w) { w.Integer(0); }, ":0\r\n");
  ExpectReply([](RespWriter& w) { w.Integer(std::numeric_limits<std::int64_t>::min()); },
              ":-9223372036854775808\r\n");
}

TEST(RespWriter, NoTextBreaksTheStream) {
  ExpectReply([](RespWriter& w) { w.Error("ERR unknown command 'a\r\n+OK\r\n'"); },
              "-ERR unknown command 'a  +OK  '\r\n");
  ExpectReply([](RespWriter& w) { w.Simple("a\nb"); }, "+a b\r\n");
}

TEST(RespWriter, WritesBulks) {
  ExpectReply([](RespWriter& w) { w.Bulk("a\r\nb"); }, "$4\r\na\r\nb\r\n");
  ExpectReply([](RespWriter& w) { w.Bulk(""); }, "$0\r\n\r\n");
  ExpectReply([](RespWriter& w) { w.BulkHeader(std::numeric_limits<std::uint64_t>::max()); },
              "$18446744073709551615\r\n");
}

TEST(RespWriter, WritesNulls) {
  ExpectReply([](RespWriter& w) { w.Null(); }, "$-1\r\n", "_\r\n");
  ExpectReply([](RespWriter& w) { w.NullArray(); }, "*-1\r\n", "_\r\n");
}

TEST(RespWriter, WritesAggregateHeaders) {
  ExpectReply([](RespWriter& w) { w.Array(3); }, "*3\r\n");
  ExpectReply([](RespWriter& w) { w.Map(3); }, "*6\r\n", "%3\r\n");
  ExpectReply([](RespWriter& w) { w.Set(3); }, "*3\r\n", "~3\r\n");
  ExpectReply([](RespWriter& w) { w.Push(3); }, "*3\r\n", ">3\r\n");
}

TEST(RespWriter, WritesScalarsOfResp3) {
  ExpectReply([](RespWriter& w) { w.Boolean(true); }, ":1\r\n", "#t\r\n");
  ExpectReply([](RespWriter& w) { w.Boolean(false); }, ":0\r\n", "#f\r\n");
  ExpectReply([](RespWriter& w) { w.Verbatim("txt", "hi\r\n"); }, "$4\r\nhi\r\n\r\n",
              "=8\r\ntxt:hi\r\n\r\n");
}

TEST(RespWriter, DoublesReadBackAsTheyWere) {
  ExpectReply([](RespWriter& w) { w.Double(0.1); }, "$3\r\n0.1\r\n", ",0.1\r\n");
  ExpectReply([](RespWriter& w) { w.Double(3); }, "$1\r\n3\r\n", ",3\r\n");
  ExpectReply([](RespWriter& w) { w.Double(-1e300); }, "$7\r\n-1e+300\r\n", ",-1e+300\r\n");
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  ExpectReply([](RespWriter& w) { w.Double(kInfinity); }, "$3\r\ninf\r\n", ",inf\r\n");
  ExpectReply([](RespWriter& w) { w.Double(-kInfinity); }, "$4\r\n-inf\r\n", ",-inf\r\n");
  ExpectReply([](RespWriter& w) { w.Double(-std::numeric_limits<double>::quiet_NaN()); },
              "$3\r\nnan\r\n", ",nan\r\n");
}

}  // namespace
}  // namespace infinicache::wire
