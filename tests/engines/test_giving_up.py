"""Where a run stops by itself, because every further call would fail as well."""

import pytest
from chat_server import completion, error
from starlette.responses import RedirectResponse, Response

from radtune.config import InputError
from radtune.engines.calls import (
    MOST_FAILURES_IN_A_ROW,
    MOST_MIXED_FAILURES_IN_A_ROW,
    Limits,
    Reply,
    Sampling,
    ask_all,
)
from radtune.engines.guard import Endpoint

SAMPLING = Sampling("some-model", 0.0, 64)


def ask(endpoint, questions, concurrency=4):
    return dict(ask_all(endpoint, "key", SAMPLING, Limits(concurrency, 5.0, 0), questions, message=str))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (error(401, "invalid_api_key"), "OPENAI_API_KEY is not accepted"),
        (error(404, "model_not_found"), "no model 'some-model' there"),
        (error(400, "unsupported_parameter"), "max_tokens=null"),
        (Response("{"), "no chat completions"),
        (RedirectResponse("http://127.0.0.1:1/?text=zebra"), "it points elsewhere"),
    ],
)
def test_a_run_stops_where_the_first_calls_fail_alike(serve, answer, said):
    server = serve(lambda body, number: answer)
    with pytest.raises(InputError, match=f"5 calls in a row failed alike .*{said}"):
        ask(server.endpoint, range(1000), concurrency=64)
    assert len(server.requests) == MOST_FAILURES_IN_A_ROW


def test_a_run_stops_where_nobody_listens():
    with pytest.raises(InputError, match="connection_failed"):
        ask(Endpoint("http://127.0.0.1:1/v1", "127.0.0.1"), range(1000))


def test_a_run_stops_in_the_middle_and_what_was_answered_stays(serve):
    server = serve(lambda body, number: completion("x") if number <= 20 else error(403))
    answered = []
    with pytest.raises(InputError, match="403"):
        for question, reply in ask_all(server.endpoint, "key", SAMPLING, Limits(1, 5.0, 0), range(1000), message=str):
            answered.append((question, reply.text))
    assert answered == [(i, "x") for i in range(20)]


def test_a_run_stops_where_the_first_calls_fail_each_in_its_own_way(serve):
    server = serve(lambda body, number: error(500 + number % 2))
    with pytest.raises(InputError, match=r"all calls fail now \(50. some_error, 50. some_error\)\. Stopped"):
        ask(server.endpoint, range(1000), concurrency=64)
    assert len(server.requests) == MOST_FAILURES_IN_A_ROW


def test_a_run_stops_in_the_middle_where_all_calls_fail_each_in_its_own_way(serve):
    server = serve(lambda body, number: completion("x") if number <= 20 else error(500 + number % 2))
    with pytest.raises(InputError, match="all calls fail now"):
        ask(server.endpoint, range(1000), concurrency=1)
    assert len(server.requests) == 20 + MOST_MIXED_FAILURES_IN_A_ROW


def test_failures_now_and_then_do_not_stop_a_run(serve):
    server = serve(lambda body, number: error(404 if number % 2 else 403) if number % 4 else completion("x"))
    replies = ask(server.endpoint, range(40), concurrency=1)
    assert len(replies) == 40
    assert sum(reply.error is not None for reply in replies.values()) == 30


def test_a_report_that_is_too_long_says_nothing_about_the_next(serve):
    server = serve(lambda body, number: error(400, "context_length_exceeded"))
    assert {reply.error for reply in ask(server.endpoint, range(20)).values()} == {"400 context_length_exceeded"}


@pytest.mark.parametrize("status", [400, 413, 422, 500])
def test_nor_where_the_server_says_so_in_its_own_words_and_none_is_asked_twice(serve, status):
    said = "the request exceeds the available context size. Zebra."
    server = serve(lambda body, number: error(status, None, said))
    replies = dict(ask_all(server.endpoint, "key", SAMPLING, Limits(4, 5.0, 3), range(20), message=str))
    assert set(replies.values()) == {Reply(error=f"{status} context_length_exceeded")}
    assert len(server.requests) == 20


def test_fewer_questions_than_it_takes_to_stop_all_get_their_error(serve):
    server = serve(lambda body, number: error(401))
    assert ask(server.endpoint, range(4)) == {i: Reply(error="401 some_error") for i in range(4)}
