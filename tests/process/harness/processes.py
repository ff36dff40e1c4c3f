"""What the kernel says of a process: state, CPU time, descriptors, children."""

import contextlib
import os
import pathlib
import re

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the program's name; empty if there is no such process."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def state(pid: int) -> str:
    """R runs, S sleeps, T is stopped, Z has ended and is not reaped; empty: there is none."""
    fields = _stat(pid)
    return fields[0] if fields else ""


def switches(pid: int) -> int:
    """How often the process gave up a core, or had to: grows when it runs. -1: there is none."""
    with contextlib.suppress(OSError):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return sum(int(line.split()[1]) for line in status.splitlines() if "_ctxt_switches" in line)
    return -1


def cpu_seconds(pid: int) -> float:
    """What all threads of the process have used so far, in the kernel too."""
    fields = _stat(pid)
    assert fields, f"there is no process {pid}"
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def memory(pid: int, name: str = "VmRSS") -> int:
    """Bytes of the process, by its name in /proc/PID/status: VmRSS is resident, VmHWM its peak."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE).group(1)) * 1024


def descriptors(pid: int) -> list[str]:
    """What the process has open, in no order."""
    found = []
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found.append(os.readlink(entry))
    return found


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`, ended ones that are not reaped among them."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[1]) == pid:
                found.append(int(entry.name))
    return found
