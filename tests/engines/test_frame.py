"""Before a server's first answer: whether it frames prompts as its model was trained, and whether it can be reached."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from chat_server import completion
from tokenizers import Tokenizer

from radtune.engines.choose import choose_model
from radtune.models.families import FAMILIES

MINI = Path("data/mini").resolve()
FRAME = FAMILIES[0].frame
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
    given = {
        "engine": "openai", "checkpoint_dir": None, "adapter_dir": None, "quantization": None, "prompt": "inference",
        "model": "mine", "base_url": server.url, "azure_endpoint": None, "api_version": None, "allow_endpoint": None,
        "zero_retention_confirmed": False, "concurrency": 4, "requests_per_minute": None, "tokens_per_minute": None,
        "timeout_s": 20.0, "max_retries": 0,
    }  # fmt: skip
    return SimpleNamespace(**given | more)


@pytest.fixture
def said(serve, capsys):
    """What is said of a server of a frame, and how often it was asked."""
    tokenizer = Tokenizer.from_file(str(MINI / "tokenizer.json"))

    def said(frame, **more):
        before, after = FRAMES[frame]

        def answer(body, number):
            text = f"{before}{body['messages'][0]['content']}{after}"
            counted = len(tokenizer.encode(text, add_special_tokens=False).ids)
            return completion("x") | {"usage": {"prompt_tokens": counted, "completion_tokens": 1}}

        server = serve(answer)
        choose_model(keys(server, **more), []).load()
        return capsys.readouterr().err, len(server.requests)

    return said


@pytest.mark.parametrize("frame", FRAMES)
def test_a_server_of_another_frame_is_told_of_where_the_model_is_here(said, frame, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(MINI)}))
    for named in ({"model": str(MINI)}, {"checkpoint_dir": MINI, "prompt": "labelling"}, {"adapter_dir": tmp_path}):
        error, asked = said(frame, **named)
        assert asked == 1
        assert error.count("\n") == (frame != "trained")
        assert frame == "trained" or error.startswith("127.0.0.1 frames prompts otherwise than the model of ")


def test_without_a_folder_a_system_message_is_told_of_to_who_asks_a_trained_model(said):
    assert said("trained") == ("", 2)
    error, _ = said("a date")
    assert error.startswith("127.0.0.1 puts ") and error.count("\n") == 1 and "--chat-template" in error
    assert said("a date", prompt="labelling") == ("", 0)


def test_a_server_that_counts_nothing_or_fails_is_asked_once_and_nothing_is_said(serve, capsys):
    for answer in ({"choices": [{"message": {"content": "x"}}]}, {"error": "no"}):
        server = serve(lambda body, number, answer=answer: answer)
        choose_model(keys(server), []).load()
        assert (len(server.requests), capsys.readouterr().err) == (1, "")
