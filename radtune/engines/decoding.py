"""Rows that are decoded together: they enter, take steps, and leave when they have finished."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from radtune.config import InputError
from radtune.engines.class_scores import ClassScores, Decision, gather_allowed
from radtune.engines.closed import AnswerTree, Place
from radtune.engines.kv_cache import KeyValueCache, PackedBatch, causal, forward
from radtune.engines.prompt import Response
from radtune.models.checkpoint import Checkpoint

# Tokens of prompts that go through the model at once, so that a batch's answers begin before its last prompt is read.
_PROMPT_TOKENS_AT_ONCE = 8_192
# Waiting rows enter once this share of the batch is free: fewer forward passes, at the price of some empty rows.
_FREE_TO_ENTER = 0.25


@dataclass(eq=False)
class Row:
    """One prompt on its way.

    Attributes:
        index: Of the prompt.
        draw: What sampling draws from.
        limit: Where its answer is cut off.
        tree: The closed answers, where no others may be given.
        place: Its place in there, one with a choice; None where it writes freely.
        expected: The numbers of the classes that a closed answer will likely name, ascending.
        scores: Of the classes, where asked for.
        written: Token ids of the answer.
        unread: Token ids that have not yet been through the model.
        columns: How many of its columns in the cache are filled.
        draft: Token ids that likely follow; they go through the model with the unread ones.
        choices: How many draft tokens come before each choice; the first choice comes before all.
        ended: Whether it came to an end by itself.
    """

    index: int
    draw: random.Random
    limit: int
    tree: AnswerTree | None
    place: Place | None
    expected: Sequence[int]
    scores: ClassScores | None
    written: list[int]
    unread: list[int]
    columns: int
    draft: list[int] = field(default_factory=list)
    choices: list[int] = field(default_factory=lambda: [0])
    ended: bool = False

    @property
    def left(self) -> int:
        """How many tokens it may still write."""
        return self.limit - len(self.written)

    def look_ahead(self) -> None:
        """Drafts what likely follows; nothing where it writes freely."""
        self.draft, self.choices = [], [0]
        if self.tree and self.place:
            if not self.scores:
                self.draft, self.choices = self.tree.draft(self.place, self.expected, self.left)
            # Each decision is weighed before it is taken; only the comma behind a certain name holds none.
            elif len({arm.name for arm, _ in self.place.arms}) == 1 and 0 < len(self.place.only_way_on) < self.left:
                self.draft = self.place.only_way_on
                self.choices = [0, len(self.draft)]


def start_row(
    index: int,
    prompt: Sequence[int],
    columns: int,
    draw: random.Random,
    limit: int,
    tree: AnswerTree | None,
    draft: Sequence[str],
    scores: bool,
) -> Row:
    """A row that has yet to enter: its own token ids stand behind the columns that all prompts share.

    What all closed answers begin with joins the prompt; ``draft`` are the classes that they will likely name.
    """
    expected = tree.numbers(draft) if tree else []
    forced, place = tree.root.forced() if tree else ([], None)
    weighed = ClassScores(tree) if tree and scores else None
    row = Row(index, draw, limit, tree, place, expected, weighed, list(forced), [*prompt, *forced], columns)
    row.look_ahead()
    return row


class Batch:
    """Rows that are decoded together; a row's number in the list is its row in the cache."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        cache: KeyValueCache,
        rows: list[Row],
        max_new_tokens: int,
        temperature: float,
        go_on: bool,
    ) -> None:
        self._model, self._tokenizer = checkpoint.model, checkpoint.tokenizer
        self._cache = cache
        self._rows = rows
        self._max_new_tokens = max_new_tokens
        self._temperature = temperature
        self._go_on = go_on
        self._stop = set(checkpoint.tokenizer.stop_tokens)
        self._decisions: dict[Place, Decision] = {}

    def room(self, waiting: Sequence[int], prompts: Sequence[Sequence[int]]) -> int:
        """How many of the waiting prompts should enter now."""
        size = self._cache.keys.shape[1]
        free = size - len(self._rows)
        if not waiting or free < max(1, _FREE_TO_ENTER * size):
            return 0
        at_once = _PROMPT_TOKENS_AT_ONCE // (len(prompts[waiting[0]]) - self._cache.shared)
        return min(free, len(waiting), max(1, at_once))

    @torch.inference_mode()
    def step(self, first: int) -> None:
        """Takes the rows from this one on through the model, and lets each choose its next token.

        Raises:
            InputError: The model gives logits that are no numbers.
        """
        rows = self._rows[first:]
        device = self._cache.keys.device
        batch = causal([row.unread + row.draft for row in rows], [row.columns for row in rows], device)
        wanted, at = [], []
        begun = 0
        for row in rows:
            at.append(len(wanted))
            wanted += [begun + len(row.unread) - 1 + position for position in row.choices]
            begun += len(row.unread) + len(row.draft)
            row.columns += len(row.unread) + len(row.draft)
        hidden = forward(self._model, self._cache, batch, first, torch.tensor(wanted, device=device))
        logits = self._model.unembed(hidden).float()
        if not logits.isfinite().all():
            # Closed answers would come out all the same.
            raise InputError("the model computes no numbers: its weights are damaged, or its training diverged")
        if rows[0].scores:
            self._weigh(first, rows, logits[at])
        going, choice = list(range(len(rows))), 0
        while going:
            chosen = self._choose([rows[number] for number in going], logits[[at[number] + choice for number in going]])
            going = [
                number for number, token in zip(going, chosen, strict=True) if self._write(rows[number], choice, token)
            ]
            choice += 1

    def _choose(self, rows: Sequence[Row], logits: torch.Tensor) -> list[int]:
        chosen = [0] * len(rows)
        closed = [number for number, row in enumerate(rows) if row.place]
        free = [number for number, row in enumerate(rows) if not row.place]
        for numbers in filter(None, (closed, free)):
            group = [rows[number] for number in numbers]
            tokens = _choose_allowed(logits if len(numbers) == len(rows) else logits[numbers], group, self._temperature)
            for number, token in zip(numbers, tokens, strict=True):
                chosen[number] = token
        return chosen

    def _write(self, row: Row, choice: int, token: int) -> bool:
        """Adds a token to a row's answer, and those that can only follow it.

        True where the row has followed its draft: what comes before its next choice has been through the model.
        """
        if row.place is None:
            row.ended = token in self._stop
            row.unread = [] if row.ended else [token]
            row.written += row.unread
            return False
        position = row.choices[choice]
        forced, row.place = row.place.children[token].forced()
        row.written += [token, *forced]
        if row.scores:
            row.scores.advance(row.place)
        if row.draft[position : position + 1] == [token]:
            return True
        row.columns -= len(row.draft) - position
        row.unread = [token, *forced]
        if not row.place.children:
            row.place, row.ended = None, not self._go_on
        row.look_ahead()
        return False

    def leave(self) -> Iterator[tuple[int, Response]]:
        """Takes out the rows that have finished; the last row moves into each gap."""
        for number in reversed(range(len(self._rows))):
            row = self._rows[number]
            if row.ended or len(row.written) >= self._max_new_tokens:
                last = self._rows.pop()
                if last is not row:
                    self._cache.move(len(self._rows), number, last.columns)
                    self._rows[number] = last
                text = self._tokenizer.decode(row.written, truncate_at_eos=False)
                yield row.index, Response(text, row.ended, tuple(row.scores.values) if row.scores else None)

    def _weigh(self, first: int, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """Weighs all classes in the rows that are about to write the next name or to end their list.

        The tokens of all names' branches follow the row as a tree: each sees the row and its own predecessors.
        """
        decisions = [row.scores.decision(row.place, self._decisions) if row.place else None for row in rows]
        trees = [decision.tokens if decision else [] for decision in decisions]
        behind = [logits[number : number + 1] for number in range(len(rows))]
        if any(trees):
            batch = self._branches(rows, decisions)
            if (missing := batch.mask.shape[-1] - self._cache.keys.shape[-2]) > 0:
                self._cache = self._cache.widened(missing)
            after = self._model.unembed(forward(self._model, self._cache, batch, first)).float()
            pieces = after.split([len(tokens) for tokens in trees])
            behind = [torch.cat(known) for known in zip(behind, pieces, strict=True)]
        for row, decision, known in zip(rows, decisions, behind, strict=True):
            if decision:
                row.scores.weigh(decision, known)

    def _branches(self, rows: Sequence[Row], decisions: Sequence[Decision | None]) -> PackedBatch:
        device = self._cache.keys.device
        most = max(len(decision.tokens) for decision in decisions if decision)
        mask = torch.ones(len(rows), most, max(row.columns for row in rows) + most, dtype=torch.bool)
        tokens, owners, positions, columns = [], [], [], []
        for number, (row, decision) in enumerate(zip(rows, decisions, strict=True)):
            # What was drafted for the row stands in its last columns; the branches do not follow it.
            certain, begun = row.columns - len(row.draft), len(positions)
            for child, (token, parent) in enumerate(
                zip(decision.tokens, decision.parents, strict=True) if decision else ()
            ):
                tokens.append(token)
                owners.append(number)
                positions.append(positions[begun + parent] + 1 if parent >= 0 else certain)
                columns.append(row.columns + child)
                mask[number, child] = mask[number, parent] if parent >= 0 else torch.arange(mask.shape[2]) < certain
                mask[number, child, row.columns + child] = True
        made = (torch.tensor(values, device=device) for values in (tokens, owners, positions, columns))
        return PackedBatch(*made, mask.to(device))


def _choose_allowed(logits: torch.Tensor, rows: Sequence[Row], temperature: float) -> list[int]:
    """The next token of each row, among those that its place in the tree of closed answers allows."""
    draws = [row.draw for row in rows]
    if rows[0].place is None:
        return _choose(logits, temperature, draws).tolist()
    allowed = [row.place.allowed(row.left) for row in rows]
    chosen = _choose(gather_allowed(logits, allowed), temperature, draws).tolist()
    return [tokens[number] for tokens, number in zip(allowed, chosen, strict=True)]


def _choose(logits: torch.Tensor, temperature: float, draws: Sequence[random.Random]) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(dim=-1)
    # One number a row, so that a row's answer does not depend on its neighbours.
    points = torch.tensor([draw.random() for draw in draws], dtype=torch.float64, device=logits.device)
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    chosen = torch.searchsorted(cumulative, (points * cumulative[:, -1])[:, None], right=True)[:, 0]
    return chosen.clamp(max=logits.shape[-1] - 1)
