"""torchtune's Llama 3 tokenizer, read from its file every time."""

import os
from typing import Any

from torchtune.models import llama3


def llama3_tokenizer(path: str, special_tokens_path: str | None = None, max_seq_len: int | None = None) -> Any:
    """Builds the tokenizer of a Llama 3 checkpoint.

    tiktoken keeps a copy of each file it has read in the temporary folder, by the file's path alone: without this,
    another model put under the same path would be read with the old model's tokens, and nothing would say so.

    Args:
        path: The ``tokenizer.model``.
        special_tokens_path: A ``tokenizer.json`` with the special tokens; None for Llama 3's own.
        max_seq_len: Where rows are cut; None for nowhere.

    Returns:
        A torchtune ``Llama3Tokenizer``.
    """
    os.environ["TIKTOKEN_CACHE_DIR"] = ""
    return llama3.llama3_tokenizer(path, special_tokens_path=special_tokens_path, max_seq_len=max_seq_len)
