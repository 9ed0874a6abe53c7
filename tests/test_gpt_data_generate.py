"""The labelling command against servers on the loopback address; as a process of its own where it is killed."""

import asyncio
import json
import math
import os
import random
import re
import resource
import signal
import stat
import threading
import time
from pathlib import Path

import pytest
from chat_server import answered, completion, error
from forks import besides_look
from sprockets import read_jsonl as read
from starlette.responses import JSONResponse

from radtune.ask.ledger import ledger_path
from radtune.files import write_jsonl
from radtune.report import report_from_sections

ROOT = Path(__file__).parents[1]
# A word of every report that no message, log or manifest may hold.
SECRET = "zebrafish"
# How often a run is killed; more finds what is rarer.
KILLS = int(os.environ.get("RADTUNE_KILLS", "10"))


@pytest.fixture
def start(start_fork):
    return lambda *arguments, **environment: start_fork("gpt_data_generate.py", *arguments, **environment)


@pytest.fixture
def run(command):
    def run(*arguments):
        code, out, err = command("gpt_data_generate.py", *arguments)
        return code, besides_look(out), err

    return run


FOUND = completion("Output: ['zebrafish effusion']\n- zebrafish effusion: J90")


async def found(body, number):
    """The same answer for every report, after a while."""
    await asyncio.sleep(0.02)
    return FOUND


def asked(server):
    """The numbers of the reports that a server has been asked about."""
    bodies = (body["messages"][0]["content"] for _, body in server.requests)
    return [number for content in bodies for number in re.findall(r"effusion, (\d+)\.", content)]


@pytest.fixture
def reports(tmp_path):
    path = tmp_path / "reports.jsonl"
    rows = (report_from_sections(f"r{i}", None, f"A {SECRET} effusion, {i}.", "", "made") for i in range(60))
    write_jsonl(path, rows)
    return path


def test_killed_at_random_moments_it_loses_nothing_and_asks_nothing_twice(tmp_path, serve, start, run):
    """The server counts what it is asked, and no start may ask what the ledger holds."""
    path, output, count = tmp_path / "reports.jsonl", tmp_path / "annotations.jsonl", 30 * KILLS
    texts = (f"A {SECRET} effusion, {i}." for i in range(count))
    write_jsonl(path, (report_from_sections(f"r{i}", None, text, "", "made") for i, text in enumerate(texts)))
    chance = random.Random(5)  # noqa: S311  (no secret)
    server = serve(found)
    given = (f"reports={path}", f"output={output}", f"base_url={server.url}", "concurrency=8")
    for _ in range(KILLS):
        held = answered(output)
        server.requests.clear()
        process = start(*given)
        enough = chance.randint(1, 24)
        # However late this process wakes up, the other does not come to its end.
        server.most = enough + 12
        process.wait_until(lambda: len(server.requests) >= enough)  # noqa: B023
        time.sleep(chance.uniform(0, 0.025))
        process.kill()
        process.communicate()
        assert held <= answered(output) and not output.exists()
        assert not held & set(asked(server))
        assert len(asked(server)) == len(set(asked(server)))
    held = answered(output)
    assert KILLS < len(held) < count
    server.requests, server.most = [], math.inf
    code, out, err = run(*given)
    assert sorted(asked(server)) == sorted({f"{i}" for i in range(count)} - held)
    written = output.read_bytes()
    # Once more: everything is there.
    assert ", 0 answers in" in run(*given)[1]
    assert (len(server.requests), output.read_bytes()) == (count - len(held), written)
    assert (code, err) == (0, "")
    rows = read(output)
    assert [row["report_id"] for row in rows] == [f"r{i}" for i in range(count)]
    place = {"phrase": "zebrafish effusion", "icd10": "J90", "start": 12, "end": 30}
    assert rows[0]["labels"] == ["zebrafish effusion"] and rows[0]["phrases"][0].items() >= place.items()
    assert f"{count:,} ok; {12 * count:,} tokens" in out
    assert {stat.S_IMODE(file.stat().st_mode) for file in (output, ledger_path(output))} == {0o600}
    manifest = json.loads((tmp_path / "annotations.jsonl.manifest.json").read_text())
    assert (manifest["status_counts"], manifest["tokens"], manifest["rows"]) == ({"ok": count}, 12 * count, count)
    assert SECRET not in out + json.dumps(manifest)


def test_stopped_by_a_scheduler_it_waits_for_calls_and_writes_the_rows_it_has(reports, tmp_path, serve, start, run):
    output, server = tmp_path / "annotations.jsonl", serve(lambda body, number: FOUND)
    server.most, given = 8, (f"reports={reports}", f"output={output}", f"base_url={server.url}")
    process = start(*given, "concurrency=2")
    # Two calls are under way, and wait.
    process.wait_until(lambda: len(answered(output)) >= 8 and len(server.requests) >= 10)
    second = run(*given)
    process.send_signal(signal.SIGTERM)
    process.wait_until(lambda: "2 calls under way are waited for" in process.out(1))
    server.most = math.inf
    out, err = process.communicate()
    writing = f"{ledger_path(output)}: another process is writing there"
    assert second == (2, "", f"gpt_data_generate.py: error: {writing}\n")
    rows = read(output)
    assert len(rows) == len(answered(output)) == len(server.requests) == 10
    assert f"stopped with {len(rows)} of 60 rows for {output}; the same command goes on from there\n" in out
    assert process.returncode == 130 and err.endswith("gpt_data_generate.py: interrupted\n")
    assert not (tmp_path / "annotations.jsonl.manifest.json").exists()


def test_on_a_full_disk_what_is_paid_for_waits_for_room(reports, tmp_path, serve, run):
    server, output = serve(found), tmp_path / "annotations.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = tmp_path / "annotations.jsonl.ledger-wal"

    def make_room():
        while not (log.exists() and log.stat().st_size > 90_000):
            time.sleep(0.01)
        time.sleep(0.5)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    room = threading.Thread(target=make_room)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    room.start()
    code, _, err = run(f"reports={reports}", f"output={output}", f"base_url={server.url}")
    room.join()
    assert code == 0 and err.count("\n") == 1 and "waiting for room, answers are kept" in err
    assert len(read(output)) == len(answered(output)) == len(server.requests) == len(set(asked(server))) == 60


def test_rows_with_problems_are_set_aside_with_the_reason(reports, tmp_path, serve, run):
    output, server = tmp_path / "annotations.jsonl", serve(lambda body, number: completion("['quagga cyst']"))
    code, out, err = run(f"reports={reports}", f"output={output}", f"base_url={server.url}")
    aside = tmp_path / "annotations.jsonl.quarantine.jsonl"
    assert (code, err) == (0, "")
    assert f"60 rows to look at, with the reason: {aside}" in out
    rows = read(aside)
    assert len(rows) == 60 and stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert rows[0]["problems"] == ["1 of 1 phrases not in the report"]
    assert (rows[0]["status"], rows[0]["response"]) == ("ok", "['quagga cyst']")
    server.answer = lambda body, number: FOUND
    assert run(f"reports={reports}", f"output={output}", f"base_url={server.url}", "seed=1")[0] == 0
    assert not aside.exists()


def test_a_dry_run_sends_and_writes_nothing(reports, tmp_path, run):
    output = tmp_path / "new" / "annotations.jsonl"
    code, out, err = run(f"reports={reports}", f"output={output}", "dry_run=true")
    assert (code, err) == (0, "")
    assert "60 calls to gpt-4o-2024-05-13 at api.openai.com" in out and "$5 and $15 per million" in out
    assert "60 reports would leave this machine" in out and "nothing has been sent" in out
    assert [path.name for path in tmp_path.iterdir()] == ["reports.jsonl"]


def test_a_limit_on_cost_ends_the_run_with_what_it_bought(reports, tmp_path, serve, run):
    output = tmp_path / "annotations.jsonl"
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        "- {source: made up, date: 2026-01-01, batch_factor: 0.5, models: {m: {input: 0, output: 10000000}}}\n"
    )
    server = serve(lambda body, number: FOUND)
    command = (f"reports={reports}", f"output={output}", f"base_url={server.url}", "model=m", f"prices={prices}")
    code, out, err = run(*command, "max_cost=300", "max_tokens=10")
    assert code == 1 and "reports have no answer yet: max_cost" in err
    assert 0 < len(read(output)) < 60 and "of $300.00 spent" in out
    code, out, err = run(*command, "max_tokens=10")
    assert (code, err, len(read(output))) == (0, "", 60)
    code, _, err = run(*command[:2], "max_cost=1", "model=other")
    assert code == 2 and "max_cost needs the price of 'other'" in err


@pytest.mark.parametrize("known", [True, False])
def test_a_json_schema_is_asked_for_where_the_server_knows_it(reports, tmp_path, known, serve, run):
    def answer(body, number):
        if known:
            # A fence around it is no fault.
            phrases = json.dumps({"phrases": [{"phrase": f"{SECRET} effusion", "icd10": "J90"}]})
            return completion(f"```json\n{phrases}\n```")
        if "response_format" in body:
            return JSONResponse({"error": {"message": "no such parameter", "param": "response_format"}}, 400)
        return completion("['zebrafish effusion']")

    output, given = tmp_path / "annotations.jsonl", (f"reports={reports}", f"base_url={serve(answer).url}")
    code, _, err = run(*given, f"output={output}", "response_format=json_schema")
    assert code == 0 and err.count("\n") == (0 if known else 1)
    assert "response_format" in err or known
    rows = read(output)
    assert {tuple(row["labels"]) for row in rows} == {("zebrafish effusion",)}
    assert {row["phrases"][0]["icd10"] for row in rows} == {"J90" if known else None}


def test_no_word_of_a_report_gets_out_whatever_goes_wrong(reports, tmp_path, serve, start):
    def loud(*arguments):
        process = start(*arguments, OPENAI_LOG="debug", PYTHONASYNCIODEBUG="1")
        out, err = process.communicate(timeout=600)
        return process.returncode, out, err

    output = tmp_path / "annotations.jsonl"
    few = tmp_path / "few.jsonl"
    few.write_text("".join(reports.read_text().splitlines(keepends=True)[:4]))
    refusal = error(400, SECRET, f"cannot read: {SECRET}")
    given = (f"base_url={serve(lambda body, number: refusal).url}", "max_retries=0")
    code, out, err = loud(f"reports={few}", f"output={output}", *given)
    assert (code, err) == (1, "4 reports failed; the same command asks them again\n")
    assert SECRET not in out + output.read_text() + (tmp_path / "annotations.jsonl.manifest.json").read_text()
    assert {(row["status"], row["error"]) for row in read(output)} == {("failed", "400 some_error")}
    code, out, err = loud(f"reports={reports}", f"output={tmp_path / 'b.jsonl'}", *given)
    assert (
        code == 2 and "5 calls in a row failed alike (400 some_error): it refuses what is asked; has it a model" in err
    )
    assert SECRET not in out + err and err.count("\n") == 1
    assert not (tmp_path / "b.jsonl").exists()


def test_nothing_goes_off_this_machine_unasked(reports, tmp_path, run, monkeypatch):
    output = tmp_path / "annotations.jsonl"
    allowed = ("allow_endpoint=api.openai.com", "zero_retention_confirmed=true")
    code, _, err = run(f"reports={reports}", f"output={output}", *allowed)
    assert code == 2 and "no key for api.openai.com: set the environment variable OPENAI_API_KEY" in err
    monkeypatch.setenv("OPENAI_API_KEY", "sk-key")
    code, out, err = run(f"reports={reports}", f"output={output}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "60 reports would leave this machine, for api.openai.com" in err and "sk-key" not in err
    assert "physionet.org" in err and not output.exists()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://example.com/v1")
    code, _, err = run(f"reports={reports}", f"output={output}")
    assert code == 2 and "unencrypted" in err
