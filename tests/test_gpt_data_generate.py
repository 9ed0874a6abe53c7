"""The labelling command as a process of its own, against servers on the loopback address."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from radtune.reports import report_from_sections, write_reports
from radtune.teacher.ledger import Ledger
from radtune.teacher.simulated import serving

ROOT = Path(__file__).parents[1]
# A word of every report that no message, log or manifest may hold.
SECRET = "zebrafish"


def start(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if "OPENAI" not in name}
    return subprocess.Popen(
        [sys.executable, "gpt_data_generate.py", *map(str, arguments)],
        cwd=ROOT,
        env=clean | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments, **environment):
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def teacher(answer="Output: ['zebrafish effusion']\n- zebrafish effusion: J90", delay_s=0.0):
    """An app that gives every report the same answer, or the error that ``answer`` is; counts its calls."""

    async def complete(request):
        app.state.calls += 1
        await request.json()
        await asyncio.sleep(delay_s)
        if isinstance(answer, int):
            error = {"message": f"cannot read: {SECRET}", "code": SECRET, "type": "invalid_request_error"}
            return JSONResponse({"error": error}, answer)
        choice = {"message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        return JSONResponse({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 1}})

    app = Starlette(routes=[Route("/v1/chat/completions", complete, methods=["POST"])])
    app.state.calls = 0
    return app


@pytest.fixture
def reports(tmp_path):
    path = tmp_path / "reports.jsonl"
    rows = (report_from_sections(f"r{i}", None, f"A {SECRET} effusion, {i}.", "", "made") for i in range(60))
    write_reports(path, rows)
    return path


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_killed_at_any_moment_a_run_goes_on_where_it_was(reports, tmp_path):
    output = tmp_path / "annotations.jsonl"
    app = teacher(delay_s=0.03)
    with serving(app) as url:
        command = (f"reports={reports}", f"output={output}", f"base_url={url}", "concurrency=3")
        process = start(*command)
        while not output.exists() or output.read_bytes().count(b"\n") < 12:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        there = read(output)
        assert 12 <= len(there) < 60
        # As if the kill had come in the middle of a row.
        output.write_bytes(output.read_bytes() + json.dumps(there[0] | {"report_id": "r59"}).encode()[:200])
        app.state.calls = 0
        code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert app.state.calls == 60 - len(there)
    rows = read(output)
    assert [row["report_id"] for row in rows] == [f"r{i}" for i in range(60)]
    assert {row["report_id"]: row for row in there}.items() <= {row["report_id"]: row for row in rows}.items()
    assert rows[0]["labels"] == ["zebrafish effusion"]
    assert rows[0]["phrases"] == [{"phrase": "zebrafish effusion", "icd10": "J90", "start": 12, "end": 30}]
    assert "60 ok; 600 tokens" in out
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    manifest = json.loads((tmp_path / "annotations.jsonl.manifest.json").read_text())
    assert (manifest["status_counts"], manifest["tokens"], manifest["rows"]) == ({"ok": 60}, 600, 60)
    assert SECRET not in out + json.dumps(manifest)


def test_stopped_by_a_scheduler_it_keeps_its_rows_and_says_one_line(reports, tmp_path):
    output = tmp_path / "annotations.jsonl"
    with serving(teacher(delay_s=0.05)) as url:
        process = start(f"reports={reports}", f"output={output}", f"base_url={url}", "concurrency=2", "seed=1")
        while not output.exists() or output.read_bytes().count(b"\n") < 4:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        second = run(f"reports={reports}", f"output={output}", f"base_url={url}")
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert second == (2, "", f"gpt_data_generate.py: error: {output}: another process is writing it\n")
    assert (process.returncode, out, err) == (130, "", "gpt_data_generate.py: interrupted\n")
    with Ledger(output) as ledger:
        assert 4 <= len(ledger.entries) < 60
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["annotations.jsonl", "reports.jsonl"]


def test_no_word_of_a_report_gets_out_whatever_goes_wrong(reports, tmp_path):
    output = tmp_path / "annotations.jsonl"
    few = tmp_path / "few.jsonl"
    few.write_text("".join(reports.read_text().splitlines(keepends=True)[:4]))
    loud = {"OPENAI_LOG": "debug", "PYTHONASYNCIODEBUG": "1"}
    with serving(teacher(answer=400)) as url:
        code, out, err = run(f"reports={few}", f"output={output}", f"base_url={url}", "max_retries=0", **loud)
        assert (code, err) == (1, "4 reports failed; the same command asks them again\n")
        assert SECRET not in out + output.read_text() + (tmp_path / "annotations.jsonl.manifest.json").read_text()
        assert {(row["status"], row["error"]) for row in read(output)} == {("failed", "400 invalid_request_error")}
        code, out, err = run(f"reports={reports}", f"output={tmp_path / 'b.jsonl'}", f"base_url={url}", **loud)
    assert code == 2 and "5 calls in a row failed alike (400 invalid_request_error)" in err
    assert SECRET not in out + err and err.count("\n") == 1
    assert not (tmp_path / "b.jsonl").exists()


def test_nothing_goes_off_this_machine_unasked(reports, tmp_path):
    output = tmp_path / "annotations.jsonl"
    code, out, err = run(f"reports={reports}", f"output={output}", OPENAI_API_KEY="sk-key")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "would leave this machine, for api.openai.com" in err and "sk-key" not in err
    assert "physionet.org" in err and not output.exists()
    allowed = ("allow_endpoint=api.openai.com", "zero_retention_confirmed=true")
    code, _, err = run(f"reports={reports}", f"output={output}", *allowed)
    assert code == 2 and "no key for api.openai.com: set the environment variable OPENAI_API_KEY" in err
    code, _, err = run(f"reports={reports}", f"output={output}", OPENAI_BASE_URL="http://example.com/v1")
    assert code == 2 and "unencrypted" in err


def test_it_starts_without_torch_and_openai(tmp_path):
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "gpt_data_generate.py", "reports=none.jsonl", "output=x.jsonl", "model=m"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"},
        capture_output=True,
        text=True,
    )
    assert loaded.returncode == 2 and "none.jsonl: No such file" in loaded.stderr
    modules = {line.rpartition("|")[2].strip() for line in loaded.stderr.splitlines()}
    assert "radtune.teacher.engine" in modules
    assert not modules & {"torch", "openai", "httpx2", "pandas", "starlette"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("base_url=http://localhost:99999/v1", "base_url: a port is a number from 1 to 65535"),
        ("temperature=nan", "temperature must be 0 or more, or null"),
        ("temperature=inf", "temperature must be 0 or more, or null"),
        ("temperature=-1", "temperature must be 0 or more, or null"),
        ("timeout_s=nan", "timeout_s above 0"),
        ("timeout_s=inf", "timeout_s above 0"),
        ("max_tokens=0", "max_tokens must be 1 or more, or null"),
        ("output={reports}", "would overwrite"),
        ("output=/dev/full", "/dev/full: is a device"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_read(reports, tmp_path, change, message):
    before = reports.read_bytes()
    given = (f"reports={reports}", f"output={tmp_path / 'a.jsonl'}", "base_url=http://127.0.0.1:1/v1")
    code, out, err = run(*given, change.format(reports=reports))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert reports.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["reports.jsonl"]


def test_a_csv_with_an_empty_report_is_refused(tmp_path):
    table = tmp_path / "reports.csv"
    table.write_text("study_id,findings,impression\n1,Clear.,\n2,,\n")
    code, _, err = run(f"reports={table}", f"output={tmp_path / 'a.jsonl'}", "base_url=http://127.0.0.1:1/v1")
    assert code == 2 and "reports.csv: 1 reports without text, e.g. '2'" in err
