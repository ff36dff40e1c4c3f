#!/usr/bin/env python3
"""How much does the proxy's memory grow while one huge object is written and read?

The proxy passes objects on stripe by stripe, so its memory must not depend on their size. Measured
is the resident memory of the `serve` process without its nodes and without what it has mapped of
their memory, sampled every 2 ms, against what it had when it was idle.
"""

import argparse
import json
import sys
import threading
from pathlib import Path

import machine
from client import Load, LoadClient
from compare import ROOT, binaries_of
from isolation import BenchError, enter_network_namespace, exit_code
from report import parse_size
from servers import InfiniCache

SAMPLE_SECONDS = 0.002
MIB = 1 << 20


def status_bytes(pid: int, *fields: str) -> int:
    """The sum of the fields, at one moment."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = [int(line.split()[1]) for line in lines if line.split(":")[0] in fields]
    if len(found) != len(fields):
        raise BenchError(f"process {pid} lacks one of {fields}")
    return sum(found) * 1024


def own_bytes(pid: int) -> int:
    return status_bytes(pid, "RssAnon", "RssFile")


class PeakMemory:
    """Peak resident memory of a process within a `with` block; `peak` is valid after it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak = 0
        self.samples = 0

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, own_bytes(self._pid))
            self.samples += 1


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--size", type=parse_size, default="1GB")
    parser.add_argument("--node-memory", default="512MiB", help="per node, of 12 (%(default)s)")
    parser.add_argument("--netns", action="store_true",
                        help="in a network namespace of its own, as the other benchmarks")
    parser.add_argument("--gate", nargs="?", const="64MiB", metavar="MIB",
                        help="fail if it grows by this or more (64MiB)")
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/memory.json")
    options = parser.parse_args()
    if options.gate is not None and not options.gate.removesuffix("MiB").isdigit():
        parser.error("--gate: expected a number of MiB, as 64MiB")
    return exit_code("memory", lambda: measure(options))


def measure(options: argparse.Namespace) -> int:
    if options.netns:
        enter_network_namespace()
    binaries = binaries_of(options.build)
    client = LoadClient(binaries)
    load = Load(size=options.size, keys=1, seconds=0, count=1, warmup=0)
    with InfiniCache(binaries, options.node_memory) as ours:
        idle = own_bytes(ours.pid)
        grown = {}
        for op in ("set", "get"):
            with PeakMemory(ours.pid) as memory:
                measured = client.measure(ours, op, load)
            grown[op] = memory.peak - idle
            print(f"{op.upper()} of {options.size / 1e6:.0f} MB in {measured.wall_seconds:.2f} s: "
                  f"idle {idle / MIB:.1f} MiB, peak {memory.peak / MIB:.1f} MiB, "
                  f"growth {grown[op] / MIB:.1f} MiB ({memory.samples} samples)")
        client.verify(ours, load)
        described = machine.describe({ours.name: ours.version()})
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({
        "machine": described, "size": options.size, "idle_bytes": idle,
        "growth_bytes": grown}, indent=1) + "\n")
    if options.gate is None:
        return 0
    limit = int(options.gate.removesuffix("MiB")) * MIB
    failures = [f"{op.upper()} grows by {g / MIB:.1f} MiB" for op, g in grown.items() if g >= limit]
    for failure in failures:
        print(f"gate: {failure}, must stay below {limit / MIB:.0f} MiB")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
