"""Clients that read and write while a test hurts nodes, and that know what each key may hold."""

import collections
import random
import threading
import time
from collections.abc import Callable

from harness.resp import Client, Disconnected, ReplyError
from harness.server import Server
from harness.settings import patience, rng
from harness.values import Value

CLIENTS = 3
KEYS_PER_CLIENT = 8
SIZES = [1, 100, 20_000, 128 * 1024, 300_000, 1_000_000, 1_500_000, 4_000_000]
# Far above what the server's own deadlines add up to: who waits longer hangs.
ANSWER_SECONDS = 30


class Load:
    """Clients with keys of their own. Counts what they did, and how long the slowest took."""

    def __init__(self, server: Server, purpose: str, may_lose: bool) -> None:
        self._server = server
        self._may_lose = may_lose
        self._done = threading.Event()
        self._purpose = purpose
        self.counts: collections.Counter[str] = collections.Counter()
        self.slowest: dict[str, float] = collections.defaultdict(float)
        self.errors: list[BaseException] = []
        # None: the key has no value. Several: a write's outcome is not known.
        self.models: dict[str, list[Value | None]] = {}
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __str__(self) -> str:
        return ", ".join(f"{count} {what} (slowest {self.slowest[what]:.2f} s)"
                         for what, count in sorted(self.counts.items()))

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(patience(2 * ANSWER_SECONDS))
            assert not thread.is_alive(), "a client hangs"

    def check(self) -> None:
        if self.errors:
            raise self.errors[0]

    def run_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.errors:
            time.sleep(0.05)
        self.check()

    def _run(self, number: int) -> None:
        choose = rng(f"{self._purpose}/client {number}")
        keys = [f"{number}/{key}" for key in range(KEYS_PER_CLIENT)]
        version = 0
        client = Client(self._server.port, ANSWER_SECONDS)
        try:
            while not self._done.is_set():
                version += 1
                key = choose.choice(keys)
                begin = time.monotonic()
                try:
                    done = self._step(client, choose, key, version)
                except Disconnected:
                    # A reply that was begun could not be ended: more than p of its nodes failed.
                    done = "broken"
                    assert self._may_lose, f"{key}: the connection ended in the middle of a reply"
                    client.close()
                    client = Client(self._server.port, ANSWER_SECONDS)
                self.counts[done] += 1
                self.slowest[done] = max(self.slowest[done], time.monotonic() - begin)
                # Now and then long enough for nodes to fall asleep.
                time.sleep(choose.choice([0, 0, 0.002, 0.05, 0.2]))
        except BaseException as error:
            self.errors.append(error)
        finally:
            client.close()

    def _step(self, client: Client, choose: random.Random, key: str, version: int) -> str:
        """What was done, for the counts."""
        held = self.models.get(key, [None])
        action = choose.random()
        if action >= 0.4:
            return self._read(client, key, held)
        if action >= 0.35:
            self.models[key] = [*held, None]
            error = self._try(lambda: client.call("DEL", key))
            self.models[key] = [*held, None] if error else [None]
            return "del"
        value = Value(key, choose.choice(SIZES), version)
        # Whatever comes now: until the answer is here the key may hold either.
        self.models[key] = [*held, value]
        error = self._try(lambda: client.set(value))
        # What was refused is never seen.
        self.models[key] = held if error else [value]
        return "set refused" if error else "set"

    def _try(self, call: Callable[[], object]) -> str | None:
        try:
            call()
            return None
        except ReplyError as error:
            assert str(error).startswith(("TRYAGAIN", "OOM")), str(error)
            return str(error)

    def _read(self, client: Client, key: str, held: list[Value | None]) -> str:
        got: bytes | None = None

        def read() -> None:
            nonlocal got
            got = client.get(key)
        if error := self._try(read):
            assert error.startswith("TRYAGAIN"), error
            return "read refused"
        if got is None:
            known = None in held
            assert known or self._may_lose, \
                f"{key} is gone: it held {held}; now there is {self._server.object(key)}"
            self.models[key] = [None]
            return "read" if known else "lost"
        expected = next((value for value in held if value and len(value) == len(got)
                         and value.data() == got), None)
        if expected is None:
            (held[-1] or Value(key, 0)).check(got, f"{key} held {held}")
        self.models[key] = [expected]
        return "read"
