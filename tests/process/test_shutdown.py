"""However a server ends, it ends soon, and none of its nodes outlives it, unless it was told to
keep them when it crashes (test_restart.py)."""

import contextlib
import os
import signal
import threading

import pytest
from harness.resp import Client
from harness.server import Server, wait_until
from harness.settings import scaled
from harness.values import Value

LARGE = scaled(8_000_000, 50_000_000)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_server_and_nodes(start, how: signal.Signals) -> None:
    server = start(nodes=14)
    server.fill([Value("key", 1_000_000)])
    assert len(server.node_processes()) == 14
    os.kill(server.pid, how)
    assert server.wait_for_end() == 0
    server.wait_for_no_process()
    assert "stopped" in server.log_tail(1)


@pytest.mark.parametrize("command", [("SHUTDOWN",), ("SHUTDOWN", "NOSAVE"), ("shutdown", "now")])
def test_a_client_stops_server_and_nodes(start, command: tuple) -> None:
    server = start(nodes=6, code="4+2")
    other, client = server.client(), server.client()
    assert other.call("PING") == "PONG"
    client.send(*command)
    # As in Redis, the end of the connection is the answer.
    assert client.is_closed()
    assert other.is_closed()
    assert server.wait_for_end() == 0
    server.wait_for_no_process()


def test_shutdown_with_options_that_exclude_each_other_is_an_error(start) -> None:
    server = start(nodes=6, code="4+2")
    with Client(server.port) as client:
        assert client.error("SHUTDOWN", "SAVE", "NOSAVE") == "ERR syntax error"
        assert client.error("SHUTDOWN", "SOON") == "ERR syntax error"
        assert client.call("PING") == "PONG"


def test_shutdown_needs_the_password(start) -> None:
    server = start(nodes=6, code="4+2", password="secret")
    with Client(server.port) as client:
        assert client.error("SHUTDOWN") == "NOAUTH Authentication required."
        assert client.call("AUTH", "secret") == "OK"
        assert client.call("PING") == "PONG"


@pytest.mark.parametrize("signals", [[signal.SIGKILL], [signal.SIGSTOP, signal.SIGKILL]])
def test_nodes_end_with_a_server_that_is_killed(start, signals: list[signal.Signals]) -> None:
    server = start(nodes=14, node_survival="0s")
    server.fill([Value("key", 1_000_000)])
    # A stopped node sees nothing of its server's end: the kernel must end it.
    with server.frozen(5):
        for number in signals:
            os.kill(server.pid, number)
        assert server.wait_for_end() == -signal.SIGKILL
        server.wait_for_no_process()
    server.destroy()


def test_nodes_that_restart_all_the_time_end_with_their_server(start) -> None:
    server = start(nodes=14, node_survival="0s")
    for _ in range(3):
        server.wait_until_active()
        server.kill_nodes(range(14))
    os.kill(server.pid, signal.SIGKILL)
    assert server.wait_for_end() == -signal.SIGKILL
    server.wait_for_no_process()
    server.destroy()


# --- While there is work ------------------------------------------------------------------------


def stop_and_check(server: Server) -> None:
    """SIGTERM must end the server with 0 within its grace, whatever it is at."""
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait_for_end(20) == 0, server.log_tail()
    server.wait_for_no_process()


def test_it_stops_while_clients_read_and_write(start) -> None:
    server = start(nodes=14)
    large = Value("large", LARGE)
    server.fill([large])
    slow = server.client(receive_buffer=4096)
    slow.begin_get("large")
    half = server.client()
    half.begin_set(Value("half", LARGE))
    half.send_raw(b"x" * 1_000_000)
    idle = server.client()
    assert idle.call("PING") == "PONG"
    stop_and_check(server)


def test_it_stops_under_load(start) -> None:
    server = start(nodes=14)
    values = [Value(f"key/{n}", size) for n, size in enumerate([0, 1000, 200_000, 3_000_000])]
    server.fill(values)
    started = threading.Barrier(9)

    def work() -> None:
        # The server goes away in the middle of it.
        with contextlib.suppress(Exception), Client(server.port) as client:
            started.wait()
            while True:
                for value in values:
                    client.get(value.key)
                    client.set(value)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.wait()
    writes = server.metrics()("infinicache_objects_written_total")
    wait_until(lambda: server.metrics()("infinicache_objects_written_total") > writes + 20,
               "the clients are at work")
    stop_and_check(server)
    for thread in threads:
        thread.join()


def test_it_stops_while_nodes_are_stopped(start) -> None:
    server = start(nodes=14)
    server.fill([Value("key", 1_000_000)])
    with server.frozen(0), server.frozen(7):
        stop_and_check(server)


def test_it_stops_while_a_read_waits_for_stopped_nodes(start) -> None:
    server = start(nodes=12, node_timeout="300s", shared_memory="off")  # else nobody waits
    value = Value("stuck", 1_500_000)
    server.fill([value])
    with server.frozen(1), server.frozen(2), server.frozen(3):
        client = server.client()
        hedges = server.metrics()("infinicache_hedges_total")
        client.send("GET", value.key)
        wait_until(lambda: server.metrics()("infinicache_hedges_total") > hedges, "the read waits")
        stop_and_check(server)


def test_it_stops_while_a_write_waits_for_stopped_nodes(start) -> None:
    server = start(nodes=12, node_timeout="300s", shared_memory="off")  # else nobody waits
    server.fill([Value("linked", 1_500_000)])
    with server.frozen(1), server.frozen(2), server.frozen(3):
        client = server.client()
        client.begin_set(Value("stuck", 1_500_000))
        client.send_raw(Value("stuck", 1_500_000).data() + b"\r\n")
        wait_until(lambda: any(node.chunks > 1 for node in server.nodes()), "chunks are stored")
        stop_and_check(server)


def test_it_stops_in_the_middle_of_repair(start) -> None:
    server = start(nodes=14, node_timeout="300s")
    values = [Value(f"large/{n}", LARGE) for n in range(4)]
    server.fill(values)
    server.kill_nodes([0, 1])
    wait_until(lambda: server.metrics()("infinicache_repaired_bytes_total") > 0, "repair runs")
    stop_and_check(server)


def test_it_stops_while_repair_waits_for_stopped_nodes(start) -> None:
    server = start(nodes=12, node_timeout="300s")
    values = [Value(f"object/{n}", 1_500_000) for n in range(10)]
    server.fill(values)
    with server.frozen(1), server.frozen(2), server.frozen(3):
        server.kill_nodes([0])
        wait_until(lambda: server.metrics()("infinicache_nodes", state="active") == 12,
                   "the killed node is back")
        stop_and_check(server)


def test_it_stops_while_nodes_die(start) -> None:
    server = start(nodes=14)
    server.fill(Value(f"object/{n}", 1_000_000) for n in range(20))
    server.kill_nodes(range(0, 14, 2))
    stop_and_check(server)


def test_it_stops_before_it_is_ready() -> None:
    server = Server(nodes=14)
    try:
        server.spawn()
        wait_until(lambda: server.admin_status("/healthz") == 200, "the server is alive")
        stop_and_check(server)
        server.finish()
    finally:
        server.destroy()


def test_a_restarted_server_is_empty_and_works(start) -> None:
    server = start(nodes=6, code="4+2")
    server.fill([Value("key", 300_000)])
    stop_and_check(server)
    # At the same addresses, at once.
    start(port=server.port, admin_port=server.admin_port, nodes=6, code="4+2")
    with Client(server.port) as client:
        assert client.get("key") is None
        client.set(Value("key", 300_000, 2))
        client.check(Value("key", 300_000, 2))
