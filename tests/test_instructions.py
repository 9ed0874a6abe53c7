"""Instruction sets: exact counts, nesting, splits by patient, and the command's errors."""

import json
import random
import re

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.instructions import (
    Excluded,
    LabelledReport,
    build,
    join,
    near_identical,
    read_excluded,
    read_instructions,
    write_instructions,
)
from radtune.label_files import edited_rows, labels_sha256, policies_for, read_labels, write_label_table
from radtune.report import report_from_sections
from radtune.sources.synthetic import generate
from radtune.tasks import load_task

COMMAND = ["scripts/build_instructions.py"]
TASKS = ("open_ended", "multiple_choice")


def labelled(count, task):
    items = []
    for item in generate(count, 1, "mimic" if task == "multiple_choice" else "wcm"):
        labels = [p.phrase for p in item.phrases] if task == "open_ended" else []
        items.append(LabelledReport(item.report, labels))
    return items


SOURCES = {task: labelled(300, task) for task in TASKS}


def ids(rows, task):
    return [row.report_id for row in rows if row.task == task]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    rows=st.tuples(st.integers(0, 120), st.integers(1, 120)),
    validation=st.integers(0, 60),
    excluded=st.sets(st.sampled_from([i.report.report_id for i in SOURCES["multiple_choice"]]), max_size=40),
)
def test_counts_splits_and_exclusions(seed, rows, validation, excluded):
    wanted = dict(zip(TASKS, rows, strict=True))
    split = build(SOURCES, wanted, validation, seed, Excluded(frozenset(excluded)))
    for task in TASKS:
        assert len(ids(split.train, task)) == wanted[task]
        assert len(ids(split.validation, task)) == validation
    patient_of = {i.report.report_id: i.report.patient_id for items in SOURCES.values() for i in items}
    in_train = {patient_of[row.report_id] for row in split.train}
    in_validation = {patient_of[row.report_id] for row in split.validation}
    assert not in_train & in_validation
    used = {row.report_id for row in split.train + split.validation}
    assert not used & excluded
    assert not (in_train | in_validation) & {patient_of[report_id] for report_id in excluded}
    text_of = {i.report.report_id: i.report.text for items in SOURCES.values() for i in items}
    assert not {text_of[row.report_id] for row in split.train} & {text_of[row.report_id] for row in split.validation}
    assert len(used) == len(split.train) + len(split.validation)


def test_smaller_sets_are_inside_larger_ones():
    small = build(SOURCES, {"open_ended": 40, "multiple_choice": 20}, 10, seed=3)
    large = build(SOURCES, {"open_ended": 80, "multiple_choice": 40}, 10, seed=3)
    for task in TASKS:
        assert set(ids(small.train, task)) < set(ids(large.train, task))


NAMES = load_task("multiple_choice").classes


def skewed(count, seed):
    """Reports of patients with up to three each; the nth class is in one report of 2^n."""
    chance = random.Random(seed)  # noqa: S311
    made = []
    for number in range(count):
        labels = [name for n, name in enumerate(NAMES[:8]) if chance.random() < 0.5 ** (n + 1)]
        made.append(made_up(str(number), f"Report {number}.", f"p{chance.randrange(count // 2)}", labels))
    return made


def test_each_class_has_its_share_of_the_validation_split():
    def farthest(rows):
        """By how many reports the number of some class is off its share."""
        off = [sum(name in row for row in rows) - sum(name in i.labels for i in items) / 5 for name in NAMES[:8]]
        return max(map(abs, off))

    stratified, at_random = [], []
    for seed in range(12):
        items = skewed(500, seed)
        split = build({"multiple_choice": items}, {"multiple_choice": None}, 100, seed)
        assert len(split.validation) == 100
        stratified.append(farthest([row.output for row in split.validation]))
        at_random.append(farthest([str(item.labels) for item in items[seed : seed + 100]]))
    assert sum(stratified) < 0.5 * sum(at_random) and sum(stratified) < 12 * 3


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(9, 120))
def test_balanced_rows_lose_no_rare_class_and_smaller_sets_are_inside_larger_ones(seed, wanted):
    items = skewed(500, seed)

    def drawn(rows):
        split = build({"multiple_choice": items}, {"multiple_choice": rows}, 0, seed, balance=True)
        return split.counts["multiple_choice"].not_learned, {row.report_id: row.output for row in split.train}

    not_learned, rows = drawn(wanted)
    there = {label for item in items for label in item.labels}
    assert set(not_learned) == set(NAMES) - there and len(rows) == wanted
    assert rows.items() < drawn(wanted + 7)[1].items()
    # Of eight classes and having none, the one with fewest goes next: each comes in nine draws.
    for name in NAMES[:8]:
        assert sum(name in output for output in rows.values()) >= min(
            wanted // 9, sum(name in item.labels for item in items)
        )


def test_rows_are_shuffled_together():
    split = build(SOURCES, {"open_ended": 100, "multiple_choice": 50}, 0, seed=0)
    changes = sum(a.task != b.task for a, b in zip(split.train, split.train[1:], strict=False))
    assert changes > 40


def test_order_of_reports_and_tasks_does_not_matter():
    turned = {task: SOURCES[task][::-1] for task in reversed(SOURCES)}
    rows = {"open_ended": 30, "multiple_choice": 30}
    assert build(turned, rows, 5, 1).train == build(SOURCES, rows, 5, 1).train


def test_too_few_rows_says_how_many_there_are_and_why():
    items = {"open_ended": SOURCES["open_ended"]}
    first = SOURCES["open_ended"][0].report.report_id
    with pytest.raises(InputError) as caught:
        build(items, {"open_ended": 301}, 0, 0, Excluded(frozenset([first])))
    assert re.fullmatch(
        r"open_ended: 301 training rows asked for, 29\d there \(300 labelled, 1 excluded(, \d of patients of excluded "
        r"reports)?(, \d with the text of an excluded report)?\)", str(caught.value)
    )  # fmt: skip
    with pytest.raises(InputError, match=r"open_ended: 300 .*, (\d+) there \(300 labelled, .*\d held out with their"):
        build(items, {"open_ended": 300}, 20, 0)
    with pytest.raises(InputError, match=r"too few reports \(5 labelled\): 5 there .*, 1 more needed"):
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


LONG = "There is a small left pleural effusion with adjacent atelectasis and no pneumothorax today"


def test_excluded_reports_are_left_out_with_their_patients_and_their_text(tmp_path):
    # The excluded report has no label itself, and its text stands under another id in the other task's file.
    items = [made_up("50414267", f"{LONG}.", "p1", labels=None), *(made_up(str(n), f"Text {n}.") for n in range(4))]
    copies = [f"FINDINGS:  {LONG.upper()}", LONG.replace("small", "tiny"), LONG.replace(" left", "")]
    others = [made_up(str(900 + n), text) for n, text in enumerate([*copies, f"{LONG} and a mass and"])]
    others += [made_up("a", "Text.", "p1"), made_up("b", "C", "10")]
    sources = {"open_ended": items, "multiple_choice": others}
    (tmp_path / "ids.csv").write_text("study_id,MRN\nS50414267,\n2,\n12345,P10\ns12345,\n")
    split = build(sources, {"open_ended": 3, "multiple_choice": 1}, 0, 0, read_excluded([tmp_path / "ids.csv"]))
    assert {row.report_id for row in split.train} == {"0", "1", "3", "903"}
    assert split.unmatched_exclude_ids == 1
    counts = split.counts["open_ended"], split.counts["multiple_choice"]
    assert [(c.labelled, c.left_out) for c in counts] == [
        (4, {"excluded": 1}),
        (6, {"with the text of an excluded report": 3, "of patients of excluded reports": 2}),
    ]
    # Texts are known from the file of excluded reports, too, whatever their ids.
    write_jsonl(tmp_path / "tests.jsonl", [{"report_id": "x", "text": f"Findings: {LONG}."}])
    (tmp_path / "tests.csv").write_text(f"uid,findings,impression\nx,{LONG},\n")
    # As it was dictated, of which the reports to train on keep the findings alone.
    whole = f"EXAM: Chest, two views. HISTORY: Cough and fever for some days.\nFINDINGS: {LONG}."
    (tmp_path / "whole.csv").write_text(f'uid,NOTE\nx,"{whole}"\n')
    for file in ("tests.jsonl", "tests.csv", "whole.csv"):
        split = build(sources, {"open_ended": 4, "multiple_choice": 3}, 0, 0, read_excluded([tmp_path / file]))
        assert {row.report_id for row in split.train if row.task == "multiple_choice"} == {"903", "a", "b"}
    # Others' JSON lines keep all of it.
    sources["multiple_choice"].append(made_up("as dictated", whole))
    split = build(sources, dict.fromkeys(TASKS), 0, 0, read_excluded([tmp_path / "whole.csv"]))
    assert "as dictated" not in {row.report_id for row in split.train}


def test_what_one_file_alone_knows_of_an_excluded_report_excludes_in_all():
    one = [made_up("1", f"{LONG}.", "p1"), made_up("2", "Text 2.", "p1"), made_up("3", "Text 3.")]
    one += [made_up("4", f"{LONG} x."), made_up("5", "Text 5.", "p5")]
    other = [made_up(str(number), f"Text {number}.") for number in range(1, 6)]
    for sources in (dict(zip(TASKS, files, strict=True)) for files in ((one, other), (other, one))):
        split = build(sources, dict.fromkeys(TASKS), 0, 0, Excluded(frozenset("1"), frozenset({"5"})))
        # Patients are the first's alone, and so is the text that 4 is nearly a copy of.
        assert {(row.report_id, row.task) for row in split.train} == {("3", task) for task in TASKS}


WORDS = st.lists(st.sampled_from(["no", "left", "small", "effusion", "edema", "of", "the", "lung", "is"]), max_size=24)


@settings(deadline=None)
@given(st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=6), st.randoms(use_true_random=False))
def test_near_identical_texts_are_those_that_a_plain_search_finds(texts, wanted, chance):
    # Some of the texts are wanted ones with a word more, less or changed.
    for words in wanted[:3]:
        at = chance.randrange(len(words) + 1)
        texts = [*texts, words[:at] + chance.choice([[], ["new"]]) + words[at + chance.randrange(2) :]]
    wanted = [tuple(words) for words in wanted if words]
    given = {str(number): " ".join(words) for number, words in enumerate(texts)}
    alike = {x for x, t in given.items() if any(Levenshtein.normalized_similarity(t.split(), w) >= 0.9 for w in wanted)}
    assert near_identical(given.items(), wanted) == alike


def test_a_long_text_that_says_the_same_words_again_is_found_with_new_ones():
    words = ("no left small effusion " * 10).split()
    changed = [*words[:10], "new", *words[10:20], "other", *words[20:30], "third", *words[30:]]
    assert near_identical([("1", " ".join(changed))], {tuple(words)}) == {"1"}


def test_a_report_is_left_out_if_one_of_its_labels_is_not_known(tmp_path, capsys):
    given = [["edema"], ["Normal"], [], ["Edema", "Hernia"], ["Mrs Secret was seen by us."], ["Airspace Opacity"]]
    given += [["Pleural_Effusion", "Pneumonia."], ["Pleural Effusions"]]
    write_jsonl(tmp_path / "reports.jsonl", [made_up(str(n), f"Report {n}.").report for n in range(len(given))])
    write_jsonl(tmp_path / "labels.jsonl", [{"report_id": f"s{n}", "labels": labels} for n, labels in enumerate(given)])
    items = join(tmp_path / "reports.jsonl", [tmp_path / "labels.jsonl"], load_task("multiple_choice"))
    assert (
        "multiple_choice: 8 labels: 2 exact, 2 signs, 1 misspelt, 3 none of the classes; read 'Pleural_Effusion' as "
        "Pleural Effusion (1), 'Pneumonia.' as Pneumonia (1), 'Pleural Effusions' as Pleural Effusion (1)\n"
    ) in capsys.readouterr().out
    split = build({"multiple_choice": items}, {"multiple_choice": 5}, 0, 0)
    assert {row.report_id: row.output for row in split.train} == {
        "0": "['Edema']", "1": "['Normal']", "2": "['Normal']", "6": "['Pleural Effusion', 'Pneumonia']",
        "7": "['Pleural Effusion']",
    }  # fmt: skip
    counts = split.counts["multiple_choice"]
    assert (counts.labelled, counts.left_out) == (8, {"with labels that the task does not know": 3})
    assert counts.unknown_labels == {"Hernia": 1, "(not shown)": 1, "Airspace Opacity": 1}


def test_a_report_without_the_section_that_its_task_reads_is_left_out():
    task = "differential"
    whole = [report_from_sections(x, None, "Bones are fine.", said, "made") for x, said in (("1", ""), ("2", "Gout."))]
    split = build({task: [LabelledReport(report, ["Gout"]) for report in whole]}, {task: None}, 0, 0)
    assert [(row.report_id, row.input) for row in split.train] == [("2", "Gout.")]
    assert split.counts[task].left_out == {"without impression": 1}


def test_of_several_labelers_any_most_or_all_are_learned(tmp_path):
    write_jsonl(tmp_path / "reports.jsonl", [made_up(str(n), f"Text {n}.").report for n in range(3)])
    task, present, doubt = load_task("multiple_choice"), {"Edema": 1}, {"Edema": 1, "Fracture": -1}
    write_label_table(tmp_path / "rules.csv", task, {"0": doubt, "1": present})
    write_jsonl(tmp_path / "teacher.jsonl", [
        {"report_id": "0", "labels": ["Edema", "Pneumonia"]}, {"report_id": "1", "labels": [], "status": "refused"},
        {"report_id": "2", "labels": ["Cardiomegaly"]},
    ])  # fmt: skip
    both, positive = [tmp_path / "rules.csv", tmp_path / "teacher.jsonl"], policies_for(task, "positive")
    for policies, rule, expected in (
        ({}, "union", [("Edema", "Pneumonia"), ("Edema",), ("Cardiomegaly",)]),
        (positive, "union", [("Edema", "Fracture", "Pneumonia"), ("Edema",), ("Cardiomegaly",)]),
        (positive, "intersection", [("Edema",), ("Edema",), ("Cardiomegaly",)]),
    ):
        items = join(tmp_path / "reports.jsonl", both, task, policies, rule=rule)
        assert [{*item.labels} for item in items] == [{*labels} for labels in expected]


def test_what_people_write_in_a_column_of_labels_is_learned_and_what_they_left_blank_is_not(tmp_path, capsys):
    cells = ("Edema|Pneumonia", "No Finding", "", "nan", "['Edema' 'Fracture']", "Normal")
    write_jsonl(tmp_path / "reports.jsonl", [made_up(str(n), f"Report {n}.").report for n in range(len(cells))])
    lines = [f'{number}.0,"{cell}"' for number, cell in enumerate(cells)]
    (tmp_path / "labels.csv").write_text("\n".join(["study_id,labels", *lines]))
    task = load_task("multiple_choice")
    items = join(tmp_path / "reports.jsonl", [tmp_path / "labels.csv"], task)
    assert [item.labels for item in items] == [("Edema", "Pneumonia"), (), None, None, ("Edema", "Fracture"), ()]
    assert [item.left_out for item in items if item.labels is None] == ["not annotated"] * 2
    # Where blank is the only way that it says so, it means none, and that is said.
    (tmp_path / "labels.csv").write_text("study_id;labels\n0;Edema\n1;\n")
    items = join(tmp_path / "reports.jsonl", [tmp_path / "labels.csv"], task)
    assert [item.labels for item in items[:2]] == [("Edema",), ()]
    assert "1 blank rows count as none" in capsys.readouterr().out
    (tmp_path / "labels.csv").write_text("study_id,Edema,Fracture\n0,1,0\n")
    with pytest.raises(
        InputError, match=r"no column for Atelectasis, .*Support Devices: none would be learned as absent"
    ):
        join(tmp_path / "reports.jsonl", [tmp_path / "labels.csv"], task)


def test_a_file_of_labels_may_tell_whose_a_report_is(tmp_path):
    (tmp_path / "r.csv").write_text("study_id,text\n" + "".join(f"{n},Report {n}.\n" for n in range(8)))
    rows = "".join(f"{n},{n % 2},Edema\n" for n in range(7))
    (tmp_path / "l.csv").write_text(f"study_id,subject_id,labels\n{rows}")
    found = join(tmp_path / "r.csv", [tmp_path / "l.csv"], load_task("multiple_choice"))
    assert [item.report.patient_id for item in found] == ["0", "1", "0", "1", "0", "1", "0", None]
    split = build({"multiple_choice": found}, {"multiple_choice": None}, 3, 0)
    assert {int(row.report_id) % 2 for row in split.train} != {int(row.report_id) % 2 for row in split.validation}


def test_ids_stand_in_a_column_given_of_either_file(tmp_path):
    (tmp_path / "notes.csv").write_text("CASE;text\ns7;Lungs clear.\ns8;Edema.\n")
    (tmp_path / "labels.csv").write_text("study_id,labels\n7.0,Normal\n8.0,Edema\n")
    files = (tmp_path / "notes.csv", [tmp_path / "labels.csv"], load_task("multiple_choice"))
    for column in ("CASE", "case"):
        assert [list(item.labels) for item in join(*files, id_column=column)] == [[], ["Edema"]]
    with pytest.raises(InputError, match="no column 'NOTE'"):
        join(*files, id_column="NOTE")


def test_quarantined_answers_are_learned_only_if_asked_for_and_what_a_reader_edits_always_is(tmp_path):
    def row(report_id, labels, phrases, answered, **others):
        named = [{"phrase": phrase, "icd10": None} for phrase in phrases]
        kept = {"labels": labels, "phrases": named, "labels_sha256": labels_sha256(answered)}
        return {"report_id": report_id, **kept, **others}

    rows = [
        row("0", ["scar"], ["scar"], ["scar"], problems=[]),
        row("1", ["scar"], ["scar"], ["scar"], problems=["1 of 1 phrases not in the report"]),
        row("2", ["scar"], ["mass"], ["mass"], problems=["1 of 1 phrases not in the report"]),
        row("3", ["mass"], ["scar"], ["mass"], problems=["no list in the answer"]),
        row("4", ["scar"], [], [], status="unparsed", problems=["no list in the answer"]),
        row("5", [], [], [], status="refused"),
        row("6", "scar; mass", [], [], status="unparsed"),
    ]
    write_jsonl(tmp_path / "reports.jsonl", [made_up(str(n), f"Report {n}.").report for n in range(len(rows))])
    write_jsonl(tmp_path / "annotations.jsonl", rows)
    for wanted in (False, True):
        items = join(
            tmp_path / "reports.jsonl", [tmp_path / "annotations.jsonl"], load_task("open_ended"), with_problems=wanted
        )
        expected = [("scar",), ("scar",) if wanted else None, ("scar",), ("scar",), ("scar",), None, ("scar", "mass")]
        assert [item.labels for item in items] == expected
    assert (items[1].left_out, items[5].left_out) == ("", "without an answer")
    assert list(edited_rows(tmp_path / "annotations.jsonl")) == ["2", "3", "4", "6"]
    answers = read_labels(tmp_path / "annotations.jsonl", load_task("open_ended")).answers
    assert [answer.by for answer in answers.values()] == ["", "", "reader", "reader", "reader", "", "reader"]


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
    for name, made in (("mimic", mimic), ("wcm", wcm)):
        write_jsonl(tmp_path / f"{name}.jsonl", [i.report for i in made])
    labels = {i.report.report_id: i.labels for i in mimic}
    write_label_table(tmp_path / "labels.csv", load_task("multiple_choice"), labels)
    named = ((i.report.report_id, [{"phrase": p.phrase} for p in i.phrases]) for i in wcm)
    rows = [{"report_id": report_id, "status": "ok", "phrases": phrases} for report_id, phrases in named]
    write_jsonl(tmp_path / "annotations.jsonl", rows)
    return tmp_path


def arguments(folder, changes=None):
    values = {
        "output": folder / "rows.jsonl",
        "open_ended.reports": folder / "wcm.jsonl",
        "open_ended.labels": folder / "annotations.jsonl",
        "open_ended.rows": 20,
        "multiple_choice.reports": folder / "mimic.jsonl",
        "multiple_choice.labels": folder / "labels.csv",
        "multiple_choice.rows": 10,
    } | (changes or {})
    return COMMAND + [f"{name}={value}" for name, value in values.items()]


def test_command_writes_the_weak_labels_and_the_same_bytes_twice(succeeds, files):
    command = arguments(files, {"validation_rows": 5, "validation_output": files / "validation.jsonl"})
    succeeds(*command)
    before = (files / "rows.jsonl").read_bytes()
    # Again, with its keys in another order.
    succeeds(*COMMAND, *command[:0:-1])
    assert (files / "rows.jsonl").read_bytes() == before
    rows = list(read_instructions(files / "rows.jsonl"))
    assert len(rows) == 30
    task = load_task("multiple_choice")
    truth = read_labels(files / "labels.csv", task).answers
    for row in (row for row in rows if row.task == task.name):
        assert task.read(row.output).labels == truth[row.report_id].labels
        assert row.instruction == task.prompt("training").instruction
    manifest = json.loads((files / "rows.jsonl.manifest.json").read_text())
    assert manifest["rows"] == 30
    assert len(manifest["inputs"]) == 9  # with the files of the two tasks
    counts = manifest["counts"]["open_ended"]
    assert counts.pop("left_out")["held out with their patients"] >= 5
    assert counts == {"labelled": 60, "unknown_labels": {}, "train": 20, "validation": 5, "not_learned": []}
    assert manifest["unmatched_exclude_ids"] == 0


def test_command_tells_what_it_left_out(succeeds, files):
    rows = [json.loads(line) for line in (files / "mimic.jsonl").read_text().splitlines()]
    answers = [{"report_id": r["report_id"], "status": "ok", "labels": ["Edema", "Zebra hernia"]} for r in rows]
    for answer in answers[20:]:
        answer["labels"].pop()
    write_jsonl(files / "answers.jsonl", answers)
    (files / "ids.txt").write_text(f"{rows[0]['report_id']}\nnobody\n")
    labels = files / "answers.jsonl"
    result = succeeds(*arguments(files, {"multiple_choice.labels": labels, "exclude_ids": f"[{files / 'ids.txt'}]"}))
    assert "multiple_choice: 60 labelled, 1 excluded" in result.stdout
    assert re.search(r"1\d with labels that the task does not know: Zebra hernia \(20\); 10 to train", result.stdout)
    assert "1 ids of exclude_ids are of none of these reports" in result.stdout
    manifest = (files / "rows.jsonl.manifest.json").read_text()
    assert json.loads(manifest)["counts"]["multiple_choice"]["unknown_labels"] == {"Zebra hernia": 20}
    assert json.loads(manifest)["unmatched_exclude_ids"] == 1
    assert "Zebra" not in (files / "rows.jsonl").read_text()


@pytest.mark.parametrize(
    ("keys", "outputs"),
    [
        # For all, and of one class.
        ({"uncertain": "drop"}, {"['Normal']"}),
        ({"uncertain": "negative"}, {"['Normal']", "['Edema']"}),
        ({"uncertain.fracture": "positive", "uncertain.others": "negative"}, {"['Normal']", "['Edema', 'Fracture']"}),
        ({"uncertain.fracture": "state"}, {"['Normal']", "['Edema', 'Fracture (uncertain)']"}),
    ],
)
def test_uncertain_classes_are_learned_as_asked_for(succeeds, files, keys, outputs):
    ids = [json.loads(line)["report_id"] for line in (files / "mimic.jsonl").read_text().splitlines()]
    # Ids as a database shouts them.
    rows = {x.upper(): {"Edema": 1, "Fracture": -1} if n % 2 else {"No Finding": 1} for n, x in enumerate(ids)}
    write_label_table(files / "labels.csv", load_task("multiple_choice"), rows)
    result = succeeds(*arguments(files, {"multiple_choice.rows": 30, **keys}))
    built = [row for row in read_instructions(files / "rows.jsonl") if row.task != "open_ended"]
    assert {row.output for row in built} == outputs
    assert {row.task for row in built} == {"multiple_choice+states" if "state" in keys.values() else "multiple_choice"}
    assert ("30 uncertain" in result.stdout) == ("drop" in keys.values())
