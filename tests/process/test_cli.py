"""The operator's commands tell the truth about a running server, and their exit codes can be used
by scripts."""

import json
import os
import signal

import pytest
from harness.command import ask, infinicache
from harness.resp import HOST, Client
from harness.server import Server, free_port, running, wait_until
from harness.values import Value

OK, CANNOT_CONNECT, NOT_FOUND, DEGRADED, TIMEOUT = 0, 3, 5, 6, 124

NODES = 14


@pytest.fixture(scope="module")
def server():
    with running(nodes=NODES) as running_server:
        yield running_server


def test_status_is_readable(server: Server) -> None:
    done = ask(server, "status")
    assert done.code == OK, done
    assert done.err == ""
    assert f"redis://{HOST}:{server.port}" in done.out
    assert f"{NODES} of {NODES} active" in done.out
    assert "10+2" in done.out


def test_status_counts_what_happened(server: Server) -> None:
    before = json.loads(ask(server, "status", "--json").out)
    value = Value("counted", 700_000)
    with Client(server.port) as client:
        client.set(value)
        client.check(value)
        assert client.get("absent") is None
        client.error("NOSUCH")
    done = ask(server, "status", "--json")
    assert done.code == OK, done
    after = json.loads(done.out)
    for name, difference in [("objects", 1), ("object_bytes", 700_000), ("writes", 1), ("hits", 1),
                             ("bytes_written", 700_000), ("bytes_read", 700_000),
                             ("misses_absent", 1), ("error_replies", 1), ("commands", 4)]:
        assert after[name] == before[name] + difference, name
    assert after["run_id"] == before["run_id"]
    assert after["ready"] is True
    assert after["nodes"] == {"total": NODES, "active": NODES, "asleep": 0, "waking": 0,
                              "starting": 0, "down": 0, "serving": NODES,
                              "needed": 12}
    assert after["listen"] == f"{HOST}:{server.port}"


def test_status_metrics_and_info_agree(server: Server) -> None:
    server.fill([Value("agreed", 300_000)])
    status = server.admin_json("/api/v1/status")
    metrics = server.metrics()
    with Client(server.port) as client:
        text = client.call("INFO", "everything").decode()
        info = dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)
        assert client.call("DBSIZE") == status["objects"]
    assert metrics("infinicache_objects") == status["objects"] == int(info["objects"])
    assert metrics("infinicache_object_bytes") == status["object_bytes"] \
        == int(info["object_bytes"])
    assert metrics("infinicache_node_used_bytes") == status["stored_bytes"] \
        == int(info["stored_bytes"])
    assert metrics("infinicache_reads_total", result="hit") == status["hits"] \
        == int(info["keyspace_hits"])
    assert info["redis_mode"] == "standalone"
    assert int(info["tcp_port"]) == server.port
    assert int(info["process_id"]) == server.pid


def test_nodes_lists_every_node(server: Server) -> None:
    done = ask(server, "nodes")
    assert done.code == OK, done
    for node in server.nodes():
        assert str(node.pid) in done.out
        assert node.instance in done.out
    rows = json.loads(ask(server, "nodes", "--json").out)
    assert [row["id"] for row in rows] == list(range(NODES))
    for row in rows:
        assert row.keys() == {"id", "state", "instance", "pid", "address", "bytes_used",
                              "bytes_lent", "bytes_limit", "chunks", "backup"}
        assert row["state"] == "active"
        assert row["bytes_limit"] == 512 << 20
        with open(f"/proc/{row['pid']}/cmdline") as file:
            assert "infinicache-node" in file.read()


@pytest.mark.parametrize("key", ["plain", "with space", "a/b?c#d%20&e=f", "ключ",
                                 "tab\tquote\""])
def test_where_shows_the_chunks_of_any_key(server: Server, key: str) -> None:
    server.fill([Value(key, 1_600_000)])
    done = ask(server, "where", key)
    assert done.code == OK, done
    assert "12 of 12 chunks alive, any 10 give it back" in done.out
    view = json.loads(ask(server, "where", key, "--json").out)
    assert view["key"] == key
    assert view["bytes"] == 1_600_000
    assert view["code"] == "10+2"
    assert (view["surviving"], view["needed"]) == (12, 10)
    assert [chunk["index"] for chunk in view["chunks"]] == list(range(12))
    assert [chunk["kind"] for chunk in view["chunks"]] == ["data"] * 10 + ["parity"] * 2
    assert len({chunk["node"] for chunk in view["chunks"]}) == 12
    # The data chunks hold the object, byte for byte.
    assert sum(chunk["bytes"] for chunk in view["chunks"][:10]) == 1_600_000


def test_where_of_an_absent_key(server: Server) -> None:
    done = ask(server, "where", "absent")
    assert done.code == NOT_FOUND
    assert done.out == ""
    assert "absent" in done.err
    with Client(server.port) as client:
        client.call("SET", "expired", "v", "PX", 1)
        wait_until(lambda: client.call("EXISTS", "expired") == 0, "the key expires")
    assert ask(server, "where", "expired").code == NOT_FOUND


def test_an_expiry_is_shown(server: Server) -> None:
    with Client(server.port) as client:
        client.call("SET", "expiring", "v", "PXAT", 99_999_999_999_000)
    assert server.object("expiring")["expires_at_ms"] == 99_999_999_999_000
    server.fill([Value("lasting", 1)])
    assert server.object("lasting")["expires_at_ms"] is None


@pytest.mark.parametrize("command", [("status",), ("status", "--json"), ("nodes",), ("where", "k")])
def test_no_server_is_told_with_the_remedy(command: tuple) -> None:
    address = f"{HOST}:{free_port()}"
    done = infinicache(*command, "--admin", address)
    assert done.code == CANNOT_CONNECT, done
    assert done.out == ""
    assert address in done.err
    assert "--admin" in done.err


def test_a_server_that_hangs_is_told_in_time(start) -> None:
    server = start(nodes=6, code="4+2")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        done = ask(server, "status", "--timeout", "200ms")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert done.code == TIMEOUT, done
    assert ask(server, "status").code == OK


def test_a_missing_node_shows_in_text_and_exit_code(start) -> None:
    # Nodes restart within a moment; one that is killed whenever it comes back stays away.
    server = start(nodes=6, code="4+2")

    def degraded() -> bool:
        server.kill_nodes(node.id for node in server.nodes() if node.id == 3 and node.pid)
        status, nodes = ask(server, "status"), ask(server, "nodes")
        return status.code == DEGRADED and nodes.code == DEGRADED \
            and "5 of 6" in status.out and "5 of 6" in nodes.out
    wait_until(degraded, "status and nodes end with 6")
    server.wait_until_active()
    assert ask(server, "status").code == OK


def test_the_admin_address_comes_from_the_environment_too(server: Server) -> None:
    address = f"{HOST}:{server.admin_port}"
    done = infinicache("status", environment={"INFINICACHE_ADMIN": address})
    assert done.code == OK, done
    done = infinicache("status", environment={"INFINICACHE_ADMIN": "off"})
    assert done.code == 2
    assert "INFINICACHE_ADMIN" in done.err


# --- Admin HTTP ---------------------------------------------------------------------------------


def test_admin_pages_answer_as_documented(server: Server) -> None:
    assert server.admin("/healthz")[0] == 200
    assert server.admin("/readyz")[0] == 200
    status, page = server.admin("/")
    assert status == 200
    assert page.startswith(b"<!doctype html>")
    assert server.admin("/nosuch")[0] == 404
    assert server.admin("/api/v1/objects/absent")[0] == 404
    assert server.admin("/metrics", "POST")[0] == 405
    assert server.admin("/api/v1/nodes", "DELETE")[0] == 405
    status, body = server.admin("/metrics", "HEAD")
    assert (status, body) == (200, b"")


def test_readiness_follows_the_nodes(start) -> None:
    server = start(nodes=6, code="4+2")
    instances = {node.instance for node in server.nodes()}

    def not_ready() -> bool:
        server.kill_nodes(node.id for node in server.nodes() if node.pid)
        return server.admin_status("/readyz") == 503
    wait_until(not_ready, "the server is not ready without its nodes")
    assert server.admin_status("/healthz") == 200
    wait_until(server.is_ready, "the server is ready again")
    server.wait_until_active()
    assert instances.isdisjoint(node.instance for node in server.nodes())


def test_metrics_are_well_formed(server: Server) -> None:
    text = server.metrics().text
    types = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in types, f"{name} is declared twice"
            assert name.startswith("infinicache_")
            assert (kind == "counter") == name.endswith("_total"), (name, kind)
            types[name] = kind
    for name in server.metrics().names():
        base = name
        for suffix in ("_bucket", "_sum", "_count"):
            if name.endswith(suffix) and types.get(name.removesuffix(suffix)) == "histogram":
                base = name.removesuffix(suffix)
        assert base in types, f"{name} has no TYPE"
    # Keys never become labels.
    assert "counted" not in text
    assert "agreed" not in text
