"""Fault runs by seed: real nodes of each preset are hurt while clients read and write.

Nothing wrong is ever returned, every command ends within its deadline, and what loses at most p
nodes at once, with time for repair between, loses nothing. Afterwards nothing is left behind: no
process, no descriptor, no request, no chunk. With INFINICACHE_TEST_SCALE=large, as `make soak`
runs them, they take 10 minutes for each preset.
"""

import collections
import contextlib
import dataclasses
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from harness import processes
from harness.resp import Client, Disconnected, ReplyError
from harness.server import Server, running, wait_until
from harness.settings import SEED, patience, program, rng, scaled
from harness.values import Value

NODES = 14
PARITY = 2
PRESETS = ["lambda-like", "lambda-2019", "cloudrun-like", "knative-like"]
FREEZING = PRESETS[:3]

CLIENTS = 3
KEYS_PER_CLIENT = 8
SIZES = [1, 100, 20_000, 128 * 1024, 300_000, 1_000_000, 1_500_000, 4_000_000]
# Far above what the server's own deadlines add up to: who waits longer hangs.
ANSWER_SECONDS = 30

# Wide ones, whose writes wake every node.
WAKING = [Value(f"wake/{n}", 1_500_000) for n in range(4)]

FLAGS = {"nodes": NODES, "node_memory": "128MiB", "cold_start": "10ms..100ms",
         "warm_up": "500ms", "wake_timeout": "3s", "node_timeout": "4s", "session_max": "4s",
         "reclaim_drain": "0s", "reclaim_grace": "0s", "test_hooks": "on",
         "backup": "off"}  # one instance for each node, so that one too many is seen


class Load:
    """Clients with keys of their own, which know what each key may hold."""

    def __init__(self, server: Server, purpose: str, may_lose: bool) -> None:
        self._server = server
        self._may_lose = may_lose
        self._done = threading.Event()
        self._purpose = purpose
        self.counts: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0
        self.errors: list[BaseException] = []
        # None: the key has no value. Several: a write's outcome is not known.
        self.models: dict[str, list[Value | None]] = {}
        self._threads = [threading.Thread(target=self._run, args=(i,)) for i in range(CLIENTS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(patience(2 * ANSWER_SECONDS))
            assert not thread.is_alive(), "a client hangs"

    def check(self) -> None:
        if self.errors:
            raise self.errors[0]

    def run_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.errors:
            time.sleep(0.05)
        self.check()

    def _run(self, number: int) -> None:
        choose = rng(f"{self._purpose}/client {number}")
        keys = [f"{number}/{key}" for key in range(KEYS_PER_CLIENT)]
        version = 0
        client = Client(self._server.port, ANSWER_SECONDS)
        try:
            while not self._done.is_set():
                version += 1
                key = choose.choice(keys)
                begin = time.monotonic()
                try:
                    self._step(client, choose, key, version)
                except Disconnected:
                    # A reply that was begun could not be ended: more than p of its nodes failed.
                    self.counts["broken"] += 1
                    assert self._may_lose, f"{key}: the connection ended in the middle of a reply"
                    client.close()
                    client = Client(self._server.port, ANSWER_SECONDS)
                self.slowest = max(self.slowest, time.monotonic() - begin)
                # Now and then long enough for nodes to fall asleep.
                time.sleep(choose.choice([0, 0, 0.002, 0.05, 0.2]))
        except BaseException as error:
            self.errors.append(error)
        finally:
            client.close()

    def _step(self, client: Client, choose: random.Random, key: str, version: int) -> None:
        held = self.models.get(key, [None])
        action = choose.random()
        if action < 0.35:
            value = Value(key, choose.choice(SIZES), version)
            # Whatever comes now: until the answer is here the key may hold either.
            self.models[key] = [*held, value]
            error = self._try(lambda: client.set(value))
            # What was refused is never seen.
            self.models[key] = held if error else [value]
            self.counts["set refused" if error else "set"] += 1
        elif action < 0.4:
            self.models[key] = [*held, None]
            error = self._try(lambda: client.call("DEL", key))
            self.models[key] = [*held, None] if error else [None]
            self.counts["del"] += 1
        else:
            self._read(client, key, held)

    def _try(self, call: Callable[[], object]) -> str | None:
        try:
            call()
            return None
        except ReplyError as error:
            assert str(error).startswith(("TRYAGAIN", "OOM")), str(error)
            return str(error)

    def _read(self, client: Client, key: str, held: list[Value | None]) -> None:
        got: bytes | None = None

        def read() -> None:
            nonlocal got
            got = client.get(key)
        if error := self._try(read):
            assert error.startswith("TRYAGAIN"), error
            self.counts["read refused"] += 1
            return
        if got is None:
            if None not in held:
                assert self._may_lose, f"{key} is lost: it held {held}"
                self.counts["lost"] += 1
            self.models[key] = [None]
            return
        expected = next((value for value in held if value and len(value) == len(got)
                         and value.data() == got), None)
        if expected is None:
            (held[-1] or Value(key, 0)).check(got, f"{key} held {held}")
        self.models[key] = [expected]
        self.counts["read"] += 1


# --- Harm ---------------------------------------------------------------------------------------


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
            for view in map(server.object, [*load.models, *(value.key for value in WAKING)]))
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
        with Load(server, f"within/{preset}", may_lose=False) as load:
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
        assert load.counts["read"] > 0
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
        with Load(server, f"anything/{preset}", may_lose=True) as load:
            deadline = time.monotonic() + scaled(3, 6, 300)
            while time.monotonic() < deadline:
                choose.choice([kill_at_once, never_thaw, kill_at_thaw])(server, choose)
                load.run_for(choose.uniform(0, 0.5))
        load.check()
        print(f"{preset}, {model}: {dict(load.counts)}, slowest {load.slowest:.3f} s")
        assert load.counts["read"] > 0 or load.counts["set"] > 0
        check_nothing_is_left(server, descriptors)
