"""The dataset builder that training YAMLs name: instruction files of both tasks, tokenized for torchtune's recipes."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from torchtune.datasets import PackedDataset

from radtune.config import InputError
from radtune.instructions import Instruction, read_instructions
from radtune.tasks.rendering import PROMPT_FORMATS, user_message
from radtune.train.rows import IGNORED, chat_tokens

log = logging.getLogger(__name__)


class InstructionDataset(Dataset):
    """Rows of instruction files as ``tokens`` and ``labels``, tokenized once.

    Attributes:
        truncated: Rows longer than the tokenizer's ``max_seq_len``; their answer is cut.
    """

    def __init__(self, tokenizer: Any, instructions: Sequence[Instruction], prompt_format: str) -> None:
        limit = tokenizer.max_seq_len
        self.truncated = 0
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] = []
        for row in instructions:
            message = user_message(row.instruction, row.input, prompt_format)
            tokens, masked = chat_tokens(tokenizer, message, row.output)
            ids = torch.tensor(tokens, dtype=torch.int32)
            self._rows.append((ids, ids.masked_fill(torch.tensor(masked), IGNORED)))
            self.truncated += limit is not None and len(tokens) >= limit

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        tokens, labels = self._rows[index]
        return {"tokens": tokens.tolist(), "labels": labels.tolist()}


def instruction_dataset(
    tokenizer: Any,
    data_files: str | Sequence[str],
    prompt_format: str = "llama3_chat",
    packed: bool = False,
) -> InstructionDataset | PackedDataset:
    """Builds the training dataset of both tasks.

    Args:
        tokenizer: The recipe's tokenizer; its ``max_seq_len`` limits rows.
        data_files: One or several ``instructions.jsonl``.
        prompt_format: ``llama3_chat`` or ``alpaca``, the same as in inference.
        packed: Whether rows share sequences of ``max_seq_len`` tokens, without attending to one another.

    Returns:
        The dataset; the loss is taken on answers and, as in all of torchtune, on the header tokens before them.
    """
    try:
        if prompt_format not in PROMPT_FORMATS:
            raise InputError(f"dataset.prompt_format: {prompt_format!r} is not one of {', '.join(PROMPT_FORMATS)}")
        paths = [data_files] if isinstance(data_files, str) else list(data_files)
        instructions = [row for path in paths for row in read_instructions(Path(path))]
        if not instructions:
            raise InputError(f"{', '.join(paths)}: no rows")
        if packed and tokenizer.max_seq_len is None:
            raise InputError("dataset.packed needs tokenizer.max_seq_len")
    except InputError as error:
        # torchtune's recipes build the dataset; without this, a broken line would end in their traceback.
        print(f"instruction_dataset: error: {error}", file=sys.stderr)
        sys.exit(2)
    dataset = InstructionDataset(tokenizer, instructions, prompt_format)
    if dataset.truncated:
        log.warning(
            "%d of %d rows reach tokenizer.max_seq_len=%d: their answers are cut",
            dataset.truncated, len(dataset), tokenizer.max_seq_len,
        )  # fmt: skip
    return PackedDataset(dataset, max_seq_len=tokenizer.max_seq_len) if packed else dataset
