"""Values that say what they are: from key, version and size alone, made and checked at the speed of
memory.

A value is a sequence of pieces of PIECE bytes, each with its number in its first 8 bytes and random
bytes of (key, version) behind it. PIECE is a prime, so that no piece lies like another within the
server's strips and rows: bytes at the wrong place never pass for right ones.
"""

import functools
import random
import struct
from collections.abc import Iterator

PIECE = 1_048_583


@functools.lru_cache(maxsize=32)
def _noise(key: str, version: int, size: int) -> bytes:
    return random.Random(f"{key}#{version}").randbytes(size)


class Value:
    def __init__(self, key: str, size: int, version: int = 0) -> None:
        self.key = key
        self.size = size
        self.version = version

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return f"Value({self.key!r}, size={self.size}, version={self.version})"

    def pieces(self) -> Iterator[bytes]:
        noise = _noise(self.key, self.version, min(self.size, PIECE))
        if self.size <= PIECE:
            yield noise
            return
        for number in range(-(-self.size // PIECE)):
            size = min(PIECE, self.size - number * PIECE)
            yield (struct.pack("<Q", number) + noise[8:])[:size]

    def data(self) -> bytes:
        return b"".join(self.pieces())

    def part(self, begin: int, end: int) -> bytes:
        """Bytes [begin, end), which lie within the value."""
        return self.data()[begin:end]

    def check(self, got: bytes | bytearray | None, what: str = "") -> None:
        """Fails unless `got` is this value."""
        self.checker(what).finish(got)

    def checker(self, what: str = "") -> "Checker":
        return Checker(self, what)


class Checker:
    """Compares a value with bytes that arrive bit by bit."""

    def __init__(self, value: Value, what: str = "") -> None:
        self._value = value
        self._what = what or repr(value)
        self._pieces = value.pieces()
        self._expected = memoryview(b"")
        self.checked = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        rest = memoryview(data)
        while len(rest) > 0:
            if len(self._expected) == 0:
                self._expected = memoryview(next(self._pieces, b""))
                assert len(self._expected) > 0, \
                    f"{self._what}: more than the {self._value.size} bytes that were stored"
            count = min(len(rest), len(self._expected))
            if rest[:count] != self._expected[:count]:
                self._fail(bytes(rest[:count]), bytes(self._expected[:count]))
            rest, self._expected = rest[count:], self._expected[count:]
            self.checked += count

    def finish(self, got: bytes | bytearray | memoryview | None = b"") -> None:
        assert got is not None, f"{self._what}: null instead of the value"
        assert isinstance(got, (bytes, bytearray, memoryview)), f"{self._what}: reply is {got!r}"
        self.feed(got)
        assert self.checked == self._value.size, \
            f"{self._what}: {self.checked} bytes instead of {self._value.size}"

    def _fail(self, got: bytes, expected: bytes) -> None:
        first = next(i for i, (a, b) in enumerate(zip(got, expected, strict=True)) if a != b)
        wrong = sum(a != b for a, b in zip(got, expected, strict=True))
        raise AssertionError(f"{self._what}: wrong bytes from offset {self.checked + first} on "
                             f"({wrong} of {len(got)} looked at); got {got[first:first + 16].hex()}"
                             f", stored was {expected[first:first + 16].hex()}")
