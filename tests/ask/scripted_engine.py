"""Engines whose answers a test decides, and a run over reports by one of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from radtune.ask.costs import Budget
from radtune.ask.ledger import Ledger
from radtune.ask.questions import Asking
from radtune.ask.run import Outcome, Run, ask_together
from radtune.engines.choose import Model
from radtune.engines.prompt import Prompt, Response, Sampling
from radtune.report import Report
from radtune.tasks import load_task

PHRASES, CLASSES = load_task("open_ended"), load_task("multiple_choice")


class Scripted:
    """An engine that answers as a function of the prompt says; of each eight taken, the last first."""

    def __init__(self, answer: Callable[[Prompt], Any]) -> None:
        self.answer = answer
        self.prompts: list[Prompt] = []

    def generate(self, prompts: Any, sampling: Sampling) -> Iterator[tuple[int, Response]]:
        taken: list[tuple[int, Prompt]] = []
        for index, prompt in enumerate(prompts):
            self.prompts.append(prompt)
            taken.append((index, prompt))
            if len(taken) == 8:
                yield from self._answered(taken)
                taken = []
        yield from self._answered(taken)

    def _answered(self, taken: list[tuple[int, Prompt]]) -> Iterator[tuple[int, Response]]:
        for index, prompt in reversed(taken):
            answered = self.answer(prompt)
            yield index, answered if isinstance(answered, Response) else Response(answered, True)


def model_of(engine: Any, name: str = "some-model", engine_name: str = "openai") -> Model:
    """A model that answers through an engine."""
    return Model(lambda: engine, name, None, {"engine": engine_name, "model": name})


def asking(**changes: Any) -> Asking:
    """What a teacher is asked by default."""
    sampling = Sampling(changes.pop("temperature", 0.0), changes.pop("longest", 64))
    given = {"task": PHRASES, "use": "labelling", "sampling": sampling, "seed": 7} | changes
    return Asking(**given)


def label(
    reports: list[Report],
    path: Path | None,
    asked: Asking,
    answer: Callable[[Prompt], Any] | Scripted,
    host: str | None = "127.0.0.1",
    budget: Budget | None = None,
) -> tuple[Outcome, list[dict[str, Any]], Scripted]:
    """Runs over reports; gives what was done, the rows and the engine."""
    engine = answer if isinstance(answer, Scripted) else Scripted(answer)
    with Ledger(path) as ledger:
        run = Run(reports, asked, model_of(engine), ledger, budget or Budget(), host)
        ask_together([run])
        return run.outcome, list(run.rows()), engine
