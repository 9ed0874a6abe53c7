"""From reports to scores through the real commands, and the mini configs of the stock recipe as people run them."""

import re
import sys

import pytest
from recipe_runs import Run
from sprockets import read_jsonl as read
from torchtune._cli import tune as torchtune_command

LORA = "configs/mini/lora_single_device.yaml"


def tune(config, folder, *overrides, code=0):
    """Runs ``tune run lora_finetune_single_device``; the run."""

    def main(words):
        sys.argv = ["tune", "run", "lora_finetune_single_device", *words]
        torchtune_command.main()

    run = Run(main, ["--config", config, f"output_dir={folder}", *overrides], folder.with_name(f"{folder.name}_said"))
    assert run.wait(300).code == code, run.out[-2000:] + run.err[-2000:]
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run_here):
    """Reports, rule labels, gold and 24 instruction rows, made by the commands."""
    folder = tmp_path_factory.mktemp("pipeline")

    def python(script, **keys):
        ended = run_here(script, *(f"{name}={value}" for name, value in keys.items()))
        assert not ended.returncode, ended.stderr

    prepare, rules = "scripts/prepare_reports.py", "scripts/label_by_rules.py"
    common = {"source": "synthetic", "count": 40, "seed": 5}
    python(prepare, output=folder / "mimic.jsonl", gold_labels=folder / "gold.csv", cohort="mimic", **common)
    python(prepare, output=folder / "wcm.jsonl", gold_phrases=folder / "phrases.jsonl", cohort="wcm", **common)
    python(rules, reports=folder / "mimic.jsonl", output=folder / "labels.csv")
    sets = {"multiple_choice": ("mimic.jsonl", "labels.csv"), "open_ended": ("wcm.jsonl", "phrases.jsonl")}
    keys = {}
    for task, (reports, labels) in sets.items():
        keys |= {f"{task}.reports": folder / reports, f"{task}.labels": folder / labels, f"{task}.rows": 12}
    python("scripts/build_instructions.py", output=folder / "rows.jsonl", **keys)
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """One training with the merged weights written beside the adapter."""
    output = folder / "lora"
    data = f"dataset.data_files={folder / 'rows.jsonl'}"
    tune(LORA, output, data, "gradient_accumulation_steps=1", "save_adapter_weights_only=False")
    return output / "epoch_0"


@pytest.fixture
def predict(folder, command):
    """Runs inference.py in this process, where torch is loaded already; what it printed and said."""

    def predict(output, task="multiple_choice", code=0, **keys):
        values = {"task": task, "checkpoint_dir": "data/mini", "reports": folder / "mimic.jsonl", "output": output}
        values |= {"batch_size": 20, "temperature": 0} | keys
        ended, shown, errors = command("inference.py", *(f"{name}={value}" for name, value in values.items()))
        assert ended == code, errors
        return shown, errors

    return predict


def test_training_learns(trained):
    log = next((trained.parent / "logs").glob("*.txt")).read_text()
    losses = [float(value) for value in re.findall(r"loss:([\d.]+)", log)]
    assert len(losses) == 12
    assert sum(losses[-4:]) < sum(losses[:4])


def test_adapter_and_merged_weights_answer_alike(folder, trained, predict):
    adapter, merged, base = (folder / f"{name}.jsonl" for name in ("adapter", "merged", "base"))
    predict(adapter, adapter_dir=trained)
    predict(merged, checkpoint_dir=trained)
    predict(base)
    answers = {path: [row["response"] for row in read(path)] for path in (adapter, merged, base)}
    assert sum(a == b for a, b in zip(answers[adapter], answers[merged], strict=True)) >= 38
    assert answers[adapter] != answers[base]


def test_qlora_config_runs(folder):
    output = folder / "qlora"
    tune(
        "configs/mini/qlora_single_device.yaml", output, f"dataset.data_files={folder / 'rows.jsonl'}",
        "max_steps_per_epoch=1", "gradient_accumulation_steps=1", "batch_size=1",
    )  # fmt: skip
    assert (output / "epoch_0" / "adapter_model.safetensors").is_file()
