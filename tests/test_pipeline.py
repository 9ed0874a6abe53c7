"""From reports to scores through the real commands, and each mini training config run as people run it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TUNE = str(Path(sys.executable).parent / "tune")
LORA = "configs/mini/lora_single_device.yaml"


def run(*command, code=0):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert result.returncode == code, result.stdout[-2000:] + result.stderr[-2000:]
    return result


def python(script, code=0, **keys):
    return run(sys.executable, script, *(f"{name}={value}" for name, value in keys.items()), code=code)


def tune(config, *overrides, code=0):
    return run(TUNE, "run", "lora_finetune_single_device", "--config", config, *overrides, code=code)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Reports, rule labels, gold and 24 instruction rows, made by the commands."""
    folder = tmp_path_factory.mktemp("pipeline")
    prepare, rules = "scripts/prepare_reports.py", "scripts/label_by_rules.py"
    common = {"source": "synthetic", "count": 40, "seed": 5}
    python(prepare, output=folder / "mimic.jsonl", gold_labels=folder / "gold.csv", cohort="mimic", **common)
    python(prepare, output=folder / "wcm.jsonl", gold_phrases=folder / "phrases.jsonl", cohort="wcm", **common)
    python(rules, reports=folder / "mimic.jsonl", output=folder / "labels.csv")
    rows = [json.loads(line) | {"status": "ok"} for line in (folder / "phrases.jsonl").read_text().splitlines()]
    (folder / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    python(
        "scripts/build_instructions.py",
        output=folder / "rows.jsonl",
        open_ended_reports=folder / "wcm.jsonl",
        open_ended_labels=folder / "annotations.jsonl",
        open_ended_rows=12,
        multiple_choice_reports=folder / "mimic.jsonl",
        multiple_choice_labels=folder / "labels.csv",
        multiple_choice_rows=12,
    )
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """One training with the merged weights written beside the adapter."""
    output = folder / "lora"
    tune(
        LORA, f"output_dir={output}", f"dataset.data_files={folder / 'rows.jsonl'}", "gradient_accumulation_steps=1",
        "save_adapter_weights_only=False",
    )  # fmt: skip
    return output / "epoch_0"


def predict(folder, output, task="multiple_choice", code=0, **keys):
    values = {"checkpoint_dir": "data/mini", "reports": folder / "mimic.jsonl", "batch_size": 20, "temperature": 0}
    values |= keys
    return python("inference.py", task=task, output=output, code=code, **values)


def test_training_learns(trained):
    log = next((trained.parent / "logs").glob("*.txt")).read_text()
    losses = [float(value) for value in re.findall(r"loss:([\d.]+)", log)]
    assert len(losses) == 12
    assert sum(losses[-4:]) < sum(losses[:4])


def test_adapter_and_merged_weights_answer_alike(folder, trained):
    adapter, merged, base = (folder / f"{name}.jsonl" for name in ("adapter", "merged", "base"))
    predict(folder, adapter, adapter_dir=trained)
    predict(folder, merged, checkpoint_dir=trained)
    predict(folder, base)

    def answers(path):
        return [json.loads(line)["response"] for line in path.read_text().splitlines()]

    assert sum(a == b for a, b in zip(answers(adapter), answers(merged), strict=True)) >= 38
    assert answers(adapter) != answers(base)


def test_rows_come_in_order_and_score(folder):
    output = folder / "predictions.jsonl"
    shown = predict(folder, output, temperature=0.1)
    assert "40 reports in" in shown.stdout
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    reports = [json.loads(line) for line in (folder / "mimic.jsonl").read_text().splitlines()]
    assert [row["report_id"] for row in rows] == [report["report_id"] for report in reports]
    assert list(rows[0]) == [
        "report_id", "task", "labels", "response", "status", "model", "adapter", "prompt_sha256", "temperature", "seed",
    ]  # fmt: skip
    again = folder / "again.jsonl"
    predict(folder, again, temperature=0.1)
    assert again.read_bytes() == output.read_bytes()
    metrics = folder / "metrics.json"
    python("evaluate.py", task="multiple_choice", predictions=output, gold=folder / "gold.csv", output=metrics)
    assert json.loads(metrics.read_text())["n_reports"] == 40


def test_answers_that_are_cut_off_are_kept_with_their_status(folder):
    output = folder / "cut.jsonl"
    predict(folder, output, task="open_ended", reports=folder / "wcm.jsonl", max_new_tokens=3)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(rows) == 40
    cut = [row for row in rows if row["status"] == "truncated"]
    assert len(cut) > 10
    assert all(row["labels"] == [] for row in cut)
    assert all(row["response"] for row in cut)


def test_qlora_config_runs(folder):
    output = folder / "qlora"
    tune(
        "configs/mini/qlora_single_device.yaml", f"output_dir={output}", f"dataset.data_files={folder / 'rows.jsonl'}",
        "max_steps_per_epoch=1", "gradient_accumulation_steps=2",
    )  # fmt: skip
    assert (output / "epoch_0" / "adapter_model.safetensors").is_file()


def test_broken_row_stops_training_with_one_line(folder):
    broken = folder / "broken.jsonl"
    broken.write_text((folder / "rows.jsonl").read_text() + "{\n")
    result = tune(LORA, f"output_dir={folder / 'x'}", f"dataset.data_files={broken}", code=2)
    assert f"{broken}:25: not valid JSON" in result.stderr
    assert "Traceback" not in result.stderr


def test_inference_overwrites_no_input(folder):
    before = (folder / "mimic.jsonl").read_bytes()
    result = predict(folder, folder / ".." / folder.name / "mimic.jsonl", code=2)
    assert "would overwrite" in result.stderr
    assert (folder / "mimic.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"reports": "absent.jsonl"}, "absent.jsonl: No such file"),
        ({"checkpoint_dir": "absent"}, "absent: no such folder"),
        ({"adapter_dir": "absent"}, "absent: no such folder"),
        ({"task": "both"}, "task: expected one of"),
        ({"temperature": -1}, "temperature must be 0 (greedy), or 0.01 or more"),
        ({"temperature": 1e-320}, "temperature must be 0 (greedy), or 0.01 or more"),
        ({"temperature": "nan"}, "temperature must be 0 (greedy)"),
        ({"temperature": "inf"}, "temperature must be 0 (greedy)"),
        ({"max_new_tokens": 4000}, "report 'mimic-5-000000' needs"),
        ({"device": "cuda"}, "no CUDA device"),
    ],
)
def test_inference_errors_are_one_line(folder, keys, message):
    if keys.get("device") == "cuda" and shutil.which("nvidia-smi"):
        pytest.skip("there is a CUDA device")
    output = folder / "never.jsonl"
    result = predict(folder, output, code=2, **keys)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not output.exists()
