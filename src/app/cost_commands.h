// `infinicache prices` and `infinicache cost …`: what things cost, without a server.
//
// Each function prints to the standard streams and returns the exit code.
#pragma once

#include <cstdint>
#include <string>

namespace infinicache::app {

struct PriceOptions {
  std::string file;  // "": the prices of the program
  bool json = false;
  bool toml = false;  // the file itself, to be edited
};

// Flags as they are written; CostEstimate reads them.
struct EstimateOptions {
  std::uint64_t nodes = 400;
  std::string node_memory = "1.5GiB";
  double node_vcpus = 1;
  double hours = 50;
  std::string warm_up = "1m";
  std::string warm_up_session = "3ms";
  std::string backup = "0";
  std::string backup_session = "2s";
  std::uint64_t requests_per_hour = 0;
  std::uint64_t chunks = 12;
  std::string chunk_session = "100ms";
  std::string price = "lambda-x86";
  std::string provisioned = "elasticache-r5.24xlarge";
  std::string storage = "s3-standard";
};

// Prints the table of prices with date and source.
int ShowPrices(const PriceOptions& options);

// Prints what a pool with a fixed schedule would cost, by cause, beside its rivals.
int CostEstimate(const PriceOptions& prices, const EstimateOptions& options);

}  // namespace infinicache::app
