// The setting `reclaim`: when the local platform takes instances away.
//
//   none
//   idle:10m              each instance when it has been idle for 10 minutes
//   max-life:10m          each instance when it is 10 minutes old
//   poisson:6/1h          one at a time, at random, 6 an hour on average over the whole pool
//   spikes:2/5m           2 at once, every 5 minutes
//   replay:FILE           a line for each reclaim: seconds after the start, and the node's number;
//                         '#' begins a comment
//
// Thread-safety: pure, but for LoadReclaimModel, which reads the replay's file.
#pragma once

#include <string_view>

#include "base/result.h"
#include "policy/reclaim_schedule.h"

namespace infinicache::app {

// Whether `text` is one of the above; the file is not looked at. Errors: kInvalidArgument.
Status CheckReclaim(std::string_view text);
// The model that `text` names. Errors: kInvalidArgument, with file and line where one is read.
Result<policy::ReclaimModel> LoadReclaimModel(std::string_view text);
// The events of a replay file's text. Errors: kInvalidArgument, naming the line.
Result<std::vector<policy::ReclaimEvent>> ParseReplay(std::string_view text);

}  // namespace infinicache::app
