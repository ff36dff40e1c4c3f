#!/usr/bin/env python3
"""Compares ours with Redis and memcached: CPU seconds per GB of object data, and latency.

Servers and client share one core in a network namespace of their own (see isolation.py for why),
so that the figures are CPU cost and hardly noise. For each round, each row (operation and size) is
measured on each server in turn, in rotated order, so that a change of the machine's mood hits all.

    compare.py                          everything, 11 rounds, about 6 minutes
    compare.py --gate bench/gate.json   and fail below the floors
    compare.py --only get:10MB,set:1MB --servers ours,redis --rounds 3
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import machine
from client import Load, LoadClient
from isolation import BenchError, enter_network_namespace, pin_to_core, preferred_by_scheduler
from report import (DEGRADED, OURS, PEERS, Gate, Results, Row, detail_table, markdown_table,
                    parse_size, ratio_table, size_name)
from servers import DegradedInfiniCache, InfiniCache, Memcached, Redis, Server, TunedRedis

ROOT = Path(__file__).resolve().parent.parent
SERVERS = (OURS, DEGRADED, *PEERS)
SIZES = ("10KB", "100KB", "1MB", "10MB", "100MB")
QUICK_SIZES = ("100KB", "1MB", "10MB")
SMOKE_SIZES = ("10KB", "1MB")

# Keys by size, about 610 MB in all per server. With fewer keys the values stay in the CPU's caches
# and every copy is up to a third cheaper, which is not how a cache is used.
KEYS = {10**4: 6400, 10**5: 640, 10**6: 64, 10**7: 12, 10**8: 3}
SMOKE_KEYS = 8
LOST_NODES = 2


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release",
                        help="build folder (or its bin/) with our programs and load_client")
    parser.add_argument("--rounds", type=int, help="rounds (11; --quick 3, --smoke 1)")
    parser.add_argument("--seconds", type=float, help="measured time per cell (0.5; --smoke 0.05)")
    parser.add_argument("--quick", action="store_true", help="3 rounds, sizes 100KB to 10MB")
    parser.add_argument("--smoke", action="store_true",
                        help="does it still run? No root, no figures worth anything")
    parser.add_argument("--only", help="rows: get:10MB,set:1MB (get and set alone mean all sizes)")
    parser.add_argument("--servers", default=",".join(SERVERS), help="default: %(default)s")
    parser.add_argument("--core", type=int, default=0, help="the core that all share (0)")
    parser.add_argument("--no-netns", action="store_true",
                        help="stay in the machine's own network namespace")
    parser.add_argument("--node-memory", default="512MiB", help="per node of ours (%(default)s)")
    parser.add_argument("--serve-args", default="",
                        help="further arguments of `infinicache serve`, separated by blanks")
    parser.add_argument("--gate", type=Path, help="file of floors; below one of them: exit code 1")
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/compare.json",
                        help="where the results go (%(default)s)")
    parser.add_argument("--markdown", action="store_true",
                        help="print the table for the README too")
    parser.add_argument("--profile", type=Path, metavar="FOLDER",
                        help="perf record of every cell of ours, into this folder")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 1 if options.smoke else 3 if options.quick else 11
    if options.seconds is None:
        options.seconds = 0.05 if options.smoke else 0.5
    options.servers = options.servers.split(",")
    unknown = set(options.servers) - set(SERVERS)
    if unknown or options.rounds < 1 or options.seconds <= 0:
        parser.error(f"unknown servers: {', '.join(unknown)}" if unknown
                     else "--rounds and --seconds must be above 0")
    try:
        options.rows = choose_rows(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def choose_rows(options: argparse.Namespace) -> list[Row]:
    sizes = SMOKE_SIZES if options.smoke else QUICK_SIZES if options.quick else SIZES
    rows = []
    for item in (options.only or "get,set").split(","):
        op, _, size = item.partition(":")
        if op not in ("get", "set"):
            raise ValueError(f"--only {item}: expected get or set, with :SIZE or without")
        rows += [Row(op, parse_size(text)) for text in ([size] if size else sizes)]
    return sorted(set(rows))


def binaries_of(build: Path) -> Path:
    build = build.resolve()
    return build / "bin" if (build / "bin").is_dir() else build


class Comparison:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._binaries = binaries_of(options.build)
        self._client = LoadClient(self._binaries)
        self.results = Results()
        self.versions: dict[str, str] = {}

    def run(self) -> None:
        with contextlib.ExitStack() as stack:
            servers = [stack.enter_context(self._make(name)) for name in self._options.servers]
            for server in servers:
                self.versions[server.name] = server.version()
                self._fill(server)
            for number in range(self._options.rounds):
                self._round(number, servers)

    def _make(self, name: str) -> Server:
        memory, extra = self._options.node_memory, self._options.serve_args.split()
        if name == OURS:
            return InfiniCache(self._binaries, memory, extra=extra)
        if name == DEGRADED:
            return DegradedInfiniCache(self._binaries, memory, extra=extra)
        return {"redis": Redis, "tuned": TunedRedis, "memcached": Memcached}[name]()

    def _load(self, size: int) -> Load:
        keys = KEYS.get(size, max(3, 64 * 10**6 // size))
        return Load(size=size, keys=min(keys, SMOKE_KEYS) if self._options.smoke else keys,
                    seconds=self._options.seconds)

    def _fill(self, server: Server) -> None:
        """Stores all objects twice (memory is then touched), and reads them back."""
        loads = [self._load(size) for size in sorted({row.size for row in self._options.rows})]
        say(f"{server.name}: storing {sum(x.size * x.keys for x in loads) / 1e6:.0f} MB twice")
        for load in loads:
            self._client.fill(server, load)
        if isinstance(server, DegradedInfiniCache):
            server.lose_nodes(LOST_NODES)
            for load in loads:
                self._client.verify(server, load)
        server.check_pinned(self._options.core)

    def _round(self, number: int, servers: list[Server]) -> None:
        for row in self._options.rows:
            say(f"round {number + 1}/{self._options.rounds}: {row}")
            turn = number % len(servers)
            for server in servers[turn:] + servers[:turn]:
                # A SET would replace the lost chunks.
                if server.name == DEGRADED and row.op == "set":
                    continue
                profile = None
                if self._options.profile and server.name in (OURS, DEGRADED):
                    profile = self._options.profile / (
                        f"{server.name}-{row.op}-{size_name(row.size)}-{number + 1}.data")
                measured = self._client.measure(server, row.op, self._load(row.size), profile)
                self.results.add(row, server.name, measured)


def measure_kernel(build: Path, names: list[str]) -> dict[str, float]:
    """Runs the named benchmarks of coding_bench; what cannot be compared here is left out."""
    program = next((p for p in (build / "coding_bench", build.parent / "coding_bench")
                    if p.exists()), None)
    if program is None:
        raise BenchError(f"{build / 'coding_bench'}, which the gate needs, is missing: run `make`")
    ratios = {}
    for name in names:
        pattern = "^" + name.replace("+", r"\+") + "$"
        done = subprocess.run(
            [program, f"--benchmark_filter={pattern}", "--benchmark_format=json"],
            capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"{program}: {done.stderr.strip()}")
        for run in json.loads(done.stdout or "{}").get("benchmarks", []):
            # On a CPU without GFNI, ISA-L is our kernel: there is nothing to compare.
            if run.get("label") != "isal" and "ratio_to_isal" in run:
                ratios[name] = run["ratio_to_isal"]
    return ratios


def say(text: str) -> None:
    """Progress; on a terminal each line replaces the one before."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def compare(options: argparse.Namespace) -> int:
    gate = Gate.load(options.gate) if options.gate else None
    if not (options.smoke or options.no_netns):
        enter_network_namespace()
    if options.smoke:
        options.core = None
    pin_to_core(options.core)
    begin = time.monotonic()
    comparison = Comparison(options)
    with preferred_by_scheduler() as preferred:
        kernel = measure_kernel(options.build.resolve(), list(gate.kernel_floors)) if gate else {}
        comparison.run()
    results = comparison.results
    described = machine.describe(comparison.versions)
    say(f"{time.monotonic() - begin:.0f} s\n")
    verdict = gate.judge(results, kernel) if gate else None
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({
        "machine": described, "rounds": options.rounds, "seconds_per_cell": options.seconds,
        "core": options.core, "own_network_namespace": not (options.smoke or options.no_netns),
        "preferred_by_scheduler": preferred, "rows": results.as_json(),
        "coding_kernel_over_isal": kernel,
        "gate": verdict.__dict__ if verdict else None}, indent=1) + "\n")

    print(machine.summary(described))
    print(f"\n{detail_table(results)}\n\n{ratio_table(results)}")
    print("\nCPU s/GB: CPU seconds of client and all server processes per GB of object data, "
          "median of the rounds.\n"
          "Ratios: the peer's CPU s/GB over ours, median of those within each round; "
          "above 1, ours is cheaper.")
    for name, ratio in kernel.items():
        print(f"coding kernel {name}: {ratio:.2f}x ISA-L")
    if options.markdown:
        print(f"\n{markdown_table(results)}")
    print(f"\nwritten: {options.json}")
    if verdict:
        print(verdict)
        return 1 if verdict.failures or verdict.passed == 0 else 0
    return 0


def main() -> int:
    # So that `kill` runs the same clean-up as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return compare(parse_arguments())
    except BenchError as error:
        print(f"\ncompare: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncompare: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
