"""One hot key, written and read by many at once while nodes are taken away: is it a register?"""

import math
import threading
import time

import pytest
from harness.register import Operation, number_of, numbered, violation
from harness.resp import Client, ReplyError
from harness.server import Server, wait_until
from harness.settings import patience, rng, scaled

KEY = "hot"
WRITERS = 8
READERS = 8
VALUE_BYTES_MAX = 600_000


def read(value: int | None, begin: float, end: float) -> Operation:
    return Operation("read", value, begin, end)


def write(value: int, begin: float, end: float) -> Operation:
    return Operation("write", value, begin, end)


@pytest.mark.parametrize(("history", "found"), [
    ([], None),
    ([write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)], None),
    ([write(1, 0, 1), read(None, 0.5, 0.6), read(1, 0.7, 0.8)], None),
    ([write(1, 0, 9), write(2, 0, 9), read(2, 1, 2), read(1, 3, 4)], None),
    ([write(1, 0, math.inf), read(None, 1, 2), read(1, 3, 4)], None),
    ([write(1, 0, math.inf), write(2, 1, 2), read(2, 3, 4)], None),
    ([read(3, 0, 1)], "nobody has written it"),
    ([read(1, 0, 1), write(1, 2, 3)], "before it was written"),
    ([write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)], "came between"),
    ([write(1, 0, 1), read(None, 2, 3)], "came between"),
    ([write(1, 0, 9), write(2, 0, 9), read(1, 1, 2), read(2, 3, 4), read(1, 5, 6)],
     "came between"),
    ([write(1, 0, 1), write(2, 0, 1), read(1, 2, 3), read(2, 4, 5), read(1, 6, 7)],
     "at the same time"),
])
def test_the_checker_tells_registers_from_others(history: list[Operation],
                                                 found: str | None) -> None:
    verdict = violation(history)
    assert (verdict is None) if found is None else (found in (verdict or "")), verdict


class HotKey:
    """One key, and all that its clients did and saw."""

    def __init__(self, server: Server, seconds: float) -> None:
        self._server = server
        self._stop_at = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._last_value = 0
        self.history: list[Operation] = []
        self.errors: list[str] = []
        self.failed_writes = 0
        self.reclaims = 0

    def run(self) -> None:
        threads = [threading.Thread(target=self._guard, args=(work, f"{work.__name__}/{n}"))
                   for work, count in ((self._write, WRITERS), (self._read, READERS))
                   for n in range(count)]
        for thread in threads:
            thread.start()
        self._reclaim()
        for thread in threads:
            thread.join(patience(60))
            assert not thread.is_alive(), "a request has no end"

    def _guard(self, work, name: str) -> None:
        try:
            with Client(self._server.port) as client:
                random = rng(f"linearizable/{name}")
                while time.monotonic() < self._stop_at and not self.errors:
                    work(client, random)
        except BaseException as error:
            self.errors.append(f"{name}: {error!r}")

    def _next_value(self) -> int:
        with self._lock:
            self._last_value += 1
            return self._last_value

    def _write(self, client: Client, random) -> None:
        value = self._next_value()
        data = numbered(value, random.randrange(64, VALUE_BYTES_MAX))
        begin = time.monotonic()
        end = math.inf  # unless it is answered
        try:
            client.call("SET", KEY, data)
            end = time.monotonic()
        except ReplyError as error:
            assert str(error).startswith("TRYAGAIN"), error
            self.failed_writes += 1
        self.history.append(write(value, begin, end))

    def _read(self, client: Client, random) -> None:
        begin = time.monotonic()
        try:
            data = client.call("GET", KEY)
        except ReplyError as error:
            assert str(error).startswith("TRYAGAIN"), error
            return
        end = time.monotonic()
        value = None if data is None else number_of(data)
        self.history.append(read(value, begin, end))

    def _reclaim(self) -> None:
        """At most p nodes at once, and no more before the pool has made up for them."""
        random = rng("linearizable/reclaims")
        while time.monotonic() < self._stop_at and not self.errors:
            victims = random.sample(range(len(self._server.nodes())), random.choice((1, 2)))
            self._server.kill_nodes(victims)
            self.reclaims += 1
            self._server.wait_until_active()
            # The key is written so often that repair of one of its values need not end.
            wait_until(lambda: self._server.is_whole(KEY) or self.errors, "the key is whole")
            time.sleep(random.random() * 0.3)


def test_a_hot_key_is_a_register_while_nodes_are_lost(start) -> None:
    server = start(nodes=14)
    hot = HotKey(server, scaled(2, 6, 60))
    hot.run()
    assert not hot.errors, hot.errors
    reads = [operation for operation in hot.history if operation.kind == "read"]
    writes = [operation for operation in hot.history if operation.kind == "write"]
    print(f"{len(writes)} writes ({hot.failed_writes} failed), {len(reads)} reads, "
          f"{hot.reclaims} reclaims")
    assert len(reads) > 50 and len(writes) > 50
    assert violation(hot.history) is None, violation(hot.history)
    assert server.metrics()("infinicache_objects_lost_total") == 0
