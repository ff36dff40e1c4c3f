"""Nodes that are backed up to a peer survive what an erasure code alone does not.

The nodes are as on AWS Lambda: they accept no connections, are frozen between sessions, and end
without a word. Every node's primary instance can be killed at once: the peers go on.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import pytest
from harness.resp import Client
from harness.server import Server, running, wait_until
from harness.settings import KIB, MIB, rng, scaled
from harness.values import Value

NODES = 6
ATTEMPTS = 5
CODE = "3+1"
OBJECTS = scaled(20, 60)
OBJECT_BYTES = 300_000
FLAGS = {"preset": "lambda-like", "nodes": NODES, "code": CODE, "node-memory": 64 * MIB,
         "warm-up": "off", "cold-start": "0s", "test-hooks": None}


@contextlib.contextmanager
def backed_up(interval: str = "1s", **flags: object) -> Iterator[Server]:
    names = {name.replace("-", "_"): value for name, value in FLAGS.items()}
    with running(**{**names, "backup": interval, **flags}) as server:
        yield server


def values(count: int = OBJECTS, version: int = 0) -> list[Value]:
    return [Value(f"object/{i}", OBJECT_BYTES, version) for i in range(count)]


def rounds(server: Server, result: str = "done") -> float:
    return server.metrics()("infinicache_backups_total", result=result)


def wait_until_backed_up(server: Server) -> None:
    """Waits until nothing is left to send: then no round begins any more."""
    def is_clean() -> bool:
        metrics = server.metrics()
        return (metrics("infinicache_backup_dirty_nodes") == 0
                and metrics("infinicache_backups_running") == 0)
    wait_until(is_clean, "every node's peer is current", 60)


def wait_until_asleep(server: Server) -> None:
    wait_until(lambda: all(node.state == "asleep" for node in server.nodes()),
               "every node is asleep", 60)


def kill_primaries(server: Server) -> None:
    """SIGKILLs the instance of every node that requests go to, all at once, and asleep."""
    wait_until_asleep(server)
    server.kill_nodes(node.id for node in server.nodes() if node.pid)


def all_rounds(server: Server) -> float:
    metrics = server.metrics()
    return sum(metrics("infinicache_backups_total", result=result) for result in
               ("done", "no_primary", "no_peer", "interrupted", "refused", "too_late"))


def fill_between_rounds(server: Server, count: int, then: Callable[[list[Value]], bool]) -> None:
    """Stores new values until `then`, which gets them, says that no round began before it was done.

    The interval is some seconds, so that the first attempt does as a rule.
    """
    for version in range(1, ATTEMPTS + 1):
        wait_until_backed_up(server)
        wait_until_asleep(server)
        begun = all_rounds(server)
        newer = values(count, version)
        server.fill(newer)
        wait_until_asleep(server)
        if then(newer) and all_rounds(server) == begun:
            return
    raise AssertionError(f"a round began in each of {ATTEMPTS} attempts: the machine is too busy")


def check_that_peers_take_over(server: Server, stored: list[Value]) -> None:
    server.fill(stored)
    wait_until_backed_up(server)
    kill_primaries(server)
    server.check(stored, "from the peers")
    metrics = server.metrics()
    assert metrics("infinicache_failovers_total") == NODES
    assert metrics("infinicache_objects_lost_total") == 0
    # They are current, so that nobody looks for the primaries, which would start new instances.
    assert metrics("infinicache_instances_started_total") == 2 * NODES


def test_all_primaries_may_be_killed_at_once() -> None:
    with backed_up("4s") as server:
        stored = values()
        check_that_peers_take_over(server, stored)
        wait_until(lambda: server.metrics()("infinicache_chunks_kept_by_failover_total")
                   == OBJECTS * 4, "every chunk was kept")
        assert server.metrics()("infinicache_chunks_repaired_total") == 0
        # The peers are primaries now, and get peers of their own.
        wait_until_backed_up(server)
        kill_primaries(server)
        server.check(stored, "from the peers of the peers")


def test_where_instances_accept_connections_they_need_no_relay() -> None:
    with backed_up("4s", preset="knative-like") as server:
        check_that_peers_take_over(server, values(20))


def test_a_peer_that_is_behind_and_woken_first_gives_nothing_up() -> None:
    # The platform takes the instance that was used earliest: the one that has not what was stored
    # since the last round.
    with backed_up("4s", idle_choice="earliest") as server:
        stored = values()
        server.fill(stored)

        def read(newer: list[Value]) -> bool:
            before = server.metrics()
            server.check(newer + stored[len(newer):], "though the peers were woken first")
            after = server.metrics()
            woken = (after("infinicache_invocations_total")
                     - before("infinicache_invocations_total"))
            assert woken >= 2 * NODES, "every node is invoked again for its primary"
            for metric in ("failovers", "instances_started", "degraded_reads"):
                name = f"infinicache_{metric}_total"
                assert after(name) == before(name), metric
            return True
        fill_between_rounds(server, OBJECTS // 2, read)
        metrics = server.metrics()
        assert metrics("infinicache_chunks_repaired_total") == 0
        assert metrics("infinicache_objects_lost_total") == 0


def test_what_only_a_dead_primary_had_is_repaired() -> None:
    with backed_up("4s") as server:
        stored = values()
        server.fill(stored)
        repaired = 0.0

        def kill_one_and_read(newer: list[Value]) -> bool:
            nonlocal repaired
            victim = next(node for node in server.nodes() if node.pid)
            server.kill_nodes([victim.id])  # p = 1: its peer is behind
            server.check(newer + stored[len(newer):], "with one primary dead, and its peer behind")
            wait_until(lambda: server.metrics()("infinicache_failovers_total") > 0,
                       "the peer took over")
            wait_until(lambda: server.metrics()("infinicache_repairs_queued") == 0,
                       "repair is done")
            repaired = server.metrics()("infinicache_chunks_repaired_total")
            return True
        fill_between_rounds(server, OBJECTS // 2, kill_one_and_read)
        assert repaired > 0
        assert server.metrics()("infinicache_objects_lost_total") == 0


def test_whichever_instance_is_woken_every_value_is_the_last_one() -> None:
    with backed_up("500ms", idle_choice="random") as server:
        choose = rng("whichever instance is woken")
        latest = {value.key: value for value in values(12)}
        server.fill(list(latest.values()))
        for version in range(1, scaled(8, 40)):
            for key in choose.sample(sorted(latest), 3):
                latest[key] = Value(key, OBJECT_BYTES, version)
                server.fill([latest[key]])
            wait_until_asleep(server)
            server.check(list(latest.values()), f"after {version} changes")
        assert server.metrics()("infinicache_objects_lost_total") == 0
        assert server.metrics()("infinicache_chunks_repaired_total") == 0


def test_a_peer_of_a_node_that_never_changes_is_kept_warm_and_replaced() -> None:
    with backed_up("1s", warm_up="2s") as server:
        stored = values()
        server.fill(stored)
        wait_until_backed_up(server)
        primaries = {node.pid for node in server.nodes()}
        touched = server.metrics()("infinicache_backup_warm_ups_total")
        wait_until(lambda: server.metrics()("infinicache_backup_warm_ups_total")
                   >= touched + NODES, "peers are woken though nothing changes")
        assert {node.pid for node in server.nodes()} == primaries, "the primaries stay"
        sent = server.metrics()("infinicache_backup_chunks_total")
        for pid, command in server.processes().items():
            if " --node=" in command and pid not in primaries:
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.metrics()("infinicache_backup_chunks_total")
                   >= sent + 4 * OBJECTS, "new peers have everything", 60)
        kill_primaries(server)
        server.check(stored, "from the new peers")
        assert server.metrics()("infinicache_objects_lost_total") == 0


def test_without_backup_the_same_loses_everything() -> None:
    with backed_up("off") as server:
        stored = values(5)
        server.fill(stored)
        kill_primaries(server)
        with Client(server.port) as client:
            assert [client.get(value.key) for value in stored] == [None] * 5


def test_a_round_moves_what_was_changed_and_nothing_else() -> None:
    with backed_up() as server:
        stored = values(100)
        server.fill(stored)
        wait_until_backed_up(server)
        everything = server.metrics()("infinicache_backup_bytes_total")
        stored_bytes = server.bytes_used()
        server.fill([Value("object/7", OBJECT_BYTES, version=1)])  # 1 % of what is stored
        wait_until_backed_up(server)
        moved = server.metrics()("infinicache_backup_bytes_total") - everything
        changed = OBJECT_BYTES * 4 / 3
        print(f"first rounds {everything:.0f} B for {stored_bytes} B stored; "
              f"after changing {changed:.0f} B: {moved:.0f} B")
        assert changed <= moved <= 1.1 * changed + NODES * 2 * KIB
        # And nothing at all once nothing changes.
        before = rounds(server)
        wait_until_asleep(server)
        assert rounds(server) == before


def test_what_was_deleted_or_overwritten_does_not_come_back() -> None:
    with backed_up() as server:
        stored = values(20)
        server.fill(stored)
        wait_until_backed_up(server)
        newer = values(10, version=1)
        with Client(server.port) as client:
            for value in newer:  # 0 to 9 are overwritten, 10 to 14 deleted, 15 expires at once
                client.set(value)
            client.call("DEL", *(value.key for value in stored[10:15]))
            client.call("PEXPIRE", stored[15].key, 1)
        wait_until_backed_up(server)
        kill_primaries(server)
        server.check(newer + stored[16:], "after the failover")
        with Client(server.port) as client:
            assert [client.get(value.key) for value in stored[10:16]] == [None] * 6


def test_changes_after_the_last_round_do_not_come_back_either() -> None:
    with backed_up() as server:
        stored = values(20)
        server.fill(stored)
        wait_until_backed_up(server)
        choose = rng("changes after the last round")
        changed = choose.sample(stored, 8)
        with Client(server.port) as client:
            client.call("DEL", *(value.key for value in changed[:4]))
            for value in changed[4:]:
                client.set(Value(value.key, OBJECT_BYTES, version=1))
        kill_primaries(server)
        with Client(server.port) as client:
            for value in changed[:4]:
                assert client.get(value.key) is None, f"{value} was deleted"
            for value in changed[4:]:
                got = client.get(value.key)
                if got is not None:  # lost with the primaries, unless it was backed up meanwhile
                    Value(value.key, OBJECT_BYTES, version=1).check(got)
        server.check([value for value in stored if value not in changed], "of the last round")


def test_a_peer_that_dies_in_a_round_does_no_harm_and_another_takes_its_place() -> None:
    with backed_up("500ms", backup_bandwidth="256KiB", node_memory=64 * MIB) as server:
        stored = values(20)
        server.fill(stored)
        primaries = {node.pid for node in server.nodes()}

        def peers() -> list[int]:
            return [pid for pid, command in server.processes().items()
                    if " --node=" in command and pid not in primaries]
        victim = wait_until(lambda: server.metrics()("infinicache_backups_running") > 0 and peers(),
                            "a round runs")[0]
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: sum(rounds(server, result) for result in
                               ("interrupted", "no_peer", "too_late")) > 0, "the round has failed")
        server.check(stored, "with a dead peer")
        assert server.metrics()("infinicache_objects_lost_total") == 0
        wait_until_backed_up(server)
        kill_primaries(server)
        server.check(stored, "from the peers")


@pytest.mark.parametrize("flag", [{"preset": "always-on"}])
def test_a_pool_that_never_sleeps_refuses_backup(flag: dict) -> None:
    server = Server(**{**flag, "backup": "1s"})
    try:
        server.spawn()
        assert server.wait_for_end() == 2
        assert "set backup = off" in server.log()
    finally:
        server.destroy()
