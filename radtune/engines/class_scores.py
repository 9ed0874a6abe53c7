"""A probability for each of the 13 classes, from the constrained decoder.

The decoder writes a list name by name in the classes' fixed order. After the names it has written, its next symbol is
a later class or the end of the list, and the model's token probabilities, renormalized over the closed answers' tokens
(temperature 1), multiply to a distribution p over these symbols: exact, since every branch of every name is weighed.
The score of class c is then

    p(c) / (p(c) + the sum of p over the classes behind c + p(end)),

the probability that c is named, given what the answer says about all classes before c. It is in [0, 1]. In a greedy
answer no class above 0.5 is left out; a named class may be below 0.5 where several classes compete to be next.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from radtune.engines.closed import Node
from radtune.findings import FINDINGS, NORMAL

END = len(FINDINGS)  # the symbol that ends a list; a class's symbol is its index


@dataclass(frozen=True)
class Decision:
    """How the next symbol is spelled from one place of the answer tree.

    Attributes:
        tokens: What has to go through the model to weigh all symbols: tokens after which more than one is possible.
        parents: The place of each token's predecessor among :attr:`tokens`; -1 for the decision's own place.
        branches: For the decision's own place, then for each of :attr:`tokens`: what may come next, as token and
            either a symbol (0 to :data:`END`) or ``-1 - i`` for the i-th of :attr:`tokens`.
    """

    tokens: list[int]
    parents: list[int]
    branches: list[list[tuple[int, int]]]


class ClassScores:
    """Scores of one answer, collected while it is written."""

    def __init__(self) -> None:
        """Begins before the first name."""
        self.values = [0.0] * len(FINDINGS)
        self._written: list[int] = []
        self._decided = -1

    def decision(self, node: Node, known: dict[Node, Decision]) -> Decision | None:
        """The decision that is to be weighed at a place; None if it was weighed at an earlier one.

        Args:
            node: The place.
            known: Decisions made out before, by place; added to.
        """
        while len(symbols := _possible(node.text, self._written)) == 1 and symbols[0] != END:
            self._written.append(symbols[0])
        if symbols == [END] or self._decided == len(self._written):
            return None
        self._decided = len(self._written)
        if node not in known:
            known[node] = _decide(node, self._written)
        return known[node]

    def weigh(self, decision: Decision, logits: torch.Tensor) -> None:
        """Takes over the scores that a decision gives.

        Args:
            decision: The decision.
            logits: ``[1 + tokens, vocabulary]``: at its own place, then after each of its tokens.
        """
        reached = [1.0] + [0.0] * len(decision.tokens)
        mass = [0.0] * (END + 1)
        for place, branch in enumerate(decision.branches):
            chances = torch.softmax(logits[place, [token for token, _ in branch]].double(), dim=0).tolist()
            for (_, target), chance in zip(branch, chances, strict=True):
                if target < 0:
                    reached[-target] = reached[place] * chance
                else:
                    mass[target] += reached[place] * chance
        behind = mass[END]
        for symbol in range(END - 1, self._written[-1] if self._written else -1, -1):
            behind += mass[symbol]
            self.values[symbol] = min(1.0, mass[symbol] / behind) if behind > 0 else 0.0


def _possible(text: str, written: Sequence[int]) -> list[int]:
    """The symbols that may follow the names written so far, given that the answer begins with this text."""
    if written:
        so_far = "['" + "', '".join(FINDINGS[symbol] for symbol in written)
        spelled = {END: f"{so_far}']"}
        spelled |= {symbol: f"{so_far}', '{FINDINGS[symbol]}" for symbol in range(written[-1] + 1, END)}
    else:
        spelled = {symbol: f"['{FINDINGS[symbol]}" for symbol in range(END)} | {END: f"['{NORMAL}"}
    return [symbol for symbol, whole in spelled.items() if whole.startswith(text) or text.startswith(whole)]


def _decide(node: Node, written: Sequence[int]) -> Decision:
    decision = Decision([], [], [[]])
    places = [(node, -1)]
    # Places are added behind the one at hand, so each comes after its predecessor.
    for place, (here, _) in enumerate(places):
        for token, child in here.children.items():
            symbols = _possible(child.text, written)
            if len(symbols) == 1:
                decision.branches[place].append((token, symbols[0]))
            else:
                places.append((child, place - 1))
                decision.branches.append([])
                decision.tokens.append(token)
                decision.parents.append(place - 1)
                decision.branches[place].append((token, -len(decision.tokens)))
    return decision
