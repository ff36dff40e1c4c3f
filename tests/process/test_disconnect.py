"""A client that vanishes leaves nothing behind, and a slow one holds up nobody."""

import contextlib
import time

import pytest
from harness.resp import Client
from harness.server import Server, running, wait_until
from harness.settings import MIB, patience, sanitized, scaled
from harness.values import Value

LARGE = scaled(8_000_000, 50_000_000)


@pytest.fixture(scope="module")
def server():
    with running(nodes=14) as running_server:
        yield running_server


def clear(server: Server) -> None:
    with Client(server.port) as client:
        client.call("FLUSHALL")
    wait_until(lambda: server.bytes_used() == 0, "the nodes are empty")


def wait_until_alone(server: Server) -> None:
    """Until the server has noticed that its clients are gone."""
    wait_until(lambda: server.metrics()("infinicache_clients") == 0, "all clients are gone")


# --- In the middle of a SET ---------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("size", [10_000, 300_000, 1_000_000, LARGE])
def test_a_client_that_vanishes_in_a_set_leaves_nothing(server: Server, size: int,
                                                        how: str) -> None:
    clear(server)
    value = Value("unfinished", size)
    data = value.data()
    for sent in (0, 1, size // 2, size - 1, size):
        client = Client(server.port)
        client.begin_set(value)
        client.send_raw(data[:sent])
        client.close() if how == "close" else client.reset()
        wait_until_alone(server)
        with Client(server.port) as other:
            assert other.get(value.key) is None
            assert other.call("DBSIZE") == 0
    wait_until(lambda: server.bytes_used() == 0, f"nothing of a {size} byte SET is left")
    assert sum(node.chunks for node in server.nodes()) == 0


def test_the_old_value_stays_when_its_overwriter_vanishes(server: Server) -> None:
    clear(server)
    old = Value("kept", 1_500_000, 1)
    server.fill([old])
    wait_until(lambda: server.bytes_used() > old.size, "the value is accounted")
    before = server.bytes_used()
    for new in (Value("kept", LARGE, 2), Value("kept", 100_000, 3)):
        client = server.client()
        client.begin_set(new)
        client.send_raw(new.data()[:new.size - 1])
        client.reset()
        wait_until_alone(server)
        server.check([old], "its overwriter vanished")
    wait_until(lambda: server.bytes_used() == before, "only the old value is left")


def test_vanishing_in_an_mset_stores_none_of_its_values(server: Server) -> None:
    clear(server)
    first = Value("a", 2_000_000)
    client = server.client()
    client.send_raw(b"*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$%d\r\n" % first.size + first.data()
                    + b"\r\n$1\r\nb\r\n$2000000\r\n" + bytes(1_000_000))
    client.reset()
    wait_until_alone(server)
    with Client(server.port) as other:
        assert other.call("EXISTS", "a", "b") == 0
    wait_until(lambda: server.bytes_used() == 0, "nothing of the MSET is left")


def test_a_half_sent_command_is_forgotten(server: Server) -> None:
    for fragment in (b"*", b"*3\r\n", b"*3\r\n$3\r\nSET\r\n$1", b"PI",
                     b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nab",
                     b"*2\r\n$3\r\nGET\r\n$400000\r\n" + b"k" * 300_000):
        client = server.client()
        client.send_raw(fragment)
        client.reset()
    wait_until_alone(server)
    with Client(server.port) as other:
        assert other.call("PING") == "PONG"
        assert other.call("EXISTS", "k") == 0


# --- In the middle of a GET ---------------------------------------------------------------------


def test_a_client_that_vanishes_in_a_get_harms_nobody(server: Server) -> None:
    values = [Value("large", LARGE), Value("small", 10_000), Value("middle", 1_000_000)]
    server.fill(values)
    for value in values:
        for taken in (0, 1, value.size // 2):
            for how in ("close", "reset"):
                client = Client(server.port)
                if taken > 0:
                    size = client.begin_get(value.key)
                    for _ in client.stream(min(taken, size)):
                        pass
                else:
                    client.send("GET", value.key)
                client.close() if how == "close" else client.reset()
    wait_until_alone(server)
    server.check(values, "after others vanished in the middle of it")
    assert server.metrics()("infinicache_objects_lost_total") == 0


def test_vanishing_with_a_full_pipeline(server: Server) -> None:
    value = Value("piped", 1_000_000)
    server.fill([value])
    for _ in range(scaled(2, 10)):
        client = Client(server.port)
        client.send_raw(b"*2\r\n$3\r\nGET\r\n$5\r\npiped\r\n" * 100)
        size = client.begin_get(value.key)
        for _ in client.stream(size // 2):
            pass
        client.reset()
    wait_until_alone(server)
    server.check([value])
    wait_until(lambda: server.metrics()("infinicache_buffer_budget_used_bytes") == 0,
               "no request holds memory any more")


# --- Slow clients -------------------------------------------------------------------------------


@contextlib.contextmanager
def slow_readers(server: Server, value: Value, count: int):
    """Clients that have asked for `value` and read only its head."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(Client(server.port, receive_buffer=4096))
            assert client.begin_get(value.key) == value.size
            clients.append(client)
        yield clients


def test_slow_readers_do_not_hold_up_others(start) -> None:
    server = start(nodes=14, node_timeout="20s")
    large = Value("large", LARGE)
    others = [Value("small", 10_000), Value("middle", 400_000), Value("big", 4_000_000)]
    server.fill([large, *others])
    with slow_readers(server, large, scaled(12, 40)) as clients:
        # On several connections, so that each loop of the server has one.
        for number in range(4):
            begin = time.monotonic()
            server.check(others, "while others read slowly")
            server.fill([Value(f"new/{number}", 2_000_000)])
            assert time.monotonic() - begin < patience(5), \
                f"{time.monotonic() - begin:.1f} s beside slow readers"
        server.check([Value(f"new/{number}", 2_000_000) for number in range(4)])
        # A slow reader is served when it reads on.
        checker = large.checker()
        for data in clients[0].stream(large.size):
            checker.feed(data)
        checker.finish()
        clients[0].end_get()
    wait_until_alone(server)
    wait_until(lambda: server.metrics()("infinicache_buffer_budget_used_bytes") == 0,
               "no request holds memory any more")


def test_slow_readers_take_no_more_than_the_budget(start) -> None:
    server = start(nodes=14)
    large = Value("large", LARGE)
    server.fill([large])
    server.check([large])
    idle = server.resident()
    memory = server.watch_peak()
    with slow_readers(server, large, scaled(12, 40)):
        with Client(server.port) as client:
            for _ in range(20):
                client.check(large) if not sanitized() else client.call("PING")
        grown = memory.peak() - idle
    if not sanitized():
        assert grown < 96 * MIB, f"the proxy grew by {grown / MIB:.1f} MiB beside slow readers"


def test_a_client_that_sends_on_and_reads_no_replies_is_closed(start) -> None:
    # It waits for the server to take its bytes, and the server waits for it to take the reply.
    server = start(nodes=14, client_timeout="1s")
    value = Value("asked", 20_000_000)
    server.fill([value])
    client = server.client(receive_buffer=65536)
    with pytest.raises((ConnectionError, TimeoutError)):
        client.send("GET", value.key)
        client.set(Value("unsent", 50_000_000))
    wait_until_alone(server)
    with Client(server.port) as other:
        assert other.get("unsent") is None
        other.check(value)


def test_a_client_that_reads_no_replies_is_bounded(server: Server) -> None:
    # Replies are not piled up without end for a client that only asks.
    value = Value("chunk", 100_000)
    server.fill([value])
    idle = server.resident()
    client = server.client(timeout=1)
    request = b"*2\r\n$3\r\nGET\r\n$5\r\nchunk\r\n" * 1000
    with contextlib.suppress(TimeoutError):
        for _ in range(200):
            client.send_raw(request)
    if not sanitized():
        assert server.resident() - idle < 32 * MIB
    with Client(server.port) as other:
        other.check(value)
