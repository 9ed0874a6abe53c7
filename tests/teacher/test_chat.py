"""Whatever a server sends is read without an exception, and nothing but the answer itself is kept of its words."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.teacher.chat import MOST_TOKENS, Reply, Sampling, read_error, read_reply, refuses_schema, request_body
from radtune.teacher.endpoint import Endpoint

LOCAL = Endpoint("http://127.0.0.1:1/v1", "127.0.0.1")
OPENAI = Endpoint("https://api.openai.com/v1", "api.openai.com")

names = st.sampled_from(
    ["choices", "message", "content", "refusal", "finish_reason", "usage", "prompt_tokens", "model", "error", "code"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
messages = st.dictionaries(st.sampled_from(["content", "refusal"]), values)
choices = st.dictionaries(st.sampled_from(["message", "finish_reason"]), messages | values)
fields = st.dictionaries(names, values, max_size=3)
completions = st.builds(lambda some, choice: some | {"choices": [choice]}, fields, choices)
bodies = values | completions


@settings(deadline=None)
@given(st.binary(max_size=60) | bodies.map(lambda body: json.dumps(body).encode()))
def test_any_bytes_become_a_reply_that_can_be_written_down(content):
    reply = read_reply(content)
    assert reply.error in (None, "malformed_answer", "empty_answer")
    assert isinstance(reply.text, str) and json.dumps(reply.text, ensure_ascii=False).encode()
    assert all(type(count) is int and 0 <= count <= MOST_TOKENS for count in (reply.usage or {}).values())
    for word in (reply.model, reply.fingerprint, reply.finish_reason):
        assert word is None or (word.isascii() and word.isprintable() and " " not in word and len(word) <= 128)


@pytest.mark.parametrize("count", [10**30, 10**400, -1, 2.5, True, "9"])
def test_a_count_of_tokens_that_cannot_be_is_none(count):
    choice = {"message": {"content": "x"}, "finish_reason": "stop"}
    body = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": count}}
    assert read_reply(json.dumps(body).encode()).usage == {"prompt_tokens": 3}


@settings(deadline=None)
@given(st.integers(300, 599), st.binary(max_size=60) | bodies.map(lambda body: json.dumps(body).encode()))
def test_any_error_becomes_a_status_and_a_code(status, content):
    reply = read_error(status, content)
    assert (reply.error or "").split(" ")[0] == str(status) or reply == Reply(
        refused=True, finish_reason="content_filter"
    )
    assert len((reply.error or "").split(" ")) <= 2
    assert isinstance(refuses_schema(status, content), bool)


@pytest.mark.parametrize("endpoint", [LOCAL, OPENAI])
def test_the_request_holds_what_is_asked_for_and_no_more(endpoint):
    storing = {"store": False} if endpoint is OPENAI else {}
    body = {"model": "m", "messages": [{"role": "user", "content": "a?"}]} | storing
    assert request_body(endpoint, Sampling("m", None, None), "a\ud800") == body
    schema = {"name": "answer", "schema": {}}
    held = request_body(endpoint, Sampling("m", 0.0, 5), "a?", schema)
    assert held == body | {
        "temperature": 0.0,
        "max_tokens": 5,
        "response_format": {"type": "json_schema", "json_schema": schema},
    }
