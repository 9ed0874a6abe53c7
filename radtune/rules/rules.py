"""The lexicon and the cues, read from their TOML files, checked, and compiled once."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from radtune.config import InputError, nearest
from radtune.findings import FINDINGS
from radtune.rules.notation import PhraseError
from radtune.rules.phrases import Scanner, compile_scanner

LEXICON_FILE = Path(__file__).with_name("chest") / "lexicon.toml"
CUES_FILE = Path(__file__).with_name("chest") / "cues.toml"

# Heading of the lexicon's part for abnormalities outside the 13 classes; they only keep `No Finding` blank.
OTHER = "Other"

Status = Literal["positive", "negative", "uncertain", "ignored"]
Kind = Literal["mentions", "normal", "equivocal", "exceptions"]

_DECISIONS = ("negative", "uncertain", "ignored", "none")
_DIRECTIONS = ("before", "after", "around")


@dataclass(frozen=True, eq=False)
class FindingRules:
    """How one class is found.

    Attributes:
        finding: One of the 13 classes, or :data:`OTHER`.
        scanner: Its phrases; the name of a hit is the :data:`Kind` of phrase.
        cues_end_at: Stops that end any cue before it reaches this class, beside the cue's own.
    """

    finding: str
    scanner: Scanner
    cues_end_at: tuple[str, ...]


@dataclass(frozen=True)
class CueRule:
    """What a group of cues does.

    Attributes:
        name: Its name in ``cues.toml``; the rule id in explanations.
        status: What a mention in its reach becomes; ``none`` for phrases that only look like cues.
        direction: ``before`` if the cue stands before what it decides, ``after`` if behind it, ``around`` for either.
        words: How many words may stand between cue and mention.
        ends_at: Names of the stops that it does not cross.
        only: The classes it decides; empty for all.
        yields: Whether an earlier negation that reaches the mention wins over it ("no opacity to suggest X").
    """

    name: str
    status: str
    direction: str
    words: int
    ends_at: tuple[str, ...]
    only: frozenset[str]
    yields: bool


@dataclass(frozen=True, eq=False)
class Rules:
    """Everything the engine needs.

    Attributes:
        findings: The classes and :data:`OTHER`.
        by_opening: Which of them a word that starts so may mention; under the empty string, those to look for always.
        cues: The cue groups by name.
        cue_scanner: Their phrases.
        stop_scanners: The stops by name.
    """

    findings: tuple[FindingRules, ...]
    by_opening: Mapping[str, tuple[FindingRules, ...]]
    cues: Mapping[str, CueRule]
    cue_scanner: Scanner
    stop_scanners: Mapping[str, Scanner]

    def compile(self) -> None:
        """Compiles all expressions now, e.g. for processes that will inherit them."""
        for scanner in (self.cue_scanner, *self.stop_scanners.values(), *(part.scanner for part in self.findings)):
            _ = scanner.pattern


@cache
def default_rules() -> Rules:
    """The rules that ship with the package, compiled on first use."""
    return load_rules()


def load_rules(lexicon: Path = LEXICON_FILE, cues: Path = CUES_FILE) -> Rules:
    """Reads and compiles a lexicon and a cue file.

    Raises:
        InputError: Naming the file and the entry: unknown heading or key, ill-typed value, a phrase that breaks the
            notation, a class without a part, a stop that is not defined.
    """
    stop_scanners, cue_rules, cue_scanner = _read_cues(cues)
    findings = _read_lexicon(lexicon, stop_scanners)
    by_opening: dict[str, tuple[FindingRules, ...]] = {"": ()}
    for part in findings:
        for opening in ("",) if part.scanner.openings is None else part.scanner.openings:
            by_opening[opening] = (*by_opening.get(opening, ()), part)
    return Rules(findings, by_opening, cue_rules, cue_scanner, stop_scanners)


def _read_lexicon(path: Path, stops: Mapping[str, Scanner]) -> tuple[FindingRules, ...]:
    parts = _load(path)
    words = _read_words(path, parts)
    _check_names(path, parts, (*FINDINGS, OTHER), "class")
    if missing := [name for name in (*FINDINGS, OTHER) if name not in parts]:
        raise InputError(f"{path}: no part for {missing[0]!r}")
    found = []
    for finding, part in parts.items():
        where = f"{path}: [{finding}]"
        _check_names(where, part, (*get_args(Kind), "cues_end_at"), "key")
        # What starts at the same word: an exception hides a mention, and "upper limits of normal to mildly enlarged"
        # is a mention, though it opens like a normal statement.
        kinds = ("exceptions", "mentions", "equivocal", "normal")
        scanner = _scanner(where, [(kind, _strings(where, part, kind)) for kind in kinds], words)
        found.append(FindingRules(finding, scanner, _stop_names(where, part, "cues_end_at", stops)))
    return tuple(found)


def _read_cues(path: Path) -> tuple[dict[str, Scanner], dict[str, CueRule], Scanner]:
    document = _load(path)
    words = _read_words(path, document)
    _check_names(path, document, ("stops", "cue"), "part")
    stops: dict[str, Scanner] = {}
    for name, part in document.get("stops", {}).items():
        where = f"{path}: stop {name!r}"
        _check_names(where, part, ("phrases", "exceptions"), "key")
        groups = [("exceptions", _strings(where, part, "exceptions")), (name, _strings(where, part, "phrases"))]
        stops[name] = _scanner(where, groups, words)
    rules: dict[str, CueRule] = {}
    phrases = []
    for entry in document.get("cue", []):
        name = str(entry.get("name"))
        where = f"{path}: cue {name!r}"
        if name in rules:
            raise InputError(f"{where} stands twice")
        rules[name] = _cue(where, name, entry, stops)
        phrases.append((name, _strings(where, entry, "phrases")))
    return stops, rules, _scanner(str(path), phrases, words)


def _read_words(path: Path, document: dict[str, Any]) -> dict[str, list[str]]:
    """Takes the part [words] out of a document."""
    part = document.pop("words", {})
    return {name: _strings(f"{path}: [words]", part, name) for name in part}


def _cue(where: str, name: str, entry: dict[str, Any], stops: Mapping[str, Scanner]) -> CueRule:
    keys = ("name", "status", "direction", "words", "ends_at", "only", "yields", "phrases")
    _check_names(where, entry, keys, "key")
    for key, known in (("status", _DECISIONS), ("direction", _DIRECTIONS)):
        if key == "direction" and entry["status"] == "none":
            continue
        if entry.get(key) not in known:
            raise InputError(f"{where}: {key} is {entry.get(key)!r}, expected {', '.join(known)}")
    words = entry.get("words", 0)
    if type(words) is not int:
        raise InputError(f"{where}: words is {words!r}, expected a number")
    yields = entry.get("yields", False)
    if type(yields) is not bool:
        raise InputError(f"{where}: yields is {yields!r}, expected true or false")
    only = _strings(where, entry, "only")
    _check_names(where, dict.fromkeys(only), (*FINDINGS, OTHER), "class")
    ends_at = _stop_names(where, entry, "ends_at", stops)
    return CueRule(name, entry["status"], entry.get("direction", ""), words, ends_at, frozenset(only), yields)


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None


def _check_names(where: object, part: Any, known: Sequence[str], what: str) -> None:
    if not isinstance(part, dict):
        raise InputError(f"{where}: expected a table")
    for name in part:
        if name not in known:
            raise InputError(f"{where}: unknown {what} {name!r}{nearest(name, known)}")


def _strings(where: str, part: Mapping[str, Any], key: str) -> list[str]:
    value = part.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{where}: {key} is no list of strings")
    return value


def _stop_names(where: str, part: Mapping[str, Any], key: str, stops: Mapping[str, Scanner]) -> tuple[str, ...]:
    names = _strings(where, part, key)
    _check_names(f"{where}: {key}", dict.fromkeys(names), tuple(stops), "stop")
    return tuple(names)


def _scanner(where: str, groups: Sequence[tuple[str, Sequence[str]]], words: Mapping[str, Sequence[str]]) -> Scanner:
    try:
        return compile_scanner(groups, words)
    except PhraseError as error:
        raise InputError(f"{where}: {error}") from None
