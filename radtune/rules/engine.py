"""From a report's text to labels: find mentions, decide each by the cues around it, sum up per class."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from radtune.label_files import NO_FINDING
from radtune.labels import State
from radtune.rules.lexicon import CueRule, FindingRules, Rules, Status
from radtune.rules.notation import word_openings
from radtune.rules.phrases import Hit
from radtune.rules.reading import SENTENCE_END, reading_copy

# Rule ids of mentions that no cue decides.
STATED = "stated"
_OF_KIND: Mapping[str, Status] = {"mentions": "positive", "normal": "negative", "equivocal": "uncertain"}

# Of the cues on either side of a mention only so many are asked: more than a sentence has, and a run-on text of many
# findings without a period is still decided in linear time.
_CUES_ASKED = 6

# Of a class's mentions the strongest counts.
_STATES: Mapping[Status, State] = {
    "positive": State.PRESENT, "uncertain": State.UNCERTAIN, "negative": State.ABSENT,
}  # fmt: skip


class Mention(NamedTuple):
    """One place where a report speaks of a finding; from a start to before an end, in characters of the report's text.

    Attributes:
        finding: One of the classes of the task or its lexicon, or ``Other`` for an abnormality outside them.
        status: ``ignored`` if it says nothing about the images shown (a history, a question to the radiologist).
        rule: What decided the status: a cue group of ``cues.toml``; ``stated`` where no cue reaches the mention;
            ``normal`` or ``equivocal`` where the phrase itself says so.
        cue_start: Where the deciding cue starts; None without one.
    """

    finding: str
    start: int
    end: int
    status: Status
    phrase: str
    rule: str
    cue_start: int | None = None
    cue_end: int | None = None


@dataclass(frozen=True, slots=True)
class ReportLabels:
    """What a report says, by class in their order, with the evidence in the order of the text.

    A class that is not mentioned has no label; ``No Finding`` is present or has none.
    """

    labels: dict[str, State]
    mentions: tuple[Mention, ...]


class _Cue(NamedTuple):
    """A cue found in a sentence, with the stretch of it that it reaches; by its start, so that cues are in order."""

    start: int
    end: int
    reach_start: int
    reach_end: int
    rule: CueRule


def label_report(text: str, rules: Rules) -> ReportLabels:
    """Labels one report, or the sections of it that count."""
    mentions: list[Mention] = []
    at = 0
    for sentence in reading_copy(text).split(SENTENCE_END):
        # Without its margins, so that the same sentence is the same wherever it stands.
        bare = sentence.lstrip(" ")
        start = at + len(sentence) - len(bare)
        at += len(sentence) + 1
        if bare:
            label = _remembered if len(bare) <= _REMEMBERED_LENGTH else _label_sentence
            found = label(bare, rules)
            mentions.extend([_moved(mention, start) for mention in found] if start else found)
    if not text.strip():
        return ReportLabels({}, ())  # a report without a word does not say that nothing was found
    return ReportLabels(_aggregate(mentions, rules), tuple(mentions))


def _label_sentence(sentence: str, rules: Rules) -> tuple[Mention, ...]:
    """The mentions of one sentence of a reading copy, offsets counted from its start."""
    openings = frozenset(word_openings(sentence))
    parts = set(rules.by_opening[""])
    for opening in openings & rules.by_opening.keys():
        parts.update(rules.by_opening[opening])
    found = [(part, hit) for part in parts for hit in part.scanner.scan(sentence) if hit.name != "exceptions"]
    if not found:
        return ()
    stops = _Stops(sentence, openings, rules)
    cues = _find_cues(sentence, rules, stops)
    mentions = (_decide(sentence, part, hit, cues, stops) for part, hit in found)
    return tuple(sorted(mentions, key=lambda m: (m.start, m.end, m.finding)))


# Dictation repeats itself: about two thirds of the sentences of chest radiograph reports were met before.
_REMEMBERED_LENGTH = 300
_remembered = lru_cache(maxsize=20_000)(_label_sentence)


# So that a measurement starts from nothing.
forget_sentences = _remembered.cache_clear


def _moved(mention: Mention, by: int) -> Mention:
    finding, start, end, status, phrase, rule, cue_start, cue_end = mention
    if cue_start is not None and cue_end is not None:
        cue_start, cue_end = cue_start + by, cue_end + by
    return Mention(finding, start + by, end + by, status, phrase, rule, cue_start, cue_end)


class _Stops(dict[tuple[str, ...], list[int]]):
    """Where the stops of some kinds stand in a sentence, in order; looked for when first asked."""

    def __init__(self, sentence: str, openings: Set[str], rules: Rules) -> None:
        super().__init__()
        self._sentence, self._openings, self._rules = sentence, openings, rules

    def __missing__(self, names: tuple[str, ...]) -> list[int]:
        if len(names) == 1:
            hits = self._rules.stop_scanners[names[0]].scan(self._sentence, self._openings)
            found = [hit.start for hit in hits if hit.name == names[0]]
        else:
            # One list of all, so that a cue asks once where its reach ends.
            found = sorted(chain.from_iterable(self[name,] for name in names))
        self[names] = found
        return found


def _find_cues(sentence: str, rules: Rules, stops: _Stops) -> list[_Cue]:
    cues = []
    for hit in rules.cue_scanner.scan(sentence):
        rule = rules.cues[hit.name]
        if rule.status == "none":
            continue
        ends = stops[rule.ends_at]
        if rule.direction != "before":
            at = bisect_left(ends, hit.start)
            cues.append(_Cue(hit.start, hit.end, ends[at - 1] if at else 0, hit.start, rule))
        if rule.direction != "after":
            at = bisect_left(ends, hit.end)
            cues.append(_Cue(hit.start, hit.end, hit.end, ends[at] if at < len(ends) else len(sentence), rule))
    return cues


def _decide(sentence: str, finding_rules: FindingRules, hit: Hit, cues: Sequence[_Cue], stops: _Stops) -> Mention:
    """The mention with its status: of several cues that reach it, the negations win, else the nearest before it."""
    status: Status = _OF_KIND[hit.name]
    before = _first_to_decide(_cues_before(sentence, finding_rules, hit, cues, stops))
    after = next(_cues_after(sentence, finding_rules, hit, cues), None)
    if status == "negative" and before and before.rule.status == "negative" and before.start > hit.start:
        # "The lungs are not clear" says that something is wrong, not what.
        return _mention(finding_rules, hit, "ignored", before.rule.name, before)
    if before and after and before.rule.status == "ignored" and after.rule.status == "negative":
        before = None  # "history of nodules, none seen" speaks of the images after all
    deciding = [cue for cue in (before, after) if cue is not None]
    for decision in ("ignored", "negative", "uncertain"):
        for cue in deciding:
            if cue.rule.status == decision and (status != "negative" or decision == "ignored"):
                return _mention(finding_rules, hit, decision, cue.rule.name, cue)
    return _mention(finding_rules, hit, status, STATED if hit.name == "mentions" else hit.name)


def _cues_before(
    sentence: str, finding_rules: FindingRules, hit: Hit, cues: Sequence[_Cue], stops: _Stops
) -> Iterator[_Cue]:
    """The cues before a mention's last words that reach it, the nearest first."""
    at = bisect_left(cues, (hit.head + 1,))
    for cue in reversed(cues[max(0, at - _CUES_ASKED) : at]):
        if not cue.end <= hit.head <= cue.reach_end or not _concerns(cue, finding_rules):
            continue
        if _words_between(sentence, cue.end, hit.head) > cue.rule.words:
            continue
        crossed = stops[finding_rules.cues_end_at]
        if bisect_left(crossed, cue.end) == bisect_right(crossed, hit.head):
            yield cue


def _cues_after(sentence: str, finding_rules: FindingRules, hit: Hit, cues: Sequence[_Cue]) -> Iterator[_Cue]:
    """The cues behind a mention that reach it, the nearest first."""
    at = bisect_left(cues, (hit.end,))
    for cue in cues[at : at + _CUES_ASKED]:
        if not cue.reach_start < hit.end <= cue.reach_end == cue.start or not _concerns(cue, finding_rules):
            continue
        if _words_between(sentence, hit.end, cue.start) <= cue.rule.words:
            yield cue


def _concerns(cue: _Cue, finding_rules: FindingRules) -> bool:
    return not cue.rule.only or finding_rules.finding in cue.rule.only


def _words_between(sentence: str, start: int, end: int) -> int:
    # Blanks are quick to count; only where they may be doubled do words need telling apart.
    blanks = sentence.count(" ", start, end)
    return blanks if blanks <= 5 else len(sentence[start:end].split())


def _first_to_decide(nearest_first: Iterator[_Cue]) -> _Cue | None:
    """Of the cues before a mention the nearest, unless an earlier one holds against it."""
    nearest = next(nearest_first, None)
    if nearest is None or nearest.rule.status != "uncertain":
        return nearest
    earlier = _first_to_decide(nearest_first)
    if earlier is None:
        return nearest
    # "No opacity to suggest pneumonia" denies; "evaluate for possible pneumonia" is a question all the same.
    denied = nearest.rule.yields and earlier.rule.status == "negative"
    return earlier if denied or earlier.rule.status == "ignored" else nearest


def _mention(rules: FindingRules, hit: Hit, status: Status, rule: str, cue: _Cue | None = None) -> Mention:
    start, end = (cue.start, cue.end) if cue else (None, None)
    return Mention(rules.finding, hit.start, hit.end, status, hit.phrase, rule, start, end)


def _aggregate(mentions: list[Mention], rules: Rules) -> dict[str, State]:
    statuses: dict[str, set[Status]] = {}
    for mention in mentions:
        statuses.setdefault(mention.finding, set()).add(mention.status)
    labels = {}
    abnormal = False
    for part in rules.findings:
        if part.finding not in statuses:
            continue
        state = next((state for status, state in _STATES.items() if status in statuses[part.finding]), None)
        abnormal = abnormal or (part.abnormal and state in (State.PRESENT, State.UNCERTAIN))
        if state is not None and part.labelled:
            labels[part.finding] = state
    if not abnormal:
        labels[NO_FINDING] = State.PRESENT
    return labels
