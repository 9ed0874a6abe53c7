"""A study's YAML for a table of reports."""

import json
from pathlib import Path

import pytest
import yaml

from radtune.study.jobs import jobs_of
from radtune.study.plan import read_study, read_training

ROWS = "".join(f"n{i},p{i},Small effusion {i}.,Pleural Effusion\n" for i in range(5))


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    (tmp_path / "notes.csv").write_text(f"NOTE_ID,MRN,NOTE,labels\n{ROWS}")
    (tmp_path / "gold.csv").write_text("report_id,text,Edema,Pleural Effusion\n1,Edema.,1,0\n2,Effusion.,0,1\n")
    return tmp_path


COLUMNS = ("id_column=NOTE_ID", "patient_column=MRN", "text_column=NOTE")


def new_study(command, tables, gold="gold.csv", *words):
    given = (f"input={tables / 'notes.csv'}", f"gold={tables / gold}", f"output={tables / 'ours.yaml'}")
    return command("scripts/new_study.py", "name=ours", *given, *words)


def test_what_it_writes_is_a_study(command, tables):
    code, shown, said = new_study(command, tables, "gold.csv", *COLUMNS)
    assert code == 0, said
    assert "5 reports to train on, 2 to test on" in shown
    study = read_study(tables / "ours.yaml")
    assert [cell.name for cell in study.cells] == ["base", "mix_all", "rule_labeler"]
    assert study.cohorts["ours"].source["text_column"] == "NOTE"
    # The other table's columns have the usual names.
    assert "text_column" not in study.tests["ours_test"].source
    assert "gold_column" not in study.tests["ours_test"].evaluation


def test_a_table_may_hold_its_own_gold(command, tables):
    code, shown, said = new_study(command, tables, "notes.csv", *COLUMNS, "sample=2", "rows=3")
    assert code == 0, said
    assert "3 reports to train on, 2 to test on" in shown
    study = read_study(tables / "ours.yaml")
    assert study.tests["ours_test"].source["sample"] == 2
    assert study.tests["ours_test"].evaluation["gold_column"] == "labels"
    assert study.cell("mix_3").rows == {"ours": 3}


def test_of_a_table_that_is_annotated_in_part_the_annotated_reports_are_tested_on(command, tables):
    rows = [f"0{i},Small effusion {i}.,{'Normal' if i in (2, 7) else ''}\n" for i in range(9)]
    (tables / "notes.csv").write_text("NOTE_ID,NOTE,labels\n" + "".join(rows))
    code, shown, said = new_study(command, tables, "notes.csv", "id_column=NOTE_ID", "text_column=NOTE")
    assert code == 0 and "7 reports to train on, 2 to test on" in shown, said
    keys = [f"{name}={value}" for name, value in read_study(tables / "ours.yaml").tests["ours_test"].source.items()]
    assert command("scripts/prepare_reports.py", *keys, f"output={tables / 'test.jsonl'}")[0] == 0
    lines = (tables / "test.jsonl").read_text().splitlines()
    assert [json.loads(line)["report_id"] for line in lines] == ["02", "07"]


def test_the_sample_is_of_reports_that_are_kept_and_leaves_some_to_train_on(command, tables):
    rows = [f"{i},{'IMPRESSION: ' if i else ''}Small effusion {i}.,1\n" for i in range(5)]
    (tables / "notes.csv").write_text("NOTE_ID,NOTE,Pleural_Effusion\n" + "".join(rows))
    code, _, said = new_study(command, tables, "notes.csv", "id_column=note_id", "text_column=note")
    assert code == 2 and "of its reports 4 are tested on (sample=...), and 0 are left to train on" in said
    code, shown, said = new_study(command, tables, "notes.csv", "id_column=note_id", "text_column=note", "sample=3")
    assert code == 0 and "1 reports to train on, 3 to test on" in shown, said
    assert read_study(tables / "ours.yaml").tests["ours_test"].source["id_column"] == "NOTE_ID"


def test_a_column_of_labels_is_found_in_any_case(command, tables):
    (tables / "gold.csv").write_text("Report_ID,Text,Labels\n1,Edema.,Edema\n2,Effusion.,Normal\n")
    assert new_study(command, tables, "gold.csv", *COLUMNS)[0] == 0
    assert read_study(tables / "ours.yaml").tests["ours_test"].evaluation["gold_column"] == "Labels"


def test_a_readers_labels_are_learned_from_their_own_column(command, tables):
    notes = (tables / "notes.csv").read_text().replace("labels", "Dr A")
    (tables / "notes.csv").write_text(notes)
    given = ("sample=2", f"labels={tables / 'notes.csv'}", "gold_column=Dr A")
    code, _, said = new_study(command, tables, "notes.csv", *COLUMNS, *given, "label_column=Dr A")
    assert code == 0, said
    study = read_study(tables / "ours.yaml")
    build = jobs_of(study, read_training(study))["build_instructions/ours_all"]
    assert {"multiple_choice.label_column=Dr A", "multiple_choice.id_column=NOTE_ID"} <= set(build.words())
    reports = tables / "reports.jsonl"
    keys = [f"{name}={value}" for name, value in study.cohorts["ours"].source.items()]
    assert command("scripts/prepare_reports.py", *keys, f"output={reports}")[0] == 0
    given = [word for word in build.words() if "_column=" in word]
    words = (f"multiple_choice.reports={reports}", f"multiple_choice.labels={tables / 'notes.csv'}", *given)
    code, shown, said = command("scripts/build_instructions.py", *words, f"output={tables / 'rows.jsonl'}")
    assert code == 0 and "5 rows written" in shown, said
    code, _, said = command("scripts/build_instructions.py", *words[:2], given[0], f"output={tables / 'rows.jsonl'}")
    assert code == 2 and "label_column=..." in said and len(said.splitlines()) == 1


def test_gold_may_be_of_reports_of_the_table(command, tables):
    (tables / "read.csv").write_text("NOTE_ID,labels\nn1,Pleural Effusion\nn3,No Finding\nx1,\nx2,\n")
    code, shown, said = new_study(command, tables, "read.csv", *COLUMNS)
    assert code == 0, said
    assert "3 reports to train on, 2 to test on" in shown and "read.csv: ids that belong to no report: 2" in shown
    source = read_study(tables / "ours.yaml").tests["ours_test"].source
    keys = [f"{name}={value}" for name, value in source.items()]
    output = tables / "test.jsonl"
    code, shown, said = command("scripts/prepare_reports.py", *keys, f"output={output}")
    assert code == 0, said
    assert "2 reports (5 read, 3 not in only_ids)" in shown
    assert [report["report_id"] for report in map(json.loads, output.read_text().splitlines())] == ["n1", "n3"]


def test_gold_may_be_of_several_annotators(command, tables):
    (tables / "read.csv").write_text("NOTE_ID,HO,YW\nn1,Edema,Edema; Fracture\nn3,No Finding,Edema\n")
    words = ("id_column=NOTE_ID", "text_column=NOTE", "gold_columns=[HO,YW]", "gold_rule=majority")
    code, shown, said = new_study(command, tables, "read.csv", *words)
    assert code == 0, said
    assert f"radtune study {tables / 'ours.yaml'}" in shown
    assert "MRN looks like ids of patients" in said
    evaluation = read_study(tables / "ours.yaml").tests["ours_test"].evaluation
    assert (evaluation["gold_columns"], evaluation["gold_rule"]) == (["HO", "YW"], "majority")
    (tables / "ours.yaml").unlink()
    for more, message in (
        (words[:2], "gold_columns=[A, B] of several annotators"),
        (("gold_columns=[HO,YV]",), "'YV'"),
    ):
        code, _, said = new_study(command, tables, "read.csv", *words[:2], *more)
        assert (code, message in said.splitlines()[-1]) == (2, True), said
    assert "looks like ids" not in new_study(command, tables, "gold.csv", *COLUMNS)[2]


def test_a_name_that_is_taken_is_refused(command, tables):
    (tables / "theirs.yaml").write_text(yaml.safe_dump({"name": "ours", "tests": {}}))
    assert "theirs.yaml has the same name, 'ours'" in new_study(command, tables, "gold.csv", *COLUMNS)[2]
