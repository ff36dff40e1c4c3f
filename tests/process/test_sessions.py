"""Nodes that sleep between requests, as each preset of a function platform has them."""

import os
import signal
import time

import pytest
from harness import processes
from harness.command import ask
from harness.resp import Client
from harness.server import Server, running, wait_until
from harness.settings import MIB, scaled
from harness.values import Value

NODES = 14
DATA, PARITY = 10, 2

FREEZING = ["lambda-like", "lambda-2019", "cloudrun-like"]
PRESETS = [*FREEZING, "knative-like"]

SMALL = Value("small", 100)
LARGE = Value("large", 8 * MIB)
VALUES = [SMALL, Value("replicated", 100_000), Value("middle", 300_000), Value("wide", 1_500_000),
          LARGE]

# Cold starts are what they are; here they only take time. Without backups each node has one
# instance, and nothing wakes it but what a test does.
FAST = {"cold_start": "10ms..50ms", "warm_up": "off", "backup": "off"}


def wait_until_asleep(server: Server, seconds: float = 30) -> None:
    """Waits until every node sleeps, in a process that is frozen if the platform freezes."""
    def asleep() -> bool:
        nodes = server.nodes()
        return all(node.state == "asleep" for node in nodes) and (
            server.flags["preset"] not in FREEZING
            or all(processes.state(node.pid) == "T" for node in nodes if node.pid))
    wait_until(asleep, "all nodes sleep", seconds)


def pids(server: Server) -> list[int]:
    return [node.pid for node in server.nodes() if node.pid]


def invocations(server: Server) -> int:
    return int(server.metrics()("infinicache_invocations_total"))


@pytest.fixture(scope="module", params=PRESETS)
def server(request):
    with running(nodes=NODES, preset=request.param, **FAST) as running_server:
        running_server.fill(VALUES)
        yield running_server


def test_idle_instances_are_frozen_where_the_platform_freezes(server: Server) -> None:
    wait_until_asleep(server)
    expected = {"T"} if server.flags["preset"] in FREEZING else {"S"}
    assert len(pids(server)) >= DATA + PARITY
    wait_until(lambda: {processes.state(pid) for pid in pids(server)} == expected,
               f"all nodes are in state {expected}")


def test_what_was_written_before_the_sleep_is_read_back(server: Server) -> None:
    wait_until_asleep(server)
    for value in VALUES:
        if server.flags["preset"] in FREEZING:  # elsewhere they stay awake for seconds
            wait_until_asleep(server)
        server.check([value], "from a pool that sleeps")
    assert server.metrics()("infinicache_instances_ended_total") == 0


@pytest.mark.parametrize(("value", "needed"), [(SMALL, 1), (LARGE, DATA)],
                         ids=["replicated", "coded"])
def test_a_read_wakes_the_nodes_that_it_needs(server: Server, value: Value, needed: int) -> None:
    holders = set(server.holders(value.key).values())
    wait_until_asleep(server)
    before = {node.id: processes.switches(node.pid) for node in server.nodes() if node.pid}
    sessions, hedges = invocations(server), server.metrics()("infinicache_hedges_total")
    server.check([value])
    wait_until_asleep(server)
    woken = {node.id for node in server.nodes()
             if node.pid and processes.switches(node.pid) != before[node.id]}
    sessions = invocations(server) - sessions
    hedges = int(server.metrics()("infinicache_hedges_total") - hedges)
    # Whose answer is late, as on a machine that is busy elsewhere, is raced by another node.
    assert woken <= holders
    assert needed <= len(woken) <= needed + hedges, f"{woken} were woken, {hedges} as hedges"
    # A session may be over before its answer has been read here: its node is then asked once more.
    assert len(woken) <= sessions <= 2 * len(woken), f"{sessions} sessions of {len(woken)} nodes"


def test_a_read_whose_nodes_sleep_again_before_it_is_done_goes_on(server: Server) -> None:
    wait_until_asleep(server)
    with Client(server.port, receive_buffer=4096) as client:
        checker = LARGE.checker("read slowly")
        size = client.begin_get(LARGE.key)
        for data in client.stream(size // 2, at_once=1 << 16):
            checker.feed(data)
        wait_until_asleep(server)
        for data in client.stream(size - size // 2):
            checker.feed(data)
        checker.finish()
        client.end_get()


def test_a_sleeping_node_is_not_woken_to_free_a_chunk(server: Server) -> None:
    # The marks of a deletion, on p + 1 of its nodes, are worth it: it must outlive the proxy.
    value = Value("deleted", 1_500_000)
    server.fill([value])
    wait_until_asleep(server)
    before = invocations(server)
    with Client(server.port) as client:
        assert client.call("DEL", value.key) == 1
        wait_until_asleep(server)
        assert invocations(server) - before <= PARITY + 1
        assert client.get(value.key) is None
        client.set(Value("deleted", 1_500_000, version=2))
        client.check(Value("deleted", 1_500_000, version=2))
        client.call("DEL", value.key)


def test_what_is_flushed_is_freed_though_its_nodes_sleep(server: Server) -> None:
    wait_until_asleep(server)
    with Client(server.port) as client:
        client.call("FLUSHALL")
        wait_until(lambda: server.bytes_used() == 0, "the nodes are empty")
        for value in VALUES:
            assert client.get(value.key) is None
            client.set(value)


def test_the_nodes_of_a_server_that_stops_end_frozen_or_not(server: Server) -> None:
    wait_until_asleep(server)
    server.finish()


# --- Instances that go --------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_an_instance_that_goes_in_its_sleep_is_noticed_and_repaired(start, preset: str) -> None:
    server = start(nodes=NODES, preset=preset, test_hooks="on", reclaim_drain="0s",
                   reclaim_grace="0s", **FAST)
    server.fill([LARGE])
    wait_until_asleep(server)
    holder = server.holders(LARGE.key)[0]
    before = server.nodes()[holder]
    assert ask(server, "reclaim", str(holder)).code == 0
    wait_until(lambda: processes.state(before.pid) == "", "the process is gone")
    if preset == "knative-like":
        wait_until(lambda: server.nodes()[holder].instance is None, "its end is noticed")
    else:
        assert server.nodes()[holder].instance == before.instance, "nobody can know yet"
        assert server.is_whole(LARGE.key)
    server.check([LARGE], f"without node {holder}")
    wait_until(lambda: server.nodes()[holder].instance != before.instance, "its end is noticed")
    wait_until(lambda: server.is_whole(LARGE.key), "the object is repaired")
    metrics = server.metrics()
    assert metrics("infinicache_instances_reclaimed_total") == 1
    assert metrics("infinicache_chunks_repaired_total") == 1
    assert metrics("infinicache_objects_lost_total") == 0
    server.check([LARGE], "after its repair")


def test_an_instance_that_is_told_to_end_does_so_in_order(start) -> None:
    # What is under way when it is told to end is answered, by it or by the next instance.
    server = start(nodes=NODES, preset="knative-like", test_hooks="on", reclaim_drain="200ms",
                   reclaim_grace="10s", **FAST)
    values = [Value(f"key/{n}", 1_500_000, n) for n in range(6)]
    server.fill(values)
    before = {node.id: node for node in server.nodes()}
    victims = [1, 4]
    for node in victims:
        assert ask(server, "reclaim", str(node)).code == 0
    while any(processes.state(before[node].pid) for node in victims):
        server.check(values, "while two nodes end")
    wait_until(lambda: all(server.is_whole(value.key) for value in values), "all is repaired")
    server.check(values, "after the repair")
    assert server.metrics()("infinicache_objects_lost_total") == 0
    ends = [line for line in server.log().splitlines() if "instance reclaimed" in line]
    assert len(ends) == len(victims), ends


@pytest.mark.parametrize("preset", ["lambda-like", "knative-like"])
def test_no_node_outlives_a_server_that_is_killed_while_they_sleep(start, preset: str) -> None:
    server = start(nodes=NODES, preset=preset, node_survival="0s", **FAST)
    server.fill([LARGE])
    wait_until_asleep(server)
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait_for_end() == -signal.SIGKILL
    server.wait_for_no_process()
    server.destroy()


def hand_over(server: Server, node: int) -> None:
    """Runs an invocation of the node twice, until its other instance has the next one."""
    before = server.nodes()[node].instance

    def repeated() -> bool:
        with Client(server.port) as client:
            client.send("GET", LARGE.key)
            found = any(server.admin(f"/api/v1/test/repeat?node={node}", "POST")[0] == 200
                        for _ in range(20))
            LARGE.check(client.read_reply(), "read meanwhile")
        return found

    def handed_over() -> bool:
        wait_until(repeated, f"node {node} is invoked twice")
        wait_until_asleep(server)
        wait_until(lambda: server.admin_json("/api/v1/cost")["instances"]["busy"] == 0,
                   "both instances sleep")
        server.check([LARGE])
        return server.nodes()[node].instance != before
    wait_until(handed_over, f"another instance of node {node} answers", 120)


@pytest.mark.parametrize("preset", ["lambda-like", "knative-like"])
def test_an_instance_that_was_given_up_and_comes_back_serves_and_keeps_nothing_stale(
        start, preset: str) -> None:
    # As many nodes as an object has chunks: each is needed, also by repair.
    server = start(nodes=DATA + PARITY, preset=preset, test_hooks="on", **FAST)
    values = [LARGE, Value("overwritten", 1_500_000)]
    server.fill(values)
    node = server.holders(LARGE.key)[0]
    first = server.nodes()[node].instance
    hand_over(server, node)
    values[1] = Value("overwritten", 1_500_000, version=2)
    server.fill(values[1:])
    server.wait_until_whole([value.key for value in values])
    hand_over(server, node)
    assert server.nodes()[node].instance == first
    server.check(values, "of which it has stale chunks")
    # Of which the server is told by the node's next session.
    wait_until(lambda: server.check(values) or all(
        server.is_whole(value.key) for value in values) and
        sum(each.chunks for each in server.nodes()) == len(values) * (DATA + PARITY),
        "every chunk that is stored is one of the objects'")
    server.check(values, "afterwards")
    assert server.metrics()("infinicache_objects_lost_total") == 0
    wait_until_asleep(server)
    wait_until(lambda: server.metrics()("infinicache_sessions_total") == invocations(server),
               "each time that an invocation ran is billed")


# --- Nobody asks --------------------------------------------------------------------------------


def test_nodes_that_hold_something_are_kept_warm_and_no_others(start) -> None:
    server = start(nodes=NODES, preset="lambda-like", cold_start="10ms..50ms", warm_up="300ms",
                   backup="off")  # whose rounds keep nodes warm as well
    server.fill([SMALL])
    holders = set(server.holders(SMALL.key).values())
    assert len(holders) == 1 + PARITY
    begin = time.monotonic()
    first = server.metrics()("infinicache_warm_ups_total")
    wait_until(lambda: server.metrics()("infinicache_warm_ups_total") >= first + 15,
               "nodes are warmed up", 60)
    count = server.metrics()("infinicache_warm_ups_total") - first
    # An interval is shortened by a tenth at most, and each node's first one by any share.
    assert count <= len(holders) * (1 + (time.monotonic() - begin) / 0.27), count
    assert {node.id for node in server.nodes() if node.pid} == holders
    assert server.metrics()("infinicache_instances_ended_total") == 0


@pytest.mark.parametrize(("preset", "share"), [("lambda-like", 0.01), ("knative-like", 0.02)])
def test_a_pool_that_sleeps_uses_next_to_no_cpu(start, preset: str, share: float) -> None:
    server = start(nodes=64, preset=preset, node_memory="64MiB", **FAST)
    server.fill(Value(f"key/{n}", 1_500_000, n) for n in range(40))
    wait_until_asleep(server)
    assert len(pids(server)) == 64
    everyone = [server.pid, *pids(server)]

    def used() -> float:
        return sum(processes.cpu_seconds(pid) for pid in everyone)

    before, begin = used(), time.monotonic()
    time.sleep(scaled(3, 5, 60))
    elapsed, cpu = time.monotonic() - begin, used() - before
    # The kernel counts in steps of 10 ms.
    assert cpu <= share * elapsed + 0.02, f"{cpu:.2f} s in {elapsed:.1f} s"
