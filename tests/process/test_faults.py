"""Fault runs by seed: real nodes of each preset are hurt while clients read and write.

Nothing wrong is ever returned, every command ends within its deadline, and what loses at most p
nodes at once, with time for repair between, loses nothing. Every kind of fault must hit somebody.
Afterwards nothing is left behind: no process, no descriptor, no request, no chunk. With
INFINICACHE_TEST_SCALE=large, as `make soak` and `make soak-faults` run them, they take 10 minutes
for each preset.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator

import pytest
from harness import processes
from harness.harm import (
    FLAGS,
    FREEZING,
    NODES,
    Hits,
    Tally,
    await_repair,
    await_rest,
    end_behind_pong,
    finish,
    in_session,
    instances_of,
    kill_at_once,
    kill_at_thaw,
    living,
    never_thaw,
    reclaim_some,
    run_twice,
    send,
)
from harness.load import Load
from harness.resp import Client
from harness.server import Server, wait_until
from harness.settings import SEED, program, rng, scaled
from harness.values import Value

PRESETS = [*FREEZING, "knative-like"]
# There a request is sent without a question while the node has not said that its session ends.
NOTIFYING = PRESETS[2:]
OPERATIONS = {"set": 35, "del": 5, "get": 60}


@contextlib.contextmanager
def moody_starts(folder, failing: int, late: int) -> Iterator[str]:
    """A program of nodes of which so many percent do not start, or start late."""
    script = folder / "moody-node"
    # Each process draws for itself; the seed gives the same draws to the same process number.
    script.write_text(f"""#!/bin/bash
RANDOM=$(( ({SEED} + $$) % 32768 ))
draw=$(( (RANDOM + RANDOM) % 100 ))
if (( draw < {failing} )); then exit 3; fi
if (( draw < {failing + late} )); then sleep 0.$(( RANDOM % 9 + 1 )); fi
exec '{program("infinicache-node")}' "$@"
""")
    script.chmod(0o755)
    yield str(script)


# --- Afterwards ---------------------------------------------------------------------------------


def descriptors_of(server: Server) -> int:
    """Without pipes, of which the server keeps some for its next splices."""
    return sum(not name.startswith("pipe:") for name in processes.descriptors(server.pid))


def check_nothing_is_left(server: Server, descriptors: int) -> None:
    with Client(server.port) as client:
        client.call("FLUSHALL")
    # What an instance still holds that was given up, and came back, is kept for a minute.
    wait_until(lambda: server.bytes_used() == 0, "every chunk is freed", 120)
    wait_until(lambda: server.metrics()("infinicache_buffer_budget_used_bytes") == 0,
               "no request holds memory")
    wait_until(lambda: not server.zombies(), "no process is left unreaped")
    wait_until(lambda: all(len(instances_of(server, node)) <= 1 for node in range(NODES)),
               "no instance is left over", 60)
    # A node that was started anew may have one less for now.
    wait_until(lambda: descriptors_of(server) <= descriptors,
               f"no more than {descriptors} descriptors are open")
    # Two for each node, and those of a few splices on each thread.
    assert len(processes.descriptors(server.pid)) <= descriptors + 2 * NODES + 128


@contextlib.contextmanager
def fault_run(preset: str, folder, **flags: object) -> Iterator[tuple[Server, Tally, int]]:
    """A server under `preset`, and its descriptors at rest; checked afterwards."""
    server = Server(preset=preset, **{**FLAGS, **flags})
    tally = Tally()
    try:
        server.start()
        await_rest(server)
        descriptors = descriptors_of(server)
        yield server, tally, descriptors
        finish(server)
    except BaseException:
        (folder / "server.log").write_text(server.log())
        print(*tally.story[-20:], f"the server's log is {folder / 'server.log'}", sep="\n")
        raise
    finally:
        server.destroy()


def summary(server: Server, what: str, tally: Tally, load: Load) -> str:
    metrics = server.metrics()
    counts = {name: int(metrics(f"infinicache_{name}_total"))
              for name in ("invocations", "invocations_failed", "requests_crossed",
                           "wakes_too_late", "chunks_repaired", "objects_lost")}
    return f"{what}: {tally}; {load}; {counts}"


@pytest.mark.parametrize("preset", PRESETS)
def test_within_p_failures_at_once_nothing_is_lost(preset: str, tmp_path) -> None:
    choose = rng(f"faults/{preset}")
    harms = [kill_at_once, never_thaw, reclaim_some, end_behind_pong, run_twice]
    if preset in FREEZING:
        harms.append(kill_at_thaw)
    with moody_starts(tmp_path, failing=0, late=20) as node_program, \
            fault_run(preset, tmp_path, node_program=node_program) as (server, tally, descriptors):
        with Load(server, f"within/{preset}", OPERATIONS, may_lose=False) as load:
            load.run_for(1)
            deadline = time.monotonic() + scaled(3, 6, 300)
            left = list(harms)
            while left or time.monotonic() < deadline:
                harm = left.pop() if left else choose.choice(harms)
                hurt = tally.strike(harm, server, choose, load)
                load.run_for(choose.uniform(0, 0.3))
                await_repair(server, load, hurt)
        load.check()
        print(summary(server, preset, tally, load))
        assert load.counts["get"] > 0
        assert server.metrics()("infinicache_objects_lost_total") == 0
        await_rest(server)
        check_nothing_is_left(server, descriptors)


def run_some_twice(server: Server, choose: random.Random) -> Hits:
    """As run_twice, of several nodes, and without a wait."""
    nodes = choose.sample(range(NODES), 3)
    answers = [server.admin(f"/api/v1/test/repeat?node={node}", "POST")[0] for node in nodes]
    return [] if 200 in answers else None


def stop_one(server: Server, choose: random.Random) -> Hits:
    """As never_thaw, without a wait."""
    one = in_session(server, choose)
    if one is None:
        return None
    send([one.pid], signal.SIGSTOP)
    return [one]


def end_some_behind_pong(server: Server, choose: random.Random) -> Hits:
    hurt = choose.sample(living(server), min(2, len(living(server))))
    send([one.pid for one in hurt], signal.SIGUSR1)
    return hurt or None


@pytest.mark.parametrize("preset", PRESETS)
def test_whatever_fails_nothing_wrong_is_returned(preset: str, tmp_path) -> None:
    # More at once than parity covers: objects get lost, and then they are null.
    choose = rng(f"anything/{preset}")
    model = choose.choice(["poisson:8/1s", "spikes:5/1s", "idle:300ms", "max-life:2s"])
    harms = [kill_at_once, stop_one, run_some_twice, end_some_behind_pong]
    if preset in FREEZING:
        harms.append(kill_at_thaw)
    with moody_starts(tmp_path, failing=20, late=20) as node_program, \
            fault_run(preset, tmp_path, node_program=node_program,
                      reclaim=model) as (server, tally, descriptors):
        with Load(server, f"anything/{preset}", OPERATIONS, may_lose=True) as load:
            deadline = time.monotonic() + scaled(3, 6, 300)
            left = list(harms)
            while left or time.monotonic() < deadline:
                harm = left.pop() if left else choose.choice(harms)
                tally.strike(harm, server, choose, load)
                load.run_for(choose.uniform(0, 0.5))
        load.check()
        print(summary(server, f"{preset}, {model}", tally, load))
        assert load.counts["get"] > 0 or load.counts["set"] > 0
        check_nothing_is_left(server, descriptors)


# --- The end of a session -----------------------------------------------------------------------


@contextlib.contextmanager
def standstill(server: Server) -> Iterator[None]:
    """Meanwhile the server does not run, and its nodes do."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("preset", NOTIFYING)
def test_what_crosses_the_end_of_a_session_is_answered_in_the_next_one(start, preset: str) -> None:
    # While the server stands still, sessions end and a request comes. Then two of its threads race:
    # one reads that the nodes sleep, the other sends them the request.
    shortest, longest = (4, 6) if preset == "knative-like" else (0, 0.25)
    choose = rng(f"crossing/{preset}")
    value = Value("wide", 1_500_000)
    wanted, crossed, tries = scaled(3, 10, 150), 0, 0
    server = start(nodes=NODES, node_memory="128MiB", preset=preset, cold_start="10ms..50ms",
                   warm_up="off")
    server.fill([value])
    client = server.client()
    while crossed < wanted and tries < 100 * wanted:
        tries += 1
        client.check(value, "which wakes the nodes")
        with standstill(server):
            client.send("GET", value.key)
            time.sleep(choose.uniform(shortest, longest))
        size = client.begin_value()
        assert size == len(value), f"{size} bytes"
        checker = value.checker(f"try {tries}")
        for data in client.stream(size):
            checker.feed(data)
        checker.finish()
        client.end_get()
        crossed = int(server.metrics()("infinicache_requests_crossed_total"))
    print(f"{preset}: {crossed} links crossed the end of a session, in {tries} tries")
    assert crossed >= wanted, f"{crossed} crossed in {tries} tries"
    metrics = server.metrics()
    assert metrics("infinicache_instances_ended_total") == 0
    assert metrics("infinicache_objects_lost_total") == 0
