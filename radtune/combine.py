"""Several answers about one report made into one: votes of a teacher, samples, members of an ensemble, annotators."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from radtune.labels import LEFT, RIGHT, Answer, Phrase, Status, doubt_of, side_of
from radtune.tasks import Task
from radtune.tasks.lists import fold_space

# Which labels are kept: what more than half of the answers have, what any has, what all have.
MAJORITY, UNION, INTERSECTION = "majority", "union", "intersection"
RULES = (MAJORITY, UNION, INTERSECTION)
# Or the answer that most of them give as a whole, of several the earliest.
RESPONSE = "response"
VOTES = (MAJORITY, UNION, RESPONSE)


@dataclass(frozen=True)
class Combined:
    """What several answers come to.

    Attributes:
        agreement: By label, the share of them that have it or one that means the same.
        whole: The share of them that have these labels and no others.
    """

    answer: Answer
    agreement: dict[str, float]
    whole: float = 0.0


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of several scores of each class, which is in all of them; where one has no score of it, that is 0."""
    return {name: four_digits(sum(one.get(name, 0.0) for one in scores) / len(scores)) for name in scores[0]}


def four_digits(score: float) -> float:
    """A score as it is written: digits beyond these depend on what else was in a model's batch."""
    return float(f"{score:.4g}")


def combine(task: Task, answers: Sequence[Answer], rule: str | int) -> Combined:
    """Makes one answer of several; of one, that answer as it is.

    Labels that mean the same by the task are one label: greedily, the most frequent wording first (then the shorter),
    and with it, of each answer, the label of that wording or else all that mean the same. It has its most frequent
    spelling and the most frequent code and side of all of them. Which labels are kept does not depend on the order of
    answers, but where a vote by whole answers is tied.

    Args:
        task: Which says what means the same, and the order of labels; phrases stand in the order of the report.
        answers: One or more. Those with another status than ok have no labels, but are among all answers.
        rule: One of :data:`RULES`, or :data:`RESPONSE`; or how many answers a label needs. As many as it needs must
            have status ok, of whole answers one; else the result has the status that most of the others have.
    """
    if len(answers) == 1:
        return Combined(answers[0], dict.fromkeys(answers[0].labels, 1.0), float(answers[0].status == Status.OK))
    by_rule = {MAJORITY: len(answers) // 2 + 1, UNION: 1, INTERSECTION: len(answers), RESPONSE: 1}
    needed = rule if isinstance(rule, int) else by_rule[rule]
    by = answers[0].by if len({answer.by for answer in answers}) == 1 else str(rule)
    patient_id = next((answer.patient_id for answer in answers if answer.patient_id is not None), None)
    read = [answer for answer in answers if answer.status == Status.OK]
    if len(read) < needed:
        status = Status(_most_frequent(answer.status for answer in answers if answer.status != Status.OK))
        return Combined(Answer((), answers[0].report_id, by, status, patient_id=patient_id), {})
    wholes = [_meanings(task, answer.labels) for answer in read]
    if rule == RESPONSE:
        found = read[wholes.index(Counter(wholes).most_common(1)[0][0])]
        labels, phrases = found.labels, found.phrases
        counts = {label: sum(_meanings(task, [label]) <= whole for whole in wholes) for label in labels}
    else:
        doubted = {doubt_of(name): name for name in task.classes}
        kept = [(phrase, count) for phrase, count in _groups(task, _with_doubts(read, doubted)) if count >= needed]
        counts = {phrase.phrase: count for phrase, count in kept}
        kept = [(phrase, count) for phrase, count in kept if doubted.get(phrase.phrase) not in counts]
        counts = {phrase.phrase: count for phrase, count in kept}
        labels = tuple(counts)
        phrases = tuple(phrase for phrase, _ in kept) if any(answer.phrases for answer in read) else ()
    combined = Answer(labels, answers[0].report_id, by, phrases=phrases, patient_id=patient_id)
    agreement = {label: count / len(answers) for label, count in counts.items()}
    return Combined(combined, agreement, wholes.count(_meanings(task, labels)) / len(answers))


def _with_doubts(answers: Sequence[Answer], doubted: Mapping[str, str]) -> list[Answer]:
    """Answers that also have the doubt, where any has one, of each class that they find."""
    said = sorted(doubted.keys() & {label for answer in answers for label in answer.labels})
    more = [[x for x in said if doubted[x] in answer.labels and x not in answer.labels] for answer in answers]
    return [replace(answer, labels=(*answer.labels, *x)) for answer, x in zip(answers, more, strict=True)]


def _meanings(task: Task, labels: Iterable[str]) -> frozenset[str]:
    """Labels without what does not change their meaning: order, case, white space, of classes signs and synonyms."""
    spelled = task.spelled if task.classes else lambda label: None
    return frozenset(spelled(label) or fold_space(label).casefold() for label in task.distinct(labels))


def _groups(task: Task, answers: Sequence[Answer]) -> list[tuple[Phrase, int]]:
    """Each label with the number of answers that have it, or one that means the same, in the task's order."""
    left = [_phrases(answer) for answer in answers]
    wordings = Counter(_folded(phrase) for phrases in left for phrase in phrases)
    first_seen = {wording: number for number, wording in enumerate(wordings)}
    found = []
    for wording in sorted(wordings, key=lambda w: (-wordings[w], len(w), w)):
        exact = [[phrase for phrase in phrases if _folded(phrase) == wording] for phrases in left]
        if not any(exact):
            continue
        chosen = _best(phrase for phrases in exact for phrase in phrases)
        # Who names two things in one answer means two, however much alike they are.
        same = [e or [p for p in phrases if _alike(task, p, chosen)] for e, phrases in zip(exact, left, strict=True)]
        codes = [phrase.icd10 for phrases in same for phrase in phrases if phrase.icd10]
        code = _most_frequent(codes) if codes else None
        sides = [phrase.side for phrases in same for phrase in phrases if phrase.side]
        side = _most_frequent(sides) if sides else None
        found.append((Phrase(chosen.phrase, code, chosen.start, chosen.end, side), sum(map(bool, same))))
        left = [[p for p in phrases if p not in gone] for phrases, gone in zip(left, same, strict=True)]
    return sorted(
        found,
        key=lambda item: (
            task.order(item[0].phrase), item[0].start is None, item[0].start or 0, first_seen[_folded(item[0])]
        ),
    )  # fmt: skip


def _alike(task: Task, one: Phrase, other: Phrase) -> bool:
    """Whether two labels are one by the task, and not on opposite sides: most of their words may be the same."""
    return task.same(one, other) and {side_of(one), side_of(other)} != {LEFT, RIGHT}


def _phrases(answer: Answer) -> list[Phrase]:
    """An answer's labels, with place and code where it has them."""
    located = {_folded(phrase): phrase for phrase in reversed(answer.phrases)}
    return [located.get(_folded(phrase), phrase) for phrase in map(Phrase, answer.labels)]


def _best(phrases: Iterable[Phrase]) -> Phrase:
    """Of phrases with the same words, one in the most frequent spelling and with the first of their places."""
    phrases = list(phrases)
    spelling = _most_frequent(phrase.phrase for phrase in phrases)
    places = [(phrase.start, phrase.end) for phrase in phrases if phrase.start is not None and phrase.end is not None]
    return Phrase(spelling, None, *min(places, default=(None, None)))


def _most_frequent(values: Iterable[str]) -> str:
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def _folded(phrase: Phrase) -> str:
    return fold_space(phrase.phrase).casefold()
