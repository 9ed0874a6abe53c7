"""Instruction sets: exact counts, nesting, splits by patient, and the command's errors."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.findings import write_label_table
from radtune.instructions import LabelledReport, build, join, read_instructions, read_labels
from radtune.reports import report_from_sections
from radtune.sources.synthetic import generate
from radtune.tasks import TASKS

COMMAND = [sys.executable, "scripts/build_instructions.py"]


def labelled(count, task, seed=1, prefix=""):
    items = []
    for item in generate(count, seed, "mimic" if task == "multiple_choice" else "wcm"):
        labels = [p.phrase for p in item.phrases] if task == "open_ended" else []
        items.append(LabelledReport(item.report, labels))
    return items


SOURCES = {task: labelled(300, task) for task in TASKS}


def ids(rows, task):
    return [row.report_id for row in rows if row.task == task]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    rows=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    validation=st.integers(0, 60),
    excluded=st.sets(st.sampled_from([i.report.report_id for i in SOURCES["multiple_choice"]]), max_size=40),
)
def test_counts_splits_and_exclusions(seed, rows, validation, excluded):
    wanted = dict(zip(TASKS, rows, strict=True))
    split = build(SOURCES, wanted, validation, seed, excluded)
    for task in TASKS:
        assert len(ids(split.train, task)) == wanted[task]
        assert len(ids(split.validation, task)) == validation
    patient_of = {i.report.report_id: i.report.patient_id for items in SOURCES.values() for i in items}
    in_train = {patient_of[row.report_id] for row in split.train}
    in_validation = {patient_of[row.report_id] for row in split.validation}
    assert not in_train & in_validation
    used = {row.report_id for row in split.train + split.validation}
    assert not used & excluded
    assert len(used) == len(split.train) + len(split.validation)


def test_smaller_sets_are_inside_larger_ones():
    small = build(SOURCES, {"open_ended": 40, "multiple_choice": 20}, 10, seed=3)
    large = build(SOURCES, {"open_ended": 80, "multiple_choice": 40}, 10, seed=3)
    for task in TASKS:
        assert set(ids(small.train, task)) < set(ids(large.train, task))


def test_rows_are_shuffled_together():
    split = build(SOURCES, {"open_ended": 100, "multiple_choice": 50}, 0, seed=0)
    changes = sum(a.task != b.task for a, b in zip(split.train, split.train[1:], strict=False))
    assert changes > 40


def test_order_of_the_reports_does_not_matter():
    turned = {task: items[::-1] for task, items in SOURCES.items()}
    rows = {"open_ended": 30, "multiple_choice": 30}
    assert set(build(turned, rows, 5, 1).train) == set(build(SOURCES, rows, 5, 1).train)


def test_too_few_rows_says_how_many_there_are():
    with pytest.raises(InputError, match=r"open_ended: 301 training rows asked for, 300 there"):
        build({"open_ended": SOURCES["open_ended"]}, {"open_ended": 301}, 0, 0)
    with pytest.raises(InputError, match="too few labelled reports for validation"):
        build({"open_ended": SOURCES["open_ended"][:5]}, {"open_ended": 1}, 6, 0)


@pytest.fixture
def files(tmp_path):
    mimic, wcm = list(generate(60, 1, "mimic")), list(generate(60, 2, "wcm"))
    write_jsonl(tmp_path / "mimic.jsonl", [i.report for i in mimic])
    write_jsonl(tmp_path / "wcm.jsonl", [i.report for i in wcm])
    write_label_table(tmp_path / "labels.csv", {i.report.report_id: i.labels for i in mimic})
    write_jsonl(
        tmp_path / "annotations.jsonl",
        [
            {"report_id": i.report.report_id, "status": "ok", "phrases": [{"phrase": p.phrase} for p in i.phrases]}
            for i in wcm
        ],
    )
    return tmp_path


def arguments(folder, **changes):
    values = {
        "output": folder / "rows.jsonl",
        "open_ended_reports": folder / "wcm.jsonl",
        "open_ended_labels": folder / "annotations.jsonl",
        "open_ended_rows": 20,
        "multiple_choice_reports": folder / "mimic.jsonl",
        "multiple_choice_labels": folder / "labels.csv",
        "multiple_choice_rows": 10,
    } | changes
    return COMMAND + [f"{name}={value}" for name, value in values.items()]


def run(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_command_writes_the_same_bytes_twice(files):
    first = run(arguments(files, validation_rows=5, validation_output=files / "validation.jsonl"))
    assert first.returncode == 0, first.stderr
    before = (files / "rows.jsonl").read_bytes()
    run(arguments(files, validation_rows=5, validation_output=files / "validation.jsonl"))
    assert (files / "rows.jsonl").read_bytes() == before
    rows = list(read_instructions(files / "rows.jsonl"))
    assert len(rows) == 30
    manifest = json.loads((files / "rows.jsonl.manifest.json").read_text())
    assert manifest["rows"] == 30
    assert len(manifest["inputs"]) == 4
    assert manifest["counts"]["open_ended"] == {"labelled": 60, "excluded": 0, "train": 20, "validation": 5}


def test_outputs_are_the_weak_labels(files):
    run(arguments(files))
    truth = read_labels(files / "labels.csv", "multiple_choice")
    rows = [row for row in read_instructions(files / "rows.jsonl") if row.task == "multiple_choice"]
    for row in rows:
        assert list(TASKS["multiple_choice"].decode(row.output).labels) == truth[row.report_id]


def test_unusable_annotations_are_left_out(files):
    lines = (files / "annotations.jsonl").read_text().splitlines()
    lines[0] = lines[0].replace('"status": "ok"', '"status": "refused"')
    (files / "annotations.jsonl").write_text("\n".join(lines))
    assert len(join(files / "wcm.jsonl", files / "annotations.jsonl", "open_ended")) == 59


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"open_ended_rows": 61}, "61 training rows asked for, 60 there"),
        ({"open_ended_labels": "absent.jsonl"}, "absent.jsonl: No such file"),
        ({"validation_rows": 3}, "validation_rows and validation_output go together"),
        ({"multiple_choice_rows": 0}, "go together"),
        ({"seed": "x"}, "seed"),
        ({"sead": "1"}, "unknown key 'sead'; did you mean 'seed'?"),
    ],
)
def test_errors_are_one_line(files, changes, message):
    result = run(arguments(files, **changes))
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (files / "rows.jsonl").exists()


def test_ids_that_do_not_join(files):
    result = run(arguments(files, multiple_choice_reports=files / "wcm.jsonl"))
    assert result.returncode == 2
    assert "no label for any of the 60 reports" in result.stderr


@pytest.mark.parametrize(
    "line",
    ['{"report_id": "x"', '{"report_id": 5, "status": "ok"}', '{"report_id": "x", "status": "ok", "phrases": [1]}'],
)
def test_broken_annotation_names_its_line(files, line):
    with (files / "annotations.jsonl").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=r"annotations\.jsonl:61: "):
        read_labels(files / "annotations.jsonl", "open_ended")


def test_reports_without_a_patient_are_their_own_group():
    items = [LabelledReport(report_from_sections(str(n), None, "Clear lungs.", "", "t"), []) for n in range(20)]
    split = build({"open_ended": items}, {"open_ended": 15}, 5, 0)
    assert {r.report_id for r in split.train} | {r.report_id for r in split.validation} == {str(n) for n in range(20)}
