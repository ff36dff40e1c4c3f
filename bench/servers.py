"""The servers under measurement: started, waited for, watched and stopped."""

import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from isolation import BenchError, check_pinned, cpu_seconds, process_tree

HOST = "127.0.0.1"
START_SECONDS = 30
STOP_SECONDS = 10

# Default jemalloc returns large blocks to the kernel at once, so that default Redis spends most of
# its time in page faults from 10 MB on. With these it keeps them, on huge pages.
TUNED_JEMALLOC = "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always"

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """In a child, between fork and exec: killed when the harness dies, however that happens."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def find_program(name: str, remedy: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BenchError(f"{name} is missing: {remedy}")
    return path


class Server:
    """One server process with its descendants. A context manager: leaving it stops them all."""

    name = "server"
    protocol = "resp"

    def __init__(self) -> None:
        self.port = free_port()
        self.environment = dict(os.environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def command(self, folder: str) -> list[str]:
        raise NotImplementedError

    def version_command(self) -> list[str]:
        return [self.command("")[0], "--version"]

    def version(self) -> str:
        done = subprocess.run(self.version_command(), capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).strip()

    def __enter__(self) -> "Server":
        # In memory, so that a log line cannot wait for a disk.
        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix=f"bench-{self.name}-", dir=folder)
        with open(self._log_path(), "wb") as log:
            # A process group of its own: Ctrl-C reaches the harness only, which stops the servers
            # in order. Not a session of its own: that would be another share of the scheduler.
            self._process = subprocess.Popen(
                self.command(self._folder.name), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment, cwd=self._folder.name, process_group=0,
                preexec_fn=die_with_parent)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._process is not None:
            tree = process_tree(self._process.pid) if self._process.poll() is None else []
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            for pid in tree:
                _kill_if_of_group(pid, self._process.pid)
            self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def pids(self) -> list[int]:
        return process_tree(self.pid)

    def cpu_seconds(self) -> dict[int, float]:
        """Reading for isolation.cpu_spent."""
        self.check_alive()
        return cpu_seconds(self.pids())

    def check_pinned(self, core: int | None) -> None:
        check_pinned(self.pids(), core)

    def check_alive(self) -> None:
        assert self._process is not None, "not started"
        if self._process.poll() is not None:
            raise BenchError(f"{self.name} ended with code {self._process.returncode}; "
                             f"its last words:\n{self.log_tail()}")

    def log_tail(self) -> str:
        lines = self._log_path().read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-15:])

    def is_ready(self) -> bool:
        return self._answers(b"PING\r\n", b"+PONG")

    def _log_path(self) -> Path:
        assert self._folder is not None
        return Path(self._folder.name, "log")

    def _answers(self, request: bytes, reply: bytes) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(request)
                return connection.recv(64).startswith(reply)
        except OSError:
            return False

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            self.check_alive()
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} was not ready within {START_SECONDS} s; "
                                 f"its last words:\n{self.log_tail()}")
            time.sleep(0.02)


class Redis(Server):
    name = "redis"

    def command(self, folder: str) -> list[str]:
        program = find_program("redis-server", "run `make deps`")
        return [program, "--port", str(self.port), "--bind", HOST, "--save", "",
                "--appendonly", "no", "--daemonize", "no", "--dir", folder]


class TunedRedis(Redis):
    name = "tuned"

    def __init__(self) -> None:
        super().__init__()
        self.environment["MALLOC_CONF"] = TUNED_JEMALLOC


class Memcached(Server):
    name = "memcached"
    protocol = "memcached"

    def command(self, folder: str) -> list[str]:
        program = find_program("memcached", "run `make deps`")
        as_root = ["-u", "root"] if os.getuid() == 0 else []
        return [program, "-l", HOST, "-p", str(self.port), "-t", "1", "-m", "4096", "-I", "256m",
                *as_root]

    def is_ready(self) -> bool:
        return self._answers(b"version\r\n", b"VERSION")


class InfiniCache(Server):
    """Our server with local nodes. `extra` are further arguments of `infinicache serve`."""

    name = "ours"

    def __init__(self, binaries: Path, node_memory: str, nodes: int = 12,
                 extra: list[str] | None = None) -> None:
        super().__init__()
        self._binaries = binaries
        self._node_memory = node_memory
        self._nodes = nodes
        self._extra = extra or []
        self._admin_port = free_port()

    def command(self, folder: str) -> list[str]:
        for program in ("infinicache", "infinicache-node"):
            if not (self._binaries / program).exists():
                raise BenchError(f"{self._binaries / program} is missing: run `make`, or name the "
                                 "folder of the programs with --build")
        return [str(self._binaries / "infinicache"), "serve", "--listen", f"{HOST}:{self.port}",
                "--admin", f"{HOST}:{self._admin_port}", "--nodes", str(self._nodes),
                "--node-memory", self._node_memory, "--code", "10+2", *self._extra]

    def is_ready(self) -> bool:
        return super().is_ready() and self._admin("/readyz") is not None

    def nodes(self) -> list[dict]:
        return sorted(json.loads(self.admin_text("/api/v1/nodes")), key=lambda node: node["id"])

    def admin_text(self, path: str) -> str:
        body = self._admin(path)
        if body is None:
            raise BenchError(f"{self.name}: no answer from {path}")
        return body.decode()

    def lose_nodes(self, count: int) -> None:
        """Kills the processes of the first `count` nodes and waits until they are back, empty."""
        before = {node["id"]: node for node in self.nodes()[:count]}
        for node in before.values():
            os.kill(node["pid"], signal.SIGKILL)
        deadline = time.monotonic() + START_SECONDS
        while not all(_is_new(node, before[node["id"]]) for node in self.nodes()[:count]):
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: killed nodes were not back in {START_SECONDS} s")
            time.sleep(0.05)
        while not self.is_ready():
            self.check_alive()
            time.sleep(0.05)

    def _admin(self, path: str) -> bytes | None:
        connection = http.client.HTTPConnection(HOST, self._admin_port, timeout=5)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            body = reply.read()
            return body if reply.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


class DegradedInfiniCache(InfiniCache):
    """Ours without repair; lose_nodes() then leaves every object with the chunks it lost."""

    name = "degraded"

    def __init__(self, binaries: Path, node_memory: str, extra: list[str] | None = None) -> None:
        super().__init__(binaries, node_memory, extra=[*(extra or []), "--repair", "off"])


def _is_new(node: dict, old: dict) -> bool:
    return node["pid"] not in (0, None, old["pid"]) and node["instance"] != old["instance"]


def _kill_if_of_group(pid: int, group: int) -> None:
    """Kills a straggler of a stopped server; the group guards against a pid that was used anew."""
    try:
        if os.getpgid(pid) == group:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
