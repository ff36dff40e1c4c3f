"""Clients that were written for Redis work unchanged: redis-cli, redis-benchmark, python3-redis."""

import shutil
import subprocess

import pytest
from harness.resp import HOST
from harness.server import Server, running
from harness.settings import patience, scaled
from harness.values import Value

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def server():
    with running(nodes=14) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def locked_server():
    with running(nodes=6, code="4+2", password=PASSWORD) as running_server:
        yield running_server


def run(program: str, server: Server, *arguments: object, stdin: bytes = b"",
        seconds: float = 60) -> subprocess.CompletedProcess[bytes]:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed: make deps")
    return subprocess.run([path, "-h", HOST, "-p", str(server.port), *map(str, arguments)],
                          input=stdin, capture_output=True, timeout=patience(seconds), check=False)


def cli(server: Server, *arguments: object, stdin: bytes = b"") -> bytes:
    """What redis-cli prints. It must end with 0 and say nothing on the error stream."""
    done = run("redis-cli", server, *arguments, stdin=stdin)
    assert done.returncode == 0, done
    assert done.stderr == b"", done.stderr
    return done.stdout


# --- redis-cli ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 10_000, 300_000, scaled(3_000_000, 20_000_000)])
@pytest.mark.parametrize("protocol", ["-2", "-3"])
def test_redis_cli_stores_and_reads_files(server: Server, size: int, protocol: str) -> None:
    data = Value("file", size).data()
    assert cli(server, protocol, "-x", "SET", "file", stdin=data) == b"OK\n"
    assert cli(server, protocol, "--raw", "GET", "file") == data + b"\n"
    assert cli(server, protocol, "STRLEN", "file") == b"%d\n" % size


def test_redis_cli_prints_replies_and_errors(server: Server) -> None:
    assert cli(server, "SET", "greeting", "hello", "EX", 1000) == b"OK\n"
    assert cli(server, "GET", "greeting") == b"hello\n"
    assert cli(server, "--no-raw", "MGET", "greeting", "absent") == b'1) "hello"\n2) (nil)\n'
    assert cli(server, "--no-raw", "EXISTS", "greeting") == b"(integer) 1\n"
    assert cli(server, "GET") == b"ERR wrong number of arguments for 'get' command\n\n"
    failed = run("redis-cli", server, "-e", "NOSUCH", "a")
    assert failed.returncode == 1
    assert b"ERR unknown command 'NOSUCH', with args beginning with: 'a' " in failed.stdout \
        + failed.stderr


def test_redis_cli_reads_commands_from_its_input(server: Server) -> None:
    script = b'SET one 1\nSET "two words" 2\nGET one\nGET "two words"\nDEL one "two words"\n'
    assert cli(server, stdin=script) == b"OK\nOK\n1\n2\n2\n"


def test_redis_cli_scan_finds_every_key_once(server: Server) -> None:
    keys = {f"scan:{n}" for n in range(scaled(100, 1000))}
    script = b"".join(b"SET %s v\n" % key.encode() for key in sorted(keys))
    assert cli(server, stdin=script) == b"OK\n" * len(keys)
    found = cli(server, "--scan", "--pattern", "scan:*").decode().split()
    assert len(found) == len(keys)
    assert set(found) == keys
    assert sorted(cli(server, "--scan", "--pattern", "scan:1?").decode().split()) == \
        [f"scan:1{n}" for n in range(10)]


def test_redis_cli_pipe_loads_commands(server: Server) -> None:
    count = scaled(200, 5000)
    commands = b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\npipe:%d\r\n$5\r\nvalue\r\n"
                        % (len(f"pipe:{n}"), n) for n in range(count))
    commands += b"GET pipe:0\r\n" * 10  # inline ones too
    report = cli(server, "--pipe", stdin=commands).decode()
    assert f"errors: 0, replies: {count + 10}" in report, report
    assert cli(server, "GET", f"pipe:{count - 1}") == b"value\n"


def test_redis_cli_tools_run(server: Server) -> None:
    cli(server, "FLUSHALL")
    cli(server, "SET", "big", "x" * 1000)
    cli(server, "SET", "small", "x")
    assert b"redis_version:" in cli(server, "INFO")
    assert cli(server, "INFO", "keyspace") == b"# Keyspace\r\ndb0:keys=2,expires=0,avg_ttl=0\r\n"
    report = cli(server, "--bigkeys").decode()
    assert 'Biggest string found \'"big"\' has 1000 bytes' in report, report
    assert "2 strings with 1001 bytes" in report, report
    minimum, maximum, average, samples = cli(server, "--latency", "--raw", "-i", "0.05").split()
    assert int(samples) > 0
    assert float(minimum) <= float(average) <= float(maximum)


def test_redis_cli_stat_shows_the_keys(server: Server) -> None:
    cli(server, "FLUSHALL")
    cli(server, "SET", "one", "x")
    # It goes on until it is killed.
    command = [shutil.which("redis-cli"), "-h", HOST, "-p", str(server.port), "--stat",
               "-i", "0.01"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            lines = [process.stdout.readline().decode() for _ in range(3)]
        finally:
            process.kill()
    assert "keys" in lines[1], lines
    assert lines[2].split()[0] == "1", lines


def test_redis_cli_authenticates(locked_server: Server) -> None:
    assert cli(locked_server, "PING") == b"NOAUTH Authentication required.\n\n"
    assert cli(locked_server, "--no-auth-warning", "-a", PASSWORD, "PING") == b"PONG\n"
    assert cli(locked_server, "--no-auth-warning", "-3", "--user", "default", "--pass", PASSWORD,
               "PING") == b"PONG\n"
    wrong = run("redis-cli", locked_server, "--no-auth-warning", "-a", "wrong", "PING")
    assert b"WRONGPASS invalid username-password pair or user is disabled." in wrong.stderr


# --- redis-benchmark ----------------------------------------------------------------------------


@pytest.mark.parametrize("size, requests, options", [
    (10_240, scaled(500, 5000), ()),
    (10_240, scaled(500, 5000), ("-P", 16)),
    (102_400, scaled(200, 2000), ()),
    (102_400, scaled(200, 2000), ("-P", 8, "-c", 4)),
    (1_048_576, scaled(50, 300), ()),
    (1_048_576, scaled(50, 300), ("-P", 4, "-c", 4)),
    (10_240, scaled(500, 5000), ("-c", 200, "-r", 50)),
    (1_048_576, scaled(50, 300), ("-r", 20, "--threads", 2)),
])
def test_redis_benchmark_finishes_without_errors(server: Server, size: int, requests: int,
                                                 options: tuple) -> None:
    done = run("redis-benchmark", server, "-t", "set,get", "-d", size, "-n", requests, "-q",
               "--csv", *options, seconds=120)
    assert done.returncode == 0, done
    text = done.stdout.decode() + done.stderr.decode()
    assert "error" not in text.lower() and "warning" not in text.lower(), text
    assert '"SET"' in text and '"GET"' in text, text


def test_redis_benchmark_of_the_other_commands(server: Server) -> None:
    done = run("redis-benchmark", server, "-t", "ping_inline,ping_mbulk,mset", "-n",
               scaled(500, 5000), "-q", "--csv")
    assert done.returncode == 0, done
    text = (done.stdout + done.stderr).decode()
    assert "error" not in text.lower() and "warning" not in text.lower(), text
    assert text.count("\n") == 4, text  # a title and three rows


# --- python3-redis ------------------------------------------------------------------------------


@pytest.fixture
def redis_client(server: Server):
    redis = pytest.importorskip("redis")
    with redis.Redis(HOST, server.port, socket_timeout=patience(20)) as client:
        client.flushall()
        yield client


def test_python_redis_strings(redis_client) -> None:
    client = redis_client
    for size in (0, 1000, 200_000, 2_000_000):
        value = Value("python", size)
        assert client.set("python", value.data()) is True
        value.check(client.get("python"))
        assert client.strlen("python") == size
        assert client.getrange("python", 10, size // 2) == value.data()[10:size // 2 + 1]
    assert client.set("python", "new", nx=True) is None
    assert client.set("python", "new", xx=True, get=True) == Value("python", 2_000_000).data()
    assert client.get("absent") is None
    assert client.mset({"a": b"1", "b": b"2" * 300_000}) is True
    assert client.mget("a", "b", "c") == [b"1", b"2" * 300_000, None]
    assert client.getdel("a") == b"1"
    assert client.exists("a", "b", "b") == 2
    assert client.delete("a", "b") == 1
    assert client.unlink("python") == 1


def test_python_redis_expiry(redis_client) -> None:
    client = redis_client
    assert client.set("key", "v", ex=1000) is True
    assert 900 < client.ttl("key") <= 1000
    assert client.set("key", "v", keepttl=True) is True
    assert client.pttl("key") > 900_000
    assert client.persist("key") is True
    assert client.ttl("key") == -1
    assert client.expire("key", 500) is True
    assert client.expire("key", 100, gt=True) is False
    assert client.pexpire("key", 5) is True
    assert client.setex("other", 100, "v") is True
    assert client.psetex("other", 100_000, "v") is True
    assert client.ttl("absent") == -2


def test_python_redis_pipelines(redis_client) -> None:
    pipe = redis_client.pipeline(transaction=False)
    values = [Value(f"pipe/{n}", 3000 * n) for n in range(50)]
    for value in values:
        pipe.set(value.key, value.data())
    for value in values:
        pipe.get(value.key)
    pipe.exists("pipe/0")
    pipe.execute_command("NOSUCH")
    replies = pipe.execute(raise_on_error=False)
    assert replies[:50] == [True] * 50
    for value, reply in zip(values, replies[50:100], strict=True):
        value.check(reply)
    assert replies[100] == 1
    assert "unknown command" in str(replies[101])


def test_python_redis_keys_and_scan(redis_client) -> None:
    client = redis_client
    expected = {f"k:{n}".encode() for n in range(300)}
    for key in expected:
        client.set(key, "v")
    assert set(client.scan_iter("k:*", count=17)) == expected
    assert set(client.scan_iter(_type="string")) == expected
    assert set(client.scan_iter(_type="list")) == set()
    assert set(client.keys("k:1[0-4]")) == {f"k:1{n}".encode() for n in range(5)}
    assert client.dbsize() == 300
    assert client.type("k:1") == b"string"
    assert client.flushall() is True
    assert client.dbsize() == 0


def test_python_redis_server_commands(redis_client) -> None:
    client = redis_client
    assert client.ping() is True
    assert client.echo("hello") == b"hello"
    info = client.info()
    assert tuple(map(int, info["redis_version"].split("."))) >= (7, 0, 0)
    assert info["infinicache_version"]
    assert info["role"] == "master"
    assert client.info("keyspace") == {}
    assert client.info("everything")["cluster_enabled"] == 0
    assert client.config_get("maxmemory").keys() == {"maxmemory"}
    assert client.config_get("proto-*") == {"proto-max-bulk-len": str(2 << 30)}
    assert client.client_setname("tests") is True
    assert client.client_getname() == "tests"
    assert isinstance(client.client_id(), int)
    rows = client.client_list()
    assert any(row["name"] == "tests" for row in rows)
    assert client.client_info()["name"] == "tests"
    assert client.command_count() == len(client.command())
    assert client.command()["get"]["arity"] == 2
    assert "readonly" in client.command()["get"]["flags"]
    assert client.command_getkeys("MSET", "a", 1, "b", 2) == ["a", "b"]
    assert len(client.time()) == 2
    assert client.execute_command("SELECT", 0) is True


def test_python_redis_errors_are_its_own_exceptions(server: Server) -> None:
    redis = pytest.importorskip("redis")
    client = redis.Redis(HOST, server.port, socket_timeout=patience(20))
    with pytest.raises(redis.ResponseError, match="wrong number of arguments for 'get' command"):
        client.execute_command("GET")
    with pytest.raises(redis.ResponseError, match="syntax error"):
        client.execute_command("SET", "k", "v", "BOGUS")
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        client.execute_command("EXPIRE", "k", "soon")
    with pytest.raises(redis.ResponseError, match="invalid expire time in 'set' command"):
        client.execute_command("SET", "k", "v", "EX", 0)
    with pytest.raises(redis.ResponseError, match="DB index is out of range"):
        client.execute_command("SELECT", 1)
    client.close()


def test_python_redis_authenticates(locked_server: Server) -> None:
    redis = pytest.importorskip("redis")
    with pytest.raises(redis.AuthenticationError, match="Authentication required"):
        redis.Redis(HOST, locked_server.port).get("k")
    with pytest.raises(redis.ResponseError, match="^WRONGPASS "):
        redis.Redis(HOST, locked_server.port, password="wrong").get("k")
    client = redis.Redis(HOST, locked_server.port, password=PASSWORD)
    assert client.set("k", "v") is True
    assert client.get("k") == b"v"
    client.close()
    named = redis.Redis(HOST, locked_server.port, username="default", password=PASSWORD,
                        client_name="named")
    assert named.client_getname() == "named"
    named.close()


def test_python_redis_many_connections(server: Server) -> None:
    redis = pytest.importorskip("redis")
    clients = [redis.Redis(HOST, server.port, single_connection_client=True)
               for _ in range(scaled(50, 200))]
    for number, client in enumerate(clients):
        client.set(f"many/{number}", number)
    for number, client in enumerate(clients):
        assert client.get(f"many/{number}") == str(number).encode()
    for client in clients:
        client.close()
