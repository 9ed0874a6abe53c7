"""A probability for each class, from the constrained decoder.

The decoder writes a list name by name in the classes' fixed order. After the names it has written, its next symbol is
a later class or the end of the list, and the model's token probabilities, renormalized over the closed answers' tokens
(temperature 1), multiply to a distribution p over these symbols: exact, since every branch of every name is weighed,
all of them in one pass. The score of class c is then

    p(c) / (p(c) + the sum of p over the classes behind c + p(end)),

the probability that c is named, given what the answer says about all classes before c. It is in [0, 1]. In a greedy
answer no class above 0.5 is left out; a named class may be below 0.5 where several classes compete to be next. (Near
the token limit the decoder may have to close a list that the model would go on with; scores do not know of it.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from radtune.engines.closed import NONE, AnswerTree, Place

# The symbol that ends a list; a class's symbol is its number. As the last class written: none yet.
_END = NONE


@dataclass(frozen=True)
class Decision:
    """How the next symbol is spelled from one place of closed answers.

    Where one name begins with another (``Lung``, ``Lung Opacity``), or ends in a bracket, the token that tells the name
    also tells whether the list ends. What follows the name then is weighed along with it.

    Attributes:
        tokens: What has to go through the model to weigh all symbols: tokens after which more than one is possible.
        parents: The index of each token's predecessor among :attr:`tokens`; -1 for the decision's own place.
        branches: For the decision's own place, then for each of :attr:`tokens`: the tokens that may come next, each
            with its symbol, or that and the next, if there is but one, else None; these are :attr:`tokens`, in order.
    """

    tokens: list[int]
    parents: list[int]
    branches: list[list[tuple[int, tuple[int, ...] | None]]]

    @property
    def depth(self) -> int:
        """How many of the tokens follow one another at most."""
        depths = [0]
        for parent in self.parents:
            depths.append(depths[parent + 1] + 1)
        return max(depths)


class ClassScores:
    """Scores of one answer, collected while it is written."""

    def __init__(self, tree: AnswerTree) -> None:
        """Begins before the first name of these answers."""
        self.values = [0.0] * tree.size
        self._tree = tree
        self._last = _END
        self._decided: int | None = None
        # What was weighed along with a name: by the name, the mass of what follows it.
        self._joined: dict[int, list[float]] = {}
        # The chance that the list ends behind the last name, where that has been decided along with it.
        self._ended: float | None = None

    def advance(self, place: Place) -> int | None:
        """Notes the names that are certain at a place; the symbol that may follow if there is but one."""
        begun = min((arm.after for arm, _ in place.arms), default=_END)
        if begun > self._last:
            self._pass(begun)
        while (symbol := _only(_possible(place, self._last))) not in (None, _END):
            self._pass(symbol)
        return symbol

    def decision(self, place: Place, known: dict[Place, Decision]) -> Decision | None:
        """The decision that is to be weighed at a place; None if it was weighed at an earlier one.

        ``known`` are those made out before, by place; added to.
        """
        if self.advance(place) == _END or self._decided == self._last:
            return None
        self._decided = self._last
        if place not in known:
            known[place] = decide(self._tree, place, self._last)
        return known[place]

    def weigh(self, decision: Decision, logits: torch.Tensor) -> None:
        """Takes over the scores that a decision gives.

        ``logits`` are ``[1 + tokens, vocabulary]``: at its own place, then after each of its tokens.
        """
        allowed = gather_allowed(logits, [[token for token, _ in branch] for branch in decision.branches]).double()
        none = [0.0] * (len(self.values) + 1)
        reached, mass = [1.0], none.copy()
        self._joined = {}
        # Each place comes after its predecessor, so its own chance is there when its turn comes.
        for place, (branch, chances) in enumerate(zip(decision.branches, allowed.softmax(1).tolist(), strict=True)):
            for (_, symbols), chance in zip(branch, chances, strict=False):
                if symbols is None:
                    reached.append(reached[place] * chance)
                    continue
                mass[symbols[0]] += reached[place] * chance
                for following in symbols[1:]:
                    self._joined.setdefault(symbols[0], none.copy())[following] += reached[place] * chance
        if self._ended is not None:
            mass = [(1 - self._ended) * share for share in mass]
            mass[_END] = self._ended
        self._score(mass)

    def _pass(self, name: int) -> None:
        self._last, self._ended = name, None
        if mass := self._joined.get(name):
            self._ended = mass[_END] / sum(mass) if any(mass) else 0.0
            self._score(mass)

    def _score(self, mass: list[float]) -> None:
        behind = mass[_END]
        for symbol in range(len(self.values) - 1, self._last, -1):
            behind += mass[symbol]
            self.values[symbol] = min(1.0, mass[symbol] / behind) if behind > 0 else 0.0


def gather_allowed(logits: torch.Tensor, allowed: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits of each row's allowed tokens alone, ``[rows, most tokens]``, with minus infinity behind the last."""
    ids = pad_sequence([torch.tensor(tokens) for tokens in allowed], batch_first=True)
    none = torch.arange(ids.shape[1]) >= torch.tensor([[len(tokens)] for tokens in allowed])
    return logits.gather(1, ids.to(logits.device)).masked_fill(none.to(logits.device), -torch.inf)


def decide(tree: AnswerTree, place: Place, last: int = _END) -> Decision:
    """How the symbol behind a class is spelled from a place of closed answers on."""
    decision = Decision([], [], [[]])
    # Each with the name that is certain there, where what follows it is weighed, too.
    places: list[tuple[Place, int | None]] = [(place, None)]
    # Places are added behind the one at hand, so each comes after its predecessor.
    for number, (here, name) in enumerate(places):
        for token, child in here.children.items():
            symbols, joined = _symbols(tree, child, last) if name is None else _following(child, name)
            decision.branches[number].append((token, symbols))
            if symbols is None:
                places.append((child, joined))
                decision.branches.append([])
                decision.tokens.append(token)
                decision.parents.append(number - 1)
    return decision


def _symbols(tree: AnswerTree, place: Place, last: int) -> tuple[tuple[int, ...] | None, int | None]:
    """The symbol at a place, with the next where that is decided, too; None and a name that is to be followed."""
    symbol = _only(_possible(place, last))
    if symbol is None:
        return None, None
    ends = any(arm.name == symbol and arm.then is None for arm, _ in place.arms)
    goes_on = any(arm.after == symbol or (arm.name == symbol and arm.then) for arm, _ in place.arms)
    # Behind the last class, and where a list has ended, there is nothing to decide.
    if symbol in (_END, tree.size - 1) or (ends and goes_on):
        return (symbol,), None
    return ((symbol, _END), None) if ends else _following(place, symbol)


def _following(place: Place, name: int) -> tuple[tuple[int, ...] | None, int | None]:
    symbol = _only(_possible(place, name))
    return (None, name) if symbol is None else ((name, symbol), None)


def _possible(place: Place, last: int) -> set[int]:
    """The symbols that may follow after a class, at a place behind where it was decided; of many perhaps only two."""
    symbols: set[int] = set()
    for arm, _ in place.arms:
        if arm.after > last:
            symbols.add(arm.after)
        elif arm.name != last:
            symbols.add(arm.name)
        elif arm.then is None:
            symbols.add(_END)
        else:
            symbols |= arm.then.nearest_and_farthest
    return symbols


def _only(symbols: set[int]) -> int | None:
    return next(iter(symbols)) if len(symbols) == 1 else None
