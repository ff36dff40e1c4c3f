"""A real redis-server beside ours, to compare replies byte by byte."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator

from harness.resp import HOST, encode
from harness.server import free_port, wait_until
from harness.settings import patience

# A command that nobody knows is answered at once, in every protocol and before authentication.
_MARK = "end-of-the-conversation"
_MARK_REPLY = f"-ERR unknown command '{_MARK}', with args beginning with: \r\n".encode()


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[int]:
    """The port of a redis-server that keeps nothing. Raises FileNotFoundError if there is none."""
    path = shutil.which("redis-server")
    if path is None:
        raise FileNotFoundError("redis-server is not installed: make deps")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="redis-test-") as folder:
        process = subprocess.Popen(
            [path, "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no",
             *options], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: _listens(port), "redis-server listens")
            yield port
        finally:
            process.kill()
            process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
        return True
    except OSError:
        return False


def converse(port: int, requests: "list[tuple | bytes]", ends: bool = True) -> bytes:
    """All that a server answers to `requests` (commands, or bytes as they are) on one connection,
    with b'<closed>' behind it if it then closes the connection. Without `ends` nothing follows the
    requests, and the server must close."""
    data = b"".join(request if isinstance(request, bytes) else encode(*request)
                    for request in requests)
    with socket.create_connection((HOST, port), timeout=patience(20)) as connection:
        with contextlib.suppress(ConnectionError):  # it may close before it has read all
            connection.sendall(data + (encode(_MARK) if ends else b""))
        answer = bytearray()
        while not answer.endswith(_MARK_REPLY):
            try:
                received = connection.recv(1 << 16)
            except ConnectionError:
                received = b""
            if not received:
                return bytes(answer) + b"<closed>"
            answer += received
        return bytes(answer[:-len(_MARK_REPLY)])
