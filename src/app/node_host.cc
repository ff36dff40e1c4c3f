#include "app/node_host.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/check.h"
#include "net/crypto.h"
#include "platform/local/local_platform.h"

namespace infinicache::app {
namespace {

constexpr std::size_t kSecretBytes = 32;

constexpr std::array<std::string_view, 14> kShapeSettings = {
    "preset",         "nodes",           "node-memory",  "node-bandwidth", "host-bandwidth",
    "nodes-per-host", "billing-quantum", "session-max",  "price",          "price-file",
    "code",           "parity-min",      "node-program", "test-hooks"};

}  // namespace

platform::GuardedProcesses::Shape PoolShape(const Settings& settings, std::string_view version) {
  platform::GuardedProcesses::Shape shape = {{"version", std::string(version)}};
  for (const std::string_view name : kShapeSettings) {
    const SettingSpec* const spec = FindSetting(name);
    CHECK(spec != nullptr, "there is no setting {}", name);
    shape.emplace(name, spec->Print(settings));
  }
  return shape;
}

NodeHost MakeNodeHost(const Settings& settings, const std::string& node_program,
                      std::string_view version) {
  NodeHost host;
  host.secret = net::RandomHex(kSecretBytes);
  // A server whose port the system chooses is not found again.
  if (settings.listen.port == 0) return host;
  platform::GuardedProcesses::Options options;
  // Whatever a node runs, the guard is ours.
  options.program = platform::FindNodeProgram().value_or(node_program);
  options.name = fmt::format("infinicache/{}/{}", geteuid(), settings.listen.ToString());
  options.survival = settings.node_survival;
  options.shape = PoolShape(settings, version);
  options.secret = host.secret;
  auto guarded = std::make_unique<platform::GuardedProcesses>(std::move(options));
  host.survivors = guarded->TakeOver();
  host.secret = guarded->secret();
  if (settings.node_survival > Duration(0)) host.processes = std::move(guarded);
  return host;
}

}  // namespace infinicache::app
