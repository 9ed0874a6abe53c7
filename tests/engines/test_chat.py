"""Whatever a server sends is read without an exception, and nothing but the answer itself is kept of its words."""

import json
import unicodedata

import pytest
from chat_server import completion
from hypothesis import given
from hypothesis import strategies as st

from radtune.engines.chat import (
    MOST_TOKENS,
    defuse,
    failure,
    read_error,
    read_reply,
    refused_parameter,
    request_body,
    seed_number,
)
from radtune.engines.guard import Endpoint
from radtune.engines.prompt import Response, Sampling
from radtune.tasks import load_task, task_names

USAGE = {"prompt_tokens": 10, "completion_tokens": 2}
DECLINED = Response("", True, refused=True, finish_reason="content_filter")
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


@given(st.binary(max_size=60) | bodies.map(lambda body: json.dumps(body).encode()))
def test_any_bytes_become_a_reply_that_can_be_written_down(content):
    reply = read_reply(content)
    assert reply.error in (None, "malformed_answer", "empty_answer")
    assert isinstance(reply.text, str) and json.dumps(reply.text, ensure_ascii=False).encode()
    assert all(type(count) is int and 0 <= count <= MOST_TOKENS for count in (reply.usage or {}).values())
    for word in (reply.model, reply.fingerprint, reply.finish_reason):
        assert word is None or (word.isascii() and word.isprintable() and " " not in word and len(word) <= 128)


@pytest.mark.parametrize(
    ("body", "response"),
    [
        (completion("x"), Response("x", True, usage=USAGE, finish_reason="stop")),
        (completion("x", "length"), Response("x", False, usage=USAGE, finish_reason="length")),
        (completion("x", "MAX_TOKENS"), Response("x", False, usage=USAGE)),
        (completion("x", "model_length"), Response("x", False, usage=USAGE, finish_reason="model_length")),
        (completion("['a']", "error"), Response("", True, error="broken_off")),
        (completion(None, "length"), Response("", False, usage=USAGE, finish_reason="length")),
        (
            completion("x", "content_filter"),
            Response("x", True, refused=True, usage=USAGE, finish_reason="content_filter"),
        ),
        (completion(None, refusal="I cannot."), Response("", True, refused=True, usage=USAGE, finish_reason="stop")),
        ({"choices": []}, Response("", True, refused=True, finish_reason="content_filter")),
        (completion(""), Response("", True, usage=USAGE, finish_reason="stop")),
        (completion(None), Response("", True, error="empty_answer", usage=USAGE, finish_reason="stop")),
        *(
            (completion("x") | {"usage": {"prompt_tokens": count}}, Response("x", True, finish_reason="stop"))
            for count in ("many", "9", 10**400, -1, 2.5, True)
        ),
        ({"choices": [{"message": None}]}, failure("malformed_answer")),
        ({"choices": [{"message": "a"}]}, failure("malformed_answer")),
        ({"choices": [{"message": None, "finish_reason": "content_filter"}]}, DECLINED),
        ({"choices": [{"message": {"content": None}, "finish_reason": "SAFETY"}]}, Response("", True, refused=True)),
        (
            {"choices": [{"message": {}, "content_filter_results": {"hate": {"filtered": True}}}]},
            Response("", True, refused=True),
        ),
        ({"choices": None, "promptFeedback": {"blockReason": "SAFETY"}}, DECLINED),
        (
            {"error": {"code": 403, "message": "Your chosen model requires moderation and your input was flagged"}},
            DECLINED,
        ),
        # What a model thinks stands beside its answer, or in a part of its own.
        (completion("x", reasoning_content="['a']"), Response("x", True, usage=USAGE, finish_reason="stop")),
        (completion(None, reasoning="['a']"), Response("", True, usage=USAGE, finish_reason="stop")),
        (
            completion(
                [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "['a']"}]},
                    {"type": "text", "text": "['b'"},
                    {"type": "text", "text": "]"},
                ]
            ),
            Response("['b']", True, usage=USAGE, finish_reason="stop"),
        ),
        (
            completion([{"type": "thinking", "thinking": "['a']"}]),
            Response("", True, error="empty_answer", usage=USAGE, finish_reason="stop"),
        ),
    ],
)
def test_how_an_answer_ended_is_read(body, response):
    assert read_reply(json.dumps(body).encode()) == response


def test_model_and_fingerprint_are_kept_as_the_server_names_them_but_no_sentence():
    for name in ("gpt-4o-2024-05-13", "meta-llama/Llama-3.1-8B@main", "small pleural effusion", "x" * 500, {"a": 1}):
        read = read_reply(json.dumps(completion("x") | {"model": name, "system_fingerprint": name}).encode())
        kept = name if name in ("gpt-4o-2024-05-13", "meta-llama/Llama-3.1-8B@main") else None
        assert (read.model, read.fingerprint) == (kept, kept)
    for deep in (b"[" * 100_000, b"\xff\xfe\xfd", b""):
        assert read_reply(deep) == failure("malformed_answer")


@given(st.integers(300, 599), st.binary(max_size=60) | bodies.map(lambda body: json.dumps(body).encode()))
def test_any_error_becomes_a_status_and_a_code(status, content):
    reply = read_error(status, content)
    assert (reply.error or "").split(" ")[0] == str(status) or reply == Response(
        "", True, refused=True, finish_reason="content_filter"
    )
    assert len((reply.error or "").split(" ")) <= 2
    assert refused_parameter(status, content, ["seed"]) in (None, "seed")
    assert refused_parameter(status, content, []) is None


# Messages as servers word them; each may stand beside more or within "error".
# fmt: off
LONG = [
    (400, "Your input exceeds the context window of this model."),  # OpenAI
    (400, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in"),  # vLLM
    (400, "The decoder prompt (length 10127) is longer than the maximum model length of 8192. Make sure"),
    (400, "max_tokens must be at least 1, got -186."),
    (400, "The input (61709 tokens) is longer than the model's context length (40960 tokens)."),  # SGLang
    (400, "Requested token count exceeds the model's maximum context length of 202752 tokens."),
    (400, "request (14429 tokens) exceeds the available context size (8192 tokens), try increasing it"),  # llama.cpp
    (500, "the request exceeds the available context size. try increasing the context size or ..."),
    (400, "Requested tokens (2285) exceed context window of 2048"),  # llama-cpp-python
    (400, "The number of tokens to keep from the initial prompt is greater than the context length."),  # LM Studio
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 1512. Given: 1000 `inputs`"),  # TGI
    (422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 1168"),
    (400, "The sum of prompt length (9351.0), query length (0) should not exceed max_num_tokens (8192)"),  # TensorRT
    (413, "Request Entity Too Large"),  # a proxy
]
# fmt: on
BODIES = [
    lambda said: {"object": "error", "message": said, "type": "BadRequestError", "param": None, "code": 400},
    lambda said: {"error": {"message": said, "type": "BadRequestError", "param": "input_tokens", "code": 400}},
    lambda said: {"error": said, "error_type": "validation"},
    lambda said: f"<html>{said}</html>",
    lambda said: {"error": {"message": "no", "type": "invalid_request_error", "code": "context_length_exceeded"}},
    lambda said: {"error": {"message": "no", "type": "exceed_context_size_error", "code": 400, "n_ctx": 8192}},
]


@pytest.mark.parametrize(("status", "said"), LONG)
def test_a_message_that_is_too_long_has_one_code_whatever_the_server_says(status, said):
    for body in BODIES:
        content = json.dumps(body(f"{said} Zebra.")).encode()
        assert read_error(status, content) == failure(f"{status} context_length_exceeded")
        assert refused_parameter(status, content, ["seed", "response_format"]) is None


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": {"message": "max_tokens=5000 cannot be greater than max_model_len=4096", "code": 400}}, "400"),
        (400, {"error": {"message": "no", "code": "model_not_found"}}, "400 model_not_found"),
        (422, {"detail": "Long report: tubes in place, too long to list; context: sepsis, maximum length 4 cm"}, "422"),
        (429, {"error": {"message": "Limit of tokens; maximum context length is 8", "code": "rate_limit_exceeded"}},
         "429 rate_limit_exceeded"),
        (404, {"error": {"code": "context_length_exceeded"}}, "404 context_length_exceeded"),
        (404, {"error": {"code": "DeploymentNotFound"}}, "404 DeploymentNotFound"),
        (400, {"error": {"code": "the report said: effusion", "type": "some_error"}}, "400 some_error"),
        (400, {"error": {"code": "400", "message": "litellm: it triggered Azure OpenAI's content management policy"}},
         None),
        (403, {"error": {"code": 403, "message": "Input was flagged", "metadata": {"reasons": ["violence"]}}}, None),
        (400, {"error": {"code": "invalid_prompt", "message": "flagged as potentially violating our usage policy"}},
         None),
        (400, {"error": {"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}},
         None),
        (500, {"error": {"code": "500", "message": "litellm.ContentPolicyViolationError: BedrockException"}}, None),
        (400, {"error": {"message": "Report: moderate effusion, no guardrail, filtered images"}}, "400"),
    ],
)  # fmt: skip
def test_other_errors_keep_their_code(status, body, error):
    assert read_error(status, json.dumps(body).encode()).error == error


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (400, {"error": {"message": "no", "param": "seed", "code": "unsupported_parameter"}}, "seed"),
        (400, {"error": {"message": "Unrecognized request argument supplied: seed", "param": None}}, "seed"),
        (400, {"error": {"message": "property 'seed' is unsupported", "type": "invalid"}}, "seed"),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "input": 123}]}, "seed"),
        (400, {"error": {"message": "no", "param": "response_format", "code": "invalid"}}, "response_format"),
        (400, {"error": {"message": "Invalid: 'response_format' of type 'json_schema'"}}, "response_format"),
        (422, {"detail": [{"loc": ["body", "response_format"], "msg": "extra"}]}, "response_format"),
        (400, {"error": {"message": "no", "code": "unsupported_parameter"}}, "response_format"),
        (400, {"error": {"message": "no", "param": "temperature", "code": "unsupported_value"}}, None),
        (404, {"error": {"message": "no", "param": "seed"}}, None),
        (400, {"error": {"message": "no", "param": "temperature", "detail": "'seed'"}}, None),
        (400, {"detail": [{"loc": ["body", "model"], "input": {"model": "m", "seed": 12}}]}, None),
        (400, {"error": {"message": "Report: brachytherapy seed: in place, a seed 4 mm."}}, None),
    ],
)
def test_the_parameter_that_a_server_refuses_is_found(status, body, refused):
    content = json.dumps(body).encode()
    assert refused_parameter(status, content, ["response_format", "seed"]) == refused
    assert refused_parameter(status, content, [name for name in ("response_format", "seed") if name != refused]) is None


def test_only_who_would_store_a_request_is_told_not_to():
    body = {"model": "m", "messages": [{"role": "user", "content": "a?"}]}
    assert request_body(LOCAL, "m", "a\ud800", Sampling(None, None)) == body
    assert request_body(OPENAI, "m", "a\ud800", Sampling(None, None)) == body | {"store": False}


@given(st.text())
def test_a_seed_is_a_number_that_servers_take(seed):
    assert 0 <= seed_number(seed) < 2**31
    assert seed_number(seed) == seed_number(seed) != seed_number(seed + "x")


# As their tokenizer.json or their model card has them.
SPECIAL_TOKENS = """
    <|begin_of_text|> <|eot_id|> <|start_header_id|> <|end_header_id|> <|reserved_special_token_5|> <|python_tag|>
    <s> </s> <unk> <pad> <bos> <eos> <mask> <cls> <sep> <BOS_TOKEN> <|START_OF_TURN_TOKEN|> <<SYS>> <</SYS>>
    <start_of_turn> <end_of_turn> <start_of_image> <image_soft_token> <unused7> <turn|> <|turn> <|channel> <channel|>
    [INST] [/INST] [TOOL_CALLS] [/TOOL_RESULTS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [SYSTEM_PROMPT] [/THINK] [IMG]
    <|im_start|> <|im_end|> <|endoftext|> <|fim_prefix|> <|fim-prefix|> <|vision_start|> <think> </think> <tool_call>
    </tool_call> <|assistant|> <|end|> <|return|> <|channel|> <|message|> <|User|> <|EOT|> <fim_prefix> <fim-suffix>
    <file_sep> <repo_name> <extra_id_0> <SPECIAL_12> <reserved_106> <seed:bos> <sop> [gMASK] [MASK] [CLS] [|endofturn|]
    <｜begin▁of▁sentence｜> <｜end▁of▁sentence｜> <｜User｜> <｜Assistant｜> <｜tool▁calls▁begin｜>
    <｜fim▁hole｜> <｜▁pad▁｜> ]~b] ]~!b[ [e~[ ]!p~[ ]<]image[>[ [unused9] [UNUSED_TOKEN_145] <role>
    </role> <_system> <_end> <C_Q> <用户> <AI> <mask:0> [EOT] [BOS] [@BOS@] [multimodal] [extra_id_3] <EOT> <PRE>
""".split()  # noqa: SIM905  (a list would be no easier to read)
token_soup = st.lists(st.sampled_from(SPECIAL_TOKENS) | st.text("<>[]|｜/ ab5\n", max_size=4), max_size=12).map("".join)


@given(token_soup)
def test_no_special_token_survives(message):
    sent = defuse(message)
    assert not [token for token in SPECIAL_TOKENS if token in sent]
    assert sent.replace(" ", "") == message.replace(" ", "")
    # Nor one that a normalizer makes.
    assert "<|" not in defuse(message.replace("<|", "<\u200b|")).replace("\u200b", "")
    wide = message.translate(str.maketrans("<>", "＜＞"))
    assert not [token for token in SPECIAL_TOKENS if token in unicodedata.normalize("NFKC", defuse(wide))]
    assert defuse(sent) == sent


@given(st.text().filter(lambda text: not set(text) & set("<＜[]")))
def test_a_message_without_brackets_is_sent_as_it_is(message):
    assert defuse(message) == message


@pytest.mark.parametrize(
    "text",
    [
        "nodule <5 mm, >3 cm",
        "<b>bold</b> <br/> <sup>2</sup> <h2>",
        "[left] [x] [**2101-1-1**] [Image 4] [~3cm] [a]~b",
        "a < b, c <- d",
        *(load_task(name).prompt(use).instruction for name in task_names() for use in ("inference",)),
    ],
)
def test_what_reports_hold_is_sent_as_it_is(text):
    assert defuse(text) == text
