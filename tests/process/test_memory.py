"""The proxy's memory does not depend on the size of the objects that pass through it."""

import threading

import pytest
from harness.processes import PeakMemory
from harness.resp import Client
from harness.server import Server, running
from harness.settings import GIB, MIB, available_memory, patience, sanitized, scaled
from harness.values import Value

SIZE = scaled(128 * MIB, GIB)
# What one transfer may add to an idle proxy; and many, which share two loops' budgets of 32 MiB.
ALLOWED = 64 * MIB
ALLOWED_FOR_MANY = 128 * MIB


@pytest.fixture(scope="module", params=["on", "off"])
def server(request):
    if available_memory() < 2 * SIZE:
        pytest.skip(f"needs {2 * SIZE // MIB} MiB of free memory")
    with running(nodes=14, test_hooks="on", threads=2,
                 shared_memory=request.param) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def idle(server: Server) -> int:
    return server.resident()


def check_growth(memory: PeakMemory, idle: int, what: str, allowed: int = ALLOWED) -> None:
    grown = memory.peak() - idle
    print(f"{what}: the proxy had {grown / MIB:.1f} MiB more than idle ({idle / MIB:.1f} MiB)")
    # A sanitizer's own memory is not the proxy's.
    if not sanitized():
        assert grown < allowed, f"{what}: {grown / MIB:.1f} MiB more than idle"


def test_a_large_set(server: Server, idle: int) -> None:
    memory = server.watch_peak()
    server.fill([Value("large", SIZE)])
    check_growth(memory, idle, "SET")


def test_a_large_get(server: Server, idle: int) -> None:
    memory = server.watch_peak()
    server.check([Value("large", SIZE)])
    check_growth(memory, idle, "GET")


def test_a_large_get_that_decodes_every_row(server: Server, idle: int) -> None:
    memory = server.watch_peak()
    holders = server.holders("large")
    server.kill_nodes([holders[0], holders[7]])
    server.check([Value("large", SIZE)], "without two nodes")
    # Repair runs beside it and counts as well.
    server.wait_until_whole(["large"], 60)
    check_growth(memory, idle, "degraded GET and repair")


def test_a_large_set_with_dead_and_stopped_nodes(server: Server, idle: int) -> None:
    server.wait_until_active()
    memory = server.watch_peak()
    value = Value("large", SIZE, version=2)
    with server.frozen(3):
        server.fill([value])
        server.check([value], "while a node is stopped")
    check_growth(memory, idle, "SET and GET with a stopped node")


def test_a_large_get_range_and_a_large_get_of_a_corrupt_object(server: Server, idle: int) -> None:
    value = Value("large", SIZE, version=3)
    server.fill([value])
    server.wait_until_whole(["large"], 60)
    server.corrupt("large", 1)
    memory = server.watch_peak()
    server.check([value], "with a corrupt chunk")
    with Client(server.port) as client:
        size = client.call("STRLEN", "large")
        client.send("GETRANGE", "large", 5, size - 5)
        assert client.begin_value() == size - 9
        for _ in client.stream(size - 9):
            pass
        client.end_get()
    check_growth(memory, idle, "GET of a corrupt object and GETRANGE")


def test_many_transfers_at_once(server: Server, idle: int) -> None:
    # The budget is shared: many requests take no more than a few.
    server.wait_until_whole(["large"], 60)
    values = [Value(f"many/{n}", 8 * MIB) for n in range(scaled(6, 16))]
    errors: list[BaseException] = []

    def transfer(value: Value) -> None:
        try:
            with Client(server.port) as client:
                for _ in range(3):
                    client.set(value)
                    client.check(value)
        except BaseException as error:
            errors.append(error)

    memory = server.watch_peak()
    threads = [threading.Thread(target=transfer, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(60))
    assert not errors, errors[0]
    check_growth(memory, idle, f"{len(values)} transfers at once", ALLOWED_FOR_MANY)
