"""The rules that ship."""

from radtune.labels import State
from radtune.rules import label_report, rules_for
from radtune.tasks import DEFAULT_RULES_TASK, load_task

CHEST = load_task(DEFAULT_RULES_TASK)
RULES = rules_for(CHEST)


def labels(text: str) -> dict[str, State]:
    return label_report(text, RULES).labels
