"""Rows that are decoded together: they enter, take steps, and leave when they have finished."""

import random
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice

import torch

from radtune.config import InputError
from radtune.engines.class_scores import ClassScores, Decision, Weighing
from radtune.engines.closed import AnswerTree, Place
from radtune.engines.kv_cache import KeyValueCache, PackedBatch, causal, forward
from radtune.engines.prompt import Response, Sampling, limits_of
from radtune.models.checkpoint import Checkpoint
from radtune.tasks.lists import read_list

# Tokens of prompts that go through the model at once, so that a batch's answers begin before its last prompt is read.
_PROMPT_TOKENS_AT_ONCE = 8_192
# Waiting rows enter once this share of the batch is free: fewer forward passes, at the price of some empty rows.
_FREE_TO_ENTER = 0.25
# Tokens of branches of names that go through the model at once, for each row, where classes have scores.
_BRANCHES = 64


@dataclass(eq=False)
class Row:
    """One prompt on its way."""

    index: int  # of the prompt
    draw: random.Random  # what sampling draws from
    unread: list[int]  # token ids that have not yet been through the model
    columns: int  # how many of its columns in the cache are filled
    limit: int  # of the answer's tokens
    adapter: int = 0  # the model's that answers, where it has several
    place: Place | None = None  # its place in the closed answers, one with a choice; None where it writes freely
    expected: Sequence[int] = ()  # the numbers of the classes that a closed answer will likely name, ascending
    scores: ClassScores | None = None
    begins: int = 0  # in which column its answer begins
    written: list[int] = field(default_factory=list)  # token ids of the answer
    draft: list[int] = field(default_factory=list)  # what likely follows; goes through the model with the unread ones
    choices: list[int] = field(default_factory=lambda: [0])  # how many draft tokens come before each choice
    named: list[int] | None = None  # the numbers of the classes in its closed list, once that is complete
    ended: bool = False  # by itself

    @property
    def finished(self) -> bool:
        """Whether nothing is to be written any more."""
        return self.ended or self.left <= 0

    @property
    def left(self) -> int:
        """How many tokens it may still write."""
        return self.limit - len(self.written)

    def hold_to(self, tree: AnswerTree, expected: Sequence[int], scores: bool) -> None:
        """Holds a row that has yet to enter to closed answers, which will likely name the classes of these numbers.

        What all closed answers begin with joins the prompt.
        """
        self.begins = self.columns + len(self.unread)
        self.written, self.place = tree.root.forced()
        self.unread += self.written
        self.expected = expected
        self.scores = ClassScores(tree.size) if scores else None
        self.look_ahead()

    def look_ahead(self) -> None:
        """Drafts what likely follows; nothing where it writes freely."""
        self.draft, self.choices = [], [0]
        if self.place:
            self.draft, self.choices = self.place.draft(self.expected, self.left)


@dataclass(eq=False)
class Batch:
    """Rows that are decoded together; a row's number in the list is its row in the cache."""

    checkpoint: Checkpoint
    cache: KeyValueCache
    rows: list[Row]
    tree: AnswerTree | None
    sampling: Sampling
    # What is decided at the places that answers have come to.
    _decisions: dict[Place, Decision] = field(default_factory=dict, init=False)

    def room(self, waiting: Sequence[int], prompts: Sequence[Sequence[int]]) -> int:
        """How many of the waiting prompts should enter now."""
        size = self.cache.keys.shape[1]
        free = size - len(self.rows)
        if not waiting or free < max(1, _FREE_TO_ENTER * size):
            return 0
        unread = accumulate(len(prompts[index]) - self.cache.shared for index in islice(waiting, free))
        return max(1, sum(tokens <= _PROMPT_TOKENS_AT_ONCE for tokens in unread))

    def enter(self, row: Row) -> None:
        """Lets a row in, behind the others."""
        self.cache.give(len(self.rows), row.adapter)
        self.rows.append(row)

    @torch.inference_mode()
    def step(self, first: int) -> None:
        """Takes the rows from this one on through the model, and lets each choose its next token.

        Raises:
            InputError: The model gives logits that are no numbers.
        """
        rows = self.rows[first:]
        device = self.cache.keys.device
        batch = causal([row.unread + row.draft for row in rows], [row.columns for row in rows], device)
        wanted, at = [], []
        begun = 0
        for row in rows:
            at.append(len(wanted))
            wanted += [begun + len(row.unread) - 1 + position for position in row.choices]
            begun += len(row.unread) + len(row.draft)
            row.columns += len(row.unread) + len(row.draft)
        hidden = forward(self.checkpoint.model, self.cache, batch, first, torch.tensor(wanted, device=device))
        logits = self.checkpoint.model.unembed(hidden).float()
        if not logits.isfinite().all():
            # Closed answers would come out all the same.
            spoilt = rows[bisect(at, int(logits.isfinite().all(dim=1).int().argmin())) - 1]
            name = self.checkpoint.names[spoilt.adapter]
            raise InputError(f"{name} computes no numbers: its weights are damaged, or its training diverged")
        going, choice = list(range(len(rows))), 0
        while going:
            here, own = [rows[number] for number in going], logits[[at[number] + choice for number in going]]
            for row, known in zip(here, own, strict=True):
                if row.scores and row.place:
                    row.scores.note(row.place, row.begins + len(row.written), known, self._decisions)
            chosen = self._choose(here, own)
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
            less_of_ends(logits, places, self.sampling.end_bias)
        return choose(logits, limits_of(self.sampling)[0], [row.draw for row in rows]).tolist()

    def _write(self, row: Row, choice: int, token: int) -> bool:
        """Adds a token to a row's answer, and those that can only follow it.

        True where the row has followed its draft: what comes before its next choice has been through the model.
        """
        if row.place is None:
            row.ended = token in self.checkpoint.tokenizer.stop_tokens
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
            answer = read_list(self.checkpoint.tokenizer.decode(row.written, truncate_at_eos=False))
            row.named = self.tree.numbers(answer.labels)
            row.place, row.ended = None, not self.sampling.go_on
        row.look_ahead()
        return False

    def leave(self) -> Iterator[tuple[Row, Response]]:
        """Takes out the rows that have finished, which first change places with the last ones."""
        going = len(self.rows)
        for number in reversed(range(len(self.rows))):
            row, going = self.rows[number], going - self.rows[number].finished
            if row.finished and number < going:
                other = self.rows[going]
                self.cache.swap(number, going, max(row.columns, other.columns))
                self.rows[number], self.rows[going] = other, row
        self._weigh(going)
        while len(self.rows) > going:
            row = self.rows.pop()
            text = self.checkpoint.tokenizer.decode(row.written, truncate_at_eos=False)
            reason = self.tree.finish_reason(row.written, row.limit) if self.tree else None
            values = row.scores.values(row.named) if row.scores and row.named is not None else None
            yield row, Response(text, row.ended, values, finish_reason=reason)

    @torch.inference_mode()
    def _weigh(self, first: int) -> None:
        """Weighs what the rows from this one on have decided, all decisions of a row in one pass.

        The tokens of a decision's branches are a tree: each sees the row up to the decision, and its own predecessors.
        """
        waiting = {n: row.scores.waiting for n, row in enumerate(self.rows[first:]) if row.scores}
        while any(waiting.values()):
            taken = {number: _first_of(weighings) for number, weighings in waiting.items() if weighings}
            batch = self._branches(first, taken)
            if (missing := batch.mask.shape[-1] - self.cache.keys.shape[-2]) > 0:
                self.cache = self.cache.widened(missing)
            logits = self.checkpoint.model.unembed(forward(self.checkpoint.model, self.cache, batch, first)).float()
            pieces = iter(logits.split([len(weighing.kept) for weighings in taken.values() for weighing in weighings]))
            for number, weighings in taken.items():
                for weighing in weighings:
                    self.rows[first + number].scores.weigh(weighing, next(pieces))
                del waiting[number][: len(weighings)]

    def _branches(self, first: int, taken: Mapping[int, Sequence[Weighing]]) -> PackedBatch:
        """The tokens of decisions, by the number of their row, counted from the first of them."""
        device = self.cache.keys.device
        most = max(sum(len(weighing.kept) for weighing in weighings) for weighings in taken.values())
        width = max(self.rows[first + number].columns for number in taken) + most
        mask = torch.ones(max(taken) + 1, most, width, dtype=torch.bool)
        # The token, row, position and column of each.
        made: list[tuple[int, int, int, int]] = []
        for number, weighings in taken.items():
            child, begun = 0, self.rows[first + number].columns
            for weighing in weighings:
                places: dict[int, int] = {}
                for token in weighing.kept:
                    parent = places.get(weighing.decision.parents[token])
                    seen, position = torch.arange(width) < weighing.columns, weighing.columns
                    if parent is not None:
                        seen, position = mask[number, parent], made[parent - child][2] + 1
                    mask[number, child] = seen
                    mask[number, child, begun + child] = True
                    made.append((weighing.decision.tokens[token], number, position, begun + child))
                    places[token], child = child, child + 1
        return PackedBatch(*torch.tensor(made, device=device).T.contiguous(), mask.to(device))


def _first_of(weighings: Sequence[Weighing]) -> list[Weighing]:
    """The first of a row's, as many as go through the model together."""
    sizes = accumulate(len(weighing.kept) for weighing in weighings)
    return [w for number, (w, size) in enumerate(zip(weighings, sizes, strict=True)) if not number or size <= _BRANCHES]


def keep_allowed(logits: torch.Tensor, allowed: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits, ``[rows, vocabulary]``, with minus infinity for all but each row's allowed tokens."""
    most = max(map(len, allowed))
    ids = torch.tensor([[*tokens, *tokens[:1] * (most - len(tokens))] for tokens in allowed], device=logits.device)
    return torch.full_like(logits, -torch.inf).scatter(1, ids, logits.gather(1, ids))


def less_of_ends(logits: torch.Tensor, places: Mapping[int, Place], bias: float) -> None:
    """Takes a bias from the logits of tokens that end a list too early, in the rows that are at a place."""
    for number, place in places.items() if bias else ():
        logits[number, place.ends] -= bias


def choose(logits: torch.Tensor, temperature: float, draws: Sequence[random.Random]) -> torch.Tensor:
    """A token for each row of logits, ``[rows, vocabulary]``: the likeliest at 0, else a sample by the row's draws."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    # One number a row, so that a row's answer does not depend on its neighbours.
    points = torch.tensor([draw.random() for draw in draws], dtype=torch.float64, device=logits.device)
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    chosen = torch.searchsorted(cumulative, (points * cumulative[:, -1])[:, None], right=True)[:, 0]
    return chosen.clamp(max=logits.shape[-1] - 1)
