"""The memory that is accounted is the memory taken, in full nodes and over many requests; and what
evicts refuses no write."""

import math
import threading
import time

from harness.processes import memory, own_memory
from harness.resp import Client
from harness.server import Server
from harness.settings import GIB, KIB, MIB, patience, rng, sanitized, scaled
from harness.values import Value

NODES = 14
NODE_MEMORY = scaled(16 * MIB, 64 * MIB, 512 * MIB)
SIZE_MAX = scaled(8 * MIB, 30 * MIB, GIB)
THREADS = 4
SECONDS = scaled(2, 8, 600)  # at least
# Of what the cache holds, written at least: keys are drawn at random, and twice as much leaves it
# not full on a slow machine.
ROUNDS = 3
OPERATIONS = scaled(2_000, 20_000, 1_000_000)


class RandomSizes:
    """Overwrites keys with values of 1 byte to SIZE_MAX, all sizes' magnitudes alike; the keys'
    values are 150 % of what the cache holds, and more."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.errors: list[str] = []
        self.written = 0
        self._started = time.monotonic()
        mean = SIZE_MAX / math.log(SIZE_MAX)
        self._data_bytes = NODES * NODE_MEMORY * 10 / 12
        self._keys = int(1.5 * self._data_bytes / mean / THREADS) + 1

    def _is_done(self) -> bool:
        seconds = time.monotonic() - self._started
        if seconds > patience(10) * SECONDS:
            raise AssertionError(f"only {self.written / MIB:.0f} MiB written in {seconds:.0f} s")
        return seconds > SECONDS and self.written > ROUNDS * self._data_bytes

    def write(self, number: int) -> None:
        random = rng(f"accounting/{number}")
        try:
            with Client(self._server.port, timeout=60) as client:
                while not self.errors and not self._is_done():
                    size = int(math.exp(random.uniform(0, math.log(SIZE_MAX))))
                    value = Value(f"{number}/{random.randrange(self._keys)}", size)
                    client.set(value)
                    self.written += size
                    got = client.get(value.key)
                    if got is not None:  # else evicted at once
                        value.check(got)
        except BaseException as error:
            self.errors.append(repr(error))


def test_full_nodes_stay_within_their_memory_account_for_it_and_refuse_nothing(start) -> None:
    server = start(nodes=NODES, node_memory=f"{NODE_MEMORY // MIB}MiB")
    empty = {node.pid: memory(node.pid) for node in server.nodes()}
    load = RandomSizes(server)
    threads = [threading.Thread(target=load.write, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    used = dict.fromkeys(empty, 0)  # at most so far: a node keeps for reuse what it has touched
    while any(thread.is_alive() for thread in threads):
        for node in server.nodes():
            assert node.bytes_used + node.bytes_lent <= node.bytes_limit
            used[node.pid] = max(used[node.pid], node.bytes_used + node.bytes_lent)
        time.sleep(0.02)
    assert not load.errors, load.errors
    grown = {pid: memory(pid) - empty[pid] for pid in empty}
    total, total_grown = sum(used.values()), sum(grown.values())
    print(f"{load.written / MIB:.0f} MiB written; {total / MIB:.1f} MiB "
          f"accounted, {total_grown / MIB:.1f} MiB more resident ({total_grown / total - 1:+.1%}); "
          f"a node at most {max(grown.values()) / MIB:.1f} of {NODE_MEMORY / MIB:.0f} MiB")
    assert total > 0.9 * NODES * NODE_MEMORY, "the nodes were to be full"
    if not sanitized():
        assert abs(total_grown / total - 1) < 0.05
        for pid, bytes_grown in grown.items():
            assert bytes_grown < 1.05 * NODE_MEMORY, f"node process {pid}"


def test_many_requests_leave_nothing_behind(start) -> None:
    server = start(nodes=12, node_memory="64MiB", threads=1)

    def run(count: int) -> None:
        random = rng("accounting/leak")
        with Client(server.port) as client:
            for begin in range(0, count, 50):
                commands: list[tuple] = []
                for n in range(begin, min(begin + 50, count)):
                    key = f"key/{random.randrange(500)}"
                    commands.append(random.choice((
                        ("SET", key, b"x" * random.choice((10, 1000, 20_000))),
                        ("GET", key), ("DEL", key), ("SET", key, b"y", "PX", "50"),
                        ("EXISTS", key, f"key/{n % 500}"), ("GETRANGE", key, "1", "5"))))
                client.pipeline(commands)
            client.call("FLUSHALL")
        server.empty()

    # Nodes touch memory 2 MiB at a time, up to the most that they ever hold at once.
    run(OPERATIONS)

    def resident() -> dict[int, int]:
        nodes = {node.pid: memory(node.pid) for node in server.nodes()}
        return {server.pid: own_memory(server.pid), **nodes}

    before = resident()
    run(OPERATIONS)
    after = resident()
    grown = {pid: after[pid] - before[pid] for pid in after}
    print(f"after {OPERATIONS} more requests: proxy {grown[server.pid] / KIB:+.0f} KiB, nodes "
          f"{max(list(grown.values())[1:]) / KIB:+.0f} KiB at most")
    if not sanitized():
        assert max(grown.values()) < patience(4) * MIB, grown
