"""Readers see whole values only, the old one or the new one, however much is written meanwhile."""

import threading
import time

import pytest
from harness.resp import Client
from harness.server import Server, running, wait_until
from harness.settings import patience, scaled
from harness.values import Value

READERS = 8
WRITES = scaled(10, 60, 300)
# Every reader has seen at least so many values when a test ends.
READS_EACH = scaled(5, 20, 100)


@pytest.fixture(scope="module")
def server():
    with running(nodes=14) as running_server:
        yield running_server


class Readers:
    """Threads that read one key and check each value whole. A value names its version in its first
    bytes, as all values of a key are random."""

    def __init__(self, server: Server, versions: list[Value], null_allowed: bool = False) -> None:
        self._server = server
        self._by_head = {(value.data()[:16], value.size): value for value in versions}
        self._null_allowed = null_allowed
        self._stop = threading.Event()
        self.reads = [0] * READERS
        self.seen: set[int] = set()
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._read, args=(number, versions[0].key))
                         for number in range(READERS)]

    def __enter__(self) -> "Readers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(patience(60))
        if self.errors:
            raise self.errors[0]

    def wait_for_more(self, count: int) -> None:
        """Until every reader has read `count` values more."""
        goal = [reads + count for reads in self.reads]
        wait_until(lambda: self.errors or all(
            now >= then for now, then in zip(self.reads, goal, strict=True)),
                   f"every reader reads {count} values", 60)
        assert not self.errors, self.errors[0]

    def _read(self, number: int, key: str) -> None:
        try:
            with Client(self._server.port) as client:
                while not self._stop.is_set():
                    self._check(client.get(key))
                    self.reads[number] += 1
        except BaseException as error:
            self.errors.append(error)

    def _check(self, data: bytes | None) -> None:
        if data is None:
            assert self._null_allowed, "null while the key has a value"
            return
        value = self._by_head.get((data[:16], len(data)))
        assert value is not None, f"{len(data)} bytes that begin like no version: {data[:16].hex()}"
        value.check(data)
        self.seen.add(value.version)


@pytest.mark.parametrize("size", [10_000, 300_000, 1_000_000, scaled(2_000_000, 5_000_000)])
def test_readers_see_whole_old_or_whole_new_values(server: Server, size: int) -> None:
    versions = [Value(f"key/{size}", size, version) for version in range(10)]
    server.fill(versions[:1])
    with Readers(server, versions) as readers, Client(server.port) as writer:
        for number in range(WRITES):
            writer.set(versions[number % len(versions)])
        readers.wait_for_more(READS_EACH)
        assert not readers.errors
    # Otherwise the writes were not among the reads.
    assert len(readers.seen) > 1, f"only versions {readers.seen} were read"


def test_values_of_other_sizes_and_codes_replace_each_other(server: Server) -> None:
    sizes = [1_400_000, 100, 300_000, 0, 3_000_000, 128 * 1024]
    versions = [Value("shape", size, version) for version, size in enumerate(sizes)]
    server.fill(versions[:1])
    with Readers(server, versions) as readers, Client(server.port) as writer:
        for number in range(WRITES):
            writer.set(versions[number % len(versions)])
        readers.wait_for_more(READS_EACH)
    assert len(readers.seen) > 1


def test_overwrites_while_nodes_die(server: Server) -> None:
    versions = [Value("shaken", 1_500_000, version) for version in range(10)]
    server.fill(versions[:1])
    with Readers(server, versions) as readers, Client(server.port) as writer:
        for number in range(scaled(2, 6)):
            server.wait_until_active()
            server.wait_until_whole(["shaken"])
            server.kill_nodes([(2 * number) % 14, (2 * number + 1) % 14])
            for version in versions:
                writer.set(version)
            readers.wait_for_more(scaled(1, 3))
    server.wait_until_active()


def test_deleted_and_stored_again(server: Server) -> None:
    versions = [Value("flicker", 800_000, version) for version in range(10)]
    server.fill(versions[:1])
    with Readers(server, versions, null_allowed=True) as readers, Client(server.port) as writer:
        for number in range(WRITES):
            writer.set(versions[number % len(versions)])
            assert writer.call("DEL", "flicker") == 1
        readers.wait_for_more(READS_EACH)


def test_a_reader_of_the_old_value_finishes_it(server: Server) -> None:
    old = Value("long", scaled(10_000_000, 60_000_000), 1)
    new = Value("long", 1000, 2)
    server.fill([old])
    with Client(server.port, receive_buffer=65536) as slow:
        checker = old.checker()
        size = slow.begin_get(old.key)
        for data in slow.stream(100_000):
            checker.feed(data)
        # Neither an overwrite nor a deletion takes the value from under its reader.
        server.fill([new])
        server.check([new])
        with Client(server.port) as client:
            assert client.call("DEL", "long") == 1
        for data in slow.stream(size - 100_000):
            checker.feed(data)
        checker.finish()
        slow.end_get()


def test_concurrent_writers_leave_one_whole_value(server: Server) -> None:
    versions = [Value("contended", 1_000_000 + version, version) for version in range(READERS)]
    errors: list[BaseException] = []

    def write(value: Value) -> None:
        try:
            with Client(server.port) as client:
                for _ in range(scaled(3, 10)):
                    client.set(value)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(value,)) for value in versions]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(60))
    assert not errors, errors[0]
    assert time.monotonic() - begin < patience(60)
    with Client(server.port) as client:
        data = client.get("contended")
        versions[len(data) - 1_000_000].check(data)
        # The replaced values' memory is free again: one value is left, with its parity.
        client.call("FLUSHALL")
    wait_until(lambda: server.bytes_used() == 0, "the nodes are empty")


def test_replaced_versions_free_their_memory(server: Server) -> None:
    with Client(server.port) as client:
        client.call("FLUSHALL")
    wait_until(lambda: server.bytes_used() == 0, "the nodes are empty")
    server.fill([Value("again", 2_000_000, 0)])
    wait_until(lambda: server.bytes_used() > 2_000_000, "the value is accounted")
    once = server.bytes_used()
    server.fill(Value("again", 2_000_000, version) for version in range(scaled(5, 30)))
    # A placement on other nodes rounds alike, so the fill is the same to the byte.
    wait_until(lambda: server.bytes_used() == once, "the replaced versions are freed")
