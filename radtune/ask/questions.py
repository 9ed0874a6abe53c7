"""What a teacher is asked about a report: the prompt, its drawn examples, and the hash that all of it is known by."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from radtune.ask.teacher_calls import Sampling
from radtune.config import InputError
from radtune.engines.chat import MOST_TOKENS
from radtune.files import sha256_text
from radtune.report import Report
from radtune.tasks import open_ended
from radtune.tasks.legacy import TASKS
from radtune.tasks.open_ended import SeedExample
from radtune.tasks.rendering import prompt_sha256, user_message

# Table 2 of the paper with drawn examples, or what a fine-tuned model is asked.
PROMPTS = ("labelling", "inference")
# There are 990 ways to draw three of eleven examples in order; far fewer votes decide as well.
MOST_VOTES = 100


@dataclass(frozen=True)
class Labelling:
    """What every report of a run is asked.

    Attributes:
        task: The task's name.
        prompt: One of :data:`PROMPTS`; multiple choice has one prompt for both.
        seed: Draws the seed examples of each report's labelling prompt.
        sampling: Model and parameters.
        response_format: One of :data:`radtune.ask.teacher_answers.RESPONSE_FORMATS`.
        votes: How often each report is asked, with other examples each time.
    """

    task: str
    prompt: str
    seed: int
    sampling: Sampling
    response_format: str = "text"
    votes: int = 1

    @property
    def draws_examples(self) -> bool:
        """Whether each report and vote has examples of its own."""
        return self.task == open_ended.NAME and self.prompt == "labelling"


@dataclass(frozen=True)
class Question:
    """One vote on one report.

    Attributes:
        report: The report.
        vote: Its number, from 0.
        instruction: The prompt without the report.
        seed_example_ids: Of the examples in the prompt.
        prompt_sha256: Of the prompt without the report.
        key_sha256: Of all that may change the answer: two questions with the same key need one answer.
        complaint: What was wrong with the first answer, where this asks once more; else None.
    """

    report: Report
    vote: int
    instruction: str
    seed_example_ids: tuple[str, ...]
    prompt_sha256: str
    key_sha256: str
    complaint: str | None = None


def check_labelling(labelling: Labelling) -> None:
    """Refuses names and numbers that mean nothing, and votes that could only agree.

    Raises:
        InputError: Naming the key.
    """
    temperature, max_tokens = labelling.sampling.temperature, labelling.sampling.max_tokens
    if not labelling.sampling.model.isprintable() or not labelling.sampling.model.strip():
        raise InputError("model must be a name")
    if temperature is not None and not 0 <= temperature < math.inf:
        raise InputError("temperature must be 0 or more, or null")
    if max_tokens is not None and not 1 <= max_tokens <= MOST_TOKENS:
        raise InputError(f"max_tokens must be from 1 to {MOST_TOKENS:,}, or null")
    if not 1 <= labelling.votes <= MOST_VOTES:
        raise InputError(f"votes must be from 1 to {MOST_VOTES}")
    if labelling.votes > 1 and temperature == 0 and not labelling.draws_examples:
        raise InputError(
            "votes=... with temperature=0 asks the same question for the same answer: only open_ended with "
            "prompt=labelling draws other examples for each vote; give a temperature, e.g. 1"
        )


def message(question: Question) -> str:
    """The user's message that asks it."""
    asked = user_message(question.instruction, question.report.text)
    return f"{asked}\n\n{question.complaint}" if question.complaint else asked


def questions_for(report: Report, labelling: Labelling) -> Iterator[Question]:
    """What a run asks about a report, vote by vote."""
    for vote in range(labelling.votes):
        examples: Sequence[SeedExample] = ()
        if labelling.draws_examples:
            examples = open_ended.drawn_examples(labelling.seed, report.report_id, vote)
        elif labelling.task == open_ended.NAME:
            examples = open_ended.fixed_examples()
        instruction, prompt_hash = _instruction(labelling.task, labelling.prompt, tuple(examples))
        ids = tuple(example.example_id for example in examples)
        sampling = labelling.sampling
        decides = [report.text, labelling.task, prompt_hash, ids]
        decides += [sampling.model, sampling.temperature, sampling.max_tokens, labelling.response_format]
        if vote:
            # Where no examples are drawn, the votes on a report differ in nothing else.
            decides.append(vote)
        yield Question(report, vote, instruction, ids, prompt_hash, sha256_text(json.dumps(decides)))


def asked_again(question: Question, complaint: str) -> Question:
    """The same question with what was wrong with its first answer; its own key, so it has its own answer.

    Args:
        question: What was asked.
        complaint: What to say about the answer; in words for the model, which may quote the answer.
    """
    return Question(
        question.report,
        question.vote,
        question.instruction,
        question.seed_example_ids,
        question.prompt_sha256,
        sha256_text(json.dumps([question.key_sha256, complaint])),
        complaint,
    )


@cache
def _instruction(task: str, prompt: str, examples: tuple[SeedExample, ...]) -> tuple[str, str]:
    # Cached: thousands of reports share the 990 prompts that three of eleven examples make.
    if task == open_ended.NAME and prompt == "labelling":
        instruction = open_ended.labelling_prompt(examples)
    else:
        instruction = TASKS[task].prompt()
    return instruction, prompt_sha256(instruction)
