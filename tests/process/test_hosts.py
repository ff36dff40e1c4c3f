"""Nodes that share a host are lost together: an object's chunks lie on different hosts."""

from harness.server import Server, wait_until
from harness.settings import scaled
from harness.values import Value

HOSTS = 12
PER_HOST = 2


def hosts_of(server: Server, key: str) -> list[int]:
    return sorted(node // PER_HOST for node in server.holders(key).values())


def test_a_lost_host_takes_one_chunk_of_an_object_and_repair_finds_another_host(start) -> None:
    server = start(nodes=HOSTS * PER_HOST, code="8+2", nodes_per_host=PER_HOST,
                   node_memory="32MiB")
    values = [Value(f"object/{n}", 1_500_000) for n in range(scaled(10, 30))]
    server.fill(values)
    for value in values:
        hosts = hosts_of(server, value.key)
        assert len(set(hosts)) == len(hosts) == 10, (value, hosts)
    server.kill_nodes(range(2 * PER_HOST, 3 * PER_HOST))  # host 2
    server.check(values, "without one host")
    server.wait_until_whole(value.key for value in values)
    for value in values:
        hosts = hosts_of(server, value.key)
        assert len(set(hosts)) == 10, (value, hosts)
    assert server.metrics()("infinicache_objects_lost_total") == 0


def test_with_fewer_hosts_than_chunks_they_share_them_alike(start) -> None:
    server = start(nodes=16, code="6+2", nodes_per_host=4, node_memory="32MiB")
    values = [Value(f"object/{n}", 1_500_000) for n in range(scaled(5, 20))]
    server.fill(values)
    for value in values:
        hosts = [node // 4 for node in server.holders(value.key).values()]
        assert sorted(hosts) == [0, 0, 1, 1, 2, 2, 3, 3], (value, hosts)
    # So the end of a host is no loss: it has p chunks of each.
    server.kill_nodes(range(4))
    server.check(values, "without one of four hosts")


def test_a_reclaim_takes_the_whole_host(start, tmp_path) -> None:
    replay = tmp_path / "reclaims"
    replay.write_text("1.5 5\n")  # seconds, node
    server = start(nodes=8, code="2+1", nodes_per_host=4, node_memory="16MiB",
                   reclaim=f"replay:{replay}")
    before = {node.id: node.instance for node in server.nodes()}

    def new() -> set[int]:
        return {node.id for node in server.nodes() if node.instance not in (None, before[node.id])}
    wait_until(lambda: new() == {4, 5, 6, 7}, "the nodes of host 1 are new, and no others")
