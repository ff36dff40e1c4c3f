"""The arithmetic of the comparison: what is reported, and when the gate fails."""

import tempfile
import unittest
from pathlib import Path

from client import Measurement
from isolation import cpu_spent
from report import Gate, Results, Row, markdown_table, parse_size, ratio_table, size_name

GET_10MB = Row("get", 10**7)
SHIPPED_GATE = Path(__file__).parent / "gate.json"


def measurement(cpu_per_gb: float) -> Measurement:
    """2 GB, a quarter of the CPU time in the client."""
    return Measurement(ops=200, gigabytes=2, wall_seconds=1, client_cpu_seconds=cpu_per_gb * 0.5,
                       server_cpu_seconds=cpu_per_gb * 1.5, p50_us=900, p99_us=2000, max_us=3000)


def results(costs: dict[str, list[float]], row: Row = GET_10MB) -> Results:
    made = Results()
    for server, rounds in costs.items():
        for cost in rounds:
            made.add(row, server, measurement(cost))
    return made


def gate(text: str) -> Gate:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(text)
        file.flush()
        return Gate.load(Path(file.name))


class ResultsTest(unittest.TestCase):
    def test_cost_counts_both_ends_and_is_the_median_of_the_rounds(self):
        made = results({"ours": [0.2, 9.0, 0.4]})
        self.assertAlmostEqual(made.cost(GET_10MB, "ours"), 0.4)

    def test_ratio_above_one_means_that_ours_is_cheaper(self):
        made = results({"ours": [0.4], "redis": [0.8], "degraded": [0.5]})
        self.assertAlmostEqual(made.ratio(GET_10MB, "redis"), 2.0)
        self.assertAlmostEqual(made.degraded_over_healthy(GET_10MB), 1.25)

    def test_ratio_is_taken_within_rounds_so_that_a_slow_one_does_not_count(self):
        made = results({"ours": [0.4, 0.8, 0.4], "redis": [0.8, 1.6, 1.6]})
        self.assertAlmostEqual(made.ratio(GET_10MB, "redis"), 2.0)

    def test_what_was_not_measured_is_no_ratio(self):
        made = results({"redis": [0.8]})
        self.assertIsNone(made.ratio(GET_10MB, "redis"))
        self.assertIn("GET 10MB", ratio_table(made))
        self.assertIn("| GET 10MB | -", markdown_table(made))

    def test_threads_that_begin_between_two_readings_count_in_full(self):
        self.assertAlmostEqual(cpu_spent({1: 5.0, 2: 1.0}, {1: 5.5, 3: 0.25}), 0.75)

    def test_sizes_are_powers_of_ten(self):
        for text, size in (("10KB", 10**4), ("100MB", 10**8), ("7", 7)):
            self.assertEqual(parse_size(text), size)
        self.assertEqual(size_name(10**4), "10KB")
        self.assertEqual(size_name(1500), "1500B")
        for wrong in ("KB", "1.5MB", "1TB", ""):
            with self.assertRaises(ValueError):
                parse_size(wrong)


class GateTest(unittest.TestCase):
    GATE = """{"ratio_floors": {"redis": {"get": {"10MB": 1.9}}},
               "degraded_over_healthy_ceilings": {"get": {"10MB": 1.15}},
               "coding_kernel_over_isal_floors": {"Ratio/Encode/10+2": 3.0}}"""

    def judge(self, costs: dict[str, list[float]], kernel: dict[str, float]):
        return gate(self.GATE).judge(results(costs), kernel)

    def test_all_floors_hold(self):
        verdict = self.judge({"ours": [0.4], "redis": [0.77], "degraded": [0.45]},
                             {"Ratio/Encode/10+2": 3.1})
        self.assertEqual((verdict.passed, verdict.failures, verdict.not_measured), (3, [], []))

    def test_each_floor_can_fail(self):
        verdict = self.judge({"ours": [0.4], "redis": [0.74], "degraded": [0.47]},
                             {"Ratio/Encode/10+2": 2.9})
        self.assertEqual(len(verdict.failures), 3)
        self.assertIn("GET 10MB: redis/ours is 1.85x, must be at least 1.90x", str(verdict))

    def test_rows_that_were_not_measured_are_named(self):
        verdict = self.judge({"ours": [0.4], "redis": [0.8]}, {})
        self.assertEqual(verdict.passed, 1)
        self.assertEqual(verdict.not_measured,
                         ["GET 10MB: degraded/healthy",
                          "coding kernel Ratio/Encode/10+2: ours/ISA-L"])

    def test_the_shipped_gate_loads_and_covers_every_size(self):
        shipped = Gate.load(SHIPPED_GATE)
        sizes = {row.size for row, _, _ in shipped.ratio_floors if row.op == "get"}
        self.assertEqual(sizes, {10**4, 10**5, 10**6, 10**7, 10**8})


if __name__ == "__main__":
    unittest.main()
