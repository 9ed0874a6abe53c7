"""What is asked of a report: a question for each sample, known by the hash of all that may change its answer."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from radtune.ask.verify import verification, verification_tokens
from radtune.engines.choose import Model
from radtune.engines.prompt import Prompt, Sampling
from radtune.files import sha256_text
from radtune.images import Picture, read_picture
from radtune.report import Report
from radtune.tasks import Task, TaskPrompt, images_named, prompt_sha256, shows_images, text_of


@dataclass(frozen=True)
class Asking:
    """What every report of a run is asked, and what is made of the answers."""

    task: Task
    use: str  # which of its prompts, one of radtune.tasks.USES
    sampling: Sampling
    seed: int = 0  # of sampling, and of the examples that are drawn for each report
    samples: int = 1  # how often each report is asked
    vote: str = "majority"  # how several samples become one answer, a rule of radtune.combine.combine
    prompt_format: str = "llama3_chat"
    evidence: bool = False  # whether the model's evidence is looked up in the report
    reask: bool = False  # whether what cannot be used, or quotes what is not there, is asked once more with the reason
    verify: bool = False  # whether each label is asked about once more, and dropped where the model denies it
    images_from: Path = Path()  # the folder that the reports name their images from
    max_side: int = 1024  # the most pixels of an image's longer side

    @cached_property
    def _fixed_prompt(self) -> TaskPrompt:
        return self.task.prompt(self.use)

    def prompt(self, report: Report, sample: int) -> TaskPrompt:
        """The instruction for one sample of a report."""
        if self.task.wording.draws_examples(self.use):
            return self.task.prompt(self.use, report.report_id, self.seed, sample)
        return self._fixed_prompt

    def pictures(self, paths: Iterable[str | Path] | None) -> tuple[Picture, ...]:
        """The images that a report or an example is shown with; an InputError where one cannot be read."""
        if not shows_images(self.task):
            return ()
        return tuple(_picture(self.images_from / path, self.max_side) for path in paths or ())


@dataclass(frozen=True)
class Question:
    """One question about one report."""

    prompt: Prompt
    sampling: Sampling
    key_sha256: str  # of all that may change the answer: two questions with the same key need one answer
    prompt_sha256: str  # of the prompt without the report
    example_ids: tuple[str, ...] = ()  # of the examples in the prompt
    sample: int = 0


def questions_for(report: Report, asking: Asking, model: Model) -> Iterator[Question]:
    """What a run asks about a report, sample by sample."""
    text = text_of(asking.task, report)
    for sample in range(asking.samples):
        prompt = asking.prompt(report, sample)
        # The first sample is what a run with one sample would give.
        seed = ":".join([str(asking.seed), asking.task.name, report.report_id, *([str(sample)] if sample else [])])
        examples, pictures = asking.pictures(prompt.images), asking.pictures(report.images)
        shown = _with_names(text, len(examples), len(pictures))
        asked = Prompt(report.report_id, prompt.instruction, shown, asking.prompt_format, seed)
        asked = replace(asked, pictures=(*examples, *pictures))
        yield _question(asked, asking.task, asking.sampling, model, prompt.example_ids, sample)


def asked_again(question: Question, complaint: str) -> Question:
    """The same question with what was wrong with its first answer; its own key, so it has its own answer."""
    key = sha256_text(json.dumps([question.key_sha256, complaint]))
    return replace(question, prompt=replace(question.prompt, complaint=complaint), key_sha256=key)


def about_label(report: Report, label: str, asking: Asking, model: Model) -> Question:
    """The question that verifies one label of a report's answer."""
    seed = f"{asking.seed}:{label}:{report.report_id}"
    sampling = Sampling(asking.sampling.temperature, verification_tokens(asking.task))
    pictures = asking.pictures(report.images)
    text = _with_names(text_of(asking.task, report), 0, len(pictures))
    prompt = Prompt(report.report_id, verification(label), text, asking.prompt_format, seed, pictures=pictures)
    return _question(prompt, asking.task, sampling, model)


def _question(
    prompt: Prompt, task: Task, sampling: Sampling, model: Model, example_ids: tuple[str, ...] = (), sample: int = 0
) -> Question:
    prompt_hash = _prompt_sha256(prompt.instruction, prompt.prompt_format)
    decides = [
        prompt.report_text, task.name, prompt_hash, example_ids, model.name, sampling.temperature,
        sampling.max_new_tokens, "json_schema" if sampling.schema else "text", *([sample] if sample else []),
    ]  # fmt: skip
    # Of a local model, what tells its weights from others of that name; a server may move to another node or port.
    at_server = model.settings["engine"] == "openai"
    more = {name: value for name, value in model.settings.items() if not at_server or name == "revision"}
    if sampling.temperature:
        more["seed"] = prompt.seed
    more |= {name: True for name in ("go_on", "scores") if getattr(sampling, name)}
    more |= {"end_bias": sampling.end_bias} if sampling.end_bias else {}
    # Names and their order: a task's file may change under the same prompt.
    if sampling.grammar:
        more["grammar"] = [sampling.grammar.names, sampling.grammar.none]
    if sampling.schema:
        more["schema"] = sampling.schema
    if prompt.pictures:
        more["images"] = [picture.sha256 for picture in prompt.pictures]
    key = sha256_text(json.dumps([*decides, more] if more else decides, sort_keys=True))
    return Question(replace(prompt, adapter=model.number), sampling, key, prompt_hash, example_ids, sample)


def _with_names(text: str, before: int, count: int) -> str:
    return "\n".join(filter(None, (images_named(before, count), text)))


# Each is read whole once a run, before anything is asked, and once more when it is sent.
_picture = cache(read_picture)
# Cached: thousands of reports share a prompt, or the 990 that three of eleven examples make.
_prompt_sha256 = cache(prompt_sha256)
