// Requests to a cache: read from a CSV file, or drawn so that they look like a registry's.
//
// A file has the header `time_s,op,key,size` and a request per line, in order of time: op is get,
// set or del, size is in bytes. Errors end the program with a message.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace infinicache::bench {

struct TraceRequest {
  enum class Op : std::uint8_t { kGet, kSet, kDel };
  Op op = Op::kGet;
  std::uint64_t object = 0;
  std::uint64_t bytes = 0;
};

// Reads all of `file`; keys become numbers.
std::vector<TraceRequest> ReadTrace(std::FILE* file);

// GETs with the statistics of the large objects (above 10 MB) in the Docker registry trace of IBM's
// data centre in Dallas (Anwar et al., FAST 2018; the 50 hours from 2017-06-20 on that the
// InfiniCache paper replays): 37,474 requests for 12,541 objects of 950 GB, of which 77.1 % are
// requested once and one 4,638 times; sizes of 42 MB in the median and 8.5 GB at most; and gaps
// between two requests of an object of 73 s in the median, 91 % within the hour. `scale` multiplies
// the numbers of objects and requests. Popularity, size and gaps are drawn independently of each
// other, but for the most popular objects, which have the trace's median request size.
std::vector<TraceRequest> DrawRegistryTrace(std::uint64_t seed, double scale);

}  // namespace infinicache::bench
