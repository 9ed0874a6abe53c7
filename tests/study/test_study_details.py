from pathlib import Path

import pytest

from radtune.files import write_jsonl
from radtune.findings import FINDINGS
from radtune.label_files import LabelFile
from radtune.study import paths
from radtune.study.comparison_table import comparison_table
from radtune.study.dataset_table import dataset_table
from radtune.study.detail_tables import agreement_table, detail_table
from radtune.study.plan import Study, cells, study_from_mapping
from radtune.study.reported import read_reported
from radtune.study.results import Results, read_predictions, read_results, read_study_gold
from radtune.study.status_table import status_table


@pytest.fixture(scope="module")
def results(scored_study: Study) -> Results:
    return read_results(scored_study)


def labels_of(file: LabelFile) -> dict:
    return {report_id: answer.labels for report_id, answer in file.answers.items()}


def test_table_1_counts_reports_patients_words_and_labels(scored_study: Study) -> None:
    table = dataset_table(scored_study, read_reported())
    names = [column.name for column in table.columns]
    rows = [dict(zip(names, row, strict=True)) for row in table.rows]
    assert [(row["task"], row["usage"], row["annotator"]) for row in rows] == [
        ("Multiple choice", "training", "Rule labeler"), ("Multiple choice", "evaluation", "Known truth"),
        ("Open ended", "training", "GPT4-o (simulated)"), ("Open ended", "evaluation", "Known truth"),
    ]  # fmt: skip
    assert [(row["paper_annotator"], row["paper_reports"]) for row in rows] == [
        ("NegBio", 4500), ("Radiologists", 100), ("GPT4-o", 9000), ("Radiologists", 100),
    ]  # fmt: skip
    assert {(row["reports"], row["patients"]) for row in rows} == {(60, 60)}
    assert [row["most_trained_on"] for row in rows] == [500, "-", 600, "-"]
    gold = labels_of(read_study_gold(scored_study, "multiple_choice"))
    assert rows[1]["mean_labels"] == pytest.approx(sum(map(len, gold.values())) / 60)


def test_table_1_names_files_that_people_gave(study_values: dict) -> None:
    study_values["cohorts"]["mimic"] = {"source": "mimic_cxr", "input": "x.zip"}
    study_values["labels"] = {"mimic": "given/negbio.csv.gz"}
    study_values["tests"]["multiple_choice"] = {"source": "table", "input": "some/test.csv", "gold": "some/gold.csv"}
    table = dataset_table(study_from_mapping(study_values), read_reported())
    assert [row[2:5] for row in table.rows[:2]] == [
        ["MIMIC-CXR", "negbio.csv.gz", "missing"], ["test.csv", "gold.csv", "missing"],
    ]  # fmt: skip


def test_status_table_counts_every_pair_once(results: Results) -> None:
    table = status_table(results)
    assert [column.title for column in table.columns[2:6]] == ["positive", "uncertain", "negative", "not mentioned"]
    assert [row[0] for row in table.rows] == ["positive", "uncertain", "not mentioned"]
    assert sum(int(str(row[1])) for row in table.rows) == 60 * len(FINDINGS)
    for row in table.rows:
        assert sum(int(str(count)) for count in row[2:6]) == row[1]
        assert all(0 <= float(str(share)) <= 1 for share in row[6:])
    # Seven reports each have Pneumonia in doubt and no word of a fracture.
    assert [sum(int(str(row[column])) for row in table.rows) for column in (3, 5)] == [7, 7]


def test_status_table_of_gold_that_is_a_list(few_values: dict, scored_study: Study, tmp_path: Path) -> None:
    listed = tmp_path / "gold.csv"
    gold = labels_of(read_study_gold(scored_study, "multiple_choice"))
    listed.write_text("uid,consensus\n" + "".join(f'{i},"{", ".join(labels)}"\n' for i, labels in gold.items()))
    values = few_values | {"run_dir": str(scored_study.run_dir), "mixes": [[200, 100]]}
    values["tests"] = {"multiple_choice": {"gold": str(listed), "gold_column": "consensus", "id_column": "uid"}}
    table = status_table(read_results(study_from_mapping(values)))
    assert [column.title for column in table.columns[2:4]] == ["named", "not named"]
    assert sum(int(str(row[2])) for row in table.rows) == sum(map(len, gold.values()))


def test_lenient_spelling_counts_in_tables_as_in_scores(few_values: dict, tmp_path: Path) -> None:
    values = few_values | {"mixes": [], "teacher": {}, "run_dir": str(tmp_path)}
    listed = tmp_path / "gold.csv"
    listed.write_text("uid,labels\n1,Edma\n2,Fracture\n")
    values["tests"] = {"multiple_choice": {"gold": str(listed), "spelling": "lenient"}}
    study = study_from_mapping(values)
    base = cells(study)[0]
    write_jsonl(paths.predictions(study, base, "multiple_choice"), [{"report_id": "1", "labels": ["Fractur"]}])
    assert labels_of(read_study_gold(study, "multiple_choice")) == {"1": ("Edema",), "2": ("Fracture",)}
    assert labels_of(read_predictions(study, base, "multiple_choice")) == {"1": ("Fracture",)}


def test_comparisons_are_with_base_and_rule_labeler(results: Results) -> None:
    table = comparison_table(results)
    assert [(row[0], row[1], row[4]) for row in table.rows] == [
        ("Multiple choice", 300, "Base model"), ("Multiple choice", 300, "Rule labeler"),
        ("Multiple choice", 900, "Base model"), ("Multiple choice", 900, "Rule labeler"),
        ("Open ended", 300, "Base model"), ("Open ended", 900, "Base model"),
    ]  # fmt: skip
    mix, base = (results.metrics[name, "open_ended"].micro.f1 for name in ("mix_200_100", "base"))
    assert table.rows[4][5] == pytest.approx(mix - base)


def test_agreement_is_beside_the_papers(results: Results) -> None:
    rows = agreement_table(results, read_reported()).rows
    assert rows[0][:4] == ["this study", "Rule labeler", "gold", 60]
    assert [row[4] for row in rows if row[0] == "paper"] == [0.53, 0.52, 0.88]


def test_every_cell_and_task_has_a_row(results: Results) -> None:
    table = detail_table(results)
    assert [(row[0], row[1]) for row in table.rows] == list(results.metrics)
    truncated = [column.name for column in table.columns].index("truncated")
    assert {row[truncated] for row in table.rows if row[0] != "rule_labeler"} == {1}


def test_gold_by_a_rule_is_read_as_evaluate_reads_it(few_values: dict, tmp_path: Path) -> None:
    gold = tmp_path / "two.csv"
    gold.write_text('report_id,A,B\n1,"Edema, Fracture",Edema\n2,,Pneumonia\n')
    test = {"gold": str(gold), "gold_columns": ["A", "B"], "gold_rule": "intersection"}
    study = study_from_mapping(few_values | {"mixes": [], "tests": {"multiple_choice": test}})
    assert labels_of(read_study_gold(study, "multiple_choice")) == {"1": ("Edema",), "2": ()}
    assert paths.gold(study, "multiple_choice") == gold
