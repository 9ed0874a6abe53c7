"""A probability for each class, from the constrained decoder.

The decoder writes a list name by name in the classes' fixed order. After the names it has written, its next symbol is
a later class or the end of the list, and the model's token probabilities, renormalized over the closed answers' tokens
(temperature 1), multiply to a distribution p over these symbols. The likeliest branches of names are weighed, all of an
answer's in one pass when it is complete; those of a beginning that is not among them share its chance evenly. The score
of class c is then

    p(c) / (p(c) + the sum of p over the classes behind c + p(end)),

the probability that c is named, given what the answer says about all classes before c. It is in [0, 1]. In a greedy
answer no class above 0.5 is left out; a named class may be below 0.5 where several classes compete to be next. (Near
the token limit the decoder may have to close a list that the model would go on with; scores do not know of it.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from torch.nn.utils.rnn import pad_sequence

from radtune.engines.closed import NONE, Place

# The symbol that ends a list; a class's symbol is its number. As the class before: none yet.
_END = NONE
# What of a decision's branches goes through the model: so many tokens, the likeliest, and none with less of a chance.
# All of them for the paper's 13 classes; of 133, they would cost three times what the answers do.
MOST_BRANCHES, NEGLIGIBLE = 12, 1e-3


@dataclass(frozen=True)
class Decision:
    """How the symbols behind some classes are spelled from one place of closed answers on.

    Attributes:
        behind: The classes, each with the class before it. Of several, as where one name begins with another, an
            answer names one; it may name another later, behind a class that it has not named here.
        tokens: What has to go through the model to weigh all symbols: tokens after which more than one is possible.
        parents: The index of each token's predecessor among :attr:`tokens`; -1 for the decision's own place.
        branches: For the decision's own place, then for each of :attr:`tokens`: the tokens that may come next, each
            with the symbol that it tells, by the class before; None for one of :attr:`tokens`, which are in order.
    """

    behind: dict[int, int]
    tokens: list[int]
    parents: list[int]
    branches: list[list[tuple[int, dict[int, int] | None]]]

    def chances(self, logits: torch.Tensor, places: Sequence[int]) -> list[list[float]]:
        """How likely each branch is at some places, 0 for the decision's own, by the logits there."""
        allowed = logits.gather(1, self._next[places].to(logits.device))
        return allowed.masked_fill(self._none[places].to(logits.device), -torch.inf).double().softmax(1).tolist()

    @cached_property
    def _next(self) -> torch.Tensor:
        """The tokens that may come next, ``[places, most branches]``; padded where there are fewer."""
        return pad_sequence([torch.tensor([token for token, _ in branch]) for branch in self.branches], True)

    @cached_property
    def _none(self) -> torch.Tensor:
        counts = torch.tensor([len(branch) for branch in self.branches])
        return torch.arange(self._next.shape[1]) >= counts[:, None]

    @cached_property
    def children(self) -> list[list[int]]:
        """For the decision's own place, then for each of :attr:`tokens`: the tokens behind it, by their index."""
        found: list[list[int]] = [[] for _ in self.branches]
        for number, parent in enumerate(self.parents):
            found[parent + 1].append(number)
        return found

    @cached_property
    def below(self) -> list[list[dict[int, int]]]:
        """For the decision's own place, then for each of :attr:`tokens`: what all branches behind it tell."""
        found = [[symbols for _, symbols in branch if symbols is not None] for branch in self.branches]
        for number in reversed(range(len(self.tokens))):
            found[self.parents[number] + 1] += found[number + 1]
        return found

    def likely(self, chances: Sequence[float]) -> list[int]:
        """The tokens that are worth a pass, by their index: those behind the likeliest first tokens."""
        chance = dict(enumerate(chances[place] for place, (_, told) in enumerate(self.branches[0]) if told is None))
        for number, parent in enumerate(self.parents):
            chance.setdefault(number, chance.get(parent, 0.0))
        # Each behind its predecessor.
        likeliest = sorted(chance, key=lambda number: (-chance[number], number))[:MOST_BRANCHES]
        return sorted(number for number in likeliest if chance[number] >= NEGLIGIBLE)


@dataclass(frozen=True)
class Weighing:
    """A decision that an answer has come to.

    Attributes:
        behind: The classes of the decision's that no earlier one has weighed what follows, each behind the class
            before it.
        columns: How many of the row's columns stand before it.
        chances: Of its first tokens.
        kept: Which of its tokens are to go through the model.
    """

    decision: Decision
    behind: list[tuple[int, int]]
    columns: int
    chances: list[float]
    kept: list[int]


@dataclass
class ClassScores:
    """Scores of one answer, collected while it is written."""

    size: int  # the number of classes
    # By the two classes before, of each symbol, the end last.
    mass: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    waiting: list[Weighing] = field(default_factory=list)  # what is to be weighed by a pass through the model

    def note(self, place: Place, columns: int, logits: torch.Tensor, known: dict[Place, Decision]) -> None:
        """Takes up what is decided at a place with a choice, by its logits; decisions made out are ``known``."""
        if place not in known:
            known[place] = decide(place, begins=not self.mass)
        decision = known[place]
        if behind := [(before, name) for name, before in decision.behind.items() if (before, name) not in self.mass]:
            self.mass |= {names: [0.0] * (self.size + 1) for names in behind}
            (chances,) = decision.chances(logits[None], [0])
            weighing = Weighing(decision, behind, columns, chances, decision.likely(chances))
            if weighing.kept:
                self.waiting.append(weighing)
            else:
                self.weigh(weighing)

    def weigh(self, weighing: Weighing, logits: torch.Tensor | None = None) -> None:
        """Notes how likely the symbols are, by the logits after each kept token, ``[kept, vocabulary]``."""
        decision, chances = weighing.decision, [weighing.chances]
        if logits is not None:
            chances += decision.chances(logits, [number + 1 for number in weighing.kept])
        # By token, -1 for the place itself; each comes after its predecessor, so its own chance is there by its turn.
        reached = {-1: 1.0}
        kept = set(weighing.kept)
        for number, following in zip((-1, *weighing.kept), chances, strict=True):
            children = iter(decision.children[number + 1])
            for (_, symbols), chance in zip(decision.branches[number + 1], following, strict=False):
                told = [symbols]
                if symbols is None:
                    child = next(children)
                    if child in kept:
                        reached[child] = reached[number] * chance
                        continue
                    told = decision.below[child + 1]
                for found in told:
                    for before, name in weighing.behind:
                        if name in found:
                            self.mass[before, name][found[name]] += reached[number] * chance / len(told)

    def values(self, names: Sequence[int]) -> tuple[float, ...]:
        """The scores of all classes, given those that the answer names, ascending."""
        values = [0.0] * self.size
        for before, name in filter(self.mass.__contains__, pairwise((NONE, NONE, *names))):
            mass = self.mass[before, name]
            behind = mass[_END]
            for symbol in range(self.size - 1, name, -1):
                behind += mass[symbol]
                values[symbol] = min(1.0, mass[symbol] / behind) if behind > 0 else 0.0
        return tuple(values)


def decide(place: Place, begins: bool) -> Decision:
    """What is decided at a place: what comes behind each class whose lists part here, or what an answer begins with."""
    decision = Decision({NONE: NONE} if begins else _parting(place), [], [], [[]])
    # Each with the classes behind which more than one symbol is possible, and the symbols that are certain.
    places: list[tuple[Place, list[int], dict[int, int]]] = [(place, list(decision.behind), {})]
    # Places are added behind the one at hand, so each comes after its predecessor.
    for number, (here, behind, certain) in enumerate(places):
        for token, child in here.children.items():
            possible = {name: _possible(child, name) for name in behind}
            still = [
                name for name, symbols in possible.items() if len(symbols) > 1 or (symbols and _shared(child, name))
            ]
            told = certain | {name: min(s) for name, s in possible.items() if s and name not in still}
            decision.branches[number].append((token, None if still else told))
            if still:
                places.append((child, still, told))
                decision.branches.append([])
                decision.tokens.append(token)
                decision.parents.append(number - 1)
    return decision


def _parting(place: Place) -> dict[int, int]:
    """The classes whose lists have had their tokens in common up to a place, and have no more from there on."""
    found = {}
    for name, before in {arm.name: arm.after for arm, _ in place.arms if arm.name != NONE and arm.then is None}.items():
        lists = [(arm, done) for arm, done in place.arms if name in (arm.name, arm.after)]
        goes_on = any(arm.after == name or arm.then for arm, _ in lists)
        if goes_on and len({arm.tokens[done] for arm, done in lists}) > 1:
            found[name] = before
    return found


def _shared(place: Place, name: int) -> bool:
    """Whether lists that name the class, or have passed it by, may still come to others at a place."""
    return any(arm.name != name and arm.after < name for arm, _ in place.arms)


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
