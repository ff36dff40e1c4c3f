"""Edge cases and errors are answered byte by byte as redis-server answers them."""

import pytest
from harness.peer import converse, redis_server
from harness.server import running

FAR = 99_999_999_999  # Unix seconds, some thousand years ahead
MAX = 9_223_372_036_854_775_807

# Requests of one connection each, on an empty cache. Bytes are sent as they are.
CASES: dict[str, list] = {
    # --- Dispatch -------------------------------------------------------------------------------
    "unknown command": [("NOSUCH",), ("nosuch", "a", "b"), ("NOSUCH", "x" * 200, "y")],
    "unknown command with line ends": [("no\r\nsuch", "a\r\nb")],
    "unknown command of many arguments": [("NOSUCH", *("a" * 30 for _ in range(10)))],
    "long unknown command": [("n" * 300, "a")],
    "empty command name": [("",)],
    "wrong arity": [("GET",), ("GET", "a", "b"), ("get",), ("SET", "a"), ("STRLEN",), ("MGET",),
                    ("DEL",), ("EXISTS",), ("TTL",), ("TYPE",), ("ECHO",), ("PERSIST", "a", "b"),
                    ("DBSIZE", "x"), ("TIME", "x"), ("SELECT",), ("RESET", "x")],
    "case of names": [("sEt", "k", "v", "eX", 1000), ("gEt", "k"), ("GET", "K")],
    "binary keys and values": [("SET", b"\x00\r\n\xff", b"\x00\x01\r\n"), ("GET", b"\x00\r\n\xff"),
                               ("SET", "", "empty key"), ("GET", ""), ("STRLEN", "")],
    "errors in a pipeline": [("SET", "a", "1"), ("NOSUCH",), ("GET", "a"), ("GET",), ("GET", "b"),
                             ("EXPIRE", "a", "x"), ("PING",)],

    # --- SET and its like -----------------------------------------------------------------------
    "SET options that exclude each other": [
        ("SET", "k", "v", "NX", "XX"), ("SET", "k", "v", "EX", 10, "PX", 10),
        ("SET", "k", "v", "KEEPTTL", "EX", 10), ("SET", "k", "v", "EX", 10, "KEEPTTL"),
        ("SET", "k", "v", "EXAT", FAR, "PXAT", FAR), ("EXISTS", "k")],
    "SET syntax": [("SET", "k", "v", "BOGUS"), ("SET", "k", "v", "EX"),
                   ("SET", "k", "v", "NX", "EX"), ("SET", "k", "v", "10"),
                   ("SET", "k", "v", ""), ("EXISTS", "k")],
    "SET expiry numbers": [
        ("SET", "k", "v", "EX", "abc"), ("SET", "k", "v", "EX", 0), ("SET", "k", "v", "EX", -1),
        ("SET", "k", "v", "EX", MAX), ("SET", "k", "v", "PX", 0), ("SET", "k", "v", "PX", MAX),
        ("SET", "k", "v", "EXAT", 0), ("SET", "k", "v", "EXAT", -5), ("SET", "k", "v", "EX", "1.5"),
        ("SET", "k", "v", "EX", " 1"), ("SET", "k", "v", "EX", "01"), ("SET", "k", "v", "EX", "+1"),
        ("SET", "k", "v", "PX", "9223372036854775808"), ("EXISTS", "k")],
    "SET in the past": [("SET", "k", "v", "EXAT", 1), ("GET", "k"), ("SET", "k", "v", "PXAT", 1),
                        ("EXISTS", "k"), ("DBSIZE",)],
    "SET NX and XX": [("SET", "k", "1", "XX"), ("SET", "k", "1", "NX"), ("SET", "k", "2", "NX"),
                      ("GET", "k"), ("SET", "k", "3", "XX"), ("GET", "k")],
    "SET GET": [("SET", "k", "1", "GET"), ("SET", "k", "2", "GET"), ("SET", "k", "3", "XX", "GET"),
                ("SET", "k", "4", "NX", "GET"), ("GET", "k"), ("SET", "n", "5", "NX", "GET"),
                ("SET", "m", "6", "XX", "GET"), ("EXISTS", "n", "m")],
    "SET repeats an option": [("SET", "k", "v", "NX", "NX"), ("SET", "k", "v", "XX", "XX"),
                              ("SET", "k", "v", "GET", "GET"),
                              ("SET", "k", "v", "KEEPTTL", "KEEPTTL"),
                              ("SET", "k", "v", "EXAT", 10, "EXAT", FAR), ("EXPIRETIME", "k"),
                              ("SET", "k", "v", "PXAT", FAR, "PXAT", 1), ("EXISTS", "k")],
    "expiry is kept or ended": [("SET", "k", "v", "EXAT", FAR), ("EXPIRETIME", "k"),
                                ("SET", "k", "w", "KEEPTTL"), ("EXPIRETIME", "k"),
                                ("SET", "k", "w", "GET", "KEEPTTL"), ("PEXPIRETIME", "k"),
                                ("SET", "k", "x"), ("EXPIRETIME", "k"), ("TTL", "k")],
    "SETEX and PSETEX": [("SETEX", "k", 0, "v"), ("SETEX", "k", "abc", "v"),
                         ("PSETEX", "k", -1, "v"), ("SETEX", "k", MAX, "v"),
                         ("PSETEX", "k", MAX, "v"), ("SETEX", "k", 100),
                         ("EXISTS", "k"), ("SETEX", "k", 100, "v"), ("GET", "k")],
    "SETNX, GETSET and GETDEL": [("SETNX", "k", "1"), ("SETNX", "k", "2"), ("GETSET", "k", "3"),
                                 ("GETSET", "n", "4"), ("GETDEL", "k"), ("GETDEL", "k"),
                                 ("GETDEL",), ("GETSET", "k"), ("SETNX", "k")],
    "MSET and MGET": [("MSET", "a"), ("MSET", "a", "1", "b"), ("MSET",), ("EXISTS", "a", "b"),
                      ("MSET", "a", "1", "b", "2", "a", "3"), ("MGET", "a", "b", "c", "a"),
                      ("DEL", "a", "a", "c"), ("EXISTS", "a", "b", "b"), ("UNLINK", "b", "b")],

    # --- Reading --------------------------------------------------------------------------------
    "GETRANGE": [("SET", "k", "0123456789")] + [
        ("GETRANGE", "k", begin, end) for begin, end in [
            (0, -1), (0, 0), (3, 5), (-3, -1), (5, 3), (-1, -5), (8, 100), (100, 200), (-100, 2),
            (-100, -200), (0, -100), (-5, 7), (MAX, MAX), (-MAX, MAX), (9, 9), (10, 10)]],
    "GETRANGE errors": [("GETRANGE", "k", "a", 1), ("GETRANGE", "k", 0, "b"), ("GETRANGE", "k", 0),
                        ("GETRANGE", "k", 0, MAX + 1), ("GETRANGE", "absent", 0, -1),
                        ("GETRANGE", "k", "1.0", 2)],
    "GETRANGE of nothing": [("SET", "k", ""), ("GETRANGE", "k", 0, -1), ("STRLEN", "k"),
                            ("GET", "k"), ("STRLEN", "absent"), ("TYPE", "k"), ("TYPE", "absent")],

    # --- Expiry ---------------------------------------------------------------------------------
    "EXPIRE numbers": [("SET", "k", "v"), ("EXPIRE", "k", "abc"), ("EXPIRE", "k", "1.5"),
                       ("EXPIRE", "k", MAX), ("EXPIRE", "k", -MAX), ("PEXPIRE", "k", MAX),
                       ("EXPIREAT", "k", MAX), ("EXPIRE", "absent", MAX), ("PERSIST", "k")],
    "EXPIRE of absent keys": [("EXPIRE", "k", 10), ("PEXPIREAT", "k", 10), ("PERSIST", "k"),
                              ("TTL", "k"), ("PTTL", "k"), ("EXPIRETIME", "k"),
                              ("EXPIRE", "k", "abc"), ("EXPIRE", "k", 10, "BOGUS")],
    "EXPIRE conditions": [
        ("SET", "k", "v"), ("EXPIREAT", "k", FAR, "XX"), ("EXPIREAT", "k", FAR, "GT"),
        ("EXPIREAT", "k", FAR, "LT"), ("EXPIREAT", "k", FAR + 1, "LT"),
        ("EXPIREAT", "k", FAR + 1, "GT"), ("EXPIREAT", "k", FAR, "NX"), ("EXPIRETIME", "k"),
        ("EXPIREAT", "k", FAR + 2, "XX", "GT"), ("EXPIRETIME", "k")],
    "EXPIRE options": [("SET", "k", "v"), ("EXPIRE", "k", 10, "BOGUS"),
                       ("EXPIRE", "k", 10, "NX", "XX"), ("EXPIRE", "k", 10, "NX", "GT"),
                       ("EXPIRE", "k", 10, "GT", "LT"),
                       ("EXPIRE", "k", 10, "NX", "NX"), ("EXPIRE", "k", 10, "nx", "BOGUS", "xx")],
    "EXPIRE in the past": [("SET", "k", "v"), ("EXPIRE", "k", -1), ("EXISTS", "k"),
                           ("SET", "k", "v"), ("EXPIREAT", "k", 0), ("GET", "k"), ("SET", "k", "v"),
                           ("PEXPIRE", "k", 0), ("DBSIZE",)],
    "EXPIREAT is exact": [("SET", "k", "v"), ("PEXPIREAT", "k", FAR * 1000 + 499),
                          ("EXPIRETIME", "k"), ("PEXPIREAT", "k", FAR * 1000 + 500),
                          ("EXPIRETIME", "k"),
                          ("PEXPIRETIME", "k")],

    # --- Keys -----------------------------------------------------------------------------------
    "SCAN errors": [("SCAN", "abc"), ("SCAN", 0, "COUNT", 0), ("SCAN", 0, "COUNT", -1),
                    ("SCAN", 0, "COUNT", "x"), ("SCAN", 0, "COUNT"), ("SCAN", 0, "BOGUS", 1),
                    ("SCAN", "99999999999999999999"), ("SCAN",), ("SCAN", " 0"),
                    ("SCAN", 0, "MATCH"), ("SCAN", "0x1"), ("SCAN", "1 ")],
    "SCAN odd cursors": [("SCAN", -1), ("SCAN", "")],
    "SCAN of few keys": [("SCAN", 0), ("SET", "only", "v"), ("SCAN", 0, "COUNT", 1000),
                         ("SCAN", 0, "COUNT", 1000, "MATCH", "o*"),
                         ("SCAN", 0, "MATCH", "x*", "COUNT", 1000),
                         ("SCAN", 0, "TYPE", "string", "COUNT", 1000),
                         ("SCAN", 0, "TYPE", "hash", "COUNT", 1000),
                         ("SCAN", 0, "TYPE", "nosuch", "COUNT", 1000)],
    "KEYS patterns": [("SET", "a[b]*?", "v")] + [
        ("KEYS", pattern) for pattern in [
            "*", "a*", r"a\[b\]\*\?", "a[[]b]*", "a[^x]b]??", "?", "", "a[a-z", "[^b]*", "a\\",
            "A*",
            "a[[-\\]]*"]] + [("KEYS",)],
    "FLUSHALL": [("SET", "k", "v"), ("FLUSHALL", "BOGUS"), ("DBSIZE",), ("FLUSHALL", "ASYNC"),
                 ("DBSIZE",), ("FLUSHALL", "SYNC"), ("FLUSHDB",), ("FLUSHALL", "SYNC", "ASYNC")],

    # --- Connection -----------------------------------------------------------------------------
    "PING and ECHO": [("PING",), ("PING", "msg"), ("PING", "a", "b"), ("ECHO", ""),
                      ("ECHO", "a", "b"), ("PING", b"\r\n")],
    "SELECT": [("SELECT", 0), ("SELECT", "abc"), ("SELECT", -1), ("SELECT", 16), ("SELECT", "0x1"),
               ("SELECT", 99999999999), ("SELECT", 0, 0)],
    "AUTH without a password": [("AUTH", "pw"), ("AUTH", "default", "pw"), ("AUTH", "nobody", "pw"),
                                ("AUTH", "a", "b", "c"), ("AUTH",)],
    "HELLO errors": [("HELLO", 4), ("HELLO", 1), ("HELLO", "abc"), ("HELLO", 3, "BOGUS"),
                     ("HELLO", 3, "AUTH", "x"), ("HELLO", 3, "SETNAME"),
                     ("HELLO", 2, "SETNAME", "a b"), ("HELLO", 2, "AUTH", "nobody", "x"),
                     ("GET", "absent")],
    "CLIENT": [("CLIENT",), ("CLIENT", "NOSUCH"), ("CLIENT", "GETNAME"),
               ("CLIENT", "SETNAME", "a b"), ("CLIENT", "SETNAME", "me"), ("CLIENT", "GETNAME"),
               ("CLIENT", "SETNAME", ""),
               ("CLIENT", "GETNAME"), ("CLIENT", "GETNAME", "x"), ("CLIENT", "ID", "x"),
               ("CLIENT", "SETNAME"), ("CLIENT", "LIST", "TYPE", "bogus"),
               ("CLIENT", "LIST", "BOGUS"), ("CLIENT", "LIST", "TYPE", "replica")],
    "QUIT": [("PING",), ("QUIT",), ("PING",)],
    "QUIT with arguments": [("QUIT", "now"), ("PING",)],
    "RESET": [("CLIENT", "SETNAME", "me"), ("RESET",), ("CLIENT", "GETNAME")],

    # --- Server ---------------------------------------------------------------------------------
    "COMMAND": [("COMMAND", "NOSUCH"), ("COMMAND", "COUNT", "x"), ("COMMAND", "GETKEYS"),
                ("COMMAND", "GETKEYS", "GET", "k"), ("COMMAND", "GETKEYS", "MSET", "a", 1, "b", 2),
                ("COMMAND", "GETKEYS", "PING"), ("COMMAND", "GETKEYS", "NOSUCH"),
                ("COMMAND", "GETKEYS", "GET"), ("COMMAND", "INFO", "nosuch"),
                ("COMMAND", "DOCS", "nosuch")],
    "CONFIG": [("CONFIG",), ("CONFIG", "NOSUCH"), ("CONFIG", "GET"), ("CONFIG", "GET", "nosuch"),
               ("CONFIG", "GET", "save"), ("CONFIG", "GET", "append*nly", "nosuch", "appendonl[y]"),
               ("CONFIG", "GET", "appendonly"), ("CONFIG", "GET", "proto-max-bulk-len"),
               ("CONFIG", "GET", "timeout"), ("CONFIG", "SET"), ("CONFIG", "SET", "a")],
    "SHUTDOWN errors": [("SHUTDOWN", "BOGUS"), ("SHUTDOWN", "NOSAVE", "BOGUS")],
    "INFO sections": [("INFO", "nosuch")],

    # --- Inline commands ------------------------------------------------------------------------
    "inline": [b"PING\r\n", b"  PING  \r\n", b"\r\n", b"PING\n", b"SET k \"a b\"\r\n", b"GET k\r\n",
               b"get 'k'\r\n", b"ECHO \"\\x41\\n\\t\"\r\n", b"ECHO 'it\\'s'\r\n", b"GET\r\n",
               b"NOSUCH a b\r\n", b"ECHO \"\"\r\n"],
    "inline with unbalanced quotes": [b"GET \"k\r\n"],
    "inline with text behind a quote": [b"GET \"k\"x\r\n"],
    "a browser's request": [b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    "a browser's other request": [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"],

    # --- Protocol -------------------------------------------------------------------------------
    "empty multibulk": [b"*0\r\n", b"*-1\r\n", ("PING",)],
    "bad multibulk length": [b"*abc\r\n"],
    "multibulk that is too long": [b"*2147483648\r\n"],
    "no bulk": [b"*1\r\n+PING\r\n"],
    "no bulk, odd byte": [b"*1\r\n\x01PING\r\n"],
    "bad bulk length": [b"*1\r\n$abc\r\n"],
    "negative bulk length": [b"*1\r\n$-1\r\n"],
    "bulk without length": [b"*1\r\n$\r\n"],
    "bulk that is too long": [b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2147483649\r\n"],
    "error behind good commands": [("SET", "k", "v"), ("GET", "k"), b"*1\r\n!PING\r\n",
                                   ("GET", "k")],
}

# Lines that have no end: the server closes when it has seen enough.
CASES_WITHOUT_END: dict[str, list] = {
    "inline": [b"ECHO " + b"x" * 70_000],
    "multibulk length": [("PING",), b"*" + b"1" * 70_000],
    "bulk length": [("PING",), b"*1\r\n$" + b"1" * 70_000],
    "inline behind a command": [("PING",), b"x" * 70_000],
}

# Behind HELLO 3, whose own reply names the server.
CASES_OF_RESP3: dict[str, list] = {
    "null": [("GET", "absent"), ("MGET", "absent", "absent"), ("SET", "k", "v", "XX"),
             ("GETDEL", "k"), ("CLIENT", "GETNAME")],
    "map": [("CONFIG", "GET", "save"), ("CONFIG", "GET", "nosuch"), ("COMMAND", "DOCS", "nosuch")],
    "array": [("SCAN", 0), ("KEYS", "*"), ("MGET", "a"), ("COMMAND", "INFO", "nosuch")],
    "others": [("SET", "k", "v"), ("GET", "k"), ("STRLEN", "k"), ("TTL", "k"), ("NOSUCH",),
               ("PING",)],
    "back to RESP2": [("RESET",), ("GET", "absent")],
    "verbatim": [("CLIENT", "LIST", "TYPE", "replica"), ("INFO", "nosuch")],
}

CASES_WITH_PASSWORD: dict[str, list] = {
    "everything asks for it": [("GET", "k"), ("SET", "k", "v"), ("PING",), ("ECHO", "x"), ("INFO",),
                               ("COMMAND",), ("CLIENT", "ID"), ("SELECT", 0), ("SHUTDOWN",),
                               ("FLUSHALL",)],
    "what is checked before": [("NOSUCH",), ("GET",), ("GET", "a", "b")],
    "HELLO": [("HELLO",), ("HELLO", 3), ("HELLO", 3, "AUTH", "default", "wrong"),
              ("HELLO", 3, "AUTH", "nobody", "secret"), ("HELLO", 9), ("GET", "k")],
    "AUTH": [("AUTH", "wrong"), ("AUTH", "default", "wrong"), ("AUTH", "nobody", "secret"),
             ("AUTH",), ("GET", "k"), ("AUTH", "secret"), ("GET", "k"), ("AUTH", "wrong"),
             ("GET", "k"),
             ("AUTH", "default", "secret")],
    "RESET forgets it": [("AUTH", "secret"), ("PING",), ("RESET",), ("PING",)],
    "QUIT needs none": [("QUIT",)],
    "a large argument": [b"*2\r\n$3\r\nGET\r\n$20000\r\n"],
    "many arguments": [b"*11\r\n"],
}

# Where we answer otherwise on purpose: the case, and why.
DIFFERENCES: dict[str, str] = {
    "SCAN odd cursors": "Redis reads cursors with strtoul, which takes these; SCAN never gave them",
    "HELLO": "one error has the text of Redis 7.2; Debian's Redis is 7.0",
}


@pytest.fixture(scope="module")
def ports():
    try:
        peer = redis_server("--proto-max-bulk-len", "2gb")
        with peer as redis_port, running(nodes=6, code="4+2") as server:
            yield redis_port, server.port
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def locked_ports():
    try:
        peer = redis_server("--requirepass", "secret")
        with peer as redis_port, running(nodes=6, code="4+2", password="secret") as server:
            yield redis_port, server.port
    except FileNotFoundError as error:
        pytest.skip(str(error))


def compare(ports: tuple[int, int], name: str, requests: list) -> None:
    expected, got = (converse(port, requests) for port in ports)
    if name in DIFFERENCES:
        assert got != expected, f"no difference any more: {DIFFERENCES[name]}"
        return
    # Line by line, so that a failure shows the first line that differs.
    assert got.split(b"\r\n") == expected.split(b"\r\n")


@pytest.mark.parametrize("name", CASES)
def test_replies_are_those_of_redis(ports: tuple[int, int], name: str) -> None:
    for port in ports:
        assert converse(port, [("FLUSHALL",)]) == b"+OK\r\n"
    compare(ports, name, CASES[name])


@pytest.mark.parametrize("name", CASES_WITHOUT_END)
def test_endless_lines_are_refused_as_by_redis(ports: tuple[int, int], name: str) -> None:
    expected, got = (converse(port, CASES_WITHOUT_END[name], ends=False) for port in ports)
    assert got == expected


@pytest.mark.parametrize("name", CASES_OF_RESP3)
def test_replies_of_resp3_are_those_of_redis(ports: tuple[int, int], name: str) -> None:
    for port in ports:
        converse(port, [("FLUSHALL",)])

    def without_hello(port: int) -> bytes:
        return converse(port, [("HELLO", 3), ("ECHO", "cut"), *CASES_OF_RESP3[name]]) \
            .partition(b"$3\r\ncut\r\n")[2]
    expected, got = map(without_hello, ports)
    assert got.split(b"\r\n") == expected.split(b"\r\n")


@pytest.mark.parametrize("name", CASES_WITH_PASSWORD)
def test_replies_before_authentication_are_those_of_redis(locked_ports: tuple[int, int],
                                                          name: str) -> None:
    compare(locked_ports, name, CASES_WITH_PASSWORD[name])
