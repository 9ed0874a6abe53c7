"""Copies of a model beside the first of them: what differs, in answers and in labels, and against gold."""

import json

import pytest

from radtune.config import InputError
from radtune.files import write_json, write_jsonl
from radtune.label_files import read_labels
from radtune.score.copies import NAME, Cost, compare_copies, copy_rows, read_copies
from radtune.tasks import load_task


def rows(*answers):
    return [
        {
            "report_id": str(number), "task": "multiple_choice", "labels": labels, "response": text,
            "status": "ok" if labels is not None else "unparsed",
        }
        for number, (labels, text) in enumerate(answers)
    ]  # fmt: skip


@pytest.fixture
def found(tmp_path):
    task = load_task("multiple_choice")
    said = {
        "adapter": [(["Edema"], "['Edema']"), (["Pneumonia"], "['Pneumonia']"), ([], "['Normal']")],
        # Another text with the same labels, and a label more.
        "merged": [(["Edema"], "Output: ['Edema'] "), (["Pneumonia", "Edema"], "['Edema']"), ([], "['Normal']")],
        "gguf_Q4_0": [(["Atelectasis"], "['Atelectasis']"), (["Pneumonia"], " ['Pneumonia']\n"), ([], "no")],
    }  # fmt: skip
    paths = {name: tmp_path / f"{name}.jsonl" for name in said}
    for name, path in paths.items():
        write_jsonl(path, rows(*said[name]))
    gold = tmp_path / "gold.csv"
    gold.write_text("report_id,Edema,Pneumonia,Atelectasis\n0,1,0,0\n1,0,1,0\n2,0,0,0\n")
    costs = dict.fromkeys(said, Cost(3 * 2**20, 2**30, 12.5)) | {"merged": Cost(2**20)}
    return compare_copies(task, paths, costs, read_labels(gold, task), left_out={"vllm": "no vllm on the PATH"})


def test_what_differs_is_counted(found):
    first, merged, rounded = found.copies
    assert (first.answers_differ, first.reports_differ, first.flipped, first.named) == (0, 0, 0, 2)
    assert (merged.answers_differ, merged.reports_differ, merged.flipped, merged.named) == (2, 1, 1, 3)
    assert (rounded.answers_differ, rounded.reports_differ, rounded.flipped, rounded.named) == (2, 1, 2, 3)
    assert (first.f1, first.f1_above) == (1.0, None)
    assert merged.f1 == pytest.approx(0.8) and merged.f1_above == pytest.approx(-0.2)
    assert merged.f1_above_ci95[0] <= -0.2 <= merged.f1_above_ci95[1] <= 0
    assert found.n_reports == 3 and found.gold.endswith("gold.csv")


def test_they_come_back_from_their_file_as_a_table(found, tmp_path):
    write_json(tmp_path / NAME, found)
    assert read_copies(tmp_path / NAME) == found
    assert copy_rows(found)[2]["labels that flip"] == 2 and copy_rows(found)[0]["memory (MiB)"] == 1024
    (tmp_path / NAME).write_text(json.dumps({"task": 3}))
    with pytest.raises(InputError, match=r"copies\.json: not a copies\.json"):
        read_copies(tmp_path / NAME)
