"""Everything at once, by seed: no answer is ever one that the clients' model does not allow.

Clients write, overwrite, delete, let expire and read, in bursts between which nodes fall asleep.
Meanwhile nodes are killed, reclaimed and never thawed again, are backed up and fail over, objects
are repaired, and the server itself is killed: the next one takes over what is left. Twice without
backup and twice with it: within p nodes at once, where nothing may be lost, and beyond, where each
loss has to be accounted for. With INFINICACHE_TEST_SCALE=large it takes a quarter of an hour.
"""

import contextlib
import random
import signal
import time
from collections.abc import Iterator

import pytest
from harness.harm import (
    FLAGS,
    NODES,
    PARITY,
    Hurt,
    await_repair,
    await_rest,
    finish,
    kill_at_once,
    kill_at_thaw,
    living,
    never_thaw,
    reclaim_some,
    send,
)
from harness.load import Load
from harness.server import Server, wait_until
from harness.settings import SEED, rng, scaled

OPERATIONS = {"set": 18, "set_expiring": 6, "del": 4, "expire": 4, "persist": 3, "get": 24,
              "mget": 5, "getrange": 8, "strlen": 4, "exists": 4, "ttl": 5, "set_shared": 6,
              "get_shared": 9}
# Mostly small: as many commands as can be.
SIZES = [1, 1, 100, 100, 5000, 20_000, 20_000, 128 * 1024, 200_000, 300_000, 1_500_000, 4_000_000]
NAPS = [0] * 60 + [0.002, 0.05, 0.2]
BACKUPS = ["off", "500ms"]
SECONDS = scaled(2, 6, 220)


@contextlib.contextmanager
def loaded(backup: str, purpose: str, *,
           may_lose: bool, crashes: bool) -> Iterator[tuple[Server, Load, list[str]]]:
    """A server under load, and a list for what befalls it. Everything is checked at the end."""
    # With all chunks stored of whatever is answered, p nodes may be lost at any time.
    server = Server(**{**FLAGS, "backup": backup, "reclaim": "none"}, preset="lambda-like",
                    node_survival="30s", parity_min=PARITY)
    steps: list[str] = []
    load = Load(server, f"{purpose}/{backup}", OPERATIONS, may_lose=may_lose, sizes=SIZES,
                naps=NAPS)
    try:
        server.start()
        await_rest(server)
        with load:
            load.run_for(0.5)
            yield server, load, steps
            with load.paused():
                load.check_all()
        load.check()
        assert load.counts["get"] > 0
        assert (load.counts["cut off by a crash"] > 0) == crashes
        finish(server)
    except BaseException:
        print(server.log_tail(200))
        raise
    finally:
        print(f"seed {SEED}, {purpose}, backup {backup}: {sum(load.counts.values())} operations, "
              f"{dict(load.counts)}, slowest {load.slowest:.3f} s; {len(steps)} steps: {steps}")
        server.destroy()


def idle(load: Load) -> None:
    with load.paused():
        time.sleep(0.4)  # in which nodes fall asleep


def all_processes_of(server: Server, nodes: list[int]) -> list[int]:
    return [pid for pid, command in server.processes().items()
            if any(f" --node={node} " in command for node in nodes)]


def crash(server: Server, load: Load, choose: random.Random, most: int) -> None:
    """Kills the server, and up to `most` nodes before it, with it or after it."""
    nodes = choose.sample(range(NODES), choose.randint(0, most))
    before = choose.random() < 0.5
    with load.crash():
        if before:
            send(all_processes_of(server, nodes), signal.SIGKILL)
            time.sleep(choose.choice([0, 0, 0.05, 0.3]))
        server.crash()
    if not before:
        send(all_processes_of(server, nodes), signal.SIGKILL)
    server.start()


def hurt_many(server: Server, choose: random.Random) -> None:
    there = living(server)
    some = choose.sample(there, min(choose.randint(PARITY + 1, 2 * PARITY + 2), len(there)))
    for number in (signal.SIGSTOP, signal.SIGKILL):
        send([one.pid for one in some], number)


def losses(server: Server) -> float:
    """What the server has told its clients to be gone, or not to be reached, though it was not."""
    metrics = server.metrics()
    return sum(metrics("infinicache_objects_gone_total", cause=cause)
               for cause in ("reclaimed", "corrupt", "torn", "evicted")) \
        + metrics("infinicache_reads_total", result="unavailable")



@pytest.mark.parametrize("backup", BACKUPS)
def test_within_p_nodes_at_once_every_answer_is_right(backup: str) -> None:
    choose = rng(f"everything/within/{backup}")
    harms = {"kill": kill_at_once, "reclaim": reclaim_some, "kill at thaw": kill_at_thaw,
             "never thaw": never_thaw}
    # A server that comes back counts peers as lost that have just taken over: then more than p are.
    crashes = ["crash", "crash"] if backup == "off" else []
    with loaded(backup, "within p", may_lose=False,
                crashes=bool(crashes)) as (server, load, steps):
        deadline = time.monotonic() + SECONDS
        while len(steps) < 4 or time.monotonic() < deadline:
            first = [*crashes[:1], *harms]
            step = first[len(steps)] if len(steps) < 3 \
                else choose.choice(["idle", *crashes, *harms])
            steps.append(step)
            hurt: list[Hurt] = []
            if step == "crash":
                crash(server, load, choose, PARITY)
            elif step == "idle":
                idle(load)
            else:
                hurt = harms[step](server, choose) or []
            load.run_for(choose.uniform(0, 0.5))
            await_repair(server, load, hurt)


@pytest.mark.parametrize("backup", BACKUPS)
def test_beyond_p_nodes_what_is_lost_is_null_and_accounted_for(backup: str) -> None:
    choose = rng(f"everything/beyond/{backup}")
    with loaded(backup, "beyond p", may_lose=True, crashes=True) as (server, load, steps):
        deadline = time.monotonic() + SECONDS
        while len(steps) < 4 or time.monotonic() < deadline:
            lost, gone = load.counts["lost"], losses(server)
            step = ["kill", "crash", "kill and crash"][len(steps)] if len(steps) < 3 \
                else choose.choice(["idle", "kill", "kill", "crash", "kill and crash"])
            steps.append(step)
            if step == "idle":
                idle(load)
            if step.startswith("kill"):
                hurt_many(server, choose)
                load.run_for(choose.uniform(0, 0.3))
            if step.endswith("crash"):
                crash(server, load, choose, 2 * PARITY + 2)
            load.run_for(choose.uniform(0, 0.5))
            wait_until(lambda: server.metrics()("infinicache_repairs_queued") == 0,
                       "what can be repaired is", 60)
            with load.paused():
                load.check_all()
                if not step.endswith("crash"):  # which takes its accounts along
                    assert load.counts["lost"] - lost <= losses(server) - gone, \
                        f"{load.counts['lost'] - lost} losses in {step}, " \
                        f"{losses(server) - gone} accounted for"
