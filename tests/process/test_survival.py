"""Every committed object survives the loss of any p nodes, whenever they go."""

import itertools
import threading

import pytest
from harness.resp import Client, ReplyError
from harness.server import Server, running, wait_until
from harness.settings import GIB, KIB, MIB, available_memory, patience, rng, scaled
from harness.values import Value

PARITY = 2
NODES = 16

# Around every change of the code, and of the number of rows.
SMALL_SIZES = [0, 1, 63, 64, 10_000, 100_000, 128 * KIB, 128 * KIB + 1, 300_000, 512 * KIB,
               512 * KIB + 1, 1_000_000, MIB, MIB + 1, 10 * 128 * KIB, 10 * 128 * KIB + 1]
LARGE_SIZES = scaled([4_000_000], [10_000_000, 100_000_000])


def code_for(size: int) -> str:
    if size <= 128 * KIB:
        return "1+2"
    return "4+2" if size <= MIB else "10+2"


@pytest.fixture(scope="module")
def server():
    with running(nodes=NODES) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def values(server: Server) -> list[Value]:
    sizes = SMALL_SIZES + [size for size in LARGE_SIZES if size * 8 < available_memory()]
    stored = [Value(f"file/{size}", size) for size in sizes]
    server.fill(stored)
    return stored


def test_the_code_follows_the_size(server: Server, values: list[Value]) -> None:
    for value in values:
        view = server.object(value.key)
        assert view["code"] == code_for(value.size), value
        nodes = [chunk["node"] for chunk in view["chunks"]]
        data, parity = map(int, view["code"].split("+"))
        assert len(nodes) == data + parity
        assert len(set(nodes)) == len(nodes), f"two chunks of {value} on one node: {nodes}"


def test_objects_survive_p_kills_again_and_again(server: Server, values: list[Value]) -> None:
    choose = rng("survival")
    repaired = server.metrics()("infinicache_chunks_repaired_total")
    for round_number in range(scaled(2, 4, 20)):
        server.wait_until_whole(value.key for value in values)
        killed = choose.sample(range(NODES), PARITY)
        server.kill_nodes(killed)
        server.check(values, f"after killing nodes {killed} in round {round_number}")
    server.wait_until_whole(value.key for value in values)
    assert server.metrics()("infinicache_chunks_repaired_total") > repaired
    server.check(values, "after the last repair")


def test_the_holders_of_two_data_chunks_may_go(server: Server, values: list[Value]) -> None:
    # What a random choice may miss: for every size, a read that has to decode.
    degraded = server.metrics()("infinicache_degraded_reads_total")
    for value in values:
        server.wait_until_whole(other.key for other in values)
        holders = server.holders(value.key)
        server.kill_nodes([holders[0], holders[1]])
        server.check([value], "without its first two chunks")
    assert server.metrics()("infinicache_degraded_reads_total") > degraded
    server.wait_until_whole(value.key for value in values)


def test_kills_between_reads_that_run_all_the_time(server: Server, values: list[Value]) -> None:
    # The largest object would make each round as long as its transfer.
    read = [value for value in values if value.size <= 10_000_000]
    server.wait_until_whole(value.key for value in values)
    done = threading.Event()
    reads = [0, 0]
    errors: list[BaseException] = []

    def keep_reading(reader: int) -> None:
        try:
            with Client(server.port) as client:
                for value in itertools.cycle(read):
                    if done.is_set():
                        return
                    client.check(value, f"{value} in reader {reader}")
                    reads[reader] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=keep_reading, args=(i,)) for i in range(len(reads))]
    for thread in threads:
        thread.start()
    try:
        choose = rng("kills between reads")
        for _ in range(scaled(1, 3, 10)):
            before = list(reads)
            server.kill_nodes(choose.sample(range(NODES), PARITY))
            wait_until(lambda before=before: errors or all(
                now >= then + len(read) for now, then in zip(reads, before, strict=True)),
                       "every reader reads every object after the kill", 60)
            server.wait_until_whole(value.key for value in values)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def test_a_kill_in_the_middle_of_a_read(server: Server, values: list[Value]) -> None:
    value = max(values, key=len)
    for at in (1, value.size // 3, value.size - 1):
        server.wait_until_whole([value.key])
        holders = server.holders(value.key)
        with Client(server.port) as client:
            checker = value.checker(f"{value}, nodes killed when {at} bytes were read")
            size = client.begin_get(value.key)
            for data in client.stream(at):
                checker.feed(data)
            server.kill_nodes([holders[2], holders[5]])
            for data in client.stream(size - at):
                checker.feed(data)
            checker.finish()
            client.end_get()
    server.wait_until_whole(value.key for value in values)


def test_an_object_of_one_gigabyte_survives(start) -> None:
    size = scaled(32 * MIB, 256 * MIB, GIB)
    if available_memory() < 3 * size:
        pytest.skip(f"needs {3 * size // MIB} MiB of free memory")
    value = Value("large", size)
    server = start(nodes=12)
    server.fill([value])
    server.kill_nodes([3, 8])
    server.check([value], "without two nodes")
    server.wait_until_whole([value.key], 60)
    server.kill_nodes([0, 5])
    server.check([value], "without two others, after repair")


# --- While it is written ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tight_server():
    """A pool in which every node holds a chunk of every object that has the full code."""
    with running(nodes=12) as running_server:
        yield running_server


@pytest.mark.parametrize("size", [10_000, 400_000, 1_500_000, scaled(8_000_000, 30_000_000)])
def test_a_kill_in_the_middle_of_a_write(tight_server: Server, size: int) -> None:
    # With one node gone in its middle a write still has its minimum of parity, so it must succeed.
    value = Value(f"written/{size}", size)
    data = value.data()
    with Client(tight_server.port) as client:
        client.begin_set(value)
        client.send_raw(data[:size // 2])
        tight_server.kill_nodes([7])
        client.send_raw(data[size // 2:])
        client.end_set()
        assert client.read_reply() == "OK"
    tight_server.check([value], "written while a node died")
    tight_server.wait_until_whole([value.key])
    tight_server.kill_nodes([1, 4])
    tight_server.check([value], "without two other nodes, after repair")
    tight_server.wait_until_whole([value.key])
    tight_server.wait_until_active()


def test_a_write_that_loses_p_nodes_is_whole_or_refused(tight_server: Server) -> None:
    old = Value("overwritten", 2_000_000, version=1)
    new = Value("overwritten", scaled(8_000_000, 30_000_000), version=2)
    tight_server.fill([old])
    tight_server.wait_until_whole([old.key])
    data = new.data()
    with Client(tight_server.port) as client:
        client.begin_set(new)
        client.send_raw(data[:len(data) // 2])
        tight_server.kill_nodes([2, 9])
        client.send_raw(data[len(data) // 2:])
        client.end_set()
        reply = client.read_reply()
        if reply == "OK":
            client.check(new)
        else:
            assert isinstance(reply, ReplyError), reply
            assert str(reply).startswith("TRYAGAIN"), reply
            client.check(old, "old value, since the new one was refused")
    tight_server.wait_until_active()


def test_writes_go_on_while_nodes_die(server: Server) -> None:
    # Objects of a few rows are kept until all chunks are stored: no write of them may fail.
    choose = rng("writes go on")
    sizes = [0, 10_000, 200_000, 1_000_000, 4_000_000]
    stored: list[Value] = []
    stop = threading.Event()
    errors: list[BaseException] = []

    def keep_writing() -> None:
        try:
            with Client(server.port) as client:
                for number in itertools.count():
                    if stop.is_set():
                        return
                    value = Value(f"stream/{number % 20}", sizes[number % len(sizes)], number)
                    client.set(value)
                    stored.append(value)
        except BaseException as error:
            errors.append(error)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for _ in range(scaled(1, 4, 10)):
            count = len(stored)
            server.kill_nodes(choose.sample(range(NODES), PARITY))
            wait_until(lambda count=count: errors or len(stored) >= count + 10,
                       "ten writes after the kill", 60)
            latest = {value.key: value for value in stored}
            server.wait_until_active()
            wait_until(lambda latest=latest: errors or all(map(server.is_whole, latest)),
                       "what was written is repaired", 60)
    finally:
        stop.set()
        writer.join(patience(30))
    if errors:
        raise errors[0]
    server.check({value.key: value for value in stored}.values(), "after the writes")
