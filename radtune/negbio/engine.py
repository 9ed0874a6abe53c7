"""From a report's text to labels: find mentions, decide each by the cues around it, sum up per class."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from radtune.findings import FINDINGS, NEGATIVE, NO_FINDING, POSITIVE, UNCERTAIN
from radtune.negbio.phrases import Hit
from radtune.negbio.reading import SENTENCE_END, reading_copy
from radtune.negbio.rules import OTHER, CueRule, FindingRules, Rules, Status, default_rules

# Rule ids of mentions that no cue decides.
STATED = "stated"
_OF_KIND: Mapping[str, Status] = {"mentions": "positive", "normal": "negative", "equivocal": "uncertain"}

# No cue reaches further, in characters: more than the longest reach in words ever takes, and a run-on text of many
# findings without a period is still decided in linear time.
_LONGEST_REACH = 400

_VALUES = {"positive": POSITIVE, "uncertain": UNCERTAIN, "negative": NEGATIVE}


@dataclass(frozen=True, slots=True)
class Mention:
    """One place where a report speaks of a finding. Offsets are in characters of the report's text.

    Attributes:
        finding: One of the 13 classes, or ``Other`` for an abnormality outside them.
        start: Where the mention starts.
        end: The offset after it.
        status: ``positive``, ``negative``, ``uncertain``; ``ignored`` if it says nothing about the images shown (a
            history, a question to the radiologist).
        phrase: The lexicon's phrase that found it.
        rule: What decided the status: a cue group of ``cues.toml``; ``stated`` where no cue reaches the mention;
            ``normal`` or ``equivocal`` where the phrase itself says so.
        cue_start: Where the deciding cue starts; None without one.
        cue_end: The offset after it; None without one.
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
    """What a report says.

    Attributes:
        labels: 1 positive, 0 negative, -1 uncertain by class, in the classes' order; a class that is not mentioned is
            absent. ``No Finding`` is 1 or absent.
        mentions: The evidence, in the order of the text.
    """

    labels: dict[str, int]
    mentions: tuple[Mention, ...]


class _Cue(NamedTuple):
    """A cue found in a report, with the stretch of text it reaches."""

    rule: CueRule
    start: int
    end: int
    reach_start: int
    reach_end: int


def label_report(text: str, rules: Rules | None = None) -> ReportLabels:
    """Labels one report.

    Args:
        text: The report, or the sections of it that count.
        rules: Lexicon and cues; those that ship with the package if None.
    """
    rules = rules or default_rules()
    copy = reading_copy(text)
    stops = {name: [h.start for h in s.scan(copy) if h.name == name] for name, s in rules.stop_scanners.items()}
    cues = _find_cues(copy, rules, stops)
    mentions = []
    for finding_rules in rules.findings:
        for hit in finding_rules.scanner.scan(copy):
            if hit.name != "exceptions":
                sentence_start = copy.rfind(SENTENCE_END, 0, hit.start) + 1
                nearby = _nearby(cues.get(sentence_start, ()), hit)
                mentions.append(_decide(copy, finding_rules, hit, nearby, stops))
    mentions.sort(key=lambda m: (m.start, m.end))
    if not text.strip():
        return ReportLabels({}, ())  # a report without a word does not say that nothing was found
    return ReportLabels(_aggregate(mentions), tuple(mentions))


def _find_cues(copy: str, rules: Rules, stops: Mapping[str, list[int]]) -> dict[int, list[_Cue]]:
    """The cues of each sentence, in their order, by the offset at which the sentence starts."""
    cues: dict[int, list[_Cue]] = {}
    for hit in rules.cue_scanner.scan(copy):
        rule = rules.cues[hit.name]
        if rule.status == "none":
            continue
        sentence_start = copy.rfind(SENTENCE_END, 0, hit.start) + 1
        found = cues.setdefault(sentence_start, [])
        if rule.direction != "before":
            reach_start = sentence_start
            for name in rule.ends_at:
                at = bisect_left(stops[name], hit.start)
                if at > 0:
                    reach_start = max(reach_start, stops[name][at - 1])
            found.append(_Cue(rule, hit.start, hit.end, reach_start, hit.start))
        if rule.direction != "after":
            sentence_end = copy.find(SENTENCE_END, hit.end)
            reach_end = sentence_end if sentence_end >= 0 else len(copy)
            for name in rule.ends_at:
                at = bisect_left(stops[name], hit.end)
                if at < len(stops[name]):
                    reach_end = min(reach_end, stops[name][at])
            found.append(_Cue(rule, hit.start, hit.end, hit.end, reach_end))
    return cues


def _nearby(cues: Sequence[_Cue], hit: Hit) -> Sequence[_Cue]:
    first = bisect_left(cues, hit.start - _LONGEST_REACH, key=lambda cue: cue.start)
    last = bisect_right(cues, hit.end + _LONGEST_REACH, key=lambda cue: cue.start)
    return cues[first:last]


def _decide(
    copy: str, finding_rules: FindingRules, hit: Hit, cues: Sequence[_Cue], stops: Mapping[str, list[int]]
) -> Mention:
    """The mention with its status: of several cues that reach it, the negations win, else the nearest before it."""
    status: Status = _OF_KIND[hit.name]
    before: _Cue | None = None
    after: _Cue | None = None
    for cue in cues:
        rule = cue.rule
        if rule.only and finding_rules.finding not in rule.only:
            continue
        if cue.end <= hit.head <= cue.reach_end:
            if copy.count(" ", cue.end, hit.head) > rule.words:
                continue
            if _crosses(cue.end, hit.head, finding_rules.cues_end_at, stops):
                continue
            if before is None or not (rule.yields and before.rule.status == "negative"):
                before = cue
        elif after is None and cue.reach_start < hit.end <= cue.reach_end == cue.start:
            after = cue if copy.count(" ", hit.end, cue.start) <= rule.words else None
    if status == "negative" and before and before.rule.status == "negative" and before.start > hit.start:
        # "The lungs are not clear" says that something is wrong, not what.
        return _mention(finding_rules, hit, "ignored", before.rule.name, before)
    deciding = [cue for cue in (before, after) if cue is not None]
    for decision in ("ignored", "negative", "uncertain"):
        for cue in deciding:
            if cue.rule.status == decision and (status != "negative" or decision == "ignored"):
                return _mention(finding_rules, hit, decision, cue.rule.name, cue)
    return _mention(finding_rules, hit, status, STATED if hit.name == "mentions" else hit.name)


def _crosses(start: int, end: int, names: tuple[str, ...], stops: Mapping[str, list[int]]) -> bool:
    return any(bisect_left(stops[name], start) < bisect_right(stops[name], end) for name in names)


def _mention(rules: FindingRules, hit: Hit, status: Status, rule: str, cue: _Cue | None = None) -> Mention:
    start, end = (cue.start, cue.end) if cue else (None, None)
    return Mention(rules.finding, hit.start, hit.end, status, hit.phrase, rule, start, end)


def _aggregate(mentions: list[Mention]) -> dict[str, int]:
    statuses: dict[str, set[Status]] = {}
    for mention in mentions:
        statuses.setdefault(mention.finding, set()).add(mention.status)
    labels = {}
    for finding in FINDINGS:
        for status, value in _VALUES.items():
            if status in statuses.get(finding, ()):
                labels[finding] = value
                break
    abnormal = {name for name, value in labels.items() if value != NEGATIVE and name != "Support Devices"}
    if not abnormal and not statuses.get(OTHER, set()) & {"positive", "uncertain"}:
        labels[NO_FINDING] = POSITIVE
    return labels
