"""Ours and stock torchtune on the same rows: the same loss in every optimizer step, as the benchmark compares them."""

import json
import subprocess
import sys

import pytest

from radtune.files import write_jsonl
from radtune.instructions import read_instructions


def losses(kind, path, rows_per_step, count):
    job = {
        "kind": kind, "base": "data/mini", "rows": str(path), "device": "cpu", "model": "mini",
        "rows_per_step": rows_per_step, "count": count,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "radtune.training.bench", json.dumps(job)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_each_step_has_stocks_loss(rows, tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, list(read_instructions(rows / "train.jsonl"))[:16])
    stock, ours = (losses(kind, path, 4, 16) for kind in ("stock", "ours_shared_prefix"))
    assert len(stock["losses"]) == 4
    assert ours["losses"] == pytest.approx(stock["losses"], rel=1e-4)
    assert ours["tokens"] < stock["tokens"] * 0.7


def test_bench_tells_what_it_cannot_measure():
    done = subprocess.run(
        [sys.executable, "scripts/bench_training.py", "count=10"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert "count must be a multiple of rows_per_step" in done.stderr.strip().splitlines()[-1]
