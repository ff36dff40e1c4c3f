#!/usr/bin/env bash
# Prints how many compile jobs this machine bears: one per core, but no more than fit in memory.
#
# A file that includes Asio and Beast takes up to 1.5 GB of the compiler's memory, so eight cores
# with 4 GB would swap or be killed. The limit of a container counts, not only the machine's memory.
set -euo pipefail

KIB_PER_JOB=$((1536 * 1024))

available_kib=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo 2>/dev/null || true)
available_kib=${available_kib:-$KIB_PER_JOB}
limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || true)
used=$(cat /sys/fs/cgroup/memory.current 2>/dev/null || true)
if [[ $limit =~ ^[0-9]+$ && $used =~ ^[0-9]+$ ]]; then
  free_kib=$(((limit - used) / 1024))
  if ((free_kib < available_kib)); then available_kib=$free_kib; fi
fi

jobs=$(nproc)
by_memory=$((available_kib / KIB_PER_JOB))
if ((by_memory < jobs)); then jobs=$by_memory; fi
if ((jobs < 1)); then jobs=1; fi
echo "$jobs"
