"""Before the first answer: whether a server frames prompts as its model was trained; that loading takes its time."""

import json
import time
from pathlib import Path

import pytest
from chat_server import completion, error
from tokenizers import Tokenizer

from radtune.ask.command import AskConfig
from radtune.config import parse_config
from radtune.engines import frame
from radtune.engines.choose import _patience, choose_models
from radtune.engines.prompt import Prompt, Sampling
from radtune.models.chat_frame import LLAMA3 as FRAME

MINI = Path("data/mini").resolve()
PROMPT = Prompt("r", "List.", "Zebra.", "llama3_chat", "0")
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"
DATE = HEADER.format("system") + "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
FRAMES = {
    "trained": (FRAME.before, FRAME.after),
    "a date": (f"<|begin_of_text|>{DATE}{HEADER.format('user')}", FRAME.after),
    "a short system message": (
        f"<|begin_of_text|>{HEADER.format('system')}<|eot_id|>{HEADER.format('user')}",
        FRAME.after,
    ),
    "begun twice": (f"<|begin_of_text|>{FRAME.before}", FRAME.after),
    "not begun": (FRAME.before.removeprefix("<|begin_of_text|>"), FRAME.after),
    "no turn of the model's": (FRAME.before, "<|eot_id|>"),
    "another family's": ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
}


def keys(server, **more):
    words = ["task=open_ended", "text=x", "engine=openai", "prompt=inference", "model=mine", f"base_url={server.url}"]
    words += ["timeout_s=20", "max_retries=0", *(f"{name}={value}" for name, value in more.items())]
    return parse_config(AskConfig, words)


@pytest.fixture
def said(serve, capsys):
    """What is said of a server of a frame, and how often it was asked."""
    tokenizer = Tokenizer.from_file(str(MINI / "tokenizer.json"))

    def said(kind, **more):
        before, after = FRAMES[kind]

        def answer(body, number):
            text = f"{before}{body['messages'][0]['content']}{after}"
            counted = len(tokenizer.encode(text, add_special_tokens=False).ids)
            return completion("x") | {"usage": {"prompt_tokens": counted, "completion_tokens": 1}}

        server = serve(answer)
        engine = choose_models(keys(server, **more), "")[0].load()
        for _ in range(2):
            assert [response.text for _, response in engine.generate([PROMPT], Sampling(0.0, 9))] == ["x"]
        return capsys.readouterr().err, len(server.requests) - 2

    return said


@pytest.mark.parametrize("kind", FRAMES)
def test_a_server_of_another_frame_is_told_of_where_the_model_is_here(said, kind, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(MINI)}))
    for named in ({"model": str(MINI)}, {"checkpoint_dir": MINI, "prompt": "labelling"}, {"adapter_dir": tmp_path}):
        line, asked = said(kind, **named)
        assert asked == 1
        assert line.count("\n") == (kind != "trained")
        assert kind == "trained" or line.startswith("127.0.0.1 frames prompts otherwise than the model of ")


def test_without_a_folder_a_system_message_is_told_of_to_who_asks_a_trained_model(said):
    assert said("trained") == ("", 1)
    line, _ = said("a date")
    assert (
        line.startswith("127.0.0.1 frames prompts otherwise than Llamas")
        and line.count("\n") == 1
        and "--chat-template" in line
    )
    assert said("a date", prompt="labelling") == ("", 0)


def test_a_light_install_without_tokenizers_looks_for_a_system_message_alone(said, monkeypatch):
    monkeypatch.setattr(frame, "find_spec", lambda name: None)
    assert said("begun twice", model=str(MINI)) == ("", 1)
    assert "than Llamas are trained here" in said("a date", model=str(MINI))[0]


def test_nothing_is_said_of_a_server_that_counts_nothing_or_fails_at_that(serve, capsys):
    for known in ({"choices": [{"message": {"content": "x"}}]}, {"error": "no"}, error(500), error(401)):
        server = serve(lambda body, number, known=known: known if body["max_tokens"] == 1 else completion("x"))
        engine = choose_models(keys(server), "")[0].load()
        assert [response.text for _, response in engine.generate([PROMPT], Sampling(0.0, 9))] == ["x"]
        assert (len(server.requests), capsys.readouterr().err) == (2, "")


def test_a_model_that_takes_a_second_to_load_says_so(capsys):
    for seconds, said in ((0.0, ""), (1.2, "loading model…\n")):
        with _patience():
            time.sleep(seconds)
        assert capsys.readouterr().err == said
