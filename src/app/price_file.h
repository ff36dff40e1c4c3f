// The price table as a TOML file: a table `[name]` per price. prices/prices.toml is the one that
// ships, explains the format, and is also in the program.
//
// Thread-safety: pure, but for ReadPriceFile, which reads the file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "policy/prices.h"

namespace infinicache::app {

struct PriceFile {
  policy::PriceTable table;           // in the file's order; of no use if there are problems
  std::vector<std::string> problems;  // "path:line: what is wrong, and the remedy", by line
};

// Reads TOML. Each key must be known, each value that its kind needs be there and not negative.
PriceFile ParsePriceFile(std::string_view toml, const std::string& path);

// The same of a file. A file that cannot be read is a problem.
PriceFile ReadPriceFile(const std::string& path);

// prices/prices.toml as it was when the program was built.
std::string_view BuiltInPriceText();

// The table of BuiltInPriceText().
const policy::PriceTable& BuiltInPrices();

}  // namespace infinicache::app
