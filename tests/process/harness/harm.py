"""What befalls nodes in tests of faults, and how to wait until it is over."""

import contextlib
import dataclasses
import os
import random
import signal
import time

from harness import processes
from harness.load import Load
from harness.resp import ReplyError
from harness.server import Server, wait_until
from harness.values import Value

PARITY = 2
FREEZING = ["lambda-like", "lambda-2019", "cloudrun-like"]

# Of nodes that sleep, in a hurry.
FLAGS = {"nodes": 14, "node_memory": "128MiB", "cold_start": "10ms..100ms",
         "warm_up": "500ms", "wake_timeout": "3s", "node_timeout": "4s", "session_max": "4s",
         "reclaim_drain": "0s", "reclaim_grace": "0s", "test_hooks": "on"}

# Wide ones, whose writes wake every node.
WAKING = [Value(f"wake/{n}", 1_500_000) for n in range(4)]


@dataclasses.dataclass
class Hurt:
    """An instance that is done for, as far as we can tell."""

    node: int
    instance: str
    pid: int
    switches_when_stopped: int | None = None

    def lives_on(self) -> bool:
        """It was stopped when its session was over already: then it is woken like any other."""
        return self.switches_when_stopped is not None \
            and processes.switches(self.pid) > self.switches_when_stopped

    def stop(self) -> None:
        send([self.pid], signal.SIGSTOP)
        deadline = time.monotonic() + 1
        while processes.state(self.pid) in ("R", "S") and time.monotonic() < deadline:
            time.sleep(0)
        self.switches_when_stopped = processes.switches(self.pid)


def living(server: Server) -> list[Hurt]:
    """The instances that could be hurt."""
    return [Hurt(node.id, node.instance, node.pid) for node in server.nodes()
            if node.instance and node.pid and processes.state(node.pid) not in ("", "Z")]


def await_repair(server: Server, load: Load, hurt: "list[Hurt]") -> None:
    """Until the server knows that these instances are gone, and has repaired what they held."""
    def repaired() -> bool:
        load.check()
        now = {node.id: node.instance for node in server.nodes()}
        if any(now[one.node] == one.instance and not one.lives_on() for one in hurt):
            return False
        metrics = server.metrics()
        return metrics("infinicache_repairs_queued") == 0 and all(
            view is None or view["surviving"] == len(view["chunks"])
            for view in map(server.object, [*load.keys(), *(value.key for value in WAKING)]))
    wait_until(repaired, f"what {hurt} held is repaired", 60)


def send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_at_once(server: Server, choose: random.Random) -> list[Hurt]:
    """Kills p nodes, whatever they do."""
    there = living(server)
    hurt = choose.sample(there, min(PARITY, len(there)))
    # Stopped first: else repair may be done with the first one before the last one is killed.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        send([one.pid for one in hurt], number)
    return hurt


def just_thawed(server: Server, choose: random.Random) -> Hurt | None:
    """A node that slept and is seen to run: before, in or after its first answer."""
    asleep = [one for one in living(server) if processes.state(one.pid) == "T"]
    deadline = time.monotonic() + 2
    while asleep and time.monotonic() < deadline:
        for one in choose.sample(asleep, len(asleep)):
            if processes.state(one.pid) in ("R", "S"):
                return one
    return None


def kill_at_thaw(server: Server, choose: random.Random) -> list[Hurt]:
    one = just_thawed(server, choose)
    if one is None:
        return []
    send([one.pid], signal.SIGKILL)
    return [one]


def never_thaw(server: Server, choose: random.Random) -> list[Hurt]:
    """Stops a node in its session for good: the platform ends it when that is too long."""
    freezes = server.flags["preset"] in FREEZING
    one = just_thawed(server, choose) if freezes else choose.choice(living(server) or [None])
    if one is None:
        return []
    one.stop()
    return [one]


def reclaim_some(server: Server, choose: random.Random) -> list[Hurt]:
    """The platform takes p idle or busy instances."""
    there = living(server)
    hurt = choose.sample(there, min(PARITY, len(there)))
    return [one for one in hurt
            if server.admin(f"/api/v1/test/reclaim?node={one.node}", "POST")[0] == 200]


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
