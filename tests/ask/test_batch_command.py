"""Batches through the command: submitted, collected, and in between."""

import json
import signal
import time

import pytest
from batch_server import BatchServer
from chat_server import answered, completion

from radtune.ask.batch_api import state_path
from radtune.files import write_jsonl
from radtune.report import report_from_sections

# A word of every report that nothing which is printed may hold.
SECRET = "zebrafish"


@pytest.fixture
def server(batch_server) -> BatchServer:
    return batch_server


@pytest.fixture
def reports(tmp_path):
    path = tmp_path / "reports.jsonl"
    write_jsonl(path, (report_from_sections(f"r{i}", None, f"A {SECRET} {i}.", "", "made") for i in range(200)))
    return path


@pytest.fixture
def start(server, reports, start_fork):
    given = (f"reports={reports}", f"output={reports.with_name('a.jsonl')}", f"base_url={server.url}/v1")
    return lambda *more: start_fork("gpt_data_generate.py", *given, *more)


@pytest.fixture
def run(start):
    def run(*more):
        process = start(*more)
        out, err = process.communicate()
        assert SECRET not in out + err and "Traceback" not in err
        return process.returncode, out, err

    return run


def answer(request):
    return 200, completion(f"['{SECRET}']")


def test_what_a_batch_has_is_not_asked_straight_nor_counted_as_to_come(server, run):
    assert run("batch=submit")[0] == 0
    sent = len(server.calls)
    code, out, _ = run("dry_run=true")
    assert code == 0 and out.startswith("0 calls to ")
    code, out, err = run()
    assert (code, err) == (1, "200 reports have no answer yet: batch=collect fetches them\n")
    assert "200 reports, 0 answers in" in out and len(server.calls) == sent
    (batch_id,) = server.batches
    server.end(batch_id, answer)
    code, out, err = run("batch=collect")
    assert (code, err) == (0, "") and "200 reports, 200 answers in" in out
    assert server.files == {}


def test_collecting_that_was_stopped_again_and_again_doubles_nothing(server, reports, start, run):
    output, state = reports.with_name("a.jsonl"), state_path(reports.with_name("a.jsonl"))
    run("batch=submit")
    server.end(next(iter(server.batches)), answer)
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        before = len(answered(output))
        process = start("batch=collect")
        while process.poll() is None and len(answered(output)) <= before:
            time.sleep(0.001)
        process.send_signal(number)
        process.communicate()
    stopped = not state.exists()
    code, out, err = run("batch=collect")
    assert (code, err) == (0, "") and (stopped or "completed, 200 of 200 done" in out)
    assert len(answered(output)) == 200
    assert not state.exists() and server.files == {}


def test_batches_of_other_questions_are_left_and_odd_words_about_a_batch_passed_over(server, reports, run):
    run("batch=submit")
    code, out, err = run("batch=collect", "model=another")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "200 questions in the batches are none of this command's" in err and len(server.files) == 1
    (batch,) = server.batches.values()
    kept = dict(batch)
    odd = {"status": SECRET.upper(), "metadata": [1], "input_file_id": 5, "errors": {"data": {"a": 1}}}
    batch |= odd | {"request_counts": {"completed": SECRET, "failed": [SECRET]}}
    code, out, _ = run("batch=collect")
    assert code == 1 and f"{kept['id']}: unknown, 0 of 200 done, 0 failed\n" in out
    # As if the process had died before it wrote the batch down: only the list of batches tells.
    state = state_path(reports.with_name("a.jsonl"))
    written = json.loads(state.read_text())
    written["parts"][0]["batch_id"] = None
    state.write_text(json.dumps(written))
    batch |= kept | {"metadata": "radtune_part"}
    code, out, _ = run("batch=collect")
    assert code == 1 and f"{kept['id']}: validating, 0 of 200 done" in out
