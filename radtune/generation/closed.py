"""Closed answers: the token sequences that a model may write, and the forced tokens among them.

The answers to multiple choice are 8,192: each set of the 13 classes in their fixed order, ``['Normal']`` for none. All
are tokenized and laid into a tree, so whatever the tokenizer makes of quotes and commas, each answer has the tokens
that it has in training, and a model that would have written one of them writes it still.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress, product

from radtune.findings import FINDINGS
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
        longest: Tokens of the longest.
    """

    root: Node
    longest: int


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
    root, longest = Node(""), 0
    texts: dict[int, str] = {}
    for answer in answers:
        node, tokens = root, encode(answer)
        longest = max(longest, len(tokens))
        for token in tokens:
            child = node.children.get(token)
            if child is None:
                if token not in texts:
                    texts[token] = decode([token])
                child = node.children[token] = Node(node.text + texts[token])
            node = child
    return AnswerTree(root, longest)
