"""Fixtures and reports of the process tests."""

import contextlib
from collections.abc import Callable, Iterator

import pytest
from harness import server as harness_server
from harness.server import Server, running
from harness.settings import SCALE, SEED


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starts servers for one test; each is stopped and checked when the test is over."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **flags: stack.enter_context(running(*args, **flags))


@pytest.fixture(autouse=True)
def _close_clients() -> Iterator[None]:
    """No connection of one test is left to the next one."""
    yield
    for server in harness_server.running_servers:
        server.close_clients()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    report.sections.append(("repeat with", f"INFINICACHE_TEST_SEED={SEED} "
                                           f"INFINICACHE_TEST_SCALE={SCALE}"))
    for server in harness_server.running_servers:
        report.sections.append((f"log of the server on port {server.port}", server.log_tail()))


def pytest_terminal_summary(terminalreporter) -> None:
    terminalreporter.write_line(f"seed {SEED}, scale {SCALE}")
