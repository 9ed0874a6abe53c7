"""Tasks: what is asked of a report, how it is answered, and when an answer is right; each is a file."""

from radtune.tasks.class_list import THREE_VALUED
from radtune.tasks.rendering import PROMPT_FORMATS, USES, TaskPrompt, images_named, prompt_sha256, user_message
from radtune.tasks.task import (
    IMAGES,
    SECTIONS,
    Task,
    is_empty,
    load_task,
    own_tasks,
    shows_images,
    task_names,
    text_of,
    with_rules,
)

# What gpt_data_generate.py asks unless told otherwise: what the paper's teacher labelled.
DEFAULT_TASK = "open_ended"
# What label_by_rules.py labels: classes that rules ship for.
DEFAULT_RULES_TASK = "multiple_choice"
