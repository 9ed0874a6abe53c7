"""Gold from yes/no questions about images: what is asked of a finding, and answered, decides it; what is not, does not.

A table with a column of questions and one of answers, such as VQA-RAD's (Lau et al., Scientific Data 2018).
"""

import re
from pathlib import Path

from radtune.config import InputError
from radtune.images import ENDINGS
from radtune.label_files import LabelFile, column_names
from radtune.labels import Answer, State
from radtune.rules import label_report, rules_for
from radtune.tables import cell_text, find_column, find_id_column, id_cell, read_table
from radtune.tasks import Task

QUESTION, ANSWER = ("question",), ("answer",)
# Who has no ids names the image's file.
_IMAGE = ("image", "images")
# What makes a question of a statement: "Is there ...", "Do you see ...", "Does this patient have ... -yes/no?".
_ASKS = re.compile(
    r"^\W*(?:is/are|are|is|does?|do|can|any)\b(?:\s+(?:there|are|any|you see|evidence of|presence of"
    r"|th(?:is|e) (?:\S+ )?(?:image|x-?ray|film|patient) (?:show|depict|have|suggest|demonstrate)))*\b",
    re.IGNORECASE,
)
_ASKED = re.compile(r"\W*(?:yes/no|present|noted|seen|identified)?\W*$", re.IGNORECASE)
# Who finds no right effusion, no tension pneumothorax, no fractured rib and no tube may yet find another; and a lung
# of normal size need not be normal.
_NARROWER = re.compile(
    r"\b(?:left|right|[lr]|side[ds]?|bilateral|both|upper|middle|mid|lower|lobes?|ap(?:ex|ical|ices)|bas(?:es?|al|ilar)"
    r"|lingula\w*|ribs?|clavic\w*|humer\w*|vertebr\w*|sternal|sternum|supraclavic\w*|neck|abdom\w*|diaphragm|\d\w*"
    r"|large|small|tiny|massive|multiple|several|many|diffuse|focal|tension|loculat\w*|calcif\w*|cavit\w*|severe"
    r"|tubes?|lines?|leads?|catheters?|wires?|pacemakers?|intubated|lungs? (?:\S+ ){0,2}size)\b",
    re.IGNORECASE,
)
# "Are the opacities confined ...?": no does not say that there are none. "Is the heart enlarged?" says so.
_THE, _ORGAN = (
    re.compile(r"\b(?:the|this|these|those)\s*$", re.IGNORECASE),
    re.compile(r"heart|cardi|mediast|lung|bone"),
)


def read_questions(path: Path, task: Task, id_column: str | None = None) -> LabelFile:
    """Reads what yes and no say of a task's classes, which its rules find in the questions.

    Yes decides what the question states, and no that a stated finding is absent; but of a part of a finding
    (:data:`_NARROWER`), or of how the finding is, only what is present is decided. Where answers contradict one
    another, or there is none, a class is left blank. Other questions and answers are passed over. Reports go by their
    ids, or by the image's file without its ending.

    Raises:
        InputError: The task has no rules, or no question is about one of its classes.
    """
    if task.rules is None:
        raise InputError(f"{path}: questions are read by rules, and task {task.name} has none; give a table of labels")
    rules, columns = rules_for(task), column_names(path)
    question, answer = find_column(columns, QUESTION), find_column(columns, ANSWER)
    by_image = None if id_column else find_column(columns, _IMAGE)
    ids = by_image or find_id_column(columns, path, id_column)
    said: dict[str, dict[str, set[State]]] = {}
    images: dict[str, str] = {}
    for number, row in read_table(path):
        report_id = id_cell(f"{path}:{number}", ids, row)
        image = report_id
        if by_image and report_id.lower().endswith(ENDINGS):
            report_id = Path(report_id).stem
        if not report_id:
            raise InputError(f"{path}:{number}: empty {ids}")
        if images.setdefault(report_id, image) != image:
            raise InputError(
                f"{path}:{number}: two images are {report_id!r} without folder and ending; id_column={ids}"
            )
        states = said.setdefault(report_id, {})
        # True and false are those of JSON and Parquet.
        replied = cell_text(row.get(answer)).strip().rstrip(".!").lower()
        yes = {"yes": True, "true": True, "no": False, "false": False}.get(replied)
        asked = _ASKED.sub("", _ASKS.sub("", cell_text(row.get(question)).strip()))
        for mention in label_report(asked, rules).mentions if yes is not None else ():
            state = {"positive": State.PRESENT, "negative": State.ABSENT}.get(mention.status)
            state = state if yes else {State.PRESENT: State.ABSENT}.get(state)
            how_it_is = _THE.search(asked[: mention.start]) and not _ORGAN.search(mention.phrase.lower())
            narrower = _NARROWER.search(asked) or (how_it_is and not yes)
            if mention.finding in task.classes and state is not None and not (state == State.ABSENT and narrower):
                states.setdefault(mention.finding, set()).add(state)
    answers = {}
    for report_id, states in said.items():
        decided = {name: next(iter(found)) for name, found in states.items() if len(found) == 1}
        answers[report_id] = Answer(task.labels_of(decided), report_id, states=decided)
    blank = frozenset(x for x, answer in answers.items() if not answer.states)
    if len(blank) == len(answers):
        raise InputError(f"{path}: none of the questions is about a class of {task.name}")
    return LabelFile(path, answers, has_states=True, blank=blank, says_none=True)
