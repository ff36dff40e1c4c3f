"""What befalls nodes in tests of faults, and how to wait until it is over."""

import collections
import contextlib
import dataclasses
import os
import random
import signal
import time
from collections.abc import Callable

from harness import processes
from harness.load import Load
from harness.resp import ReplyError
from harness.server import Node, Server, wait_until
from harness.values import Value

NODES = 14
PARITY = 2
FREEZING = ["lambda-like", "lambda-2019", "cloudrun-like"]

# Wide ones, whose writes wake every node.
WAKING = [Value(f"wake/{n}", 1_500_000) for n in range(4)]

# What nobody has invoked for long is taken away: the second instance of a node, for one. Those that
# hold something are kept by warm-ups, ten times as often.
FLAGS = {"nodes": NODES, "node_memory": "128MiB", "cold_start": "10ms..100ms",
         "warm_up": "500ms", "wake_timeout": "3s", "node_timeout": "4s", "session_max": "4s",
         "reclaim": "idle:5s", "reclaim_drain": "0s", "reclaim_grace": "0s", "test_hooks": "on",
         "backup": "off"}  # one instance for each node, so that one too many is seen

# Of a node that has ended behind its PONG, as SIGUSR1 told it to.
ENDED_AT_PONG = "exited with status 86"


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
            for view in map(server.object, [*load.keys(), *(value.key for value in WAKING)]))
    wait_until(repaired, f"what {hurt} held is repaired", 60)


def await_rest(server: Server) -> None:
    """Every node has an instance, and its links; nothing is under way."""
    def at_rest() -> bool:
        with contextlib.suppress(ReplyError):  # too many of them start late
            server.fill(WAKING)
        metrics = server.metrics()
        return all(node.instance for node in server.nodes()) \
            and metrics("infinicache_repairs_queued") == 0
    wait_until(at_rest, "every node has an instance", 60)


def finish(server: Server) -> None:
    """As Server.finish, but nodes were killed that the harness does not know of."""
    log = server.log()
    assert "CHECK failed" not in log and "Sanitizer" not in log, server.log_tail()
    server.close_clients()
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait_for_end(30) == 0, server.log_tail()
    server.wait_for_no_process()
    server.destroy()
