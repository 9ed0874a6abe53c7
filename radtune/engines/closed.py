"""Closed answers: the token sequences that a model may write, and the forced tokens among them.

The answers to multiple choice are 8,192: each set of the 13 classes in their fixed order, ``['Normal']`` for none. All
are tokenized and laid into a tree, so whatever the tokenizer makes of quotes and commas, each answer has the tokens
that it has in training, and a model that would have written one of them writes it still.

A draft of the answer, where there is one, goes through the model along with the report (speculative decoding: Leviathan
et al. 2023). The model still chooses every token by itself; as long as it chooses the draft's, that takes no pass.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import compress, product

from radtune.findings import FINDINGS, NORMAL
from radtune.tasks import multiple_choice


@dataclass(eq=False)
class Node:
    """A place in the tree of closed answers.

    Attributes:
        text: What is written when it is reached.
        children: By the token that may come next; none at the end of an answer.
    """

    text: str
    children: dict[int, "Node"] = field(default_factory=dict)

    def forced(self) -> tuple[list[int], "Node"]:
        """The tokens that can only be these from here on, and the next place with a choice, or the end."""
        tokens, node = [], self
        while len(node.children) == 1:
            ((token, node),) = node.children.items()
            tokens.append(token)
        return tokens, node

    def only_way_on(self) -> list[int]:
        """The tokens up to the next choice if the answer goes on; none if it can go on in several ways or not at all.

        After a name the list either ends or goes on with a comma: these are the tokens of the comma.
        """
        ways = [(token, *child.forced()) for token, child in self.children.items()]
        on = [[token, *forced] for token, forced, node in ways if node.children]
        return on[0] if len(on) == 1 else []


@dataclass(frozen=True)
class AnswerTree:
    """All closed answers.

    Attributes:
        root: Where each begins.
        tokens: Of each answer.
    """

    root: Node
    tokens: dict[str, list[int]]

    @property
    def longest(self) -> int:
        """Tokens of the longest answer."""
        return max(map(len, self.tokens.values()))

    def draft(self, node: Node, written: Sequence[int], expected: Collection[str]) -> tuple[list[int], list[int]]:
        """How an answer likely goes on.

        Args:
            node: Where it is: a place with a choice.
            written: Its tokens so far.
            expected: The classes that it will likely name.

        Returns:
            Tokens up to the last choice that is worth drafting, and how many of them come before each choice; the first
            comes before all. Where the list is expected to end, the comma is drafted in case it does not.
        """
        tokens = self.tokens.get(likely_answer(node.text, expected) or "", [])
        rest = tokens[len(written) :] if tokens[: len(written)] == list(written) else []
        places, last, here = [0], node, node
        for place, token in enumerate(rest):
            if place and len(here.children) > 1:
                places.append(place)
                last = here
            here = here.children[token]
        ahead = rest[: places[-1]]
        if on := last.only_way_on():
            ahead += on
            places.append(len(ahead))
        return ahead, places


def closed_answers(task: str) -> list[str]:
    """Every answer that a task allows.

    Raises:
        ValueError: The task's answers are open.
    """
    if task != multiple_choice.NAME:
        raise ValueError(f"the answers of {task} are not closed")
    return [
        multiple_choice.encode(list(compress(FINDINGS, chosen))) for chosen in product((0, 1), repeat=len(FINDINGS))
    ]


def answer_tree(
    answers: Sequence[str], encode: Callable[[str], list[int]], decode: Callable[[list[int]], str]
) -> AnswerTree:
    """Lays answers into a tree of tokens.

    Args:
        answers: The answers that are allowed, none of them the beginning of another.
        encode: Tokens of a text, without special ones.
        decode: The text of tokens.

    Returns:
        The tree.
    """
    root, tokens = Node(""), {answer: encode(answer) for answer in answers}
    texts: dict[int, str] = {}
    for answer in answers:
        node = root
        for token in tokens[answer]:
            child = node.children.get(token)
            if child is None:
                if token not in texts:
                    texts[token] = decode([token])
                child = node.children[token] = Node(node.text + texts[token])
            node = child
    return AnswerTree(root, tokens)


def likely_answer(text: str, expected: Collection[str]) -> str | None:
    """The closed answer that begins with a text and behind it names the expected classes.

    Args:
        text: The beginning of an answer to multiple choice; may end anywhere.
        expected: Classes. Those whose place in the list has passed are left out.

    Returns:
        The answer; None where the text calls for one more class and none is expected.
    """
    *names, begun = text.removeprefix("['").split("', '")
    behind = FINDINGS[FINDINGS.index(names[-1]) + 1 :] if names else FINDINGS
    hoped = [name for name in behind if name in expected]
    if begun:
        # The name that the text has begun with: an expected one if it may be one.
        may_be = (n for n in (*hoped, *behind) if f"{n}', '".startswith(begun) or f"{n}']".startswith(begun))
        name = next(may_be, NORMAL)
        names += [name] * (name != NORMAL)
        hoped = [other for other in hoped if name != NORMAL and FINDINGS.index(other) > FINDINGS.index(name)]
    answer = multiple_choice.encode([*names, *hoped])
    return answer if answer.startswith(text) else None
