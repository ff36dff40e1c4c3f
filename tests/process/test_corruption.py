"""Flipped bits in a node's memory are an erasure: no reader sees them, and repair mends them."""

import pytest
from harness.resp import Client
from harness.server import Server, running, wait_until
from harness.settings import KIB, scaled
from harness.values import Value

STRIP = 128 * KIB

SIZES = [300_000, 600_000, 1_500_000, scaled(4_000_000, 20_000_000)]


# Chunks are read over links, or out of the nodes' memory.
@pytest.fixture(scope="module", params=["off", "on"])
def server(request):
    with running(nodes=16, test_hooks="on", shared_memory=request.param) as running_server:
        yield running_server


@pytest.fixture
def blind_server():
    """Without repair: what the test has broken stays broken."""
    with running(nodes=16, test_hooks="on", repair="off") as running_server:
        yield running_server


def corrupt_strips(server: Server) -> float:
    return server.metrics()("infinicache_corrupt_strips_total")


def read_until_noticed(server: Server, value: Value, before: float) -> None:
    """Reads until a corrupt strip was met: a read does without a chunk that is late."""
    def noticed() -> bool:
        server.check([value], "with corrupt chunks")
        return corrupt_strips(server) > before
    wait_until(noticed, "a read meets a corrupt strip")


def stored(server: Server, name: str, size: int) -> tuple[Value, int]:
    """A stored value of this size, and the number of its data chunks."""
    value = Value(f"{name}/{size}", size)
    server.fill([value])
    return value, server.object(value.key)["needed"]


@pytest.mark.parametrize("size", SIZES)
def test_flipped_bits_are_never_returned_and_are_repaired(server: Server, size: int) -> None:
    value, data = stored(server, "data", size)
    chunks = server.object(value.key)["chunks"]
    flipped = [0, data - 1]
    for chunk in flipped:
        server.corrupt(value.key, chunk, byte=chunks[chunk]["bytes"] - 1)
    before = corrupt_strips(server)
    repaired = server.metrics()("infinicache_chunks_repaired_total")

    server.check([value], "with two corrupt chunks")
    read_until_noticed(server, value, before)
    wait_until(lambda: server.metrics()("infinicache_chunks_repaired_total") > repaired,
               "a chunk is repaired")
    server.wait_until_whole([value.key])
    # Now exactly the mended chunks are needed.
    holders = server.holders(value.key)
    others = [node for chunk, node in holders.items() if chunk not in flipped]
    server.kill_nodes(others[:2])
    server.check([value], "from its repaired chunks")
    server.wait_until_whole([value.key])


@pytest.mark.parametrize("wrong", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_one_right_replica_is_enough(server: Server, wrong: tuple[int, ...]) -> None:
    # All replicas are alike; which is read first is not told.
    value, data = stored(server, f"replicas/{wrong}", 10_000)
    assert data == 1
    for chunk in wrong:
        server.corrupt(value.key, chunk, byte=9_999)
    for number in range(3):
        server.check([value], f"read {number}, replicas {wrong} are corrupt")
    server.wait_until_whole([value.key])


def test_a_corrupt_parity_chunk_is_noticed_when_it_is_needed(server: Server) -> None:
    value, data = stored(server, "parity", 2_000_000)
    server.corrupt(value.key, data, byte=7)
    holders = server.holders(value.key)
    server.kill_nodes([holders[0]])
    server.check([value], "one data chunk lost, one parity chunk corrupt")
    server.wait_until_whole([value.key])
    holders = server.holders(value.key)
    server.kill_nodes([holders[1], holders[2]])
    server.check([value], "two others lost, after repair")
    server.wait_until_whole([value.key])


def test_flips_in_every_row_of_different_chunks_are_right_on_every_read(server: Server) -> None:
    value, _ = stored(server, "rows", 10 * STRIP * 3)
    server.corrupt(value.key, 2, byte=0)
    server.corrupt(value.key, 2, byte=STRIP)
    server.corrupt(value.key, 6, byte=2 * STRIP)
    for number in range(3):
        server.check([value], f"read {number}")
    with Client(server.port) as client:
        first, last = 2 * STRIP - 5, 20 * STRIP + 5
        assert client.call("GETRANGE", value.key, first, last) == value.part(first, last + 1)
    server.wait_until_whole([value.key])


def test_a_corrupt_chunk_is_found_in_the_middle_of_a_reply(server: Server) -> None:
    size = scaled(8_000_000, 50_000_000)
    value, _ = stored(server, "late", size)
    chunk_bytes = server.object(value.key)["chunks"][3]["bytes"]
    server.corrupt(value.key, 3, byte=chunk_bytes - 1)
    before = corrupt_strips(server)
    server.check([value], "with a corrupt last row")
    read_until_noticed(server, value, before)
    server.wait_until_whole([value.key])
    server.check([value], "repaired")


def test_more_than_p_corrupt_chunks_are_a_loss_not_wrong_bytes(blind_server: Server) -> None:
    value, _ = stored(blind_server, "lost", 2_000_000)
    replicated, _ = stored(blind_server, "lost", 1000)
    other, _ = stored(blind_server, "other", 2_000_000)
    for key in (value.key, replicated.key):
        for chunk in range(3):
            blind_server.corrupt(key, chunk)
    with Client(blind_server.port) as client:
        assert client.get(value.key) is None
        assert client.get(replicated.key) is None
        client.check(other)
        assert client.call("EXISTS", value.key, replicated.key, other.key) == 1
    assert blind_server.metrics()("infinicache_objects_lost_total") == 2


def test_the_hook_is_there_for_tests_only(start) -> None:
    server = start(nodes=12, code="4+2")
    server.fill([Value("key", 1_000_000)])
    status, _ = server.admin("/api/v1/test/corrupt?key=key&chunk=0&byte=0", "POST")
    assert status == 404
    server.check([Value("key", 1_000_000)])
