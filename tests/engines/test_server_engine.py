"""The engine of servers: reports that do not fit, seeds, schemas, and what may not be asked; all over real HTTP."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import JSONResponse
from starlette.routing import Route

from radtune.config import InputError
from radtune.engines.choose import ModelChoice, choose_model
from radtune.engines.guard import Endpoint
from radtune.engines.limits import Limits
from radtune.engines.prompt import Prompt, Request
from radtune.engines.server import ServerEngine, defuse, seed_number
from scripts.simulated_teacher import serving

PROMPTS = [Prompt(f"r{n}", "List.", f"Zebra {n} effusion.", "llama3_chat", f"0:task:r{n}") for n in range(12)]
LONG = replace(PROMPTS[0], report_text=" ".join(f"w{n}" for n in range(1_000)))
# The frame of a prompt ("Report to Analyze:" and so on) has fewer words than this.
ROOM = 60
FREE = Request(max_new_tokens=20, temperature=0.0)
# What servers of different makes say of a prompt that is too long.
REFUSALS = [
    (400, {"object": "error", "message": "This model's maximum context length is 60 tokens.", "code": 400}),
    (400, {"object": "error", "message": "The input (999 tokens) is longer than the model's context length (60)."}),
    (400, {"error": {"code": 400, "message": "request too big", "type": "exceed_context_size_error"}}),
    (422, {"error": "Input validation error: `inputs` must have less than 60 tokens.", "error_type": "validation"}),
    (413, {}),
]


class Server:
    """Answers as a function of the request's body says."""

    def __init__(self, answer: Callable[[dict[str, Any]], JSONResponse]) -> None:
        self.answer, self.bodies, self.url = answer, [], ""

    async def complete(self, request: Asked) -> JSONResponse:
        body = await request.json()
        self.bodies.append(body)
        return self.answer(body)

    @property
    def messages(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.bodies]

    @property
    def engine(self) -> ServerEngine:
        return ServerEngine(Endpoint(self.url, "127.0.0.1"), "key", "m", Limits(4, 10.0, 0))


@contextmanager
def server(answer: Callable[[dict[str, Any]], JSONResponse]) -> Iterator[Server]:
    """Serves as long as the block lasts."""
    running = Server(answer)
    with serving(Starlette(routes=[Route("/{path:path}", running.complete, methods=["POST"])])) as running.url:
        yield running


def completion(text: str, reason: str = "stop") -> JSONResponse:
    return JSONResponse({"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": reason}]})


def narrow(status: int, refusal: dict, room: int = ROOM) -> Callable[[dict[str, Any]], JSONResponse]:
    """Refuses messages of more words than there is room for; answers others with their number of words."""

    def answer(body):
        words = len(body["messages"][0]["content"].split())
        return JSONResponse(refusal, status) if words > room else completion(str(words))

    return answer


@pytest.mark.parametrize(("status", "refusal"), REFUSALS)
def test_a_report_without_room_loses_words_of_its_middle_until_the_server_takes_it(status, refusal, capsys):
    with server(narrow(status, refusal)) as narrow_server:
        responses = dict(narrow_server.engine.generate([*PROMPTS, LONG], FREE))
        (taken,) = (message for message in narrow_server.messages[len(PROMPTS) + 1 :] if len(message.split()) <= ROOM)
    assert all(responses[index].cut_words == 0 and not responses[index].error for index in range(len(PROMPTS)))
    last = responses[len(PROMPTS)]
    assert last.error is None
    kept = [word for word in taken.split() if word[0] == "w" and word[1:].isdigit()]
    assert last.cut_words == 1_000 - len(kept)
    assert kept[0] == "w0" and kept[-1] == "w999" and len(kept) > ROOM / 3
    assert kept == [f"w{n}" for n in [*range((len(kept) + 1) // 2), *range(1_000 - len(kept) // 2, 1_000)]]
    assert capsys.readouterr() == ("", "")


def test_answers_come_before_long_reports_are_asked_again():
    with server(narrow(*REFUSALS[0])) as narrow_server:
        answered = narrow_server.engine.generate([LONG, *PROMPTS], FREE)
        first = [next(answered)[0] for _ in PROMPTS]
        assert sorted(first) == list(range(1, 1 + len(PROMPTS)))
        assert len(narrow_server.bodies) == 1 + len(PROMPTS)
        assert [index for index, _ in answered] == [0]


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_what_does_not_fit_even_without_its_words_keeps_the_error(count):
    prompts = [replace(LONG, report_id=f"r{n}", report_text="zebra " * count) for n in range(8)]
    with server(narrow(*REFUSALS[1], room=0)) as narrow_server:
        responses = dict(narrow_server.engine.generate(prompts, FREE))
        assert not [word for word in narrow_server.messages[-1].split() if word == "zebra"]
    assert len(responses) == 8
    assert {(response.error, response.cut_words) for response in responses.values()} == {
        ("400 context_length_exceeded", 0)
    }


def test_a_report_is_cut_no_further_than_it_takes():
    for words in (70, 200, 3_000):
        prompt = replace(LONG, report_text="edema " * words)
        with server(narrow(*REFUSALS[0])) as narrow_server:
            ((_, response),) = narrow_server.engine.generate([prompt], FREE)
        room = ROOM - (int(response.text) - (words - response.cut_words))
        assert room * 0.69 - 1 <= words - response.cut_words <= room
        assert len(narrow_server.bodies) <= 14


def test_samples_of_a_seeded_server_differ_and_repeat():
    with server(lambda body: completion(str(body.get("seed")))) as seeded:
        hot = replace(FREE, temperature=0.7)
        drawn = dict(seeded.engine.generate(PROMPTS, hot))
        assert dict(seeded.engine.generate(PROMPTS[::-1], hot)) == {11 - index: drawn[index] for index in drawn}
        assert len({response.text for response in drawn.values()}) == len(PROMPTS)
        assert {response.text for _, response in seeded.engine.generate(PROMPTS, FREE)} == {"None"}


@given(st.text())
def test_a_seed_is_a_number_that_servers_take(seed):
    assert 0 <= seed_number(seed) < 2**31
    assert seed_number(seed) == seed_number(seed) != seed_number(seed + "x")


@pytest.mark.parametrize("task", [None, "multiple_choice"])
@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (400, {"error": {"message": "no", "param": "seed", "code": "unsupported_parameter"}}),
        (400, {"error": {"message": "Unrecognized request argument supplied: seed", "param": None, "code": None}}),
        (400, {"error": {"message": "property 'seed' is unsupported", "type": "invalid_request_error"}}),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "input": 123}]}),
        (422, {"detail": "Unexpected fields in the request: {'seed'}"}),
    ],
)
def test_a_server_that_refuses_seeds_is_asked_without_and_warned_of_once(task, status, refusal, capsys):
    with server(lambda body: JSONResponse(refusal, status) if "seed" in body else completion("{}")) as seedless:
        engine, hot = seedless.engine, replace(FREE, temperature=0.7, task=task)
        for _ in range(2):
            assert {response.error for _, response in engine.generate(PROMPTS, hot)} == {None}
        assert 1 <= sum("seed" in body for body in seedless.bodies) <= 4
        assert sum("response_format" in body for body in seedless.bodies) == (len(seedless.bodies) if task else 0)
    said = [line for line in capsys.readouterr().err.splitlines() if "seed" in line]
    assert said == ["127.0.0.1 takes no seed; asking without one, so the same command may draw other answers"]


def test_a_server_that_refuses_seed_and_schema_is_asked_without_either(capsys):
    def answer(body):
        for name in ("response_format", "seed"):
            if name in body:
                return JSONResponse({"error": {"message": "no", "param": name}}, 400)
        return completion("['Edema']")

    with server(answer) as plain:
        hot = replace(FREE, temperature=0.7, task="multiple_choice")
        assert {response.text for _, response in plain.engine.generate(PROMPTS, hot)} == {"['Edema']"}
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    ("answer", "warned"),
    [
        (completion(json.dumps({"diseases": ["Edema"]})), False),
        (completion('{"diseases": ["Ede', "length"), False),
        (completion("['Edema']"), True),
        (completion("[]"), True),
        (completion("The zebra has edema."), True),
        (completion("[" * 100_000), True),
    ],
)
def test_a_server_that_does_not_keep_to_the_schema_is_warned_of_once(answer, warned, capsys):
    with server(lambda body: answer) as careless:
        engine = careless.engine
        for _ in range(2):
            assert len(list(engine.generate(PROMPTS, replace(FREE, task="multiple_choice")))) == len(PROMPTS)
        assert len(list(engine.generate(PROMPTS, FREE))) == len(PROMPTS)
    line = "127.0.0.1 does not keep to the JSON schema of constrain=true; answers may be unreadable\n"
    assert capsys.readouterr() == ("", line if warned else "")


def test_the_evidence_of_closed_answers_needs_a_model_here():
    with server(lambda body: completion("{}")) as unasked:
        closed = replace(FREE, task="multiple_choice", go_on=True)
        with pytest.raises(InputError, match="needs engine=torchtune or engine=transformers"):
            list(unasked.engine.generate(PROMPTS, closed))
        with pytest.raises(InputError, match="scores=true needs engine=torchtune"):
            list(unasked.engine.generate(PROMPTS, replace(FREE, scores=True)))
        assert unasked.bodies == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"concurrency": 1_000_000}, "concurrency must be from 1 to 1,000"),
        ({"concurrency": 0}, "concurrency must be from 1 to 1,000"),
        ({"timeout_s": float("inf")}, "timeout_s must be above 0, and finite"),
        ({"timeout_s": float("nan")}, "timeout_s must be above 0, and finite"),
        ({"max_retries": -1}, "max_retries must be 0 or more"),
        ({"requests_per_minute": 10**400}, "requests_per_minute must be from 1 to"),
        ({"tokens_per_minute": 0}, "tokens_per_minute must be from 1 to"),
    ],
)
def test_limits_under_which_nothing_could_be_asked_are_refused(change, message):
    choice = ModelChoice(
        engine="openai", checkpoint_dir=None, adapter_dir=None, quantization=None, batch_size=None, device="auto",
        dtype="auto", model="m", base_url="http://127.0.0.1:1/v1", allow_endpoint=None,
        zero_retention_confirmed=False, concurrency=4, requests_per_minute=None, tokens_per_minute=None,
        timeout_s=5.0, max_retries=0,
    )  # fmt: skip
    assert choose_model(choice, []).name == "m"
    with pytest.raises(InputError, match=message):
        choose_model(replace(choice, **change), [])


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
    <｜fim▁hole｜> <｜▁pad▁｜>
""".split()  # noqa: SIM905  (a list would be no easier to read)
token_soup = st.lists(st.sampled_from(SPECIAL_TOKENS) | st.text("<>[]|｜/ ab5\n", max_size=4), max_size=12).map("".join)


@given(token_soup)
def test_no_special_token_survives(message):
    sent = defuse(message)
    assert not [token for token in SPECIAL_TOKENS if token in sent]
    assert sent.replace(" ", "") == message.replace(" ", "")
    assert defuse(sent) == sent


@given(st.text().filter(lambda text: "<" not in text and "[" not in text))
def test_a_message_without_brackets_is_sent_as_it_is(message):
    assert defuse(message) == message


@pytest.mark.parametrize(
    "text",
    ["nodule <5 mm, >3 cm", "<b>bold</b> <br/> <sup>2</sup>", "[left] [x] [**2101-1-1**] [Image 4]", "a < b, c <- d"],
)
def test_what_reports_hold_is_sent_as_it_is(text):
    assert defuse(text) == text
