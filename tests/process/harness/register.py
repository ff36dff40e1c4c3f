"""Is the history of one key that of a register? A checker for linearizability.

The algorithm is that of Gibbons and Korach (Testing Shared Memories, SIAM J. Comput. 26, 1997) for
registers whose writes all write different values. The zone of a value lies between the earliest
end and the latest begin of all operations that have it. If the end comes first, the value must have
been in the register throughout ("forward"), else one moment in the zone is enough ("backward"). The
history is linearizable if and only if no read ends before its write begins, no two forward zones
overlap, and no backward zone lies within a forward one. O(n log n).
"""

import dataclasses
import math
from collections.abc import Iterable

INITIAL = None  # what a key has that nobody has written


@dataclasses.dataclass(frozen=True)
class Operation:
    """`end` is infinite for a write whose outcome nobody knows: it may take effect at any time."""

    kind: str  # "read" or "write"
    value: int | None
    begin: float
    end: float


def numbered(value: int, size: int) -> bytes:
    """At least eight bytes that are the number over and over, so that a mixture of two shows."""
    return value.to_bytes(8, "big") * max(size // 8, 1)


def number_of(data: bytes) -> int:
    assert data == data[:8] * (len(data) // 8), "the bytes of two values are mixed"
    return int.from_bytes(data[:8], "big")


def violation(history: Iterable[Operation]) -> str | None:
    """What is wrong with it; None if nothing."""
    history = [Operation("write", INITIAL, -math.inf, -math.inf), *history]
    reads: dict[int | None, list[Operation]] = {}
    for operation in history:
        if operation.kind == "read":
            reads.setdefault(operation.value, []).append(operation)
    writes = {operation.value: operation for operation in history if operation.kind == "write"}
    for value, of_value in reads.items():
        if value not in writes:
            return f"{value} was read, and nobody has written it"
        early = min(of_value, key=lambda read: read.end)
        if early.end < writes[value].begin:
            return f"{value} was read by {early} before it was written by {writes[value]}"
    forward, backward = [], []
    for value, write in writes.items():
        operations = [write, *reads.get(value, [])]
        if math.isinf(write.end) and write.end > 0 and len(operations) == 1:
            continue  # nobody has seen it: it may not have taken effect
        first_end = min(operation.end for operation in operations)
        last_begin = max(operation.begin for operation in operations)
        zones = forward if first_end < last_begin else backward
        zones.append((min(first_end, last_begin), max(first_end, last_begin), value))
    forward.sort(key=lambda zone: zone[0])
    for (_, end, one), (begin, _, other) in zip(forward, forward[1:], strict=False):
        if begin < end:
            return f"{one} and {other} were both there at the same time"
    for begin, end, value in backward:
        for outer_begin, outer_end, outer in forward:
            if outer_begin < begin and end < outer_end:
                return f"{value} came between two sights of {outer}"
    return None
