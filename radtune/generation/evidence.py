"""What a model quotes as evidence for its labels, and where that stands in the report."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from radtune.tasks import open_ended
from radtune.tasks.open_ended import locate

# A quotation of some length; an apostrophe within a word neither opens nor closes one.
_QUOTED = re.compile(r"[\"“”]([^\"“”\n]{2,})[\"“”]|(?<!\w)['‘’]([^\n]{2,}?)['’](?!\w)")
# What stands between a label and an unquoted quotation, and after it.
_AROUND = " \t\n\r:;,.-–—=>*•#()[]'\"‘’“”`"
_NUMBER = re.compile(r"\s*\d+[.)]\s*$")


@dataclass(frozen=True)
class Evidence:
    """The words that a label rests on.

    Attributes:
        label: The label.
        quote: What the model quotes; None where it gives nothing. Of an open-ended phrase, the phrase itself.
        start: Its offset in the report's text, in characters; None where it is not in the report.
        end: The offset after it.
    """

    label: str
    quote: str | None
    start: int | None
    end: int | None

    @property
    def supported(self) -> bool:
        """Whether the quotation is in the report."""
        return self.start is not None


def find_evidence(task: str, labels: Sequence[str], rest: str, report_text: str) -> list[Evidence]:
    """Finds the evidence for each label.

    Evidence for a class is what follows its name behind the list, up to the next class: the first quotation in there
    that stands in the report (case and white space folded), else the first line, with or without quotes. Several
    mentions of a class are tried in turn.

    Args:
        task: The task's name.
        labels: The labels of an answer.
        rest: What follows the list in the answer.
        report_text: The report.

    Returns:
        One for each label, in their order.
    """
    if task == open_ended.NAME:
        return [Evidence(label, label, *locate(label, report_text)) for label in labels]
    return [_best(label, _candidates(label, labels, rest), report_text) for label in labels]


def _best(label: str, candidates: Sequence[str], report_text: str) -> Evidence:
    for candidate in candidates:
        place = locate(candidate, report_text)
        if place != (None, None):
            return Evidence(label, candidate, *place)
    return Evidence(label, candidates[0] if candidates else None, None, None)


def _candidates(label: str, labels: Sequence[str], rest: str) -> list[str]:
    names = "|".join(sorted(map(re.escape, labels), key=len, reverse=True))
    mentions = list(re.finditer(rf"(?<!\w)(?:{names})(?!\w)", rest, re.IGNORECASE))
    # A class may be named within its own quotation ("no change in the pleural effusion"), so quotations are looked for
    # up to where another class is named.
    found: list[str] = []
    for place, mention in enumerate(mentions):
        if mention[0].casefold() != label.casefold():
            continue
        others = (other.start() for other in mentions[place + 1 :] if other[0].casefold() != label.casefold())
        segment = rest[mention.end() : next(others, len(rest))]
        found += [(quoted[1] or quoted[2]).strip(" .,;") for quoted in _QUOTED.finditer(segment)]
        lines = (_NUMBER.sub("", line).strip(_AROUND) for line in segment.strip(_AROUND).split("\n"))
        found += [line for line in list(lines)[:1] if line]
    return [candidate for candidate in found if candidate.casefold() != label.casefold()]
