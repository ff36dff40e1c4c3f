"""Repair in the background: its order, its bandwidth limit, and what an operator sees of it."""

import subprocess

from harness.server import HOST, Server, program, wait_until
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
    server = start(nodes=NODES, repair_bandwidth="1MiB")
    values = [Value(f"large/{n}", 20_000_000) for n in range(3)]
    server.fill(values)
    victim = server.holders(values[0].key)[0]
    lost = sum(2_000_000 for value in values if victim in server.holders(value.key).values())
    server.kill_nodes([victim])

    def shows_progress() -> bool:
        # Degraded while a node is down is exit code 6.
        text = subprocess.run([program("infinicache"), "status", "--admin",
                               f"{HOST}:{server.admin_port}"],
                              capture_output=True, text=True, timeout=60, check=False).stdout
        return " to go at " in text and ", about " in text
    if lost > 2_000_000:  # one that is under way is not waiting
        wait_until(shows_progress, "status tells what is left, the rate, and until when", 30)
    began = server.metrics()
    assert began("infinicache_repaired_bytes_total") < lost + limit
    wait_until(lambda: all(is_whole(server, value.key) for value in values), "all is repaired", 60)
    metrics = server.metrics()
    assert metrics("infinicache_repaired_bytes_total") >= lost
    assert metrics("infinicache_repair_queued_bytes") == 0
    server.check(values)
