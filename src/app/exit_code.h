// What the programs tell their caller when they end.
//
// A command that Ctrl-C ends has no code of ours: the shell reports 130. `serve` takes it as the
// order to stop, and ends with kExitOk.
#pragma once

namespace infinicache::app {

enum ExitCode : int {
  kExitOk = 0,
  kExitRuntime = 1,          // something failed while running
  kExitUsage = 2,            // wrong arguments or settings
  kExitCannotConnect = 3,    // no server at the address
  kExitUnauthenticated = 4,  // the server wants another password
  kExitNotFound = 5,         // no such object
  kExitDegraded = 6,         // the server runs, but something is wrong with it
  kExitDataLoss = 7,         // objects are there that cannot be read
  kExitTimeout = 124,        // no answer in time
};

}  // namespace infinicache::app
