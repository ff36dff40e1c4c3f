// `infinicache config …`: the settings on paper.
//
// Each function prints to the standard streams and returns the exit code.
#pragma once

#include <string>
#include <string_view>

#include "app/settings.h"

namespace infinicache::app {

// Prints a file of all settings with their defaults.
int ConfigInit();
// Says what is wrong with a file, as path:line: message.
int ConfigCheck(const std::string& path);
// Prints what `serve` would run with, and where each value comes from.
int ConfigShow(const LoadedSettings& loaded, bool json);

// Prints each problem on a line of the standard error stream, after `prefix`. Returns kExitUsage.
int ReportProblems(const LoadedSettings& loaded, std::string_view prefix = "infinicache: ");

}  // namespace infinicache::app
