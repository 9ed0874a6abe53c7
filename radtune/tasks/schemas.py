"""The answers of both tasks as JSON schemas, for servers that can be held to one (``response_format=json_schema``)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from radtune.findings import FINDINGS
from radtune.tasks import multiple_choice, open_ended
from radtune.tasks.lists import fold_space
from radtune.tasks.open_ended import Phrase, locate


class _Strict(BaseModel):
    # What OpenAI's strict mode asks for: no key but these, and every key required.
    model_config = ConfigDict(extra="forbid")


class CodedPhrase(_Strict):
    """A phrase of the report and the code that it maps to."""

    phrase: str
    icd10: str | None


class Phrases(_Strict):
    """The answer to the open-ended task."""

    phrases: list[CodedPhrase]


class Diseases(_Strict):
    """The answer to the multiple-choice task; an empty list says that there is nothing."""

    diseases: list[Literal[FINDINGS]]  # type: ignore[valid-type]


_MODELS: dict[str, type[BaseModel]] = {open_ended.NAME: Phrases, multiple_choice.NAME: Diseases}


def json_schema(task: str) -> dict[str, Any]:
    """The value of ``response_format.json_schema`` for a task."""
    return {"name": task, "strict": True, "schema": _MODELS[task].model_json_schema()}


def read_json(response: str, task: str, report_text: str) -> tuple[tuple[str, ...], tuple[Phrase, ...]] | None:
    """Labels and phrases of an answer by the task's schema; None if it is none."""
    try:
        answer = _MODELS[task].model_validate_json(response)
    except ValidationError:
        return None
    if isinstance(answer, Diseases):
        return tuple(name for name in FINDINGS if name in answer.diseases), ()
    assert isinstance(answer, Phrases)  # noqa: S101  (the schemas are these two)
    found: dict[str, Phrase] = {}
    for item in answer.phrases:
        if phrase := fold_space(item.phrase):
            found.setdefault(phrase.casefold(), Phrase(phrase, item.icd10 or None, *locate(phrase, report_text)))
    return tuple(phrase.phrase for phrase in found.values()), tuple(found.values())
