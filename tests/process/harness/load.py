"""Clients that read and write by seed, and know of every key what it may hold.

Each client has keys of its own, for which a model says which answers are right: one if all is
known, several after a write whose outcome nobody knows, until an answer tells. All clients share
some keys more, whose histories must be those of registers (harness/register.py).

A null instead of a value that is known to be there is a loss. Whether there may be any is for the
test to say; what was lost never comes back.
"""

import collections
import contextlib
import dataclasses
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from harness.register import Operation, number_of, numbered, violation
from harness.resp import Client, Disconnected, ReplyError
from harness.server import Server, wait_until
from harness.settings import patience, rng
from harness.values import Value

CLIENTS = 3
KEYS_PER_CLIENT = 8
SHARED_KEYS = 3
SIZES = [1, 100, 20_000, 128 * 1024, 300_000, 1_000_000, 1_500_000, 4_000_000]
# Now and then long enough for nodes to fall asleep.
NAPS = [0, 0, 0.002, 0.05, 0.2]
# Far above what the server's own deadlines add up to: who waits longer hangs.
ANSWER_SECONDS = 30

# Two clocks are read a moment apart, and the server's has whole milliseconds.
CLOCK_SLACK = 0.02
# A change of an expiry that was made so shortly before a crash may be undone by it: the nodes are
# told after the answer, and those that sleep have to wake.
EXPIRY_SETTLES = 5.0


class Refused(Exception):
    """The server said that it cannot, and did not."""


class Unknown(Exception):
    """The server went away before it answered."""


@dataclasses.dataclass(frozen=True)
class Held:
    """What a key may hold: a value, or nothing."""

    value: Value | None = None
    # Wall-clock seconds between which it expires.
    expires: tuple[float, float] | None = None

    def views(self, begin: float, end: float) -> "list[Held]":
        """What a command that ran from `begin` to `end` may have seen of it."""
        if self.value is None or self.expires is None or end < self.expires[0] - CLOCK_SLACK:
            return [self]
        return [NOTHING] if begin > self.expires[1] + CLOCK_SLACK else [self, NOTHING]

    def expiring(self, begin: float, end: float, seconds: float) -> "Held":
        return Held(self.value, (begin + seconds, end + seconds))


NOTHING = Held()


class Load:
    """`operations`: weights of those that a client draws from, by the names of the op_ methods."""

    def __init__(self, server: Server, purpose: str, operations: dict[str, int], *,
                 may_lose: bool, sizes: Sequence[int] = SIZES,
                 naps: Sequence[float] = NAPS) -> None:
        self._server = server
        self._purpose = purpose
        self._operations = {getattr(self, f"_op_{name}"): weight
                            for name, weight in operations.items()}
        self._sizes = sizes
        self._naps = naps
        self.may_lose = may_lose
        self.counts: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0
        self.errors: list[BaseException] = []
        self._models: dict[str, list[Held]] = {}
        # Until when an earlier expiry may come back, and what was held with it.
        self._unsettled: dict[str, list[tuple[float, Held]]] = {}
        self._lock = threading.Lock()
        self._last_number = 0
        self.histories: dict[str, list[Operation]] = {}
        self._crashes = 0
        self._crashes_over = 0
        # By client: how many crashes it knows of, and how many there had been when it connected.
        self._seen = [0] * CLIENTS
        self._connected_after = [0] * CLIENTS
        self._crashed_at = -math.inf
        self._done = threading.Event()
        self._turn = threading.Condition()  # guards the next two
        self._paused = False
        self._resting = 0
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(CLIENTS)]

    # --- For the test ---------------------------------------------------------------------------

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __str__(self) -> str:
        return f"{dict(self.counts)}, slowest {self.slowest:.2f} s"

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

    def keys(self) -> list[str]:
        return [*list(self._models), *list(self.histories)]

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Meanwhile no client does anything."""
        with self._turn:
            self._paused = True
        try:
            wait_until(lambda: self.errors or self._resting == CLIENTS, "all clients rest",
                       2 * ANSWER_SECONDS)
            self.check()
            for number in range(CLIENTS):
                self._see_crash(number)
            yield
        finally:
            with self._turn:
                self._paused = False
                self._turn.notify_all()

    @contextlib.contextmanager
    def crash(self) -> Iterator[None]:
        """Meanwhile the server is killed. Connections that were begun before the end of this may
        end: its listener, too, may have taken them at the last moment."""
        with self._lock:
            self._crashes += 1
            self._crashed_at = time.time()
        yield
        self._crashes_over = self._crashes

    def check_all(self) -> None:
        """Reads every key. While paused, or when stopped."""
        with Client(self._server.port, ANSWER_SECONDS) as client:
            for key in list(self._models):
                self._get(client, key)
            for key in list(self.histories):
                self._get_shared(client, key)
        self.check_histories()

    def check_histories(self) -> None:
        for key, history in self.histories.items():
            wrong = violation(history)
            assert wrong is None, f"{key}: {wrong}"

    # --- One client -----------------------------------------------------------------------------

    def _run(self, number: int) -> None:
        choose = rng(f"{self._purpose}/client {number}")
        keys = self._keys_of(number)
        client = self._connect(number)
        try:
            while not self._done.is_set():
                self._rest()
                operation, = choose.choices(list(self._operations),
                                            list(self._operations.values()))
                begin = time.monotonic()
                try:
                    operation(client, choose, keys)
                except Refused:
                    self._count("refused")
                except Unknown:
                    client.close()
                    client = self._reconnect(number)
                    begin = time.monotonic()
                self.slowest = max(self.slowest, time.monotonic() - begin)
                time.sleep(choose.choice(self._naps))
        except BaseException as error:
            self.errors.append(error)
        finally:
            client.close()

    def _rest(self) -> None:
        with self._turn:
            if self._paused:
                self._resting += 1
                self._turn.wait_for(lambda: not self._paused)
                self._resting -= 1

    def _connect(self, number: int) -> Client:
        self._connected_after[number] = self._crashes_over
        return Client(self._server.port, ANSWER_SECONDS)

    @staticmethod
    def _keys_of(number: int) -> list[str]:
        return [f"{number}/{key}" for key in range(KEYS_PER_CLIENT)]

    def _reconnect(self, number: int) -> Client:
        if self._connected_after[number] == self._crashes:
            # A reply that was begun could not be ended: more than p of its nodes failed.
            self._count("broken")
            assert self.may_lose, "the connection ended in the middle of a reply"
            return self._connect(number)
        self._count("cut off by a crash")
        self._see_crash(number)

        def connected() -> Client | None:
            with contextlib.suppress(OSError):
                return self._connect(number)
            return None
        return wait_until(connected, "a server is there again", 60)

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def _call(self, call: Callable[[], object]) -> object:
        try:
            return call()
        except ReplyError as error:
            assert str(error).startswith(("TRYAGAIN", "OOM", "LOADING")), str(error)
            raise Refused from error
        except (Disconnected, ConnectionError) as error:
            raise Unknown from error

    # --- What a key may hold --------------------------------------------------------------------

    def _held(self, key: str) -> list[Held]:
        return self._models.setdefault(key, [NOTHING])

    def _change(self, key: str, changed: list[Held], call: Callable[[], object]) -> object:
        """Has the server do what may turn the key into one of `changed`. Returns its answer."""
        held = self._held(key)
        # Whatever comes now: until the answer is here the key may hold either.
        self._models[key] = [*held, *changed]
        reply = self._call(call)
        self._models[key] = changed
        return reply

    def _write(self, key: str, new: Held, call: Callable[[], object]) -> None:
        held = self._held(key)
        try:
            self._change(key, [new], call)
        except Refused:
            # Not seen, as long as this server lives: the next one may find it complete.
            self._models[key] = held
            if new not in held:
                self._note_unsettled(key, [new], math.inf)
            raise
        except Unknown:
            # The expiry of a large value is told after it.
            self._models[key] = [*held, new, Held(new.value)]
            raise
        self._unsettled.pop(key, None)
        if new.expires is not None:
            self._note_unsettled(key, [Held(new.value)])

    def _note_unsettled(self, key: str, held: Iterable[Held],
                        seconds: float = EXPIRY_SETTLES) -> None:
        until = time.time() + seconds
        self._unsettled.setdefault(key, []).extend((until, one) for one in held)

    def _see_crash(self, number: int) -> None:
        """What had not settled when the server crashed may be there instead of what is known."""
        with self._lock:
            if self._seen[number] == self._crashes:
                return
            self._seen[number] = self._crashes
        for key in self._keys_of(number):
            undone = [one for until, one in self._unsettled.pop(key, [])
                      if until >= self._crashed_at]
            self._models[key] = [*self._held(key), *undone]

    def _narrow(self, key: str, begin: float, fits: Callable[[Held], bool], answer: str) -> bool:
        """Keeps what the answer to a command that began at `begin` leaves possible. Returns whether
        the key has a value."""
        end = time.time()
        held = self._held(key)
        left = [one for one in held
                if any(fits(view) for view in one.views(begin, end))]
        seen = [view for one in left for view in one.views(begin, end) if fits(view)]
        if not left and fits(NOTHING):
            assert self.may_lose, f"{key} is lost: it held {held}"
            self._count("lost")
        else:
            assert left, f"{key} answered {answer}, and held {held}"
        # Seen as expired, it stays so.
        self._models[key] = list(dict.fromkeys(seen)) or [NOTHING]
        return self._models[key] != [NOTHING]

    # --- Operations on keys of one's own --------------------------------------------------------

    def _value(self, choose: random.Random, key: str) -> Value:
        with self._lock:
            self._last_number += 1
            return Value(key, choose.choice(self._sizes), self._last_number)

    def _lifetime(self, choose: random.Random) -> float:
        return choose.choice([1, 2, 3, 1000, 100_000])

    def _op_set(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        key = choose.choice(keys)
        value = self._value(choose, key)
        self._write(key, Held(value), lambda: client.set(value))
        self._count("set")

    def _op_set_expiring(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        key = choose.choice(keys)
        value = self._value(choose, key)
        seconds = self._lifetime(choose)
        option = choose.choice([("EX", int(seconds)), ("PX", int(seconds * 1000))])
        begin = time.time()
        # When it is over is not known before it is answered.
        new = Held(value).expiring(begin, begin + patience(ANSWER_SECONDS), seconds)
        self._write(key, new, lambda: client.set(value, *option))
        self._models[key] = [Held(value).expiring(begin, time.time(), seconds)]
        self._count("set expiring")

    def _op_del(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        key = choose.choice(keys)
        held = self._held(key)
        begin = time.time()
        try:
            removed = self._change(key, [NOTHING], lambda: client.call("DEL", key))
        except Refused:
            self._models[key] = [*held, NOTHING]
            raise
        # A write that was refused is newer than what was deleted.
        self._unsettled[key] = [(until, one) for until, one in self._unsettled.get(key, [])
                                if math.isinf(until)]
        self._models[key] = held
        self._narrow(key, begin, lambda one: removed == (one.value is not None), f"DEL {removed}")
        self._models[key] = [NOTHING]
        self._count("del")

    def _set_expiry(self, key: str, begin: float, changed: Callable[[Held], Held],
                    changes: Callable[[Held], bool], call: Callable[[], object]) -> None:
        held = self._held(key)
        reply = self._change(key, [changed(one) for one in held], call)
        self._models[key] = held
        self._narrow(key, begin, lambda one: reply == changes(one), f"{reply}")
        self._note_unsettled(key, held)
        self._models[key] = [changed(one) for one in self._models[key]]

    def _op_expire(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        key = choose.choice(keys)
        seconds = self._lifetime(choose)
        begin = time.time()

        def changed(one: Held) -> Held:
            latest = begin + patience(ANSWER_SECONDS)
            return one if one.value is None else one.expiring(begin, latest, seconds)
        command = choose.choice([("EXPIRE", key, int(seconds)),
                                 ("PEXPIRE", key, int(seconds * 1000))])
        self._set_expiry(key, begin, changed, lambda one: one.value is not None,
                         lambda: client.call(*command))
        end = time.time()
        self._models[key] = [one if one.value is None else one.expiring(begin, end, seconds)
                             for one in self._models[key]]
        self._count("expire")

    def _op_persist(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        key = choose.choice(keys)
        self._set_expiry(key, time.time(), lambda one: Held(one.value),
                         lambda one: one.value is not None and one.expires is not None,
                         lambda: client.call("PERSIST", key))
        self._count("persist")

    def _op_get(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        self._get(client, choose.choice(keys))

    def _get(self, client: Client, key: str) -> None:
        begin = time.time()
        self._saw(key, begin, self._call(lambda: client.get(key)))

    def _saw(self, key: str, begin: float, got: bytes | None) -> None:
        def fits(one: Held) -> bool:
            if one.value is None or got is None:
                return one.value is None and got is None
            return len(one.value) == len(got) and one.value.data() == got
        answer = "null" if got is None else f"{len(got)} bytes, {got[:16].hex()}"
        self._count("get" if self._narrow(key, begin, fits, answer) else "get null")

    def _op_mget(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        chosen = choose.sample(keys, 3)
        begin = time.time()
        for key, got in zip(chosen, self._call(lambda: client.call("MGET", *chosen)), strict=True):
            if isinstance(got, ReplyError):
                raise Refused
            self._saw(key, begin, got)
        self._count("mget")

    def _op_getrange(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        key = choose.choice(keys)
        first = choose.randrange(choose.choice(self._sizes))
        last = first + choose.choice([0, 10, 5000, 300_000])
        begin = time.time()
        # Null is what the read gets that finds the object lost.
        got = self._call(lambda: client.call("GETRANGE", key, first, last)) or b""

        def fits(one: Held) -> bool:
            return got == (b"" if one.value is None else one.value.part(first, last + 1))
        self._narrow(key, begin, fits, f"{len(got)} bytes from {first} to {last}")
        self._count("getrange")

    def _op_strlen(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        key = choose.choice(keys)
        begin = time.time()
        size = self._call(lambda: client.call("STRLEN", key))
        self._narrow(key, begin, lambda one: size == (len(one.value) if one.value else 0),
                     f"STRLEN {size}")
        self._count("strlen")

    def _op_exists(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        key = choose.choice(keys)
        begin = time.time()
        found = self._call(lambda: client.call("EXISTS", key))
        self._narrow(key, begin, lambda one: found == (one.value is not None), f"EXISTS {found}")
        self._count("exists")

    def _op_ttl(self, client: Client, choose: random.Random, keys: list[str]) -> None:
        key = choose.choice(keys)
        begin = time.time()
        millis = self._call(lambda: client.call("PTTL", key))
        end = time.time()

        def fits(one: Held) -> bool:
            if one.value is None or one.expires is None:
                return millis == (-2 if one.value is None else -1)
            first, last = one.expires
            return first - end - CLOCK_SLACK <= millis / 1000 <= last - begin + CLOCK_SLACK
        self._narrow(key, begin, fits, f"PTTL {millis}")
        self._count("ttl")

    # --- Operations on keys that all share ------------------------------------------------------

    def _shared(self, choose: random.Random) -> tuple[str, list[Operation]]:
        key = f"shared/{choose.randrange(SHARED_KEYS)}"
        with self._lock:
            return key, self.histories.setdefault(key, [])

    def _op_set_shared(self, client: Client, choose: random.Random, _: list[str]) -> None:
        key, history = self._shared(choose)
        with self._lock:
            self._last_number += 1
            number = self._last_number
        data = numbered(number, choose.choice(self._sizes))
        begin, end = time.monotonic(), math.inf
        try:
            self._call(lambda: client.call("SET", key, data))
            end = time.monotonic()
            self._count("set shared")
        finally:
            history.append(Operation("write", number, begin, end))

    def _op_get_shared(self, client: Client, choose: random.Random, _: list[str]) -> None:
        self._get_shared(client, self._shared(choose)[0])

    def _get_shared(self, client: Client, key: str) -> None:
        begin = time.monotonic()
        data = self._call(lambda: client.get(key))
        if data is None and self.may_lose:
            self._count("get shared null")
            return
        number = None if data is None else number_of(data)
        self.histories[key].append(Operation("read", number, begin, time.monotonic()))
        self._count("get shared")
