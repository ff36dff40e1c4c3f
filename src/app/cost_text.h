// /api/v1/cost (admin/cost.h) as text for people. Lenient: what is missing counts as 0 or is left
// out. Thread-safety: pure.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

namespace infinicache::app {

// What the pool costs, what else would beside it, why, and what sleeps.
std::string CostText(const boost::json::value& cost);

// "$1234.50", "$0.0042", "$0.0000012", "$0": at least three digits that count, and cents.
std::string Dollars(double dollars);

}  // namespace infinicache::app
