"""From a report's text to labels: find mentions, decide each by the cues around it, sum up per class."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from radtune.characters import Normalised, normalise
from radtune.label_files import NO_FINDING
from radtune.labels import State
from radtune.rules.lexicon import ANSWERS, ASKS, GONE, READS, REMOVED, STILL, TELLS, CueRule, Rules, Status
from radtune.rules.notation import Words, words_of
from radtune.rules.phrases import EXCEPTIONS, Finder, Hit
from radtune.rules.reading import SENTENCE_END, reading_copy

# Rule ids of mentions that no cue decides.
STATED = "stated"
HEADING = "heading"
REFERRER = "referrer"
NOT_CHEST = "not_chest"
# What a phrase says by itself, and the rule that is.
_BY_ITSELF: Mapping[str, tuple[Status, str]] = {
    "mentions": ("positive", STATED), "normal": ("negative", "normal"), "equivocal": ("uncertain", "equivocal"),
}  # fmt: skip

# Of the cues on either side of a mention only so many are asked: more than a sentence has, and a run-on text of many
# findings without a period is still decided in linear time.
_CUES_ASKED = 6
# No cue reaches over so many characters, so the words on a longer way need no counting.
_FAR = 1_000

# Dictation repeats itself: about two thirds of the sentences of chest radiograph reports were met before.
_REMEMBERED = 20_000
_REMEMBERED_LENGTH = 300

# What may be a statement's heading, up to its colon; behind it no time of day.
_HEADING = re.compile(r"[^:\n]{1,70}:(?!\d)")
# Words before the first cue of what a heading says, for the cue to answer it: "small, if any".
_ANSWER_WORDS = 1

# Of a class's mentions the strongest counts.
_STATES: Mapping[Status, State | None] = {
    "positive": State.PRESENT, "uncertain": State.UNCERTAIN, "negative": State.ABSENT, "ignored": None,
}  # fmt: skip
_STRENGTH = {None: 0, State.ABSENT: 1, State.UNCERTAIN: 2, State.PRESENT: 3}


class Mention(NamedTuple):
    """One place where a report speaks of a finding; from a start to before an end, in characters of the report's text.

    Attributes:
        finding: One of the classes of the task or its lexicon, or ``Other`` for an abnormality outside them.
        status: ``ignored`` if it says nothing about the images shown (a history, a question to the radiologist).
        rule: What decided the status: a cue group of ``cues.toml``; ``stated`` where no cue reaches the mention;
            ``normal`` or ``equivocal`` where the phrase itself says so; ``heading`` where it names what the words
            behind its colon speak of; ``referrer`` where the report's first sentences are not of the images; a key of
            ``[answers]`` where the next sentence decides.
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

    A class that is not mentioned has no label; ``No Finding`` is present or has none. ``left_out`` says why a report
    was not labelled: :data:`NOT_CHEST`, or the code of its language.
    """

    labels: dict[str, State]
    mentions: tuple[Mention, ...]
    left_out: str = ""


class _Cue(NamedTuple):
    """A cue found in a sentence, with the stretch of it that it reaches; by its start, so that cues are in order."""

    start: int
    end: int
    reach_start: int
    reach_end: int
    rule: CueRule


def label_report(text: str, rules: Rules) -> ReportLabels:
    """Labels one report, or the sections of it that count; offsets count in the text as given."""
    plain, said, at = normalise(text), _Said(rules), 0
    for sentence in reading_copy(plain.text).split(SENTENCE_END):
        # Without its margins, so that the same sentence is the same wherever it stands.
        bare = sentence.lstrip(" ")
        if bare:
            found, answer = rules.remembered.get(bare) or _remember(bare, rules)
            said.take(bare, found, answer, at + len(sentence) - len(bare))
        at += len(sentence) + 1
    if not text.strip():
        return ReportLabels({}, ())  # a report without a word does not say that nothing was found
    mentions = said.mentions
    if plain.text is not text:
        mentions = [_in_the_text_given(mention, plain) for mention in mentions]
    return ReportLabels(_aggregate(mentions, rules), tuple(mentions))


def _remember(sentence: str, rules: Rules) -> tuple[tuple[Mention, ...], str]:
    known, remembered = _label_sentence(sentence, rules), rules.remembered
    if len(sentence) <= _REMEMBERED_LENGTH:
        if len(remembered) == _REMEMBERED:
            remembered.clear()
        remembered[sentence] = known
    return known


class _Said:
    """The mentions of a report, sentence by sentence, and what a sentence says of those before it.

    Three things it may say: that they were the referrer's words, since it is the first of the reading; the answer to
    them ("It has resolved", "None"); and that what was asked is not there.
    """

    __slots__ = ("_answerable", "_asked", "_by_question", "_opening", "_rules", "mentions")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.mentions: list[Mention] = []
        self._opening: Set[str] | None = frozenset()  # what the sentences so far did; None from the reading on
        self._answerable = 0  # the first mention that the next sentence may answer
        self._by_question = False  # whether the last sentence with a mention asks
        self._asked: dict[str, list[int]] = {}  # the mentions of questions, by finding

    def take(self, sentence: str, found: Sequence[Mention], answer: str, start: int) -> None:
        """Adds a sentence that starts there: its mentions, counted from its start, and what it answers."""
        if self._opening is not None:
            self._opening = None if answer else _told(sentence, found, self._opening, self._rules)
            if self._opening is None:
                self.mentions = [mention._replace(status="ignored", rule=REFERRER) for mention in self.mentions]
        mentions = self.mentions
        if answer:
            mentions[self._answerable :] = [
                _answered(mention, answer, self._by_question, self._rules) for mention in mentions[self._answerable :]
            ]
            self._answerable = len(mentions)
        if found:
            if self._asked:
                self._deny(found)
            asks = sentence[-1] == "?"
            self._by_question = asks or sentence[0] == "?"
            if sentence[0] != "?":
                self._answerable = len(mentions)
            if asks:
                for number, mention in enumerate(found, start=len(mentions)):
                    self._asked.setdefault(mention.finding, []).append(number)
            mentions.extend([_moved(mention, start) for mention in found] if start else found)
        elif sentence[-1] == ":" or sentence.isdigit():
            # What stands below a heading or in an item of its own answers nothing above.
            self._answerable = len(mentions)

    def _deny(self, found: Sequence[Mention]) -> None:
        """Of what was asked, that says nothing which a later sentence denies: "Fracture? No fracture"."""
        for mention in found:
            if mention.status == "negative":
                for number in self._asked.pop(mention.finding, ()):
                    if self.mentions[number].status == "uncertain":
                        self.mentions[number] = self.mentions[number]._replace(status="ignored")


def _label_sentence(sentence: str, rules: Rules) -> tuple[tuple[Mention, ...], str]:
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


def _told(sentence: str, found: Sequence[Mention], told: Set[str], rules: Rules) -> Set[str] | None:
    """What the sentences that a report opens with did so far; None at the first that is of the images.

    What comes first in a sentence decides, words of the patient or the order or those of a reading. Where it does not
    both tell and ask, it also holds none of a reading, and states nothing before. One without a mention may be either.
    """
    hits = rules.opening_scanner.scan(sentence)
    does = {hit.name for hit in hits}
    stated = [mention.start for mention in found if mention.status in ("positive", "negative")]
    if not hits:
        referrers = not found or (bool(told) and not stated)
    else:
        alone = READS not in does and (not stated or stated[0] > hits[0].start)
        referrers = hits[0].name != READS and (not found or alone or {ASKS, TELLS} <= does)
    return told | does if referrers else None


def _answered(mention: Mention, answer: str, question: bool, rules: Rules) -> Mention:
    """A mention of the sentence before one that answers it: "It is no longer seen", "None"; what is denied stays so."""
    if mention.status == "negative" or (mention.status == "positive" and answer not in (GONE, REMOVED)):
        return mention
    if answer == REMOVED and mention.finding not in rules.removable:
        return mention
    if answer == STILL and mention.status == "uncertain" and not question:
        return mention
    return mention._replace(status=ANSWERS[answer], rule=answer)


def _moved(mention: Mention, by: int) -> Mention:
    finding, start, end, status, phrase, rule, cue_start, cue_end = mention
    if cue_start is not None and cue_end is not None:
        cue_start, cue_end = cue_start + by, cue_end + by
    return Mention(finding, start + by, end + by, status, phrase, rule, cue_start, cue_end)


def _in_the_text_given(mention: Mention, plain: Normalised) -> Mention:
    start, end = plain.span(mention.start, mention.end)
    cue = (mention.cue_start, mention.cue_end)
    if mention.cue_start is not None and mention.cue_end is not None:
        cue = plain.span(mention.cue_start, mention.cue_end)
    return mention._replace(start=start, end=end, cue_start=cue[0], cue_end=cue[1])


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
    cues = []
    hidden = False
    # A cue before or behind all findings reaches none, unless it answers a heading.
    first, last = min([hit.end for hit in found]), max([hit.head for hit in found])
    if ":" in sentence:
        first, last = 0, len(sentence)
    for hit in hits:
        rule = rules.cues[hit.name]
        if rule.status == "none":
            hidden = True
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
    """Of the cues behind a mention the nearest; the last of "on the earlier film, resolved", "or B is not seen"."""
    nearest = next(nearest_first, None)
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


def _aggregate(mentions: list[Mention], rules: Rules) -> dict[str, State]:
    strongest: dict[str, State] = {}
    for mention in mentions:
        state = _STATES[mention.status]
        if state is not None and _STRENGTH[state] > _STRENGTH[strongest.get(mention.finding)]:
            strongest[mention.finding] = state
    found = [(part, strongest[part.finding]) for part in rules.findings.values() if part.finding in strongest]
    labels = {part.finding: state for part, state in found if part.labelled}
    if all(state == State.ABSENT or not part.abnormal for part, state in found):
        labels[NO_FINDING] = State.PRESENT
    return labels
