"""Tokens of prompts and training rows, made in one place, and the tokenizers of model folders."""

import os
from pathlib import Path
from typing import Any

from torchtune.data import Message
from torchtune.models import llama3

from radtune.config import InputError

# Llama 3's tokenizer file knows its special tokens by position; only other vocabularies bring a list of theirs.
_LLAMA3_VOCABULARY = 128_256


def chat_tokens(tokenizer: Any, message: str, answer: str) -> tuple[list[int], list[bool]]:
    """Tokens of a training row, the user's message and the answer to learn, and which of them are only context."""
    messages = [Message(role="user", content=message, masked=True), Message(role="assistant", content=answer)]
    tokens, masked = tokenizer.tokenize_messages(messages)
    return tokens, masked


def prompt_tokens(tokenizer: Any, message: str) -> list[int]:
    """Tokens of a prompt: exactly those that stand before the answer in a training row."""
    messages = [Message(role="user", content=message), Message(role="assistant", content="")]
    tokens, _ = tokenizer.tokenize_messages(messages, add_end_tokens=False)
    return tokens


def llama3_tokenizer(path: str, special_tokens_path: str | None = None, max_seq_len: int | None = None) -> Any:
    """Builds the tokenizer of a Llama 3 checkpoint, read from its file every time.

    tiktoken keeps a copy of each file it has read in the temporary folder, by the file's path alone: without this,
    another model put under the same path would be read with the old model's tokens, and nothing would say so.
    ``special_tokens_path`` is a ``tokenizer.json``, None for Llama 3's own; rows are cut at ``max_seq_len``.
    """
    os.environ["TIKTOKEN_CACHE_DIR"] = ""
    return llama3.llama3_tokenizer(path, special_tokens_path=special_tokens_path, max_seq_len=max_seq_len)


def llama3_tokenizer_of(folder: Path, vocabulary: int, max_seq_len: int | None = None) -> Any:
    """The tokenizer of a model folder, ``original/tokenizer.model`` as Llama 3.1 ships it, if it is the model's."""
    paths = [folder / "original" / "tokenizer.model", folder / "tokenizer.model"]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise InputError(f"{paths[0]}: no such file")
    special = None if vocabulary == _LLAMA3_VOCABULARY else str(folder / "tokenizer.json")
    try:
        tokens, numbers = zip(*(line.split() for line in path.read_bytes().splitlines()), strict=True)
        if len(set(tokens)) != len(set(numbers)):
            # tiktoken ends its thread over it, and tells half a page.
            raise ValueError("two tokens have one number")
        tokenizer = llama3_tokenizer(str(path), special, max_seq_len)
    except Exception as error:  # whatever damaged files make of theirs
        raise InputError(f"{path}: not a tokenizer: {' '.join(str(error).split())[:200]}") from None
    count = 1 + max(tokenizer.vocab_size - 1, *tokenizer.special_tokens.values())
    if not vocabulary / 2 <= count <= vocabulary:
        raise InputError(f"{path}: {count:,} tokens, but the model has {vocabulary:,}; it is another model's")
    return tokenizer
