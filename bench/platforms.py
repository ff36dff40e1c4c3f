#!/usr/bin/env python3
"""What a function platform's contract costs: one workload on several presets and billing quanta.

The workload is drawn from a seed and the same for every platform: objects of 10 KB to 20 MB (sizes
lognormal, as of container layers), read with a zipf-like popularity in bursts with idle gaps
between them. Counted are the sessions and what they are billed, the control messages (invocations,
PING, PONG, BYE) and the latencies of the first request after a gap and of those that follow.

Then, on platforms that freeze: one GET with all nodes asleep, broken down.

With --trade-off instead: what staying awake after a request buys, and what it costs. The fee of an
invocation, by which a node decides how long it stays, is scaled; the sessions that result are
priced as they are. With --contention: what it costs that nodes share the network of a host.
"""

import argparse
import itertools
import json
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import machine
from compare import ROOT, binaries_of
from isolation import BenchError, exit_code
from report import markdown
from servers import HOST, InfiniCache

SIZE_MEDIAN = 300_000
SIZE_SIGMA = 1.6
SIZE_MIN, SIZE_MAX = 10_000, 20_000_000
ZIPF_EXPONENT = 0.9
BURST_MEAN = 6
GAP_IN_BURST = 0.005
GAP_MEAN = 1.0
FIRST_AFTER = 0.2  # idle seconds before a request that counts as the first one
ASLEEP_SECONDS = 60
NODE_MEMORY = "128MiB"
# prices/prices.toml, lambda-x86.
NODE_GB = 0.125
LAMBDA_FEE = 0.20e-6
LAMBDA_GB_SECOND = 0.0000166667


@dataclass(frozen=True)
class Setup:
    preset: str
    quantum: str
    arguments: tuple[str, ...] = ()  # further ones

    def __str__(self) -> str:
        return f"{self.preset}, {self.quantum}"


SETUPS = (Setup("lambda-like", "100ms"), Setup("lambda-like", "1ms"), Setup("lambda-like", "0s"),
          Setup("knative-like", "100ms"), Setup("knative-like", "1ms"),
          Setup("knative-like", "0s"))


@dataclass
class Workload:
    """The same for every platform: what is stored, what is read when."""

    sizes: list[int]
    requests: list[tuple[float, int]]  # idle seconds before it, and the object

    @staticmethod
    def draw(seed: int, objects: int, requests: int) -> "Workload":
        rng = random.Random(seed)
        sizes = [min(max(int(SIZE_MEDIAN * rng.lognormvariate(0, SIZE_SIGMA)), SIZE_MIN), SIZE_MAX)
                 for _ in range(objects)]
        weights = [1 / (rank + 1) ** ZIPF_EXPONENT for rank in range(objects)]
        drawn: list[tuple[float, int]] = []
        while len(drawn) < requests:
            burst = 1 + int(rng.expovariate(1 / (BURST_MEAN - 1)))
            gaps = [FIRST_AFTER + rng.expovariate(1 / GAP_MEAN), *[GAP_IN_BURST] * (burst - 1)]
            drawn += [(gap, rng.choices(range(objects), weights)[0]) for gap in gaps]
        return Workload(sizes, drawn[:requests])

    def idle_seconds(self) -> float:
        return sum(gap for gap, _ in self.requests)


class Client:
    """Just enough of the protocol for SET and GET."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def set(self, key: str, value: bytes) -> None:
        self._send(b"SET", key.encode(), value)
        reply = self._file.readline()
        if not reply.startswith(b"+OK"):
            raise BenchError(f"SET {key}: {reply.decode().strip()}")

    def get_size(self, key: str) -> int:
        size = self.get_size_or_none(key)
        if size is None:
            raise BenchError(f"GET {key}: it is not there")
        return size

    def get_size_or_none(self, key: str) -> int | None:
        self._send(b"GET", key.encode())
        head = self._file.readline()
        if not head.startswith(b"$"):
            raise BenchError(f"GET {key}: {head.decode().strip()}")
        size = int(head[1:])
        if size < 0:
            return None
        self._file.read(size + 2)
        return size

    def _send(self, *parts: bytes) -> None:
        head = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%s" % (len(parts), head))


class Counters:
    """Samples of /metrics without labels, and what they grew by."""

    def __init__(self, server: InfiniCache) -> None:
        self._server = server
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        values = {}
        for line in self._server.admin_text("/metrics").splitlines():
            name, _, value = line.rpartition(" ")
            if not line.startswith("#") and "{" not in name:
                values[name.removeprefix("infinicache_")] = float(value)
        return values

    def grown(self) -> dict[str, float]:
        return {name: value - self._before.get(name, 0) for name, value in self._read().items()}


@dataclass
class Outcome:
    setup: Setup
    first_ms: list[float] = field(default_factory=list)
    later_ms: list[float] = field(default_factory=list)
    gigabytes: float = 0
    counted: dict[str, float] = field(default_factory=dict)
    cost: dict = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return len(self.first_ms) + len(self.later_ms)

    @property
    def control_messages(self) -> float:
        # Every session is one invocation, one PONG and one BYE; every PING has a PONG.
        return 3 * self.counted["invocations_total"] + 2 * self.counted["preflights_total"]

    def latencies(self) -> list[str]:
        return [f"{statistics.median(values):.1f} / {percentile(values, 95):.1f}"
                for values in (self.first_ms, self.later_ms)]

    def row(self) -> list[str]:
        chunk_requests = self.counted["node_requests_total"]
        preflights = self.counted["preflights_total"]
        sessions, billed = self.cost["sessions"], self.cost["billed_seconds"]
        saved = 1 - preflights / chunk_requests if chunk_requests else 1
        return [str(self.setup), f"{self.control_messages / self.requests:.2f}",
                f"{preflights / self.requests:.2f}", f"{saved:.1%}", *self.latencies(),
                f"{sessions / self.gigabytes:.0f}", f"{billed / self.gigabytes:.2f}"]


HEAD = ["platform, quantum", "control messages per request", "PINGs per request",
        "chunk requests without PING", "first after idle, ms (p50 / p95)",
        "following, ms (p50 / p95)", "sessions per GB", "billed s per GB"]


def percentile(values: list[float], share: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * share // 100)]


def key_of(item: int) -> str:
    return f"object-{item}"


def serve(options: argparse.Namespace, setup: Setup) -> InfiniCache:
    return InfiniCache(binaries_of(options.build), NODE_MEMORY, nodes=options.nodes,
                       # One instance of each node: what backups cost is another matter.
                       extra=["--preset", setup.preset, "--billing-quantum", setup.quantum,
                              "--backup", "off", *setup.arguments])


def store(client: Client, workload: Workload) -> None:
    rng = random.Random(1)
    block = rng.randbytes(SIZE_MAX)
    for item, size in enumerate(workload.sizes):
        client.set(key_of(item), block[-size:])


def await_asleep(server: InfiniCache) -> None:
    deadline = time.monotonic() + ASLEEP_SECONDS
    while any(node["state"] != "asleep" for node in server.nodes()):
        if time.monotonic() > deadline:
            raise BenchError(f"nodes were not asleep within {ASLEEP_SECONDS} s")
        time.sleep(0.01)


def run(options: argparse.Namespace, setup: Setup, workload: Workload) -> Outcome:
    outcome = Outcome(setup)
    with serve(options, setup) as server:
        client = Client(server.port)
        store(client, workload)
        await_asleep(server)
        counters = Counters(server)
        cost_before = json.loads(server.admin_text("/api/v1/cost"))
        for gap, item in workload.requests:
            time.sleep(gap)
            begin = time.perf_counter()
            outcome.gigabytes += client.get_size(key_of(item)) / 1e9
            elapsed = (time.perf_counter() - begin) * 1e3
            (outcome.first_ms if gap >= FIRST_AFTER else outcome.later_ms).append(elapsed)
        await_asleep(server)
        cost = json.loads(server.admin_text("/api/v1/cost"))
        outcome.counted = counters.grown()
        outcome.cost = {name: cost[name] - cost_before[name]
                        for name in ("sessions", "billed_seconds")}
    return outcome


def wake_up(options: argparse.Namespace, setup: Setup, size: int) -> dict:
    """Medians of GETs with every node asleep, and of the same GET soon after."""
    asleep, awake, waits, woken = [], [], [], []
    with serve(options, setup) as server:
        client = Client(server.port)
        client.set("object", random.Random(2).randbytes(size))
        for _ in range(options.wakes):
            await_asleep(server)
            counters = Counters(server)
            begin = time.perf_counter()
            client.get_size("object")
            asleep.append((time.perf_counter() - begin) * 1e3)
            grown = counters.grown()
            for _ in range(3):  # of which the first may find some asleep again
                begin = time.perf_counter()
                client.get_size("object")
            awake.append((time.perf_counter() - begin) * 1e3)
            woken.append(grown["invocations_total"])
            waits.append(grown["wake_duration_seconds_sum"] /
                         max(grown["wake_duration_seconds_count"], 1) * 1e3)
    return {"asleep_ms": statistics.median(asleep), "awake_ms": statistics.median(awake),
            "pong_ms": statistics.median(waits), "woken_most": max(woken),
            "woken_least": min(woken)}


def scaled_fee(text: str, factor: float) -> str:
    """The price file `text` with the fee of lambda-x86 times `factor`."""
    begin = text.index("[lambda-x86]")
    end = text.index("\n[", begin)
    scaled = re.sub(r"(request_dollars_per_million = )([0-9.]+)",
                    lambda found: f"{found[1]}{float(found[2]) * factor}", text[begin:end])
    return text[:begin] + scaled + text[end:]


def trade_off(options: argparse.Namespace, workload: Workload) -> int:
    binary = binaries_of(options.build) / "infinicache"
    prices = subprocess.run([binary, "prices", "--toml"], capture_output=True, text=True,
                            check=True).stdout
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for factor in (0.0, 0.25, 1.0, 4.0, 16.0):
            file = Path(folder, f"prices-{factor}.toml")
            file.write_text(scaled_fee(prices, factor))
            setup = Setup("lambda-like", "1ms", ("--price-file", str(file)))
            outcome = run(options, setup, workload)
            fee = LAMBDA_FEE * outcome.cost["sessions"]
            time_dollars = LAMBDA_GB_SECOND * NODE_GB * outcome.cost["billed_seconds"]
            rows.append([f"{factor:g}", f"{outcome.cost['sessions'] / outcome.gigabytes:.0f}",
                         f"{outcome.cost['billed_seconds'] / outcome.gigabytes:.1f}",
                         f"{(fee + time_dollars) / outcome.gigabytes * 1e6:.0f}",
                         *outcome.latencies()])
            print(" | ".join(rows[-1]), flush=True)
    print("\n" + table(["stays as if the fee were times", "sessions per GB", "billed s per GB",
                        "millionths of a dollar per GB", *HEAD[4:6]], rows))
    return 0


def contention(options: argparse.Namespace) -> int:
    size, bandwidth, nodes = 20_000_000, 40_000_000, 24
    rows = []
    for per_host in (1, 2, 4, 12):
        setup = Setup("always-on", "auto", ("--host-bandwidth", str(bandwidth),
                                            "--nodes-per-host", str(per_host)))
        options.nodes = nodes
        with serve(options, setup) as server:
            client = Client(server.port)
            client.set("object", random.Random(2).randbytes(size))
            times = []
            for _ in range(options.wakes):
                begin = time.perf_counter()
                client.get_size("object")
                times.append((time.perf_counter() - begin) * 1e3)
        # Ten data chunks, on as many hosts as there are.
        busiest = -(-10 // min(10, nodes // per_host))
        ideal = busiest * size / 10 / bandwidth * 1e3
        rows.append([str(per_host), str(nodes // per_host), f"{statistics.median(times):.0f}",
                     f"{ideal:.0f}"])
    print(table(["nodes per host", "hosts", f"GET {size // 10**6} MB, ms",
                 "ms that the busiest host's network takes"], rows))
    return 0


def table(head: list[str], rows: list[list[str]]) -> str:
    return markdown([head, ["---"] * len(head), *rows])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--nodes", type=int, default=14)
    parser.add_argument("--objects", type=int, default=40)
    parser.add_argument("--requests", type=int, default=300, help="per platform (%(default)s)")
    parser.add_argument("--wakes", type=int, default=15, help="GETs of a sleeping pool")
    parser.add_argument("--seed", type=int, default=20200225)
    parser.add_argument("--trade-off", action="store_true")
    parser.add_argument("--contention", action="store_true")
    parser.add_argument("--only", help="platforms whose name begins so")
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/platforms.json")
    options = parser.parse_args()
    return exit_code("platforms", lambda: measure(options))


def measure(options: argparse.Namespace) -> int:
    workload = Workload.draw(options.seed, options.objects, options.requests)
    print(f"seed {options.seed}: {len(workload.sizes)} objects of {sum(workload.sizes) / 1e6:.0f} "
          f"MB; {len(workload.requests)} GETs, {workload.idle_seconds():.0f} s idle between them")
    if options.contention:
        return contention(options)
    if options.trade_off:
        return trade_off(options, workload)
    setups = [s for s in SETUPS if str(s).startswith(options.only or "")]
    outcomes = []
    for setup in setups:
        outcomes.append(run(options, setup, workload))
        print(" | ".join(outcomes[-1].row()), flush=True)
    print("\n" + table(HEAD, [outcome.row() for outcome in outcomes]))
    frozen = [s for s in setups if s.preset == "lambda-like" and s.quantum == "1ms"]
    wakes = {size: wake_up(options, setup, size)
             for setup, size in itertools.product(frozen, (100_000, 1_000_000, 10_000_000))}
    print("\n" + table(
        ["GET from an all-asleep pool", "in all, ms", "invoke to PONG, ms", "the same awake, ms",
         "nodes woken"],
        [[f"{size // 1000} KB", f"{w['asleep_ms']:.1f}", f"{w['pong_ms']:.1f}",
          f"{w['awake_ms']:.1f}", f"{w['woken_least']:.0f} to {w['woken_most']:.0f}"]
         for size, w in wakes.items()]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(
        {"machine": machine.describe({}), "seed": options.seed, "wakes": wakes,
         "platforms": [{"platform": str(o.setup), **o.counted, **o.cost, "first_ms": o.first_ms,
                        "later_ms": o.later_ms, "gigabytes": o.gigabytes} for o in outcomes]},
        indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
