"""What a report says of a phrase or class: stated, stated only in doubt, denied, or not at all.

Findings that the rules' lexicon does not know are looked for by their own words; its cues decide both.
"""

import dataclasses
import re
from collections.abc import Collection, Iterable, Sequence
from enum import IntEnum
from functools import cache

from radtune.rules import OTHER, Mention, Rules, label_report, rules_for
from radtune.rules.lexicon import FindingRules, default_rules
from radtune.rules.phrases import Scanner, read_phrases
from radtune.rules.reading import SENTENCE_END, reading_copy
from radtune.score.wording import Token, Wording, covered, tokens, vocabulary, wording
from radtune.tasks import Task

# Of a phrase's finding words, the share that a sentence must have to speak of it.
_SAID_SHARE = 2 / 3
# Stands in a sentence for the words looked for.
_MARK = "markedfinding"
# Cues that mark a history rather than a question to the radiologist; a history is stated all the same.
_HISTORY = re.compile(r"\b(?:history|hx|h/o|ho|treated|prior|previous|remote|past)\b")


class Said(IntEnum):
    """What a report says; of several places the highest counts."""

    NOTHING = 0
    DENIED = 1
    DOUBTED = 2
    STATED = 3


@dataclasses.dataclass(frozen=True)
class Statement:
    """What a report says, and the sentence that says it (patient text; None where nothing does)."""

    said: Said
    sentence: str | None = None


def reading_rules(task: Task) -> Rules:
    """What reads the reports of a task: the rules that label it, else those that ship."""
    return rules_for(task) if task.rules else default_rules()


@cache
def known_classes(rules: Rules) -> frozenset[str]:
    """The classes that the rules find."""
    return rules.findings.keys() - {OTHER}


def statement(label: str, text: str, rules: Rules) -> Statement:
    """What a report says of a finding, in the sentence that has most of the phrase's words.

    For a class of the rules, and a phrase whose words are nowhere, what it says of the rules' mentions of that class.
    """
    if label in known_classes(rules):
        return _of_classes({label}, text, rules)
    phrase = wording(label, rules)
    return _of_words(phrase, text, rules) or _of_classes(phrase.classes, text, rules)


def _of_classes(classes: Collection[str], text: str, rules: Rules) -> Statement:
    copy = reading_copy(text)
    mentions = [mention for mention in label_report(text, rules).mentions if mention.finding in classes]
    return _strongest((_said(mention, copy), _sentence_at(copy, text, mention.start)) for mention in mentions)


def _of_words(phrase: Wording, text: str, rules: Rules) -> Statement | None:
    """By the phrase's own words; None if no sentence has enough of them."""
    found: list[tuple[float, tuple[Said, str]]] = []
    start = 0
    for sentence in reading_copy(text).split(SENTENCE_END):
        words = tokens(sentence)
        concepts = {word.concept for word in words}
        if covered(phrase.finding, concepts) >= _SAID_SHARE:
            shown = text[start : start + len(sentence)].strip()
            found.append((covered(phrase.concepts, concepts), (_said_here(phrase, sentence, words, rules), shown)))
        start += len(sentence) + 1
    best = max((share for share, _ in found), default=0)
    return _strongest(said for share, said in found if share == best) if found else None


def _said_here(phrase: Wording, sentence: str, words: Sequence[Token], rules: Rules) -> Said:
    """What a sentence of the reading copy says of a phrase whose words it has."""
    start, end = _span(words, {word.concept for word in words if covered([word.concept], phrase.concepts)})
    if any(rules.cues[hit.name].status != "none" for hit in rules.cue_scanner.scan(sentence[start:end])):
        # "Effusion is unlikely on the left": the cue stands between the words, so only the finding itself may go.
        start, end = [(word.start, word.end) for word in words if covered([word.concept], phrase.finding)][-1]
    marked = f"{sentence[:start]}{_MARK}{sentence[end:]}"
    mentions = label_report(
        marked, _mark_rules(vocabulary().device_class if phrase.is_device else OTHER, rules)
    ).mentions
    return max((_said(mention, reading_copy(marked)) for mention in mentions), default=Said.STATED)


def _span(words: Sequence[Token], wanted: Collection[str]) -> tuple[int, int]:
    """The shortest stretch of a sentence that has all of these concepts."""
    spans = []
    latest: dict[str, Token] = {}
    for word in words:
        if word.concept in wanted:
            latest[word.concept] = word
            if len(latest) == len(wanted):
                spans.append((min(seen.start for seen in latest.values()), word.end))
    return min(spans, key=lambda span: span[1] - span[0])


@cache
def _mark_rules(finding: str, rules: Rules) -> Rules:
    """The rules' cues, with one made-up word as the only mention there is."""
    part = rules.findings.get(finding, FindingRules(finding, (), abnormal=True))
    scanner = Scanner(read_phrases(finding, [("mentions", [_MARK])]))
    return dataclasses.replace(rules, findings={finding: part}, finding_scanner=scanner)


def _said(mention: Mention, copy: str) -> Said:
    if mention.status == "ignored":
        cue = copy[mention.cue_start : mention.cue_end]
        return Said.STATED if _HISTORY.search(cue) else Said.DOUBTED
    return {"positive": Said.STATED, "uncertain": Said.DOUBTED, "negative": Said.DENIED}[mention.status]


def _strongest(statements: Iterable[tuple[Said, str]]) -> Statement:
    said, sentence = max(statements, key=lambda pair: pair[0], default=(Said.NOTHING, None))
    return Statement(said, sentence)


def _sentence_at(copy: str, text: str, at: int) -> str:
    end = copy.find(SENTENCE_END, at)
    return text[copy.rfind(SENTENCE_END, 0, at) + 1 : end if end >= 0 else None].strip()
