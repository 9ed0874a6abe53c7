"""Runs one job of a study: not where its result is made from the same already, nor longer than the study lives."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from radtune.ask.ledger import ledger_path
from radtune.command import end_with_parent
from radtune.config import InputError
from radtune.files import git_commit, lock, read_json, write_bytes, write_json
from radtune.privacy import say
from radtune.study.formats import time_text
from radtune.study.jobs import ADAPTER, Job
from radtune.study.made_from import (
    Hashes,
    failures_of,
    fingerprint,
    given_of,
    made_of,
    read_stamp,
    stamp_path,
    write_failures,
)
from radtune.study.plan import Study

# How often a job looks whether the study still runs; how long its command may take to end when it does not.
_LOOK_S, _GRACE_S = 0.5, 20.0
# How often it is said how far a job has come: "84 of 250 steps, 1.2/s, 2.3 min left"; bytes of the log that are read.
_SAY_S, _TAIL = 60.0, 4096
_PROGRESS = re.compile(r"^([\d,]+ of [\d,]+ \w+, .*?([\d,.]+) min left.*)$", re.MULTILINE)
_EXPECTED = ".expected.json"


def run_job(study: Study, job: Job, made: Container[Path], log: Path, parent: int) -> int:
    """Makes what a job writes, or finds it made; returns the command's exit code.

    ``parent`` is the process whose end ends the job; None of what is written can be read by others than its owner.

    Raises:
        InputError: A file that the job reads cannot be read, or another process still makes the same.
    """
    os.umask(0o077)
    now = given_of(study, job, made, Hashes(study.run_dir / ".hashes.json")) | {"made": made_of(study, job, made)}
    stamp = stamp_path(study, job.name)
    with _lock(stamp.with_name(f".{stamp.stem}.lock")) as held:
        before, there = read_stamp(stamp), all(path.exists() for path in job.outputs)
        same = fingerprint(before) == fingerprint(now)
        if there and same:
            for path in job.outputs:
                path.touch()
            write_bytes(log, b"made from the same already\n")
            return 0
        if job.packages and before and (same or before["versions"] != now["versions"]):
            # Of what was deleted, or made by other packages, neither answers nor checkpoints are taken up.
            for path in job.outputs:
                ledger_path(path).unlink(missing_ok=True)
            if same and job.name.startswith("train/"):
                shutil.rmtree(job.outputs[0].parent.parent, ignore_errors=True)
            stamp.unlink()
        failures = failures_of(study, job.name)
        write_failures(study, job.name, failures + 1)
        make = _train if job.name.startswith("train/") else _run
        # What goes on from an earlier start takes less than the whole.
        whole = not any(job.outputs[0].parent.glob(f"{job.outputs[0].name}.*"))
        began = time.monotonic()
        code = make(study, job, now, log, parent, held)
        if code == 0:
            seconds = {"seconds": time.monotonic() - began} if whole else {}
            write_json(stamp, now | {"commit": git_commit()} | seconds)
            write_failures(study, job.name, failures)
        return code


def _lock(path: Path) -> BinaryIO:
    """A lock that the command keeps, too: it is free when nothing is left of either."""
    ends = time.monotonic() + _GRACE_S
    while True:
        try:
            return lock(path)
        except InputError:
            # What a killed study left is ending.
            if time.monotonic() > ends:
                raise
            time.sleep(_LOOK_S)


def expect(study: Study, seconds: Mapping[str, float], at_once: int) -> None:
    """Notes what each job is thought to take, and how many run at once, for the jobs' own processes."""
    write_json(study.run_dir / _EXPECTED, {"at_once": at_once, "seconds": dict(seconds)})


def progress_line(study: Study, job: Job, log: Path, elapsed: float) -> str:
    """How far a job has come by the last such line of its log, and what that means for the study; empty without one.

    What the others will take is thought to be wrong as far as it was for this one.
    """
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL))
        lines = _PROGRESS.findall(stream.read().decode(errors="replace"))
    if not lines:
        return ""
    line, minutes = lines[-1]
    left = 60 * float(minutes.replace(",", ""))
    expected = read_json(study.run_dir / _EXPECTED) if (study.run_dir / _EXPECTED).exists() else {"seconds": {}}
    if job.name not in expected["seconds"]:
        return f"{job.name}: {line}"
    pace = (elapsed + left) / max(1e-9, expected["seconds"].pop(job.name))
    others = sum(each for name, each in expected["seconds"].items() if not stamp_path(study, name).exists())
    whole = time_text(max(left, (left + pace * others) / expected["at_once"]))
    return f"{job.name}: {line}; the study: about {whole} left, as far as this one tells"


def _run(study: Study, job: Job, now: dict[str, Any], log: Path, parent: int, held: BinaryIO, **others: Any) -> int:
    """Runs a command, and ends it and what it started when the study ends."""
    log.parent.mkdir(parents=True, exist_ok=True)
    words = job.words(**others)
    with log.open("wb") as stream:
        stream.write(f"{shlex.join(words)}\n".encode())
        stream.flush()
        # What quotes reports belongs into files of its own.
        shown = subprocess.DEVNULL if job.keys.get("show_text") else stream
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=shown, stderr=stream,
            pass_fds=[held.fileno()], preexec_fn=end_with_parent(os.getpid(), signal.SIGTERM),
        )  # fmt: skip
    # Whoever stops this process alone means the command; a terminal's Ctrl-C reaches both.
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, lambda *_: None)
    end_with_parent(os.getppid(), signal.SIGTERM)()
    began = said = time.monotonic()
    while True:
        try:
            return child.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            if not _lives(parent):
                _end(psutil.Process(child.pid))
                return 128 + signal.SIGTERM
        if time.monotonic() > said + _SAY_S and (line := progress_line(study, job, log, time.monotonic() - began)):
            said = time.monotonic()
            say(f"study: {line}")


def _train(study: Study, job: Job, now: dict[str, Any], log: Path, parent: int, held: BinaryIO) -> int:
    """Trains beside the adapter that stands there, and takes its place when the new one is whole.

    A training that was stopped goes on; one that was made from other rows, settings or weights begins anew.
    """
    folder = job.outputs[0].parent.parent
    new, old = (folder.with_name(f"{folder.name}.{name}") for name in ("new", "old"))
    if not folder.exists() and old.exists():
        old.rename(folder)  # killed between the two moves below
    key = fingerprint(now)

    def is_of_these(place: Path) -> bool:
        return (place / "made_from").is_file() and (place / "made_from").read_text() == key

    place = folder if is_of_these(folder) or not (folder / ADAPTER).exists() else new
    if not is_of_these(place):
        shutil.rmtree(place, ignore_errors=True)
        write_bytes(place / "made_from", key.encode())
    goes_on = "resume" in job.keys
    trained = not goes_on and (place / ADAPTER).exists()
    if not trained and (code := _run(study, job, now, log, parent, held, output_dir=place)):
        return code
    if not goes_on:
        # torchtune's recipes write each epoch's adapter into a folder of its own.
        last = max(place.glob("epoch_*"), key=lambda path: int(path.name.removeprefix("epoch_")))
        for name in ("adapter_config.json", ADAPTER.name):
            write_bytes(place / ADAPTER.parent / name, (last / name).read_bytes())
    if place == new:
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old)
    return 0


def _lives(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end(process: psutil.Process) -> None:
    """Ends a process and all that it started: with time to wind up, then at once."""
    try:
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for member in family:
            if member.is_running():
                end(member)
        _, family = psutil.wait_procs(family, _GRACE_S)
