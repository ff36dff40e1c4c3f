"""With noeviction a full cache says so and harms nothing; what is freed can be used again."""

import threading

import pytest
from harness.resp import Client, ReplyError
from harness.server import Server, running, wait_until
from harness.settings import MIB, patience, scaled
from harness.values import Value

NODES = 12
NODE_MEMORY = scaled(4, 12) * MIB
# Of the full code, with a chunk on every node: all nodes fill alike, and how many objects fit does
# not depend on where they were placed.
OBJECT = 1_100_000
OOM = "OOM command not allowed when used memory > 'maxmemory'."


@pytest.fixture(scope="module")
def shared_server():
    with running(nodes=NODES, node_memory=f"{NODE_MEMORY // MIB}MiB",
                 maxmemory_policy="noeviction") as running_server:
        yield running_server


@pytest.fixture
def server(shared_server: Server) -> Server:
    shared_server.empty()
    return shared_server


def fill_up(server: Server, name: str = "object") -> list[Value]:
    """Stores values until one is refused; returns those that were not."""
    stored: list[Value] = []
    with Client(server.port) as client:
        while True:
            value = Value(f"{name}/{len(stored)}", OBJECT)
            try:
                client.set(value)
            except ReplyError as error:
                assert str(error) == OOM
                assert client.get(value.key) is None
                return stored
            stored.append(value)
            assert len(stored) * OBJECT < NODES * NODE_MEMORY, "more is stored than the nodes hold"


def test_a_full_cache_refuses_and_keeps_what_it_has(server: Server) -> None:
    stored = fill_up(server)
    server.check_limits(NODE_MEMORY)
    # Most of the memory is in use when the first write is refused.
    assert server.bytes_used() > 0.8 * NODES * NODE_MEMORY
    server.check(stored, "in the full cache")
    with Client(server.port) as client:
        for number in range(5):
            assert client.error("SET", f"more/{number}", "x" * OBJECT) == OOM
        assert client.call("DBSIZE") == len(stored)
    server.check(stored, "after writes were refused")
    server.check_limits(NODE_MEMORY)


def test_deleted_memory_is_used_again(server: Server) -> None:
    stored = fill_up(server)
    for round_number in range(scaled(2, 4)):
        deleted, stored = stored[::2], stored[1::2]
        before = server.bytes_used()
        with Client(server.port) as client:
            assert client.call("DEL", *(value.key for value in deleted)) == len(deleted)
        wait_until(lambda before=before, count=len(deleted):
                   server.bytes_used() <= before - count * OBJECT, "the deleted objects are freed")
        renewed = [Value(f"round/{round_number}/{n}", OBJECT) for n in range(len(deleted))]
        server.fill(renewed)
        stored += renewed
        server.check(stored, f"in round {round_number}")
        server.check_limits(NODE_MEMORY)


def test_the_same_objects_fit_again_after_fragmentation(server: Server) -> None:
    # Small and large objects in turn; without the small ones the large ones fit as before.
    first = len(fill_up(server))
    with Client(server.port) as client:
        client.call("FLUSHALL")
        wait_until(lambda: server.bytes_used() == 0, "the nodes are empty")
        number = 0
        while True:
            try:
                client.set(Value(f"small/{number}", 3000 + 997 * (number % 50)))
                client.set(Value(f"middle/{number}", 150_000))
            except ReplyError as error:
                assert str(error) == OOM
                break
            number += 1
        server.check_limits(NODE_MEMORY)
        client.call("FLUSHALL")
    wait_until(lambda: server.bytes_used() == 0, "the nodes are empty")
    assert len(fill_up(server)) >= first - 1


def test_an_object_larger_than_the_cache_is_refused_at_once(server: Server) -> None:
    kept = Value("kept", OBJECT)
    server.fill([kept])
    wait_until(lambda: server.bytes_used() > OBJECT, "the value is accounted")
    before = server.bytes_used()
    huge = Value("huge", NODES * NODE_MEMORY + 1)
    with Client(server.port) as client:
        with pytest.raises(ReplyError, match=OOM.replace(".", r"\.")):
            client.set(huge)
        # The same connection goes on: the refused value was read to its end.
        assert client.call("PING") == "PONG"
        assert client.get(huge.key) is None
        client.check(kept)
    wait_until(lambda: server.bytes_used() == before, "nothing of the refused value is left")


def test_a_refused_overwrite_leaves_the_old_value(server: Server) -> None:
    stored = fill_up(server)
    with Client(server.port) as client:
        for old in stored[:3]:
            new = Value(old.key, 3 * OBJECT, version=2)
            with pytest.raises(ReplyError, match="^OOM "):
                client.set(new)
            client.check(old, "its overwrite was refused")
        old, huge = stored[0], "x" * (4 * OBJECT)
        assert client.error("MSET", stored[1].key, "new", old.key, huge) == OOM
        client.check(stored[1], "an MSET of it was refused")


def test_writers_that_race_for_the_last_bytes(server: Server) -> None:
    stored: list[list[Value]] = [[] for _ in range(4)]
    errors: list[BaseException] = []
    done = threading.Event()

    def write(writer: int) -> None:
        try:
            stored[writer] = fill_up(server, f"writer/{writer}")
        except BaseException as error:
            errors.append(error)

    def watch() -> None:
        try:
            while not done.is_set():
                server.check_limits(NODE_MEMORY)
        except BaseException as error:
            errors.append(error)

    watcher = threading.Thread(target=watch)
    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(len(stored))]
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(60))
    done.set()
    watcher.join(patience(30))
    assert not errors, errors[0]
    server.check([value for values in stored for value in values], "after the race")


def test_repair_in_a_full_cache_neither_loses_nor_overfills(server: Server) -> None:
    # What the killed node held fits into its next instance, to the byte.
    stored = fill_up(server)
    server.kill_nodes([4])
    server.check(stored, "while a full cache lacks a node")
    server.wait_until_whole((value.key for value in stored), 60)
    server.check_limits(NODE_MEMORY)
    server.kill_nodes([0, 7])
    server.check(stored, "without two other nodes, after repair")
    server.wait_until_whole((value.key for value in stored), 60)
    server.wait_until_active()
