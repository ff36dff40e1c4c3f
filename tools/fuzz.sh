#!/usr/bin/env bash
# Runs every libFuzzer program of a folder for a while, and fails at the first crash.
#
#   tools/fuzz.sh build/asan/fuzz 20        20 seconds for each target
#
# A target starts from tests/corpus/<target>/ (kept in the repository, may be absent) and keeps what
# it learns in <folder>/corpus/<target>/, so that a next run goes on from there. An input that
# crashes is written to <folder>/crashes/; the line to repeat it is printed.
set -euo pipefail

folder=$1
seconds=$2
root=$(cd "$(dirname "$0")/.." && pwd)

mapfile -t targets < <(find "$folder" -maxdepth 1 -type f -name '*_fuzz' -perm -u+x | sort)
if [[ ${#targets[@]} -eq 0 ]]; then
  echo "fuzz: no target in $folder: nothing was tested" >&2
  exit 1
fi

mkdir -p "$folder/crashes"
for target in "${targets[@]}"; do
  name=$(basename "$target")
  learned=$folder/corpus/$name
  mkdir -p "$learned"
  arguments=("$learned")
  if [[ -d $root/tests/corpus/$name ]]; then arguments+=("$root/tests/corpus/$name"); fi
  if [[ -f $root/tests/corpus/$name.dict ]]; then
    arguments+=("-dict=$root/tests/corpus/$name.dict")
  fi
  seed=${FUZZ_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
  log=$folder/$name.log
  if ! "$target" -max_total_time="$seconds" -seed="$seed" -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="$folder/crashes/$name-" "${arguments[@]}" >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    artifact=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    echo "fuzz: $name FAILED (seed $seed); to repeat:" >&2
    echo "  $target ${artifact:-"-seed=$seed ${arguments[*]}"}" >&2
    exit 1
  fi
  runs=$(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$log" | tail -n 1)
  coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  printf 'fuzz: %-28s %12s runs  coverage %-6s seed %s\n' \
    "$name" "${runs:-?}" "${coverage:-?}" "$seed"
done
echo "fuzz: ${#targets[@]} targets, $seconds s each, no finding"
