"""Fault runs by seed: real nodes of each preset are hurt while clients read and write.

Nothing wrong is ever returned, every command ends within its deadline, and what loses at most p
nodes at once, with time for repair between, loses nothing. Afterwards nothing is left behind: no
process, no descriptor, no request, no chunk. With INFINICACHE_TEST_SCALE=large, as `make soak`
runs them, they take 10 minutes for each preset.
"""

import contextlib
import time
from collections.abc import Iterator

import pytest
from harness import processes
from harness.harm import (
    FLAGS,
    FREEZING,
    await_repair,
    await_rest,
    finish,
    kill_at_once,
    kill_at_thaw,
    never_thaw,
    reclaim_some,
)
from harness.load import Load
from harness.resp import Client
from harness.server import Server, wait_until
from harness.settings import SEED, program, rng, scaled

NODES = FLAGS["nodes"]
PRESETS = [*FREEZING, "knative-like"]
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
    wait_until(lambda: server.bytes_used() == 0, "every chunk is freed", 60)
    wait_until(lambda: server.metrics()("infinicache_buffer_budget_used_bytes") == 0,
               "no request holds memory")
    wait_until(lambda: all(processes.state(pid) != "Z" for pid in processes.children(server.pid)),
               "no process is left unreaped")
    wait_until(lambda: len(processes.children(server.pid)) <= NODES, "no instance is left over")
    # A node that was started anew may have one less for now.
    wait_until(lambda: descriptors_of(server) <= descriptors,
               f"no more than {descriptors} descriptors are open")
    # Two for each node, and those of a few splices on each thread.
    assert len(processes.descriptors(server.pid)) <= descriptors + 2 * NODES + 128


@contextlib.contextmanager
def fault_run(preset: str, **flags: object) -> Iterator[tuple[Server, int]]:
    """A server under `preset`, and its descriptors at rest; checked afterwards."""
    server = Server(preset=preset, **{**FLAGS, **flags})
    try:
        server.start()
        await_rest(server)
        descriptors = descriptors_of(server)
        yield server, descriptors
        finish(server)
    finally:
        server.destroy()


@pytest.mark.parametrize("preset", PRESETS)
def test_within_p_failures_at_once_nothing_is_lost(preset: str, tmp_path) -> None:
    choose = rng(f"faults/{preset}")
    harms = [kill_at_once, never_thaw, reclaim_some]
    if preset in FREEZING:
        harms.append(kill_at_thaw)
    with moody_starts(tmp_path, failing=0, late=20) as node_program, \
            fault_run(preset, node_program=node_program) as (server, descriptors):
        with Load(server, f"within/{preset}", OPERATIONS, may_lose=False) as load:
            load.run_for(1)
            deadline = time.monotonic() + scaled(3, 6, 300)
            done = 0
            while done < len(harms) or time.monotonic() < deadline:
                harm = harms[done] if done < len(harms) else choose.choice(harms)
                hurt = harm(server, choose)
                load.run_for(choose.uniform(0, 0.3))
                await_repair(server, load, hurt)
                done += 1
        load.check()
        print(f"{preset}: {done} faults, {dict(load.counts)}, slowest {load.slowest:.3f} s")
        assert load.counts["get"] > 0
        metrics = server.metrics()
        assert metrics("infinicache_objects_lost_total") == 0
        await_rest(server)
        check_nothing_is_left(server, descriptors)


@pytest.mark.parametrize("preset", PRESETS)
def test_whatever_fails_nothing_wrong_is_returned(preset: str, tmp_path) -> None:
    # More at once than parity covers: objects get lost, and then they are null.
    choose = rng(f"anything/{preset}")
    model = choose.choice(["poisson:8/1s", "spikes:5/1s", "idle:300ms", "max-life:2s"])
    with moody_starts(tmp_path, failing=20, late=20) as node_program, \
            fault_run(preset, node_program=node_program, reclaim=model) as (server, descriptors):
        with Load(server, f"anything/{preset}", OPERATIONS, may_lose=True) as load:
            deadline = time.monotonic() + scaled(3, 6, 300)
            while time.monotonic() < deadline:
                choose.choice([kill_at_once, never_thaw, kill_at_thaw])(server, choose)
                load.run_for(choose.uniform(0, 0.5))
        load.check()
        print(f"{preset}, {model}: {dict(load.counts)}, slowest {load.slowest:.3f} s")
        assert load.counts["get"] > 0 or load.counts["set"] > 0
        check_nothing_is_left(server, descriptors)
