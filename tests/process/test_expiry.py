"""Keys live as long as they were told to, not less and hardly more, and then free their memory."""

import time

import pytest
from harness.resp import Client
from harness.server import Server, running, wait_until
from harness.settings import scaled
from harness.values import Value


@pytest.fixture(scope="module")
def server():
    with running(nodes=14) as running_server:
        yield running_server


@pytest.fixture
def client(server: Server) -> Client:
    client = server.client()
    client.call("FLUSHALL")
    return client


def wait_until_gone(client: Client, key: str, seconds: float = 20) -> None:
    wait_until(lambda: client.call("EXISTS", key) == 0, f"{key} expires", seconds)


@pytest.mark.parametrize("command", [
    ("SET", "key", "value", "PX", 250),
    ("PSETEX", "key", 250, "value"),
    ("SET", "key", "v" * 200_000, "PX", 250),
])
def test_a_key_expires_when_its_time_has_come_and_not_before(client: Client,
                                                             command: tuple) -> None:
    begin = time.monotonic()
    assert client.call(*command) == "OK"
    wait_until_gone(client, "key")
    # The server counts whole milliseconds from the moment when it had the command.
    assert time.monotonic() - begin >= 0.249
    assert client.get("key") is None
    assert client.call("TTL", "key") == -2
    assert client.call("PTTL", "key") == -2
    assert client.call("DBSIZE") == 0


@pytest.mark.parametrize("set_expiry", [
    lambda client, seconds: client.call("SET", "key", "v", "EX", seconds),
    lambda client, seconds: client.call("SET", "key", "v", "PX", seconds * 1000),
    lambda client, seconds: client.call("SET", "key", "v", "EXAT", int(time.time()) + seconds),
    lambda client, seconds: client.call("SET", "key", "v", "PXAT",
                                        int((time.time() + seconds) * 1000)),
    lambda client, seconds: client.call("SETEX", "key", seconds, "v"),
    lambda client, seconds: (client.call("SET", "key", "v"), client.call("EXPIRE", "key", seconds)),
    lambda client, seconds: (client.call("SET", "key", "v"),
                             client.call("PEXPIREAT", "key", int((time.time() + seconds) * 1000))),
])
def test_every_way_to_set_an_expiry_sets_it(client: Client, set_expiry) -> None:
    set_expiry(client, 1000)
    left = client.call("PTTL", "key")
    assert 900_000 < left <= 1_000_000
    assert 900 < client.call("TTL", "key") <= 1000
    assert abs(client.call("PEXPIRETIME", "key") / 1000 - time.time() - 1000) < 100
    assert client.call("EXPIRETIME", "key") == round(client.call("PEXPIRETIME", "key") / 1000)
    assert client.get("key") == b"v"


def test_expiry_ends_by_persist_and_by_set_and_stays_with_keepttl(client: Client) -> None:
    client.call("SET", "key", "v1", "EX", 1000)
    assert client.call("PERSIST", "key") == 1
    assert client.call("PERSIST", "key") == 0
    assert client.call("TTL", "key") == -1
    client.call("EXPIRE", "key", 1000)
    client.call("SET", "key", "v2", "KEEPTTL")
    assert client.call("TTL", "key") > 900
    client.call("SET", "key", "v3")
    assert client.call("TTL", "key") == -1
    assert client.call("PERSIST", "absent") == 0


def test_conditions_of_expire(client: Client) -> None:
    client.call("SET", "key", "v")
    assert client.call("EXPIRE", "key", 100, "XX") == 0
    assert client.call("EXPIRE", "key", 100, "GT") == 0
    assert client.call("EXPIRE", "key", 100, "NX") == 1
    assert client.call("EXPIRE", "key", 200, "NX") == 0
    assert client.call("EXPIRE", "key", 50, "GT") == 0
    assert client.call("EXPIRE", "key", 200, "GT") == 1
    assert client.call("EXPIRE", "key", 300, "LT") == 0
    assert client.call("EXPIRE", "key", 50, "LT") == 1
    assert 0 < client.call("TTL", "key") <= 50


def test_a_time_in_the_past_deletes_at_once(client: Client) -> None:
    for command in (("EXPIRE", "key", -1), ("PEXPIRE", "key", 0), ("EXPIREAT", "key", 1),
                    ("PEXPIREAT", "key", 1)):
        client.call("SET", "key", "v")
        assert client.call(*command) == 1
        assert client.call("EXISTS", "key") == 0


def test_an_expired_key_is_absent_for_every_command(client: Client) -> None:
    client.call("SET", "key", "old", "PX", 1)
    wait_until_gone(client, "key")
    assert client.call("SET", "key", "new", "XX") is None
    assert client.call("SET", "key", "new", "NX", "GET") is None
    assert client.get("key") == b"new"
    client.call("SET", "key", "old", "PX", 1)
    wait_until_gone(client, "key")
    assert client.call("DEL", "key") == 0
    assert client.call("STRLEN", "key") == 0
    assert client.call("GETRANGE", "key", 0, -1) == b""
    assert client.call("TYPE", "key") == "none"
    assert client.call("MGET", "key", "key") == [None, None]
    assert client.call("EXPIRE", "key", 100) == 0
    assert client.call("SCAN", 0, "COUNT", 100)[1] == []


def test_expired_keys_free_the_nodes_memory_though_nobody_asks(server: Server,
                                                               client: Client) -> None:
    wait_until(lambda: server.bytes_used() == 0, "the nodes are empty")
    expired = server.metrics()("infinicache_objects_expired_total")
    count = scaled(20, 200)
    sizes = [0, 1000, 200_000, 1_000_000]
    for number in range(count):
        client.set(Value(f"short/{number}", sizes[number % len(sizes)]), "PX", 500)
    kept = Value("kept", 1_500_000)
    client.set(kept, "EX", 1000)
    # No command touches the keys: the sweep alone finds them.
    wait_until(lambda: server.metrics()("infinicache_objects") == 1, "all short lives are over")
    assert server.metrics()("infinicache_objects_expired_total") == expired + count
    wait_until(lambda: sum(node.chunks for node in server.nodes()) == 12,
               "only the chunks of the object that lives are left")
    client.check(kept)


def test_a_reader_finishes_a_value_that_expires_meanwhile(server: Server) -> None:
    value = Value("expiring", scaled(10_000_000, 50_000_000))
    with Client(server.port, receive_buffer=65536) as reader, Client(server.port) as other:
        reader.set(value)
        checker = value.checker()
        size = reader.begin_get(value.key)
        for data in reader.stream(100_000):
            checker.feed(data)
        assert other.call("PEXPIRE", value.key, 1) == 1
        wait_until_gone(other, value.key)
        for data in reader.stream(size - 100_000):
            checker.feed(data)
        checker.finish()
        reader.end_get()


def test_an_expiry_survives_repair(server: Server) -> None:
    value = Value("repaired", 1_000_000)
    with Client(server.port) as client:
        client.set(value, "EX", 1000)
        server.kill_nodes(list(server.holders(value.key).values())[:2])
        server.wait_until_whole([value.key])
        assert 900 < client.call("TTL", value.key) <= 1000
        client.check(value)
