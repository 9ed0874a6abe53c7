"""A few trials of what benchmarks/bench_reliability.py provokes, which runs more of them, and of what takes longer."""

import pytest


@pytest.mark.parametrize("part", ["writers", "disk", "inputs", "escapes", "tokens"])
def test_nothing_that_is_provoked_fails(part: str, succeeds) -> None:
    said = succeeds("benchmarks/bench_reliability.py", f"part={part}", "trials=1", "reports=20").stdout
    trials = int(said.removeprefix(f"{part}: ").split()[0])
    assert f"{part}: {trials} trials, 0 failures" in said
    assert trials >= 8
