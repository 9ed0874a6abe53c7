"""Tasks whose labels are classes: which of a closed list of names does the report have? 13 of them, or 133."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radtune.labels import NO_FINDING, Answer, Phrase, State, Status, doubt_of
from radtune.tasks.lists import ClosedList, final_answer, read_json, read_list, unique
from radtune.tasks.rendering import TaskPrompt, Wording

if TYPE_CHECKING:
    import numpy as np

    from radtune.tasks.counting import Counts

# Letters a name may have for each that is wrong: one slip in "Edema", two in "Atelectasis", three in a long name. Of a
# word, twice as many, so that one slip is another spelling and two are another word: "carpal" is not "tarsal".
_LETTERS_PER_SLIP, _OF_A_WORD = 5, 12
_SIGNS = re.compile(r"[\W_]+")
# Beside a name: that it is asked, or that there is none.
_NOT_SAID = re.compile(r"\?|\(?[-\u2010-\u2015\u2212][\s)]*\Z|\A\s*(?:[!~\xac]|\([-\u2010-\u2015\u2212])")
_BULLET = re.compile(r"\s*(?:[-*•]|\d+[.)])?\s*(?:Output:|The diseases are:)?", re.IGNORECASE)
# Where a JSON answer has its list; the second is what earlier versions asked for.
_JSON_KEYS = ("labels", "diseases")


# Behind a task's name: the same task, in whose answers a class may also be uncertain.
THREE_VALUED = "+states"


@dataclass(frozen=True)
class ClassList:
    """A task of classes.

    Attributes:
        name: As in files and configs; ``title`` in tables and figures.
        classes: The names, in the order of answers and tables.
        none: What is answered where there is none of them, e.g. ``Normal``.
        certainty: Which states of a class count as a label.
        rules: Folder of the lexicon and cues that label it; None where no rules can.
        parents: By class, the class that it is a kind of; where given, as are ``definitions`` and ``synonyms``.
        files: What it was read from.
        alternatives: What the rules take "A or B" for: ``uncertain`` or ``positive``, both of them.
        doubted: By name that says that a class is uncertain, that class; see :meth:`three_valued`.
        matching: When a label is right, in words.
    """

    name: str
    title: str
    wording: Wording
    classes: tuple[str, ...]
    none: str
    certainty: tuple[State, ...]
    sections: tuple[str, ...]
    rules: Path | None
    definitions: Mapping[str, str]
    synonyms: Mapping[str, tuple[str, ...]]
    parents: Mapping[str, str]
    files: tuple[Path, ...] = ()
    alternatives: str = "uncertain"
    doubted: Mapping[str, str] = field(default_factory=dict)

    matching = "exact name"
    opening = "Output: ["

    @cached_property
    def _by_folded(self) -> dict[str, str]:
        return {name.lower(): name for name in self.classes}

    @cached_property
    def _by_signs(self) -> dict[str, str]:
        nothing = dict.fromkeys(map(without_signs, (NO_FINDING, f"{NO_FINDING}s", self.none)), self.none)
        others = {without_signs(other): name for name, others in self.synonyms.items() for other in others}
        return nothing | others | {without_signs(name): name for name in self.classes}

    def three_valued(self) -> "ClassList":
        """This task with one more name for each class where it is uncertain, ``Edema (uncertain)``; without rules."""
        doubted = {doubt_of(name): name for name in self.classes}
        classes = tuple(each for names in zip(self.classes, doubted, strict=True) for each in names)
        name, title = f"{self.name}{THREE_VALUED}", f"{self.title}, three-valued"
        return replace(self, name=name, title=title, classes=classes, rules=None, doubted=doubted)

    def prompt(self, use: str, report_id: str = "", seed: int = 0, vote: int = 0) -> TaskPrompt:
        """The instruction of a use; its pieces are ``{classes}``, ``{definitions}`` and ``{examples}``."""
        classes = ", ".join(f"‘{name}’" for name in self.classes)
        definitions = "\n".join(f"* {name}: {meaning}" for name, meaning in self.definitions.items())
        given = {"classes": classes, "definitions": definitions}
        return self.wording.prompt(use, report_id, seed, vote, self._encode_example, **given)

    def _encode_example(self, phrases: Sequence[Phrase]) -> str:
        return self.encode([phrase.phrase for phrase in phrases])

    def canonical(self, name: str) -> str | None:
        """The class that a name spells, case and outer blanks aside; None if it is none."""
        return self._by_folded.get(name.strip().lower())

    def spelled(self, name: str) -> str | None:
        """The class, or the word for none, that a name is or is a synonym of, signs and case aside: ``lung_mass.``

        A question (``Edema?``) spells none: whoever writes it leaves open whether there is one. Nor does a denial
        (``Edema -``).
        """
        return None if _NOT_SAID.search(name) else self._by_signs.get(without_signs(name))

    def nearest(self, name: str) -> str | None:
        """The class, or the word for none, that a misspelt name is nearest to.

        Case, blanks, hyphens and underscores are free; beyond them one letter in five may be wrong (left out, added,
        changed or swapped with its neighbour), and of a word one, or one in twelve; of one with three letters none,
        and no digit. None if none is that near, or if two are equally near.
        """
        # Only misspelt names need it.
        from rapidfuzz.distance import OSA

        folded = without_signs(name)
        slips = {known: OSA.distance(folded, known) for known in self._by_signs}
        fewest = min(slips.values())
        best = [known for known, count in slips.items() if count == fewest]
        near = all(fewest <= len(known) // _LETTERS_PER_SLIP and _same_words(folded, known) for known in best)
        meant = {self._by_signs[known] for known in best}
        return meant.pop() if near and len(meant) == 1 and not _NOT_SAID.search(name) else None

    def distinct(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Labels in their canonical spelling where they are classes, without repeats and the word for none.

        MIMIC-CXR has No Finding beside devices.
        """
        stripped = [label.strip() for label in labels if label.strip() and self.spelled(label) != self.none]
        names = {name.casefold(): name for name in (self.canonical(label) or label for label in stripped)}
        return tuple(names.values())

    def known(self, labels: Iterable[str]) -> tuple[list[str], list[str]]:
        """The classes among labels, as they are written, and the names that are none; the word for none is neither."""
        names = [label for label in labels if label.strip().lower() != self.none.lower()]
        return [n for n in names if self.canonical(n)], [n for n in names if not self.canonical(n)]

    def labels_of(self, states: Mapping[str, State]) -> tuple[str, ...]:
        """The classes that count as labels by the task's certainty, in their order."""
        if self.doubted:
            said = {name: states.get(self.doubted.get(name, name)) for name in self.classes}
            wanted = (State.PRESENT, State.UNCERTAIN)
            return tuple(name for name in self.classes if said[name] == wanted[name in self.doubted])
        return tuple(name for name in self.classes if states.get(name) in self.certainty)

    def encode(self, labels: Sequence[str]) -> str:
        """The answer for a set of classes: their list in the fixed order, or ``['Normal']`` for none.

        Raises:
            ValueError: A label is no class.
        """
        names = {self.canonical(label) for label in labels}
        if None in names:
            raise ValueError(f"no class of {self.name}: {[x for x in labels if self.canonical(x) is None]}")
        return self.grammar().encode({name for name in names if name})

    def grammar(self) -> ClosedList:
        """All lists that may be answered."""
        return ClosedList(self.classes, self.none)

    def read(self, response: str, text: str = "", finished: bool = True, as_json: bool = False) -> Answer:
        """Reads an answer: each name in its canonical spelling where it is a class, else as written.

        The word for none says that there is nothing and is no class, so it is dropped, also where a model puts it
        beside classes. An answer that opens with lines of nothing but class names is read without its brackets too.
        """
        response = final_answer(response, _JSON_KEYS if as_json else ())
        if as_json and (names := self._read_json(response)) is not None:
            return Answer(tuple(name for name in self.classes if name in names))
        answer = read_list(response, finished)
        if answer.status == Status.UNPARSED and "[" not in response:
            answer = self._read_names(response) or answer
        named = (self.canonical(name) or name for name in answer.labels if name.lower() != self.none.lower())
        return Answer(unique(named), status=answer.status, rest=answer.rest)

    def _read_names(self, response: str) -> Answer | None:
        """Class names in the first lines of an answer, bulleted or separated by commas; None if it opens otherwise."""
        names: list[str] = []
        lines = response.strip().splitlines()
        for number, line in enumerate(lines):
            parts = [part.strip(" .*") for part in _BULLET.sub("", line, count=1).split(",")]
            if not all(part.lower() in ("", self.none.lower()) or self.canonical(part) for part in parts):
                return Answer(tuple(names), rest="\n".join(lines[number:])) if names else None
            names += filter(None, parts)
        return Answer(tuple(names)) if names else None

    def json_schema(self) -> dict[str, Any]:
        """The value of ``response_format.json_schema``; an empty list says that there is nothing."""
        labels = {"type": "array", "items": {"type": "string", "enum": list(self.classes)}}
        return strict_schema(self.name, {_JSON_KEYS[0]: labels})

    def _read_json(self, response: str) -> list[str] | None:
        names = read_json(response, _JSON_KEYS)
        if names is None or not all(isinstance(name, str) and name in self.classes for name in names):
            return None
        return names

    def same(self, a: Phrase, b: Phrase) -> bool:
        """Whether two labels are the same class, whatever they call it, or the same other name."""
        return (self.spelled(a.phrase) or a.phrase.casefold()) == (self.spelled(b.phrase) or b.phrase.casefold())

    def order(self, label: str) -> int:
        """Where a label stands in an answer; names that are no class come last."""
        return self.classes.index(label) if label in self.classes else len(self.classes)

    def count(
        self, predicted: Sequence[Answer], gold: Sequence[Answer], judged: "np.ndarray | None" = None
    ) -> "Counts":
        """Counts of what is judged: a prediction is right if it is exactly a gold class."""
        from radtune.tasks.counting import count_classes

        return count_classes(predicted, gold, self.classes, judged)

    def matches(self, predicted: Sequence[str], gold: Sequence[str]) -> "np.ndarray":
        """Which predicted label matches which gold one of one report; a name that is no class matches nothing."""
        import numpy as np

        cells = [[name == truth and name in self.classes for truth in gold] for name in predicted]
        return np.array(cells, dtype=bool).reshape(len(predicted), len(gold))


def _same_words(name: str, known: str) -> bool:
    """Whether each word of a name may be a slip for its counterpart; another number or code never is."""
    from rapidfuzz.distance import OSA

    if re.findall(r"\d", name) != re.findall(r"\d", known):
        return False
    words, others = name.split(), known.split()
    if len(words) != len(others):
        words, others = [name.replace(" ", "")], [known.replace(" ", "")]
    return all(
        OSA.distance(word, other) <= (max(1, len(other) // _OF_A_WORD) if len(other) > 3 else 0)
        for word, other in zip(words, others, strict=True)
    )


def same_signs(name: str, other: str) -> bool:
    """Whether two names are one, signs and case aside."""
    return without_signs(name) == without_signs(other)


def without_signs(name: str) -> str:
    """A name in lower case, with one blank for whatever signs and blanks it has."""
    return _SIGNS.sub(" ", name).strip().lower()


def strict_schema(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema as OpenAI's strict mode asks for it: no key but these, and every key required."""
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"name": name, "strict": True, "schema": schema}
