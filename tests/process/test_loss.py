"""An object that loses more than p chunks is a clean miss, counted once; everything else stays."""

import itertools

import pytest
from harness.resp import Client, Disconnected
from harness.server import Server, running, wait_until
from harness.settings import scaled
from harness.values import Value

NODES = 16


# Chunks are read over links, or out of the nodes' memory.
@pytest.fixture(params=["off", "on"])
def server(request):
    # Without repair, what the test has killed stays as it is.
    with running(nodes=NODES, repair="off", shared_memory=request.param) as running_server:
        yield running_server


def choose_nodes(server: Server, values: list[Value], count: int) -> tuple[set[int], set[str]]:
    """`count` nodes without which some of the values are lost and some are not, and the lost."""
    holders = {value.key: server.holders(value.key) for value in values}
    needed = {value.key: server.object(value.key)["needed"] for value in values}
    best: tuple[int, set[int], set[str]] | None = None
    for nodes in itertools.combinations(range(NODES), count):
        lost = {key for key, where in holders.items()
                if sum(node not in nodes for node in where.values()) < needed[key]}
        # As even as can be: the test looks at both sides.
        distance = abs(2 * len(lost) - len(values))
        if lost and len(lost) < len(values) and (best is None or distance < best[0]):
            best = (distance, set(nodes), lost)
    assert best is not None, "every choice of nodes loses all values, or none"
    return best[1], best[2]


def test_more_than_p_losses_are_a_clean_miss(server: Server) -> None:
    sizes = [1, 100, 100_000, 400_000, 1_000_000, 3_000_000]
    values = [Value(f"object/{n}", sizes[n % len(sizes)], n) for n in range(scaled(24, 60))]
    server.fill(values)
    killed, lost = choose_nodes(server, values, 3)
    before = server.metrics()
    server.kill_nodes(killed)
    # Until then it may still read what lies in their memory, which it has mapped.
    wait_until(server.has_noticed, "the server knows who was killed")
    with Client(server.port) as client:
        for value in values:
            if value.key in lost:
                assert client.get(value.key) is None, f"{value} lost too many chunks"
            else:
                client.check(value, f"{value} without nodes {killed}")
        # Null is the only thing that clients are told, and lost objects are gone for good.
        for key in lost:
            assert client.pipeline([("GET", key), ("EXISTS", key), ("STRLEN", key),
                                    ("GETRANGE", key, 0, -1)]) == [None, 0, 0, b""]
        assert client.call("DBSIZE") == len(values) - len(lost)
    after = server.metrics()
    assert after("infinicache_objects_lost_total") \
        == before("infinicache_objects_lost_total") + len(lost)
    assert after("infinicache_reads_total", result="lost") \
        >= before("infinicache_reads_total", result="lost") + len(lost)
    assert after("infinicache_error_replies_total") == before("infinicache_error_replies_total")

    # The application inserts them again, and they are as good as new.
    server.wait_until_active()
    renewed = [Value(value.key, value.size, 1000) for value in values if value.key in lost]
    server.fill(renewed)
    server.check(renewed, "inserted again")
    server.check([value for value in values if value.key not in lost], "never lost")


def test_many_readers_of_a_lost_object_get_null_and_no_error(server: Server) -> None:
    value = Value("popular", 2_000_000)
    other = Value("bystander", 100)
    server.fill([value, other])
    holders = server.holders(value.key)
    clients = [server.client() for _ in range(8)]
    spared = set(server.holders(other.key).values())
    victims = [node for node in holders.values() if node not in spared][:3]
    server.kill_nodes(victims)
    # Until then it may still read what lies in their memory, which it has mapped.
    wait_until(server.has_noticed, "the server knows who was killed")
    for client in clients:
        client.send_raw(b"".join([b"*2\r\n$3\r\nGET\r\n$7\r\npopular\r\n"] * 50))
    replies = [client.read_reply() for client in clients for _ in range(50)]
    assert replies == [None] * len(replies)
    server.check([other])
    assert server.metrics()("infinicache_objects_lost_total") == 1
    # One line per node that ended, a few in all: no storm in the log either.
    assert len(server.log().splitlines()) < 20, server.log()


def test_losing_every_node_at_once_leaves_an_empty_cache(server: Server) -> None:
    values = [Value(f"gone/{n}", size) for n, size in enumerate([1, 1000, 300_000, 2_000_000])]
    server.fill(values)
    server.kill_nodes(range(NODES))
    # Until then it may still read what lies in their memory, which it has mapped.
    wait_until(server.has_noticed, "the server knows who was killed")
    with Client(server.port) as client:
        for value in values:
            assert client.get(value.key) is None
        server.wait_until_active()
        wait_until(lambda: server.metrics()("infinicache_nodes", state="active") == NODES,
                   "all nodes are back")
        again = [Value(value.key, value.size, 2) for value in values]
        # Links to the new instances follow their start by a moment.
        wait_until(lambda: client.pipeline([("SET", "probe", "x" * 600_000)]) == ["OK"],
                   "a write of the full code succeeds")
    server.fill(again)
    server.check(again)


def test_a_loss_in_the_middle_of_a_reply_never_shows_wrong_bytes(server: Server) -> None:
    mapped = server.flags["shared-memory"] == "on"
    value = Value("cut", scaled(30_000_000, 100_000_000))
    other = Value("whole", 1000)
    server.fill([value, other])
    holders = server.holders(value.key)
    spared = set(server.holders(other.key).values())
    victims = [node for node in holders.values() if node not in spared][:3]
    with Client(server.port, receive_buffer=65536) as client:
        checker = value.checker()
        size = client.begin_get(value.key)
        for data in client.stream(100_000):
            checker.feed(data)
        server.kill_nodes(victims)
        if mapped:
            # What a reader has in its hands stays until it lets go.
            for data in client.stream(size - 100_000):
                checker.feed(data)
            client.end_get()
        else:
            # The length was promised: all that a server can do is to close the connection.
            with pytest.raises(Disconnected):
                for data in client.stream(size - 100_000):
                    checker.feed(data)
            assert checker.checked < value.size
    server.check([other])
    with Client(server.port) as client:
        assert client.get(value.key) is None
    metrics = server.metrics()
    assert metrics("infinicache_broken_reads_total") == (0 if mapped else 1)
    assert metrics("infinicache_objects_lost_total") == 1


def test_repair_notices_a_loss_that_nobody_reads(start) -> None:
    server = start(nodes=NODES)
    value = Value("unread", 1_000_000)
    server.fill([value])
    server.kill_nodes(list(server.holders(value.key).values())[:3])
    wait_until(lambda: server.object(value.key) is None, "the lost object leaves the directory")
    assert server.metrics()("infinicache_objects_lost_total") == 1
    with Client(server.port) as client:
        assert client.get(value.key) is None
        assert client.call("DBSIZE") == 0
