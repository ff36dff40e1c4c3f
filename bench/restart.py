#!/usr/bin/env python3
"""A server crashes and is started again: how soon are its objects served?

The server is killed (SIGKILL) with many small objects on its nodes, and some that have just been
deleted; then it is started with the same command line and takes its nodes over. Measured from the
start of the process: the time to the first hit of 32 clients that try to connect all the time,
each for a key of its own, and to the end of the rebuild of the directory. After each round every
byte of every object is checked, and that none of the deleted ones is there again.
"""

import argparse
import contextlib
import json
import select
import socket
import statistics
import sys
import time
from pathlib import Path

import machine
from client import Load, LoadClient
from compare import ROOT, binaries_of
from isolation import BenchError, enter_network_namespace, exit_code
from report import parse_size
from servers import HOST, InfiniCache

RESTART_SECONDS = 60
DELETES_AT_ONCE = 500
FIRST_CLIENTS = 32


class Connection:
    """A connection that sends commands of one line and reads simple replies."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=RESTART_SECONDS)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def call(self, command: str) -> bytes:
        self.send(command)
        return self.reply()

    def send(self, command: str) -> None:
        self._socket.sendall(command.encode() + b"\r\n")

    def reply(self) -> bytes:
        line = self._file.readline().rstrip()
        if not line:
            raise BenchError("the server closed the connection")
        if line.startswith(b"$") and line != b"$-1":
            return self._file.read(int(line[1:]) + 2)[:-2]
        return line


def keys_of(load: Load) -> list[str]:
    return [f"{load.prefix}:{number}" for number in range(load.keys)]


def connect(port: int) -> Connection:
    """Tries until the server listens."""
    deadline = time.monotonic() + RESTART_SECONDS
    while True:
        try:
            return Connection(port)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise BenchError(f"nobody listens after {RESTART_SECONDS} s") from None
            time.sleep(0.0005)


def wait_for_first_hit(port: int, keys: list[str]) -> None:
    """Until the first of several clients has its key's value: a command waits for its own key."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(port)) for _ in keys]
        for client, key in zip(clients, keys, strict=True):
            client.send(f"GET {key}")
        ready, _, _ = select.select(clients, [], [], RESTART_SECONDS)
        if not ready or ready[0].reply() == b"$-1":
            raise BenchError("no hit after the crash")


def delete(port: int, load: Load) -> None:
    keys = keys_of(load)
    with Connection(port) as connection:
        for begin in range(0, len(keys), DELETES_AT_ONCE):
            batch = keys[begin:begin + DELETES_AT_ONCE]
            if connection.call(f"DEL {' '.join(batch)}") != f":{len(batch)}".encode():
                raise BenchError("not every key was there to be deleted")


def restart(ours: InfiniCache, load: Load) -> tuple[float, float]:
    """Seconds to the first hit and to the full directory."""
    begin = ours.crash_and_spawn()
    wait_for_first_hit(ours.port, keys_of(load)[:FIRST_CLIENTS])
    hit = time.monotonic() - begin
    with Connection(ours.port) as connection:
        while b"\r\nloading:0\r\n" not in connection.call("INFO persistence"):
            if time.monotonic() - begin > RESTART_SECONDS:
                raise BenchError(f"the directory is not rebuilt after {RESTART_SECONDS} s")
            time.sleep(0.001)
        full = time.monotonic() - begin
        size = connection.call("DBSIZE")
        if size != f":{load.keys}".encode():
            raise BenchError(f"{size.decode()} objects instead of {load.keys}")
    return hit, full


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--objects", type=int, default=50_000, help="(%(default)s)")
    parser.add_argument("--deleted", type=int, default=5_000,
                        help="objects that are deleted before each crash (%(default)s)")
    parser.add_argument("--size", type=parse_size, default="4KB", help="of an object (4KB)")
    parser.add_argument("--nodes", type=int, default=32, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="crashes (%(default)s)")
    parser.add_argument("--no-netns", action="store_true")
    parser.add_argument("--json", type=Path, default=ROOT / "build/bench/restart.json")
    options = parser.parse_args()
    return exit_code("restart", lambda: measure(options))


def measure(options: argparse.Namespace) -> int:
    if not options.no_netns:
        enter_network_namespace()
    binaries = binaries_of(options.build)
    client = LoadClient(binaries)
    load = Load(size=options.size, keys=options.objects, seconds=0, count=1, warmup=0)
    deleted = Load(size=options.size + 1, keys=options.deleted, seconds=0, count=1, warmup=0)
    rounds = []
    with InfiniCache(binaries, "512MiB", options.nodes, node_survival="60s") as ours:
        client.fill(ours, load, times=1)
        for number in range(options.rounds):
            client.fill(ours, deleted, times=1)
            delete(ours.port, deleted)
            rounds.append(restart(ours, load))
            client.verify(ours, load)
            with Connection(ours.port) as connection:
                found = sum(connection.call(f"EXISTS {key}") != b":0" for key in keys_of(deleted))
            if found:
                raise BenchError(f"{found} deleted objects are there again")
            print(f"round {number + 1}: first hit after {rounds[-1][0] * 1e3:.0f} ms, full "
                  f"directory after {rounds[-1][1] * 1e3:.0f} ms")
        described = machine.describe({ours.name: ours.version()})
    hit, full = (statistics.median(column) for column in zip(*rounds, strict=True))
    per_10000 = (full - hit) / options.objects * 10_000
    print(f"{options.objects} objects on {options.nodes} nodes, median of {len(rounds)}: first hit "
          f"after {hit * 1e3:.0f} ms, full directory after {full * 1e3:.0f} ms, "
          f"{full / options.objects * 1e7:.1f} ms per 10,000 objects ({per_10000 * 1e3:.1f} ms "
          f"beyond the first hit); nothing lost, nothing resurrected")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({
        "machine": described, "objects": options.objects, "nodes": options.nodes,
        "size": options.size, "first_hit_seconds": hit, "full_directory_seconds": full,
        "rounds": rounds}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
