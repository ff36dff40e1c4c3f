"""The server under test with its nodes: started, watched, hurt and stopped.

finish() is the last test of every test: the server ends with 0 on SIGTERM, none of its processes
is left, no node ended that nobody killed, and no sanitizer and no CHECK has spoken.
"""

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterable, Iterator

from harness import processes
from harness.processes import PeakMemory
from harness.resp import HOST, Client
from harness.settings import patience, program
from harness.values import Value

# Below the range from which the kernel takes ports for connections, so that nothing takes a port
# between the moment it is found free and the server's start.
_PORTS = range(20000, 32000)
_port_source = random.Random(os.getpid())

_REPORTS = re.compile(
    r"ERROR: \w*Sanitizer|WARNING: ThreadSanitizer|Sanitizer:DEADLYSIGNAL|runtime error:|"
    r"SUMMARY: \w*Sanitizer|CHECK failed|terminate called|some tasks did not end")
_NODE_ENDED = re.compile(r"instance ended .*: (killed by signal (?P<signal>\d+)|exited.*)")

# Every server of this test run that has not been finished, for the report of a failure.
running_servers: "list[Server]" = []


def free_port() -> int:
    for _ in range(1000):
        port = _port_source.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise RuntimeError(f"no free port among {_PORTS}")


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20):
    """Asks again until `condition` is true, and returns what it then says."""
    deadline = time.monotonic() + patience(seconds)
    while True:
        if result := condition():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience(seconds):g} s: {what}; last: {result!r}")
        time.sleep(0.01)


@dataclasses.dataclass(frozen=True)
class Node:
    """A row of /api/v1/nodes."""

    id: int
    state: str
    instance: str | None
    pid: int | None
    bytes_used: int
    bytes_lent: int
    bytes_limit: int
    chunks: int

    @classmethod
    def of(cls, row: dict) -> "Node":
        return cls(**{field.name: row[field.name] for field in dataclasses.fields(cls)})


class Metrics:
    """One reading of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples: list[tuple[str, dict[str, str], float]] = []
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            name, labels, value = re.fullmatch(r"([\w:]+)(?:\{(.*)\})? (\S+)", line).groups()
            pairs = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
            self._samples.append((name, pairs, float(value)))

    def names(self) -> set[str]:
        return {name for name, _, _ in self._samples}

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples of `name` that have these labels."""
        found = [value for sample, pairs, value in self._samples
                 if sample == name and labels.items() <= pairs.items()]
        assert found, f"/metrics has no {name} with {labels}; it has {sorted(self.names())}"
        return sum(found)


class Server:
    """`infinicache serve` with flags; keyword arguments are flags with '_' for '-'."""

    def __init__(self, environment: dict[str, str] | None = None, *, port: int | None = None,
                 admin_port: int | None = None, **flags: object) -> None:
        self.port = port or free_port()
        self.admin_port = admin_port or free_port()
        self.flags = {"listen": f"{HOST}:{self.port}", "admin": f"{HOST}:{self.admin_port}",
                      "nodes": 16, "node-memory": "512MiB", "code": "10+2",
                      **{name.replace("_", "-"): value for name, value in flags.items()}}
        self._mark = uuid.uuid4().hex
        self.environment = clean_environment()
        self.environment |= {"INFINICACHE_TEST_RUN": self._mark, **(environment or {})}
        self._folder = tempfile.TemporaryDirectory(prefix="infinicache-test-")
        self.log_path = pathlib.Path(self._folder.name, "log")
        self._process: subprocess.Popen[bytes] | None = None
        self._readies = 0  # in the log, before this run
        self._kills = 0
        self._killed_instances: set[str | None] = set()
        self._clients: list[Client] = []

    # --- Life -----------------------------------------------------------------------------------

    def start(self) -> "Server":
        self.spawn()
        try:
            wait_until(self.is_ready, "the server is ready", 60)
            # Which says that every loop has its links; /readyz looks at the nodes only.
            wait_until(lambda: self.log().count(" ready: ") > self._readies,
                       "the server logs that it is ready", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_tail()}") from None
        return self

    def spawn(self) -> None:
        arguments = [part for name, value in self.flags.items() if value is not None
                     for part in (f"--{name}", str(value))]
        if self not in running_servers:
            running_servers.append(self)
        self._readies = self.log().count(" ready: ")
        with open(self.log_path, "ab") as log:
            self._process = subprocess.Popen(
                [program("infinicache"), "serve", *arguments], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=self.environment, cwd=self._folder.name,
                process_group=0)

    def crash(self) -> None:
        """SIGKILLs the server, and not its nodes."""
        assert self._process is not None, "not started"
        self.close_clients()
        self._process.kill()
        self._process.wait()

    def restart(self) -> "Server":
        """Crashes the server and starts it again with the same flags."""
        self.crash()
        return self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def is_ready(self) -> bool:
        assert self._process is not None, "not started"
        code = self._process.poll()
        assert code is None, f"the server ended with {code}"
        return self.admin_status("/readyz") == 200

    def wait_for_end(self, seconds: float = 20) -> int:
        """The server's exit code."""
        assert self._process is not None, "not started"
        try:
            return self._process.wait(patience(seconds))
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"the server has not ended in {patience(seconds):g} s") from error

    def processes(self) -> dict[int, str]:
        """Command lines of the server and its nodes that live now, by pid."""
        found = {}
        for folder in pathlib.Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if self._mark.encode() in (folder / "environ").read_bytes():
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if command:  # a zombie has none
                        found[int(folder.name)] = command.strip()
        return found

    def guard(self) -> int:
        """The process that keeps the nodes when the server crashes."""
        [pid] = [pid for pid, command in self.processes().items() if command.endswith(" --guard")]
        return pid

    def node_processes(self) -> dict[int, int]:
        """Process by node, whether there is a server or not."""
        nodes = {}
        for pid, command in self.processes().items():
            if found := re.search(r" --node=(\d+) ", command):
                nodes[int(found[1])] = pid
        return nodes

    def zombies(self) -> list[int]:
        """Children of the server and its nodes that have ended and that nobody has reaped."""
        return [child for parent in self.processes() for child in processes.children(parent)
                if processes.state(child) == "Z"]

    def finish(self, expected_exit: int = 0) -> None:
        """Stops the server and checks that it ended well and left nothing behind."""
        if self._process is None:
            return
        try:
            self.close_clients()
            if self._process.poll() is None:
                self._process.terminate()
            code = self.wait_for_end(30)
            self.wait_for_no_process()
            log = self.log()
            assert code == expected_exit, \
                f"the server ended with {code} instead of {expected_exit}:\n{self.log_tail()}"
            report = _REPORTS.search(log)
            assert report is None, f"the server's log has a report:\n{log[report.start():][:8000]}"
            self._check_node_ends(log)
        finally:
            self.destroy()

    def wait_for_no_process(self, seconds: float = 10) -> None:
        wait_until(lambda: not self.processes(), "server and nodes have all ended", seconds)

    def destroy(self) -> None:
        """Ends whatever still runs, and checks nothing; finish() then has nothing to do."""
        if self in running_servers:
            running_servers.remove(self)
        self.close_clients()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process = None
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._folder.cleanup()

    def _check_node_ends(self, log: str) -> None:
        ends = list(_NODE_ENDED.finditer(log))
        others = [end.group() for end in ends if end["signal"] != str(int(signal.SIGKILL))]
        assert not others, f"nodes ended that nobody killed: {others}"
        assert len(ends) <= self._kills, \
            f"{len(ends)} nodes were killed, {self._kills} of them by the test"

    # --- Log ------------------------------------------------------------------------------------

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, lines: int = 60) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    # --- Clients --------------------------------------------------------------------------------

    def client(self, **options: object) -> Client:
        """A connection that is closed with the server at the latest."""
        client = Client(self.port, **options)
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        while self._clients:
            self._clients.pop().close()

    # --- Admin interface ------------------------------------------------------------------------

    def admin(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """Status and body of an answer; status 0: nobody answers."""
        connection = http.client.HTTPConnection(HOST, self.admin_port, timeout=patience(10))
        try:
            connection.request(method, path)
            reply = connection.getresponse()
            return reply.status, reply.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def admin_status(self, path: str) -> int:
        return self.admin(path)[0]

    def admin_json(self, path: str):
        status, body = self.admin(path)
        assert status == 200, f"GET {path} answered {status}: {body[:300]!r}"
        return json.loads(body)

    def metrics(self) -> Metrics:
        status, body = self.admin("/metrics")
        assert status == 200, f"GET /metrics answered {status}"
        return Metrics(body.decode())

    def nodes(self) -> list[Node]:
        return sorted((Node.of(row) for row in self.admin_json("/api/v1/nodes")),
                      key=lambda node: node.id)

    def bytes_used(self) -> int:
        return sum(node.bytes_used for node in self.nodes())

    def object(self, key: str) -> dict | None:
        """The answer of /api/v1/objects/{key}; None if there is no such object."""
        path = "/api/v1/objects/" + urllib.parse.quote(key, safe="")
        status, body = self.admin(path)
        assert status in (200, 404), f"GET {path} answered {status}: {body[:300]!r}"
        return json.loads(body) if status == 200 else None

    def corrupt(self, key: str, chunk: int, byte: int = 0) -> None:
        """Flips a bit of a stored chunk."""
        query = urllib.parse.urlencode({"key": key, "chunk": chunk, "byte": byte})
        status, body = self.admin(f"/api/v1/test/corrupt?{query}", "POST")
        assert status in (200, 204), f"the test hook answered {status}: {body[:300]!r}"

    # --- Objects --------------------------------------------------------------------------------

    def holders(self, key: str) -> dict[int, int]:
        """Node by chunk index, of the chunks that are alive."""
        view = self.object(key)
        assert view is not None, f"there is no object {key!r}"
        return {chunk["index"]: chunk["node"] for chunk in view["chunks"] if chunk["alive"]}

    def is_whole(self, key: str) -> bool:
        view = self.object(key)
        return view is not None and view["surviving"] == len(view["chunks"])

    def wait_until_whole(self, keys: Iterable[str], seconds: float = 30) -> None:
        """Waits until every chunk of every object lies on a living instance."""
        wait_until(self.has_noticed, "the server notices that its nodes died", seconds)
        for key in keys:
            wait_until(lambda key=key: self.is_whole(key), f"{key!r} is repaired", seconds)

    def fill(self, values: Iterable[Value]) -> None:
        with Client(self.port) as client:
            for value in values:
                client.set(value)

    def check(self, values: Iterable[Value], what: str = "") -> None:
        with Client(self.port) as client:
            for value in values:
                client.check(value, f"{value} {what}")

    # --- Harm -----------------------------------------------------------------------------------

    def empty(self) -> None:
        """Deletes all objects, and returns when the nodes have freed them."""
        with Client(self.port) as client:
            client.call("FLUSHALL")
        wait_until(lambda: self.bytes_used() == 0, "the nodes are empty")

    def check_limits(self, node_memory: int) -> None:
        for node in self.nodes():
            assert node.bytes_used <= node.bytes_limit == node_memory, node

    def kill_nodes(self, ids: Iterable[int]) -> None:
        """SIGKILLs the nodes' processes at once. They come back by themselves, empty."""
        ids = list(ids)

        def living() -> list[Node]:
            chosen = [node for node in self.nodes() if node.id in ids]
            return chosen if all(node.pid for node in chosen) else []
        # Those that were killed before are on their way back.
        victims = wait_until(living, f"nodes {ids} live") if ids else []
        self._kills += len(victims)
        self._killed_instances |= {node.instance for node in victims}
        # Stopped first: else repair may be done with the first one before the last one is killed.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for node in victims:
                # One that is killed again and again may be gone before the server knows.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(node.pid, number)

    def has_noticed(self) -> bool:
        """Whether the server knows that what was killed is dead."""
        return self._killed_instances.isdisjoint(node.instance for node in self.nodes())

    def wait_until_active(self, seconds: float = 30) -> None:
        """Waits until every node has an instance again."""
        wait_until(self.has_noticed, "the server notices that its nodes died", seconds)
        wait_until(lambda: all(node.state == "active" for node in self.nodes()),
                   "all nodes are active", seconds)

    @contextlib.contextmanager
    def frozen(self, node: int) -> Iterator[int]:
        """Meanwhile the node's process is stopped: alive, and silent."""
        pid = next(row.pid for row in self.nodes() if row.id == node)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    # --- Memory ---------------------------------------------------------------------------------

    def resident(self) -> int:
        return processes.own_memory(self.pid)

    def watch_peak(self) -> PeakMemory:
        """Of the proxy's memory, from now on."""
        return PeakMemory(self.pid)


@contextlib.contextmanager
def running(environment: dict[str, str] | None = None, **flags: object) -> Iterator[Server]:
    """A server that is ready; afterwards it must end well."""
    server = Server(environment, **flags)
    try:
        yield server.start()
        server.finish()
    finally:
        server.destroy()


def clean_environment() -> dict[str, str]:
    """Ours without settings of the product, which would go before the tests'."""
    return {name: value for name, value in os.environ.items()
            if not name.startswith("INFINICACHE_")}
