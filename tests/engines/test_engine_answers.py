"""What is asked of a server besides the message, and what is kept of its answer besides the text."""

import pytest
from chat_server import completion, error
from starlette.responses import JSONResponse

from radtune.config import InputError
from radtune.engines.calls import Limits, Sampling, ask_all
from radtune.engines.guard import Endpoint

SAMPLING = Sampling("some-model", 0.0, 64)
SCHEMA = {"name": "answer", "strict": True, "schema": {"type": "object"}}


def ask(endpoint, count=10, concurrency=4, credential="key", schema=None):
    limits = Limits(concurrency, 5.0, 0)
    return [reply for _, reply in ask_all(endpoint, credential, SAMPLING, limits, range(count), str, schema)]


def ask_with_schema(server, count=10):
    return ask(server.endpoint, count, schema=SCHEMA)


def test_a_schema_is_sent_and_its_answers_are_marked(serve, capsys):
    server = serve(lambda body, number: completion("{}"))
    assert {reply.as_json for reply in ask_with_schema(server)} == {True}
    sent = [body["response_format"] for _, body in server.requests]
    assert sent == [{"type": "json_schema", "json_schema": SCHEMA}] * 10
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "refusal",
    [
        JSONResponse({"error": {"message": "no", "param": "response_format", "code": "invalid_value"}}, 400),
        JSONResponse({"error": {"message": "Invalid parameter: 'response_format' of type 'json_schema'"}}, 400),
        JSONResponse({"detail": [{"loc": ["body", "response_format"], "msg": "extra"}]}, 422),
        error(400, "unsupported_parameter"),
    ],
)
def test_a_server_that_refuses_the_schema_is_asked_without_and_warned_of_once(serve, capsys, refusal):
    server = serve(lambda body, number: refusal if "response_format" in body else completion("[]"))
    replies = ask_with_schema(server)
    assert [(reply.text, reply.as_json) for reply in replies] == [("[]", False)] * 10
    out, err = capsys.readouterr()
    assert (out, err) == ("", "127.0.0.1 takes no JSON schema in response_format; asking for free text instead\n")
    # Nobody is asked with it again once it is refused.
    with_schema = ["response_format" in body for _, body in server.requests]
    assert 1 <= sum(with_schema) <= 4 and not any(with_schema[8:])


@pytest.mark.parametrize(
    "refusal",
    [
        JSONResponse({"error": {"message": "no", "param": "temperature", "code": "unsupported_value"}}, 400),
        error(400, "context_length_exceeded"),
        error(404),
    ],
)
def test_other_refusals_do_not_cost_the_schema(serve, capsys, refusal):
    server = serve(lambda body, number: refusal)
    assert {reply.as_json for reply in ask_with_schema(server, 4)} == {False}
    assert all("response_format" in body for _, body in server.requests)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("said", "model", "fingerprint"),
    [
        ({"model": "gpt-4o-2024-05-13", "system_fingerprint": "fp_44709d6fcb"}, "gpt-4o-2024-05-13", "fp_44709d6fcb"),
        ({"model": "meta-llama/Llama-3.1-8B@main"}, "meta-llama/Llama-3.1-8B@main", None),
        ({"model": "small pleural effusion", "system_fingerprint": "a\nb"}, None, None),
        ({"model": "x" * 500, "system_fingerprint": {"a": 1}}, None, None),
    ],
)
def test_model_and_fingerprint_are_kept_as_the_server_names_them(serve, said, model, fingerprint):
    (reply,) = ask(serve(lambda body, number: completion("x") | said).endpoint, 1)
    assert (reply.model, reply.fingerprint) == (model, fingerprint)


@pytest.mark.parametrize("reason", ["the report says effusion", "x" * 99, 3, ["stop"]])
def test_a_finish_reason_is_a_word_or_nothing(serve, reason):
    (reply,) = ask(serve(lambda body, number: completion("x", reason)).endpoint, 1)
    assert (reply.text, reply.finish_reason) == ("x", None)


def test_a_token_is_asked_for_at_every_call(serve):
    server = serve(lambda body, number: completion("x"))
    tokens = (f"token-{number}" for number in range(99))
    for endpoint in (server.endpoint, Endpoint(server.url.removesuffix("/v1"), "127.0.0.1", "2024-10-21")):
        assert len(ask(endpoint, 3, 1, lambda: next(tokens))) == 3
    carried = [request.headers["authorization"] for request, _ in server.requests]
    assert carried == [f"Bearer token-{number}" for number in range(6)]
    assert not any("api-key" in request.headers for request, _ in server.requests)


def test_a_token_that_cannot_be_got_ends_the_run(serve):
    def no_token():
        raise InputError("no token: log in again")

    server = serve(lambda body, number: completion("x"))
    with pytest.raises(InputError, match="log in again"):
        ask(server.endpoint, credential=no_token)
    assert server.requests == []
