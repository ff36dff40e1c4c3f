# The short way in: each target is complete on a fresh Debian 12 (it installs what is missing
# first). CMake with its presets does the work; see CONTRIBUTING.md for the longer ways.

.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
# The tools below use all cores themselves, and two installations must not run at once.
.NOTPARALLEL:
.PRECIOUS: build/.deps-% build/%/build.ninja

# Debian's Python has the packages that `make deps` installs; another one in PATH may not.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
JOBS ?= $(shell tools/jobs.sh)
ARGS ?=
FUZZ_SECONDS ?= 20
SOAK_SECONDS ?= 600
SOAK_PRESET ?=

export CMAKE_BUILD_PARALLEL_LEVEL = $(JOBS)
export CTEST_PARALLEL_LEVEL = $(JOBS)
export PYTHONDONTWRITEBYTECODE = 1
# Property tests draw the same cases in every run; `make soak` draws new ones.
export RC_PARAMS ?= seed=1

RELEASE := build/release
PROGRAMS := $(RELEASE)/bin/infinicache $(RELEASE)/bin/infinicache-node

.PHONY: help
help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo 'JOBS=$(JOBS) compile jobs; ARGS="..." goes to the program of serve, demo and the benches.'

# --- What the machine needs -------------------------------------------------------------------

.PHONY: deps
deps:  ## install what is missing from Debian 12 (sudo when not root)
	@tools/install_deps.sh
	@mkdir -p build && touch build/.deps-build build/.deps-test build/.deps-lint

build/.deps-%: tools/install_deps.sh
	@tools/install_deps.sh $*
	@mkdir -p build && touch $@

# Configured once per preset; ninja configures again by itself when a CMakeLists.txt changes.
build/%/build.ninja: CMakePresets.json build/.deps-build
	cmake --preset $*
	@touch $@

# --- Build and run ----------------------------------------------------------------------------

.PHONY: build
build: $(RELEASE)/build.ninja  ## release build of everything, into build/release (the default)
	cmake --build --preset release

# Only what a user runs: half of the time of a whole build.
.PHONY: programs
programs: $(RELEASE)/build.ninja
	cmake --build --preset release --target infinicache infinicache-node

.PHONY: demo
demo: build/.deps-test programs  ## store real files, kill two nodes, read every byte back
	$(PYTHON) tools/demo.py --build $(RELEASE) $(ARGS)

.PHONY: serve
serve: programs  ## run the server: make serve ARGS="--nodes 24 --code 10+2"
	$(RELEASE)/bin/infinicache serve $(ARGS)

# --- Tests ------------------------------------------------------------------------------------

# Tests of real processes meet deadlines; what a busy machine disturbs gets a second try, and a
# fault fails twice.
CTEST_RETRY := --repeat until-pass:2

.PHONY: test
test: build/.deps-test build  ## release build and all tests: unit, style, processes, clients
	ctest --preset release $(CTEST_RETRY)

# Labels of the tests that run under sanitizers; SANITIZED='unit|process' adds the real processes
# (some minutes more).
SANITIZED ?= unit

# A sanitizer must stop the program at its first finding, or a test could pass in spite of it.
SYMBOLIZER := /usr/lib/llvm-19/bin/llvm-symbolizer
ASAN_ENV := ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1:check_initialization_order=1:strict_init_order=1 \
  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 ASAN_SYMBOLIZER_PATH=$(SYMBOLIZER) UBSAN_SYMBOLIZER_PATH=$(SYMBOLIZER)
TSAN_ENV := TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:external_symbolizer_path=$(SYMBOLIZER)

.PHONY: test-asan
test-asan: build/.deps-test build/asan/build.ninja  ## tests under address and undefined-behaviour sanitizers
	cmake --build --preset asan --target test_programs
	$(ASAN_ENV) INFINICACHE_TEST_SCALE=small ctest --preset asan $(CTEST_RETRY) -L '$(SANITIZED)'

.PHONY: test-tsan
test-tsan: build/.deps-test build/tsan/build.ninja  ## tests under the thread sanitizer
	cmake --build --preset tsan --target test_programs
	$(TSAN_ENV) INFINICACHE_TEST_SCALE=small ctest --preset tsan $(CTEST_RETRY) -L '$(SANITIZED)'

.PHONY: fuzz
fuzz: build/.deps-test build/asan/build.ninja  ## every fuzz target for FUZZ_SECONDS (20)
	cmake --build --preset fuzz --target fuzz_programs
	$(ASAN_ENV) tools/fuzz.sh build/asan/fuzz $(FUZZ_SECONDS)

.PHONY: nightly
nightly: build/.deps-test build  ## everything at once against a model, a quarter of an hour: SEED=n
	INFINICACHE_TEST_SCALE=large INFINICACHE_TEST_SEED=$${SEED:-$$((RANDOM * 32768 + RANDOM))} \
	  INFINICACHE_BIN_DIR=$(CURDIR)/$(RELEASE)/bin \
	  $(PYTHON) -m pytest -q -rP -p no:cacheprovider tests/process/test_everything.py

.PHONY: soak
soak: build/.deps-test build  ## randomized tests with new seeds for SOAK_SECONDS (600); SOAK_SEED=n repeats one
	tools/soak.sh $(RELEASE) $(SOAK_SECONDS) $(SOAK_SEED)

.PHONY: soak-faults
soak-faults: build/.deps-test build  ## real nodes are hurt for 10 minutes under each preset; SOAK_PRESET=name, SOAK_SEED=n
	PYTHON=$(PYTHON) SOAK_PRESET=$(SOAK_PRESET) tools/soak.sh $(RELEASE) faults $(SOAK_SEED)

# --- Benchmarks -------------------------------------------------------------------------------

.PHONY: bench
bench: build/.deps-test build  ## comparison with Redis and memcached: make bench ARGS="--gate FILE"
	$(PYTHON) bench/compare.py --build $(RELEASE) $(ARGS)

.PHONY: bench-coding
bench-coding: $(RELEASE)/build.ninja  ## erasure coding kernels against ISA-L
	cmake --build --preset release --target coding_bench
	$(RELEASE)/coding_bench $(ARGS)

.PHONY: bench-eviction
bench-eviction: $(RELEASE)/build.ninja  ## hit ratios of the eviction orders: ARGS="--trace FILE.csv.gz"
	cmake --build --preset release --target hit_ratio
	$(RELEASE)/bin/hit_ratio $(ARGS)

# --- Source -----------------------------------------------------------------------------------

.PHONY: lint
lint: build/.deps-lint build/.deps-test $(RELEASE)/build.ninja  ## format, style, shellcheck, headers, clang-tidy (LINT_CHANGED=1: changed files only)
	PYTHON=$(PYTHON) JOBS=$(JOBS) tools/lint.sh $(RELEASE)

.PHONY: format
format: build/.deps-lint  ## clang-format every C++ file in place
	@tools/cpp_files.sh | xargs -0 -r clang-format-19 -i

.PHONY: clean
clean:  ## remove build/
	rm -rf build
