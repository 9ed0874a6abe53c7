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

from dataclasses import dataclass

import torch

from radtune.engines.closed import NONE, Place

# The symbol that ends a list; a class's symbol is its number. As the last class written: none yet.
_END = NONE


@dataclass(frozen=True)
class Decision:
    """How the next symbol is spelled from one place of closed answers.

    Attributes:
        tokens: What has to go through the model to weigh all symbols: tokens after which more than one is possible.
        parents: The index of each token's predecessor among :attr:`tokens`; -1 for the decision's own place.
        branches: For the decision's own place, then for each of :attr:`tokens`: the tokens that may come next, each
            with its symbol if there is but one, else None; these are :attr:`tokens`, in their order.
    """

    tokens: list[int]
    parents: list[int]
    branches: list[list[tuple[int, int | None]]]


class ClassScores:
    """Scores of one answer, collected while it is written."""

    def __init__(self, size: int) -> None:
        """Begins before the first name of so many classes."""
        self.values = [0.0] * size
        self._last = _END
        self._decided: int | None = None

    def decision(self, place: Place, known: dict[Place, Decision]) -> Decision | None:
        """The decision that is to be weighed at a place; None if it was weighed at an earlier one.

        Args:
            place: The place.
            known: Decisions made out before, by place; added to.
        """
        while (symbol := _only(_possible(place, self._last))) not in (None, _END):
            self._last = symbol
        if symbol == _END or self._decided == self._last:
            return None
        self._decided = self._last
        if place not in known:
            known[place] = decide(place, self._last)
        return known[place]

    def weigh(self, decision: Decision, logits: torch.Tensor) -> None:
        """Takes over the scores that a decision gives.

        Args:
            decision: The decision.
            logits: ``[1 + tokens, vocabulary]``: at its own place, then after each of its tokens.
        """
        width = max(map(len, decision.branches))
        ids = torch.tensor([[t for t, _ in branch] + [0] * (width - len(branch)) for branch in decision.branches])
        none = torch.arange(width) >= torch.tensor([[len(branch)] for branch in decision.branches])
        allowed = logits.gather(1, ids.to(logits.device)).double().masked_fill(none.to(logits.device), -torch.inf)
        reached, mass = [1.0], [0.0] * (len(self.values) + 1)
        # Each place comes after its predecessor, so its own chance is there when its turn comes.
        for place, (branch, chances) in enumerate(zip(decision.branches, allowed.softmax(1).tolist(), strict=True)):
            for (_, symbol), chance in zip(branch, chances, strict=False):
                if symbol is None:
                    reached.append(reached[place] * chance)
                else:
                    mass[symbol] += reached[place] * chance
        behind = mass[_END]
        for symbol in range(len(self.values) - 1, self._last, -1):
            behind += mass[symbol]
            self.values[symbol] = min(1.0, mass[symbol] / behind) if behind > 0 else 0.0


def _possible(place: Place, last: int) -> set[int]:
    """The symbols that may follow after a class, at a place behind where it was decided; of many perhaps only two."""
    symbols: set[int] = set()
    for arm, _ in place.arms:
        if arm.name != last:
            symbols.add(arm.name)
        elif arm.then is None:
            symbols.add(_END)
        else:
            symbols |= arm.then.nearest_and_farthest
    return symbols


def _only(symbols: set[int]) -> int | None:
    return next(iter(symbols)) if len(symbols) == 1 else None


def decide(place: Place, last: int = _END) -> Decision:
    """How the symbol behind a class is spelled from a place on."""
    decision = Decision([], [], [[]])
    places = [place]
    # Places are added behind the one at hand, so each comes after its predecessor.
    for number, here in enumerate(places):
        for token, child in here.children.items():
            symbol = _only(_possible(child, last))
            decision.branches[number].append((token, symbol))
            if symbol is None:
                places.append(child)
                decision.branches.append([])
                decision.tokens.append(token)
                decision.parents.append(number - 1)
    return decision
