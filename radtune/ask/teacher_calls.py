"""What the labelling run still says in its own words, put into those of the engines: to go with that run."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from radtune.engines import prompt as engines
from radtune.engines.guard import Credential, Endpoint
from radtune.engines.limits import Limits
from radtune.engines.prompt import Prompt, Response
from radtune.engines.server import ServerEngine

Question = TypeVar("Question")


@dataclass(frozen=True)
class Sampling:
    """What is asked for besides the message; None leaves it to the server."""

    model: str
    temperature: float | None
    max_tokens: int | None


@dataclass(frozen=True)
class _Asked(Prompt):
    @property
    def message(self) -> str:
        return self.instruction


def ask_all(
    endpoint: Endpoint,
    credential: Credential,
    sampling: Sampling,
    limits: Limits,
    questions: Iterable[Question],
    message: Callable[[Question], str],
    schema: dict[str, Any] | None = None,
    pay_again: Callable[[str, Response], bool] = lambda message, reply: True,
) -> Iterator[tuple[Question, Response]]:
    """Yields each question with its answer, as they come."""
    asked: list[Question] = []

    def prompts() -> Iterator[Prompt]:
        for question in questions:
            asked.append(question)
            yield _Asked("", message(question), "", "", "")

    def again(prompt: Prompt, response: Response) -> bool:
        return pay_again(prompt.message, response)

    engine = ServerEngine(endpoint, credential, sampling.model, limits, again)
    how = engines.Sampling(sampling.temperature, sampling.max_tokens, schema=schema)
    for index, response in engine.generate(prompts(), how):
        yield asked[index], response
