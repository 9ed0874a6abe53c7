"""Rows that are decoded together: they enter, take steps, and leave when they have finished."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from radtune.config import InputError
from radtune.engines.class_scores import ClassScores, Decision
from radtune.engines.closed import AnswerTree, Place
from radtune.engines.kv_cache import KeyValueCache, PackedBatch, causal, forward
from radtune.engines.prompt import Response
from radtune.models.checkpoint import Checkpoint
from radtune.tasks.lists import read_list

# Tokens of prompts that go through the model at once, so that a batch's answers begin before its last prompt is read.
_PROMPT_TOKENS_AT_ONCE = 8_192
# Waiting rows enter once this share of the batch is free: fewer forward passes, at the price of some empty rows.
_FREE_TO_ENTER = 0.25


@dataclass(eq=False)
class Row:
    """One prompt on its way."""

    index: int  # of the prompt
    draw: random.Random  # what sampling draws from
    unread: list[int]  # token ids that have not yet been through the model
    columns: int  # how many of its columns in the cache are filled
    limit: int  # of the answer's tokens
    place: Place | None = None  # its place in the closed answers, one with a choice; None where it writes freely
    expected: Sequence[int] = ()  # the numbers of the classes that a closed answer will likely name, ascending
    scores: ClassScores | None = None
    written: list[int] = field(default_factory=list)  # token ids of the answer
    draft: list[int] = field(default_factory=list)  # what likely follows; goes through the model with the unread ones
    choices: list[int] = field(default_factory=lambda: [0])  # how many draft tokens come before each choice
    values: tuple[float, ...] | None = None  # the scores, once its list is complete
    ended: bool = False  # by itself

    @property
    def left(self) -> int:
        """How many tokens it may still write."""
        return self.limit - len(self.written)

    def hold_to(self, tree: AnswerTree, names: Sequence[str], scores: bool) -> None:
        """Holds a row that has yet to enter to closed answers, of which it will likely give the one with these names.

        What all closed answers begin with joins the prompt.
        """
        self.written, self.place = tree.root.forced()
        self.unread += self.written
        self.expected = tree.numbers(names)
        self.scores = ClassScores(tree.size) if scores else None
        self.look_ahead()

    def look_ahead(self) -> None:
        """Drafts what likely follows; nothing where it writes freely, or where each decision has to be weighed."""
        self.draft, self.choices = [], [0]
        if self.place and not self.scores:
            self.draft, self.choices = self.place.draft(self.expected, self.left)


class Batch:
    """Rows that are decoded together; a row's number in the list is its row in the cache."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        cache: KeyValueCache,
        rows: list[Row],
        tree: AnswerTree | None,
        temperature: float,
        go_on: bool,
    ) -> None:
        self._model, self._tokenizer = checkpoint.model, checkpoint.tokenizer
        self._cache = cache
        self._rows = rows
        self._tree = tree
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
            self._weigh(first, rows, logits)
        going, choice = list(range(len(rows))), 0
        while going:
            chosen = self._choose([rows[number] for number in going], logits[[at[number] + choice for number in going]])
            going = [
                number for number, token in zip(going, chosen, strict=True) if self._write(rows[number], choice, token)
            ]
            choice += 1

    def _choose(self, rows: Sequence[Row], logits: torch.Tensor) -> list[int]:
        """The next token of each row, of closed answers one that its place allows."""
        places = {number: row.place for number, row in enumerate(rows) if row.place}
        if places:
            allowed = [place.allowed(rows[number].left) for number, place in places.items()]
            logits[list(places)] = keep_allowed(logits[list(places)], allowed)
        return _choose(logits, self._temperature, [row.draw for row in rows]).tolist()

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
        if row.draft[position : position + 1] == [token]:
            return True
        row.columns -= len(row.draft) - position
        row.unread = [token, *forced]
        if not row.place.children:
            if row.scores and self._tree:
                answer = read_list(self._tokenizer.decode(row.written, truncate_at_eos=False))
                row.values = row.scores.values(self._tree.numbers(answer.labels))
            row.place, row.ended = None, not self._go_on
        row.look_ahead()
        return False

    def leave(self) -> Iterator[tuple[int, Response]]:
        """Takes out the rows that have finished; the last row moves into each gap."""
        for number in reversed(range(len(self._rows))):
            row = self._rows[number]
            if row.ended or row.left <= 0:
                last = self._rows.pop()
                if last is not row:
                    self._cache.move(len(self._rows), number, last.columns)
                    self._rows[number] = last
                text = self._tokenizer.decode(row.written, truncate_at_eos=False)
                reason = self._tree.finish_reason(row.written, row.limit) if self._tree else None
                yield row.index, Response(text, row.ended, row.values, finish_reason=reason)

    def _weigh(self, first: int, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """Weighs all classes in the rows that are about to write the next name or to end their list.

        The tokens of all names' branches follow the row as a tree: each sees the row and its own predecessors.
        """
        decisions = [
            row.scores.decision(row.place, self._decisions) if row.scores and row.place else None for row in rows
        ]
        behind = list(logits.split(1))
        if any(decision and decision.tokens for decision in decisions):
            batch = self._branches(rows, decisions)
            if (missing := batch.mask.shape[-1] - self._cache.keys.shape[-2]) > 0:
                self._cache = self._cache.widened(missing)
            after = self._model.unembed(forward(self._model, self._cache, batch, first)).float()
            pieces = after.split([len(decision.tokens) if decision else 0 for decision in decisions])
            behind = [torch.cat(known) for known in zip(behind, pieces, strict=True)]
        for row, decision, known in zip(rows, decisions, behind, strict=True):
            if row.scores and decision:
                row.scores.weigh(decision, known)

    def _branches(self, rows: Sequence[Row], decisions: Sequence[Decision | None]) -> PackedBatch:
        device = self._cache.keys.device
        most = max(len(decision.tokens) for decision in decisions if decision)
        mask = torch.ones(len(rows), most, max(row.columns for row in rows) + most, dtype=torch.bool)
        # The token, row, position and column of each.
        made: list[tuple[int, int, int, int]] = []
        for number, (row, decision) in enumerate(zip(rows, decisions, strict=True)):
            begun = len(made)
            for child, token in enumerate(decision.tokens if decision else ()):
                seen, position = torch.arange(mask.shape[2]) < row.columns, row.columns
                if (parent := decision.parents[child]) >= 0:
                    seen, position = mask[number, parent], made[begun + parent][2] + 1
                mask[number, child] = seen
                mask[number, child, row.columns + child] = True
                made.append((token, number, position, row.columns + child))
        return PackedBatch(*torch.tensor(made, device=device).T.contiguous(), mask.to(device))


def keep_allowed(logits: torch.Tensor, allowed: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits, ``[rows, vocabulary]``, with minus infinity for all but each row's allowed tokens."""
    most = max(map(len, allowed))
    ids = torch.tensor([[*tokens, *tokens[:1] * (most - len(tokens))] for tokens in allowed], device=logits.device)
    return torch.full_like(logits, -torch.inf).scatter(1, ids, logits.gather(1, ids))


def _choose(logits: torch.Tensor, temperature: float, draws: Sequence[random.Random]) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(dim=-1)
    # One number a row, so that a row's answer does not depend on its neighbours.
    points = torch.tensor([draw.random() for draw in draws], dtype=torch.float64, device=logits.device)
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    chosen = torch.searchsorted(cumulative, (points * cumulative[:, -1])[:, None], right=True)[:, 0]
    return chosen.clamp(max=logits.shape[-1] - 1)
