"""What a sentence says by itself: its mentions of findings, each decided by the cues that reach it."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from radtune.rules.lexicon import CueRule, Rules, Status
from radtune.rules.notation import Words, words_of
from radtune.rules.phrases import EXCEPTIONS, Finder, Hit, Scanner

# Rule ids of mentions that no cue decides.
STATED = "stated"
HEADING = "heading"
# What a phrase says by itself, and the rule that is.
_BY_ITSELF: Mapping[str, tuple[Status, str]] = {
    "mentions": ("positive", STATED), "normal": ("negative", "normal"), "equivocal": ("uncertain", "equivocal"),
}  # fmt: skip

# Of the cues on either side of a mention only so many are asked: more than a sentence has, and a run-on text of many
# findings without a period is still decided in linear time.
_CUES_ASKED = 6
# No cue reaches over so many characters, so the words on a longer way need no counting.
_FAR = 1_000
# Words between a negation and the cue that it denies: "not good enough on this single view to exclude".
_DENIED_WITHIN = 8

# What may be a statement's heading, up to its colon; behind it no time of day.
_HEADING = re.compile(r"[^:\n]{1,70}:(?!\d)")
# Words before the first cue of what a heading says, for the cue to answer it: "small, if any".
_ANSWER_WORDS = 1


class Mention(NamedTuple):
    """One place where a report speaks of a finding; from a start to before an end, in characters of the report's text.

    Attributes:
        finding: One of the classes of the task or its lexicon, or ``Other`` for an abnormality outside them.
        status: ``ignored`` if it says nothing about the images shown (a history, a question to the radiologist).
        rule: What decided the status: a cue group of ``cues.toml``; ``stated`` where no cue reaches the mention;
            ``normal`` or ``equivocal`` where the phrase itself says so; ``heading`` where it names what the words
            behind its colon speak of; ``referrer`` where the report's first sentences are not of the images;
            ``earlier`` where it tells of another time and a later sentence denies it; a key of ``[answers]`` where the
            next sentence decides.
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


class _Cue(NamedTuple):
    """A cue found in a sentence, with the stretch of it that it reaches; by its start, so that cues are in order."""

    start: int
    end: int
    reach_start: int
    reach_end: int
    rule: CueRule


def label_sentence(sentence: str, rules: Rules) -> tuple[tuple[Mention, ...], str]:
    """The mentions of one sentence of a reading copy, offsets counted from its start, and what it answers."""
    words = words_of(sentence)
    answers = rules.answer_scanner.scan(sentence, (words[0][:1], words[1]))
    answer = answers[0].name if answers and answers[0].name != EXCEPTIONS else ""
    found = [hit for hit in rules.finding_scanner.scan(sentence, words) if hit.name != EXCEPTIONS]
    if not found:
        return (), answer
    found.sort()
    stops = _Stops(sentence, words, rules, found)
    cues = _find_cues(sentence, words, rules, stops, found)
    if cues:
        mentions = [_decide(sentence, hit, cues, stops, rules.findings[hit.part].cues_end_at) for hit in found]
    else:
        mentions = [_mention(hit, *_BY_ITSELF[hit.name]) for hit in found]
    if ":" in sentence and (heading := _HEADING.match(sentence)):
        colon = heading.end() - 1
        said = [mention for mention in mentions if mention.start > colon]
        for at, hit in enumerate(found):
            if hit.end <= colon:
                mentions[at] = _decide_heading(sentence, hit, cues, stops, said, colon) or mentions[at]
    return tuple(mentions), answer


def starts_with(sentence: str, scanner: Scanner) -> bool:
    """Whether a phrase stands at a sentence's first word."""
    places, words = words_of(sentence)
    return bool(scanner.scan(sentence, (places[:1], words)))


class _Stops:
    """Where the stops of some kinds stand in a sentence, in order; looked for when first asked."""

    __slots__ = ("_finders", "_found", "_of", "_rules", "_sentence", "_starts", "_words")

    def __init__(self, sentence: str, words: Words, rules: Rules, found: Sequence[Hit]) -> None:
        self._sentence, self._words, self._rules, self._found = sentence, words, rules, found
        self._finders: dict[str, list[tuple[int, Finder]]] | None = None
        self._starts: dict[str, list[int]] = {}
        self._of: dict[tuple[str, ...], list[int]] = {}

    def of(self, names: tuple[str, ...]) -> list[int]:
        """Where stops of these kinds start, one list of all, so that a cue asks once where its reach ends."""
        if names in self._of:
            return self._of[names]
        if self._finders is None:
            self._finders = self._rules.stop_scanner.finders(self._words)
        found: list[int] = []
        for name, finders in self._finders.items():
            if name in names:
                if name not in self._starts:
                    self._starts[name] = self._find(name, finders)
                found += self._starts[name]
        found.sort()
        self._of[names] = found
        return found

    def _find(self, name: str, finders: Sequence[tuple[int, Finder]]) -> list[int]:
        text, present = self._sentence, self._words[1]
        if name in self._rules.run_ons:
            places = {_behind_blanks(text, hit.end) for hit in self._found}
            finders = [(at, find) for at, find in finders if at in places]
            return [at for at, find in finders if (hit := find(text, at, present)) and hit.name == name]
        free, starts = 0, []  # phrases do not overlap
        for at, find in finders:
            if at >= free and (hit := find(text, at, present)):
                free = hit.end
                if hit.name == name:
                    starts.append(at)
        return starts


def _behind_blanks(sentence: str, at: int) -> int:
    while at < len(sentence) and sentence[at] == " ":
        at += 1
    return at


def _find_cues(
    sentence: str,
    words: Words,
    rules: Rules,
    stops: _Stops,
    found: Sequence[Hit],
) -> list[_Cue]:
    hits = rules.cue_scanner.scan(sentence, words)
    if not hits:
        return []
    if len(hits) > 1:
        hits = _with_denied(sentence, hits, rules, stops, found)
    cues = []
    hidden = False
    # A cue before or behind all findings reaches none, unless it answers a heading.
    first, last = min([hit.end for hit in found]), max([hit.head for hit in found])
    if ":" in sentence:
        first, last = 0, len(sentence)
    for hit in hits:
        rule = rules.cues[hit.name]
        if rule.status == "none":
            hidden = hidden or not rule.denies
            continue
        # Behind "no change in" an "or" joins what is there.
        if rule.between and (hidden or not _stands_between(sentence, hit, rule.words, found)):
            continue
        back = rule.direction != "before" and hit.start >= first
        onward = rule.direction != "after" and hit.end <= last
        if not (back or onward):
            continue
        ends = stops.of(rule.ends_at)
        if back:
            at = bisect_left(ends, hit.start)
            cues.append(_Cue(hit.start, hit.end, ends[at - 1] if at else 0, hit.start, rule))
        if onward:
            at = bisect_left(ends, hit.end)
            cues.append(_Cue(hit.start, hit.end, hit.end, ends[at] if at < len(ends) else len(sentence), rule))
    return cues


def _with_denied(sentence: str, hits: Sequence[Hit], rules: Rules, stops: _Stops, found: Sequence[Hit]) -> list[Hit]:
    """The cues, of which one that a negation denies says what it then means: "not free of", "cannot be excluded"."""
    kept = [hits[0]]
    for hit in hits[1:]:
        before, denied = kept[-1], rules.cues[hit.name].denied
        # "Nothing to suggest resolution of"
        if denied and len(kept) > 1 and rules.cues[before.name].status == "uncertain":
            before = kept[-2]
        if before.name in denied and _words_between(sentence, before.end, hit.start) <= _DENIED_WITHIN:
            ends, at = stops.of(rules.cues[before.name].denies), bisect_left(found, (hit.start,))
            joined = bisect_left(ends, before.end) == bisect_left(ends, hit.start)
            if joined and (not at or found[at - 1].end <= before.start):
                kept[kept.index(before) :] = [hit._replace(start=before.start, name=denied[before.name])]
                continue
        kept.append(hit)
    return kept


def _stands_between(sentence: str, cue: Hit, words: int, found: Sequence[Hit]) -> bool:
    """Whether a cue stands between two findings that are not the same, no more words from either than it reaches."""
    at = bisect_left(found, (cue.start,))
    before = {hit.part for hit in found[max(0, at - _CUES_ASKED) : at] if _near(sentence, hit.end, cue.start, words)}
    after = {hit.part for hit in found[at : at + _CUES_ASKED] if _near(sentence, cue.end, hit.head, words)}
    return bool(before and after and len(before | after) > 1)


def _near(sentence: str, start: int, end: int, words: int) -> bool:
    return start <= end and _words_between(sentence, start, end) <= words


def _decide_heading(
    sentence: str,
    hit: Hit,
    cues: Sequence[_Cue],
    stops: _Stops,
    said: Sequence[Mention],
    colon: int,
) -> Mention | None:
    """What a mention before a statement's colon comes to by what is said behind; None where that does not tell."""
    first = bisect_left(cues, (colon,))
    if hit.name == "normal" or (first and cues[0].end <= colon):
        return None  # a statement of its own, with its own cue
    if any(mention.finding == hit.part for mention in said):
        return _mention(hit, "ignored", HEADING)
    for cue in cues[first : first + 1]:
        answers = _words_between(sentence, colon + 1, cue.start) <= _ANSWER_WORDS
        # "Opacity: possible edema" doubts the edema.
        if answers and (cue.rule.status == "negative" or not said) and _concerns(cue, hit, stops):
            return _mention(hit, cue.rule.status, cue.rule.name, cue)
    # "Fractures: three on the left, no pneumothorax" says what there is before the comma.
    if said and "," in sentence[colon : min(said[0].start, said[0].cue_start or len(sentence))]:
        return None
    if said and all(mention.status == "negative" for mention in said):
        return _mention(hit, "negative", HEADING)
    return None


def _decide(sentence: str, hit: Hit, cues: Sequence[_Cue], stops: _Stops, end_at: tuple[str, ...]) -> Mention:
    """The mention with its status: of several cues that reach it, the negations win, else the nearest before it."""
    status, rule = _BY_ITSELF[hit.name]
    before = _first_to_decide(_cues_before(sentence, hit, cues, stops, end_at)) if cues[0].start <= hit.head else None
    after = _nearest_or_absent(_cues_after(sentence, hit, cues, stops)) if cues[-1].start >= hit.end else None
    if status == "negative" and before and before.rule.status == "negative" and _denies(sentence, before, hit):
        # "The lungs are not clear" and "not a normal heart" say that something is wrong, not what.
        return _mention(hit, "ignored", before.rule.name, before)
    if before and after and before.rule.status == "ignored" and after.rule.status == "negative":
        before = None  # "history of nodules, none seen" speaks of the images after all
    if after and after.rule.status == "positive":
        holds = ("ignored",) if after.rule.yields else ("ignored", "uncertain")
        if before and before.rule.status in holds and status != "negative":
            return _mention(hit, "positive", after.rule.name, after)
        after = None
    if before and after and before.rule.status == "negative" and after.rule.doubles and status != "negative":
        return _mention(hit, "uncertain", after.rule.name, after)
    deciding = [cue for cue in (before, after) if cue is not None]
    for decision in ("ignored", "negative", "uncertain"):
        for cue in deciding:
            if cue.rule.status == decision and (status != "negative" or decision == "ignored"):
                return _mention(hit, decision, cue.rule.name, cue)
    return _mention(hit, status, rule)


def _denies(sentence: str, cue: _Cue, hit: Hit) -> bool:
    """Whether a cue denies a normal statement: within it, or a word before it."""
    near = "," not in sentence[cue.end : hit.start] and _words_between(sentence, cue.end, hit.start) <= 2
    return cue.start > hit.start or near


def _cues_before(
    sentence: str, hit: Hit, cues: Sequence[_Cue], stops: _Stops, end_at: tuple[str, ...]
) -> Iterator[_Cue]:
    """The cues before a mention's last words that reach it, the nearest first."""
    at = bisect_left(cues, (hit.head + 1,))
    for cue in reversed(cues[max(0, at - _CUES_ASKED) : at]):
        end = cue.end
        # A cue before "thickening of the pleura" comes to its first word, that in "heart is not large" to its last.
        word = hit.start if end <= hit.start else hit.head
        if not (end <= word < cue.reach_end and _concerns(cue, hit, stops)):
            continue
        if _words_between(sentence, end, word) > cue.rule.words:
            continue
        if not end_at or bisect_left(stops.of(end_at), end) == bisect_right(stops.of(end_at), word):
            yield cue


def _cues_after(sentence: str, hit: Hit, cues: Sequence[_Cue], stops: _Stops) -> Iterator[_Cue]:
    """The cues behind a mention that reach it, the nearest first."""
    at = bisect_left(cues, (hit.end,))
    for cue in cues[at : at + _CUES_ASKED]:
        if not cue.reach_start < hit.end <= cue.reach_end == cue.start or not _concerns(cue, hit, stops):
            continue
        if _words_between(sentence, hit.end, cue.start) <= cue.rule.words:
            yield cue


def _concerns(cue: _Cue, hit: Hit, stops: _Stops) -> bool:
    if cue.rule.only and hit.part not in cue.rule.only:
        return False
    if not cue.rule.spares:
        return True
    spared = stops.of(cue.rule.spares)
    return bisect_left(spared, hit.start) == bisect_left(spared, hit.end)


def _words_between(sentence: str, start: int, end: int) -> int:
    if end - start > _FAR:
        return _FAR
    # Blanks are quick to count; only where they may be doubled do words need telling apart.
    blanks = sentence.count(" ", start, end)
    return blanks if blanks <= 5 else len(sentence[start:end].split())


def _nearest_or_absent(nearest_first: Iterator[_Cue]) -> _Cue | None:
    """Of the cues behind a mention the nearest; the last of "on the earlier film, resolved", "or B is not seen".

    What leaves a denial open is the last word, too: "not seen, but cannot be excluded".
    """
    nearest = next(nearest_first, None)
    if nearest is not None and nearest.rule.status == "negative":
        return next((cue for cue in nearest_first if cue.rule.doubles and cue.rule.status == "uncertain"), nearest)
    if nearest is None or not (nearest.rule.status == "ignored" or nearest.rule.yields):
        return nearest
    return next((cue for cue in nearest_first if cue.rule.status == "negative"), nearest)


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


def _mention(hit: Hit, status: Status, rule: str, cue: _Cue | None = None) -> Mention:
    start, end = (cue.start, cue.end) if cue else (None, None)
    return Mention(hit.part, hit.start, hit.end, status, hit.phrase, rule, start, end)
