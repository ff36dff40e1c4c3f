"""Repair in the background: its order, its bandwidth limit, and what an operator sees of it."""

import json

from harness.command import ask
from harness.server import Server, wait_until
from harness.values import Value

NODES = 16


def is_whole(server: Server, key: str) -> bool:
    view = server.object(key)
    return view is not None and all(chunk["alive"] for chunk in view["chunks"])


def test_the_most_endangered_objects_are_repaired_first(start) -> None:
    server = start(nodes=NODES, threads=1, repair_concurrency=1, repair_bandwidth="512KiB")
    values = [Value(f"object/{n}", 2_000_000) for n in range(14)]
    server.fill(values)
    victims = [0, 1]
    lost = {value.key: len(set(victims) & set(server.holders(value.key).values()))
            for value in values}
    once = [key for key, count in lost.items() if count == 1]
    twice = [key for key, count in lost.items() if count == 2]
    assert once and twice, lost
    server.kill_nodes(victims)
    early: set[str] = set()

    def endangered_are_whole() -> bool:
        done = all(is_whole(server, key) for key in twice)
        if not done:
            early.update(key for key in once if is_whole(server, key))
        return done
    wait_until(endangered_are_whole, "the most endangered are whole", 60)
    # Between the end of one node and that of the other all objects were equally endangered.
    assert len(early) <= 3, (early, once, twice)
    assert server.metrics()("infinicache_objects_lost_total") == 0
    server.check(values)


def test_repair_keeps_its_bandwidth_and_tells_what_is_left(start) -> None:
    limit = 1 << 20
    server = start(nodes=12, repair_bandwidth="1MiB", repair_concurrency=1)
    values = [Value(f"large/{n}", 10_000_000) for n in range(5)]
    server.fill(values)
    # Each node has a chunk of each object.
    lost = len(values) * 1_000_000
    server.kill_nodes([3])

    def shows_progress() -> bool:
        # Degraded while a node is down is exit code 6.
        text = ask(server, "status").out
        return " to go at " in text and ", about " in text
    wait_until(shows_progress, "status tells what is left, the rate, and until when", 30)
    began = server.metrics()
    assert began("infinicache_repaired_bytes_total") < lost + limit
    wait_until(lambda: all(is_whole(server, value.key) for value in values), "all is repaired", 60)
    metrics = server.metrics()
    assert metrics("infinicache_repaired_bytes_total") >= lost
    assert metrics("infinicache_repair_queued_bytes") == 0
    server.check(values)


def doctor(server: Server, *flags: str) -> tuple[int, str]:
    done = ask(server, "doctor", *flags)
    return done.code, done.out


def test_doctor_tells_what_can_still_be_lost(start) -> None:
    server = start(nodes=12, code="4+2", repair="off")
    code, text = doctor(server)
    assert (code, "no findings" in text) == (0, True), text
    values = [Value(f"object/{n}", 2_000_000) for n in range(8)]
    server.fill(values)
    by_spare = json.loads(doctor(server, "--json")[1])["by_spare"]
    assert by_spare == [{"spare": 2, "objects": 8, "bytes": 16_000_000}]

    holders = list(server.holders(values[0].key).values())
    server.kill_nodes(holders[:2])
    server.wait_until_active()
    code, text = doctor(server)
    assert code == 6, text
    assert "will be lost with the next of their nodes" in text
    assert "2 instances lost in the last" in text and "at most 2 within 1h" in text

    server.kill_nodes([holders[2]])
    server.wait_until_active()
    code, text = doctor(server)
    assert code == 7
    assert "cannot be read" in text
    view = json.loads(doctor(server, "--json")[1])
    assert sum(row["objects"] for row in view["by_spare"]) + view["unreadable"]["objects"] == 8
    assert 0 <= view["predicted"]["availability_per_hour"] < 1
