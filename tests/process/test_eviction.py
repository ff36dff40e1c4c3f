"""A full cache makes room for what is written, keeps what is used, and is never wrong."""

import random
import threading

import pytest
from harness.resp import Client
from harness.server import Server, running
from harness.settings import MIB, patience, rng, scaled
from harness.values import Value

NODES = 14
NODE_MEMORY = scaled(4, 8) * MIB
CAPACITY = NODES * NODE_MEMORY


@pytest.fixture(scope="module", params=["allkeys-clock", "allkeys-s3fifo"])
def shared_server(request: pytest.FixtureRequest):
    with running(nodes=NODES, node_memory=f"{NODE_MEMORY // MIB}MiB",
                 maxmemory_policy=request.param) as running_server:
        yield running_server


@pytest.fixture
def server(shared_server: Server) -> Server:
    shared_server.empty()
    return shared_server


def values_for(name: str, total: int, source: random.Random) -> list[Value]:
    """Values of random sizes, `total` bytes or somewhat more in all."""
    values: list[Value] = []
    while sum(value.size for value in values) < total:
        size = int(10 ** source.uniform(3.5, 6.3))
        values.append(Value(f"{name}/{len(values)}", size))
    return values


def info(client: Client, name: str) -> str:
    lines = client.call("INFO")
    text = lines.decode() if isinstance(lines, bytes) else lines
    return next(line for line in text.splitlines() if line.startswith(f"{name}:")).split(":")[1]


def test_what_exceeds_the_capacity_is_stored_and_what_is_used_survives(server: Server) -> None:
    source = rng("sizes")
    evicted_before = server.metrics()("infinicache_objects_evicted_total")
    used = values_for("used", CAPACITY // 20, source)
    other = values_for("other", CAPACITY * 3 // 2, source)
    with Client(server.port) as client:
        for value in used:
            client.set(value)
            client.check(value)
        for number, value in enumerate(other):
            client.set(value)
            if number % 10 == 0:
                server.check_limits(NODE_MEMORY)
                for kept in used:
                    client.get(kept.key)
        survivors = {"used": 0, "other": 0}
        for value in used + other:
            got = client.get(value.key)
            if got is not None:
                value.check(got, "in a cache that evicts")
                survivors[value.key.split("/")[0]] += 1
        evicted = server.metrics()("infinicache_objects_evicted_total") - evicted_before
        assert int(info(client, "evicted_keys")) \
            == server.metrics()("infinicache_objects_evicted_total")
        assert client.call("DBSIZE") == sum(survivors.values()) == \
            len(used) + len(other) - evicted
    assert survivors["used"] / len(used) > survivors["other"] / len(other), survivors
    assert survivors["used"] >= 0.9 * len(used), survivors
    assert 0 < evicted < len(other)
    assert server.metrics()("infinicache_evicted_bytes_total") > 0
    assert server.metrics()("infinicache_objects_lost_total") == 0
    assert server.bytes_used() > 0.6 * CAPACITY
    server.check_limits(NODE_MEMORY)


def test_writers_and_readers_at_once_in_a_full_cache(server: Server) -> None:
    errors: list[BaseException] = []

    def work(worker: int) -> None:
        draws = rng(f"worker/{worker}")
        try:
            with Client(server.port) as client:
                values = values_for(f"worker/{worker}", CAPACITY // 2, draws)
                for number, value in enumerate(values):
                    client.set(value)
                    earlier = values[draws.randrange(number + 1)]
                    got = client.get(earlier.key)
                    if got is not None:
                        earlier.check(got, "while others write")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(90))
    assert not errors, errors[0]
    server.check_limits(NODE_MEMORY)


def test_expired_objects_make_room_before_others(server: Server) -> None:
    with Client(server.port) as client:
        kept = [Value(f"kept/{n}", 1_100_000) for n in range(CAPACITY // 4 // 1_320_000)]
        for value in kept:
            client.set(value)
        before = server.metrics()("infinicache_objects_evicted_total")
        for number in range(CAPACITY // 2 // 1_320_000):
            client.set(Value(f"short/{number}", 1_100_000), "PX", 1)
        for number in range(CAPACITY // 3 // 1_320_000):
            client.set(Value(f"new/{number}", 1_100_000))
        assert server.metrics()("infinicache_objects_evicted_total") == before
        for value in kept:
            client.check(value)


def test_the_policy_is_told(server: Server) -> None:
    with Client(server.port) as client:
        policy = server.flags["maxmemory-policy"] if "maxmemory-policy" in server.flags else ""
        assert [part.decode() for part in client.call("CONFIG", "GET", "maxmemory-policy")] \
            == ["maxmemory-policy", policy]
        assert info(client, "maxmemory_policy") == policy


def test_a_value_above_the_capacity_is_refused_and_evicts_nothing(server: Server) -> None:
    kept = Value("kept", 1_100_000)
    with Client(server.port) as client:
        client.set(kept)
        before = server.metrics()("infinicache_objects_evicted_total")
        assert client.error("SET", "huge", b"x" * CAPACITY).startswith("OOM ")
        client.check(kept)
    assert server.metrics()("infinicache_objects_evicted_total") == before
