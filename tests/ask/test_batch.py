"""Batches over real HTTP: nothing is asked twice or left behind, whatever moment a process dies at."""

import dataclasses
import json
import logging
import multiprocessing.connection
import signal
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from batch_server import BatchServer, refusal
from chat_server import completion
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_engine import asking, model_of
from starlette import responses

from radtune.ask import batch_api
from radtune.ask.batch_api import Batches, collect, pending_keys, read_state
from radtune.ask.costs import Budget, Price
from radtune.ask.ledger import Ledger
from radtune.ask.questions import Question, questions_for
from radtune.ask.run import Run
from radtune.config import InputError
from radtune.engines.chat import request_body
from radtune.engines.guard import Endpoint
from radtune.engines.prompt import Prompt, Response, Sampling

ASKED = Sampling(0.0, 64)


def question(key, text, sampling=ASKED):
    return Question(Prompt("r", "List.", text, "llama3_chat", "0"), sampling, key, "")


REPORT = "Zebra effusion beside the seventh striped rib of number"
QUESTIONS = [question(f"key{i}", f"{REPORT} {i}") for i in range(5)]
KEYS = {f"key{i}" for i in range(5)}
USAGE = {"prompt_tokens": 10, "completion_tokens": 2}


@pytest.fixture
def server(batch_server, monkeypatch) -> BatchServer:
    monkeypatch.setattr(batch_api, "_LONGEST_LAG_S", 1.0)
    monkeypatch.setattr(batch_api, "_LOOK_AGAIN_S", 0.05)
    return batch_server


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "annotations.jsonl.batches.json"


def send(server, path, questions=QUESTIONS, endpoint=None, credential="key"):
    with Batches(endpoint or server.endpoint, credential, path) as batches:
        return batches.submit(questions, "some-model")


def gather(server, path, endpoint=None, credential="key"):
    """How the batches are doing, and what they brought."""
    with Batches(endpoint or server.endpoint, credential, path) as batches:
        statuses, found = batches.look()
        return statuses, dict(found)


def answer(request):
    return 200, completion(request["body"]["messages"][0]["content"].upper())


def forms(server):
    return {
        "openai": (server.endpoint, "/v1/files", "authorization"),
        "azure": (Endpoint(server.url, "127.0.0.1", "2024-10-21"), "/openai/files", "api-key"),
        "azure v1": (Endpoint(f"{server.url}/openai/v1", "127.0.0.1"), "/openai/v1/files", "authorization"),
    }


@pytest.mark.parametrize("form", ["openai", "azure", "azure v1"])
def test_questions_go_out_and_replies_come_back(server, path, form):
    endpoint, files_path, header = forms(server)[form]
    assert send(server, path, endpoint=endpoint) == (5, 1)
    _, _, request = server.calls[0]
    assert request.url.path == files_path and request.headers[header].removeprefix("Bearer ") == "key"
    assert request.url.query == ("api-version=2024-10-21" if form == "azure" else "")
    (batch_id,) = server.batches
    assert server.requests(batch_id) == [
        {
            "custom_id": asked.key_sha256,
            "method": "POST",
            "url": "/chat/completions" if form == "azure" else "/v1/chat/completions",
            "body": request_body(endpoint, "some-model", asked.prompt.message, ASKED),
        }
        for asked in QUESTIONS
    ]
    assert pending_keys(path) == KEYS

    server.batches[batch_id] |= {"status": "in_progress", "request_counts": {"total": 5, "completed": 2, "failed": 1}}
    assert gather(server, path, endpoint) == ([f"{batch_id}: in_progress, 2 of 5 done, 1 failed"], {})

    server.end(batch_id, answer)
    assert gather(server, path, endpoint) == (
        [f"{batch_id}: completed, 5 of 5 done, 0 failed"],
        {
            asked.key_sha256: Response(asked.prompt.message.upper(), True, usage=USAGE, finish_reason="stop")
            for asked in QUESTIONS
        },
    )
    assert server.files == {} and not path.exists() and pending_keys(path) == set()


def test_a_schema_is_sent_and_its_answers_are_known_by_it(server, path):
    schema = {"name": "x", "strict": True, "schema": {"type": "object"}}
    held = dataclasses.replace(QUESTIONS[0], sampling=dataclasses.replace(ASKED, schema=schema, temperature=1.0))
    # What is held to a schema and what is not go out apart: which is which is known by the batch.
    assert send(server, path, [held, QUESTIONS[1]]) == (2, 2)
    first, second = server.batches
    body = server.requests(first)[0]["body"]
    assert 0 <= body["seed"] < 2**31 and body["response_format"] == {"type": "json_schema", "json_schema": schema}
    for batch_id in (first, second):
        server.end(batch_id, answer)
    assert {key: response.as_json for key, response in gather(server, path)[1].items()} == {"key0": True, "key1": False}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(0, 12), most_requests=st.integers(1, 5), most_bytes=st.integers(1, 2000))
def test_no_batch_is_larger_than_it_may_be_and_none_is_missing(server, tmp_path, count, most_requests, most_bytes):
    server.clear()
    path = tmp_path / "state.json"
    path.unlink(missing_ok=True)
    questions = [question(f"key{i}", "x" * 40 * i) for i in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_api, "MOST_REQUESTS", most_requests)
        patch.setattr(batch_api, "MOST_BYTES", most_bytes)
        assert send(server, path, questions)[0] == count
    assert server.asked() == [asked.key_sha256 for asked in questions]
    for batch in server.batches.values():
        lines = batch["asked"].splitlines()
        assert len(lines) <= most_requests and (len(batch["asked"]) <= most_bytes or len(lines) == 1)


def test_what_waits_for_an_answer_is_not_asked_again(server, path):
    send(server, path, QUESTIONS[:3])
    assert send(server, path, [*QUESTIONS, *QUESTIONS]) == (2, 1)
    assert sorted(server.asked()) == sorted(KEYS)
    server.end(next(iter(server.batches)), answer)
    statuses, replies = gather(server, path)
    assert [status.split()[1] for status in statuses] == ["completed,", "validating,"]
    assert set(replies) == {"key0", "key1", "key2"} and pending_keys(path) == {"key3", "key4"}
    assert send(server, path, QUESTIONS[:3]) == (3, 1)
    assert send(server, path, QUESTIONS) == (0, 0)


SIX = [question(f"key{i}", f"report {i}") for i in range(6)]


def submit_six(server, path):
    batch_api.MOST_REQUESTS = 3
    send(server, path, SIX)


def kill_at_the_second(server, path, doomed, carried_out, lists=None):
    """Kills what submits at the second file or batch, before the provider has done anything, or when it has and has not
    said so; what is submitted again and collected is asked once, and no file is left.
    """
    seen = 0

    def kill(method, called):
        nonlocal seen
        seen += (method, called) == ("POST", doomed)
        if seen == 2:
            process.kill()
            multiprocessing.connection.wait([process.sentinel])

    setattr(server, "after" if carried_out else "before", kill)
    process = multiprocessing.get_context("fork").Process(target=submit_six, args=(server, path))
    process.start()
    process.join(600)
    assert process.exitcode == -signal.SIGKILL
    server.after = lambda method, called: None
    server.before = lists or server.after
    send(server, path, SIX)
    assert sorted(server.asked()) == [f"key{i}" for i in range(6)]
    assert set(server.files) == {batch["input_file_id"] for batch in server.batches.values()}
    for batch_id in server.batches:
        server.end(batch_id, answer)
    assert set(gather(server, path)[1]) == {asked.key_sha256 for asked in SIX}
    assert server.files == {} and not path.exists()


@pytest.mark.parametrize(("doomed", "carried_out"), [("files", False), ("files", True), ("batches", False)])
def test_a_kill_at_any_step_asks_nothing_twice_and_leaves_no_file(server, path, doomed, carried_out):
    kill_at_the_second(server, path, doomed, carried_out)


@pytest.mark.parametrize("looks", [0, 4])
def test_a_batch_that_the_providers_list_lacks_at_first_is_not_made_again(server, path, looks):
    empty = responses.JSONResponse({"object": "list", "data": [], "has_more": False})
    left = iter([empty] * looks)
    lists = lambda method, called: next(left, None) if called == "batches" else None  # noqa: E731
    kill_at_the_second(server, path, "batches", True, lists)
    assert len(server.batches) == 2


@pytest.mark.parametrize("forgets", [False, True])
def test_a_batch_that_was_made_but_not_written_down_is_found(server, path, forgets):
    server.after = lambda method, called: refusal(500) if (method, called) == ("POST", "batches") else None
    with pytest.raises(InputError, match=r"cannot make a batch \(500 some_error\); run the same command again"):
        send(server, path)
    assert len([call for call in server.calls if call[:2] == ("POST", "batches")]) == 1
    server.after = lambda method, called: None
    (batch,) = server.batches.values()
    if forgets:
        # What the provider was given to remember; then the batch is known by its file.
        batch["metadata"] = None
    # Batches of other people, whose input may be no file.
    others = {f"other_{i}": batch | {"id": f"other_{i}", "input_file_id": None, "metadata": None} for i in range(5)}
    server.batches |= others
    assert send(server, path) == (0, 0)
    server.end(batch["id"], answer)
    assert len(gather(server, path)[1]) == 5


def test_a_token_is_taken_at_every_step_and_one_that_cannot_be_had_says_so_itself(server, path):
    def token():
        raise InputError("AZURE_OPENAI_AD_TOKEN: gone")

    with pytest.raises(InputError, match="AZURE_OPENAI_AD_TOKEN: gone"):
        send(server, path, credential=token)
    azure = forms(server)["azure"][0]
    path.unlink()
    send(server, path, endpoint=azure, credential=lambda: "token")
    server.end(next(iter(server.batches)), answer)
    assert len(gather(server, path, azure, lambda: "token")[1]) == 5
    assert {call[0] for call in server.calls} == {"POST", "GET", "DELETE"}
    assert {call[2].headers["authorization"] for call in server.calls} == {"Bearer token"}
    assert not any("api-key" in call[2].headers for call in server.calls)


@pytest.mark.parametrize("doomed", ["files", "batches"])
def test_a_refusal_leaves_nothing_behind_and_is_told_by_its_code(server, path, doomed):
    words = refusal(401, "invalid_api_key", f"You sent: {REPORT}")
    server.before = lambda method, called: words if (method, called) == ("POST", doomed) else None
    with pytest.raises(InputError, match=r"\(401 invalid_api_key\); the key in OPENAI_API_KEY") as error:
        send(server, path)
    assert "Zebra" not in str(error.value) and error.value.__context__ is None
    assert server.files == {} and not path.exists()
    server.before = lambda method, called: None
    assert send(server, path) == (5, 1)


def test_a_failed_batch_gives_its_questions_back_and_an_unknown_one_keeps_them(server, path):
    send(server, path)
    (batch_id,) = server.batches
    batch = server.batches.pop(batch_id)
    assert gather(server, path) == (
        [
            f"{batch_id}: the provider does not know it; 5 questions wait for it in vain. Made with another key? "
            "If not, remove OUTPUT.batches.json when no other batch is under way"
        ],
        {},
    )
    assert pending_keys(path) == KEYS
    errors = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": REPORT}]}
    server.batches[batch_id] = batch | {"status": "failed", "errors": errors}
    assert gather(server, path) == ([f"{batch_id}: failed, 0 of 5 done, 0 failed (token_limit_exceeded)"], {})
    assert server.files == {} and pending_keys(path) == set()
    assert send(server, path) == (5, 1)


def test_what_expired_is_asked_again_and_what_was_refused_is_told(server, path):
    def some(request):
        return {
            "key0": answer(request),
            "key1": (400, {"error": {"code": "context_length_exceeded", "message": REPORT}}),
            "key2": (400, {"error": {"code": "content_filter", "message": REPORT}}),
            "key3": (200, {"choices": [{}]}),
        }.get(request["custom_id"])

    send(server, path)
    server.end(next(iter(server.batches)), some, status="expired")
    _, replies = gather(server, path)
    assert replies["key0"].text == QUESTIONS[0].prompt.message.upper()
    assert replies["key1"] == Response("", True, error="400 context_length_exceeded")
    assert replies["key2"].refused and replies["key3"].error == "malformed_answer"
    assert "key4" not in replies and pending_keys(path) == set()


def test_results_that_are_none_are_passed_over(server, path):
    send(server, path)
    (batch_id,) = server.batches
    server.end(batch_id, answer)
    file_id = server.batches[batch_id]["output_file_id"]
    whole = server.contents[file_id].splitlines()
    odd = [b"{", b"[]", b"null", b'{"custom_id": 3}', b'{"custom_id": "key1", "response": null}', b"\xff", b"[" * 10000]
    other = json.dumps({"custom_id": "other", "response": {"status_code": 200, "body": {}}}).encode()
    server.contents[file_id] = b"\n".join([*odd, other, whole[0], whole[0], *whole[3:]])
    with Batches(server.endpoint, "key", path) as batches:
        assert [key for key, _ in batches.look()[1]] == ["key0", "key3", "key4"]


def test_replies_that_were_not_all_taken_come_again_and_files_are_deleted_in_the_end(server, path):
    send(server, path)
    server.end(next(iter(server.batches)), answer)
    with Batches(server.endpoint, "key", path) as batches:
        replies = batches.look()[1]
        next(replies)
        replies.close()
    assert len(server.files) == 2 and len(pending_keys(path)) == 5
    server.before = lambda method, called: refusal(403) if method == "DELETE" else None
    taken = []
    with (
        pytest.raises(InputError, match=r"cannot delete a file of reports or answers \(403 some_error\)"),
        Batches(server.endpoint, "key", path) as batches,
    ):
        taken.extend(batches.look()[1])
    assert len(taken) == 5 and pending_keys(path) == set() and len(server.files) == 2
    server.before = lambda method, called: None
    assert gather(server, path) == ([], {})
    assert server.files == {} and not path.exists()


def test_a_file_that_azure_still_looks_over_is_waited_for(server, path):
    server.file_statuses = ["pending", "pending", "processed"]
    send(server, path)
    assert [call[1] for call in server.calls] == ["files", "files/file-1", "files/file-1", "batches"]


def test_openai_is_told_to_forget_and_no_other(server, path):
    openai = Endpoint(server.endpoint.url, "api.openai.com")
    send(server, path, endpoint=openai)
    (batch,) = server.batches.values()
    assert server.fields["expires_after[seconds]"] == "1209600"
    assert batch["output_expires_after"] == {"anchor": "created_at", "seconds": 1209600}
    assert server.requests(batch["id"])[0]["body"]["store"] is False
    send(server, path, [question("other", "x")], dataclasses.replace(openai, host="x.openai.azure.com"))
    assert set(server.fields) == {"purpose"} and "output_expires_after" not in list(server.batches.values())[1]


def test_batches_are_collected_where_they_were_made(server, path):
    send(server, path)
    with pytest.raises(InputError, match=rf"holds batches at {server.url}/v1, not at {server.url}/openai/v1"):
        gather(server, path, forms(server)["azure v1"][0])


@pytest.mark.parametrize("content", ["", "[]", '{"endpoint": "x", "parts": [{"part_id": 3}]}'])
def test_a_file_of_something_else_is_refused_as_it_is(server, path, content):
    path.write_text(content)
    for call in (lambda: pending_keys(path), lambda: send(server, path), lambda: read_state(path, "x")):
        with pytest.raises(InputError, match=r"annotations\.jsonl\.batches\.json: not a file of batches"):
            call()
    assert path.read_text() == content and server.calls == []


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"{", b"[]", b"{}", b"[" * 99_999], ids=len)
@pytest.mark.parametrize("media_type", ["text/html", "application/json"])
def test_a_server_that_knows_no_batches_is_one_line(server, path, body, media_type):
    def no_batches(method, called):
        return responses.Response(body, media_type=media_type)

    server.before = no_batches
    with pytest.raises(InputError, match=r"cannot upload a file of requests \(malformed_answer\)"):
        send(server, path)
    server.before = lambda method, called: None
    send(server, path)
    server.before = no_batches
    with pytest.raises(InputError, match=r"cannot look at a batch \(malformed_answer\)"):
        gather(server, path)


def test_nobody_listening_is_one_line(path):
    with pytest.raises(InputError, match="cannot upload a file of requests \\(connection_failed\\)"):
        send(None, path, endpoint=Endpoint("http://127.0.0.1:1/v1", "127.0.0.1"))


def test_a_provider_that_never_comes_to_an_end_is_one_line(server, path, monkeypatch):
    monkeypatch.setattr(batch_api, "_LONGEST_CALL_S", 0.2)
    server.before = lambda method, asked: time.sleep(1)
    with pytest.raises(InputError, match="cannot upload a file of requests \\(timeout\\)"):
        send(server, path)


def test_no_report_and_no_key_is_written_down_or_logged(server, path, caplog, capfd, monkeypatch):
    monkeypatch.setenv("OPENAI_LOG", "debug")
    caplog.set_level(logging.DEBUG)
    send(server, path, credential="secret-key")
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = path.read_text()
    server.end(next(iter(server.batches)), answer)
    gather(server, path, credential="secret-key")
    said = written + caplog.text + "".join(capfd.readouterr())
    assert "key0" in written and "Zebra" not in said and "ZEBRA" not in said and "secret-key" not in said


def test_what_a_batch_brought_is_kept_by_its_question_once(reports, tmp_path):
    asked = {report.report_id: next(questions_for(report, asking(), model_of(None))) for report in reports}
    used = {"prompt_tokens": 1000, "completion_tokens": 1000}
    brought = [(asked["r4"].key_sha256, Response("['Effusion']", True, model="m-2024", usage=used))]
    brought += [(asked["r2"].key_sha256, Response("", True, error="500"))]
    budget = Budget(None, Price(2.0, 3.0, 0.5, "2026-01-01", "made up", "some-model"))
    with Ledger(tmp_path / "a.ledger") as ledger:
        run = Run(reports, asking(), model_of(None), ledger, budget, "api.openai.com")
        batches = SimpleNamespace(look=lambda: ([], iter(brought)))
        assert collect(run, batches) == "no batch under way"
        brought.pop()
        collect(run, batches)
        rows = list(run.rows())
        assert (run.outcome.asked, budget.spent, len(ledger)) == (2, 0.005, 1)
    assert [(row["report_id"], row["status"]) for row in rows] == [("r2", "failed"), ("r4", "ok")]
    assert (rows[1]["model_returned"], rows[1]["endpoint"]) == ("m-2024", "api.openai.com")
