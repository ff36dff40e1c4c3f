"""A node that is alive and silent is raced by another: nobody waits for it."""

import statistics
import time

import pytest
from harness.resp import Client
from harness.server import Server, running, wait_until
from harness.settings import scaled
from harness.values import Value

NODES = 14
# Far above what any request here takes: who waited for the stopped node would take as long.
NODE_TIMEOUT = 120

SIZES = scaled([1000, 1_000_000, 4_000_000], [1000, 1_000_000, 1_500_000, 10_000_000, 100_000_000])


# Chunks are read over links, or out of the nodes' memory.
@pytest.fixture(scope="module", params=["off", "on"])
def server(request):
    with running(nodes=NODES, node_timeout=f"{NODE_TIMEOUT}s",
                 shared_memory=request.param) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def values(server: Server) -> list[Value]:
    stored = [Value(f"file/{size}", size) for size in SIZES]
    server.fill(stored)
    return stored


def seconds_to_read(client: Client, value: Value) -> float:
    begin = time.monotonic()
    client.check(value)
    return time.monotonic() - begin


@pytest.mark.parametrize("size", SIZES)
def test_reads_do_not_wait_for_a_stopped_node(server: Server, values: list[Value],
                                              size: int) -> None:
    value = next(value for value in values if value.size == size)
    with Client(server.port, timeout=NODE_TIMEOUT) as client:
        healthy = statistics.median(seconds_to_read(client, value) for _ in range(5))
        holders = server.holders(value.key)
        # The first and the last data chunk, and a parity chunk; every holder's turn takes long.
        data = int(server.object(value.key)["code"].split("+")[0])
        for chunk in sorted({0, data - 1, data}):
            with server.frozen(holders[chunk]):
                stopped = statistics.median(seconds_to_read(client, value) for _ in range(5))
            assert stopped < NODE_TIMEOUT / 10, \
                f"{value}, chunk {chunk}'s node stopped: {stopped:.3f} s (else {healthy:.3f})"


def test_hedged_reads_are_counted(server: Server, values: list[Value]) -> None:
    if server.flags["shared-memory"] == "on":
        pytest.skip("a stopped node's memory is read all the same")
    value = next(value for value in values if value.size > 1_048_576)
    # Every loop of the server learns for itself that a node is late: ask on several connections.
    clients = [server.client(timeout=NODE_TIMEOUT) for _ in range(4)]
    before = server.metrics()
    with server.frozen(server.holders(value.key)[3]):
        for client in clients:
            client.check(value)
        after = server.metrics()
    assert after("infinicache_hedges_total") > before("infinicache_hedges_total")
    assert after("infinicache_degraded_reads_total") > before("infinicache_degraded_reads_total")


def test_a_node_that_stops_in_the_middle_of_a_read(server: Server, values: list[Value]) -> None:
    value = max(values, key=len)
    holders = server.holders(value.key)
    with Client(server.port, timeout=NODE_TIMEOUT) as client:
        checker = value.checker()
        size = client.begin_get(value.key)
        for data in client.stream(size // 3):
            checker.feed(data)
        with server.frozen(holders[4]), server.frozen(holders[7]):
            begin = time.monotonic()
            for data in client.stream(size - size // 3):
                checker.feed(data)
            assert time.monotonic() - begin < NODE_TIMEOUT / 4
        checker.finish()
        client.end_get()


def test_a_stopped_node_loses_nothing(server: Server, values: list[Value]) -> None:
    # It was late, not gone: when it goes on, all of its chunks are there.
    instances = {node.id: node.instance for node in server.nodes()}
    with server.frozen(server.holders(values[-1].key)[0]) as _:
        server.check(values, "while a node is stopped")
    server.check(values, "after it went on")
    assert {node.id: node.instance for node in server.nodes()} == instances
    assert all(server.is_whole(value.key) for value in values)


@pytest.mark.parametrize("size", [0, 1000, 300_000, 1_000_000, scaled(8_000_000, 50_000_000)])
def test_writes_do_not_wait_for_a_stopped_node(server: Server, size: int) -> None:
    with server.frozen(2):
        value = Value(f"written/{size}", size)
        begin = time.monotonic()
        with Client(server.port, timeout=NODE_TIMEOUT) as client:
            client.set(value)
            assert time.monotonic() - begin < NODE_TIMEOUT / 4
            client.check(value)
    server.wait_until_whole([value.key])
    server.check([value], "after the node went on")


def test_a_write_while_a_node_of_a_tight_pool_is_stopped(start) -> None:
    # No node can take the stopped one's place: the write commits with one parity chunk, and repair
    # adds the other when there is a node for it again.
    server = start(nodes=12, node_timeout=f"{NODE_TIMEOUT}s")
    values = [Value("a", 1_500_000), Value("b", scaled(8_000_000, 30_000_000))]
    with server.frozen(5):
        begin = time.monotonic()
        server.fill(values)
        assert time.monotonic() - begin < NODE_TIMEOUT / 4
        server.check(values, "while the node is stopped")
        assert server.metrics()("infinicache_writes_degraded_total") == len(values)
    server.wait_until_whole(value.key for value in values)
    server.kill_nodes([0, 9])
    server.check(values, "without two other nodes, after repair")


def test_repair_goes_on_while_a_node_is_stopped(start) -> None:
    server = start(nodes=NODES, node_timeout=f"{NODE_TIMEOUT}s")
    values = [Value(f"object/{n}", 2_000_000) for n in range(scaled(5, 20))]
    server.fill(values)
    holders = server.holders(values[0].key)
    with server.frozen(holders[0]):
        server.kill_nodes([holders[1]])
        wait_until(lambda: all(server.is_whole(value.key) for value in values),
                   "all objects are repaired while a node is stopped", 60)
        server.check(values, "repaired")
