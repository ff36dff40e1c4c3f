"""The command line program, run to its end."""

import dataclasses
import subprocess

from harness.resp import HOST
from harness.server import Server, clean_environment
from harness.settings import patience, program


@dataclasses.dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def infinicache(*arguments: object, environment: dict[str, str] | None = None,
                seconds: float = 30) -> Done:
    """Runs `infinicache` with these arguments, and without settings of the caller's environment."""
    done = subprocess.run([program("infinicache"), *map(str, arguments)], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False,
                          env=clean_environment() | (environment or {}), timeout=patience(seconds))
    return Done(done.returncode, done.stdout, done.stderr)


def ask(server: Server, *arguments: object) -> Done:
    """Runs an operator's command against the server's admin interface."""
    return infinicache(*arguments, "--admin", f"{HOST}:{server.admin_port}")
