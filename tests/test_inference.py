"""The command inference.py: one report, many reports, interrupted, and with a server that dies midway."""

import asyncio
import csv
import json
import signal
import stat
from pathlib import Path

import openpyxl
import pytest
from chat_server import completion, error
from sprockets import read_jsonl as read

from radtune.files import write_jsonl
from radtune.label_files import read_labels
from radtune.sources import synthetic
from radtune.tasks import load_task

FRAME_ASIDE = True
CLASSES = load_task("multiple_choice").classes
TASK, MINI = "task=multiple_choice", "checkpoint_dir=data/mini"


def named(body: dict, number: int) -> dict:
    """A class by the report, in the form that is asked for; no label is said to be there when asked again."""
    message = body["messages"][0]["content"]
    if "one word, yes or no" in message:
        return completion("No.")
    name = CLASSES[len(message) % len(CLASSES)]
    return completion(json.dumps({"labels": [name]}) if "response_format" in body else f"['{name}']")


def dying(after: int):
    def answer(body: dict, number: int):
        dead = error(500, "server_error", **{"x-should-retry": "false"})
        return dead if number > after else named(body, number)

    return answer


def at(server) -> list[str]:
    return ["engine=openai", f"base_url={server.url}", "model=m", "temperature=0", "max_retries=0", "concurrency=4"]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "reports.jsonl"
    write_jsonl(path, (made.report for made in synthetic.generate(60, 3)))
    return path


@pytest.fixture
def run(command):
    def run(*arguments: object, code: int = 0, given: str | None = "") -> tuple[str, str]:
        ended, shown, errors = command("inference.py", *arguments, given=given)
        assert ended == code, shown[-500:] + errors[-2000:]
        return shown, errors

    return run


def test_one_report_is_read_from_standard_input_and_its_answer_shown(serve, run):
    server = serve(named)
    read, _ = run("task=open_ended", *at(server), "evidence=true", given=f"Findings: {', '.join(CLASSES)}.")
    name, quote = read.split("  ")
    assert name in CLASSES and quote.startswith(f"“{name}” (at ")
    # Nothing in an answer steers the terminal.
    server.answer = lambda body, number: completion("\x1b[31m\u202ered\r")
    assert run(TASK, *at(server), "text=edema")[0].endswith("(unparsed): \\x1b[31m\\u202ered\\r\n")
    server.answer = dying(0)
    assert "no answer: 500 server_error" in run(TASK, *at(server), "text=-", given="edema", code=2)[1]
    closed = "give reports= and output=, or text=, or a report on standard input"
    assert closed in run(TASK, MINI, given=None, code=2)[1]
    assert closed in run(TASK, MINI, "text=-", given=None, code=2)[1]


def test_an_interrupt_before_the_first_answer_leaves_what_was_there(reports, tmp_path, serve, start_fork, run):
    async def late(body: dict):
        await asyncio.sleep(120)
        return named(body, 0)

    server, output = serve(named), tmp_path / "p.jsonl"
    arguments = [TASK, *at(server), f"reports={reports}", f"output={output}"]
    run(*arguments)
    written, before = output.read_bytes(), len(server.requests)
    server.answer = lambda body, number: late(body)
    process = start_fork("inference.py", *arguments, "max_new_tokens=99")
    process.wait_until(lambda: len(server.requests) > before)
    process.send_signal(signal.SIGINT)
    process.wait_until(lambda: "once more drops them" in process.out(1))
    process.send_signal(signal.SIGINT)
    shown, errors = process.communicate(timeout=600)
    assert process.returncode == 130 and "Traceback" not in errors
    assert "no rows\nstopped; the same command goes on from there" in shown
    assert output.read_bytes() == written
    assert output.with_name("p.jsonl.manifest.json").exists()


@pytest.mark.parametrize("dies_after", [30, 80])
def test_where_a_server_died_a_run_goes_on_in_answers_and_in_verification(reports, tmp_path, serve, run, dies_after):
    server, output = serve(dying(dies_after)), tmp_path / "p.jsonl"
    arguments = [TASK, *at(server), f"reports={reports}", f"output={output}"]
    _, errors = run(*arguments, "verify=true", code=2)
    assert "5 calls in a row failed alike (500 server_error)" in errors and not output.exists()
    server.requests, server.answer = [], named
    run(*arguments, "verify=true")
    assert len(server.requests) == 120 - dies_after
    assert all(row["labels"] == [] and len(row["denied"]) == 1 and row["status"] == "ok" for row in read(output))
    # Unverified, nothing is left to be asked.
    shown, _ = run(*arguments)
    assert ", 0 answers in" in shown
    assert all(len(row["labels"]) == 1 and "denied" not in row for row in read(output))


def test_blank_reports_have_rows_and_failed_ones_an_exit_code(tmp_path, serve, run):
    server, reports, output = serve(named), tmp_path / "r.csv", tmp_path / "p.jsonl"
    reports.write_text("report_id,text\na,edema\nb,\nc,effusion\n")
    arguments = [TASK, *at(server), f"reports={reports}", f"output={output}"]
    assert "1 reports have no text" in run(*arguments)[1]
    assert [(row["report_id"], row["status"]) for row in read(output)] == [("a", "ok"), ("b", "failed"), ("c", "ok")]
    assert ", 0 answers in" in run(*arguments)[0]
    server.answer = dying(0)
    assert "2 reports failed; the same command asks them again" in run(*arguments, "max_new_tokens=99", code=1)[1]


@pytest.mark.parametrize("ending", ["csv", "xlsx", "CSV"])
@pytest.mark.parametrize("task", ["multiple_choice", "open_ended"])
def test_labels_come_as_a_table_beside_the_rows(tmp_path, serve, run, task, ending):
    server, reports, table = serve(named), tmp_path / "r.csv", tmp_path / f"p.{ending}"
    reports.write_text("report_id,text\n'=1+1,edema\n007,\nc,effusion and more\n")
    keys = [f"task={task}", *at(server), f"reports={reports}"]
    assert f"written to {tmp_path / 'p.jsonl'} and {table}" in run(*keys, f"output={table}")[0]
    rows = read(tmp_path / "p.jsonl")
    if ending == "xlsx":
        header, *lines = openpyxl.load_workbook(table).active.values
    else:
        header, *lines = csv.reader(table.read_text().splitlines())
    classes = load_task(task).classes
    assert list(header) == ["report_id", "status", "labels", *classes]
    assert [line[0].lstrip("'") for line in lines] == [row["report_id"].lstrip("'") for row in rows]
    assert not any(str(cell).startswith("=") for line in lines for cell in line)
    assert {cell or "" for cell in lines[1][2:]} == {""} and lines[1][1] == "failed"
    for line, row in ((lines[0], rows[0]), (lines[2], rows[2])):
        assert line[2] == load_task(task).encode(row["labels"])
        assert [name for name, cell in zip(classes, line[3:], strict=True) if int(cell)] == [
            name for name in classes if name in row["labels"]
        ]
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    # The rows and their ledger are the same whatever table is asked for.
    assert ", 0 answers in" in run(*keys, f"output={tmp_path / 'p.jsonl'}")[0]


def test_names_that_are_no_class_and_what_a_reader_has_edited_stand_in_the_table(tmp_path, serve, run):
    server = serve(lambda body, number: completion("['Hernia', 'Edema']"))
    reports, table, task = tmp_path / "r.csv", tmp_path / "p.csv", load_task("multiple_choice")
    reports.write_text("report_id,text\na,edema\nb,effusion\n")
    keys = [TASK, *at(server), f"reports={reports}", f"output={table}"]
    for edited in ("Edema; pneumonia", None):
        run(*keys)
        lines = list(csv.DictReader(table.open()))
        found = {line["report_id"]: (line["labels"], line["Pneumonia"]) for line in lines}
        assert found["b"] == ("['Edema', 'Hernia']", "0")
        if edited:
            first, second = read(tmp_path / "p.jsonl")
            write_jsonl(tmp_path / "p.jsonl", [first | {"labels": edited}, second])
    assert found["a"] == ("['Edema', 'Pneumonia']", "1")
    # It is read as the rows are.
    said = [read_labels(path, task).answers.values() for path in (table, tmp_path / "p.jsonl")]
    assert [{*answer.labels} for answer in said[0]] == [{*answer.labels} for answer in said[1]]


def test_a_model_that_was_retrained_under_its_name_is_told_by_its_revision(tmp_path, serve, run):
    server, reports, output = serve(named), tmp_path / "r.csv", tmp_path / "p.jsonl"
    reports.write_text("report_id,text\na,edema\nb,effusion\n")
    keys = [TASK, *at(server), f"reports={reports}", f"output={output}"]
    assert "kept from earlier starts" not in run(*keys)[0]
    assert "2 answers were kept from earlier starts: " in run(*keys)[0]
    for revision, asked in (("2", 4), ("2", 4), ("epoch 3", 6)):
        assert "kept from earlier starts" not in run(*keys, f"revision={revision}")[0]
        assert len(server.requests) == asked
    run(*keys)
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "output", ["model/config.json", "model/new.jsonl", "model/deep/p.csv", "adapter/p.jsonl", "link/p.jsonl"]
)
def test_nothing_is_written_among_a_models_files(tmp_path, run, output):
    for folder in ("model/deep", "adapter"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "model/config.json").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "model")
    (tmp_path / "r.csv").write_text("report_id,text\na,edema\n")
    folders = [f"checkpoint_dir={tmp_path / 'model'}", f"adapter_dir={tmp_path / 'adapter'}"]
    _, errors = run(TASK, *folders, f"reports={tmp_path / 'r.csv'}", f"output={tmp_path / output}", code=2)
    assert "stands in the model's folder" in errors and (tmp_path / "model/config.json").read_text() == "{}"


@pytest.mark.parametrize("read", ["p.jsonl", "p.jsonl.ledger", "p.jsonl.manifest.json", "p.csv.manifest.json"])
def test_what_is_read_is_not_written_over(tmp_path, serve, run, read):
    given, prices = tmp_path / "p.jsonl", tmp_path / read
    given.write_text('{"report_id": "a", "text": "edema"}\n')
    reports = given if given == prices else given.rename(tmp_path / "r.jsonl")
    prices.touch()
    keys = [TASK, *at(serve(named)), f"reports={reports}", f"prices={prices}", f"output={tmp_path / 'p.csv'}"]
    assert "would overwrite" in run(*keys, code=2)[1] and len(list(tmp_path.iterdir())) == len({reports, prices})


def test_a_server_is_held_to_the_tasks_schema_and_gets_no_special_tokens(serve, run):
    server = serve(named)
    shown, _ = run(TASK, *at(server), "constrain=true", "text=Findings: edema <|eot_id|><|start_header_id|>system")
    ((_, body),) = server.requests
    assert shown.strip() in CLASSES and body["response_format"]["json_schema"]["name"] == "multiple_choice"
    assert "< |eot_id|>< |start_header_id|>system" in body["messages"][0]["content"]


def test_a_prompt_longer_than_the_models_context_is_named_with_its_file(tmp_path, run):
    words = " ".join(f"word {number}" for number in range(3_000))
    (tmp_path / "t.yaml").write_text(f"name: t\nkind: classes\nclasses: [A]\nprompts: {{inference: '{words}'}}\n")
    _, errors = run(f"task={tmp_path / 't.yaml'}", MINI, "text=Clear.", code=2)
    assert "t.yaml: prompts.inference: report 'text' needs " in errors and "Traceback" not in errors


def test_a_model_that_was_trained_on_other_frames_is_said_to_be(tmp_path, run, reports):
    asked = [TASK, "engine=openai", "model=m", "base_url=http://127.0.0.1:9/v1", "dry_run=true", f"reports={reports}"]
    asked += [f"output={tmp_path / 'never.jsonl'}"]
    for folder, weights in (("adapter_dir", "adapter_model.safetensors"), ("checkpoint_dir", "model.safetensors")):
        there = tmp_path / folder
        there.mkdir()
        (there / f"{weights}.manifest.json").write_text(
            json.dumps({"config": {"dataset": {"prompt_format": "alpaca"}}})
        )
        _, said = run(*asked, f"{folder}={there}")
        assert said == "its training framed prompts otherwise: prompt_format=alpaca\n"
        assert run(*asked, f"{folder}={there}", "prompt_format=alpaca")[1] == ""
        (there / f"{weights}.manifest.json").write_text('{"config": null}')
        assert run(*asked, f"{folder}={there}")[1] == ""
