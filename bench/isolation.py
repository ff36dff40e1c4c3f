"""A quiet place on a busy machine: own network namespace, one core, own share of the scheduler.

Each of these moved results by 10 % to 8x on a small virtual machine:

* the default congestion control may be bbr, which paces even the loopback, and the main namespace
  may carry firewall rules: measurements run in a fresh namespace with reno;
* waking an idle virtual CPU costs more than a small request: servers and clients share one core, so
  that throughput is the inverse of CPU cost and the spread is a few per cent;
* other work on the machine: the session's autogroup is given a better nice value where allowed.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1

CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")


class BenchError(Exception):
    """Something the caller can put right; its text says how."""


def exit_code(name: str, measure: Callable[[], int]) -> int:
    """Of benchmark `name`: what `measure` returns, or 2 after telling what is to be put right."""
    try:
        return measure()
    except BenchError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def enter_network_namespace() -> None:
    """Moves this process, and all that it starts later, into a fresh network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise BenchError(
            f"cannot make a network namespace of its own ({reason}). Run as root, or add "
            "--no-netns to measure in the machine's own network, where congestion control and "
            "firewall rules change the figures."
        )
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    CONGESTION_CONTROL.write_text("reno")


def congestion_control() -> str:
    return CONGESTION_CONTROL.read_text().strip()


def pin_to_core(core: int | None) -> None:
    """Keeps this process, and all that it starts later, on one core. None leaves it free."""
    if core is None:
        return
    try:
        os.sched_setaffinity(0, {core})
    except OSError as error:
        raise BenchError(f"--core {core}: {error.strerror}; usable cores: "
                         f"{sorted(os.sched_getaffinity(0))}") from error


def check_pinned(pids: list[int], core: int | None) -> None:
    """Raises if any thread of `pids` may run elsewhere: then it would not be a one-core figure."""
    if core is None:
        return
    for pid in pids:
        for task in _tasks(pid):
            with contextlib.suppress(ProcessLookupError):
                cores = os.sched_getaffinity(task)
                if cores != {core}:
                    raise BenchError(f"thread {task} of process {pid} left core {core} for {cores}")


@contextlib.contextmanager
def preferred_by_scheduler() -> Iterator[bool]:
    """Raises the nice value of the session's autogroup (all that counts between sessions).

    Yields whether that was allowed; restores the old value at the end.
    """
    autogroup = Path("/proc/self/autogroup")
    try:
        old = autogroup.read_text().rsplit("nice", 1)[1].strip()
        autogroup.write_text("-10")
    except (OSError, IndexError):
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            autogroup.write_text(old)


def process_tree(root: int) -> list[int]:
    """`root` and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            # The name in field 2 may hold blanks and parentheses; the parent follows its last ")".
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry))
    tree, frontier = [], [root]
    while frontier:
        pid = frontier.pop()
        tree.append(pid)
        frontier.extend(children.get(pid, []))
    return tree


def cpu_seconds(pids: list[int]) -> dict[int, float]:
    """CPU time by thread of `pids`, to the nanosecond for threads that sleep.

    Threads that have ended are not in it.
    """
    times: dict[int, float] = {}
    for pid in pids:
        for task in _tasks(pid):
            with contextlib.suppress(OSError, IndexError):
                text = Path(f"/proc/{pid}/task/{task}/schedstat").read_text()
                times[task] = int(text.split()[0]) * 1e-9
    return times


def cpu_spent(before: dict[int, float], after: dict[int, float]) -> float:
    """CPU seconds between two readings; a thread that began in between counts in full."""
    return sum(seconds - before.get(task, 0.0) for task, seconds in after.items())


def _tasks(pid: int) -> list[int]:
    try:
        return [int(task) for task in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []
