#!/usr/bin/env python3
"""Shows what InfiniCache is for: stores real files, kills two nodes while they are read, and
compares every byte.

Starts a server of its own on free ports and stops it at the end. Exit code 0 only if every file
came back whole; 1 if not; 130 when interrupted. Needs Python's standard library only.
"""
from __future__ import annotations

import argparse
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HOST = "127.0.0.1"
ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("/usr/lib", "/usr/bin", "/usr/libexec", "/usr/share")
FILE_BYTES_MIN = 10_000
FILE_BYTES_MAX = 400_000_000
START_SECONDS = 30
REPAIR_SECONDS = 60
MB = 1_000_000


class DemoError(Exception):
    """Something outside the demo's control, with a remedy where there is one."""


@dataclasses.dataclass
class File:
    path: pathlib.Path
    size: int
    digest: str = ""


class Client:
    """As much of a Redis client as SET and GET of large values need."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = self._socket.makefile("rb", buffering=1 << 20)

    def close(self) -> None:
        self._input.close()
        self._socket.close()

    def set(self, key: str, file: pathlib.Path, size: int) -> str:
        """Stores the file; returns its SHA-256."""
        name = key.encode()
        digest = hashlib.sha256()
        self._socket.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(name), name, size))
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                self._socket.sendall(block)
        self._socket.sendall(b"\r\n")
        answer = self._line()
        if answer != b"+OK":
            raise DemoError(f"SET {key}: {answer.decode(errors='replace')}")
        return digest.hexdigest()

    def get_digest(self, key: str) -> str | None:
        """The SHA-256 of the value, or None if there is none."""
        name = key.encode()
        self._socket.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(name), name))
        answer = self._line()
        if answer[:1] != b"$":
            raise DemoError(f"GET {key}: {answer.decode(errors='replace')}")
        left = int(answer[1:])
        if left < 0:
            return None
        digest = hashlib.sha256()
        while left > 0:
            block = self._input.read1(min(left, 1 << 20))
            if not block:
                raise DemoError(f"GET {key}: the connection ended in the middle of the value")
            digest.update(block)
            left -= len(block)
        self._input.read(2)
        return digest.hexdigest()

    def _line(self) -> bytes:
        line = self._input.readline()
        if not line.endswith(b"\r\n"):
            raise DemoError("the server closed the connection")
        return line[:-2]


class Server:
    """`infinicache serve` on free ports, with its log in a file."""

    def __init__(self, build: pathlib.Path, nodes: int, code: str, node_memory: int) -> None:
        program = build / "bin" / "infinicache"
        if not program.exists():
            raise DemoError(f"{program} is missing: run `make programs`, or name the build folder "
                            "with --build")
        self.port, self._admin_port = free_port(), free_port()
        self._log = tempfile.NamedTemporaryFile(prefix="infinicache-demo-", suffix=".log")
        self.command = [str(program), "serve", "--listen", f"{HOST}:{self.port}", "--admin",
                        f"{HOST}:{self._admin_port}", "--nodes", str(nodes), "--node-memory",
                        str(node_memory), "--code", code]
        self._process = subprocess.Popen(self.command, stdout=self._log, stderr=self._log,
                                         stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = pathlib.Path(self._log.name).read_text(errors="replace")
                self.stop()
                raise DemoError(f"the server did not start; it said:\n{log}")
            time.sleep(0.05)

    def api(self, path: str):
        connection = http.client.HTTPConnection(HOST, self._admin_port, timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def kill_nodes(self, count: int) -> list[int]:
        """SIGKILLs those nodes that hold most; returns their numbers."""
        nodes = sorted(self.api("/api/v1/nodes"), key=lambda node: -node["bytes_used"])[:count]
        for node in nodes:
            os.kill(node["pid"], signal.SIGKILL)
        return sorted(node["id"] for node in nodes)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    def _is_ready(self) -> bool:
        try:
            return self.api("/api/v1/status")["ready"]
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return False


class Progress:
    """A bar that is redrawn on a terminal, and a line at the end elsewhere."""

    def __init__(self, label: str, files: int, total: int) -> None:
        self._label, self._files, self._total = label, files, total
        self._began = time.monotonic()
        self._drawn = 0.0
        self.note = ""

    def show(self, files: int, done: int, last: bool = False) -> None:
        now = time.monotonic()
        if not last and (not sys.stdout.isatty() or now - self._drawn < 0.1):
            return
        self._drawn = now
        rate = done / MB / max(now - self._began, 1e-3)
        width = 24
        filled = width * done // max(self._total, 1)
        text = (f"{self._label:<6} [{'#' * filled}{'.' * (width - filled)}] "
                f"{files:>3}/{self._files} files {done / MB:6.0f} MB  {rate:5.0f} MB/s{self.note}")
        if sys.stdout.isatty():
            print(f"\r\x1b[2K{text}", end="\n" if last else "", flush=True)
        else:
            print(text, flush=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def choose_files(total: int, seed: int) -> list[File]:
    """Files of this machine of all sizes from 10 KB up, about `total` bytes in all."""
    found: dict[tuple[int, int], File] = {}
    for folder in FOLDERS:
        for parent, _, names in os.walk(folder):
            for name in names:
                path = pathlib.Path(parent, name)
                try:
                    status = path.lstat()
                except OSError:
                    continue
                regular = path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
                if regular and FILE_BYTES_MIN <= status.st_size <= FILE_BYTES_MAX:
                    found.setdefault((status.st_dev, status.st_ino), File(path, status.st_size))
    files = sorted(found.values(), key=lambda file: (-file.size, str(file.path)))
    if not files:
        raise DemoError(f"no readable files of 10 KB and more under {', '.join(FOLDERS)}")
    # The largest few fill half of it; the rest is drawn from all sizes.
    chosen, left = [], total // 2
    for file in files:
        if file.size <= left and len(chosen) < 6:
            chosen.append(file)
            left -= file.size
    left += total - total // 2
    rest = [file for file in files if file not in chosen]
    random.Random(seed).shuffle(rest)
    for file in rest:
        if file.size <= left and len(chosen) < 400:
            chosen.append(file)
            left -= file.size
    return chosen


def available_memory() -> int:
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def store(server: Server, files: list[File]) -> float:
    client = Client(server.port)
    progress = Progress("store", len(files), sum(file.size for file in files))
    began, done = time.monotonic(), 0
    for count, file in enumerate(files, 1):
        file.digest = client.set(str(file.path), file.path, file.size)
        done += file.size
        progress.show(count, done, last=count == len(files))
    client.close()
    return time.monotonic() - began


def read_back(server: Server, files: list[File], kill: int) -> tuple[float, list[File], list[int]]:
    """Reads all files; when a third is read, kills `kill` nodes while reads go on. Returns the
    seconds, the files that did not come back whole, and the killed nodes."""
    client = Client(server.port)
    total = sum(file.size for file in files)
    progress = Progress("read", len(files), total)
    killed: list[int] = []
    killer = threading.Thread(target=lambda: killed.extend(server.kill_nodes(kill)))
    began, done, wrong = time.monotonic(), 0, []
    for count, file in enumerate(files, 1):
        if killer.ident is None and (3 * done >= total or count == len(files)):
            killer.start()
        if client.get_digest(str(file.path)) != file.digest:
            wrong.append(file)
        done += file.size
        if killed:
            progress.note = f"  killed nodes {', '.join(map(str, killed))}"
        progress.show(count, done, last=count == len(files))
    seconds = time.monotonic() - began
    killer.join()
    client.close()
    return seconds, wrong, killed


def await_repair(server: Server) -> dict:
    """Waits until nothing is left to repair; returns the status."""
    deadline = time.monotonic() + REPAIR_SECONDS
    quiet = 0
    while True:
        status = server.api("/api/v1/status")
        nodes = status["nodes"]
        whole = nodes["active"] == nodes["total"] and status["repairs"]["queued"] == 0
        quiet = quiet + 1 if whole else 0
        if quiet == 3 or time.monotonic() > deadline:
            return status
        time.sleep(0.2)


def run(options: argparse.Namespace) -> int:
    parity = int(options.code.partition("+")[2] or 0)
    total = options.megabytes * MB
    # Parity, the strips' rounding, and what repair needs beside it.
    pool = int(total * 2.2) + options.nodes * 16 * MB
    if (available := available_memory()) and pool + total > available:
        total = max(20 * MB, int(total * available / (2 * (pool + total))))
        pool = int(total * 2.2) + options.nodes * 16 * MB
    files = choose_files(total, options.seed)
    total = sum(file.size for file in files)
    print(f"InfiniCache demo: {len(files)} files of this machine, {total / MB:.0f} MB "
          f"({files[-1].size / 1e3:.0f} KB to {max(f.size for f in files) / MB:.0f} MB), "
          f"seed {options.seed}")
    server = Server(options.build, options.nodes, options.code, pool // options.nodes)
    try:
        print(f"server ready: {options.nodes} nodes (processes of their own), code {options.code}: "
              f"any {parity} may vanish\n")
        store_seconds = store(server, files)
        read_seconds, wrong, killed = read_back(server, files, min(parity, 2))
        status = await_repair(server)
        again_seconds, wrong_again, _ = read_back(server, files, 0)
        for file in wrong:
            print(f"NOT WHOLE after the kill: {file.path} ({file.size} bytes)")
        rows = [
            ("objects", f"{len(files)}"),
            ("bytes", f"{total / MB:.1f} MB"),
            ("written", f"{total / store_seconds / 1e9:.2f} GB/s"),
            ("read while nodes died", f"{total / read_seconds / 1e9:.2f} GB/s"),
            ("read again", f"{total / again_seconds / 1e9:.2f} GB/s"),
            ("nodes killed", f"{len(killed)} of {options.nodes} (SIGKILL)"),
            ("degraded reads", f"{status['degraded_reads']}"),
            ("chunks repaired", f"{status['repairs']['done']}"),
            ("objects lost", f"{status['losses']}"),
        ]
        print()
        for name, value in rows:
            print(f"  {name:<24}{value:>24}")
        print("\n  (rates include reading the files and their SHA-256 in Python)")
        whole = not wrong and not wrong_again
        print("\nEvery byte came back, SHA-256 of every file compared twice." if whole
              else "\nFAILED: not every file came back whole.")
        if whole:
            print("Next: `make serve` in one terminal, `redis-cli -p 6378` in another.")
        return 0 if whole else 1
    finally:
        server.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release",
                        help="build folder")
    parser.add_argument("--nodes", type=int, default=16, help="nodes of the pool")
    parser.add_argument("--code", default="10+2", help="data+parity chunks")
    parser.add_argument("--megabytes", type=int, default=400, help="how much to store, about")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of files")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(options)
    except DemoError as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the server and its nodes are stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
