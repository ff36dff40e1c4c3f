#!/usr/bin/env bash
# Installs what the project needs from Debian 12 (bookworm); with everything there it does nothing.
#
#   tools/install_deps.sh [build|test|lint]...      (no argument: all three groups)
#
# It asks dpkg first, so that the usual call takes milliseconds, needs no rights and no network.
# The servers that benchmarks and tests start as peers (redis-server, memcached) come without
# their daemons: nothing is started now or at the next boot.
set -euo pipefail

BUILD_PACKAGES=(
  clang-19 lld-19 cmake ninja-build ccache pkg-config
  libboost1.81-dev libboost-json1.81-dev libexpected-dev libspdlog-dev libfmt-dev libisal-dev
  libcli11-dev libtomlplusplus-dev prometheus-cpp-dev libxxhash-dev libjemalloc-dev libssl-dev
  libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev
)
TEST_PACKAGES=(
  python3 python3-pytest python3-redis redis-tools redis-server memcached iproute2 procps
  libclang-rt-19-dev llvm-19
)
LINT_PACKAGES=(clang-format-19 clang-tidy-19 shellcheck)

# Packages above that start a daemon when Debian installs them.
DAEMONS=(redis-server memcached)

POLICY=/usr/sbin/policy-rc.d
POLICY_SAVED=$POLICY.before-infinicache

fail() {
  printf 'install_deps: %s\n' "$@" >&2
  exit 1
}

is_installed() {
  [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) == ?i* ]]
}

# Prints those of its arguments that are not installed.
missing_of() {
  local package
  for package in "$@"; do
    is_installed "$package" || printf '%s\n' "$package"
  done
}

# Denies the daemons their start while dpkg configures them; every other service is decided by the
# machine's own policy, if it has one.
deny_daemons() {
  restore_policy
  if [[ -e $POLICY ]]; then mv "$POLICY" "$POLICY_SAVED"; fi
  trap restore_policy EXIT
  cat >"$POLICY" <<EOF
#!/bin/sh
# Temporary, by infinicache's tools/install_deps.sh.
case "\$1" in
  ${DAEMONS[0]}*|${DAEMONS[1]}*) exit 101 ;;
esac
if [ -x $POLICY_SAVED ]; then exec $POLICY_SAVED "\$@"; fi
exit 0
EOF
  chmod 755 "$POLICY"
}

restore_policy() {
  if grep -qs "infinicache's tools/install_deps.sh" "$POLICY"; then rm -f "$POLICY"; fi
  if [[ -e $POLICY_SAVED ]]; then mv "$POLICY_SAVED" "$POLICY"; fi
}

# The start at boot of a daemon that this run has installed.
disable_daemon() {
  if command -v systemctl >/dev/null; then
    systemctl disable --quiet "$1.service" 2>/dev/null || true
  elif command -v update-rc.d >/dev/null; then
    update-rc.d "$1" disable >/dev/null 2>&1 || true
  fi
}

groups=("$@")
if [[ ${#groups[@]} -eq 0 ]]; then groups=(build test lint); fi
wanted=()
for group in "${groups[@]}"; do
  case $group in
    build) wanted+=("${BUILD_PACKAGES[@]}") ;;
    test) wanted+=("${TEST_PACKAGES[@]}") ;;
    lint) wanted+=("${LINT_PACKAGES[@]}") ;;
    *) fail "unknown group '$group'; choose build, test or lint" ;;
  esac
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  fail "this is not a Debian system (no apt-get); install the equivalents of these packages" \
    "${wanted[*]}" \
    "and create build/.deps-${groups[0]} (and the other groups' files) to go on"
fi

mapfile -t missing < <(missing_of "${wanted[@]}")
if [[ ${#missing[@]} -eq 0 ]]; then exit 0; fi

if is_installed libboost1.74-dev && [[ " ${missing[*]} " == *" libboost1.81-dev "* ]]; then
  fail "libboost1.81-dev is needed, and libboost1.74-dev, which is installed, excludes it." \
    "Remove the old headers, then try again:  sudo apt-get remove libboost1.74-dev" \
    "(This also removes libboost-dev and libboost-*1.74-dev, if any; what was built with them" \
    "goes on working.)"
fi

if [[ $EUID -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    fail "packages are missing, and installing them takes root or sudo. As root:" \
      "apt-get install --no-install-recommends ${missing[*]}"
  fi
  echo "install_deps: ${#missing[@]} packages are missing; sudo may ask for your password"
  exec sudo -- "$0" "${groups[@]}"
fi

export DEBIAN_FRONTEND=noninteractive
echo "install_deps: installing ${missing[*]}"
apt-get update -qq

mapfile -t unknown < <(
  for package in "${missing[@]}"; do
    [[ $(apt-cache policy "$package") == *"Candidate: "[0-9]* ]] || printf '%s\n' "$package"
  done
)
if [[ ${#unknown[@]} -gt 0 ]]; then
  release=$(sed -n 's/^PRETTY_NAME="\(.*\)"$/\1/p' /etc/os-release 2>/dev/null || true)
  fail "${release:-this system} does not offer: ${unknown[*]}" \
    "The project is built on Debian 12 (bookworm) with its updates; a container of it will do:" \
    "docker run -it -v \"\$PWD:/src\" -w /src debian:12"
fi

deny_daemons
apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}"
for daemon in "${DAEMONS[@]}"; do
  if [[ " ${missing[*]} " == *" $daemon "* ]]; then disable_daemon "$daemon"; fi
done
