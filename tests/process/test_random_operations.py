"""Random commands against a model, while nodes are killed: the server and the model always agree.

The seed decides everything: the commands, their values, and when which nodes are killed. Times of
expiry are far away, or so near that the test waits for them.
"""

import random
import time

import pytest
from harness.resp import Client, ReplyError
from harness.server import Server, running, wait_until
from harness.settings import SEED, scaled
from harness.values import Value

NODES = 16
PARITY = 2
OPERATIONS = scaled(300, 1000, 10_000)
# Kills come about so often, in operations.
KILL_EVERY = scaled(100, 60)

KEYS = [f"key:{n}" for n in range(12)]
SIZES = [0, 1, 10, 1000, 10_000, 100_000, 131_072, 131_073, 400_000, 524_288, 524_289, 1_000_000,
         2_500_000, 5_000_000]
# Seconds that a key with an expiry lives at least, in the model's eyes for ever.
LONG = 100_000


class Entry:
    def __init__(self, data: bytes, expires: float | None = None) -> None:
        self.data = data
        self.expires = expires  # wall-clock seconds; None: never


class Model:
    """What Redis's documentation says of each command, on a dictionary."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def set(self, key: str, data: bytes, words: list[str], expires: float | None) -> object:
        old = self.entries.get(key)
        refused = ("NX" in words and old is not None) or ("XX" in words and old is None)
        if not refused:
            kept = old.expires if "KEEPTTL" in words and old is not None else expires
            self.entries[key] = Entry(data, kept)
        if "GET" in words:
            return None if old is None else old.data
        return None if refused else "OK"

    def range(self, key: str, start: int, end: int) -> bytes:
        entry = self.entries.get(key)
        data = b"" if entry is None else entry.data
        size = len(data)
        if start < 0 and end < 0 and start > end:
            return b""
        start = max(start + size, 0) if start < 0 else start
        end = max(end + size, 0) if end < 0 else end
        return data[start:min(end, size - 1) + 1] if size > 0 else b""


class Run:
    """One sequence of operations. Each op_* does one on the server and on the model."""

    def __init__(self, server: Server, seed: str) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.model = Model()
        self.client = Client(server.port, timeout=60)
        self.number = 0

    def key(self) -> str:
        return self.random.choice(KEYS)

    def keys(self) -> list[str]:
        return [self.key() for _ in range(self.random.randint(1, 5))]

    def value(self, key: str) -> bytes:
        self.number += 1
        return Value(key, self.random.choice(SIZES), self.number).data()

    def expect(self, expected: object, *command: "str | bytes | int") -> None:
        got = self.client.call(*command)
        if isinstance(got, bytes) and isinstance(expected, bytes):
            assert got == expected, f"{len(got)} bytes, not the {len(expected)} expected"
        else:
            assert got == expected

    # --- Operations -----------------------------------------------------------------------------

    def op_set(self) -> None:
        key, words, expires = self.key(), [], None
        command: list[str | bytes | int] = ["SET", key, self.value(key)]
        if self.random.random() < 0.3:
            words.append(self.random.choice(["NX", "XX"]))
        if self.random.random() < 0.3:
            words.append("GET")
        choice = self.random.random()
        if choice < 0.2:
            words.append("KEEPTTL")
        command += words
        if choice > 0.7:
            expires, option = self.expiry()
            command += option
        self.expect(self.model.set(key, command[2], words, expires), *command)

    def expiry(self) -> tuple[float, list[str | int]]:
        now = time.time()
        seconds = LONG + self.random.randrange(LONG)
        unit = self.random.choice(["EX", "PX", "EXAT", "PXAT"])
        argument = {"EX": seconds, "PX": seconds * 1000, "EXAT": int(now) + seconds,
                    "PXAT": (int(now) + seconds) * 1000}[unit]
        return (int(now) + seconds if unit.endswith("AT") else now + seconds), [unit, argument]

    def op_get(self) -> None:
        key = self.key()
        entry = self.model.entries.get(key)
        self.expect(None if entry is None else entry.data, "GET", key)

    def op_getrange(self) -> None:
        key = self.key()
        entry = self.model.entries.get(key)
        size = 10 if entry is None else len(entry.data)
        start = self.random.randint(-size - 5, size + 5)
        end = self.random.randint(-size - 5, size + 5)
        if self.random.random() < 0.5:  # mostly short ones
            end = start + self.random.randint(0, 3000)
        self.expect(self.model.range(key, start, end), "GETRANGE", key, start, end)

    def op_strlen(self) -> None:
        key = self.key()
        entry = self.model.entries.get(key)
        self.expect(0 if entry is None else len(entry.data), "STRLEN", key)

    def op_mset(self) -> None:
        pairs = [(key, self.value(key)) for key in self.keys()]
        self.expect("OK", "MSET", *(part for pair in pairs for part in pair))
        for key, data in pairs:
            self.model.entries[key] = Entry(data)

    def op_mget(self) -> None:
        keys = self.keys()
        entries = [self.model.entries.get(key) for key in keys]
        self.expect([None if entry is None else entry.data for entry in entries], "MGET", *keys)

    def op_del(self) -> None:
        keys = self.keys()
        command = self.random.choice(["DEL", "UNLINK"])
        self.expect(len({key for key in keys if key in self.model.entries}), command, *keys)
        for key in keys:
            self.model.entries.pop(key, None)

    def op_exists(self) -> None:
        keys = self.keys()
        self.expect(sum(key in self.model.entries for key in keys), "EXISTS", *keys)

    def op_expire(self) -> None:
        key = self.key()
        entry = self.model.entries.get(key)
        seconds = LONG + self.random.randrange(LONG)
        if self.random.random() < 0.5:
            self.expect(int(entry is not None), "EXPIRE", key, seconds)
        else:
            self.expect(int(entry is not None), "PEXPIRE", key, seconds * 1000)
        if entry is not None:
            entry.expires = time.time() + seconds

    def op_persist(self) -> None:
        key = self.key()
        entry = self.model.entries.get(key)
        self.expect(int(entry is not None and entry.expires is not None), "PERSIST", key)
        if entry is not None:
            entry.expires = None

    def op_ttl(self) -> None:
        key = self.key()
        entry = self.model.entries.get(key)
        millis = self.client.call("PTTL", key)
        seconds = self.client.call("TTL", key)
        if entry is None or entry.expires is None:
            expected = -2 if entry is None else -1
            assert (millis, seconds) == (expected, expected)
            return
        # The model's clock was read a moment away from the server's, in a slow build a long one.
        left = entry.expires - time.time()
        assert abs(millis / 1000 - left) < 60, (millis, left)
        assert abs(seconds - left) < 60, (seconds, left)

    def op_expired(self) -> None:
        key = self.key()
        self.expect("OK", "SET", key, self.value(key), "PX", self.random.randint(1, 20))
        wait_until(lambda: self.client.call("EXISTS", key) == 0, f"{key} expires")
        self.model.entries.pop(key, None)

    def op_getdel(self) -> None:
        key = self.key()
        entry = self.model.entries.pop(key, None)
        self.expect(None if entry is None else entry.data, "GETDEL", key)

    def op_setnx(self) -> None:
        key = self.key()
        data = self.value(key)
        self.expect(int(key not in self.model.entries), "SETNX", key, data)
        self.model.entries.setdefault(key, Entry(data))

    def op_keys(self) -> None:
        expected = sorted(key.encode() for key in self.model.entries)
        self.expect(len(expected), "DBSIZE")
        found, cursor = set(), b"0"
        while True:
            cursor, keys = self.client.call("SCAN", cursor, "COUNT", self.random.randint(1, 10))
            found.update(keys)
            if cursor == b"0":
                break
        assert sorted(found) == expected
        assert sorted(self.client.call("KEYS", "*")) == expected

    def op_type(self) -> None:
        key = self.key()
        self.expect("string" if key in self.model.entries else "none", "TYPE", key)

    def op_pipeline(self) -> None:
        commands, expected = [], []
        for _ in range(self.random.randint(2, 8)):
            key = self.key()
            if self.random.random() < 0.4:
                data = self.value(key)
                commands.append(("SET", key, data))
                expected.append("OK")
                self.model.entries[key] = Entry(data)
            else:
                entry = self.model.entries.get(key)
                commands.append(("GET", key))
                expected.append(None if entry is None else entry.data)
        replies = self.client.pipeline(commands)
        for command, reply, want in zip(commands, replies, expected, strict=True):
            assert not isinstance(reply, ReplyError), (command[:2], reply)
            assert reply == want, command[:2]

    # --- The whole ------------------------------------------------------------------------------

    WEIGHTS = {op_set: 25, op_get: 20, op_getrange: 12, op_strlen: 4, op_mset: 5, op_mget: 6,
               op_del: 5, op_exists: 4, op_expire: 6, op_persist: 4, op_ttl: 6, op_expired: 2,
               op_getdel: 2, op_setnx: 3, op_keys: 3, op_type: 2, op_pipeline: 4}

    def operate(self) -> None:
        operation, = self.random.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))
        try:
            operation(self)
        except (AssertionError, ReplyError) as error:
            raise AssertionError(f"{operation.__name__}: {error}") from error

    def kill(self) -> None:
        """Kills up to p nodes once everything has its redundancy."""
        self.server.wait_until_active()
        self.server.wait_until_whole(self.model.entries)
        nodes = self.random.sample(range(NODES), self.random.randint(1, PARITY))
        self.server.kill_nodes(nodes)

    def check_all(self) -> None:
        for key in KEYS:
            entry = self.model.entries.get(key)
            self.expect(None if entry is None else entry.data, "GET", key)


@pytest.fixture(scope="module")
def server():
    with running(nodes=NODES) as running_server:
        yield running_server


@pytest.mark.parametrize("part", range(scaled(1, 2)))
def test_server_and_model_agree_while_nodes_die(server: Server, part: int) -> None:
    with Client(server.port) as client:
        client.call("FLUSHALL")
    run = Run(server, f"{SEED}/random operations/{part}")
    until_kill = KILL_EVERY
    for number in range(OPERATIONS):
        until_kill -= 1
        if until_kill <= 0:
            run.kill()
            until_kill = run.random.randint(1, 2 * KILL_EVERY)
        try:
            run.operate()
        except (AssertionError, ReplyError) as error:
            raise AssertionError(f"operation {number} of seed {SEED}/{part}: {error}") from error
    run.check_all()
    run.kill()
    run.check_all()
    run.client.close()
    assert server.metrics()("infinicache_objects_lost_total") == 0
