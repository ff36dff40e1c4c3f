"""Fault runs by seed: real nodes of each preset are hurt while clients read and write.

Nothing wrong is ever returned, every command ends within its deadline, and what loses at most p
nodes at once, with time for repair between, loses nothing. Every kind of fault must hit somebody.
Afterwards nothing is left behind: no process, no descriptor, no request, no chunk. With
INFINICACHE_TEST_SCALE=large, as `make soak` and `make soak-faults` run them, they take 10 minutes
for each preset.
"""

import collections
import contextlib
import dataclasses
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from harness import processes
from harness.load import Load
from harness.resp import Client, ReplyError
from harness.server import Node, Server, wait_until
from harness.settings import SEED, program, rng, scaled
from harness.values import Value

NODES = 14
PARITY = 2
PRESETS = ["lambda-like", "lambda-2019", "cloudrun-like", "knative-like"]
FREEZING = PRESETS[:3]
# There a request is sent without a question while the node has not said that its session ends.
NOTIFYING = PRESETS[2:]

# Wide ones, whose writes wake every node.
WAKING = [Value(f"wake/{n}", 1_500_000) for n in range(4)]

# What nobody has invoked for long is taken away: the second instance of a node, for one. Those that
# hold something are kept by warm-ups, ten times as often.
FLAGS = {"nodes": NODES, "node_memory": "128MiB", "cold_start": "10ms..100ms",
         "warm_up": "500ms", "wake_timeout": "3s", "node_timeout": "4s", "session_max": "4s",
         "reclaim": "idle:5s", "reclaim_drain": "0s", "reclaim_grace": "0s", "test_hooks": "on",
         "backup": "off"}  # one instance for each node, so that one too many is seen

# --- Harm ---------------------------------------------------------------------------------------

# Of a node that has ended behind its PONG, as SIGUSR1 told it to.
ENDED_AT_PONG = "exited with status 86"


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


@dataclasses.dataclass(frozen=True)
class Hurt:
    """An instance that is done for."""

    node: int
    instance: str
    pid: int


# What a fault has done for. None: it hit nobody.
Hits = list[Hurt] | None
Harm = Callable[[Server, random.Random], Hits]


def is_over(pid: int) -> bool:
    return processes.state(pid) in ("", "Z")


def living(server: Server) -> list[Hurt]:
    """The instances that could be hurt."""
    return [Hurt(node.id, node.instance, node.pid) for node in server.nodes()
            if node.instance and node.pid and not is_over(node.pid)]


def instances_of(server: Server, node: int) -> list[int]:
    """The processes of a node, known to the server or not."""
    return [pid for pid, command in server.processes().items()
            if f" --node={node} " in command and not is_over(pid)]


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_at_once(server: Server, choose: random.Random) -> Hits:
    """Kills p nodes, whatever they do."""
    there = living(server)
    hurt = choose.sample(there, min(PARITY, len(there)))
    # Stopped first: else repair may be done with the first one before the last one is killed.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        send([one.pid for one in hurt], number)
    return hurt or None


def just_thawed(server: Server, choose: random.Random) -> Hurt | None:
    """A node that slept and is seen to run: before, in or after its first answer."""
    asleep = [one for one in living(server) if processes.state(one.pid) == "T"]
    deadline = time.monotonic() + 2
    while asleep and time.monotonic() < deadline:
        for one in choose.sample(asleep, len(asleep)):
            if processes.state(one.pid) in ("R", "S"):
                return one
    return None


def kill_at_thaw(server: Server, choose: random.Random) -> Hits:
    one = just_thawed(server, choose)
    if one is None:
        return None
    send([one.pid], signal.SIGKILL)
    return [one]


def end_behind_pong(server: Server, choose: random.Random) -> Hits:
    """A node wakes, says that it is there, and ends before it answers anything."""
    ended = server.log().count(ENDED_AT_PONG)
    holding = {node.id for node in server.nodes() if node.chunks > 0}
    candidates = [one for one in living(server) if one.node in holding]
    if not candidates:
        return None
    one = choose.choice(candidates)
    # One that sleeps gets it when it is woken: perhaps in time for this PONG, else for the next.
    send([one.pid], signal.SIGUSR1)
    wait_until(lambda: is_over(one.pid), f"{one}, which is woken all the time, ends at a PONG")
    wait_until(lambda: server.log().count(ENDED_AT_PONG) > ended, "its end is told")
    return [one]


def in_session(server: Server, choose: random.Random) -> Hurt | None:
    """A node that most likely is in one."""
    freezes = server.flags["preset"] in FREEZING
    return just_thawed(server, choose) if freezes else choose.choice(living(server) or [None])


def never_thaw(server: Server, choose: random.Random) -> Hits:
    """Stops a node in its session for good: the platform ends it when that is too long."""
    one = in_session(server, choose)
    return [one] if one is not None and ends_stopped(one.pid) else None


def ends_stopped(pid: int) -> bool:
    """Stops a process, until it is killed. False: it was in no session, and is woken like any."""
    # It runs a little when it is killed, too.
    runs = 30
    send([pid], signal.SIGSTOP)
    wait_until(lambda: processes.state(pid) not in ("R", "S"), f"{pid} is stopped or over")
    before = processes.switches(pid)
    return wait_until(lambda: "killed" if is_over(pid)
                      else processes.switches(pid) > before + runs and "woken",
                      f"{pid} is killed or woken", 60) == "killed"


def reclaim_some(server: Server, choose: random.Random) -> Hits:
    """The platform takes p idle or busy instances."""
    there = living(server)
    hurt = choose.sample(there, min(PARITY, len(there)))
    return [one for one in hurt
            if server.admin(f"/api/v1/test/reclaim?node={one.node}", "POST")[0] == 200] or None


def run_twice(server: Server, choose: random.Random) -> Hits:
    """The platform runs the invocation of a node's session in a second instance as well.

    Whichever is invoked next has the node from then on; the other one is never used again, and
    taken away by the platform. Until then either may be lost.
    """
    def repeated() -> Node | None:
        nodes = server.nodes()
        return next((node for node in choose.sample(nodes, len(nodes)) if node.chunks > 0
                     and len(instances_of(server, node.id)) == 1
                     and server.admin(f"/api/v1/test/repeat?node={node.id}", "POST")[0] == 200),
                    None)
    node = repeated()
    if node is None:
        return None
    wait_until(lambda: len(instances_of(server, node.id)) > 1,
               f"a second instance of node {node.id} starts beside {node.pid}")
    wait_until(lambda: len(instances_of(server, node.id)) == 1,
               f"one of the instances of node {node.id} is taken away", 60)
    return []


class Tally:
    """How often each kind of fault was tried, and hit somebody; and what was hit, in order."""

    TRIES = 60

    def __init__(self) -> None:
        self.tries: collections.Counter[str] = collections.Counter()
        self.hits: collections.Counter[str] = collections.Counter()
        self.story: list[str] = []
        self._begin = time.monotonic()

    def __str__(self) -> str:
        return ", ".join(f"{kind} {self.hits[kind]} of {tries}"
                         for kind, tries in sorted(self.tries.items()))

    def strike(self, harm: Harm, server: Server, choose: random.Random, load: Load) -> list[Hurt]:
        """Repeats `harm` until it hits somebody."""
        kind = harm.__name__
        for _ in range(self.TRIES):
            self.tries[kind] += 1
            hurt = harm(server, choose)
            if hurt is not None:
                self.hits[kind] += 1
                self.story.append(f"{time.monotonic() - self._begin:.3f} s: {kind} {hurt}")
                return hurt
            load.run_for(0.05)
        raise AssertionError(f"{kind} hit nobody in {self.TRIES} tries")


def await_repair(server: Server, load: Load, hurt: list[Hurt]) -> None:
    """Until the server knows that these instances are gone, and has repaired what they held."""
    def repaired() -> bool:
        load.check()
        now = {node.id: node.instance for node in server.nodes()}
        if any(now[one.node] == one.instance for one in hurt):
            return False
        metrics = server.metrics()
        return metrics("infinicache_repairs_queued") == 0 and all(
            view is None or view["surviving"] == len(view["chunks"])
            for view in map(server.object, [*load.models, *(value.key for value in WAKING)]))
    wait_until(repaired, f"what {hurt} held is repaired", 60)


# --- Afterwards ---------------------------------------------------------------------------------


def await_rest(server: Server) -> None:
    """Every node has an instance, and its links; nothing is under way."""
    def at_rest() -> bool:
        with contextlib.suppress(ReplyError):  # too many of them start late
            server.fill(WAKING)
        metrics = server.metrics()
        return all(node.instance for node in server.nodes()) \
            and metrics("infinicache_repairs_queued") == 0
    wait_until(at_rest, "every node has an instance", 60)


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


def finish(server: Server) -> None:
    """As Server.finish, but nodes were killed that the harness does not know of."""
    log = server.log()
    assert "CHECK failed" not in log and "Sanitizer" not in log, server.log_tail()
    server.close_clients()
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait_for_end(30) == 0, server.log_tail()
    server.wait_for_no_process()
    server.destroy()


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
        with Load(server, f"within/{preset}", may_lose=False) as load:
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
        assert load.counts["read"] > 0
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
        with Load(server, f"anything/{preset}", may_lose=True) as load:
            deadline = time.monotonic() + scaled(3, 6, 300)
            left = list(harms)
            while left or time.monotonic() < deadline:
                harm = left.pop() if left else choose.choice(harms)
                tally.strike(harm, server, choose, load)
                load.run_for(choose.uniform(0, 0.5))
        load.check()
        print(summary(server, f"{preset}, {model}", tally, load))
        assert load.counts["read"] > 0 or load.counts["set"] > 0
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
