"""The two tasks as they were before they became files; goes as the rooms move over."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from radtune.labels import Answer
from radtune.tasks import multiple_choice, open_ended


@dataclass(frozen=True)
class Task:
    """What the stages needed of a task."""

    name: str
    training_instruction: Callable[[], str]
    prompt: Callable[[], str]
    encode: Callable[[Sequence[str]], str]
    decode: Callable[..., Answer]


TASKS = {
    module.NAME: Task(module.NAME, module.training_instruction, module.prompt, module.encode, module.decode)
    for module in (multiple_choice, open_ended)
}
TASK_NAMES = tuple(TASKS)
