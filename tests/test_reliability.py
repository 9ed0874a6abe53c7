"""A few trials of what benchmarks/bench_reliability.py provokes, which runs more of them, and those of models."""

import pytest
from bench_reliability import BenchConfig, provoke


@pytest.mark.parametrize(("part", "kinds"), [("writers", 3), ("inputs", 5), ("escapes", 7), ("tokens", 2)])
def test_nothing_that_is_provoked_fails(part: str, kinds: int) -> None:
    counts, failures = provoke(BenchConfig(trials=1, reports=20), part)
    assert not failures
    assert len(counts) >= kinds and sum(counts.values()) >= 10
