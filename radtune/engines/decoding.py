"""Rows that are decoded together: they enter, take steps, and leave when they have finished."""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from radtune.config import InputError
from radtune.engines.class_scores import ClassScores, Decision
from radtune.engines.closed import AnswerTree, Node
from radtune.engines.kv_cache import Feed, KeyValueCache, causal, forward
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
        tree: The closed answers, where no others may be given.
        node: Its place in there, one with a choice; None where it writes freely.
        expected: The classes that a closed answer will likely name.
        scores: Of the classes, where asked for.
        written: Token ids of the answer.
        feed: Token ids that have not yet been through the model.
        columns: How many of its columns in the cache are filled.
        ahead: Token ids that likely follow; they go through the model with the others, so that they take no further
            pass if the model chooses them.
        places: How many of them come before each choice; the first choice comes before all.
        ended: Whether it came to an end by itself.
    """

    index: int
    draw: random.Random
    tree: AnswerTree | None
    node: Node | None
    expected: Collection[str]
    scores: ClassScores | None
    written: list[int]
    feed: list[int]
    columns: int
    ahead: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=lambda: [0])
    ended: bool = False

    def look_ahead(self) -> None:
        """Makes out what likely follows; nothing where it writes freely."""
        self.ahead, self.places = [], [0]
        if self.tree and self.node:
            if self.scores:
                # Each decision is weighed before it is taken; only the comma holds none.
                self.ahead = self.node.only_way_on()
                self.places += [len(self.ahead)] * bool(self.ahead)
            else:
                self.ahead, self.places = self.tree.draft(self.node, self.written, self.expected)


def start_row(
    index: int,
    prompt: Sequence[int],
    columns: int,
    draw: random.Random,
    tree: AnswerTree | None,
    expected: Collection[str],
    scores: bool,
) -> Row:
    """A row that has yet to enter.

    Args:
        index: Of the prompt.
        prompt: Its own token ids, behind what all prompts share.
        columns: How many columns all share.
        draw: What sampling draws from.
        tree: The closed answers, where no others may be given; what all of them begin with joins the prompt.
        expected: The classes that a closed answer will likely name.
        scores: Whether classes are weighed.
    """
    forced, node = tree.root.forced() if tree else ([], None)
    weighed = ClassScores() if scores else None
    row = Row(index, draw, tree, node, expected, weighed, list(forced), [*prompt, *forced], columns)
    row.look_ahead()
    return row


class Batch:
    """Rows that are decoded together; a row's place in the list is its place in the cache."""

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
        self._decisions: dict[Node, Decision] = {}

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
        """Feeds the rows from this one on, and lets each choose its next token.

        Raises:
            InputError: The model gives logits that are no numbers.
        """
        rows = self._rows[first:]
        device = self._cache.keys.device
        feed = causal([row.feed + row.ahead for row in rows], [row.columns for row in rows], device)
        wanted, at = [], []
        begun = 0
        for row in rows:
            at.append(len(wanted))
            wanted += [begun + len(row.feed) - 1 + place for place in row.places]
            begun += len(row.feed) + len(row.ahead)
            row.columns += len(row.feed) + len(row.ahead)
        hidden = forward(self._model, self._cache, feed, first, torch.tensor(wanted, device=device))
        logits = self._model.unembed(hidden).float()
        if not logits.isfinite().all():
            # Closed answers would come out all the same.
            raise InputError("the model computes no numbers: its weights are damaged, or its training diverged")
        if rows[0].scores:
            self._weigh(first, rows, logits[at])
        going, choice = list(range(len(rows))), 0
        while going:
            chosen = self._choose([rows[place] for place in going], logits[[at[place] + choice for place in going]])
            going = [
                place for place, token in zip(going, chosen, strict=True) if self._write(rows[place], choice, token)
            ]
            choice += 1

    def _choose(self, rows: Sequence[Row], logits: torch.Tensor) -> list[int]:
        chosen = [0] * len(rows)
        closed = [place for place, row in enumerate(rows) if row.node]
        free = [place for place, row in enumerate(rows) if not row.node]
        for places in filter(None, (closed, free)):
            group = [rows[place] for place in places]
            tokens = _choose_allowed(logits if len(places) == len(rows) else logits[places], group, self._temperature)
            for place, token in zip(places, tokens, strict=True):
                chosen[place] = token
        return chosen

    def _write(self, row: Row, choice: int, token: int) -> bool:
        """Adds a token to a row's answer, and those that can only follow it.

        Returns:
            Whether the row has gone on as it was expected to, and what follows its next choice is known, too.
        """
        if row.node is None:
            row.ended = token in self._stop
            row.feed = [] if row.ended else [token]
            row.written += row.feed
            return False
        place = row.places[choice]
        forced, row.node = row.node.children[token].forced()
        row.written += [token, *forced]
        if row.ahead[place : place + 1] == [token]:
            return True
        row.columns -= len(row.ahead) - place
        row.feed = [token, *forced]
        if not row.node.children:
            row.node, row.ended = None, not self._go_on
        row.look_ahead()
        return False

    def leave(self) -> Iterator[tuple[int, Response]]:
        """Takes out the rows that have finished; the last row moves into each gap."""
        for place in reversed(range(len(self._rows))):
            row = self._rows[place]
            if row.ended or len(row.written) >= self._max_new_tokens:
                last = self._rows.pop()
                if last is not row:
                    self._cache.move(len(self._rows), place, last.columns)
                    self._rows[place] = last
                text = self._tokenizer.decode(row.written, truncate_at_eos=False)
                yield row.index, Response(text, row.ended, tuple(row.scores.values) if row.scores else None)

    def _weigh(self, first: int, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """Weighs all classes in the rows that are about to write the next name or to end their list.

        The tokens of all names' branches follow the row as a tree: each sees the row and its own predecessors.
        """
        decisions = [row.scores.decision(row.node, self._decisions) if row.node else None for row in rows]
        trees = [decision.tokens if decision else [] for decision in decisions]
        behind = [logits[place : place + 1] for place in range(len(rows))]
        if any(trees):
            feed = self._branches(rows, decisions)
            after = self._model.unembed(forward(self._model, self._cache, feed, first)).float()
            pieces = after.split([len(tokens) for tokens in trees])
            behind = [torch.cat(known) for known in zip(behind, pieces, strict=True)]
        for row, decision, known in zip(rows, decisions, behind, strict=True):
            if decision:
                row.scores.weigh(decision, known)

    def _branches(self, rows: Sequence[Row], decisions: Sequence[Decision | None]) -> Feed:
        device = self._cache.keys.device
        most = max(len(decision.tokens) for decision in decisions if decision)
        mask = torch.ones(len(rows), most, max(row.columns for row in rows) + most, dtype=torch.bool)
        tokens, owners, positions, columns = [], [], [], []
        for place, (row, decision) in enumerate(zip(rows, decisions, strict=True)):
            # What was drafted for the row stands in its last columns; the branches do not follow it.
            certain, begun = row.columns - len(row.ahead), len(positions)
            for child, (token, parent) in enumerate(
                zip(decision.tokens, decision.parents, strict=True) if decision else ()
            ):
                tokens.append(token)
                owners.append(place)
                positions.append(positions[begun + parent] + 1 if parent >= 0 else certain)
                columns.append(row.columns + child)
                mask[place, child] = mask[place, parent] if parent >= 0 else torch.arange(mask.shape[2]) < certain
                mask[place, child, row.columns + child] = True
        made = (torch.tensor(values, device=device) for values in (tokens, owners, positions, columns))
        return Feed(*made, mask.to(device))


def _padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])


def _choose_allowed(logits: torch.Tensor, rows: Sequence[Row], temperature: float) -> list[int]:
    """The next token of each row, among those that its place in the tree of closed answers allows."""
    draws = [row.draw for row in rows]
    if rows[0].node is None:
        return _choose(logits, temperature, draws).tolist()
    allowed = [list(row.node.children) for row in rows]
    ids = _padded(allowed).to(logits.device)
    some = torch.arange(ids.shape[1]) < torch.tensor([[len(tokens)] for tokens in allowed])
    narrow = logits.gather(1, ids).masked_fill(~some.to(logits.device), -torch.inf)
    chosen = _choose(narrow, temperature, draws).tolist()
    return [tokens[place] for tokens, place in zip(allowed, chosen, strict=True)]


def _choose(logits: torch.Tensor, temperature: float, draws: Sequence[random.Random]) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(dim=-1)
    # One number a row, so that a row's answer does not depend on its neighbours.
    points = torch.tensor([draw.random() for draw in draws], dtype=torch.float64, device=logits.device)
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(dim=-1)
    chosen = torch.searchsorted(cumulative, (points * cumulative[:, -1])[:, None], right=True)[:, 0]
    return chosen.clamp(max=logits.shape[-1] - 1)
