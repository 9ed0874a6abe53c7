"""The simulated teacher as a process: around a command, alone, and stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from radtune.files import write_jsonl
from radtune.findings import write_label_table
from radtune.report import write_reports
from radtune.sources.synthetic import generate

ROOT = Path(__file__).parents[2]


def start(*arguments):
    clean = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
    return subprocess.Popen(
        [sys.executable, "scripts/simulated_teacher.py", *map(str, arguments)],
        cwd=ROOT,
        env=clean | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments):
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    items = list(generate(40, seed=11))
    write_reports(folder / "reports.jsonl", [item.report for item in items])
    rows = (
        {"report_id": item.report.report_id, "phrases": [{"phrase": p.phrase, "icd10": p.icd10} for p in item.phrases]}
        for item in items
    )
    write_jsonl(folder / "gold.jsonl", rows)
    write_label_table(folder / "gold.csv", {item.report.report_id: item.labels for item in items})
    return folder, items


def keys(folder):
    return (
        f"reports={folder / 'reports.jsonl'}",
        f"gold_labels={folder / 'gold.csv'}",
        f"gold_phrases={folder / 'gold.jsonl'}",
    )


@pytest.mark.parametrize("task", ["open_ended", "multiple_choice"])
def test_the_real_client_labels_both_tasks_through_it(made, tmp_path, task):
    folder, items = made
    command = (
        f"{sys.executable} gpt_data_generate.py reports={folder / 'reports.jsonl'} "
        f"output={tmp_path / 'annotations.jsonl'} task={task}"
    )
    code, out, err = run(*keys(folder), "drop=0", "add=0", f"command={command}")
    assert (code, err) == (0, "") and "40 reports, 40 answers now" in out and ": 40 ok; " in out
    rows = [json.loads(line) for line in (tmp_path / "annotations.jsonl").read_text().splitlines()]
    for row, item in zip(rows, items, strict=True):
        assert (row["report_id"], row["task"], row["status"]) == (item.report.report_id, task, "ok")
        if task == "open_ended":
            said = {(p["phrase"].lower(), p["icd10"]) for p in row["phrases"]}
            assert said == {(p.phrase.lower(), p.icd10) for p in item.phrases}
            assert all(p["start"] is not None for p in row["phrases"])
            assert len(row["seed_example_ids"]) == 3
        else:
            true = {name for name, value in item.labels.items() if value == 1} - {"No Finding"}
            assert set(row["labels"]) == true and row["phrases"] == []


def test_a_commands_exit_code_is_passed_on(made, tmp_path):
    folder, _ = made
    assert run(*keys(folder), "command=sh -c 'exit 7'")[0] == 7
    assert run(*keys(folder), "command=sh -c 'kill -9 $$'")[0] == 137
    code, _, err = run(*keys(folder), "command=no-such-command x")
    assert code == 2 and "command: No such file" in err
    assert run(*keys(folder), "drop=2")[0] == 2


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_is_none_is_told(made, port):
    error = f"simulated_teacher.py: error: port {port}: a port is a number from 0 to 65535\n"
    assert run(*keys(made[0]), f"port={port}") == (2, "", error)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_takes_its_command_and_what_that_started_along(made, tmp_path, sent):
    folder, _ = made
    pids = tmp_path / "pids"
    # The inner shell ignores the polite signal.
    command = f"sh -c 'sleep 60 & echo $! $$ $OPENAI_BASE_URL > {pids}.new; mv {pids}.new {pids}; wait'"
    process = start(*keys(folder), f"command={command}")
    while not pids.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    *started, url = pids.read_text().split()
    assert httpx2.get(url.replace("/v1", "/health")).json() == {"status": "ok", "calls": 0}
    process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "simulated_teacher.py: interrupted\n")
    assert not any(alive(pid) for pid in started)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(url)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_killed_outright_it_leaves_no_command_behind(made, tmp_path):
    folder, _ = made
    pids = tmp_path / "pids"
    process = start(*keys(folder), f"command=sh -c 'echo $$ > {pids}.new; mv {pids}.new {pids}; exec sleep 60'")
    while not pids.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    pid = pids.read_text().strip()
    assert alive(pid)
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_alone_it_tells_its_url_and_serves_until_stopped(made):
    folder, _ = made
    process = start(*keys(folder))
    url = process.stdout.readline().strip()
    assert httpx2.get(url.replace("/v1", "/health")).json()["calls"] == 0
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 130
