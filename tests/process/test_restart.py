"""A server that crashes leaves its nodes to the next one, with all objects; one that stops ends
them.

A crash is SIGKILL. What a client was told before holds afterwards: what was stored is there, what
was deleted is not.
"""

import contextlib
import os
import random
import signal
import threading
import time

import pytest
from harness.resp import Client, Disconnected
from harness.server import Server, running, wait_until
from harness.settings import KIB, MIB, rng, scaled
from harness.values import Value

NODES = 14
PARITY = 2
PRESETS = ["always-on", "lambda-like", "knative-like", "cloudrun-like"]
SIZES = [0, 100, 10_000, 200 * KIB, 3 * MIB]


def some_values(prefix: str, version: int = 0) -> list[Value]:
    return [Value(f"{prefix}/{n}/{size}", size, version) for size in SIZES for n in range(8)]


def adoptions(server: Server) -> int:
    return int(server.metrics()("infinicache_instances_adopted_total"))


def wait_until_rebuilt(server: Server) -> None:
    wait_until(lambda: server.metrics()("infinicache_rebuild_loading") == 0, "all is rebuilt")


def starts_empty(server: Server) -> None:
    server.start()
    assert server.client().call("DBSIZE") == 0


# --- What clients were told ---------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_all_is_served_again_after_a_crash(start, preset: str) -> None:
    # Peers are processes more, which end with the crash.
    server = start(nodes=NODES, preset=preset, cold_start="0s", backup="off")
    values = some_values("kept")
    server.fill(values)
    nodes = server.node_processes()
    assert len(nodes) == NODES
    server.restart()
    server.check(values, "after the crash")
    assert server.node_processes() == nodes, "the nodes are the same processes"
    assert adoptions(server) == NODES
    wait_until_rebuilt(server)
    assert server.metrics()("infinicache_objects_rebuilt_total") == len(values)
    assert server.client().call("DBSIZE") == len(values)
    kinds = [event["kind"] for event in server.admin_json("/api/v1/events")["events"]]
    assert kinds.index("rebuild_started") < kinds.index("rebuilt")
    assert server.zombies() == []


class Writer(threading.Thread):
    """Overwrites and deletes keys of its own until the server is gone, and knows what must be."""

    def __init__(self, server: Server, number: int) -> None:
        super().__init__()
        self._port = server.port
        self._choose = rng(f"restart/{number}")
        self.keys = [f"writer/{number}/{n}" for n in range(40)]
        # Key -> value (None: deleted), as answered last; and what was sent and not answered.
        self.answered: dict[str, Value | None] = dict.fromkeys(self.keys)
        self.asked: tuple[str, Value | None] | None = None
        self.count = 0

    def run(self) -> None:
        # The server goes away in the middle of it.
        with contextlib.suppress(OSError, AssertionError, Disconnected), \
                Client(self._port) as client:
            while True:
                self._step(client)

    def _step(self, client: Client) -> None:
        key = self._choose.choice(self.keys)
        deletes = self._choose.random() < 0.25
        self.count += 1
        value = None if deletes else Value(key, self._choose.choice(SIZES[:4]), self.count)
        self.asked = (key, value)
        if value is None:
            client.call("DEL", key)
        else:
            client.set(value)
        self.answered[key] = value
        self.asked = None

    def allowed(self, key: str) -> list[Value | None]:
        pending = [self.asked[1]] if self.asked and self.asked[0] == key else []
        return [self.answered[key], *pending]


def test_a_crash_under_load_loses_and_resurrects_nothing(start) -> None:
    server = start(nodes=NODES)
    for round_number in range(scaled(1, 3, 10)):
        writers = [Writer(server, 4 * round_number + n) for n in range(4)]
        for writer in writers:
            writer.start()
        wait_until(lambda: all(writer.count > 100 for writer in writers),  # noqa: B023
                   "all writers are at work")
        server.crash()
        for writer in writers:
            writer.join()
        server.start()
        with Client(server.port) as client:
            for writer in writers:
                for key in writer.keys:
                    got = client.get(key)
                    allowed = writer.allowed(key)
                    values = [None if value is None else value.data() for value in allowed]
                    assert got in values, \
                        f"{key} has {got and len(got)} bytes; may be {allowed}"
    assert server.zombies() == []


@pytest.mark.parametrize("preset", ["always-on", "lambda-like"])
def test_what_was_deleted_stays_deleted(start, preset: str) -> None:
    server = start(nodes=NODES, preset=preset, cold_start="0s")
    kept, deleted = some_values("kept"), some_values("deleted")
    server.fill(deleted)
    with Client(server.port) as client:
        client.call("FLUSHALL")
    server.fill(deleted + kept)
    with Client(server.port) as client:
        for value in deleted:
            assert client.call("DEL", value.key) == 1
    # At once: the nodes have the marks, and perhaps still the chunks.
    server.restart()
    with Client(server.port) as client:
        for value in deleted:
            assert client.get(value.key) is None, value
    server.check(kept)
    wait_until_rebuilt(server)
    assert server.client().call("DBSIZE") == len(kept)


def test_expiries_are_kept_and_pass_while_no_server_runs(start) -> None:
    server = start(nodes=NODES)
    at = int(time.time() * 1000) + 3_600_000
    passing = Value("passing", 1000)
    with Client(server.port) as client:
        client.set(Value("forever", 1000))
        client.set(Value("hour", 1000), "PXAT", at)
        client.set(passing, "PX", 400)
    server.crash()
    time.sleep(0.5)  # the time that the test is about
    server.start()
    with Client(server.port) as client:
        assert client.call("PEXPIRETIME", "hour") == at
        assert client.call("PTTL", "forever") == -1
        assert client.get("passing") is None
    wait_until_rebuilt(server)
    assert server.metrics()("infinicache_objects_gone_total", cause="expired") == 1


def test_of_a_node_with_two_instances_the_primary_is_taken_over(start) -> None:
    server = start(nodes=NODES, preset="lambda-like", cold_start="0s", warm_up="off", backup="1s")
    server.fill(some_values("kept"))
    wait_until(lambda: server.metrics()("infinicache_backup_dirty_nodes") == 0, "peers have it", 60)
    instances = [command for command in server.processes().values() if " --node=" in command]
    assert len(instances) == 2 * NODES
    server.fill(some_values("kept", 1))  # which the peers have not, or not all
    server.restart()
    server.check(some_values("kept", 1), "after the crash")
    assert adoptions(server) == NODES
    wait_until_rebuilt(server)
    assert server.metrics()("infinicache_objects_lost_total") == 0
    wait_until(lambda: server.metrics()("infinicache_backup_dirty_nodes") == 0, "of new peers", 60)


def test_versions_go_on_over_several_crashes(start) -> None:
    server = start(nodes=NODES)
    for version in range(4):
        server.fill(some_values("key", version))
        server.restart()
        server.check(some_values("key", version), f"after crash {version}")
    assert server.client().call("DBSIZE") == len(some_values("key"))


def test_a_crash_in_the_middle_of_the_rebuild(start) -> None:
    server = start(nodes=NODES)
    values = some_values("kept")
    server.fill(values)
    server.crash()
    for count in range(1, 4):
        server.spawn()
        wait_until(lambda: server.log().count(" adopted ") >= count,  # noqa: B023
                   "it has the nodes")
        server.crash()
    server.start()
    server.check(values)


def test_a_write_that_was_under_way_leaves_the_old_value_and_no_bytes(start) -> None:
    server = start(nodes=NODES)
    old = Value("key", 5 * MIB)
    server.fill([old])
    used = server.bytes_used()
    received = server.metrics()("infinicache_client_input_bytes_total")
    client = server.client()
    client.begin_set(Value("key", 20 * MIB, 1))
    client.send_raw(b"x" * (10 * MIB))
    wait_until(lambda: server.metrics()("infinicache_client_input_bytes_total")
               > received + 5 * MIB, "some of it has come")
    server.restart()
    server.check([old])
    wait_until(lambda: server.bytes_used() == used, "what was not complete is freed")


def lose_many(server: Server, keys: list[str], choose: random.Random) -> list[int]:
    """Nodes without which more than p chunks of one of the keys are gone."""
    holders = list(server.holders(choose.choice(keys)).values())
    return choose.sample(holders, PARITY + 1)


@pytest.mark.parametrize("while_it_runs", [True, False])
def test_an_overwritten_value_does_not_come_back_when_its_successor_is_lost(
        start, while_it_runs: bool) -> None:
    # Sleeping nodes are not woken to free what was overwritten: it is all still there.
    server = start(nodes=24, preset="lambda-like", cold_start="0s", repair="off")
    choose = rng(f"restart/successor/{while_it_runs}")
    lost = 0
    for _ in range(scaled(3, 6, 60)):
        with Client(server.port) as client:
            client.call("FLUSHALL")
        old = [Value(f"{n}/{size}", size) for size in SIZES[1:] for n in range(4)]
        new = [Value(value.key, size, 1) for value in old for size in [choose.choice(SIZES[1:])]]
        server.fill(old)
        wait_until(lambda: all(node.state == "asleep" for node in server.nodes()), "all sleep")
        server.fill(new)
        nodes = lose_many(server, [value.key for value in new], choose)
        processes = server.node_processes()
        if not while_it_runs:
            server.crash()
        for node in nodes:
            os.kill(processes[node], signal.SIGKILL)
        if while_it_runs:
            with Client(server.port) as client:  # which notices, and starts others
                for value in new:
                    client.get(value.key)
            server.crash()
        server.start()
        with Client(server.port) as client:
            for value in new:
                got = client.get(value.key)
                lost += got is None
                if got is not None:
                    value.check(got, f"{value} without nodes {nodes}")
    print(f"{lost} objects were lost")
    assert lost > 0


# --- What else goes wrong -----------------------------------------------------------------------


def test_all_is_there_if_p_nodes_die_while_no_server_runs(start) -> None:
    server = start(nodes=NODES)
    values = some_values("kept")
    server.fill(values)
    server.crash()
    processes = server.node_processes()
    for node in rng("restart/kill").sample(range(NODES), PARITY):
        os.kill(processes[node], signal.SIGKILL)
    server.start()
    server.check(values, "with p nodes less")
    assert adoptions(server) == NODES - PARITY
    server.wait_until_whole(value.key for value in values)
    assert server.zombies() == []


def test_a_node_that_hangs_does_not_hold_up_the_next_server(start) -> None:
    server = start(nodes=NODES)
    values = some_values("kept")
    server.fill(values)
    server.crash()
    os.kill(server.node_processes()[5], signal.SIGSTOP)
    server.start()
    server.check(values, "without the one that hangs")
    assert adoptions(server) == NODES - 1
    server.wait_until_active()


def test_nodes_end_when_no_server_comes_in_time(start) -> None:
    server = start(nodes=NODES, node_survival="1s")
    server.fill(some_values("lost"))
    # A stopped node sees nothing: the guard must end it.
    with server.frozen(5):
        server.crash()
        assert len(server.node_processes()) == NODES
        server.wait_for_no_process()
    starts_empty(server)


def test_nodes_end_when_their_guard_is_killed_while_no_server_runs(start) -> None:
    server = start(nodes=NODES, node_survival="1h")
    with server.frozen(5):
        server.crash()
        os.kill(server.guard(), signal.SIGKILL)
        server.wait_for_no_process()
    starts_empty(server)


def test_a_server_whose_guard_is_killed_goes_on_with_new_nodes(start) -> None:
    server = start(nodes=NODES)
    before = server.node_processes()
    guard = server.guard()
    os.kill(guard, signal.SIGKILL)
    wait_until(lambda: len(server.node_processes()) == NODES
               and not set(server.node_processes().values()) & set(before.values()),
               "all nodes are new")
    server.wait_until_active()
    assert server.guard() != guard
    values = some_values("new")
    server.fill(values)
    server.restart()
    server.check(values, "which the new guard has kept")
    assert server.zombies() == []


def test_sigterm_ends_nodes_that_have_no_server(start) -> None:
    server = start(nodes=NODES, node_survival="1h")
    server.crash()
    os.kill(server.guard(), signal.SIGTERM)
    server.wait_for_no_process()
    server.destroy()


# --- Who may have the nodes ---------------------------------------------------------------------


def test_no_node_outlives_a_server_that_stops(start) -> None:
    server = start(nodes=NODES, node_survival="1h")
    server.fill(some_values("lost"))
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait_for_end() == 0
    server.wait_for_no_process()
    starts_empty(server)


def test_no_node_outlives_a_server_that_is_killed_while_it_stops(start) -> None:
    server = start(nodes=NODES, node_survival="1h", stop_grace="1h")
    client = server.client()
    client.begin_set(Value("key", MIB))
    os.kill(server.pid, signal.SIGTERM)
    wait_until(lambda: "stopping" in server.log(), "it stops, and waits for the client")
    server.crash()
    server.wait_for_no_process()
    server.destroy()


@pytest.mark.parametrize(("flag", "value"), [("nodes", 15), ("node-memory", "256MiB"),
                                             ("preset", "knative-like"), ("code", "8+2")])
def test_nodes_of_another_shape_are_ended_and_the_log_says_why(start, flag, value) -> None:
    server = start(nodes=NODES)
    server.fill(some_values("lost"))
    before = server.node_processes()
    was, server.flags[flag] = server.flags.get(flag, "always-on"), value
    server.restart()
    assert f"{flag} was {was}, is {value}" in server.log()
    assert server.client().call("DBSIZE") == 0
    assert not set(before.values()) & set(server.node_processes().values())


def test_a_server_whose_nodes_shall_not_survive_ends_those_that_did(start) -> None:
    server = start(nodes=NODES)
    server.fill(some_values("lost"))
    server.flags["node-survival"] = "0s"
    server.restart()
    assert server.client().call("DBSIZE") == 0
    assert len(server.processes()) == NODES + 1, "nodes and server, and no guard"


def test_a_second_server_on_the_port_disturbs_nothing(start) -> None:
    server = start(nodes=NODES)
    values = some_values("kept")
    server.fill(values)
    nodes = server.node_processes()
    for nodes_of_second in (NODES, NODES + 1):
        second = Server(port=server.port, nodes=nodes_of_second)
        try:
            second.spawn()
            assert second.wait_for_end() != 0
            assert "cannot listen" in second.log()
            second.wait_for_no_process()
        finally:
            second.destroy()
    server.check(values)
    assert server.node_processes() == nodes
    server.restart()
    server.check(values, "after a crash later on")


def test_servers_on_other_ports_keep_to_their_own_nodes() -> None:
    with running(nodes=6, code="4+2") as first, running(nodes=6, code="4+2") as second:
        first.fill([Value("of the first", 1000)])
        second.fill([Value("of the second", 1000)])
        first.crash()
        second.crash()
        second.start()
        first.start()
        first.check([Value("of the first", 1000)])
        second.check([Value("of the second", 1000)])
        assert first.client().get("of the second") is None
