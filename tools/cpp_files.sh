#!/usr/bin/env bash
# Prints the project's C++ files, separated by NUL: what `make format` formats and `make lint`
# checks.
set -euo pipefail
cd "$(dirname "$0")/.."
folders=()
for folder in src bench tests; do
  if [[ -d $folder ]]; then folders+=("$folder"); fi
done
find "${folders[@]}" -type f \( -name '*.h' -o -name '*.cc' \) -print0 | sort -z
