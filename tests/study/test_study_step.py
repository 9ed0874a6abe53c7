"""One job of a study: skipped where made, ended with the study; an adapter stays until the next one is whole."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from radtune.ask.ledger import ledger_path
from radtune.study.jobs import ADAPTER, Job
from radtune.study.made_from import failures_of, stamp_path
from radtune.study.plan import Study, study_from_mapping
from radtune.study.step import expect, progress_line, run_job

# Stands for a recipe: notes each start, and leaves an adapter that tells what it was trained on.
TRAIN = """
import pathlib, sys, time
keys = dict(word.split("=", 1) for word in sys.argv[1:])
folder, rows = pathlib.Path(keys["output_dir"]), pathlib.Path(keys["dataset.data_files"]).read_text()
with open(keys["starts"], "a") as stream:
    stream.write(f"{folder.name}\\n")
if "hang" in rows:
    time.sleep(600)
if "fail" in rows:
    sys.exit(3)
place = folder / "epoch_1" if "stock" in keys else folder / "adapter"
place.mkdir(parents=True, exist_ok=True)
for name in ("adapter_config.json", "adapter_model.safetensors"):
    (place / name).write_text(rows)
"""


@pytest.fixture
def study(study_values: dict) -> Study:
    return study_from_mapping(study_values)


@pytest.fixture(params=["ours", "stock"])
def training(request: pytest.FixtureRequest, study: Study, tmp_path: Path) -> Job:
    (tmp_path / "train.py").write_text(TRAIN)
    rows = study.run_dir / "instructions" / "rows.jsonl"
    rows.parent.mkdir(parents=True)
    rows.write_text("first")
    folder = study.training("mix_1_1")
    keys = {"output_dir": folder, "dataset.data_files": rows, "starts": tmp_path / "starts"}
    keys |= {"resume": "auto"} if request.param == "ours" else {"stock": "stock"}
    command = (str(tmp_path / "train.py"),)
    return Job("train/mix_1_1", command, keys, (folder / ADAPTER,), (rows,))


def run(study: Study, job: Job, parent: int | None = None) -> int | None:
    """Runs a job in a process of its own, whose signals it may turn to its use; its exit code."""
    log, made = study.run_dir / "logs" / "job.log", {path: path for path in job.reads}
    arguments = (study, job, made, log, parent or os.getpid())
    child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(run_job(*arguments)))
    child.start()
    child.join(300)
    return child.exitcode


def adapter(job: Job) -> str:
    return job.outputs[0].read_text()


def starts(job: Job) -> list[str]:
    return Path(job.keys["starts"]).read_text().split()


def test_a_result_of_the_same_is_not_made_again_and_written_for_its_owner(study: Study, training: Job) -> None:
    assert run(study, training) == 0
    assert (adapter(training), starts(training)) == ("first", ["mix_1_1"])
    assert f" output_dir={study.training('mix_1_1')} " in (study.run_dir / "logs" / "job.log").read_text()
    before = training.outputs[0].stat().st_mtime_ns
    training.reads[0].touch()
    assert run(study, training) == 0
    assert starts(training) == ["mix_1_1"]
    # Snakemake goes by the time of an output.
    assert training.outputs[0].stat().st_mtime_ns > before
    made = [path for path in study.run_dir.rglob("*") if path not in (training.reads[0], *training.reads[0].parents)]
    assert not [path for path in made if path.stat().st_mode & 0o077]
    training.outputs[0].unlink()
    assert run(study, training) == 0
    assert len(starts(training)) == 2


def test_what_is_deleted_or_of_other_packages_is_not_taken_from_what_is_left(study: Study, tmp_path: Path) -> None:
    """Answers that are kept, and checkpoints: a start goes on from those of one that was stopped."""
    (tmp_path / "ask.py").write_text("import sys; open(sys.argv[1].partition('=')[2], 'a').write('x')")
    output = study.predictions("base", "multiple_choice")
    output.parent.mkdir(parents=True)
    job = Job(
        "predict/base/multiple_choice", (str(tmp_path / "ask.py"),), {"o": output}, (output,), packages=("torch",)
    )
    stamp, other = stamp_path(study, job.name), replace(job, keys={"o": output, "other": 1})

    def kept(job: Job) -> bool:
        ledger_path(output).touch()
        assert run(study, job) == 0
        return ledger_path(output).exists()

    assert kept(job)
    assert kept(other)
    output.unlink()
    assert not kept(other)
    stamp.write_text(stamp.read_text().replace('"torch": "', '"torch": "0'))
    assert not kept(other)


def test_what_failed_is_counted(study: Study, training: Job) -> None:
    training.reads[0].write_text("which will fail")
    assert (run(study, training), failures_of(study, training.name)) == (3, 1)
    training.reads[0].write_text("whole")
    assert (run(study, training), failures_of(study, training.name)) == (0, 1)


def test_an_adapter_stays_until_its_successor_is_whole(study: Study, training: Job) -> None:
    assert run(study, training) == 0
    folder = study.training("mix_1_1")
    training.reads[0].write_text("second, which will fail")
    assert run(study, training) == 3
    assert adapter(training) == "first"
    training.reads[0].write_text("third")
    # Killed after the old one was moved away, and before the new one was put in its place.
    folder.rename(folder.with_name("mix_1_1.old"))
    assert run(study, training) == 0
    assert adapter(training) == "third"
    assert [path.name for path in folder.parent.iterdir()] == ["mix_1_1"]
    # Killed before it was noted what the adapter is made from: a finished training is no reason to train.
    (study.run_dir / "made_from" / "train.mix_1_1.json").unlink()
    trained = len(starts(training))
    assert run(study, training) == 0
    assert len(starts(training)) == trained + ("resume" in training.keys)
    assert adapter(training) == "third"


def wait_for(condition: object) -> None:
    ends = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.parametrize("killed", ["study", "step", "all"])
def test_a_job_ends_with_its_study(study: Study, training: Job, killed: str) -> None:
    training.reads[0].write_text("hang")
    script = f"import time\ntime.sleep(600)\n# {training.name}"
    parent = subprocess.Popen([sys.executable, "-c", script])
    made = {path: path for path in training.reads}
    arguments = (study, training, made, study.run_dir / "job.log", parent.pid)
    step = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(run_job(*arguments)))
    step.start()
    wait_for(lambda: Path(training.keys["starts"]).exists())
    (child,) = psutil.Process(step.pid).children()
    for process, pid in (("study", parent.pid), ("step", step.pid)):
        if killed in (process, "all"):
            os.kill(pid, signal.SIGKILL)
    parent.poll()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    step.join(60)
    assert step.exitcode != 0
    parent.kill()
    parent.wait()
    training.reads[0].write_text("next")
    assert run(study, training) == 0
    assert adapter(training) == "next"


def test_a_second_start_does_not_train_beside_the_first(
    study: Study, training: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radtune.study.step._GRACE_S", 0.5)
    training.reads[0].write_text("hang")
    made, log = {path: path for path in training.reads}, study.run_dir / "job.log"
    first = multiprocessing.get_context("fork").Process(target=run_job, args=(study, training, made, log, os.getpid()))
    first.start()
    wait_for(lambda: Path(training.keys["starts"]).exists())
    training.reads[0].write_text("other")
    assert run(study, replace(training)) == 1
    assert starts(training) == ["mix_1_1"]
    first.terminate()
    first.join(60)
    assert first.exitcode is not None


def test_the_first_steps_tell_how_long_the_study_takes(study: Study, training: Job, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("plan: 250 steps\n")
    assert progress_line(study, training, log, 30) == ""
    log.write_text("1 of 250 steps, 0.1/s, 90.0 min left\n25 of 250 steps, 0.5/s, 9.0 min left, loss 0.4\n")
    line = f"{training.name}: 25 of 250 steps, 0.5/s, 9.0 min left, loss 0.4"
    assert progress_line(study, training, log, 60) == line
    # It takes ten times what was thought, and so will the other; two run at once.
    expect(study, {training.name: 60.0, "train/mix_2_2": 600.0}, at_once=2)
    assert progress_line(study, training, log, 60) == f"{line}; the study: about 54 min left, as far as this one tells"
