#include "platform/local/node_lines.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <charconv>
#include <cstdint>

namespace infinicache::platform {
namespace {

constexpr std::size_t kQuotedBytesMax = 200;
constexpr std::int64_t kPortMax = 65535;

std::uint64_t ParseHex(const boost::json::value* value) {
  std::uint64_t number = 0;
  if (value != nullptr && value->is_string()) {
    const auto& text = value->get_string();
    std::from_chars(text.data(), text.data() + text.size(), number, 16);
  }
  return number;
}

}  // namespace

Result<Instance> ParseReadyLine(NodeId node, std::string_view line, bool listens) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse({line.data(), line.size()}, error);
  const boost::json::object* object = error ? nullptr : value.if_object();
  const boost::json::value* port = object != nullptr ? object->if_contains("port") : nullptr;
  const boost::json::value* id = object != nullptr ? object->if_contains("instance") : nullptr;
  const boost::json::value* pid = object != nullptr ? object->if_contains("pid") : nullptr;
  const std::uint64_t instance = ParseHex(id);
  const bool port_is_good = port != nullptr && port->is_int64() &&
                            (port->get_int64() > 0) == listens && port->get_int64() >= 0 &&
                            port->get_int64() <= kPortMax;
  if (!port_is_good || pid == nullptr || !pid->is_int64() || instance == 0) {
    return Fail(ErrorCode::kProtocol, fmt::format("node {} said '{}' instead of its port",
                                                  node.value(), line.substr(0, kQuotedBytesMax)));
  }
  const auto number = static_cast<std::uint16_t>(port->get_int64());
  return Instance{node,
                  InstanceId(instance),
                  {number == 0 ? "" : "127.0.0.1", number},
                  static_cast<int>(pid->get_int64())};
}

SessionId ParseReturnLine(std::string_view line) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse({line.data(), line.size()}, error);
  const boost::json::object* object = error ? nullptr : value.if_object();
  return SessionId(object != nullptr ? ParseHex(object->if_contains("end")) : 0);
}

std::string InvocationLine(const Invocation& invocation) {
  const std::string proxy = invocation.proxy.host.empty() ? "" : invocation.proxy.ToString();
  return fmt::format(
      "{{\"session\":\"{:016x}\",\"warm_up\":{},\"proxy\":\"{}\",\"data_links\":{}}}\n",
      invocation.session.value(), invocation.purpose == policy::Purpose::kWarmUp, proxy,
      invocation.data_links);
}

std::string DescribeInstance(NodeId node, std::string_view ready_line, bool is_primary) {
  return boost::json::serialize(
      boost::json::object{{"node", node.value()}, {"ready", ready_line}, {"primary", is_primary}});
}

Result<Description> ParseDescription(const std::string& text, bool listens) {
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse(text, error);
  const boost::json::object* object = error ? nullptr : value.if_object();
  const boost::json::value* node = object != nullptr ? object->if_contains("node") : nullptr;
  const boost::json::value* line = object != nullptr ? object->if_contains("ready") : nullptr;
  const boost::json::value* primary = object != nullptr ? object->if_contains("primary") : nullptr;
  if (node == nullptr || !node->is_int64() || line == nullptr || !line->is_string())
    return Fail(ErrorCode::kProtocol, "it was not ready yet");
  const std::string ready_line(line->get_string());
  auto instance =
      ParseReadyLine(NodeId(static_cast<std::uint32_t>(node->get_int64())), ready_line, listens);
  if (!instance) return tl::make_unexpected(instance.error());
  const bool is_primary = primary != nullptr && primary->is_bool() && primary->get_bool();
  return Description{*instance, ready_line, is_primary};
}

}  // namespace infinicache::platform
