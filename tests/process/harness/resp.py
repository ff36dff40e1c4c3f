"""A client of the Redis protocol for tests: byte by byte where a test wants it.

Every operation has a deadline. An error reply is a ReplyError: raised by call(), returned by
read_reply() and within pipelines.
"""

import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator

from harness.settings import patience
from harness.values import Value

HOST = "127.0.0.1"
_CRLF = b"\r\n"
# Replies up to this size come through the buffer; larger ones go straight to their own memory.
_BUFFER = 256 * 1024


class ReplyError(Exception):
    """An error reply; str() is its text."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReplyError) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class Disconnected(Exception):
    """The server closed the connection."""


def encode(*args: "str | bytes | int | float") -> bytes:
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        data = arg if isinstance(arg, bytes) else str(arg).encode()
        parts += (b"$%d\r\n" % len(data), data, _CRLF)
    return b"".join(parts)


class Client:
    """A connection. `timeout`: seconds that one operation may take in all."""

    def __init__(self, port: int, timeout: float = 30, receive_buffer: int | None = None) -> None:
        self._timeout = patience(timeout)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(self._timeout)
        self._socket.connect((HOST, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._record: bytearray | None = None
        self._deadline = 0.0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Vanishes with a TCP reset, as a killed machine's peer would see it."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    # --- Requests -------------------------------------------------------------------------------

    def call(self, *args: "str | bytes | int | float"):
        """Sends a command and returns its reply. Raises ReplyError."""
        self.send(*args)
        reply = self.read_reply()
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def error(self, *args: "str | bytes | int | float") -> str:
        """The text of the error that a command answers with."""
        self.send(*args)
        reply = self.read_reply()
        assert isinstance(reply, ReplyError), f"{args[:2]} answered {reply!r} instead of an error"
        return str(reply)

    def pipeline(self, commands: Iterable[tuple]) -> list:
        """Sends all commands at once and reads their replies meanwhile: the server does not keep
        replies that nobody reads."""
        commands = list(commands)
        data = b"".join(encode(*command) for command in commands)
        sender = threading.Thread(target=self._socket.sendall, args=(data,))
        self._socket.settimeout(self._timeout)
        sender.start()
        try:
            return [self.read_reply() for _ in commands]
        finally:
            sender.join()

    def send(self, *args: "str | bytes | int | float") -> None:
        self.send_raw(encode(*args))

    def send_raw(self, data: "bytes | memoryview") -> None:
        self._socket.settimeout(self._timeout)
        self._socket.sendall(data)

    # --- Values ---------------------------------------------------------------------------------

    def set(self, value: Value, *options: "str | int") -> None:
        """Stores `value` under its key, piece by piece: it is never whole in memory."""
        self.begin_set(value, *options)
        for piece in value.pieces():
            self.send_raw(piece)
        self.end_set(*options)
        reply = self.read_reply()
        if isinstance(reply, ReplyError):
            raise reply
        assert reply == "OK", f"SET {value} answered {reply!r}"

    def begin_set(self, value: Value, *options: "str | int") -> None:
        """Sends a SET up to its value's first byte."""
        head = encode("SET", value.key)
        self.send_raw(b"*%d" % (3 + len(options)) + head[2:] + b"$%d\r\n" % value.size)

    def end_set(self, *options: "str | int") -> None:
        """Sends what follows the value's last byte."""
        self.send_raw(_CRLF + encode(*options).partition(_CRLF)[2])

    def get(self, key: "str | bytes"):
        return self.call("GET", key)

    def check(self, value: Value, what: str = "") -> None:
        """Reads `value`'s key and fails unless it is that value. Nothing is kept in memory."""
        what = what or repr(value)
        checker = value.checker(what)
        size = self.begin_get(value.key)
        assert size is not None, f"{what}: null instead of the value"
        for data in self.stream(size):
            checker.feed(data)
        checker.finish()
        self.end_get()

    def begin_get(self, key: "str | bytes") -> int | None:
        """Sends a GET and reads the reply's head: the value's size, None for null."""
        self.send("GET", key)
        return self.begin_value()

    def begin_value(self) -> int | None:
        """Reads the head of a bulk string: its size, None for null."""
        self._start()
        line = self._line()
        if line[:1] == b"-":
            raise ReplyError(line[1:].decode())
        assert line[:1] == b"$", f"{line!r} is no bulk string"
        size = int(line[1:])
        return None if size < 0 else size

    def stream(self, size: int, at_once: int = 1 << 20) -> Iterator[memoryview]:
        """The next `size` bytes, as they come; each yielded view is valid until the next one."""
        memory = bytearray(min(size, at_once))
        while size > 0:
            self._start()
            count = self._receive_into(memoryview(memory)[:min(size, at_once)])
            yield memoryview(memory)[:count]
            size -= count

    def end_get(self) -> None:
        self._start()
        assert self._exactly(2) == _CRLF, "the value is not followed by a line end"

    # --- Replies --------------------------------------------------------------------------------

    def read_reply(self):
        """One reply: str (simple), bytes (bulk), int, float, bool, None, list, dict, ReplyError."""
        self._start()
        return self._reply()

    def read_raw(self) -> bytes:
        """One reply as it is on the wire."""
        self._record = bytearray()
        try:
            self._start()
            self._reply()
            return bytes(self._record)
        finally:
            self._record = None

    def read_some(self) -> bytes:
        """Whatever comes next; empty at the end of the connection."""
        if self._buffer:
            data, self._buffer = bytes(self._buffer), bytearray()
            return data
        self._socket.settimeout(self._timeout)
        return self._socket.recv(_BUFFER)

    def is_closed(self) -> bool:
        """Waits until the server has closed the connection; False if bytes come instead."""
        try:
            return self.read_some() == b""
        except ConnectionError:
            return True

    def _start(self) -> None:
        self._deadline = time.monotonic() + self._timeout

    def _receive_into(self, memory: memoryview) -> int:
        if self._buffer:
            count = min(len(self._buffer), len(memory))
            memory[:count] = self._buffer[:count]
            del self._buffer[:count]
            return count
        return self._receive(memory)

    def _receive(self, memory: memoryview) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no complete reply within {self._timeout:g} s")
        self._socket.settimeout(left)
        try:
            count = self._socket.recv_into(memory)
        except TimeoutError as error:
            raise TimeoutError(f"no complete reply within {self._timeout:g} s") from error
        except ConnectionError as error:
            raise Disconnected(str(error)) from error
        if count == 0:
            raise Disconnected("the server closed the connection")
        return count

    def _more(self) -> None:
        memory = bytearray(_BUFFER)
        self._buffer += memory[:self._receive(memoryview(memory))]

    def _line(self) -> bytes:
        while (end := self._buffer.find(_CRLF)) < 0:
            self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 2]
        if self._record is not None:
            self._record += line + _CRLF
        return line

    def _exactly(self, size: int) -> bytes:
        memory = bytearray(size)
        view = memoryview(memory)
        while len(view) > 0:
            view = view[self._receive_into(view):]
        if self._record is not None:
            self._record += memory
        return bytes(memory)

    def _bulk(self, size: int) -> bytes:
        data = self._exactly(size)
        assert self._exactly(2) == _CRLF, "a bulk string is not followed by a line end"
        return data

    def _reply(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ReplyError(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._bulk(int(rest))
        if kind in (b"*", b"~", b">"):
            return None if rest == b"-1" else [self._reply() for _ in range(int(rest))]
        if kind == b"%":
            return {self._hashable(): self._reply() for _ in range(int(rest))}
        if kind == b"=":
            return self._bulk(int(rest))[4:]
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return float(rest)
        raise AssertionError(f"{line!r} is no reply")

    def _hashable(self):
        key = self._reply()
        return tuple(key) if isinstance(key, list) else key
