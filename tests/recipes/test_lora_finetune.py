"""The recipe through real processes: learning, resuming bit for bit, two processes, faults told in one line."""

import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from recipe_runs import adapter_bytes, figures
from safetensors.torch import load_file, save_file

from radtune.files import read_jsonl, write_jsonl
from radtune.models import export

# More in a long run of these tests: KILLS=20.
KILLS = int(os.environ.get("KILLS", "3"))


def test_learns_and_leaves_everything_behind(train, tmp_path, rows):
    run = train("run", "epochs=3", "validation.generate_rows=2", "validation.max_new_tokens=12").wait()
    assert run.code == 0, run.err
    folder = tmp_path / "run"
    history = figures(folder)
    losses = [row["loss"] for row in history if "loss" in row]
    # 18 rows in steps of 4: the last step of an epoch has 2, and is not dropped.
    assert len(losses) == 15
    assert sum(losses[10:]) < sum(losses[:5])
    validated = [row for row in history if "validation_loss" in row]
    assert [row["step"] for row in validated] == [5, 10, 15]
    assert set(validated[0]) == {"step", "validation_loss", "multiple_choice_f1", "open_ended_f1", "micro_f1"}
    assert "10 rows of open_ended from synthetic" in run.out
    assert "15 optimizer steps, 5 of them warm-up (33%); highest learning rate 0.005" in run.out
    card = (folder / "adapter" / "README.md").read_text()
    assert "\n  open_ended/synthetic: 10\n" in card
    manifest = json.loads((folder / "adapter" / "adapter_model.safetensors.manifest.json").read_text())
    assert manifest["optimizer_steps"] == 15
    assert str(rows / "train.jsonl") in manifest["inputs"]
    said = run.out + run.err + (folder / "history.jsonl").read_text() + card + json.dumps(manifest)
    for line in (rows / "train.jsonl").read_text().splitlines():
        assert json.loads(line)["input"][10:60] not in said


def test_a_task_of_ones_own_is_scored_and_chosen_by(train, tmp_path, rows):
    task, held_out = tmp_path / "sides.yaml", tmp_path / "held_out.jsonl"
    task.write_text(
        "name: sides\nkind: classes\nclasses: [Left, Right]\nnone: Neither\nprompts:\n  inference: Which side?\n"
    )
    own = [
        {**row, "task": "sides", "output": "['Left']", "instruction": "Which side?"}
        for _, row in read_jsonl(rows / "validation.jsonl")
    ]
    write_jsonl(held_out, own[:2])
    arguments = (
        "max_steps=1", f"dataset.data_files={held_out}", f"validation.data_files={held_out}",
        "validation.generate_rows=2", "validation.choose_by=sides_f1", "validation.max_new_tokens=5",
    )  # fmt: skip
    refused = train("refused", *arguments).wait()
    assert refused.err.splitlines()[-1].endswith(f"tasks: none of their files is task 'sides' of {held_out}")
    run = train("run", *arguments, f"tasks=[{task}]").wait()
    assert run.code == 0, run.err
    (validated,) = (row for row in figures(tmp_path / "run") if "validation_loss" in row)
    assert set(validated) == {"step", "validation_loss", "sides_f1", "micro_f1"}
    refused = train("other", *arguments, f"tasks=[{task}]", "validation.choose_by=open_ended_f1").wait()
    assert "validation.choose_by=open_ended_f1: no row of that task" in refused.err


def test_packing_and_recomputing_change_no_step(train, tmp_path):
    for name in ("none", "shared_prefix", "recomputed"):
        packing, recomputed = "none" if name == "recomputed" else name, name == "recomputed"
        # With answers generated through layers that recompute, too.
        arguments = (f"packing={packing}", f"activation_checkpointing={recomputed}", "validation.generate_rows=1")
        few = ("validation.max_new_tokens=15", "tokens_per_batch=1024", "max_steps=2")
        assert train(name, *arguments, *few).wait().code == 0
    wanted = figures(tmp_path / "none")
    assert figures(tmp_path / "recomputed") == wanted
    for got, row in zip(figures(tmp_path / "shared_prefix"), wanted, strict=True):
        assert got == pytest.approx(row, rel=1e-4, abs=1e-6)
        # Until the first update, what differs is the loss alone and not weights that drifted apart.
        assert row["step"] > 1 or got["loss"] == pytest.approx(row["loss"], rel=1e-5)


def test_killed_at_any_moment_the_run_is_the_same(train, tmp_path):
    began = time.monotonic()
    assert train("whole", "checkpoint_every_n_steps=2", "validation.every_n_steps=2").wait().code == 0
    seconds = time.monotonic() - began
    draw = random.Random(0)  # noqa: S311  (no secret)
    for _ in range(KILLS):
        run = train("killed", "checkpoint_every_n_steps=2", "validation.every_n_steps=2", "resume=auto")
        run.process.join(draw.uniform(0.3, 0.9) * seconds)
        run.process.kill()
        run.process.join()
    leftovers = [tmp_path / "killed" / name for name in (".adapter.tmp", "checkpoints/.step_00000004.pt.1a2b3c4d.tmp")]
    leftovers[0].mkdir(parents=True, exist_ok=True)
    leftovers[1].parent.mkdir(exist_ok=True)
    leftovers[1].touch()
    last = train("killed", "checkpoint_every_n_steps=2", "validation.every_n_steps=2", "resume=auto").wait()
    assert last.code == 0, last.err
    assert not list((tmp_path / "killed").rglob(".*.tmp"))
    assert figures(tmp_path / "killed") == figures(tmp_path / "whole")
    assert adapter_bytes(tmp_path / "killed") == adapter_bytes(tmp_path / "whole")


def wait_for_steps(folder):
    history, until = folder / "history.jsonl", time.monotonic() + 300
    while not history.is_file() or history.read_text().count("\n") < 3:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_signal_while_the_model_is_written_leaves_no_part_of_it(train, tmp_path):
    def stopped_at_the_merged_weights():
        def save(tensors, path, **more):
            save_file(tensors, path, **more)
            if path.name == "model.safetensors":
                signal.raise_signal(signal.SIGTERM)

        export.save_file = save

    arguments = ("max_steps=1", "write_merged=True", "write_torchtune=True", "resume=auto")
    run, folder = train("run", *arguments, before=stopped_at_the_merged_weights), tmp_path / "run"
    assert run.wait().code == 130, run.err
    assert (folder / "adapter").is_dir() and not (folder / "merged").exists()
    assert run.err.splitlines()[-1] == "lora_finetune: interrupted"
    assert not list(folder.glob("*.tmp"))
    assert train("run", *arguments).wait().code == 0
    assert all((folder / name / "README.md").is_file() for name in ("adapter", "merged", "torchtune"))


def test_a_folder_has_one_run_at_a_time(train, tmp_path):
    first = train("run", "epochs=50", "checkpoint_every_n_steps=1000")
    wait_for_steps(tmp_path / "run")
    second = train("run", "resume=auto", environment={"TORCHELASTIC_ERROR_FILE": str(tmp_path / "told")})
    assert second.wait().code == 2
    assert f"{tmp_path / 'run'}: another process is writing there" in second.err
    # torchrun ends its report with what stands in this file.
    assert "another process" in json.loads((tmp_path / "told").read_text())["message"]["extraInfo"]["py_callstack"]
    first.process.kill()
    first.process.join()
    assert train("run", "max_steps=1").wait().code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(train, tmp_path, number):
    run = train("run", "epochs=50", "checkpoint_every_n_steps=1000", "lr_scheduler.num_warmup_steps=1")
    wait_for_steps(tmp_path / "run")
    os.kill(run.process.pid, number)
    assert run.wait().code == 128 + number, run.err
    assert "go on with resume=auto" in run.out
    saved = list((tmp_path / "run" / "checkpoints").glob("*.pt"))
    assert [path.name for path in saved] == [f"step_{figures(tmp_path / 'run')[-1]['step']:08d}.pt"]


def two_processes(train, folder, *overrides):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        train(
            f"process_{rank}",
            f"output_dir={folder}",
            *overrides,
            environment={**common, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]


def test_one_of_two_processes_is_killed(train, tmp_path):
    first, second = two_processes(train, tmp_path / "two", "epochs=50")
    wait_for_steps(tmp_path / "two")
    second.process.kill()
    assert first.wait().code == 2
    assert first.err.splitlines()[-1].startswith("lora_finetune: error: another process ended or cannot be reached")
    assert "Traceback" not in first.err


def test_two_processes_take_the_same_steps(train, tmp_path):
    generate = ("validation.generate_rows=2", "validation.max_new_tokens=15")
    pair = two_processes(train, tmp_path / "two", *generate)
    alone = train("one", *generate)
    for run in [*pair, alone]:
        assert run.wait().code == 0, run.err
    assert pair[1].out == ""
    for got, wanted in zip(figures(tmp_path / "two"), figures(tmp_path / "one"), strict=True):
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-7)
    two, one = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("two", "one"))
    for name, tensor in one.items():
        assert (two[name] - tensor).norm() <= 1e-4 * tensor.norm()
    # A checkpoint of two processes serves one.
    longer = train("more", *generate, f"output_dir={tmp_path / 'two'}", "resume=auto").wait()
    assert longer.code == 0, longer.err
    assert "going on after step 5" in longer.out


def test_early_stopping_keeps_the_best_adapter(train, tmp_path):
    run = train(
        "run", "epochs=20", "validation.every_n_steps=1", "validation.patience=2", "optimizer.lr=0.3",
        "lr_scheduler.num_warmup_steps=1",
    ).wait()  # fmt: skip
    assert run.code == 0, run.err
    losses = [row["validation_loss"] for row in figures(tmp_path / "run") if "validation_loss" in row]
    assert 3 <= len(losses) < 100
    assert min(losses) < min(losses[-2:])
    best = losses.index(min(losses)) + 1
    manifest = json.loads((tmp_path / "run" / "adapter" / "adapter_model.safetensors.manifest.json").read_text())
    assert manifest["validation"]["step"] == best


def test_four_bit_base_with_an_adapter_on_all_linear_layers(train, tmp_path, rows):
    few = tmp_path / "few.jsonl"
    few.write_text("".join((rows / "train.jsonl").open().readlines()[:4]))
    # The same rows in each step.
    arguments = (f"dataset.data_files={few}", "epochs=3", "write_merged=True")
    run = train("run", *arguments, config="configs/mini/qlora_differential.yaml").wait()
    assert run.code == 0, run.err
    assert "158,720 of 3,110,144 parameters trained (5.1%)" in run.out
    losses = [row["loss"] for row in figures(tmp_path / "run") if "loss" in row]
    assert losses == sorted(losses, reverse=True) and len(losses) == 3
    weights = load_file(tmp_path / "run" / "merged" / "model.safetensors")
    base = load_file("data/mini/model.safetensors")
    # Merged into the base's own weights, not into what 4 bits left of them.
    changed = {name for name in base if not torch.equal(weights[name], base[name].float())}
    assert changed == {name for name in base if name.endswith("_proj.weight")}


def test_another_run_is_not_gone_on_with(train, tmp_path, rows):
    # So many epochs, to see that none is shuffled that is not trained on.
    first = ("epochs=1000000", "max_steps=1")
    # Of the same shape, under the same settings.
    other = Path(shutil.copytree("data/mini", tmp_path / "other"))
    weights = load_file(other / "model.safetensors")
    save_file({name: weight * 1.5 for name, weight in weights.items()}, other / "model.safetensors")
    assert train("run", *first).wait().code == 0
    for overrides, message in (
        ((), "holds another run: resume=auto to go on with it, or another output_dir"),
        (("resume=auto", "seed=5"), "made with another seed (0, now 5)"),
        (("resume=auto", "max_steps=2"), "made with another max_steps (1, now 2)"),
        (("resume=auto", "model.lora_alpha=8"), "made with another model.lora_alpha (16, now 8)"),
        (("resume=auto", f"checkpoint_dir={other}"), "made with another checkpoint_dir"),
        (("resume=auto", f"validation.data_files={rows / 'train.jsonl'}"), "made with another validation.data_files;"),
    ):
        run = train("run", *first, *overrides).wait()
        assert run.code == 2
        assert message in run.err
    (saved,) = (tmp_path / "run" / "checkpoints").glob("*.pt")
    state = torch.load(saved)
    for changes in ({"adapter": {}}, {"optimizer": [1]}, {"random": None}, {"best": 1, "scheduler": "x"}):
        torch.save(state | changes, saved)
        run = train("run", *first, "resume=auto").wait()
        assert (run.code, "Traceback" in run.err) == (2, False)
        assert "checkpoints: the checkpoint lacks what this recipe keeps in one" in run.err


small_files, megabytes = (
    partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most)) for most in (60_000, 2_000_000)
)


def little_memory():
    used = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + 2**26, used + 2**26))


@pytest.mark.parametrize(
    ("overrides", "before", "message"),
    [
        (["optimizer.lr=1e30", "lr_scheduler.num_warmup_steps=0"], None, "loss nan"),
        (["checkpoint_every_n_steps=1"], small_files, "step_00000001.pt: cannot write: File too large"),
        (["packing=none", "rows_per_step=18", "tokens_per_batch=500000"], little_memory,
         "out of memory: lower tokens_per_batch"),
        (["checkpoint_dir=absent"], None, "absent/config.json: No such file"),
        (["tokenizer.max_seq_len=60"], None, "tokenizer.max_seq_len=60 cuts the answer off every row of"),
        (["write_torchtune=True", "max_steps=1"], megabytes, "torchtune/: cannot write"),
        (["tokens_per_batch=100"], None, "tokens_per_batch=100 is less than the longest row"),
        (["device=cuda"], None, "device=cuda: no CUDA device here"),
        (["metric_logger._component_=torchtune.training.metric_logging.WandBLogger"], None, "metric_logger"),
    ],
    ids=lambda value: value[0].split("=")[0] if isinstance(value, list) else None,
)  # fmt: skip
def test_faults_are_one_line(train, overrides, before, message):
    if overrides == ["device=cuda"] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    run = train("run", *overrides, before=before).wait()
    assert run.code == 2, run.err
    lines = [line for line in run.err.splitlines() if line.startswith("lora_finetune")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in run.err


def test_a_logger_that_cannot_write(train, tmp_path):
    (tmp_path / "full").write_bytes(b" " * 60_000)
    logger = (f"metric_logger.log_dir={tmp_path}", "metric_logger.filename=full")
    run = train("run", *logger, before=small_files).wait()
    assert run.code == 2
    assert run.err.splitlines()[-1] == "lora_finetune: error: metric_logger: cannot write: File too large"


def test_the_base_model_is_not_overwritten(train, tmp_path):
    base = tmp_path / "run" / "merged"
    shutil.copytree("data/mini", base)
    run = train("run", f"checkpoint_dir={base}", "write_merged=True").wait()
    assert run.code == 2
    assert f"would overwrite the base model in {base}" in run.err


def test_help_lists_every_key(train, recipe_main, capsys):
    assert recipe_main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "rows_per_step  (int, default: 128)" in shown
    assert "**Plan first.**" in shown
