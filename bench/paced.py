#!/usr/bin/env python3
"""Reads from nodes with slow networks: how near is a GET to the sum of the nodes' bandwidths?

Every node sends at most --bandwidth (SO_MAX_PACING_RATE on its links), as a small cloud function
does. An object of d data chunks then takes at least size / (d * bandwidth). The loopback alone
cannot show this gain, because there all nodes share one CPU.
"""

import argparse
import json
import sys
from pathlib import Path

import machine
from client import Load, LoadClient
from compare import ROOT, binaries_of
from isolation import enter_network_namespace, exit_code, pin_to_core
from report import parse_size
from servers import InfiniCache

DATA_CHUNKS = 10


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--size", type=parse_size, default="100MB")
    parser.add_argument("--bandwidth", type=parse_size, default="75MB",
                        help="bytes per second of each node (75MB)")
    parser.add_argument("--count", type=int, default=10, help="reads (10)")
    parser.add_argument("--core", type=int, default=0,
                        help="the core that all share (0); below 0: free scheduling")
    parser.add_argument("--no-netns", action="store_true")
    parser.add_argument("--gate", type=float, nargs="?", const=1.1,
                        help="fail if the median is above this many times the ideal (1.1)")
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/paced.json")
    options = parser.parse_args()
    return exit_code("paced", lambda: measure(options))


def measure(options: argparse.Namespace) -> int:
    if not options.no_netns:
        enter_network_namespace()
    pin_to_core(options.core if options.core >= 0 else None)
    binaries = binaries_of(options.build)
    client = LoadClient(binaries)
    load = Load(size=options.size, keys=2, seconds=0, count=options.count, warmup=1)
    paced = ["--node-bandwidth", str(options.bandwidth)]
    with InfiniCache(binaries, "512MiB", extra=paced) as ours:
        client.fill(ours, load)
        measured = client.measure(ours, "get", load)
        described = machine.describe({ours.name: ours.version()})
    ideal_ms = options.size / (DATA_CHUNKS * options.bandwidth) * 1e3
    median_ms = measured.p50_us / 1e3
    ratio = median_ms / ideal_ms
    print(f"GET of {options.size / 1e6:.0f} MB, nodes at {options.bandwidth / 1e6:.0f} MB/s each: "
          f"median {median_ms:.1f} ms, slowest {measured.max_us / 1e3:.1f} ms of {measured.ops}; "
          f"ideal {ideal_ms:.1f} ms; {ratio:.3f}x the ideal")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({
        "machine": described, "size": options.size, "node_bandwidth": options.bandwidth,
        "ideal_ms": ideal_ms, "median_ms": median_ms, "over_ideal": ratio,
        "measurement": measured.as_json()}, indent=1) + "\n")
    if options.gate is not None and ratio > options.gate:
        print(f"gate: {ratio:.3f}x is above {options.gate}x")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
