"""Instruction rows as tokens: rows that our recipe packs, and the dataset that torchtune's stock recipes read."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchtune.datasets import PackedDataset

from radtune.config import InputError
from radtune.engines.closed import common_beginning
from radtune.instructions import Instruction, read_instructions
from radtune.models.tokenizer import chat_tokens
from radtune.privacy import say
from radtune.tasks.rendering import PROMPT_FORMATS, user_message

log = logging.getLogger(__name__)

# Targets of this value take no part in the loss; torchtune's own mark.
IGNORED = -100


@dataclass(frozen=True)
class Choices:
    """Where a closed answer might have gone on otherwise: what makes class probabilities of a model's logits.

    A branch is a token that may stand at a place. The classes are those that the answer decides, each given what it
    says of the classes before.

    Attributes:
        places: Where the choices are: of a row, among its tokens; of a batch, among its targets.
        at: By branch, which of the places it leaves from, shape (branches,).
        tokens: Its token.
        before: The branches that the answer takes on the way to it, 0 or 1, shape (branches, branches).
        mass: What share of a branch's chance is a class's, shape (classes, branches).
        behind: The same of the class, all behind it, and the end of the list.
        there: Whether the answer names the class, 0 or 1, shape (classes,).
    """

    places: torch.Tensor
    at: torch.Tensor
    tokens: torch.Tensor
    before: torch.Tensor
    mass: torch.Tensor
    behind: torch.Tensor
    there: torch.Tensor


@dataclass(frozen=True)
class Row:
    """One training row as a model reads it: at each token, what it has to predict there.

    Attributes:
        tokens: Token ids without the last one, which predicts nothing, shape (length,).
        targets: The token after each, :data:`IGNORED` where it is not trained on, shape (length,).
        prefix: How many tokens it shares with all rows of its ``kind``, and predicts nothing at.
        weights: What a mistake at each token costs, shape (length,); None for 1.
        choices: Of a closed answer whose classes are trained on, too.
    """

    tokens: torch.Tensor
    targets: torch.Tensor
    prefix: int = 0
    kind: int = 0
    weights: torch.Tensor | None = None
    choices: Choices | None = None

    @property
    def trained(self) -> int:
        """How many of its tokens are trained on."""
        return int((self.targets != IGNORED).sum())


def make_rows(tokenizer: Any, instructions: Sequence[Instruction], prompt_format: str) -> tuple[list[Row], int]:
    """Tokenizes rows and finds the prefix of each kind: a task with its instruction. Also how many rows were cut."""
    kinds: dict[tuple[str, str], int] = {}
    tokenized, cut = _tokenized(tokenizer, instructions, prompt_format)
    plain = [
        (tokens[:-1], labels[1:], kinds.setdefault((row.task, row.instruction), len(kinds)))
        for row, (tokens, labels) in zip(instructions, tokenized, strict=True)
    ]
    prefixes = [_shared([item[:2] for item in plain if item[2] == kind]) for kind in kinds.values()]
    rows = [Row(torch.tensor(tokens), torch.tensor(targets), prefixes[kind], kind) for tokens, targets, kind in plain]
    return rows, cut


def _tokenized(
    tokenizer: Any, instructions: Sequence[Instruction], prompt_format: str
) -> tuple[list[tuple[list[int], list[int]]], int]:
    """Tokens of each row and what is trained on at them; how many rows the tokenizer's ``max_seq_len`` cut."""
    rows, cut = [], 0
    for row in instructions:
        message = user_message(row.instruction, row.input, prompt_format)
        tokens, masked = chat_tokens(tokenizer, message, row.output)
        rows.append((tokens, [IGNORED if context else token for token, context in zip(tokens, masked, strict=True)]))
        cut += tokenizer.max_seq_len is not None and len(tokens) >= tokenizer.max_seq_len
    return rows, cut


def _shared(rows: Sequence[tuple[list[int], list[int]]]) -> int:
    """Length of the prefix that all rows share, before the first target of any and the last token of each."""
    if len(rows) < 2:
        return 0
    shared = len(common_beginning([tokens for tokens, _ in rows]))
    untrained = (next((i for i, t in enumerate(targets) if t != IGNORED), len(targets)) for _, targets in rows)
    return max(0, min(shared, *untrained, *(len(tokens) - 1 for tokens, _ in rows)))


def data_paths(data_files: str | Sequence[str]) -> list[Path]:
    """The files that a ``data_files`` key names: one or several ``instructions.jsonl``."""
    return [Path(name) for name in ([data_files] if isinstance(data_files, str) else data_files)]


def read_rows(paths: Sequence[Path]) -> list[Instruction]:
    """The rows of files; an InputError where there are none."""
    rows = [row for path in paths for row in read_instructions(path)]
    if not rows:
        raise InputError(f"{', '.join(map(str, paths))}: no rows")
    return rows


def instruction_dataset(
    tokenizer: Any, data_files: str | Sequence[str], prompt_format: str = "llama3_chat", packed: bool = False
) -> list[dict[str, list[int]]] | PackedDataset:
    """Builds the dataset that the YAMLs of torchtune's stock recipes name: rows of ``tokens`` and ``labels``.

    Rows are cut at the tokenizer's ``max_seq_len``; ``packed``, they share sequences of that length, without attending
    to one another. The loss is taken on answers and, as in all of torchtune, on the header tokens before them.
    """
    try:
        if prompt_format not in PROMPT_FORMATS:
            raise InputError(f"dataset.prompt_format: {prompt_format!r} is not one of {', '.join(PROMPT_FORMATS)}")
        instructions = read_rows(data_paths(data_files))
        if packed and tokenizer.max_seq_len is None:
            raise InputError("dataset.packed needs tokenizer.max_seq_len")
        rows, cut = _tokenized(tokenizer, instructions, prompt_format)
        # A batch of nothing to learn has a mean loss of 0 / 0, and all weights with it.
        whole = [row for row in rows if any(label != IGNORED for label in row[1])]
        if not whole:
            raise InputError(f"tokenizer.max_seq_len={tokenizer.max_seq_len} cuts the answer off every row")
    except InputError as error:
        # torchtune's recipes build the dataset; without this, a broken line would end in their traceback.
        say(f"instruction_dataset: error: {error}")
        sys.exit(2)
    if cut:
        log.warning(
            "%d of %d rows reach tokenizer.max_seq_len=%d: their answers are cut", cut, len(rows), tokenizer.max_seq_len
        )
    if len(whole) < len(rows):
        log.warning("%d rows have no answer left to train on, and are left out", len(rows) - len(whole))
    dataset = [{"tokens": tokens, "labels": labels} for tokens, labels in whole]
    return PackedDataset(dataset, max_seq_len=tokenizer.max_seq_len) if packed else dataset
