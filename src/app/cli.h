// The command line of `infinicache`.
//
// Each command is a function from its flags to an exit code (app/exit_code.h). Results go to the
// standard output stream, everything else to the standard error stream.
#pragma once

#include <string_view>

namespace infinicache::app {

// Runs the command that `argv` names and returns the exit code of the process.
int RunCli(int argc, char** argv, std::string_view version);

}  // namespace infinicache::app
