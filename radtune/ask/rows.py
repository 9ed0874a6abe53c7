"""From answers to rows of ``annotations.jsonl`` and ``predictions.jsonl``."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radtune.ask.evidence import find_evidence
from radtune.ask.ledger import Said
from radtune.ask.questions import Asking, Question, questions_for
from radtune.combine import combine, mean_scores
from radtune.engines.choose import Model
from radtune.engines.closed import CLOSED_EARLY
from radtune.engines.prompt import Response
from radtune.files import now
from radtune.label_files import plain_classes
from radtune.labels import Answer, Phrase, Status, side_of
from radtune.report import Report
from radtune.tables import write_cells
from radtune.tasks import Task, text_of
from radtune.tasks.codes import check_code
from radtune.tasks.lists import write_list
from radtune.tasks.phrase_list import SAYS_ABSENT

# The error of a report that nothing was asked about.
EMPTY_REPORT = "empty_report"
# What a row says of its (first) answer besides the answer, and what more where a server gave it.
_PROVENANCE = ("model", "adapter", "prompt_sha256", "temperature", "seed", "seed_example_ids")
_OF_SERVER = ("finish_reason", "model_returned", "fingerprint", "endpoint", "created")
# Which problems a row has, and the answer to judge them by.
QUARANTINED = ("report_id", "task", "status", "problems", "labels", "phrases", "response")


@dataclass(frozen=True)
class Reading:
    """What one answer says."""

    answer: Answer
    problems: tuple[str, ...] = ()  # for people: none of it quotes the report
    complaint: str | None = None  # the same for the model, quoting it; None where asking again would not help

    @property
    def badness(self) -> tuple[bool, int]:
        """The less, the better."""
        return self.answer.status != Status.OK, len(self.problems)


def record(question: Question, response: Response, asking: Asking, model: Model, host: str | None) -> Said:
    """A response as the ledger keeps it."""
    alike = ("finished", "refused", "finish_reason", "as_json", "cut_words", "usage", "fingerprint")
    return Said(
        response=response.text,
        model_returned=response.model,
        scores=dict(zip(asking.task.classes, response.scores, strict=True)) if response.scores else None,
        **{name: getattr(response, name) for name in alike},
        report_id=question.prompt.report_id,
        task=asking.task.name,
        vote=question.sample,
        asked_again=question.prompt.complaint is not None,
        prompt_sha256=question.prompt_sha256,
        seed_example_ids=question.example_ids,
        images=tuple(picture.sha256 for picture in question.prompt.pictures),
        temperature=question.sampling.temperature,
        max_tokens=question.sampling.max_new_tokens,
        seed=asking.seed,
        model=model.name,
        adapter=model.adapter,
        endpoint=host,
        created=now(),
    )


def read_answer(said: Said, task: Task, text: str) -> Reading:
    """What an answer says.

    A phrase that is not in the report, or a code that ICD-10-CM does not have, is a problem but no reason to drop the
    label.
    """
    if said.refused:
        problem = "stopped by a content filter" if said.finish_reason == "content_filter" else "refused"
        return Reading(Answer((), status=Status.REFUSED), (problem,))
    answer = task.read(said.response, text, said.finished, said.as_json)
    if answer.status == Status.TRUNCATED:
        problem = "cut off by the token limit before its list was complete"
        return Reading(answer, (problem,), "Your earlier answer was too long. Give the list only, without reasoning.")
    if answer.status != Status.OK:
        complaint = f"Your earlier answer held no list that could be read. Begin with: {task.opening}"
        return Reading(answer, ("no list in the answer",), complaint)
    # An image has no words to find a phrase in.
    absent = [phrase.phrase for phrase in answer.phrases if phrase.start is None and not said.images]
    unknown = [phrase.icd10 for phrase in answer.phrases if phrase.icd10 and not check_code(phrase.icd10).exists]
    denied = [phrase.phrase for phrase in answer.phrases if SAYS_ABSENT.match(phrase.phrase)]
    problems, complaints = [], []
    if said.finish_reason == CLOSED_EARLY:
        problems.append("its list was closed early by max_new_tokens and may lack labels")
    if absent:
        problems.append(f"{len(absent)} of {len(answer.phrases)} phrases not in the report")
        complaints.append(
            f"These phrases of your earlier answer do not stand in the report word for word: {write_list(absent)}."
        )
    if denied:
        problems.append(f"{len(denied)} of {len(answer.phrases)} phrases say that something is absent")
        complaints.append(f"These phrases of your earlier answer say that something is absent: {write_list(denied)}.")
    if unknown:
        problems.append(f"{len(unknown)} codes that ICD-10-CM does not have")
        complaints.append(f"These codes of your earlier answer do not exist: {', '.join(unknown)}.")
    return Reading(answer, tuple(problems), " ".join([*complaints, "Answer again."]) if complaints else None)


def make_row(report: Report, asking: Asking, said: Sequence[Said], readings: Sequence[Reading]) -> dict[str, Any]:
    """The row of a report, of what was said of it in each sample.

    Where they apply, it has ``evidence`` (label, quote, start, end) and ``unsupported`` (labels whose evidence is not
    in the report), ``scores`` (by class), ``agreement``, ``report_agreement`` and ``votes`` (of several samples) and
    ``cut_words`` (words of the report's middle that did not fit into the model).
    """
    answers = [reading.answer for reading in readings]
    combined = combine(asking.task, answers, asking.vote)
    answer, agreement = combined.answer, combined.agreement if len(answers) > 1 else {}
    row: dict[str, Any] = {
        "report_id": report.report_id,
        "task": asking.task.name,
        "labels": list(answer.labels),
        "phrases": [_phrase(phrase, agreement) for phrase in answer.phrases],
    }
    if asking.evidence:
        rest = "\n".join(answer.rest for answer in answers)
        found = find_evidence(asking.task, answer.labels, rest, text_of(asking.task, report))
        row["evidence"] = [asdict(evidence) for evidence in found]
        row["unsupported"] = [evidence.label for evidence in found if evidence.start is None]
    if scores := [one.scores for one in said if one.scores]:
        row["scores"] = mean_scores(scores)
    if len(answers) > 1:
        row |= {"agreement": agreement, "report_agreement": combined.whole}
        row["votes"] = [
            {
                "labels": list(vote.labels),
                "status": str(vote.status),
                "response": one.response,
                "seed_example_ids": one.seed_example_ids,
            }
            for vote, one in zip(answers, said, strict=True)
        ]
    usage = Counter[str]()
    for one in said:
        usage.update(one.usage or {})
    problems = list(dict.fromkeys(problem for reading in readings for problem in reading.problems))
    row |= {"response": said[0].response, "status": str(answer.status), "error": None, "problems": problems}
    row["asked_again"] = any(one.asked_again for one in said)
    if cut_words := max(one.cut_words for one in said):
        row["cut_words"] = cut_words
    return row | _provenance(said[0]) | ({"usage": dict(usage) or None} if said[0].endpoint else {})


def failed_row(report: Report, asking: Asking, model: Model, error: str) -> dict[str, Any]:
    """The row of a report that no answer came for."""
    problem = "a report without text or image" if error == EMPTY_REPORT else f"no answer: {error}"
    said = record(next(questions_for(report, asking, model)), Response("", True), asking, model, None)
    reading = Reading(Answer((), status=Status.FAILED), (problem,))
    return make_row(report, asking, [said], [reading]) | {"error": error}


def verified_row(row: dict[str, Any], denied: Sequence[str]) -> dict[str, Any]:
    """A row without the labels that the model denies when asked about them; these stand in ``denied``."""
    dropped = set(denied)
    row = row | {"labels": [label for label in row["labels"] if label not in dropped], "denied": list(denied)}
    for name, of_item in (("phrases", "phrase"), ("evidence", "label")):
        if name in row:
            row[name] = [item for item in row[name] if item[of_item] not in dropped]
    if "unsupported" in row:
        row["unsupported"] = [label for label in row["unsupported"] if label not in dropped]
    return row


def write_table(path: Path, task: Task, answers: Iterable[Answer]) -> None:
    """Writes answers as a table for people, a CSV or an Excel file by its ending: a column a class, with 1 or 0.

    Before them stand all labels, as a list, names that are no class last; a class that is doubted has -1. Where there
    is no answer that can be read, these cells are blank.
    """
    doubts = {name: doubt for doubt, name in task.doubted.items()}
    classes = plain_classes(task)
    table: list[list[Any]] = [["report_id", "status", "labels", *classes]]
    for answer in answers:
        labels = [label for label in answer.labels if task.doubted.get(label) not in answer.labels]
        named = sorted(labels, key=task.order) or [task.none] * bool(classes)
        said = [write_list(named), *((name in labels) - (doubts.get(name) in labels) for name in classes)]
        table.append([answer.report_id, answer.status, *(said if answer.status == Status.OK else [None] * len(said))])
    write_cells(path, table)


def row_text(row: Mapping[str, Any]) -> str:
    """A row in words: each label with its evidence and score, or what became of the answer.

    The lines may hold words of the report.
    """
    evidence = {found["label"]: found for found in row.get("evidence", ())}
    scores = row.get("scores", {})
    lines = []
    for label in row["labels"]:
        line = label + (f"  {scores[label]:.2f}" if label in scores else "")
        if found := evidence.get(label):
            at = f"at {found['start']}-{found['end']}" if found["start"] is not None else "no support in the report"
            line += f"  “{found['quote']}” ({at})" if found["quote"] else "  no evidence given"
        lines.append(line)
    if row["status"] != "ok":
        lines.append(f"no answer that can be read ({row['status']}): {row['response'] or row.get('error', '')}")
    elif not lines:
        lines.append("no label")
    lines += [f"denied: {label}" for label in row.get("denied", ())]
    others = [f"{name} {score:.2f}" for name, score in scores.items() if name not in row["labels"]]
    if others:
        lines.append("others: " + ", ".join(others))
    if cut := row.get("cut_words", 0):
        words = "1 word of the report's middle was" if cut == 1 else f"{cut:,} words of the report's middle were"
        lines.append(f"({words} not shown to the model)")
    return "\n".join(lines)


def _provenance(said: Said) -> dict[str, Any]:
    names = (*_PROVENANCE, *(("images",) if said.images else ()), *(_OF_SERVER if said.endpoint else ()))
    return {name: getattr(said, name) for name in names}


def _phrase(phrase: Phrase, agreement: Mapping[str, float]) -> dict[str, Any]:
    row = asdict(phrase) | {"side": side_of(phrase)}
    if phrase.icd10:
        code = check_code(phrase.icd10)
        row |= {"icd10": code.code, "code_exists": code.exists}
        row |= {"code_is_leaf": code.is_leaf, "code_description": code.description}
    if agreement:
        row["agreement"] = agreement[phrase.phrase]
    return row
