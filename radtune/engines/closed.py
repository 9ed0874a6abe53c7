"""Closed answers: the tokens that a model may write next, worked out as far as its answers get.

A task of n classes allows 2**n lists: any of the names in their order, or the word for none, each with the tokens of
tokenizing it whole, as in training. They are not laid out beforehand: where some names are written and one more has to
come (a :class:`State`), what may follow is read off the lists that end with each later name, and off those that go on
with the name behind it. What all of these begin with is certain by then; the rest are arms, tokens and then the end or
another state. States are shared by all lists that leave the same tokens to be written: n states for most tokenizers.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from radtune.config import InputError
from radtune.tasks.lists import ClosedList, write_list

# The tokens of texts, without special ones.
Encode = Callable[[list[str]], list[list[int]]]

# Stands for the word for none where others have their number among the grammar's names.
NONE = -1
# Why an answer has ended whose list the token limit has kept from naming more.
CLOSED_EARLY = "closed_early"
# Of so few names, a limit has to leave room for the longest list; of more, lists are closed in time.
_FEW_NAMES = 16


@dataclass(frozen=True, eq=False)
class Arm:
    """One more name of a list."""

    name: int  # its number
    after: int  # the number of the name before it, or NONE
    tokens: list[int]  # how it is written
    then: "State | None"  # None where the list ends behind it


class Place:
    """A place between two tokens of closed answers; the same object whenever the same may follow."""

    def __init__(self, arms: Sequence[tuple[Arm, int]]) -> None:
        """Takes the arms that go on here, each with how many of its tokens are written."""
        # Where nothing of an arm is left, those behind it go on.
        self.arms = [
            way
            for arm, done in arms
            for way in (arm.then.place.arms if arm.then and done == len(arm.tokens) else ((arm, done),))
        ]

    @cached_property
    def children(self) -> dict[int, "Place"]:
        """By the token that may come next, the place behind it; none at the end of an answer."""
        ways: dict[int, list[tuple[Arm, int]]] = {}
        for arm, done in self.arms:
            if done < len(arm.tokens):
                ways.setdefault(arm.tokens[done], []).append((arm, done + 1))
        return {token: _behind(arms) for token, arms in ways.items()}

    def allowed(self, left: int) -> list[int]:
        """The tokens that may come next if so many are left to write, this one included: a list closes in time."""
        if left >= self._most:
            return list(self.children)
        return [token for token, child in self.children.items() if child.least < left]

    @cached_property
    def ends(self) -> list[int]:
        """The tokens that end a list that could go on, or say that there is none where it could name some."""
        going_on = {NONE, *(arm.name for arm, _ in self.arms if arm.then)}
        children = self.children.items()
        return [token for token, c in children if all(arm.then is None and arm.name in going_on for arm, _ in c.arms)]

    @cached_property
    def least(self) -> int:
        """The fewest tokens to the end of an answer."""
        return min(map(_to_write, self.arms))

    @cached_property
    def _most(self) -> int:
        return max(map(_to_write, self.arms))

    def forced(self) -> tuple[list[int], "Place"]:
        """The tokens that can only be these from here on, and the next place with a choice, or the end."""
        tokens, place = [], self
        while len(place.children) == 1:
            ((token, place),) = place.children.items()
            tokens.append(token)
        return tokens, place

    @cached_property
    def way_on(self) -> list[int]:
        """The tokens up to the next choice if the answer goes on, e.g. of the comma behind a name; none of several."""
        ways = [[token, *child.forced()[0]] for token, child in self.children.items() if child.forced()[1].children]
        return ways[0] if len(ways) == 1 else []

    def draft(self, expected: Sequence[int], left: int) -> tuple[list[int], list[int]]:
        """How an answer likely goes on from a place with a choice.

        Args:
            expected: The numbers of the classes that it will likely name, ascending.
            left: How many tokens may be written at most.

        Returns:
            Tokens up to the last choice that is worth drafting, and how many of them come before each choice; the first
            comes before all. Where the list is expected to end, the comma is drafted in case it does not.
        """
        tokens: list[int] = []
        choices, here = [(0, self)], self
        while here.arms[0][1] < len(here.arms[0][0].tokens):
            names = [arm.name for arm, _ in here.arms]
            name = next((name for name in expected if name in names), min(names))
            ways = {arm.then is not None: arm.tokens[done:] for arm, done in here.arms if arm.name == name}
            goes_on = any(other > name for other in expected)
            for token in ways.get(goes_on, ways.get(not goes_on, [])):
                if tokens and len(here.children) > 1:
                    choices.append((len(tokens), here))
                tokens.append(token)
                here = here.children[token]
        before, last = choices[-1]
        tokens = tokens[:before] + last.way_on
        positions = [*(position for position, _ in choices), *([len(tokens)] if last.way_on else [])]
        positions = [position for position in positions if position < left]
        return tokens[: positions[-1]], positions


class State:
    """Some names of a list are written, and at least one more has to come."""

    def __init__(self, tree: "AnswerTree", names: tuple[int, ...]) -> None:
        """Tokenizes what may follow some names, given by their numbers; at the root, none."""
        self._tree, self._names = tree, names
        self._later = range(names[-1] + 1 if names else 0, tree.size)
        ends = tree.encode([(*names, name) for name in self._later])
        ons = tree.encode([(*names, name, name + 1) for name in self._later[:-1]])
        # How many tokens are certain when one more name has to come, whichever it is.
        self.certain = len(common_beginning(ends + ons)) if names else 0
        self._ends, self._ons = ([tokens[self.certain :] for tokens in lists] for lists in (ends, ons))
        # What the next name that there is would be written as, if it were the last.
        self.tail = self._ends[0]

    @property
    def nearest_and_farthest(self) -> set[int]:
        """The first and the last of the names that may come next; one if there is but one."""
        return {self._later[0], self._later[-1]}

    @cached_property
    def shortest(self) -> int:
        """The fewest tokens to the end of an answer."""
        return min(map(len, self._ends))

    @cached_property
    def longest(self) -> int:
        """The most tokens to the end of an answer. Works out all states behind this one."""
        return max(len(arm.tokens) + (arm.then.longest if arm.then else 0) for arm, _ in self.place.arms)

    @cached_property
    def place(self) -> Place:
        """Where the next name begins."""
        after = self._names[-1] if self._names else NONE
        arms = [] if self._names else [Arm(NONE, NONE, self._tree.none, None)]
        for name, end, on in reversed([*zip(self._later, self._ends, [*self._ons, None], strict=True)]):
            arms.append(Arm(name, after, end, None))
            if on is not None:
                state, begins = self._tree.state((*self._names, name), on, self.certain)
                arms.append(Arm(name, after, on[:begins], state))
        return Place([(arm, 0) for arm in arms])


class AnswerTree:
    """All closed answers of a grammar, as one tokenizer writes them."""

    def __init__(self, grammar: ClosedList, encode: Encode) -> None:
        """Works out no more than how lists begin; an InputError where a name's tokens hang on names far behind it."""
        self.size = len(grammar.names)
        # Lists are many, so each name is quoted once.
        self._quoted = [write_list([name])[1:-1] for name in grammar.names]
        self._numbers = {name: number for number, name in enumerate(grammar.names)}
        self._encode = encode
        self.none = encode([write_list([grammar.none])])[0]
        # By the last name that is written. That of a list's beginning is no other's.
        self._states: list[list[State]] = [[] for _ in grammar.names]
        # States that the tokens of a name before have not told apart from others.
        self._run_together = 0
        self._begun = State(self, ())
        self.root = self._begun.place

    def encode(self, lists: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """The tokens of lists of names, given by their numbers."""
        return self._encode([f"[{', '.join([self._quoted[number] for number in numbers])}]" for numbers in lists])

    def state(self, names: tuple[int, ...], on: list[int], certain: int) -> tuple[State, int]:
        """The state behind some names, and how many tokens have to be written to reach it.

        They are the first of ``on``: the tokens of the list of these names and the next there is, but for so many that
        were certain before.
        """
        states = self._states[names[-1]]
        for state in states:
            begins = len(on) - len(state.tail)
            if begins >= 0 and on[begins:] == state.tail:
                return state, begins
        state = State(self, names)
        begins = state.certain - certain
        # Few names may run together as they like, up to one token for each list.
        self._run_together += begins == 0 and self.size > _FEW_NAMES
        if begins < 0 or self._run_together > self.size:
            raise InputError("this model's tokenizer runs names together: its answers cannot be held to lists of them")
        states.append(state)
        return state, begins

    @property
    def longest_name(self) -> int:
        """The most tokens of an answer that gives a single class."""
        return max(len(arm.tokens) for arm, _ in self.root.arms if arm.then is None)

    def check_limit(self, max_new_tokens: int) -> None:
        """Refuses a limit that leaves no room for an answer, by an InputError.

        Of few names, there has to be room for all of them. Of many there need not be: a list is closed in time, so it
        always parses, and misses names only where the limit would have cut it off.
        """
        few = self.size <= _FEW_NAMES
        longest = self._begun.longest if few else self.longest_name
        if max_new_tokens < longest:
            what = "closed answers" if few else "closed answers of a single class"
            raise InputError(f"max_new_tokens={max_new_tokens} would cut {what}, which take up to {longest}")

    def finish_reason(self, tokens: Iterable[int], limit: int) -> str | None:
        """:data:`CLOSED_EARLY` where an answer of these tokens might have named more if the limit were higher."""
        place: Place | None = self.root
        for written, token in enumerate(tokens):
            if place and len(place.allowed(limit - written)) < len(place.children):
                return CLOSED_EARLY
            place = place.children.get(token) if place else None
        return None

    def numbers(self, names: Iterable[str]) -> list[int]:
        """The numbers of the grammar's names among these, ascending."""
        return sorted(self._numbers[name] for name in names if name in self._numbers)


def common_beginning(lists: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all of some lists begin with."""
    # Whatever the first and the last in order have in common, all in between have, too.
    pairs = zip(min(lists), max(lists), strict=False)
    return [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]


def _behind(arms: list[tuple[Arm, int]]) -> Place:
    (arm, done), *others = arms
    return Place(arms) if others or arm.then is None or done < len(arm.tokens) else arm.then.place


def _to_write(arm: tuple[Arm, int]) -> int:
    way, done = arm
    return len(way.tokens) - done + (way.then.shortest if way.then else 0)
