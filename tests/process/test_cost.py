"""The commands about money need no server, and say the figures of the paper."""

import json

import pytest
from harness.command import infinicache


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
