"""From a report's text to labels: what its sentences say by themselves and of one another, summed up per class."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from radtune.characters import Normalised, normalise
from radtune.label_files import NO_FINDING
from radtune.labels import State
from radtune.rules.lexicon import (
    ANSWERS,
    ASKS,
    COME,
    GONE,
    PAST,
    READS,
    REMOVED,
    SAME,
    STILL,
    TELLS,
    THERE,
    Rules,
    Status,
)
from radtune.rules.reading import SENTENCE_END, reading_copy
from radtune.rules.sentence import Mention, label_sentence, starts_with

# Rule id of mentions in the referrer's words.
REFERRER = "referrer"
# Rule id of mentions of another time that a later sentence denies; so begin the names of cues that tell of one.
EARLIER = "earlier"
NOT_CHEST = "not_chest"

# Dictation repeats itself: about two thirds of the sentences of chest radiograph reports were met before.
_REMEMBERED = 20_000
_REMEMBERED_LENGTH = 300

# Of a class's mentions the strongest counts.
_STATES: Mapping[Status, State | None] = {
    "positive": State.PRESENT, "uncertain": State.UNCERTAIN, "negative": State.ABSENT, "ignored": None,
}  # fmt: skip
_PRESENT = ("positive", "uncertain")
_STRENGTH = {None: 0, State.ABSENT: 1, State.UNCERTAIN: 2, State.PRESENT: 3}


@dataclass(frozen=True, slots=True)
class ReportLabels:
    """What a report says, by class in their order, with the evidence in the order of the text.

    A class that is not mentioned has no label; ``No Finding`` is present or has none. ``left_out`` says why a report
    was not labelled: :data:`NOT_CHEST`, or the code of its language.
    """

    labels: dict[str, State]
    mentions: tuple[Mention, ...]
    left_out: str = ""


def label_report(text: str, rules: Rules, may_open: bool = True) -> ReportLabels:
    """Labels one report, or the sections of it that count; offsets count in the text as given.

    ``may_open``: whether it may open with the referrer's words, as no section does that stands by itself.
    """
    plain, said, at = normalise(text), _Said(rules, may_open), 0
    sentences = reading_copy(plain.text).split(SENTENCE_END)
    for sentence in sentences:
        # Without its margins, so that the same sentence is the same wherever it stands.
        bare = sentence.lstrip(" ")
        if bare:
            found, answer = rules.remembered.get(bare) or _remember(bare, rules)
            said.take(bare, found, answer, at + len(sentence) - len(bare))
        at += len(sentence) + 1
    if not text.strip():
        return ReportLabels({}, ())  # a report without a word does not say that nothing was found
    mentions = _of_these_images(said.mentions, sentences, rules)
    if plain.text is not text:
        mentions = [_in_the_text_given(mention, plain) for mention in mentions]
    return ReportLabels(_aggregate(mentions, rules), tuple(mentions))


def _remember(sentence: str, rules: Rules) -> tuple[tuple[Mention, ...], str]:
    known, remembered = label_sentence(sentence, rules), rules.remembered
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

    def __init__(self, rules: Rules, may_open: bool) -> None:
        self._rules = rules
        self.mentions: list[Mention] = []
        # What the sentences so far did; None from the reading on.
        self._opening: Set[str] | None = frozenset() if may_open else None
        self._answerable = 0  # the first mention that the next sentence may answer
        self._by_question = False  # whether the last sentence with a mention asks
        self._asked: dict[str, list[int]] = {}  # the mentions of questions, by finding

    def take(self, sentence: str, found: Sequence[Mention], answer: str, start: int) -> None:
        """Adds a sentence that starts there: its mentions, counted from its start, and what it answers."""
        told = self._opening
        if self._by_question and not (answer or found) and starts_with(sentence, self._rules.reply_scanner):
            answer = THERE
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
            if (asks or sentence[0] == "?") and told and self._opening and {ASKS, TELLS} <= told:
                # "Question from the ward: Tube in place? Pneumothorax?"
                found = [mention._replace(status="ignored", rule=REFERRER) for mention in found]
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


def _of_these_images(mentions: list[Mention], sentences: Sequence[str], rules: Rules) -> list[Mention]:
    """The mentions, of which those that a sentence tells of another time say nothing if a later one denies them."""
    denied = {mention.finding: mention.start for mention in mentions if mention.status == "negative"}
    if not any(mention.status in _PRESENT and denied.get(mention.finding, -1) > mention.end for mention in mentions):
        return mentions
    end, of_another_time, following = -1, False, iter(sentences)
    kept = []
    for mention in mentions:
        if mention.status in _PRESENT and denied.get(mention.finding, -1) > mention.end:
            if mention.start > end:
                while mention.start > end:
                    sentence = next(following)
                    end += 1 + len(sentence)
                of_another_time = {hit.name for hit in rules.time_scanner.scan(sentence)} == {PAST}
            if of_another_time and denied[mention.finding] > end:
                mention = mention._replace(status="ignored", rule=EARLIER)
        kept.append(mention)
    return kept


def _answered(mention: Mention, answer: str, question: bool, rules: Rules) -> Mention:
    """A mention of the sentence before one that answers it: "It is no longer seen", "None"; what is denied stays so."""
    if (mention.status == "negative" and answer != COME) or (
        mention.status == "positive" and answer not in (GONE, REMOVED)
    ):
        return mention
    if answer == REMOVED and mention.finding not in rules.removable:
        return mention
    if answer == STILL and mention.status == "uncertain" and not question:
        return mention
    if answer == SAME and not mention.rule.startswith(EARLIER):
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
