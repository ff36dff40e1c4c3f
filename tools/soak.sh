#!/usr/bin/env bash
# Repeats the randomized tests with new seeds until the time is up or one fails.
#
#   tools/soak.sh build/release 600         rounds for 600 seconds
#   tools/soak.sh build/release 600 1234    the one round of seed 1234
#   tools/soak.sh build/release faults [1234]     only the fault runs of real processes, once: 10
#                                           minutes for each preset, or for $SOAK_PRESET alone
#
# A round's seed reaches the property tests (rapidcheck, ten times the usual cases), the order of
# the unit tests, and the process tests (INFINICACHE_TEST_SEED, at INFINICACHE_TEST_SCALE=large).
set -euo pipefail

build=$1
seconds=$2
only_seed=${3:-}

run_round() {
  local seed=$1
  echo "soak: round $rounds, seed $seed, ${SECONDS}s of ${seconds}s"
  if ! RC_PARAMS="seed=$seed max_success=1000" \
    GTEST_SHUFFLE=1 GTEST_RANDOM_SEED=$((seed % 99999 + 1)) \
    INFINICACHE_TEST_SEED=$seed INFINICACHE_TEST_SCALE=large \
    ctest --test-dir "$build" -L 'unit|process' --output-on-failure --timeout 3600; then
    echo "soak: FAILED with seed $seed; to repeat:  make soak SOAK_SEED=$seed" >&2
    exit 1
  fi
}

run_faults() {
  local seed=$1
  echo "soak: fault runs, seed $seed"
  if ! INFINICACHE_TEST_SEED=$seed INFINICACHE_TEST_SCALE=large INFINICACHE_BIN_DIR=$build/bin \
    PYTHONDONTWRITEBYTECODE=1 "${PYTHON:-python3}" -m pytest -q -s -p no:cacheprovider \
    -k "${SOAK_PRESET:-test}" tests/process/test_faults.py </dev/null; then
    echo "soak: FAILED; to repeat:  make soak-faults SOAK_SEED=$seed" >&2
    exit 1
  fi
}

if [[ $seconds == faults ]]; then
  run_faults "${only_seed:-$((RANDOM * 32768 + RANDOM))}"
  exit 0
fi
rounds=1
if [[ -n $only_seed ]]; then
  run_round "$only_seed"
  exit 0
fi
while ((rounds == 1 || SECONDS < seconds)); do
  run_round $((RANDOM * 32768 + RANDOM))
  rounds=$((rounds + 1))
done
echo "soak: $((rounds - 1)) rounds in ${SECONDS}s, no failure"
