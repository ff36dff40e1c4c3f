#include "app/redis_config.h"

#include <fmt/format.h>

namespace infinicache::app {

std::vector<std::pair<std::string, std::string>> RedisConfig(const Settings& settings) {
  std::vector<std::pair<std::string, std::string>> rows = {
      {"bind", settings.listen.host},
      {"port", fmt::to_string(settings.listen.port)},
      {"maxclients", fmt::to_string(settings.max_clients)},
      {"timeout", "0"},  // idle clients stay
      {"databases", "1"},
      {"maxmemory", fmt::to_string(settings.nodes * settings.node_memory)},
      {"proto-max-bulk-len", fmt::to_string(settings.max_object_size)},
      {"save", ""},
      {"appendonly", "no"},
      {"cluster-enabled", "no"},
      {"io-threads", fmt::to_string(settings.EffectiveThreads())},
  };
  for (const SettingSpec& spec : SettingSpecs()) {
    if (!spec.secret) rows.emplace_back(spec.name, spec.Print(settings));
  }
  return rows;
}

}  // namespace infinicache::app
