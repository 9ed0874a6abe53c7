"""Instruction sets: exact counts, nesting, splits by patient, and the command's errors."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.findings import write_label_table
from radtune.instructions import build, read_instructions, write_instructions
from radtune.report import report_from_sections
from radtune.sources.synthetic import generate
from radtune.tasks.legacy import TASKS
from radtune.weak_labels import LabelledReport, join, read_labels

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


def test_too_few_rows_says_how_many_there_are_and_why():
    items = {"open_ended": SOURCES["open_ended"]}
    first = SOURCES["open_ended"][0].report.report_id
    with pytest.raises(InputError) as caught:
        build(items, {"open_ended": 301}, 0, 0, [first])
    assert str(caught.value) == (
        "open_ended: 301 training rows asked for, 299 there (300 labelled, 1 excluded, 0 with the text of an excluded "
        "report, 0 held out with their patients)"
    )
    with pytest.raises(InputError, match=r"open_ended: 300 .*, (\d+) there \(300 labelled, .*, 2\d held out with"):
        build(items, {"open_ended": 300}, 20, 0)
    with pytest.raises(InputError, match=r"too few reports \(5 labelled, 0 excluded, .*: 5 there .*, 1 more needed"):
        build({"open_ended": SOURCES["open_ended"][:5]}, {"open_ended": 1}, 6, 0)


def made_up(report_id, text, patient_id=None, labels=()):
    return LabelledReport(report_from_sections(report_id, patient_id, text, "", "made"), labels)


@settings(deadline=None, max_examples=50)
@given(st.data(), st.integers(0, 50))
def test_a_patient_that_only_one_file_knows_is_in_one_split(data, seed):
    ids = [str(number) for number in range(24)]
    patient_of = {i: data.draw(st.sampled_from([None, "a", "b", "c", "d", "e", "f"])) for i in ids}
    sources = {}
    for task in TASKS:
        known = {i: data.draw(st.booleans()) for i in ids}
        # Some reports have no label in one of the files, and still tell whose they are.
        sources[task] = [
            made_up(i, f"Report {i}.", patient_of[i] if known[i] else None, data.draw(st.sampled_from([(), None])))
            for i in ids
        ]
    told = {i.report.report_id: i.report.patient_id for items in sources.values() for i in items if i.report.patient_id}
    try:
        split = build(sources, {"open_ended": 3, "multiple_choice": 3}, 2, seed)
    except InputError:
        reject()  # too few patients for both splits
    groups = [
        {told.get(row.report_id, f"report {row.report_id}") for row in part} for part in (split.train, split.validation)
    ]
    assert not groups[0] & groups[1]


def test_a_report_of_two_patients_is_refused():
    sources = {"open_ended": [made_up("7", "x", "p1")], "multiple_choice": [made_up("7", "x", "p2")]}
    with pytest.raises(InputError, match="report '7' is of one patient_id in one file"):
        build(sources, {"open_ended": 1, "multiple_choice": 1}, 0, 0)


def test_excluded_reports_are_left_out_in_any_spelling_and_with_their_text():
    # The excluded report has no label itself, and its text stands under another id in the other task's file.
    items = [made_up("50414267", "Small effusion.", labels=None), *(made_up(str(n), f"Text {n}.") for n in range(4))]
    sources = {"open_ended": items, "multiple_choice": [made_up("900", "Small effusion."), made_up("901", "Clear.")]}
    split = build(sources, {"open_ended": 3, "multiple_choice": 1}, 0, 0, ["s50414267", "2", "12345", "s12345"])
    assert {row.report_id for row in split.train} == {"0", "1", "3", "901"}
    assert split.unmatched_exclude_ids == 1
    counts = split.counts["open_ended"], split.counts["multiple_choice"]
    assert [(c.labelled, c.excluded, c.same_text) for c in counts] == [(4, 1, 0), (2, 0, 1)]


def test_names_outside_the_classes_are_dropped_and_counted():
    items = [made_up("1", "x", labels=["edema", "Hernia"]), made_up("2", "y", labels=["Normal"]), made_up("3", "z")]
    split = build({"multiple_choice": items}, {"multiple_choice": 3}, 0, 0)
    assert {row.report_id: row.output for row in split.train} == {
        "1": "['Edema']",
        "2": "['Normal']",
        "3": "['Normal']",
    }
    assert split.counts["multiple_choice"].unknown_labels == 1


def test_files_are_written_together_or_not_at_all(tmp_path):
    rows = build(SOURCES, {"open_ended": 2, "multiple_choice": 2}, 0, 0).train
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        write_instructions({tmp_path / "a.jsonl": rows, tmp_path / "file" / "b.jsonl": rows})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    write_instructions({tmp_path / "a.jsonl": rows, tmp_path / "b.jsonl": rows[:1]})
    assert list(read_instructions(tmp_path / "a.jsonl")) == rows
    assert list(read_instructions(tmp_path / "b.jsonl")) == rows[:1]


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
    counts = manifest["counts"]["open_ended"]
    assert counts.pop("held_out") >= 5
    assert counts == {
        "labelled": 60, "excluded": 0, "same_text": 0, "unknown_labels": 0, "train": 20, "validation": 5,
    }  # fmt: skip
    assert manifest["unmatched_exclude_ids"] == 0


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
    joined = join(files / "wcm.jsonl", files / "annotations.jsonl", "open_ended")
    assert [item.labels is None for item in joined] == [True] + [False] * 59


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"open_ended_rows": 61}, "61 training rows asked for, 60 there"),
        ({"open_ended_labels": "absent.jsonl"}, "absent.jsonl: No such file"),
        ({"validation_rows": 3}, "validation_rows and validation_output go together"),
        ({"validation_rows": -1}, "validation_rows must be 0 or more"),
        ({"multiple_choice_rows": 0}, "go together"),
        (
            {"multiple_choice_rows": -5, "multiple_choice_reports": "", "multiple_choice_labels": ""},
            "multiple_choice_rows (1 or more) go together",
        ),
        ({"validation_rows": 3, "validation_output": "/dev/full"}, "/dev/full: is a device"),
        ({"output": "{folder}/wcm.jsonl"}, "would overwrite"),
        ({"output": "{folder}/x/../wcm.jsonl"}, "would overwrite"),
        ({"validation_rows": 3, "validation_output": "{folder}/rows.jsonl"}, "would overwrite"),
        ({"exclude_ids": "[{folder}/rows.jsonl]"}, "would overwrite"),
        ({"open_ended_labels": "{folder}/labels.csv"}, "labels.csv: a label table has no phrases"),
        ({"seed": "x"}, "seed"),
        ({"sead": "1"}, "unknown key 'sead'; did you mean 'seed'?"),
    ],
)
def test_errors_are_one_line(files, changes, message):
    (files / "x").mkdir()
    before = {path: path.read_bytes() for path in files.iterdir() if path.is_file()}
    changes = {name: value.format(folder=files) if isinstance(value, str) else value for name, value in changes.items()}
    result = run(arguments(files, **changes))
    assert result.returncode == 2
    assert {path: path.read_bytes() for path in files.iterdir() if path.is_file()} == before
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (files / "rows.jsonl").exists()


def test_ids_that_do_not_join(files):
    result = run(arguments(files, multiple_choice_reports=files / "wcm.jsonl"))
    assert result.returncode == 2
    assert "no label for any of the 60 reports" in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        '{"report_id": "x"',
        '{"report_id": 5, "status": "ok"}',
        '{"report_id": "x"}',
        '{"report_id": "x", "status": "OK", "phrases": []}',
        '{"report_id": "x", "status": "fine", "phrases": []}',
        '{"report_id": "x", "status": null, "phrases": []}',
        '{"report_id": "x", "status": "ok", "task": "multiple_choice", "phrases": []}',
        '{"report_id": "x", "status": "ok", "phrases": [1]}',
    ],
)
def test_broken_annotation_names_its_line(files, line):
    with (files / "annotations.jsonl").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=r"annotations\.jsonl:61: "):
        read_labels(files / "annotations.jsonl", "open_ended")


def test_command_tells_what_it_left_out(files):
    rows = [json.loads(line) for line in (files / "mimic.jsonl").read_text().splitlines()]
    answers = [{"report_id": r["report_id"], "status": "ok", "labels": ["Edema", "Zebra hernia"]} for r in rows]
    write_jsonl(files / "answers.jsonl", answers)
    (files / "ids.txt").write_text(f"{rows[0]['report_id']}\nnobody\n")
    labels = files / "answers.jsonl"
    result = run(arguments(files, multiple_choice_labels=labels, exclude_ids=f"[{files / 'ids.txt'}]"))
    assert result.returncode == 0, result.stderr
    assert "multiple_choice: 60 labelled, 1 excluded" in result.stdout
    assert "multiple_choice: 60 labels that are none of its classes dropped" in result.stdout
    assert "1 ids of exclude_ids are of none of these reports" in result.stdout
    manifest = (files / "rows.jsonl.manifest.json").read_text()
    assert json.loads(manifest)["counts"]["multiple_choice"]["unknown_labels"] == 60
    assert json.loads(manifest)["unmatched_exclude_ids"] == 1
    assert "Zebra" not in result.stdout + manifest + (files / "rows.jsonl").read_text()


def test_reports_without_a_patient_are_their_own_group():
    items = [LabelledReport(report_from_sections(str(n), None, "Clear lungs.", "", "t"), []) for n in range(20)]
    split = build({"open_ended": items}, {"open_ended": 15}, 5, 0)
    assert {r.report_id for r in split.train} | {r.report_id for r in split.validation} == {str(n) for n in range(20)}
