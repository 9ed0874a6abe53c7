"""Folders that are made to harm: sizes out of all proportion, JSON without an end, chat templates that are programs."""

import json
import shutil
import time
from pathlib import Path

import pytest
from test_adapters import by_torchtune, by_transformers
from transformers import AutoTokenizer

from radtune.config import InputError
from radtune.models.chat_frame import LLAMA3, frame_of_tokenizer

MINI = Path("data/mini")


@pytest.mark.parametrize("load", [by_torchtune, by_transformers])
@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 10**9},
        {"num_hidden_layers": 10**400},
        {"hidden_size": 10**9, "intermediate_size": 10**9},
        {"vocab_size": 10**9},
        {"vocab_size": 10**7},
        {"intermediate_size": 10**8},
        '{"a":' + "[" * 200_000 + "]" * 200_000 + "}",
        '{"model_type": "llama", "model_type": "qwen2"}',
    ],
    ids=lambda config: str(config)[:40],
)
def test_sizes_out_of_all_proportion_are_one_line(tmp_path, load, config):
    folder = Path(shutil.copytree(MINI, tmp_path / "model"))
    path, began = folder / "config.json", time.process_time()
    path.write_text(config if isinstance(config, str) else json.dumps(json.loads(path.read_text()) | config))
    with pytest.raises(InputError, match=r"config\.json") as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert time.process_time() - began < 10


def tokenizer_with(template):
    tokenizer = AutoTokenizer.from_pretrained(MINI)
    # Of no family that trains here: it is its template that frames a prompt.
    tokenizer.convert_tokens_to_ids = lambda token: None
    tokenizer.chat_template = template
    return tokenizer


def test_a_frame_is_the_familys_or_the_templates():
    tokenizer = AutoTokenizer.from_pretrained(MINI)
    tokenizer.chat_template = "{{ 1 / 0 }}"
    assert frame_of_tokenizer(tokenizer) == LLAMA3
    own = "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{% endfor %}{{ ' ->' * add_generation_prompt }}"
    frame = frame_of_tokenizer(tokenizer_with(own))
    assert (frame.before, frame.after, frame.lead, frame.tail) == ("[user] ", " ->", "", "")


MESSAGE = "{{ messages[0].content }}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for i in range(99999) %}" * 2 + "x{% endfor %}{% endfor %}" + MESSAGE, "has no end|fails"),
        ("{{ (10 ** (10 ** 10)) | length }}" + MESSAGE, "has no end|fails"),
        ("{% set x = namespace(t='x') %}{% for i in range(40) %}{% set x.t = x.t * 2 %}{% endfor %}", "fails|end"),
        ("{{ 'x' * 5000000 }}" + MESSAGE, "has no end"),
        ("{{ raise_exception('only with a system\nmessage') }}", "fails: only with a system message"),
        ("{{ messages[0].nothing.at_all }}", "fails: "),
        ("{% if %}", "fails: "),
        ("{{ cycler.__init__.__globals__.os.system('true') }}" + MESSAGE, "fails: "),
        ("hello", "does not hold the message once"),
        (f"A {MESSAGE} B {MESSAGE} C", "does not hold the message once"),
    ],
)  # fmt: skip
def test_templates_that_loop_raise_or_drop_the_message_are_one_line(template, message, monkeypatch):
    # A second instead of two, so that those without an end take less of ours.
    monkeypatch.setattr("radtune.models.chat_frame._CPU_SECONDS", 1)
    began = time.monotonic()
    with pytest.raises(InputError, match=f"its chat template .*({message})") as caught:
        frame_of_tokenizer(tokenizer_with(template))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 60


def test_a_tokenizer_without_a_template_is_one_line():
    with pytest.raises(InputError, match="its tokenizer has no chat template"):
        frame_of_tokenizer(tokenizer_with(None))
