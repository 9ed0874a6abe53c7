"""The paper's two tasks: prompt, training instruction, and the codec between answers and labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from radtune.tasks import multiple_choice, open_ended
from radtune.tasks.lists import Answer, Status

__all__ = ["TASKS", "TASK_NAMES", "Answer", "Status", "Task"]


@dataclass(frozen=True)
class Task:
    """What the stages need of a task; see its module for the meaning of each.

    Attributes:
        name: As in files and configs.
        training_instruction: The ``instruction`` of training rows.
        prompt: The ``instruction`` of inference.
        encode: From labels to the answer that a model is trained on.
        decode: From a response (and whether the model finished it) to labels and a status; never raises.
    """

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
