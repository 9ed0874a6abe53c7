"""From reports to rows of ``predictions.jsonl``, whatever the engine."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from radtune.ask.evidence import find_evidence
from radtune.ask.model_votes import VERIFICATION_TOKENS, Verdict, count_votes, denies, verification
from radtune.engines.prompt import Engine, Prompt, Response, Sampling
from radtune.findings import FINDINGS
from radtune.labels import Answer, State, Status
from radtune.report import Report
from radtune.rules import label_report
from radtune.rules.lexicon import default_rules
from radtune.tasks.legacy import Task
from radtune.tasks.rendering import prompt_sha256

# Prompts that an engine gets at once: enough to sort by length, few enough to hold a million reports' run in memory.
_WINDOW = 4_096
# The error of a report that nothing was asked about.
EMPTY_REPORT = "empty_report"


@dataclass(frozen=True)
class Asking:
    """What every report of a run is asked, and what is made of the answers.

    Attributes:
        task: The task; decodes the responses.
        instruction: Its prompt or its training instruction.
        prompt_format: ``llama3_chat`` or ``alpaca``, as in training.
        sampling: How responses are drawn.
        seed: Of sampling.
        samples: How often each report is asked.
        vote: How several samples become one answer, one of :data:`radtune.ask.model_votes.VOTES`.
        evidence: Whether the model's evidence is read and looked up in the report.
    """

    task: Task
    instruction: str
    prompt_format: str
    sampling: Sampling
    seed: int = 0
    samples: int = 1
    vote: str = "majority"
    evidence: bool = False


def predict(
    reports: Sequence[Report], asking: Asking, engine: Engine, model: str, adapter: str | None
) -> Iterator[tuple[Report, dict[str, Any]]]:
    """Asks a model about reports.

    Args:
        reports: The reports.
        asking: What to ask.
        engine: What answers.
        model: The model's name, for the rows.
        adapter: Its adapter's, None for none.

    Yields:
        Each report with its row, as they are answered. A row has the keys of ``predictions.jsonl``, and where they
        apply: ``evidence`` (label, quote, start, end), ``unsupported`` (labels whose evidence is not in the report),
        ``scores`` (by class), ``agreement`` and ``votes`` (of several samples), ``cut_words`` (words of its middle that
        did not fit into the model) and ``error``. A report without text is not asked about: its row has the status
        failed and the error :data:`EMPTY_REPORT`.

    Raises:
        InputError: The engine gives up, or cannot do what is asked.
    """
    facts = _facts(asking, model, adapter)
    width = max(1, _WINDOW // asking.samples)
    for start in range(0, len(reports), width):
        window = reports[start : start + width]
        for report, responses in _ask([report for report in window if report.text.strip()], asking, engine):
            yield report, _row(report, asking, responses) | facts
        for report in window:
            if not report.text.strip():
                yield report, empty_row(report, asking, model, adapter)


def empty_row(report: Report, asking: Asking, model: str, adapter: str | None) -> dict[str, Any]:
    """The row of a report without text, which no model is asked about."""
    return _row(report, asking, [Response("", True, error=EMPTY_REPORT)]) | _facts(asking, model, adapter)


def _facts(asking: Asking, model: str, adapter: str | None) -> dict[str, Any]:
    return {
        "model": model,
        "adapter": adapter,
        "prompt_sha256": prompt_sha256(asking.instruction, asking.prompt_format),
        "temperature": asking.sampling.temperature,
        "seed": asking.seed,
    }


def verify(
    rows: Sequence[tuple[Report, dict[str, Any]]], asking: Asking, engine: Engine
) -> Iterator[tuple[Report, dict[str, Any]]]:
    """Asks the model about each label that it has found once more, and drops those that it denies.

    Args:
        rows: Reports with the rows that :func:`predict` made.
        asking: What they were asked.
        engine: What answers.

    Yields:
        Each report with its row, as its last label is answered: without the labels that were denied, which stand in
        ``denied``. A row of which a label could not be verified is failed, and has none: it must not pass for verified.
    """
    sampling = Sampling(asking.sampling.temperature, VERIFICATION_TOKENS)
    for window in _windows(rows):
        prompts, of_row = [], []
        for place, (report, row) in enumerate(window):
            for label in row["labels"]:
                seed = f"{asking.seed}:{label}:{report.report_id}"
                prompts.append(Prompt(report.report_id, verification(label), report.text, asking.prompt_format, seed))
                of_row.append((place, label))
            if not row["labels"]:
                yield report, row | {"denied": []}
        answered: dict[int, dict[str, Response]] = {}
        for index, response in engine.generate(prompts, sampling):
            place, label = of_row[index]
            report, row = window[place]
            of_labels = answered.setdefault(place, {})
            of_labels[label] = response
            if len(of_labels) == len(row["labels"]):
                yield report, _verified(row, answered.pop(place), asking)


def _windows(rows: Sequence[tuple[Report, dict[str, Any]]]) -> Iterator[list[tuple[Report, dict[str, Any]]]]:
    """Neighbouring rows whose labels make up to :data:`_WINDOW` prompts."""
    window: list[tuple[Report, dict[str, Any]]] = []
    count = 0
    for report, row in rows:
        if window and count + len(row["labels"]) > _WINDOW:
            yield window
            window, count = [], 0
        window.append((report, row))
        count += len(row["labels"])
    if window:
        yield window


def _verified(row: dict[str, Any], responses: dict[str, Response], asking: Asking) -> dict[str, Any]:
    errors = [response.error for response in responses.values() if response.error]
    denied = [
        label
        for label in row["labels"]
        if not responses[label].error and denies(_answer(asking.task, responses[label]), responses[label].text, label)
    ]
    kept = [] if errors else [label for label in row["labels"] if label not in denied]
    row = row | {"labels": kept, "denied": denied}
    if errors:
        row |= {"status": str(Status.FAILED), "error": errors[0]}
    if asking.evidence:
        row["evidence"] = [evidence for evidence in row["evidence"] if evidence["label"] in kept]
        row["unsupported"] = [label for label in row["unsupported"] if label in kept]
    return row


def _ask(reports: Sequence[Report], asking: Asking, engine: Engine) -> Iterator[tuple[Report, list[Response]]]:
    """Each report with its samples, once all of them are there."""
    # For one report, reading the rules would take longer than a draft spares.
    drafted = asking.sampling.grammar is not None and len(reports) > 1
    prompts = []
    for report in reports:
        labels = label_report(report.text, default_rules()).labels if drafted else {}
        draft = tuple(name for name, state in labels.items() if state == State.PRESENT)
        prompts += [replace(_prompt(report, asking, sample), draft=draft) for sample in range(asking.samples)]
    collected: dict[int, dict[int, Response]] = {}
    for index, response in engine.generate(prompts, asking.sampling):
        number, sample = divmod(index, asking.samples)
        of_report = collected.setdefault(number, {})
        of_report[sample] = response
        if len(of_report) == asking.samples:
            yield reports[number], [response for _, response in sorted(collected.pop(number).items())]


def _prompt(report: Report, asking: Asking, sample: int) -> Prompt:
    seed = f"{asking.seed}:{asking.task.name}:{report.report_id}"
    # The first sample is what a run with one sample would give.
    seed = f"{seed}:{sample}" if sample else seed
    return Prompt(report.report_id, asking.instruction, report.text, asking.prompt_format, seed)


def _row(report: Report, asking: Asking, responses: Sequence[Response]) -> dict[str, Any]:
    answers = [_answer(asking.task, response) for response in responses]
    (first, *others), shown = answers, responses[0]
    verdict = count_votes(answers, asking.vote) if others else Verdict(first.labels, first.status, {})
    row: dict[str, Any] = {"report_id": report.report_id, "task": asking.task.name, "labels": list(verdict.labels)}
    if asking.evidence:
        rest = "\n".join(answer.rest for answer in answers)
        found = find_evidence(asking.task.name, verdict.labels, rest, report.text)
        row["evidence"] = [asdict(evidence) for evidence in found]
        row["unsupported"] = [evidence.label for evidence in found if not evidence.supported]
    scores = [response.scores for response in responses if response.scores]
    if scores:
        means = (sum(of_class) / len(scores) for of_class in zip(*scores, strict=True))
        # Digits beyond these depend on what else was in the batch.
        row["scores"] = {name: float(f"{mean:.4g}") for name, mean in zip(FINDINGS, means, strict=True)}
    if others:
        row["agreement"] = verdict.agreement
        row["votes"] = [
            {"labels": list(answer.labels), "status": str(answer.status), "response": response.text}
            for answer, response in zip(answers, responses, strict=True)
        ]
    row |= {"response": shown.text, "status": str(verdict.status)}
    if verdict.status == Status.FAILED:
        row["error"] = next(response.error for response in responses if response.error)
    if shown.cut_words:
        row["cut_words"] = shown.cut_words
    return row


def _answer(task: Task, response: Response) -> Answer:
    if response.error is not None:
        return Answer((), status=Status.FAILED)
    if response.refused:
        return Answer((), status=Status.REFUSED)
    return task.decode(response.text, response.finished)
