"""Ours and stock torchtune on the same rows: the same loss in every optimizer step, as the benchmark compares them."""

import json
import runpy

import pytest
import training_rounds
from recipe_runs import Run

from radtune.config import InputError
from radtune.files import write_jsonl


def losses(kind, path, rows_per_step, count):
    job = {
        "kind": kind, "base": "data/mini", "rows": str(path), "device": "cpu",
        "settings": "configs/mini/lora_fast.yaml",
        "rows_per_step": rows_per_step, "count": count,
    }  # fmt: skip
    done = Run(lambda job: training_rounds.main(job) or 0, job, path.parent / kind).wait()
    assert done.code == 0, done.err[-2000:]
    return json.loads(done.out.strip().splitlines()[-1])


def test_each_step_has_stocks_loss(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = training_rounds.synthetic_rows(40, 1, {"multiple_choice": 6, "open_ended": 6}, validation_rows=0)
    write_jsonl(path, rows.train)
    stock, ours = (losses(kind, path, 4, 12) for kind in ("stock", "ours_shared_prefix"))
    assert len(stock["losses"]) == 3
    assert ours["losses"] == pytest.approx(stock["losses"], rel=1e-4)
    assert ours["tokens"] < stock["tokens"] * 0.7


def test_bench_tells_what_it_cannot_measure():
    command = runpy.run_path("benchmarks/bench_training.py")
    with pytest.raises(InputError, match="count must be a multiple of rows_per_step"):
        command["main"](command["BenchConfig"](count=10))
