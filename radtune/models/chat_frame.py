"""What stands around a message and its answer: the frame that a model's own chat template makes of them.

A template is a program of whoever made the model: it is run once, in a process of its own, for some seconds and within
a gigabyte.
"""

import json
import multiprocessing
import re
import resource
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radtune.config import InputError
from radtune.files import read_json

TEMPLATE, TOKENIZER, TOKENIZER_CONFIG = "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"
# Stand for message and answer in a chat template; no template changes them, and no message holds them.
_MESSAGE, _ANSWER = "radtune-message", "radtune-answer"
# What a template may take: rendering takes milliseconds, and a busy machine stretches only what the clock says.
_CPU_SECONDS, _SECONDS, _BYTES = 2, 60, 2**20


@dataclass(frozen=True)
class ChatFrame:
    """The text around a prompt's one message, and around its answer.

    Attributes:
        before: What stands before the message.
        after: What stands behind it, up to the end of the prompt.
        lead: What stands between the prompt and the answer, and is written by the model.
        tail: What stands behind the answer; its first special token ends it.
        template: The chat template that gives all this.
    """

    before: str
    after: str
    lead: str
    tail: str
    template: str

    def split(self, special: Iterable[str]) -> tuple[str, str, str, str]:
        """The frame, cut where the text around a message begins and ends that has no special tokens.

        Such text is tokenized in one piece with the message, as a template's whole text would be.
        """
        tokens = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)")
        begins = max((found.end() for found in tokens.finditer(self.before)), default=0)
        found = tokens.search(self.after)
        ends = found.start() if found else len(self.after)
        return self.before[:begins], self.before[begins:], self.after[:ends], self.after[ends:]


# Without the system message with a date that the templates of Llama 3.1 and 3.2 add: no training row has it, and in
# Llama 3.2's it is another one every day.
LLAMA3 = ChatFrame(
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "",
    "<|eot_id|>",
    "<|begin_of_text|>{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{ (message['content'] | trim) + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
)
# By which a tokenizer is known to use it.
_LLAMA3_HEADER = "<|start_header_id|>"


def read_frame(folder: Path) -> ChatFrame:
    """The frame of a model folder's prompts: Llama 3's, else its own chat template's.

    Raises:
        InputError: There is no template, or it fails.
    """
    path = folder / TOKENIZER
    if path.is_file() and _LLAMA3_HEADER.encode() in path.read_bytes():
        return LLAMA3
    known = tokenizer_settings(folder)
    template = known.get("chat_template")
    if isinstance(template, list):
        parts = (part for part in template if isinstance(part, dict))
        template = next((part.get("template") for part in parts if part.get("name") == "default"), None)
    if (folder / TEMPLATE).is_file():
        try:
            template = (folder / TEMPLATE).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{folder / TEMPLATE}: not UTF-8") from None
    if not isinstance(template, str):
        raise InputError(f"{folder}: no chat template, in {TEMPLATE} or {TOKENIZER_CONFIG}; an instruct model has one")
    tokens = {name: text for name, text in known.items() if name.endswith("_token") and isinstance(text, str)}
    return frame_of(template, tokens, folder)


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """What a model folder says of its tokenizer beside its tokens, special ones as their texts."""
    known = {}
    for path in (folder / "special_tokens_map.json", folder / TOKENIZER_CONFIG):
        known |= read_json(path) if path.is_file() else {}
    return {name: value.get("content") if isinstance(value, dict) else value for name, value in known.items()}


def frame_of_tokenizer(tokenizer: Any) -> ChatFrame:
    """The same for a tokenizer of transformers."""
    if tokenizer.convert_tokens_to_ids(_LLAMA3_HEADER) not in (None, tokenizer.unk_token_id):
        return LLAMA3
    try:
        template = tokenizer.get_chat_template()
    except ValueError:
        raise InputError(f"{tokenizer.name_or_path}: its tokenizer has no chat template") from None
    return frame_of(template, tokenizer.special_tokens_map, tokenizer.name_or_path)


def frame_of(template: str, tokens: Mapping[str, str], where: object) -> ChatFrame:
    """The frame that a chat template makes; an InputError where it fails. ``tokens`` are ``bos_token`` and others."""
    # Imported before the fork, whose time and memory are limited.
    from transformers.utils.chat_template_utils import render_jinja_template

    context = multiprocessing.get_context("fork")
    answer, writer = context.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which the child has none of and needs none
        child = context.Process(target=_render, args=(render_jinja_template, template, tokens, writer), daemon=True)
        child.start()
    writer.close()
    failed = "has no end"
    prompt = whole = ""
    try:
        if answer.poll(_SECONDS):
            failed, prompt, whole = json.loads(answer.recv_bytes(_BYTES))
    except (EOFError, OSError):
        pass
    finally:
        child.kill()
        child.join()
    if not failed and prompt.count(_MESSAGE) != 1:
        failed = "does not hold the message once"
    if failed:
        raise InputError(f"{where}: its chat template {failed}")
    before, _, after = prompt.partition(_MESSAGE)
    # Some templates show the prompt otherwise once it is answered: their answers begin where the prompt ends.
    begun, _, tail = whole.partition(_ANSWER)
    lead = begun.removeprefix(prompt) if begun.startswith(prompt) else ""
    return ChatFrame(before, after, lead, tail, template)


def _render(render: Any, template: str, tokens: Mapping[str, str], answer: Any) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    used = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + 2**30, used + 2**30))
    asked = [{"role": "user", "content": _MESSAGE}]
    answered = [*asked, {"role": "assistant", "content": _ANSWER}]
    try:
        (prompt,), _ = render([asked], chat_template=template, add_generation_prompt=True, **tokens)
        (whole,), _ = render([answered], chat_template=template, **tokens)
        framed = ["", prompt, whole]
    except BaseException as error:  # whatever it raises, jinja's errors and MemoryError among them
        framed = [f"fails: {' '.join(str(error).split())[:200] or type(error).__name__}", "", ""]
    answer.send_bytes(json.dumps(framed).encode())
