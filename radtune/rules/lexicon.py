"""What the rule labeler knows of a task: a lexicon and cues, read from their TOML files, checked, and compiled once."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from radtune.config import InputError, from_mapping, nearest
from radtune.files import open_text
from radtune.label_files import NO_FINDING
from radtune.rules.notation import PhraseError
from radtune.rules.phrases import EXCEPTIONS, Phrase, Scanner, read_phrases
from radtune.rules.reading import SENTENCE_END, reading_copy
from radtune.tasks import DEFAULT_RULES_TASK, Task, load_task

LEXICON, CUES = "lexicon.toml", "cues.toml"
# Of the folders that ship, the one whose cues serve a lexicon that has none of its own: most are plain English.
_GENERAL = Path(__file__).with_name("chest")

# Heading of the lexicon's part for abnormalities outside the task's classes; they only keep `No Finding` blank.
OTHER = "Other"

# How alike a heading and a class must be for one to be the other misspelt: one letter in about seven.
_MISSPELT = 0.85

# What a sentence that a report opens with does, by its words (``[opening]`` of the cues).
ASKS, TELLS, READS = "asks", "tells", "reads"
# What a sentence answers to the findings of the one before (``[answers]``); ``gone`` and ``removed`` also to
# what that stated, ``still`` only to what that asked or told of another time, ``there`` to what it asked,
# ``come`` also to what that denied.
ANSWERS: Mapping[str, "Status"] = {
    "no": "negative",
    "gone": "negative",
    "removed": "negative",
    "yes": "positive",
    "there": "positive",
    "come": "positive",
    "still": "positive",
    "same": "positive",
    "open": "uncertain",
}
GONE, REMOVED, STILL, SAME, COME, THERE = "gone", "removed", "still", "same", "come", "there"
# What a sentence holds that is of another time (``[time]`` of the cues).
PAST = "past"

Status = Literal["positive", "negative", "uncertain", "ignored"]

_NO_SIGN_OF_A_NAME = re.compile(r"[^\w',:?+/#.]+|\.(?!\w)")


@dataclass(frozen=True, eq=False)
class FindingRules:
    """How a class is decided.

    ``labelled`` is false for :data:`OTHER` and classes that the task has not: these only keep `No Finding` blank.
    """

    finding: str
    cues_end_at: tuple[str, ...]
    abnormal: bool
    labelled: bool = True


@dataclass(frozen=True)
class CueRule:
    """A group of cues in ``cues.toml``, which says what each key means; its name is the rule id in explanations."""

    name: str
    status: Literal["positive", "negative", "uncertain", "ignored", "none"]
    direction: Literal["before", "after", "around"] | None = None
    words: int = 0
    ends_at: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()
    yields: bool = False
    doubles: bool = False
    between: bool = False
    choice: bool = False
    denies: tuple[str, ...] = ()
    denied: dict[str, str] = field(default_factory=dict)
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Rules:
    """Everything the engine needs.

    ``region`` and ``language`` are those of the reports that they are for, where the files say so.

    Attributes:
        findings: By class; a hit of ``finding_scanner`` has the class as its part, the kind of phrase as its name.
        cues: By name; so are the hits of ``cue_scanner``.
        run_ons: The stops that are one only directly behind a mention. A hit of ``stop_scanner`` has its stop as its
            part, and counts if that is its name, too.
        opening_scanner: Finds the words by which the referrer's sentences are told from those of the images; a hit is
            named :data:`ASKS`, :data:`TELLS` or :data:`READS`.
        answer_scanner: Finds what answers the sentence before; a hit has a key of :data:`ANSWERS` as its name.
        reply_scanner: Finds what only answers a question, :data:`THERE`.
        time_scanner: Finds the words of another time, named :data:`PAST`, and of the time of the images.
        removable: The classes that an answer named :data:`REMOVED` speaks of.
        remembered: What the engine made of sentences.
    """

    findings: Mapping[str, FindingRules]
    finding_scanner: Scanner
    cues: Mapping[str, CueRule]
    cue_scanner: Scanner
    stop_scanner: Scanner
    run_ons: Set[str]
    opening_scanner: Scanner
    answer_scanner: Scanner
    reply_scanner: Scanner
    time_scanner: Scanner
    removable: Sequence[str]
    region: Literal["chest"] | None = None
    language: str | None = None
    remembered: dict[str, tuple[Any, ...]] = field(default_factory=dict, init=False, repr=False)


@dataclass(frozen=True)
class _LexiconPart:
    """A class in ``lexicon.toml``, which says what each key means."""

    mentions: tuple[str, ...] = ()
    normal: tuple[str, ...] = ()
    equivocal: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    cues_end_at: tuple[str, ...] = ()
    abnormal: bool = True


@dataclass(frozen=True)
class _LexiconHead:
    """The keys of ``lexicon.toml`` beside its classes."""

    region: Literal["chest"] | None = None
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Stop:
    """A stop in ``cues.toml``."""

    phrases: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    behind_mention: bool = False


@dataclass(frozen=True)
class _Opening:
    """The referrer's words in ``cues.toml``."""

    asks: tuple[str, ...] = ()
    tells: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Answers:
    """What answers the sentence before, in ``cues.toml``; of those at the same word the first group here wins.

    ``removable`` are the classes that ``removed`` speaks of.
    """

    removable: tuple[str, ...] = ()
    exceptions: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    no: tuple[str, ...] = ()
    come: tuple[str, ...] = ()
    yes: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    open: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Time:
    """The words of another time, and of the time of the images, in ``cues.toml``."""

    past: tuple[str, ...] = ()
    now: tuple[str, ...] = ()


@dataclass(frozen=True)
class _CueFile:
    """The keys of ``cues.toml``."""

    language: str | None = None
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)
    opening: _Opening = field(default_factory=_Opening)
    answers: _Answers = field(default_factory=_Answers)
    time: _Time = field(default_factory=_Time)
    stops: dict[str, _Stop] = field(default_factory=dict)
    cue: tuple[CueRule, ...] = ()


def rules_for(task: Task) -> Rules:
    """The rules that label a task, read and compiled on first use; an InputError if it has none."""
    if task.rules is None:
        raise InputError(f"task {task.name}: no rules label it: its file names no folder with a lexicon (rules: ...)")
    return _rules_in(task.rules, task.classes, tuple(task.synonyms.items()), task.alternatives)


@cache
def _rules_in(
    folder: Path, classes: tuple[str, ...], synonyms: tuple[tuple[str, tuple[str, ...]], ...], alternatives: str
) -> Rules:
    return load_rules(folder, classes, dict(synonyms), alternatives)


def default_rules() -> Rules:
    """The rules of the task that is labelled by default."""
    return rules_for(load_task(DEFAULT_RULES_TASK))


def load_rules(
    folder: Path,
    classes: Sequence[str],
    synonyms: Mapping[str, Sequence[str]] = MappingProxyType({}),
    alternatives: str = "uncertain",
) -> Rules:
    """Reads and compiles the lexicon of a folder, and its cues or, where it has none, the general ones.

    A class without a part in the lexicon is found by its name and synonyms, one or many of it; where they stand inside
    another class's name ("cyst" in "renal cyst"), that class alone is meant. A part of a class that the task has not
    only keeps `No Finding` blank. With ``alternatives`` ``positive``, "A or B" says that both are there. What is wrong
    is an InputError that names file and entry.
    """
    lexicon = _File.read(folder / LEXICON)
    keys = {"region": None, "words": {}} | lexicon.document
    head = from_mapping(_LexiconHead, {name: keys.pop(name) for name in ("region", "words")}, str(lexicon.path))
    cue_file = _File.read(folder / CUES if (folder / CUES).exists() else _GENERAL / CUES)
    own = cue_file.path.parent == folder
    cue_keys = from_mapping(_CueFile, cue_file.document, str(cue_file.path))
    # A cue of a class that the task has not still takes its words from the cues behind it.
    cues = _read_cues(cue_file, cue_keys, (*classes, *keys) if own else classes, own, alternatives)
    findings, finding_scanner = _read_lexicon(lexicon, keys, head.words, classes, synonyms, tuple(cue_keys.stops))
    words, stops = cue_keys.words, cue_keys.stops
    cue_phrases = _phrases(cue_file, "[[cue]]", "", [(cue.name, cue.phrases) for cue in cues.values()], words)
    stop_phrases = [
        phrase
        for name, stop in stops.items()
        for phrase in _phrases(
            cue_file, f"[stops.{name}]", name, [(EXCEPTIONS, stop.exceptions), (name, stop.phrases)], words
        )
    ]
    openings = _phrases(cue_file, "[opening]", "", list(vars(cue_keys.opening).items()), words)
    groups = dict(vars(cue_keys.answers))
    removable = groups.pop("removable")
    if own:
        _check_names(f"{cue_file.path}: [answers]: removable", removable, (*classes, *keys), "class")
    replies = _phrases(cue_file, "[answers]", "", [(THERE, groups.pop(THERE))], words)
    answers = _phrases(cue_file, "[answers]", "", list(groups.items()), words)
    times = _phrases(cue_file, "[time]", "", list(vars(cue_keys.time).items()), words)
    return Rules(
        findings, finding_scanner, cues, Scanner(cue_phrases), Scanner(stop_phrases),
        {name for name, stop in stops.items() if stop.behind_mention}, Scanner(openings), Scanner(answers),
        Scanner(replies), Scanner(times), removable, head.region, cue_keys.language,
    )  # fmt: skip


def _read_lexicon(
    file: "_File",
    document: dict[str, Any],
    words: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    synonyms: Mapping[str, Sequence[str]],
    stops: Sequence[str],
) -> tuple[dict[str, FindingRules], Scanner]:
    outside = [heading for heading in document if heading not in (*classes, OTHER, NO_FINDING)]
    _check_outside(file, outside, [name for name in classes if name not in document])
    # `No Finding` follows from the others, also where a task has it as a class.
    looked_for = [name for name in (*classes, OTHER) if name in document or name not in (NO_FINDING, OTHER)]
    named = {name: [_as_phrase(given) for given in (name, *synonyms.get(name, ()))] for name in classes}
    found: dict[str, FindingRules] = {}
    phrases: list[Phrase] = []
    for finding in (*looked_for, *outside):
        heading = _heading(finding)
        where = f"{file.at(heading)}: [{finding}]"
        if finding in document:
            part = from_mapping(_LexiconPart, document[finding], where)
        else:
            _check_whole(file.path, (finding, *synonyms.get(finding, ())))
            others = [phrase for name, phrases in named.items() if name != finding for phrase in phrases]
            part = _by_name(named[finding], others)
        _check_names(f"{where}: cues_end_at", part.cues_end_at, stops, "stop")
        # What starts at the same word: an exception hides a mention, and "upper limits of normal to mildly enlarged"
        # is a mention, though it opens like a normal statement.
        kinds = ("exceptions", "mentions", "equivocal", "normal")
        phrases += _phrases(file, heading, finding, [(kind, getattr(part, kind)) for kind in kinds], words)
        found[finding] = FindingRules(finding, part.cues_end_at, part.abnormal, finding in classes)
    return found, Scanner(phrases)


def _check_outside(file: "_File", headings: Iterable[str], without_part: Iterable[str]) -> None:
    """Refuses a heading of none of the task's classes that looks like one of them, which has no part, misspelt."""
    by_folded = {name.casefold(): name for name in without_part}
    for heading in headings:
        near = difflib.get_close_matches(heading.casefold(), by_folded, n=1, cutoff=_MISSPELT)
        if near:
            meant = by_folded[near[0]]
            raise InputError(
                f"{file.at(_heading(heading))}: unknown class {heading!r}; did you mean {meant!r}? Spell both alike"
            )


def _check_whole(path: Path, names: Iterable[str]) -> None:
    """Refuses a name that no report can have, for a sign in it ends a sentence there."""
    for name in names:
        if SENTENCE_END in reading_copy(name).strip(f" {SENTENCE_END}"):
            raise InputError(f"{path}: a sign in {name!r} ends a sentence, so it is never found: give the class a part")


def _as_phrase(name: str) -> str:
    """A name in the notation, folded as reports are; signs that the notation has a meaning for are blanks."""
    return " ".join(_NO_SIGN_OF_A_NAME.sub(" ", reading_copy(name)).split())


def _by_name(phrases: Sequence[str], others: Iterable[str]) -> _LexiconPart:
    longer = [other for other in others if any(f" {phrase} " in f" {other} " for phrase in phrases)]
    return _LexiconPart(mentions=tuple(map(_one_or_many, phrases)), exceptions=tuple(map(_one_or_many, longer)))


def _one_or_many(phrase: str) -> str:
    *before, last = phrase.split() or [""]
    return " ".join([*before, f"({last}|{last}s)" if last[-1:].isalpha() and not last.endswith("s") else last])


def _read_cues(
    file: "_File", keys: _CueFile, classes: Sequence[str], own: bool, alternatives: str
) -> dict[str, CueRule]:
    """The cues; of general ones those that decide none of the classes are left out."""
    cues: dict[str, CueRule] = {}
    for cue in keys.cue:
        where = f"{file.at(_name_line(cue.name))}: cue {cue.name!r}"
        if cue.name in cues:
            raise InputError(f"{where} stands twice")
        if cue.direction is None and cue.status != "none":
            raise InputError(f"{where}: direction is missing")
        if own:
            _check_names(f"{where}: only", cue.only, (*classes, OTHER), "class")
        elif cue.only and not set(cue.only) & set(classes):
            continue
        if cue.choice and alternatives == "positive":
            continue
        _check_names(f"{where}: ends_at", cue.ends_at, tuple(keys.stops), "stop")
        _check_names(f"{where}: spares", cue.spares, tuple(keys.stops), "stop")
        _check_names(f"{where}: denies", cue.denies, tuple(keys.stops), "stop")
        cues[cue.name] = cue
    for cue in cues.values():
        where = f"{file.at(_name_line(cue.name))}: cue {cue.name!r}: denied"
        _check_names(where, [name for pair in cue.denied.items() for name in pair], tuple(cues), "cue")
    return cues


@dataclass(frozen=True)
class _File:
    """A TOML file, its text, and what it holds."""

    path: Path
    text: str
    document: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "_File":
        with open_text(path) as stream:
            text = stream.read()
        try:
            return cls(path, text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            raise InputError(f"{path}:{line[1] if line else 1}: not valid TOML: {error}") from None

    def at(self, *written: str) -> str:
        """File and line of the last of some words that stand in it, each looked for behind the one before."""
        at = 0
        for words in written:
            at = max(at, self.text.find(words, at))
        return f"{self.path}:{1 + self.text.count(chr(10), 0, at)}"


def _heading(name: str) -> str:
    """A class's heading as TOML writes it."""
    return f"[{name}]" if re.fullmatch(r"[\w-]+", name) else f'["{name}"]'


def _name_line(name: str) -> str:
    return f'name = "{name}"'


def _check_names(where: str, names: Iterable[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"{where}: unknown {what} {name!r}{nearest(name, known)}")


def _phrases(
    file: _File,
    heading: str,
    part: str,
    groups: Sequence[tuple[str, Sequence[str]]],
    words: Mapping[str, Sequence[str]],
) -> list[Phrase]:
    try:
        return list(read_phrases(part, groups, words))
    except PhraseError as error:
        written = f'"{error.phrase}"'
        raise InputError(f"{file.at(heading, written)}: {heading}: {error}") from None
