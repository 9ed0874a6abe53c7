"""Tokens of prompts and training rows, made in one place, and the tokenizers of model folders."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from radtune.config import InputError, as_input_error
from radtune.files import read_json
from radtune.models.chat_frame import TOKENIZER, ChatFrame, read_frame, tokenizer_settings

if TYPE_CHECKING:
    from torchtune.data import Message

# torchtune is imported where it is needed: who asks a server counts tokens without it, and without waiting for torch.
# Llama 3's tokenizer file knows its special tokens by position; only other vocabularies bring a list of theirs.
_LLAMA3_VOCABULARY = 128_256


def chat_tokens(tokenizer: Any, message: str, answer: str) -> tuple[list[int], list[bool]]:
    """Tokens of a training row, the user's message and the answer to learn, and which of them are only context."""
    from torchtune.data import Message

    messages = [Message(role="user", content=message, masked=True), Message(role="assistant", content=answer)]
    tokens, masked = tokenizer.tokenize_messages(messages)
    return tokens, masked


def prompt_tokens(tokenizer: Any, message: str) -> list[int]:
    """Tokens of a prompt: exactly those that stand before the answer in a training row."""
    from torchtune.data import Message

    messages = [Message(role="user", content=message), Message(role="assistant", content="")]
    tokens, _ = tokenizer.tokenize_messages(messages, add_end_tokens=False)
    return tokens


def llama3_tokenizer(path: str, special_tokens_path: str | None = None, max_seq_len: int | None = None) -> Any:
    """Builds the tokenizer of a Llama 3 checkpoint, read from its file every time.

    tiktoken keeps a copy of each file it has read in the temporary folder, by the file's path alone: without this,
    another model put under the same path would be read with the old model's tokens, and nothing would say so.
    ``special_tokens_path`` is a ``tokenizer.json``, None for Llama 3's own; rows are cut at ``max_seq_len``.
    """
    from torchtune.models import llama3

    os.environ["TIKTOKEN_CACHE_DIR"] = ""
    return llama3.llama3_tokenizer(path, special_tokens_path=special_tokens_path, max_seq_len=max_seq_len)


def llama3_tokenizer_of(folder: Path, vocabulary: int, max_seq_len: int | None = None) -> Any:
    """The tokenizer of a model folder, ``original/tokenizer.model`` as Llama 3 ships it or ``tokenizer.json``.

    An InputError where it is another model's.
    """
    paths = [folder / "original" / "tokenizer.model", folder / "tokenizer.model"]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return json_tokenizer_of(folder, vocabulary, max_seq_len)
    special = None if vocabulary == _LLAMA3_VOCABULARY else str(folder / TOKENIZER)
    with as_input_error(f"{path}: not a tokenizer"):
        tokens, numbers = zip(*(line.split() for line in path.read_bytes().splitlines()), strict=True)
        if len(set(tokens)) != len(set(numbers)):
            # tiktoken ends its thread over it, and tells half a page.
            raise ValueError("two tokens have one number")
        tokenizer = llama3_tokenizer(str(path), special, max_seq_len)
    _check_count(1 + max(tokenizer.vocab_size - 1, *tokenizer.special_tokens.values()), vocabulary, path)
    return tokenizer


def json_tokenizer_of(folder: Path, vocabulary: int, max_seq_len: int | None = None) -> "ChatTokenizer":
    """The tokenizer of a model folder, its ``tokenizer.json`` and chat template; an InputError if another model's."""
    path = folder / TOKENIZER
    tokenizer = read_tokenizer(path)
    _check_count(1 + max(tokenizer.get_vocab().values(), default=0), vocabulary, path)
    return ChatTokenizer(tokenizer, read_frame(folder), _ends(folder, tokenizer), max_seq_len)


def read_tokenizer(path: Path) -> Tokenizer:
    """Reads a ``tokenizer.json``."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with as_input_error(f"{path}: not a tokenizer"):
        return Tokenizer.from_file(str(path))


def _check_count(count: int, vocabulary: int, path: Path) -> None:
    if not vocabulary / 2 <= count <= vocabulary:
        raise InputError(f"{path}: {count:,} tokens, but the model has {vocabulary:,}; it is another model's")


def _ends(folder: Path, tokenizer: Tokenizer) -> list[int]:
    """The tokens that end an answer by what a model folder says."""
    for name in ("generation_config.json", "config.json"):
        ends = read_json(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        ends = [ends] if type(ends) is int else ends
        if isinstance(ends, list) and ends and all(type(end) is int for end in ends):
            return ends
    token = tokenizer_settings(folder).get("eos_token")
    end = tokenizer.token_to_id(token) if isinstance(token, str) else None
    return [] if end is None else [end]


class ChatTokenizer:
    """A ``tokenizer.json`` with its model's chat frame; it has what is used here of torchtune's tokenizers.

    Special tokens are those of the frame: what looks like one in a message or an answer is text.

    Attributes:
        max_seq_len: Where training rows are cut; None for nowhere.
        stop_tokens: The tokens that end an answer, ascending.
    """

    def __init__(self, tokenizer: Tokenizer, frame: ChatFrame, ends: Sequence[int], max_seq_len: int | None) -> None:
        """Takes the tokens that end an answer besides the one that the frame ends it with."""
        added = tokenizer.get_added_tokens_decoder()
        self._tokenizer, self._frame = tokenizer, frame
        special = [token.content for token in added.values() if token.special]
        first, self._before, self._after, last = frame.split(special)
        self._first, self._last = self._encode(first, True), self._encode(last, True)
        closing = [number for number in self._encode(frame.tail, True) if number in added and added[number].special]
        # A row ends with one of them.
        self._end = [*closing, *ends][:1]
        self.stop_tokens = sorted({*ends, *self._end})
        self.max_seq_len = max_seq_len
        if not self._end:
            raise InputError("no eos_token_id, in generation_config.json or config.json, and none in the chat template")
        # A token of the frame in what the model writes would be learned as text.
        if not self._last or any(token in frame.lead for token in special):
            raise InputError("the chat template opens answers with no special token: a report could open one, too")

    def _encode(self, text: str, special: bool) -> list[int]:
        self._tokenizer.encode_special_tokens = not special
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode(self, text: str, add_bos: bool = False, add_eos: bool = False) -> list[int]:
        """The tokens of an answer's text, with what stands before it and, if wanted, with its end."""
        return [*self._encode(f"{self._frame.lead}{text}", False), *(self._end if add_eos else ())]

    def decode(self, token_ids: Sequence[int], truncate_at_eos: bool = False) -> str:
        """The text of an answer's tokens, without special ones."""
        return self._tokenizer.decode(list(token_ids)).removeprefix(self._frame.lead)

    def prompt(self, message: str) -> list[int]:
        """The tokens of a user's message in its frame."""
        return [*self._first, *self._encode(f"{self._before}{message.strip()}{self._after}", False), *self._last]

    def tokenize_messages(
        self, messages: "Sequence[Message]", *, add_end_tokens: bool = True
    ) -> tuple[list[int], list[bool]]:
        """Tokens of a user's message and, with end tokens, of the answer; which of them are only context."""
        message, answer = (message.text_content for message in messages)
        prompt = self.prompt(message)
        written = self.encode(answer.strip(), add_eos=True) if add_end_tokens else []
        tokens, masked = [*prompt, *written], [True] * len(prompt) + [False] * len(written)
        return tokens[: self.max_seq_len], masked[: self.max_seq_len]
