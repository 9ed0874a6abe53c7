"""Rows that are decoded together: they enter, take steps, and leave when they have finished."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from radtune.generation.cache import KeyValueCache, causal, forward
from radtune.generation.checkpoint import Checkpoint
from radtune.generation.closed import AnswerTree, Node
from radtune.generation.engine import Response
from radtune.generation.scores import ClassScores, Decision

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
        node: Its place in the tree of closed answers; None where it writes freely.
        scores: Of the classes, where asked for.
        written: Token ids of the answer.
        feed: Token ids that have not yet been through the model.
        ahead: Token ids that follow if the answer does not end; they go through the model with the others, so that
            going on takes no further pass.
        columns: How many of its columns in the cache are filled.
        ended: Whether it came to an end by itself.
    """

    index: int
    draw: random.Random
    node: Node | None
    scores: ClassScores | None
    written: list[int]
    feed: list[int]
    columns: int
    ahead: list[int] = field(default_factory=list)
    ended: bool = False


def start_row(
    index: int, prompt: Sequence[int], columns: int, draw: random.Random, tree: AnswerTree | None, scores: bool
) -> Row:
    """A row that has yet to enter.

    Args:
        index: Of the prompt.
        prompt: Its own token ids, behind what all prompts share.
        columns: How many columns all share.
        draw: What sampling draws from.
        tree: The closed answers, where no others may be given; what all of them begin with joins the prompt.
        scores: Whether classes are weighed.
    """
    forced, node = tree.root.forced() if tree else ([], None)
    return Row(index, draw, node, ClassScores() if scores else None, list(forced), [*prompt, *forced], columns)


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
        """Feeds the rows from this one on, and lets each choose its next token."""
        rows = self._rows[first:]
        device = self._cache.keys.device
        certain = torch.tensor([len(row.feed) for row in rows], device=device)
        fed = torch.tensor([len(row.feed) + len(row.ahead) for row in rows], device=device)
        lengths = torch.tensor([row.columns for row in rows], device=device)
        tokens = _padded([row.feed + row.ahead for row in rows]).to(device)
        padding = torch.arange(tokens.shape[1], device=device) >= fed[:, None]
        positions, mask = causal(tokens, lengths, padding)
        columns = positions.masked_fill(padding, self._cache.padding)
        wanted = torch.stack([certain, fed] if any(row.ahead for row in rows) else [fed], dim=1) - 1
        hidden = forward(self._model, self._cache, tokens, positions, mask, columns, first, wanted)
        logits = self._model.unembed(hidden).float()
        for row in rows:
            row.columns += len(row.feed) + len(row.ahead)
        if rows[0].scores:
            self._weigh(first, rows, logits[:, 0])
        self._choose(rows, logits[:, 0])
        if went_on := [place for place, row in enumerate(rows) if row.node and not row.feed]:
            self._choose([rows[place] for place in went_on], logits[went_on, 1])

    def _choose(self, rows: Sequence[Row], logits: torch.Tensor) -> None:
        closed = [place for place, row in enumerate(rows) if row.node]
        free = [place for place, row in enumerate(rows) if not row.node]
        for places in filter(None, (closed, free)):
            group = [rows[place] for place in places]
            chosen = _choose_allowed(logits if len(places) == len(rows) else logits[places], group, self._temperature)
            for row, token in zip(group, chosen, strict=True):
                self._write(row, token)

    def _write(self, row: Row, token: int) -> None:
        """Adds a token to a row's answer, and those that can only follow it."""
        if row.node is None:
            row.ended = token in self._stop
            row.feed = [] if row.ended else [token]
            row.written += row.feed
            return
        forced, row.node = row.node.children[token].forced()
        row.written += [token, *forced]
        if row.ahead and row.ahead[0] == token:
            row.feed = row.ahead = []
            return
        row.columns -= len(row.ahead)
        row.feed = [token, *forced]
        row.ahead = row.node.only_way_on()
        if not row.node.children:
            row.node, row.ended = None, not self._go_on

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
            device = logits.device
            tokens = _padded(trees).to(device)
            width = max(row.columns for row in rows) + tokens.shape[1]
            certain = [row.columns - len(row.ahead) for row in rows]
            depths = torch.zeros_like(tokens)
            mask = torch.zeros(*tokens.shape, width, dtype=torch.bool, device=device)
            columns = torch.full_like(tokens, self._cache.padding)
            for place, (row, decision) in enumerate(zip(rows, decisions, strict=True)):
                mask[place, :, : certain[place]] = True
                for child, parent in enumerate(decision.parents if decision else ()):
                    if parent >= 0:
                        depths[place, child] = depths[place, parent] + 1
                        mask[place, child] = mask[place, parent]
                    mask[place, child, row.columns + child] = True
                    columns[place, child] = row.columns + child
            positions = torch.tensor(certain, device=device)[:, None] + depths
            hidden = forward(self._model, self._cache, tokens, positions, mask, columns, first)
            after = self._model.unembed(hidden).float()
            behind = [torch.cat([own, tree]) for own, tree in zip(behind, after, strict=True)]
        for row, decision, known in zip(rows, decisions, behind, strict=True):
            if decision:
                row.scores.weigh(decision, known[: 1 + len(decision.tokens)])


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
