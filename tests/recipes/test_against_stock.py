"""Ours and stock torchtune on the same rows: the same loss in every optimizer step, as the benchmark compares them."""

import json

import pytest

BENCH = "benchmarks/bench_training.py"


@pytest.mark.parametrize("rows", ["joint", "open_ended"])
def test_each_step_has_stocks_loss(rows, succeeds, tmp_path):
    output = tmp_path / "runs.json"
    kinds = "kinds=[stock,ours_shared_prefix]"
    done = succeeds(BENCH, kinds, f"rows={rows}", "count=12", "rows_per_step=4", "runs=1", f"output={output}")
    (stock,), (ours,) = json.loads(output.read_text()).values()
    assert len(stock["losses"]) == 3
    assert ours["losses"] == pytest.approx(stock["losses"], rel=1e-4)
    assert ours["tokens"] < stock["tokens"] * 0.7
    assert "x stock's rows/s" in done.stdout


def test_bench_tells_what_it_cannot_measure(command):
    code, _, err = command(BENCH, "count=10")
    assert code == 2
    assert "count must be a multiple of rows_per_step" in err
