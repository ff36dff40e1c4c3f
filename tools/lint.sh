#!/usr/bin/env bash
# Everything that is checked without running the product; `make lint` calls it.
#
#   tools/lint.sh build/release
#
# Quick checks come first; all of them run even when one fails, so that one call shows everything.
# LINT_CHANGED=1 gives clang-tidy only the files that differ from LINT_BASE (default: origin/main,
# or HEAD in a clone without it) or include one that does.
set -euo pipefail
cd "$(dirname "$0")/.."

build=$1
python=${PYTHON:-python3}
jobs=${JOBS:-$(tools/jobs.sh)}
failed=()

step() {
  local name=$1 started=$SECONDS
  shift
  if "$@"; then
    echo "lint: $name ok ($((SECONDS - started)) s)"
  else
    echo "lint: $name FAILED ($((SECONDS - started)) s)" >&2
    failed+=("$name")
  fi
}

check_format() {
  if ! tools/cpp_files.sh | xargs -0 -r clang-format-19 --dry-run -Werror; then
    echo "lint: 'make format' puts this right" >&2
    return 1
  fi
}

# Every script by its first line, wherever it lies.
check_scripts() {
  local scripts
  mapfile -t scripts < <(git ls-files -co --exclude-standard | while read -r path; do
    if [[ -f $path ]] && head -n 1 "$path" | grep -qaE '^#!.*\b(ba)?sh\b'; then echo "$path"; fi
  done)
  shellcheck "${scripts[@]}"
}

check_headers() {
  cmake --build "$build" --target header_check
}

check_tidy() {
  local options=(--jobs "$jobs")
  if [[ ${LINT_CHANGED:-0} != 0 ]]; then
    local base=${LINT_BASE:-}
    if [[ -z $base ]]; then
      base=HEAD
      if git rev-parse --verify --quiet origin/main >/dev/null; then base=origin/main; fi
    fi
    options+=(--changed "$base")
  fi
  "$python" tools/tidy.py "$build" "${options[@]}"
}

step "format" check_format
step "style" "$python" tests/style/style_test.py
step "shellcheck" check_scripts
step "headers" check_headers
step "clang-tidy" check_tidy

if [[ ${#failed[@]} -gt 0 ]]; then
  echo "lint: FAILED: ${failed[*]}" >&2
  exit 1
fi
echo "lint: no findings"
