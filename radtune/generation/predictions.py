"""From reports to rows of ``predictions.jsonl``."""

from collections.abc import Sequence
from dataclasses import dataclass

from radtune.config import InputError
from radtune.generation.checkpoint import Checkpoint
from radtune.generation.torchtune import Response, generate
from radtune.progress import progress
from radtune.reports import Report
from radtune.tasks import Task
from radtune.tasks.rendering import prompt_sha256, user_message
from radtune.training.rows import prompt_tokens


@dataclass(frozen=True)
class Prediction:
    """A model's answer about one report.

    Attributes:
        report_id: The report.
        task: ``multiple_choice`` or ``open_ended``.
        labels: Classes or phrases; empty unless the status is ok.
        response: What the model wrote.
        status: ok, truncated or unparsed.
        model: The checkpoint's folder.
        adapter: The adapter's folder, None for none.
        prompt_sha256: Hash of the prompt without its report: the same in all rows of a run.
        temperature: Of sampling; 0 is greedy.
        seed: Of sampling.
    """

    report_id: str
    task: str
    labels: Sequence[str]
    response: str
    status: str
    model: str
    adapter: str | None
    prompt_sha256: str
    temperature: float
    seed: int


@dataclass(frozen=True)
class Sampling:
    """How responses are drawn."""

    batch_size: int
    max_new_tokens: int
    temperature: float
    seed: int


def predict(
    reports: Sequence[Report],
    task: Task,
    instruction: str,
    prompt_format: str,
    checkpoint: Checkpoint,
    names: tuple[str, str | None],
    sampling: Sampling,
) -> list[Prediction]:
    """Asks a model about reports.

    Args:
        reports: The reports.
        task: What is asked; decodes the responses.
        instruction: The task's prompt or its training instruction.
        prompt_format: ``llama3_chat`` or ``alpaca``, as in training.
        checkpoint: The model.
        names: Its folder and its adapter's, for the rows.
        sampling: How responses are drawn.

    Returns:
        A row per report, in their order.

    Raises:
        InputError: Naming a report that is too long for the model.
    """
    prompts = [
        prompt_tokens(checkpoint.tokenizer, user_message(instruction, report.text, prompt_format)) for report in reports
    ]
    for report, prompt in zip(reports, prompts, strict=True):
        needed = len(prompt) + sampling.max_new_tokens
        if needed > checkpoint.max_positions:
            raise InputError(
                f"report {report.report_id!r} needs {needed} positions with {sampling.max_new_tokens} new tokens, "
                f"the model has {checkpoint.max_positions}"
            )
    responses: dict[int, Response] = {}
    answering = generate(
        checkpoint,
        prompts,
        [f"{sampling.seed}:{task.name}:{report.report_id}" for report in reports],
        sampling.batch_size,
        sampling.max_new_tokens,
        sampling.temperature,
    )
    for index, response in progress(answering, "reports", len(reports)):
        responses[index] = response
    prompt_hash = prompt_sha256(instruction, prompt_format)
    rows = []
    for index, report in enumerate(reports):
        response = responses[index]
        answer = task.decode(response.text, response.finished)
        rows.append(
            Prediction(
                report_id=report.report_id,
                task=task.name,
                labels=answer.labels,
                response=response.text,
                status=str(answer.status),
                model=names[0],
                adapter=names[1],
                prompt_sha256=prompt_hash,
                temperature=sampling.temperature,
                seed=sampling.seed,
            )
        )
    return rows
