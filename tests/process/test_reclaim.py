"""Instances that the platform takes away, as a provider does: by models and on command."""

import json
import random
import subprocess
import time

from harness.command import ask, infinicache
from harness.resp import HOST, Client
from harness.server import Server, wait_until
from harness.settings import SEED, program, scaled
from harness.values import Value

NODES = 16
PARITY = 2


def events(server: Server) -> list[dict]:
    done = ask(server, "events", "--json")
    assert done.code == 0, done
    return [json.loads(line) for line in done.out.splitlines()]


def test_reclaims_up_to_parity_lose_nothing_under_load(start) -> None:
    # Repair has to be done before the next spike comes: it says so below.
    server = start(nodes=NODES, reclaim=f"spikes:{PARITY}/4s", cold_start="10ms..200ms")
    rng = random.Random(SEED)
    values = {}
    reads = 0
    deadline = time.monotonic() + scaled(9, 14, 120)
    with Client(server.port) as client:
        while time.monotonic() < deadline:
            key = f"key/{rng.randrange(30)}"
            if key not in values or rng.random() < 0.2:
                values[key] = Value(key, rng.choice([10, 5_000, 100_000, 700_000, 2_000_000]),
                                    rng.randrange(1 << 30))
                server.fill([values[key]])
                continue
            data = client.get(key)
            assert data is not None, f"{key} is lost; seed {SEED}\n{server.log_tail()}"
            values[key].check(data)
            reads += 1
    metrics = server.metrics()
    assert metrics("infinicache_instances_reclaimed_total") >= 2 * PARITY
    assert metrics("infinicache_objects_lost_total") == 0
    assert reads > 0


def test_random_reclaims_never_lead_to_wrong_bytes(start) -> None:
    # Far more than repair can follow: objects get lost, and then they are null.
    server = start(nodes=NODES, reclaim="poisson:10/1s", code="4+2")
    rng = random.Random(SEED)
    values = {f"key/{n}": Value(f"key/{n}", size, n)
              for n, size in enumerate([10, 100_000, 700_000, 2_000_000] * 3)}
    deadline = time.monotonic() + scaled(4, 8, 60)
    hits = 0
    with Client(server.port) as client:
        while time.monotonic() < deadline:
            value = rng.choice(list(values.values()))
            data = client.get(value.key)
            if data is not None:
                value.check(data)
                hits += 1
            else:
                # While too few nodes live a write is refused; it is tried again later.
                client.pipeline([("SET", value.key, value.data())])
    assert hits > 0
    assert server.metrics()("infinicache_instances_reclaimed_total") > 10


def test_a_node_is_reclaimed_on_command_and_the_events_tell(start) -> None:
    server = start(nodes=6, code="2+1", test_hooks="on")
    before = {node.id: node.instance for node in server.nodes()}
    answer = ask(server, "reclaim", "4")
    assert (answer.code, answer.out) == (0, "node 4 is reclaimed\n"), answer
    wait_until(lambda: server.nodes()[4].instance not in (None, before[4]),
               "node 4 has a new instance")
    assert {node.id for node in server.nodes() if node.instance != before[node.id]} == {4}

    told = [(event["kind"], event["instance"]) for event in events(server) if event["node"] == 4]
    assert told[:2] == [("instance_started", before[4]), ("instance_reclaimed", before[4])]
    numbers = [event["id"] for event in events(server)]
    assert numbers == sorted(set(numbers))
    after = ask(server, "events", "--after", str(numbers[-1]))
    assert (after.code, after.out) == (0, "")

    assert ask(server, "reclaim", "6").code == 5
    assert ask(server, "reclaim", "x").code == 2


def test_a_follower_sees_events_as_they_happen(start) -> None:
    server = start(nodes=4, code="2+1", test_hooks="on")
    last = events(server)[-1]["id"]
    follower = subprocess.Popen(
        [program("infinicache"), "events", "--follow", "--after", str(last), "--admin",
         f"{HOST}:{server.admin_port}"], stdout=subprocess.PIPE, text=True)
    try:
        assert ask(server, "reclaim", "1").code == 0
        assert follower.stdout is not None
        line = follower.stdout.readline()
        assert "instance_reclaimed" in line and "node 1" in line, line
    finally:
        follower.kill()
        follower.wait()


def test_without_test_hooks_nothing_is_reclaimed_on_command(start) -> None:
    server = start(nodes=4, code="2+1")
    answer = ask(server, "reclaim", "1")
    assert answer.code == 1
    assert "--test-hooks on" in answer.err
    assert server.metrics()("infinicache_instances_reclaimed_total") == 0


def test_bad_models_are_refused_at_the_start() -> None:
    for text, expected in [("often", "poisson:6/1h"), ("poisson:0/1h", "from 1 to"),
                           ("replay:/no/such/file", "/no/such/file")]:
        answer = infinicache("serve", "--reclaim", text)
        assert answer.code == 2, answer
        assert expected in answer.err
