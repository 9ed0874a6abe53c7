"""Calls over real HTTP to a server on the loopback address that answers well, badly, late or not at all."""

import asyncio
import threading
import time

import pytest
from chat_server import completion, error
from starlette.responses import RedirectResponse, Response, StreamingResponse

from radtune.engines.calls import Limits, Reply, Sampling, ask_all
from radtune.engines.guard import Endpoint

SAMPLING = Sampling("some-model", 0.0, 64)
USAGE = {"prompt_tokens": 10, "completion_tokens": 2}


def ask(endpoint, questions, *, concurrency=4, timeout_s=5.0, max_retries=0, sampling=SAMPLING, api_key="key"):
    limits = Limits(concurrency, timeout_s, max_retries)
    return dict(ask_all(endpoint, api_key, sampling, limits, questions, message=lambda question: f"about {question}"))


def one(serve, answer, **limits):
    """The reply to one question, and the server that gave it."""
    server = serve(answer)
    return ask(server.endpoint, ["q"], **limits)["q"], server


def test_every_question_gets_its_own_answer_over_few_calls_at_once(serve):
    running, most = 0, 0

    async def slowly(body):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return completion(body["messages"][0]["content"].upper())

    server = serve(lambda body, number: slowly(body))
    replies = ask(server.endpoint, (f"q{i}" for i in range(30)), concurrency=5)
    assert replies == {f"q{i}": Reply(f"ABOUT Q{i}", usage=USAGE, finish_reason="stop") for i in range(30)}
    assert len(server.requests) == 30 and 1 < most <= 5


def test_questions_are_taken_only_as_calls_become_free(serve):
    taken = []
    server = serve(lambda body, number: completion("x"))
    questions = (taken.append(i) or i for i in range(100))
    replies = ask_all(server.endpoint, "key", SAMPLING, Limits(3, 5.0, 0), questions, message=str)
    next(replies)
    assert len(taken) <= 6
    replies.close()
    assert len(server.requests) <= 6


def test_the_request_carries_the_parameters_and_the_key(serve):
    _, server = one(serve, lambda body, number: completion("x"))
    request, body = server.requests[0]
    assert body == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "about q"}],
        "temperature": 0.0,
        "max_tokens": 64,
    }
    assert request.headers["authorization"] == "Bearer key"
    assert request.url.path == "/v1/chat/completions"


def test_parameters_that_are_none_are_left_to_the_server(serve):
    _, server = one(serve, lambda body, number: completion("x"), sampling=Sampling("m", None, None))
    assert set(server.requests[0][1]) == {"model", "messages"}


def test_azure_has_its_own_path_key_and_is_told_to_store_nothing(serve):
    server = serve(lambda body, number: completion("x"))
    azure = Endpoint(server.url.removesuffix("/v1"), "127.0.0.1", "2024-10-21")
    assert ask(azure, ["q"])["q"].text == "x"
    request, body = server.requests[0]
    assert request.url.path == "/openai/deployments/some-model/chat/completions"
    assert request.url.query == "api-version=2024-10-21"
    assert request.headers["api-key"] == "key"
    assert body["store"] is False


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (completion("['a'", "length"), Reply("['a'", finished=False, usage=USAGE, finish_reason="length")),
        (
            completion("['a'", "content_filter"),
            Reply("['a'", refused=True, usage=USAGE, finish_reason="content_filter"),
        ),
        (completion(None, refusal="I cannot."), Reply("", refused=True, usage=USAGE, finish_reason="stop")),
        (completion(""), Reply("", usage=USAGE, finish_reason="stop")),
        (completion(None), Reply(error="empty_answer", usage=USAGE, finish_reason="stop")),
        (completion(None, "length"), Reply(finished=False, usage=USAGE, finish_reason="length")),
        (completion("x", "eos"), Reply("x", usage=USAGE, finish_reason="eos")),
        ({"choices": [{"message": {"content": "x"}}]}, Reply("x")),
        ({"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "many"}}, Reply("x")),
    ],
)
def test_how_an_answer_ended_is_read(serve, body, reply):
    assert one(serve, lambda _, number: body)[0] == reply


def test_half_a_surrogate_pair_comes_through_as_a_question_mark(serve):
    raw = b'{"choices": [{"message": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}'
    server = serve(lambda body, number: Response(raw, media_type="application/json"))
    assert ask(server.endpoint, ["\udfff"]) == {"\udfff": Reply("a?b", finish_reason="stop")}
    assert server.requests[0][1]["messages"][0]["content"] == "about ?"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"<html>busy</html>",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"choices": [{"message": {"content": ["a"]}}]}',
        b'{"error": {"code": "oops"}}',
        b"\xff\xfe\xfd",
        b"[" * 100_000,
    ],
)
def test_what_is_no_chat_completion_is_an_error(serve, body):
    reply, _ = one(serve, lambda _, number: Response(body, media_type="application/json"))
    assert reply == Reply(error="malformed_answer")


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (error(401, "invalid_api_key"), Reply(error="401 invalid_api_key")),
        (error(404, "model_not_found"), Reply(error="404 model_not_found")),
        (error(400), Reply(error="400 some_error")),
        (error(400, "the report said: effusion"), Reply(error="400 some_error")),
        (error(400, "effusion"), Reply(error="400 some_error")),
        (error(404, "DeploymentNotFound"), Reply(error="404 DeploymentNotFound")),
        (error(400, "content_filter"), Reply(refused=True, finish_reason="content_filter")),
        (Response("busy", 503), Reply(error="503")),
        (RedirectResponse("http://127.0.0.1:1/"), Reply(error="307")),
    ],
)
def test_errors_are_kept_by_their_code_alone(serve, answer, reply):
    assert one(serve, lambda _, number: answer)[0] == reply


def test_a_busy_or_broken_server_is_asked_again(serve):
    answers = [error(429, "rate_limit_exceeded", **{"retry-after-ms": "10"}), error(500), completion("x")]
    reply, server = one(serve, lambda body, number: answers[number - 1], max_retries=2)
    assert reply.text == "x" and len(server.requests) == 3


def test_the_pause_that_a_server_asks_for_is_kept(serve):
    answers = [error(429, **{"retry-after": "1"}), completion("x")]
    start = time.monotonic()
    reply, _ = one(serve, lambda body, number: answers[number - 1], max_retries=1)
    assert reply.text == "x"
    assert 1 <= time.monotonic() - start < 4


@pytest.mark.parametrize(
    "answer",
    [
        Response("{"),
        completion(None),
        {"choices": []},
        error(408),
        error(409),
        error(418, **{"x-should-retry": "true"}),
    ],
)
def test_what_may_pass_is_asked_again(serve, answer):
    reply, server = one(serve, lambda body, number: answer if number == 1 else completion("x"), max_retries=1)
    assert reply.text == "x" and len(server.requests) == 2


def test_a_pause_that_one_call_is_told_holds_for_all(serve):
    arrivals = []

    async def answer(number):
        arrivals.append(time.monotonic())
        # The second call is under way when the first is told to wait.
        await asyncio.sleep(0.2 if number == 2 else 0)
        return error(429, **{"retry-after": "1"}) if number == 1 else completion("x")

    server = serve(lambda body, number: answer(number))
    assert len(ask(server.endpoint, range(10), concurrency=2, max_retries=1)) == 10
    assert arrivals[1] - arrivals[0] < 0.5
    assert arrivals[2] - arrivals[0] >= 1


@pytest.mark.parametrize(
    "answer", [error(401), error(429, "insufficient_quota"), error(500, **{"x-should-retry": "false"})]
)
def test_errors_that_will_not_pass_are_not_asked_again(serve, answer):
    _, server = one(serve, lambda body, number: answer, max_retries=3)
    assert len(server.requests) == 1


def test_a_slow_server_times_out(serve):
    async def late():
        await asyncio.sleep(0.6)
        return completion("x")

    assert one(serve, lambda body, number: late(), timeout_s=0.1)[0] == Reply(error="timeout")


def test_an_answer_packed_wrongly_is_a_broken_connection(serve):
    packed = Response(b"no gzip", headers={"content-encoding": "gzip"})
    assert one(serve, lambda body, number: packed)[0] == Reply(error="connection_failed")


def test_a_server_that_drips_bytes_times_out(serve):
    async def drip():
        for _ in range(50):
            yield b" "
            await asyncio.sleep(0.05)

    assert one(serve, lambda body, number: StreamingResponse(drip()), timeout_s=0.3)[0] == Reply(error="timeout")


def test_a_proxy_in_the_environment_does_not_get_what_is_for_this_machine(serve, monkeypatch):
    proxy = serve(lambda body, number: completion("from the proxy"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    assert one(serve, lambda body, number: completion("x"))[0].text == "x"
    assert proxy.requests == []


def test_an_abandoned_run_leaves_no_call_behind(serve):
    release = threading.Event()

    async def answer(number):
        while number > 1 and not release.is_set():
            await asyncio.sleep(0.01)
        return completion("x")

    server = serve(lambda body, number: answer(number))
    replies = ask_all(server.endpoint, "key", SAMPLING, Limits(4, 5.0, 0), range(50), message=str)
    next(replies)
    replies.close()
    release.set()
    assert len(server.requests) <= 5
