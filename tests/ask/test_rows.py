"""One report's row on a terminal."""

import pytest

from radtune.ask.ledger import Said
from radtune.ask.rows import read_answer, row_text, write_table
from radtune.label_files import read_labels
from radtune.labels import Answer
from radtune.tasks import load_task


@pytest.mark.parametrize(("cut", "words"), [(1, "1 word of"), (2_500, "2,500 words of")])
def test_a_cut_report_is_marked(cut, words):
    shown = row_text({"labels": [], "status": "ok", "cut_words": cut})
    assert shown.startswith(f"no label\n({words} the report's middle w") and shown.endswith(" not shown to the model)")


def test_a_phrase_that_says_of_a_finding_that_it_is_absent_is_a_problem():
    said = Said("['no pneumonia', 'nodule no longer seen', 'edema']", finished=True, refused=False)
    report = "No pneumonia. Nodule no longer seen. Edema."
    assert read_answer(said, load_task("open_ended"), report).problems == (
        "1 of 3 phrases say that something is absent",
    )


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_a_table_of_doubts_is_read_as_it_was_meant(tmp_path, ending):
    task, table = load_task("multiple_choice+states"), tmp_path / f"x.{ending}"
    said = [("Edema (uncertain)", "Fracture"), (), ("Edema", "Edema (uncertain)")]
    write_table(table, task, [Answer(labels, str(number)) for number, labels in enumerate(said)])
    assert [{*answer.labels} for answer in read_labels(table, task).answers.values()] == [{*said[0]}, set(), {"Edema"}]


def test_a_row_is_shown_in_words():
    row = {
        "labels": ["Edema", "Fracture"],
        "status": "ok",
        "evidence": [
            {"label": "Edema", "quote": "edema", "start": 3, "end": 8},
            {"label": "Fracture", "quote": "rib", "start": None, "end": None},
        ],
        "scores": {"Edema": 0.75, "Fracture": 0.5, "Pneumonia": 0.25},
        "denied": ["Pneumonia"],
    }
    assert row_text(row) == (
        "Edema  0.75  “edema” (at 3-8)\nFracture  0.50  “rib” (no support in the report)\n"
        "denied: Pneumonia\nothers: Pneumonia 0.25"
    )
    unread = {"labels": [], "status": "unparsed", "response": "Nothing."}
    assert row_text(unread) == "no answer that can be read (unparsed): Nothing."
