"""Runs load_client and accounts for the CPU time of both ends."""

import contextlib
import json
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from isolation import BenchError, cpu_spent
from servers import Server, die_with_parent

# A server may finish work after its last answer (free what was overwritten). Its clock is read when
# it has come to rest, so that this work counts; at rest a server spends almost nothing.
SETTLE_SECONDS = 0.03
CLIENT_SECONDS = 300


@dataclass(frozen=True)
class Load:
    """What is stored and how it is measured. Sizes in bytes."""

    size: int
    keys: int
    seconds: float
    warmup: int = 2
    count: int | None = None

    @property
    def prefix(self) -> str:
        return f"bench{self.size}"


@dataclass(frozen=True)
class Measurement:
    ops: int
    gigabytes: float
    wall_seconds: float
    client_cpu_seconds: float
    server_cpu_seconds: float
    p50_us: float
    p99_us: float
    max_us: float

    @property
    def cpu_per_gb(self) -> float:
        return (self.client_cpu_seconds + self.server_cpu_seconds) / self.gigabytes

    def as_json(self) -> dict:
        return {**self.__dict__, "cpu_seconds_per_gb": self.cpu_per_gb}


class LoadClient:
    def __init__(self, binaries: Path) -> None:
        self._program = binaries / "load_client"
        if not self._program.exists():
            raise BenchError(f"{self._program} is missing: run `make`, or name the folder of the "
                             "programs with --build")

    def fill(self, server: Server, load: Load, times: int = 2) -> None:
        """Stores every key, then reads each and checks every byte."""
        self._finish(server, self._start(server, load, "--fill", str(times), "--verify",
                                         "--count", "0"))

    def verify(self, server: Server, load: Load) -> None:
        self._finish(server, self._start(server, load, "--verify", "--count", "0"))

    def measure(self, server: Server, op: str, load: Load,
                profile: Path | None = None) -> Measurement:
        amount = (["--seconds", str(load.seconds)] if load.count is None
                  else ["--count", str(load.count)])
        process = self._start(server, load, "--op", op, "--warmup", str(load.warmup), "--handshake",
                              *amount)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            self._finish(server, process)
            raise BenchError("load_client did not say that it is ready")
        time.sleep(SETTLE_SECONDS)
        with _profiling(profile, [process.pid, *server.pids()]):
            before = server.cpu_seconds()
            report = self._finish(server, process, "\n")
        time.sleep(SETTLE_SECONDS)
        spent = cpu_spent(before, server.cpu_seconds())
        if report["ops"] == 0:
            raise BenchError(f"{server.name}: not one {op} of {load.size} bytes was measured")
        return Measurement(
            ops=report["ops"], gigabytes=report["bytes"] / 1e9, wall_seconds=report["wall_seconds"],
            client_cpu_seconds=report["cpu_seconds"], server_cpu_seconds=spent,
            p50_us=report["p50_us"], p99_us=report["p99_us"], max_us=report["max_us"])

    def _start(self, server: Server, load: Load, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self._program), "--protocol", server.protocol, "--port", str(server.port),
             "--size", str(load.size), "--keys", str(load.keys), "--prefix", load.prefix,
             *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            process_group=0, preexec_fn=die_with_parent)

    def _finish(self, server: Server, process: subprocess.Popen[str], last_input: str = "") -> dict:
        try:
            out, err = process.communicate(last_input, timeout=CLIENT_SECONDS)
        except BaseException as error:
            process.kill()
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise BenchError(f"{server.name}: no result in {CLIENT_SECONDS} s") from error
            raise
        report = json.loads(out) if out.startswith("{") else {}
        if process.returncode != 0 or not report:
            server.check_alive()
            why = err.strip() or (f"{report.get('errors')} operations failed, "
                                  f"the first with {report.get('first_error')}")
            raise BenchError(f"{server.name}: {why}\n"
                             f"  the server's last words:\n{server.log_tail()}")
        return report


@contextlib.contextmanager
def _profiling(output: Path | None, pids: list[int]):
    """Samples `pids` with perf into `output` meanwhile. None: nothing."""
    if output is None:
        yield
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        perf = subprocess.Popen(
            ["perf", "record", "-q", "-e", "cpu-clock", "-F", "2000", "-g", "-o", str(output),
             "-p", ",".join(map(str, pids))],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0,
            preexec_fn=die_with_parent)
    except FileNotFoundError as error:
        raise BenchError("--profile needs perf: apt-get install linux-perf") from error
    time.sleep(0.5)
    try:
        yield
    finally:
        perf.send_signal(signal.SIGINT)
        perf.wait()
