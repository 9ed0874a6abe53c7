"""What mistakes cost: weights of a list's items and of its end, and choices of closed answers for the Tversky loss."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import torch

from radtune.config import InputError
from radtune.engines.closed import NONE, AnswerTree, Place
from radtune.instructions import Instruction
from radtune.tasks import Task
from radtune.train.data import IGNORED, Choices, Row
from radtune.train.settings import LossSettings


@dataclass(frozen=True)
class _Branch:
    """A token that may stand at a place, after which of the branches that the answer takes, and whose chance it is."""

    place: int
    token: int
    before: tuple[int, ...]
    symbols: frozenset[int]


def with_costs(
    rows: Sequence[Row],
    instructions: Sequence[Instruction],
    tokenizer: Any,
    tasks: Mapping[str, Task],
    loss: LossSettings,
) -> list[Row]:
    """Rows with the weights of their tokens and, for a Tversky loss, the choices of those with closed answers.

    Raises:
        InputError: No answer is a closed one, and the Tversky loss would be none.
    """

    def encode(texts: list[str]) -> list[list[int]]:
        return [tokenizer.encode(text, add_bos=False, add_eos=False) for text in texts]

    grammars = {name: task.grammar() for name, task in tasks.items() if loss.tversky}
    trees = {name: AnswerTree(grammar, encode) for name, grammar in grammars.items() if grammar}

    @cache
    def costs_of(task: str, answer: str) -> tuple[list[int], int, Choices | None]:
        (tokens,), labels = encode([answer]), tasks[task].read(answer).labels
        closing = answer.rfind("]") if "]" in answer else len(answer)  # of a table
        closing -= answer[closing - 1 : closing] in ("'", '"')
        # Where the model has said that it has named all; of an answer that names nothing, at its beginning.
        ends = bisect_left(range(len(tokens)), closing, key=lambda n: len(tokenizer.decode(tokens[:n])))
        tree = trees.get(task)
        choices = choices_of(tree, tree.numbers(labels), tokens) if tree else None
        return tokens, ends if labels else 0, choices

    found = []
    for row, instruction in zip(rows, instructions, strict=True):
        tokens, ends, choices = costs_of(instruction.task, instruction.output.strip())
        begins = _begins(row.targets.tolist(), tokens)
        weights = torch.ones(len(row.tokens))
        weights[begins : begins + ends] = loss.item_weight
        weights[begins + ends :] = loss.end_weight
        if choices is not None and begins + len(tokens) <= len(row.targets):
            row = replace(row, choices=replace(choices, places=begins + choices.places))
        alike = loss.item_weight == loss.end_weight == 1
        found.append(row if alike else replace(row, weights=weights))
    if loss.tversky and not any(row.choices for row in found):
        raise InputError("loss.tversky: no row's answer is a list of classes, as its task writes it")
    return found


def _begins(targets: list[int], answer: Sequence[int]) -> int:
    """Where the answer begins to be predicted; its end may have been cut off."""
    trained = next((i for i, target in enumerate(targets) if target != IGNORED), len(targets))
    same = (i for i in range(trained, len(targets)) if targets[i : i + len(answer)] == answer[: len(targets) - i])
    return next(same, len(targets))


def choices_of(tree: AnswerTree, names: Collection[int], answer: Sequence[int]) -> Choices | None:
    """The choices on the way to a closed answer, by their places in it; None where it is none of the tree's.

    Args:
        tree: All closed answers of a task.
        names: The numbers of the classes that this one names, ascending.
        answer: Its tokens.
    """
    steps: list[tuple[int, dict[int, Place], int]] = []
    here = tree.root
    for place, token in enumerate(answer):
        if token not in here.children:
            return None
        if len(here.children) > 1:
            steps.append((place, here.children, token))
        here = here.children[token]
    branches: list[_Branch] = []
    # The classes, each with the branches that decide it and whether the answer has it.
    cells: list[tuple[int, range, bool]] = []
    for name, following in pairwise((NONE, *names, NONE)):
        begun, taken_before = len(branches), ()
        for place, children, taken in steps:
            told = {token: symbols for token, child in children.items() if (symbols := _behind(child, name, tree.size))}
            if taken not in told or len(frozenset.union(*told.values())) < 2 or len(told) < 2:
                continue
            first = len(branches)
            for token, symbols in told.items():
                # What the answer goes on to decide is no class's yet.
                whose = symbols if token != taken or len(symbols) == 1 else frozenset[int]()
                branches.append(_Branch(place, token, taken_before, whose))
            taken_before += (first + list(told).index(taken),)
            if len(told[taken]) == 1:
                break
        last = following if following != NONE else tree.size - 1
        cells += [(number, range(begun, len(branches)), number == following) for number in range(name + 1, last + 1)]
    return _as_tensors(branches, cells)


def _behind(place: Place, name: int, size: int) -> frozenset[int]:
    """The classes, or :data:`NONE` for the end, that may come next behind a class at a place."""
    symbols = set[int]()
    for arm, _ in place.arms:
        if arm.after >= name:
            symbols.add(arm.after if arm.after > name else arm.name)
        elif arm.name == name:
            symbols |= {*range(name + 1, size)} if arm.then else {NONE}
    return frozenset(symbols)


def _as_tensors(branches: Sequence[_Branch], cells: Sequence[tuple[int, range, bool]]) -> Choices:
    places = sorted({branch.place for branch in branches})
    before, mass, behind = (torch.zeros(rows, len(branches)) for rows in (len(branches), len(cells), len(cells)))
    for number, branch in enumerate(branches):
        before[number, list(branch.before)] = 1
    for row, (name, decided, _) in enumerate(cells):
        for number in decided:
            symbols = branches[number].symbols
            if symbols:
                mass[row, number] = (name in symbols) / len(symbols)
                behind[row, number] = sum(symbol >= name or symbol == NONE for symbol in symbols) / len(symbols)
    return Choices(
        torch.tensor(places),
        torch.tensor([places.index(branch.place) for branch in branches]),
        torch.tensor([branch.token for branch in branches]),
        before, mass, behind,
        torch.tensor([float(there) for *_, there in cells]),
    )  # fmt: skip
