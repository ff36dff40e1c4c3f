#!/usr/bin/env python3
"""What share of objects survives an hour of reclaims: alone, with backup, with repair, with both?

Real processes with frozen instances, in scaled time: a minute takes --minute seconds (1), so that
warm-up each minute and backup every 5 minutes, as in the InfiniCache paper (FAST 2020), are as
often as there in the hour. Instances are reclaimed by a Poisson process without notice. In each
trial all objects are written, an hour passes, and all are read: what is not there was lost. The
intensity is the one at which a pool without backup and repair keeps 81.4 % of its objects per hour,
which is the paper's figure without backup; with backup the paper has 95.4 %.
--neither sets another intensity, --reclaim another process: the paper's record has spikes too.
"""

import argparse
import json
import math
import random
import sys
import time
from pathlib import Path

import machine
from compare import ROOT, binaries_of
from isolation import exit_code
from platforms import Client, key_of, table
from servers import InfiniCache

DATA, PARITY = 10, 2
OBJECT_BYTES = 1_100_000  # above 1 MiB: in 10+2 chunks
WITHOUT_BACKUP, WITH_BACKUP = 0.814, 0.954  # the paper's, per hour

CONFIGURATIONS = {"neither": ("off", "off"), "backup": ("on", "off"), "repair": ("off", "on"),
                  "both": ("on", "on")}  # backup, repair


def survival(reclaimed: float) -> float:
    """Of an object whose nodes are reclaimed with this probability each, and nothing restores."""
    width = DATA + PARITY
    return sum(math.comb(width, k) * reclaimed**k * (1 - reclaimed)**(width - k)
               for k in range(PARITY + 1))


def reclaims_per_node_hour(availability: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if survival(middle) > availability else (low, middle)
    return -math.log1p(-low)  # of a Poisson process: the rate whose chance in an hour this is


def serve(options: argparse.Namespace, name: str, rate: float) -> InfiniCache:
    backup, repair = CONFIGURATIONS[name]
    minute = options.minute
    per_hundred = 100 * 60 * minute / (rate * options.nodes)  # reclaims of the pool
    extra = ["--preset", "lambda-like", "--warm-up", f"{minute * 1e3:.0f}ms", "--repair", repair,
             "--reclaim", options.reclaim or f"poisson:100/{per_hundred * 1e3:.0f}ms"]
    extra += ["--backup", f"{5 * minute * 1e3:.0f}ms" if backup == "on" else "off"]
    return InfiniCache(binaries_of(options.build), "16MiB", nodes=options.nodes, extra=extra)


def reclaims_seen(server: InfiniCache) -> int:
    return json.loads(server.admin_text("/api/v1/status"))["instances"]["reclaimed"]


def trial(server: InfiniCache, options: argparse.Namespace) -> int:
    """Objects that are there after an hour."""
    client = Client(server.port)
    content = random.Random(7).randbytes(OBJECT_BYTES)
    for item in range(options.objects):
        client.set(key_of(item), content)
    time.sleep(60 * options.minute)
    return sum(client.get_size_or_none(key_of(item)) == OBJECT_BYTES
               for item in range(options.objects))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--hours", type=int, default=3, help="trials of each (%(default)s)")
    parser.add_argument("--minute", type=float, default=1, help="seconds (%(default)s)")
    parser.add_argument("--neither", type=float, default=WITHOUT_BACKUP,
                        help="what survives with neither, which says how often instances are "
                             "reclaimed (%(default)s)")
    parser.add_argument("--reclaim", help="another model, in scaled time, as of infinicache serve")
    parser.add_argument("--only", choices=CONFIGURATIONS, help="this one alone")
    parser.add_argument("--gate", type=float, nargs="?", const=0.999,
                        help="fail if fewer survive with both (0.999)")
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/availability.json")
    options = parser.parse_args()
    return exit_code("availability", lambda: measure(options))


def measure(options: argparse.Namespace) -> int:
    rate = reclaims_per_node_hour(options.neither)
    often = options.reclaim or (f"each node is reclaimed {rate:.3f} times an hour, the pool "
                                f"{rate * options.nodes:.1f} times")
    print(f"{options.nodes} nodes, {options.objects} objects of {OBJECT_BYTES // 1000} KB, code "
          f"{DATA}+{PARITY}; {often}")
    alive: dict[str, list[float]] = {}
    reclaimed: dict[str, list[int]] = {}
    for name in [options.only] if options.only else CONFIGURATIONS:
        with serve(options, name, rate) as server:
            alive[name], reclaimed[name] = [], []
            for _ in range(options.hours):
                before = reclaims_seen(server)
                alive[name].append(trial(server, options) / options.objects)
                reclaimed[name].append(reclaims_seen(server) - before)
        shares = ", ".join(f"{share:.1%} ({reclaims} reclaims seen)" for share, reclaims
                           in zip(alive[name], reclaimed[name], strict=True))
        print(f"{name}: {shares}", flush=True)
    mean = {name: sum(shares) / len(shares) for name, shares in alive.items()}
    paper = {"neither": f"{WITHOUT_BACKUP:.1%}", "backup": f"{WITH_BACKUP:.1%}"}
    print("\n" + table(["backup and repair", "alive after an hour", "the paper's"],
                       [[name, f"{share:.2%}", paper.get(name, "")]
                        for name, share in mean.items()]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(
        {"machine": machine.describe({}), "rate": rate, "alive": alive, "reclaimed": reclaimed},
        indent=1))
    if options.gate is not None and mean.get("both", 1) < options.gate:
        print(f"availability: {mean['both']:.2%} with both; the gate is {options.gate:.2%}",
              file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
