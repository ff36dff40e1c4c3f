"""What the kernel says of a process: state, CPU time, descriptors, children."""

import contextlib
import os
import pathlib
import re
import threading

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


def memory(pid: int, *names: str) -> int:
    """Bytes of the process, by their names in /proc/PID/status: VmRSS, if none is given, is
    resident, VmHWM its peak. Several are of one moment, and are added."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return sum(int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE).group(1)) * 1024
               for name in names or ["VmRSS"])


def own_memory(pid: int) -> int:
    """Resident bytes of a proxy, without what it has mapped of its nodes' memory."""
    return memory(pid, "RssAnon", "RssFile")


class PeakMemory:
    """The most own_memory() of a process from the beginning to peak()."""

    SAMPLE_SECONDS = 0.002

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._mapped = False
        self._stop = threading.Event()
        # "5" sets the kernel's own high-water mark back to what is resident now.
        pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stop.wait(self.SAMPLE_SECONDS):
            with contextlib.suppress(OSError, AttributeError):  # it has ended
                self._peak = max(self._peak, own_memory(self._pid))
                self._mapped |= memory(self._pid, "RssShmem") > 0

    def peak(self) -> int:
        self._stop.set()
        self._thread.join()
        # The kernel's mark misses nothing, but counts what is mapped as well.
        return self._peak if self._mapped else memory(self._pid, "VmHWM")


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
