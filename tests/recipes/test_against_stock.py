"""Ours, stock torchtune and peft on the same rows: each optimizer step's loss is the same, as the benchmark has it."""

import json
import re

import pytest

BENCH = "benchmarks/bench_training.py"


@pytest.mark.parametrize(
    ("rows", "kinds"), [("joint", ["stock", "ours_shared_prefix", "peft"]), ("open_ended", ["ours", "ours_packed"])]
)
def test_each_step_has_the_same_loss(rows, kinds, succeeds, tmp_path):
    output, sizes = tmp_path / "runs.json", ("count=12", "rows_per_step=4", "runs=1")
    done = succeeds(BENCH, f"kinds=[{','.join(kinds)}]", f"rows={rows}", *sizes, f"output={output}")
    first, *others = [run for (run,) in json.loads(output.read_text()).values()]
    assert len(first["losses"]) == 3
    for kind, run in zip(kinds[1:], others, strict=True):
        assert run["losses"] == pytest.approx(first["losses"], rel=1e-4)
        assert (run["tokens"] < first["tokens"] * 0.7) == (kind == "ours_shared_prefix")
        assert re.search(rf"^{kind}: [\d.]+ x {kinds[0]}'s rows/s", done.stdout, re.MULTILINE)


def test_bench_tells_what_it_cannot_measure(command):
    code, _, err = command(BENCH, "count=10")
    assert code == 2
    assert "count must be a multiple of rows_per_step" in err
