"""Several answers about one report made into one: what most of them say."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from radtune.ask.teacher_answers import Reading
from radtune.labels import Status
from radtune.tasks.lists import fold_space
from radtune.tasks.open_ended import Phrase

# Two phrases mean the same place of a report if their overlap is at least this share of what they span together, so
# that "small left effusion" and "left effusion" vote for one thing, "effusion" and a whole sentence for two.
_SAME_PLACE = 0.5


@dataclass(frozen=True)
class Verdict:
    """What the votes on a report come to.

    Attributes:
        status: Ok if more than half of the votes could be read, else what most of the others were.
        labels: Labels that more than half of the votes name, of all that were asked for.
        phrases: Open ended: the same with code and place, in their most frequent wording.
        agreement: By label, the share of the votes that name it.
    """

    status: Status
    labels: tuple[str, ...]
    phrases: tuple[Phrase, ...]
    agreement: dict[str, float]


def count_votes(readings: Sequence[Reading]) -> Verdict:
    """The majority of several answers; of one answer, that answer as it is."""
    if len(readings) == 1:
        (only,) = readings
        return Verdict(only.status, only.labels, only.phrases, {})
    read = [reading for reading in readings if reading.status == Status.OK]
    needed = len(readings) // 2 + 1
    if len(read) < needed:
        bad = Counter(reading.status for reading in readings if reading.status != Status.OK)
        return Verdict(bad.most_common(1)[0][0], (), (), {})
    if any(reading.phrases for reading in read):
        supported = _phrases([reading.phrases for reading in read])
        kept = [(phrase, count) for phrase, count in supported if count >= needed]
        phrases = tuple(phrase for phrase, _ in kept)
        agreement = {phrase.phrase: count / len(readings) for phrase, count in kept}
        return Verdict(Status.OK, tuple(agreement), phrases, agreement)
    counts = Counter(label for reading in read for label in reading.labels)
    agreement = {label: count / len(readings) for label, count in counts.items() if count >= needed}
    return Verdict(Status.OK, tuple(agreement), (), agreement)


def _phrases(answers: Sequence[Sequence[Phrase]]) -> list[tuple[Phrase, int]]:
    """Each phrase with the number of answers that have it or one in its place, in the order of the report.

    Taken greedily: the most frequent wording first, and with it every phrase that means the same.
    """
    left = [list(answer) for answer in answers]
    wordings = Counter(_folded(phrase) for answer in answers for phrase in answer)
    found = []
    for wording, _ in sorted(wordings.items(), key=lambda item: (-item[1], len(item[0]), item[0])):
        chosen = next((phrase for answer in left for phrase in answer if _folded(phrase) == wording), None)
        if chosen is None:
            continue
        same = [[phrase for phrase in answer if _mean_the_same(phrase, chosen)] for answer in left]
        codes = Counter(phrase.icd10 for phrases in same for phrase in phrases if phrase.icd10)
        code = codes.most_common(1)[0][0] if codes else None
        found.append((Phrase(chosen.phrase, code, chosen.start, chosen.end), sum(map(bool, same))))
        left = [[p for p in answer if p not in gone] for answer, gone in zip(left, same, strict=True)]
    order = {wording: number for number, wording in enumerate(wordings)}
    return sorted(
        found,
        key=lambda item: (item[0].start is None, item[0].start or 0, order[_folded(item[0])]),
    )


def _folded(phrase: Phrase) -> str:
    return fold_space(phrase.phrase).casefold()


def _mean_the_same(a: Phrase, b: Phrase) -> bool:
    if _folded(a) == _folded(b):
        return True
    if a.start is None or a.end is None or b.start is None or b.end is None:
        return False
    overlap = min(a.end, b.end) - max(a.start, b.start)
    return overlap > 0 and overlap / (max(a.end, b.end) - min(a.start, b.start)) >= _SAME_PLACE
