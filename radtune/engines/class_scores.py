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

from radtune.engines.closed import NONE, Place

# The symbol that ends a list; a class's symbol is its number. As the class before: none yet.
_END = NONE


@dataclass(frozen=True)
class Decision:
    """How the symbols behind some classes are spelled from one place of closed answers on.

    Attributes:
        behind: The classes. Of several, as where one name begins with another, an answer names one.
        tokens: What has to go through the model to weigh all symbols: tokens after which more than one is possible.
        parents: The index of each token's predecessor among :attr:`tokens`; -1 for the decision's own place.
        branches: For the decision's own place, then for each of :attr:`tokens`: the tokens that may come next, each
            with the symbol that it tells, by the class before; None for one of :attr:`tokens`, which are in order.
    """

    behind: list[int]
    tokens: list[int]
    parents: list[int]
    branches: list[list[tuple[int, dict[int, int] | None]]]


class ClassScores:
    """Scores of one answer, collected while it is written."""

    def __init__(self, size: int) -> None:
        self._size = size
        # By the class before, how likely each symbol comes next; the end stands last.
        self._mass: dict[int, list[float]] = {}

    def decision(self, place: Place, known: dict[Place, Decision]) -> Decision | None:
        """What is to be weighed at a place with a choice; None for nothing new. Decisions made out are ``known``."""
        if place not in known:
            known[place] = decide(place, begins=not self._mass)
        return known[place] if set(known[place].behind) - self._mass.keys() else None

    def weigh(self, decision: Decision, logits: torch.Tensor) -> None:
        """Notes how likely the symbols are, by ``[1 + tokens, vocabulary]``: at the place, then after each token."""
        ids = pad_sequence([torch.tensor([token for token, _ in branch]) for branch in decision.branches], True)
        none = torch.arange(ids.shape[1]) >= torch.tensor([[len(branch)] for branch in decision.branches])
        allowed = logits.gather(1, ids.to(logits.device)).masked_fill(none.to(logits.device), -torch.inf)
        mass, reached = {name: [0.0] * (self._size + 1) for name in decision.behind}, [1.0]
        # Each place comes after its predecessor, so its own chance is there when its turn comes.
        for place, chances in enumerate(allowed.double().softmax(1).tolist()):
            for (_, symbols), chance in zip(decision.branches[place], chances, strict=False):
                if symbols is None:
                    reached.append(reached[place] * chance)
                    continue
                for name, symbol in symbols.items():
                    mass[name][symbol] += reached[place] * chance
        self._mass = mass | self._mass

    def values(self, names: Sequence[int]) -> tuple[float, ...]:
        """The scores of all classes, given those that the answer names, ascending."""
        values = [0.0] * self._size
        for name in filter(self._mass.__contains__, (NONE, *names)):
            mass = self._mass[name]
            behind = mass[_END]
            for symbol in range(self._size - 1, name, -1):
                behind += mass[symbol]
                values[symbol] = min(1.0, mass[symbol] / behind) if behind > 0 else 0.0
        return tuple(values)


def decide(place: Place, begins: bool) -> Decision:
    """What is decided at a place: what comes behind each class whose lists part here, or what an answer begins with."""
    decision = Decision([NONE] if begins else _parting(place), [], [], [[]])
    # Each with the classes behind which more than one symbol is possible, and the symbols that are certain.
    places: list[tuple[Place, list[int], dict[int, int]]] = [(place, decision.behind, {})]
    # Places are added behind the one at hand, so each comes after its predecessor.
    for number, (here, behind, certain) in enumerate(places):
        for token, child in here.children.items():
            possible = {name: _possible(child, name) for name in behind}
            told = certain | {name: min(symbols) for name, symbols in possible.items() if len(symbols) == 1}
            still = [name for name, symbols in possible.items() if len(symbols) > 1]
            decision.branches[number].append((token, None if still else told))
            if still:
                places.append((child, still, told))
                decision.branches.append([])
                decision.tokens.append(token)
                decision.parents.append(number - 1)
    return decision


def _parting(place: Place) -> list[int]:
    """The classes whose lists have had their tokens in common up to a place, and have no more from there on."""
    found = []
    for name in {arm.name for arm, _ in place.arms if arm.name != NONE and arm.then is None}:
        lists = [(arm, done) for arm, done in place.arms if name in (arm.name, arm.after)]
        goes_on = any(arm.after == name or arm.then for arm, _ in lists)
        if goes_on and len({arm.tokens[done] for arm, done in lists}) > 1:
            found.append(name)
    return found


def _possible(place: Place, name: int) -> set[int]:
    """The symbols that may come behind a class at a place; of many perhaps only two."""
    symbols: set[int] = set()
    for arm, _ in place.arms:
        if arm.after > name:
            symbols.add(arm.after)
        elif arm.after == name:
            symbols.add(arm.name)
        elif arm.name == name:
            symbols |= arm.then.nearest_and_farthest if arm.then else {_END}
    return symbols
