// infinicache: the server and the operator's commands, in one program.
#include "app/cli.h"

int main(int argc, char** argv) {
  return infinicache::app::RunCli(argc, argv, INFINICACHE_VERSION);
}
