"""What is wrong at the start is said in one line that names the setting and the remedy."""

import re
import socket

import pytest
from harness.command import Done, infinicache
from harness.resp import HOST, Client, Disconnected, ReplyError
from harness.server import Server, free_port, running, wait_until
from harness.settings import patience

RUNTIME, USAGE = 1, 2


def serve(*arguments: object, environment: dict[str, str] | None = None) -> Done:
    """A `serve` that must fail."""
    return infinicache("serve", "--listen", f"{HOST}:{free_port()}", "--admin",
                       f"{HOST}:{free_port()}", *arguments, environment=environment)


def check_failure(done: Done, code: int, *parts: str) -> None:
    assert done.code == code, done
    assert done.out == "", done
    lines = done.err.splitlines()
    assert len(lines) >= 1, done
    for part in parts:
        assert part in done.err, f"{part!r} is not said: {done.err}"


# --- Settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, parts", [
    (("--code", "20+2"), ("--code", "20+2 needs 22 nodes", "--nodes 22")),
    (("--code", "10+2", "--nodes", "11"), ("10+2", "12", "11")),
    (("--code", "ten"), ("--code", '"10+2"')),
    (("--code", "0+2"), ("--code",)),
    (("--code", "40+2"), ("--code",)),
    (("--nodes", "0"), ("--nodes", "1 to")),
    (("--nodes", "many"), ("--nodes", "many")),
    (("--node-memory", "lots"), ("--node-memory", "lots", "512MiB")),
    (("--node-memory", "1KiB"), ("--node-memory", "out of range")),
    (("--max-object-size", "-1"), ("--max-object-size",)),
    (("--node-timeout", "5"), ("--node-timeout", "5")),
    (("--log-level", "loud"), ("--log-level", "loud", "debug")),
    (("--repair", "perhaps"), ("--repair", "perhaps")),
    (("--bogus", "1"), ("--bogus",)),
    (("--node-bandwith", "75MB"), ("--node-bandwith", "--node-bandwidth")),
    (("stray",), ("stray",)),
    (("--password", "a", "--password-file", "/dev/null"), ("password-file",)),
    (("--password-file", "/nonexistent/file"), ("password-file", "/nonexistent/file")),
    (("--config", "/nonexistent/file.toml"), ("/nonexistent/file.toml",)),
    (("--proxy-memory", "4MiB", "--threads", "4"), ("proxy-memory", "threads")),
])
def test_a_wrong_setting_is_named(arguments: tuple, parts: tuple) -> None:
    check_failure(serve(*arguments), USAGE, *parts)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", "127.0.0.1:99999", ":x", ""])
def test_a_bad_address_is_named(address: str) -> None:
    check_failure(infinicache("serve", "--listen", address), USAGE, "--listen")
    check_failure(infinicache("serve", "--admin", address), USAGE, "--admin")


def test_one_address_for_both_is_refused() -> None:
    address = f"{HOST}:{free_port()}"
    check_failure(infinicache("serve", "--listen", address, "--admin", address), USAGE, address)


def test_wrong_settings_of_the_environment_are_named() -> None:
    check_failure(serve(environment={"INFINICACHE_NODES": "none"}), USAGE, "INFINICACHE_NODES")
    check_failure(serve(environment={"INFINICACHE_NODEZ": "3"}), USAGE, "INFINICACHE_NODEZ",
                  "INFINICACHE_NODES")


def test_wrong_settings_of_the_file_are_named_with_their_lines(tmp_path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text('# A comment.\nnodes = 14\nnode-memry = "1GiB"\n\ncode = "twelve"\n'
                    'repair = [1]\n')
    for arguments in (("serve", "--config", file), ("config", "check", file)):
        done = infinicache(*arguments)
        assert done.code == USAGE, done
        text = done.err + done.out
        assert f"{file}:3: unknown key 'node-memry'; did you mean 'node-memory'?" in text
        assert f"{file}:5: code: " in text
        assert f"{file}:6: " in text
        assert f"{file}:2" not in text


def test_a_file_that_is_no_toml_is_refused_with_the_line(tmp_path) -> None:
    file = tmp_path / "broken.toml"
    file.write_text("nodes = 14\nlisten = = 3\n")
    check_failure(infinicache("serve", "--config", file), USAGE, f"{file}:2")


def test_flag_goes_before_environment_before_file(start, tmp_path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('nodes = 6\ncode = "4+1"\nnode-memory = "8MiB"\nnode-timeout = "7s"\n')
    server = start({"INFINICACHE_NODE_MEMORY": "16MiB", "INFINICACHE_NODE_TIMEOUT": "8s"},
                   config=file, nodes=None, code=None, node_memory=None, node_timeout="9s")
    assert [node.bytes_limit for node in server.nodes()] == [16 << 20] * 6
    with Client(server.port) as client:
        config = client.call("CONFIG", "GET", "node*", "code")
        pairs = dict(zip(config[::2], config[1::2], strict=True))
        assert pairs == {b"nodes": b"6", b"code": b"4+1", b"node-memory": b"16MiB",
                         b"node-timeout": b"9s", b"node-bandwidth": b"unlimited",
                         b"node-program": b"", b"node-survival": b"60s",
                         b"nodes-per-host": b"1"}


def test_the_printed_template_is_a_valid_file(start, tmp_path) -> None:
    template = infinicache("config", "init")
    assert template.code == 0
    file = tmp_path / "all.toml"
    file.write_text(template.out)
    assert infinicache("config", "check", file).code == 0
    # With every default spelt out as well.
    file.write_text(re.sub(r"^#([a-z-]+ = )", r"\1", template.out, flags=re.MULTILINE))
    checked = infinicache("config", "check", file)
    assert checked.code == 0, checked
    start(config=file, nodes=6, code="4+2")


# --- Addresses ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    with running(nodes=6, code="4+2") as running_server:
        yield running_server


def test_a_second_server_on_the_same_address_fails_and_harms_nothing(server: Server) -> None:
    before = [node.instance for node in server.nodes()]
    listen = f"{HOST}:{server.port}"
    done = infinicache("serve", "--listen", listen, "--admin", f"{HOST}:{free_port()}")
    check_failure(done, RUNTIME, listen, "in use", "--listen")
    admin = f"{HOST}:{server.admin_port}"
    done = infinicache("serve", "--listen", f"{HOST}:{free_port()}", "--admin", admin)
    check_failure(done, RUNTIME, admin, "in use", "--admin")
    with Client(server.port) as client:
        assert client.call("PING") == "PONG"
    assert [node.instance for node in server.nodes()] == before


def test_an_address_of_another_machine_is_refused() -> None:
    # From the range that is reserved for documentation (RFC 5737).
    check_failure(infinicache("serve", "--listen", "203.0.113.7:6378", "--admin", "off"), RUNTIME,
                  "203.0.113.7:6378", "--listen")


def test_a_free_port_is_taken_for_port_0_and_told(start) -> None:
    server = start(listen=f"{HOST}:0", nodes=6, code="4+2")
    port = int(re.search(r"ready: redis://127\.0\.0\.1:(\d+)", server.log()).group(1))
    with Client(port) as client:
        assert client.call("PING") == "PONG"


def test_the_server_runs_without_the_admin_interface() -> None:
    server = Server(nodes=6, code="4+2", admin="off")
    try:
        server.spawn()
        wait_until(lambda: " ready: " in server.log(), "the server is ready")
        with Client(server.port) as client:
            assert client.call("SET", "k", "v" * 300_000) == "OK"
            assert client.get("k") == b"v" * 300_000
        server.finish()
    finally:
        server.destroy()


# --- Nodes that do not start --------------------------------------------------------------------


def test_a_missing_node_program_is_named() -> None:
    check_failure(serve("--node-program", "/nonexistent/node"), USAGE, "/nonexistent/node",
                  "--node-program")


def test_a_server_whose_nodes_do_not_start_is_alive_and_not_ready() -> None:
    server = Server(nodes=6, code="4+2", node_program="/bin/false")
    try:
        server.spawn()
        wait_until(lambda: server.admin_status("/healthz") == 200, "the server is alive")
        assert server.admin_status("/readyz") == 503
        with Client(server.port) as client:
            assert client.call("PING") == "PONG"
            assert client.error("SET", "k", "v" * 300_000).startswith("TRYAGAIN ")
            assert client.get("k") is None
        wait_until(lambda: "before it was ready" in server.log(), "the log says why")
        server.finish()
    finally:
        server.destroy()


# --- Limits -------------------------------------------------------------------------------------


def test_clients_above_the_limit_are_refused(start) -> None:
    server = start(nodes=6, code="4+2", max_clients=3)
    clients = [server.client() for _ in range(3)]
    for client in clients:
        assert client.call("PING") == "PONG"
    refused = server.client()
    assert str(refused.read_reply()) == "ERR max number of clients reached"
    assert refused.is_closed()
    clients.pop().close()

    def accepted() -> bool:
        with Client(server.port) as client:
            try:
                return client.call("PING") == "PONG"
            except (ReplyError, Disconnected):
                return False
    wait_until(accepted, "a client is let in when another has left")


def test_a_client_that_stops_in_the_middle_of_a_request_is_closed(start) -> None:
    server = start(nodes=6, code="4+2", client_timeout="1s")
    idle, stuck = server.client(), server.client()
    assert idle.call("PING") == "PONG"
    stuck.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n" + b"x" * 1000)
    assert stuck.is_closed()
    assert idle.call("PING") == "PONG"  # no request of it is under way
    wait_until(lambda: server.bytes_used() == 0, "nothing of the SET is left")


def test_values_above_the_limit_are_refused(start) -> None:
    server = start(nodes=6, code="4+2", max_object_size="1MiB")
    with Client(server.port) as client:
        assert client.call("SET", "k", b"x" * (1 << 20)) == "OK"
        # It is refused at its length already, as Redis does.
        client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % ((1 << 20) + 1))
        assert str(client.read_reply()) == "ERR Protocol error: invalid bulk length"
        assert client.is_closed()
    with Client(server.port) as client:
        assert client.call("STRLEN", "k") == 1 << 20


def test_the_server_starts_in_a_bare_environment() -> None:
    # No PATH, no HOME, no LANG: what a service manager may give it.
    server = Server(nodes=6, code="4+2")
    server.environment = {name: value for name, value in server.environment.items()
                           if name.startswith(("INFINICACHE_TEST_RUN", "ASAN_", "UBSAN_", "TSAN_"))}
    try:
        server.start()
        with socket.create_connection((HOST, server.port), timeout=patience(5)) as plain:
            plain.sendall(b"PING\r\n")
            assert plain.recv(100) == b"+PONG\r\n"
        server.finish()
    finally:
        server.destroy()


def test_help_and_version_need_no_server() -> None:
    for arguments in (("--help",), ("serve", "--help"), ("--version",), ("version",),
                      ("config", "show")):
        done = infinicache(*arguments)
        assert done.code == 0, done
        assert done.out, done
        assert done.err == "", done
    assert infinicache().code == USAGE
