"""What a pool costs: reckoned before, metered while it runs, and told alike by all who tell it."""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import TextIO

import pytest
from harness.command import ask, infinicache
from harness.resp import HOST
from harness.server import Server, wait_until
from harness.settings import KIB, patience
from harness.values import Value

CAUSES = ("serving", "warm_up", "backup", "repair")
# Without backups, whose rounds would take the place of warm-ups.
SMALL = {"nodes": 4, "code": "2+1", "node_memory": "64MiB", "backup": "off"}


def cost_of(server: Server) -> dict:
    return server.admin_json("/api/v1/cost")


def use(server: Server) -> None:
    values = [Value(f"cost {i}", 300 * KIB) for i in range(8)]
    server.fill(values)
    server.check(values)


def asleep(server: Server) -> dict:
    """The cost when all sessions are over."""
    def at_rest() -> dict | None:
        cost = cost_of(server)
        rests = cost["nodes"]["asleep"] == cost["nodes"]["total"] and not cost["instances"]["busy"]
        return cost if rests else None
    return wait_until(at_rest, "all nodes are asleep")


def check_sums(cost: dict) -> None:
    """Sessions and dollars are the sums over causes, and follow from the sums and the price."""
    price, causes = cost["price"], cost["causes"]
    assert set(causes) == set(CAUSES)
    for name in ("sessions", "cold_starts"):
        assert cost[name] == sum(causes[cause][name] for cause in CAUSES)
    dollars = 0.0
    if price["kind"] == "function":
        for cause in CAUSES:
            sums = causes[cause]
            expected = (sums["sessions"] * price["request_dollars_per_million"] / 1e6
                        + sums["gb_seconds"] * price["dollars_per_gb_second"]
                        + sums["vcpu_seconds"] * price["dollars_per_vcpu_second"])
            assert sums["dollars"] == pytest.approx(expected), cause
            dollars += expected
    else:
        standing = cost["standing"]
        dollars = (standing["gb_hours"] * price["dollars_per_gb_hour"]
                   + standing["vcpu_hours"] * price["dollars_per_vcpu_hour"])
        assert standing["dollars"] == pytest.approx(dollars)
    assert cost["dollars"] == pytest.approx(dollars)
    assert cost["dollars_per_hour"] == pytest.approx(dollars / cost["hours"])
    assert cost["dollars_per_million_requests"] == pytest.approx(
        dollars * 1e6 / cost["requests"])
    assert cost["provisioned"]["ratio"] == pytest.approx(cost["provisioned"]["dollars"] / dollars)


def test_a_sleeping_pool_tells_the_same_figures_everywhere(start) -> None:
    server = start(preset="lambda-like", warm_up="off", **SMALL)
    use(server)
    cost = asleep(server)
    check_sums(cost)
    assert cost["preset"] == "lambda-like"
    assert cost["price"]["name"] == "lambda-x86"
    assert cost["requests"] == 16
    assert cost["causes"]["serving"]["cold_starts"] == 4
    assert cost["causes"]["warm_up"]["sessions"] == 0
    assert cost["instances"] == {"busy": 0, "idle": 0, "frozen": 4}
    assert 0 < cost["duty_cycle"] < 1

    metrics = server.metrics()
    assert cost["sessions"] == metrics("infinicache_invocations_total")
    for cause in CAUSES:
        sums = cost["causes"][cause]
        for name, metric in (("sessions", "sessions_total"), ("cold_starts", "cold_starts_total"),
                             ("billed_seconds", "billed_seconds_total"),
                             ("gb_seconds", "billed_gb_seconds_total"),
                             ("dollars", "cost_dollars_total")):
            told = metrics(f"infinicache_{metric}", cause=cause)
            assert told == pytest.approx(sums[name]), (cause, name)
    assert metrics("infinicache_instances", state="frozen") == 4

    done = ask(server, "cost", "--json")
    assert done.code == 0, done
    told = json.loads(done.out)
    for name in ("causes", "sessions", "dollars", "requests", "instances", "nodes"):
        if name == "causes":  # rates fall as time goes by
            for cause in CAUSES:
                del told[name][cause]["dollars_per_hour"], cost[name][cause]["dollars_per_hour"]
        assert told[name] == cost[name], name
    text = ask(server, "cost").out
    assert text.startswith("lambda-like, billed as lambda-x86 (")
    assert "4 frozen; 4 nodes: 4 asleep\n" in text
    total = text.splitlines()[-1].split()
    assert total[:3] == ["total", f"{cost['sessions']:,}", f"{cost['cold_starts']:,}"], text


def test_an_always_on_pool_is_billed_by_the_hour(start) -> None:
    server = start(**SMALL)
    use(server)
    first = cost_of(server)
    metrics = server.metrics()
    told = json.loads(ask(server, "cost", "--json").out)
    last = cost_of(server)
    for cost in (first, told, last):
        check_sums(cost)
        assert cost["preset"] == "always-on"
        assert cost["price"]["kind"] == "instance_hours"
        assert cost["sessions"] == 4, "one of each node, under way"
        assert cost["instances"] == {"busy": 4, "idle": 0, "frozen": 0}
        assert cost["warm_up_interval_seconds"] is None
    standing = metrics("infinicache_cost_dollars_total", cause="standing")
    beside = metrics("infinicache_cost_alternative_dollars_total", kind="provisioned")
    assert first["dollars"] < standing < told["dollars"] < last["dollars"]
    assert first["provisioned"]["dollars"] < beside < told["provisioned"]["dollars"]
    assert metrics("infinicache_sessions_total") == 4
    assert "\nstanding " in ask(server, "cost").out


def test_pods_that_are_gone_cost_nothing(start) -> None:
    server = start(preset="knative-like", warm_up="off", cold_start="10ms..50ms",
                   reclaim="idle:300ms", reclaim_drain="0s", reclaim_grace="0s", **SMALL)
    use(server)

    def gone() -> dict | None:
        cost = cost_of(server)
        return None if any(cost["instances"].values()) else cost
    first = wait_until(gone, "every pod is gone", 60)
    check_sums(first)
    last = wait_until(lambda: (cost := cost_of(server))["hours"] > first["hours"] and cost,
                      "time goes by")
    assert first["standing"]["dollars"] == last["standing"]["dollars"] > 0
    assert first["provisioned"]["dollars"] < last["provisioned"]["dollars"]


def test_an_idle_pool_costs_far_less_than_the_same_memory_provisioned(start) -> None:
    server = start(preset="lambda-like", warm_up="1s", **SMALL)
    use(server)
    before = cost_of(server)

    def warmed() -> dict | None:
        cost = cost_of(server)
        more = cost["causes"]["warm_up"]["sessions"] - before["causes"]["warm_up"]["sessions"]
        return cost if more >= 8 else None
    after = wait_until(warmed, "every node was warmed up twice")
    assert after["warm_up_interval_seconds"] == 1
    per_hour = (after["dollars"] - before["dollars"]) / (after["hours"] - before["hours"])
    assert 0 < per_hour < after["provisioned"]["dollars_per_hour"] / 100


def test_no_figure_falls_while_the_pool_is_used(start) -> None:
    server = start(preset="lambda-like", warm_up="1s", **SMALL)
    last: dict[str, float] = {}
    with server.client() as client:
        for i in range(40):
            client.set(Value(f"cost {i % 4}", 300 * KIB))
            metrics = server.metrics()
            for name in ("cost_dollars_total", "sessions_total", "billed_seconds_total"):
                for cause in CAUSES:
                    told = metrics(f"infinicache_{name}", cause=cause)
                    assert told >= last.get(name + cause, 0), (name, cause)
                    last[name + cause] = told


def test_without_a_server_the_cost_command_says_how_to_start_one() -> None:
    done = infinicache("cost", "--admin", f"{HOST}:1")
    assert done.code == 3, done
    assert "start one with `infinicache serve`" in done.err


# --- Events as a stream ---------------------------------------------------------------------------


@contextlib.contextmanager
def stream(server: Server, *headers: str, query: str = "") -> Iterator[TextIO]:
    with socket.create_connection((HOST, server.admin_port), timeout=patience(20)) as connection:
        lines = [f"GET /api/v1/events{query} HTTP/1.1", "Host: test", *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        with connection.makefile("r", encoding="utf-8", newline="\n") as lines:
            yield lines


def frames(lines: TextIO, count: int) -> list[dict[str, str]]:
    """The next `count` events of the stream: their fields by name."""
    found: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    while len(found) < count:
        line = lines.readline()
        assert line, f"the stream ended after {found}"
        name, _, value = line.rstrip("\r\n").partition(": ")
        if name:
            fields[name] = value
            continue
        if "id" in fields:  # else a comment, or the head of the answer
            found.append(fields)
        fields = {}
    return found


def test_events_are_streamed_as_they_happen_and_from_where_a_reader_left(start) -> None:
    server = start(test_hooks="on", **SMALL)
    with stream(server, "Accept: text/event-stream") as lines:
        starts = frames(lines, 4)
        assert [frame["id"] for frame in starts] == ["1", "2", "3", "4"]
        assert {frame["event"] for frame in starts} == {"instance_started"}
        assert ask(server, "reclaim", 2).code == 0
        gone = frames(lines, 1)[0]
    assert gone["event"] == "instance_reclaimed"
    data = json.loads(gone["data"])
    assert (data["id"], data["kind"], data["node"]) == (5, "instance_reclaimed", 2)
    assert data in server.admin_json("/api/v1/events")["events"]

    with stream(server, "Last-Event-ID: 3", query="?stream=1") as lines:
        assert [frame["id"] for frame in frames(lines, 2)] == ["4", "5"]


def test_a_stop_ends_streams(start) -> None:
    server = start(**SMALL)
    with stream(server, "Accept: text/event-stream") as lines:
        frames(lines, 4)
        server.finish()
        assert lines.read() == ""


def test_sessions_do_not_flood_the_events(start) -> None:
    server = start(preset="lambda-like", warm_up="off", **SMALL)
    use(server)
    cost = asleep(server)
    use(server)
    assert asleep(server)["sessions"] > cost["sessions"]
    events = server.admin_json("/api/v1/events")["events"]
    assert [event["kind"] for event in events] == ["instance_started"] * 4


def test_an_estimate_gives_the_papers_figures() -> None:
    done = infinicache("cost", "estimate", "--nodes", 400, "--node-memory", "1.5GiB", "--warm-up",
                       "1m", "--hours", 50, "--price", "lambda-2019", "--json")
    assert done.code == 0, done
    report = json.loads(done.out)
    assert report["causes"]["warm_up"]["dollars"] == pytest.approx(3.24, abs=0.001)
    assert report["provisioned"]["dollars"] == pytest.approx(518.40)
    assert 311_000 < report["break_even_requests_per_hour"] < 318_100


def test_the_printed_price_file_is_read_back(tmp_path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(infinicache("prices", "--toml").out)
    own = infinicache("prices", "--json").out
    assert infinicache("prices", "--file", path, "--json").out == own
    path.write_text("[x]\nkind = 'storage'\n")
    done = infinicache("prices", "--file", path)
    assert done.code == 2
    assert f"{path}:1: x: source is missing" in done.err


@pytest.mark.parametrize("flags", [("--nodes", 0), ("--hours", 0), ("--warm-up", "1ms"),
                                   ("--price", "nosuch"), ("--provisioned", "s3-standard")])
def test_a_wrong_flag_is_named(flags: tuple) -> None:
    done = infinicache("cost", "estimate", *flags)
    assert done.code == 2, done
    assert flags[0] in done.err
