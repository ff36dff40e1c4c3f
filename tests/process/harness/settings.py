"""What the caller chose: the programs, the size of the tests and their seed."""

import functools
import mmap
import os
import pathlib
import random

_ROOT = pathlib.Path(__file__).resolve().parents[3]

BIN_DIR = pathlib.Path(os.environ.get("INFINICACHE_BIN_DIR") or _ROOT / "build/release/bin")
SCALE = os.environ.get("INFINICACHE_TEST_SCALE") or "normal"
SEED = int(os.environ.get("INFINICACHE_TEST_SEED") or 20200225)

if SCALE not in ("small", "normal", "large"):
    raise ValueError(f"INFINICACHE_TEST_SCALE is '{SCALE}'; choose small, normal or large")

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30


def program(name: str) -> pathlib.Path:
    path = BIN_DIR / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: build it, or name the folder of the programs "
                                "with INFINICACHE_BIN_DIR")
    return path


def scaled(small, normal, large=None):
    """The one of the three that fits INFINICACHE_TEST_SCALE; `large` is `normal` if left out."""
    return {"small": small, "normal": normal, "large": normal if large is None else large}[SCALE]


@functools.cache
def sanitized() -> bool:
    """Whether the server carries a sanitizer: it is slow then, and its memory is not its own."""
    with open(program("infinicache"), "rb") as file, \
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        return image.find(b"__asan_init") >= 0 or image.find(b"__tsan_init") >= 0


def patience(seconds: float) -> float:
    """A deadline of `seconds`, longer for a slow build. Deadlines bound failures, not successes."""
    return seconds * (5 if sanitized() else 1)


def rng(purpose: str) -> random.Random:
    """A source of choices for one test; the seed gives the same choices again."""
    return random.Random(f"{SEED}/{purpose}")


def available_memory() -> int:
    """Bytes that programs can take before the machine is short of memory."""
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        name, value, *_ = line.split()
        if name == "MemAvailable:":
            return int(value) * KIB
    return 0
