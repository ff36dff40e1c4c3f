"""Nodes that are backed up to a peer survive what an erasure code alone does not.

The nodes are as on AWS Lambda: they accept no connections, are frozen between sessions, and end
without a word. Every node's primary instance can be killed at once: the peers go on.
"""

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from harness.resp import Client
from harness.server import Server, running, wait_until
from harness.settings import KIB, MIB, rng, scaled
from harness.values import Value

NODES = 6
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


def check_that_peers_take_over(server: Server, stored: list[Value]) -> None:
    server.fill(stored)
    wait_until_backed_up(server)
    kill_primaries(server)
    server.check(stored, "from the peers")
    metrics = server.metrics()
    assert metrics("infinicache_failovers_total") == NODES
    assert metrics("infinicache_objects_lost_total") == 0


def test_all_primaries_may_be_killed_at_once() -> None:
    with backed_up() as server:
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
    with backed_up(preset="knative-like") as server:
        check_that_peers_take_over(server, values(20))


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
