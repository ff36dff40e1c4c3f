"""From single measurements to medians, ratios, tables and the verdict of the gate.

`Results` holds, per row (operation, size) and server, one measurement per round. A ratio is always
the peer's CPU seconds per GB over ours: above 1, ours is cheaper. It is the median of the ratios
within each round, in which both were measured within seconds: from round to round the machine's
speed changes by more than what is to be seen.
"""

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from client import Measurement

OURS = "ours"
DEGRADED = "degraded"
PEERS = ("redis", "tuned", "memcached")
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_size(text: str) -> int:
    """Bytes of "10KB", "1MB"; powers of ten."""
    digits = text.rstrip("BKMG")
    unit = text[len(digits):] or "B"
    if not digits.isdigit() or unit not in _UNITS:
        raise ValueError(f"{text}: not a size such as 10KB or 1MB")
    return int(digits) * _UNITS[unit]


def size_name(size: int) -> str:
    unit = max((u for u in _UNITS if size % _UNITS[u] == 0), key=lambda u: _UNITS[u])
    return f"{size // _UNITS[unit]}{unit}"


@dataclass(frozen=True, order=True)
class Row:
    op: str
    size: int

    def __str__(self) -> str:
        return f"{self.op.upper()} {size_name(self.size)}"


@dataclass
class Results:
    cells: dict[tuple[Row, str], list[Measurement]] = field(default_factory=dict)

    def add(self, row: Row, server: str, measurement: Measurement) -> None:
        self.cells.setdefault((row, server), []).append(measurement)

    def rows(self) -> list[Row]:
        return sorted({row for row, _ in self.cells})

    def of(self, row: Row, server: str) -> list[Measurement]:
        return self.cells.get((row, server), [])

    def cost(self, row: Row, server: str) -> float | None:
        """Median of the CPU seconds per GB; None if not measured."""
        costs = [m.cpu_per_gb for m in self.of(row, server)]
        return statistics.median(costs) if costs else None

    def latency_us(self, row: Row, server: str, name: str) -> float | None:
        values = [getattr(m, name) for m in self.of(row, server)]
        return statistics.median(values) if values else None

    def ratio(self, row: Row, peer: str) -> float | None:
        """The peer's cost over ours; None if one of the two was not measured."""
        return self._median_ratio(row, peer, OURS)

    def degraded_over_healthy(self, row: Row) -> float | None:
        return self._median_ratio(row, DEGRADED, OURS)

    def _median_ratio(self, row: Row, server: str, base: str) -> float | None:
        pairs = zip(self.of(row, server), self.of(row, base), strict=False)
        ratios = [a.cpu_per_gb / b.cpu_per_gb for a, b in pairs if b.cpu_per_gb > 0]
        return statistics.median(ratios) if ratios else None

    def servers(self) -> list[str]:
        seen = dict.fromkeys(server for _, server in self.cells)
        return [s for s in (OURS, DEGRADED, *PEERS) if s in seen]

    def as_json(self) -> list[dict]:
        return [self._row_as_json(row) for row in self.rows()]

    def _row_as_json(self, row: Row) -> dict:
        return {
            "op": row.op, "size": row.size,
            "ratios": {peer: self.ratio(row, peer) for peer in PEERS},
            "degraded_over_healthy": self.degraded_over_healthy(row),
            "servers": {
                server: {"cpu_seconds_per_gb": self.cost(row, server),
                         "rounds": [m.as_json() for m in self.of(row, server)]}
                for server in self.servers() if self.of(row, server)
            },
        }


# --- Tables ---------------------------------------------------------------------------------


def format_time(micros: float | None) -> str:
    if micros is None:
        return "-"
    return f"{micros:.0f} us" if micros < 1000 else f"{micros / 1000:.3g} ms"


def _number(value: float | None, pattern: str = "{:.3f}") -> str:
    return "-" if value is None else pattern.format(value)


def _ratio(value: float | None) -> str:
    return _number(value, "{:.2f}x")


def detail_table(results: Results) -> str:
    """Every server of every row: cost with its spread, latencies, throughput."""
    lines = [("row", "server", "CPU s/GB", "[min .. max]", "p50", "p99", "GB/s", "n")]
    for row in results.rows():
        for server in results.servers():
            cells = results.of(row, server)
            if not cells:
                continue
            costs = [m.cpu_per_gb for m in cells]
            speed = statistics.median(m.gigabytes / m.wall_seconds for m in cells)
            lines.append((str(row), server, _number(results.cost(row, server)),
                          f"[{min(costs):.3f} .. {max(costs):.3f}]",
                          format_time(results.latency_us(row, server, "p50_us")),
                          format_time(results.latency_us(row, server, "p99_us")),
                          f"{speed:.2f}", str(len(cells))))
    return _align(lines)


def ratio_table(results: Results) -> str:
    """One line per row: ours against each peer, and a degraded read against a healthy one."""
    return _align([_RATIO_HEAD, *_ratio_lines(results)])


def markdown_table(results: Results) -> str:
    head = ("", "ours, CPU s/GB", "p50 / p99", *(f"{p}, CPU s/GB" for p in PEERS),
            *(f"{p} / ours" for p in PEERS), "2 nodes lost")
    lines = [head, ("---", *("--:",) * (len(head) - 1))]
    for row in results.rows():
        p50, p99 = (format_time(results.latency_us(row, OURS, n)) for n in ("p50_us", "p99_us"))
        lines.append((str(row), _number(results.cost(row, OURS)), f"{p50} / {p99}",
                      *(_number(results.cost(row, peer)) for peer in PEERS),
                      *(_ratio(results.ratio(row, peer)) for peer in PEERS),
                      _ratio(results.degraded_over_healthy(row))))
    return markdown(lines)


def markdown(lines: Iterable[Iterable[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


_RATIO_HEAD = ("row", "ours s/GB", "redis/ours", "tuned/ours", "memcached/ours",
               "degraded/healthy")


def _ratio_lines(results: Results) -> Iterable[tuple[str, ...]]:
    for row in results.rows():
        yield (str(row), _number(results.cost(row, OURS)),
               *(_ratio(results.ratio(row, peer)) for peer in PEERS),
               _ratio(results.degraded_over_healthy(row)))


def _align(lines: list[tuple[str, ...]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    left = 2 if lines[0][1] == "server" else 1
    return "\n".join(
        "  ".join(cell.ljust(w) if i < left else cell.rjust(w)
                  for i, (cell, w) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines)


# --- Gate -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    failures: list[str]
    not_measured: list[str]
    passed: int

    def __str__(self) -> str:
        lines = [f"gate: {self.passed} floors hold, {len(self.failures)} do not"]
        lines += [f"  BELOW  {text}" for text in self.failures]
        lines += [f"  not measured: {text}" for text in self.not_measured]
        return "\n".join(lines)


@dataclass(frozen=True)
class Gate:
    """The floors of a gate file; see gate.json."""

    ratio_floors: list[tuple[Row, str, float]]
    degraded_ceilings: list[tuple[Row, float]]
    kernel_floors: dict[str, float]

    @classmethod
    def load(cls, path: Path) -> "Gate":
        content = json.loads(path.read_text())
        ratios = [(Row(op, parse_size(size)), peer, float(floor))
                  for peer, by_op in content["ratio_floors"].items()
                  for op, by_size in by_op.items() for size, floor in by_size.items()]
        degraded = [(Row(op, parse_size(size)), float(ceiling))
                    for op, by_size in content["degraded_over_healthy_ceilings"].items()
                    for size, ceiling in by_size.items()]
        return cls(ratios, degraded, content["coding_kernel_over_isal_floors"])

    def judge(self, results: Results, kernel: dict[str, float]) -> Verdict:
        """`kernel`: ratio to ISA-L by benchmark name; what was not run is missing in it."""
        checks = [
            (f"{row}: {peer}/ours", results.ratio(row, peer), floor, 1)
            for row, peer, floor in self.ratio_floors
        ] + [
            (f"{row}: degraded/healthy", results.degraded_over_healthy(row), ceiling, -1)
            for row, ceiling in self.degraded_ceilings
        ] + [
            (f"coding kernel {name}: ours/ISA-L", kernel.get(name), floor, 1)
            for name, floor in self.kernel_floors.items()
        ]
        failures, not_measured, passed = [], [], 0
        for what, value, bound, sign in checks:
            if value is None:
                not_measured.append(what)
            elif sign * value < sign * bound:
                word = "at least" if sign > 0 else "at most"
                failures.append(f"{what} is {value:.2f}x, must be {word} {bound:.2f}x")
            else:
                passed += 1
        return Verdict(failures, not_measured, passed)
