"""Every object that leaves other than by a client's DEL or overwriting is counted once, by its
cause, and the events tell of it."""

import json

from harness.command import ask
from harness.resp import Client
from harness.server import Server, wait_until
from harness.values import Value

CAUSES = ("reclaimed", "corrupt", "evicted", "expired", "flushed", "torn")


def gone(server: Server, name: str = "infinicache_objects_gone_total") -> dict[str, int]:
    metrics = server.metrics()
    return {cause: int(metrics(name, cause=cause)) for cause in CAUSES}


def events(server: Server, kind: str) -> list[dict]:
    done = ask(server, "events", "--json")
    assert done.code == 0, done
    return [event for line in done.out.splitlines() if (event := json.loads(line))["kind"] == kind]


def told(server: Server) -> dict[str, tuple[int, int]]:
    """Objects and bytes by cause, as the events have them."""
    sums = dict.fromkeys(CAUSES, (0, 0))
    for event in events(server, "object_lost") + events(server, "objects_gone"):
        objects, size = sums[event["cause"]]
        sums[event["cause"]] = (objects + event["objects"], size + event["bytes"])
    return sums


def test_each_cause_is_counted_once_and_told(start) -> None:
    server = start(nodes=8, code="4+2", node_memory="8MiB", repair="off", test_hooks="on")
    lost, broken = Value("lost", 700_000), Value("broken\n", 700_000, 1)
    brief = Value("brief", 5000)
    deleted, replaced = Value("deleted", 5000), Value("replaced", 5000)
    server.fill([lost, broken, deleted, replaced, replaced])
    with Client(server.port) as client:
        # What a client does itself is no loss.
        assert client.call("DEL", deleted.key, replaced.key) == 2
        assert gone(server) == dict.fromkeys(CAUSES, 0)

        client.set(brief, "PX", 1)
        wait_until(lambda: gone(server)["expired"] == 1, "the key expires")
        assert client.call("EXISTS", brief.key) == 0

        for chunk in range(3):
            server.corrupt(broken.key, chunk)
        assert client.get(broken.key) is None
        assert client.get(broken.key) is None

        before = {node.id: node.instance for node in server.nodes()}
        killed = sorted(server.holders(lost.key).values())[:3]
        server.kill_nodes(killed)
        wait_until(server.has_noticed, "the server notices")
        assert client.get(lost.key) is None
        assert client.get(lost.key) is None
        server.wait_until_active()

        filler = [Value(f"filler/{n}", 1_000_000) for n in range(60)]
        for value in filler:
            client.set(value)
        evicted = gone(server)["evicted"]
        left = client.call("DBSIZE")
        assert evicted == len(filler) - left > 0
        assert client.call("FLUSHALL") in ("OK", b"OK")
    counts = {"reclaimed": 1, "corrupt": 1, "evicted": evicted, "expired": 1, "flushed": left,
              "torn": 0}
    sizes = {"reclaimed": lost.size, "corrupt": broken.size, "evicted": evicted * 1_000_000,
             "expired": brief.size, "flushed": left * 1_000_000, "torn": 0}
    assert gone(server) == counts
    assert gone(server, "infinicache_gone_bytes_total") == sizes
    assert server.metrics()("infinicache_objects_lost_total") == 2
    expected = {cause: (counts[cause], sizes[cause]) for cause in CAUSES}
    wait_until(lambda: told(server) == expected, f"the events tell {expected}")

    losses = {event["key"]: event for event in events(server, "object_lost")}
    assert set(losses) == {"lost", "broken\\x0a"}
    assert sorted((chunk["node"], chunk["instance"]) for chunk in losses["lost"]["instances"]) \
        == [(node, before[node]) for node in killed]
    assert len(losses["broken\\x0a"]["instances"]) == 3

    status = server.admin_json("/api/v1/status")
    assert {cause: status["gone"][cause]["objects"] for cause in CAUSES} == counts
    with Client(server.port) as client:
        info = client.call("INFO", "infinicache").decode()
    for cause in CAUSES:
        assert f"gone_{cause}:{counts[cause]}\r\n" in info, info
    assert f"losses    2 objects: 1 reclaimed, 1 corrupt; others gone: {evicted} evicted, " \
        f"1 expired, {left} flushed, 0 torn" in ask(server, "status").out


def test_a_cache_that_evicts_all_day_keeps_its_events_of_instances(start) -> None:
    server = start(nodes=4, code="2+1", node_memory="4MiB")
    with Client(server.port) as client:
        for number in range(60):
            client.set(Value(f"filler/{number}", 400_000))
    evicted = gone(server)["evicted"]
    assert evicted > 0
    wait_until(lambda: told(server)["evicted"][0] == evicted, "the evictions are told")
    assert len(events(server, "objects_gone")) < evicted, "in sums, not one by one"
    assert len(events(server, "instance_started")) == 4
