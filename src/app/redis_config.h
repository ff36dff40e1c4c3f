// The settings as CONFIG GET shows them: under Redis's names where it has one, and under our own.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "app/settings.h"

namespace infinicache::app {

// (name, value) rows. Secrets are left out.
std::vector<std::pair<std::string, std::string>> RedisConfig(const Settings& settings);

}  // namespace infinicache::app
