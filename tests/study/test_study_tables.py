import csv
import dataclasses
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from radtune.config import InputError
from radtune.files import manifest_path, write_json, write_jsonl
from radtune.score.copies import NAME as COPIES
from radtune.score.copies import Copies, Copy, Cost
from radtune.score.errors import ErrorKind, LabelError, write_errors
from radtune.score.evaluation import Group
from radtune.study.cells import Kind
from radtune.study.figures import f1_by_group, f1_by_size
from radtune.study.findings import (
    KIND_TITLES,
    MOST_LISTED,
    class_table,
    error_list,
    error_tables,
    group_tables,
    status_table,
)
from radtune.study.formats import MISSING, Spread, Table, latex, markdown, plain_text, value_text, write_table
from radtune.study.plan import Study, read_study, study_from_mapping
from radtune.study.report import report_html
from radtune.study.results import Reported, Results, gold_of, predictions_of, read_errors, read_reported, read_results
from radtune.study.tables import (
    agreement_table,
    all_tables,
    cell_table,
    comparison_table,
    copies_tables,
    dataset_table,
    score_table,
)


@pytest.fixture(scope="module")
def results(scored_study: Study) -> Results:
    return read_results(scored_study)


@pytest.fixture(scope="module")
def reported() -> Reported:
    return read_reported(Path("configs/study/reported.yaml"))


def test_reported_numbers_agree_with_each_other(reported: Reported) -> None:
    for table in reported.tables.values():
        for row in table.rows:
            assert row.f1 == round(2 * row.precision * row.recall / (row.precision + row.recall), 2), row
    best = {task: max(row.f1 for row in table.rows if row.kind == Kind.MIX) for task, table in reported.tables.items()}
    assert best == {"multiple_choice": 0.67, "open_ended": 0.91}


@pytest.mark.parametrize("broken", [{"table": {}}, [], {"source": "x", "tables": {"a": {"rows": []}}}])
def test_a_broken_reported_file_is_refused(tmp_path: Path, broken: object) -> None:
    path = tmp_path / "reported.yaml"
    path.write_text(yaml.safe_dump(broken))
    with pytest.raises(InputError, match=r"reported\.yaml: "):
        read_reported(path)


def test_score_table_has_the_paper_beside_what_it_also_ran(results: Results, reported: Reported) -> None:
    table = score_table(results, reported, results.study.tests["multiple_choice"])
    assert (table.name, table.title) == ("table_3", "Table 3: multiple choice, micro-averaged")
    by_label = {(row["Model"], row["Fine-tuning data", "Total"]): row for row in table.rows}

    def paper(row: dict) -> list:
        return [row["Paper", name] for name in ("Precision", "Recall", "F1")]

    assert paper(by_label["mini Llama", 0]) == [0.46, 0.65, 0.54]
    assert paper(by_label["mini Llama", 300]) == [None] * 3
    assert paper(by_label["Rule labeler", "-"]) == [0.82, 0.51, 0.63]
    teacher, micro = by_label["GPT4-o (simulated)", "-"], results.metrics["teacher", "multiple_choice"].micro
    assert [teacher["F1"], teacher["F1 95 % CI"]] == [micro.f1, tuple(micro.ci95["f1"])]
    assert teacher["Paper", "ΔF1"] == pytest.approx(micro.f1 - 0.86)


def test_paper_tables_stand_whole_beside_other_sizes(results: Results, reported: Reported) -> None:
    assert "table_3_paper" in [table.name for table in all_tables(results, reported)]
    paper = read_results(read_study(Path("configs/study/paper.yaml")))
    tables = {table.name: [row.get(("Paper", "F1")) for row in table.rows] for table in all_tables(paper, reported)}
    assert "table_3_paper" not in tables
    assert tables["table_3"] == [0.54, 0.51, 0.53, 0.59, 0.66, 0.67, 0.64, 0.63, 0.86]
    # Table 4 of the paper has no row for 5,000 + 2,500.
    assert tables["table_4"] == [0.83, 0.86, 0.85, 0.89, None, 0.91, 0.89, 0.93]


def test_missing_cells_are_shown(few_values: dict, reported: Reported, score: Callable[..., None]) -> None:
    study = study_from_mapping(few_values)
    assert [table.name for table in all_tables(read_results(study), reported)] == [
        "table_1", "table_3", "table_3_paper", "table_4", "table_4_paper", "cells",
    ]  # fmt: skip
    score(study, skip=("mix_200_100", "base"))
    table = score_table(read_results(study), reported, study.tests["open_ended"])
    assert [row["F1"] == MISSING for row in table.rows] == [True, False, True, False]
    study.evaluation("base", "multiple_choice").parent.mkdir(parents=True, exist_ok=True)
    other = study.evaluation("teacher", "open_ended").read_bytes()
    study.evaluation("base", "multiple_choice").write_bytes(other)
    with pytest.raises(InputError, match="scores of task 'open_ended', expected 'multiple_choice'"):
        read_results(study)


def test_table_1_counts_reports_patients_words_and_labels(results: Results, reported: Reported) -> None:
    rows = dataset_table(results.study, reported).rows
    assert [(row["Task"], row["Usage"], row["Annotator"], row["Paper", "Annotator"]) for row in rows] == [
        ("Multiple choice", "training", "Rule labeler", "NegBio"),
        ("Multiple choice", "evaluation", "Known truth", "Radiologists"),
        ("Open ended", "training", "GPT4-o (simulated)", "GPT4-o"),
        ("Open ended", "evaluation", "Known truth", "Radiologists"),
    ]
    assert {(row["Reports"], row["Patients"]) for row in rows} == {(30, 30)}
    assert [row["Trained on"] for row in rows] == [500, "-", 600, "-"]
    gold = gold_of(results.study.tests["multiple_choice"]).answers
    assert rows[1]["Labels"] == pytest.approx(sum(len(answer.labels) for answer in gold.values()) / 30)


def test_table_1_names_files_that_people_gave(study_values: dict, reported: Reported) -> None:
    study_values["cohorts"]["mimic"] |= {"labels": "given/negbio.csv.gz", "source": "mimic_cxr", "input": "x.zip"}
    study_values["tests"]["multiple_choice"] = {"source": "table", "input": "some/test.csv", "gold": "some/gold.csv"}
    rows = dataset_table(study_from_mapping(study_values), reported).rows
    assert [[row[name] for name in ("Dataset", "Annotator", "Reports")] for row in rows[:2]] == [
        ["Mimic cxr", "negbio.csv.gz", "missing"], ["test.csv", "gold.csv", "missing"],
    ]  # fmt: skip


def test_comparisons_are_with_base_rules_the_other_recipe_and_the_model_asked_as_usual(results: Results) -> None:
    rows = {
        (row["Task"], row["Fine-tuning data", "Total"], row["System"]): {} for row in comparison_table(results).rows
    }
    for row in comparison_table(results).rows:
        rows[row["Task"], row["Fine-tuning data", "Total"], row["System"]][row["Against"]] = row["ΔF1"]
    ours, stock = "Fine-tuned by our recipe", "Fine-tuned by torchtune's recipe"
    mix, taught = {"Base model", "Rule labeler"}, {"Base model", "GPT4-o (simulated)"}
    assert {key: set(others) for key, others in rows.items()} == {
        ("Multiple choice", 300, ours): mix, ("Multiple choice", 900, ours): mix,
        ("Multiple choice", 300, stock): {ours},
        ("Multiple choice", 900, "constrained: constrain=true"): {ours},
        ("Multiple choice", 900, "voted: samples=5"): {ours},
        ("Open ended", 300, ours): taught, ("Open ended", 900, ours): taught,
        ("Open ended", 300, stock): {ours}, ("Open ended", 900, "voted: samples=5"): {ours},
    }  # fmt: skip
    f1 = {name: results.metrics[name, "open_ended"].micro.f1 for name in ("mix_200_100", "mix_200_100_stock")}
    difference = rows["Open ended", 300, stock][ours]
    assert difference == pytest.approx(f1["mix_200_100_stock"] - f1["mix_200_100"])


def test_seeds_are_shown_as_mean_and_deviation(
    few_values: dict, reported: Reported, score: Callable[..., None], tmp_path: Path
) -> None:
    del few_values["tests"]["open_ended"]
    study = study_from_mapping(few_values | {"mixes": [[100, 50]], "seeds": [1, 2, 3], "teacher": {"model": "x"}})
    score(study, skip=("rule_labeler", "teacher"))
    results = read_results(study)
    f1s = [metrics.micro.f1 for _, metrics in results.scored(Kind.MIX, "multiple_choice")]
    assert len(set(f1s)) == 3
    table = score_table(results, reported, study.tests["multiple_choice"])
    base, mix = table.rows[:2]
    assert isinstance(base["F1"], float)
    assert mix["F1"] == Spread(statistics.fmean(f1s), statistics.stdev(f1s))
    assert mix["Seeds"] == 3
    assert mix["Paper", "ΔF1"] is None
    write_table(tmp_path, table)
    with open(tmp_path / "table_3.csv", newline="") as stream:
        first, second = list(csv.DictReader(stream))[:2]
    assert (first["f1_sd"], second["f1_sd"]) == ("", f"{round(statistics.stdev(f1s), 4)}")
    assert " ± " in plain_text(table)
    assert r"$\pm$" in latex(table)
    assert results.best_mix("multiple_choice")[0].seed == 1
    assert {row["System"] for row in comparison_table(results).rows} == {
        f"Fine-tuned by our recipe, seed {seed}" for seed in (1, 2, 3)
    }
    figure = f1_by_size(results, reported, study.tests["multiple_choice"])
    assert "band: ± sd" in figure.svg


def test_no_paper_stands_beside_what_does_not_ask_for_it(study_values: dict) -> None:
    """Whatever its cohorts are called."""
    del study_values["reported"]
    study_values |= {"mixes": [["all", 50], {"mimic": "all"}], "cross_check": [], "learning_rate_rows": [0, 500]}
    results = read_results(study_from_mapping(study_values))
    beside = read_reported(results.study.settings.reported)
    tables = all_tables(results, beside)
    assert not [column for table in tables for column in table.columns if "Paper" in (column.group, column.title)]
    assert not [table.name for table in tables if table.name.startswith(("table_", "figure_"))]
    assert "aper" not in report_html(results, beside, tables, []).partition('<h2 id="runs"')[0].partition("<main>")[2]
    scores = next(table for table in tables if table.name == "scores_multiple_choice")
    # What is not yet known of rows that are taken whole.
    assert [row["Fine-tuning data", "mimic"] for row in scores.rows] == [0, 50, "all", "-", "-"]
    write_manifest_of(results.study, "mix_all_50", {"open_ended": 321, "multiple_choice": 50})
    rows = score_table(read_results(results.study), beside, results.study.tests["multiple_choice"]).rows
    assert [row["Fine-tuning data", "Total"] for row in rows] == [0, 371, "all", "-", "-"]


def write_manifest_of(study: Study, cell: str, rows: dict[str, int]) -> None:
    path = manifest_path(study.instructions(study.cell(cell)))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"counts": {task: {"train": count} for task, count in rows.items()}}))


def test_class_and_status_tables_count_every_pair_once(results: Results) -> None:
    test = results.study.tests["multiple_choice"]
    table = class_table(results, test)
    assert [row["Class"] for row in table.rows] == list(test.task.classes)
    titles = [column.title for column in table.columns[2:]]
    assert titles == ["Base model", "Best mix (600 + 300)", "Rule labeler", "GPT4-o (simulated)"]
    assert table.rows[0]["F1", "Base model"] == results.metrics["base", test.name].per_class["Atelectasis"].f1
    rows = status_table(results, test).rows
    assert [row["Rule labeler"] for row in rows] == ["positive", "uncertain", "not mentioned"]
    assert sum(row["Pairs"] for row in rows) == 30 * 13
    for row in rows:
        counts = [row["Gold", state] for state in ("positive", "uncertain", "negative", "not mentioned")]
        assert sum(counts) == row["Pairs"]
        assert all(0 <= share <= 1 for key, share in row.items() if key[0] == "Named by (share)")
    # Seven reports each have Pneumonia in doubt and no word of a fracture.
    assert [sum(row["Gold", state] for row in rows) for state in ("uncertain", "not mentioned")] == [7, 7]


def test_a_task_without_rules_stands_beside_a_labeler(few_values: dict, reported: Reported, score, tmp_path) -> None:
    task = yaml.safe_load(Path("configs/tasks/multiple_choice.yaml").read_text()) | {"name": "own", "rules": None}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(task))
    study = study_from_mapping(few_values | {
        "tests": {"own": {"task": str(tmp_path / "own.yaml"), "source": "synthetic"}},
        "labelers": {"few": {"title": "Keywords", "rules": "configs/study/keywords"}}, "mixes": [[10, 5]],
    })  # fmt: skip
    score(study)
    tables = {table.name: table for table in all_tables(read_results(study), reported)}
    assert sum(row["Pairs"] for row in tables["statuses_own"].rows) == 30 * 13
    assert [row["One"] for row in tables["agreement_own"].rows] == ["Keywords"]


def test_scores_by_modality_have_a_table_and_a_figure(results: Results) -> None:
    test = results.study.tests["multiple_choice"]
    assert group_tables(results, test) == f1_by_group(results, test) == []
    by = {
        key: dataclasses.replace(m, by={"modality": {"CR": Group(20, m.micro, 0.5), "CT": Group(10, m.micro)}})
        for key, m in results.metrics.items()
    }
    grouped = dataclasses.replace(results, metrics=by)
    (table,) = group_tables(grouped, test)
    base = results.metrics["base", test.name]
    models = ["Base model", "Best mix (600 + 300)", "Rule labeler", "GPT4-o (simulated)"]
    groups = [(row["Modality"], row["Reports"], row["Model"]) for row in table.rows]
    assert groups == [(*g, model) for g in (("CR", 20), ("CT", 10), ("all", 30)) for model in models]
    scores = [(row["Micro F1"], row["95 % CI"], row["Macro F1"]) for row in table.rows[::4]]
    assert scores == [(base.micro.f1, base.micro.ci95["f1"], macro) for macro in (0.5, None, base.macro["f1"])]
    (drawing,) = f1_by_group(grouped, test)
    assert (drawing.name, drawing.title) == (
        "f1_by_modality_multiple_choice",
        f"{test.title}: F1 by modality (reports)",
    )


def test_gold_that_is_a_list_or_misspelt_or_by_several(few_values: dict, scored_study: Study, tmp_path: Path) -> None:
    path = tmp_path / "gold.csv"

    def study_of(gold: str, **test: object) -> Study:
        path.write_text(gold)
        values = few_values | {"run_dir": str(scored_study.run_dir), "mixes": [[200, 100]]}
        return study_from_mapping(values | {"tests": {"multiple_choice": {"gold": str(path), **test}}})

    answers = gold_of(scored_study.tests["multiple_choice"]).answers
    lines = "".join(f'{i},"{", ".join(answer.labels)}"\n' for i, answer in answers.items())
    study = study_of("uid,consensus\n" + lines, gold_column="consensus", id_column="uid")
    table = status_table(read_results(study), study.tests["multiple_choice"])
    assert sum(row["Gold", "named"] for row in table.rows) == sum(len(answer.labels) for answer in answers.values())
    study = study_of("uid,labels\n1,Edma\n2,Fracture\n", spelling="lenient")
    assert [a.labels for a in gold_of(study.tests["multiple_choice"]).answers.values()] == [("Edema",), ("Fracture",)]
    few = study_from_mapping(dict(study.values) | {"run_dir": str(tmp_path)})
    write_jsonl(few.predictions("base", "multiple_choice"), [{"report_id": "1", "labels": ["Fractur"]}])
    assert predictions_of(few, "base", few.tests["multiple_choice"]).answers["1"].labels == ("Fracture",)
    two = 'report_id,A,B\n1,"Edema, Fracture",Edema\n2,,Pneumonia\n'
    study = study_of(two, gold_columns=["A", "B"], gold_rule="intersection")
    assert [a.labels for a in gold_of(study.tests["multiple_choice"]).answers.values()] == [("Edema",), ()]


def test_every_cell_has_a_row_and_agreement_is_beside_the_papers(results: Results, reported: Reported) -> None:
    rows = cell_table(results).rows
    assert [(row["Cell"], row["Task"]) for row in rows] == list(results.metrics)
    assert {row["Answers", "truncated"] for row in rows if row["Cell"] != "rule_labeler"} == {1}
    rows = agreement_table(results, reported, results.study.tests["multiple_choice"]).rows
    assert [rows[0][name] for name in ("Source", "One", "Other", "Reports")] == [
        "this study",
        "Rule labeler",
        "gold",
        30,
    ]
    assert [row["Kappa"] for row in rows if row["Source"] == "paper"] == [0.53, 0.52, 0.88]


def test_all_tables_have_a_form_everywhere(results: Results, reported: Reported) -> None:
    tables = all_tables(results, reported)
    names = [table.name for table in tables]
    assert {f"table_{n}" for n in (1, 3, 4, 5, 6)} | {"figure_3", "figure_4", "comparisons"} <= set(names)
    assert len(set(names)) == len(names)
    for table in tables:
        assert latex(table).isascii(), table.name
        assert all(len(row) == len(table.columns) for row in table.texts), table.name


ERRORS = [
    LabelError("1", "fp", "left basal opacity", ErrorKind.DESCRIPTION, "opacity at left base", "Opacity at left base."),
    LabelError("1", "fn", "opacity at left base", ErrorKind.DESCRIPTION, "left basal opacity", "Opacity at left base."),
    LabelError("2", "fn", "large heart", ErrorKind.PARAPHRASE, "cardiomegaly", "The heart is large."),
    LabelError("2", "fp", "possible edema", ErrorKind.UNCERTAIN, None, "Possible edema."),
    LabelError("3", "fp", "possible edema", ErrorKind.UNCERTAIN, None, "Possible edema."),
    LabelError("3", "fp", "possible mass", ErrorKind.UNCERTAIN, None, "Possible mass."),
    LabelError("4", "fn", "old fracture", ErrorKind.MISSED, None, "Old  fracture."),
]  # fmt: skip


@pytest.fixture(params=[True, False])
def erring(request: pytest.FixtureRequest, few_values: dict, scored_study: Study) -> Results:
    """A study that shows text, or does not, whose only mix made these errors; its scores are borrowed."""
    study = study_from_mapping(few_values | {"mixes": [[200, 100]], "show_text": request.param})
    made_up = [
        LabelError("1", "fp", "chest tube of Mr X", ErrorKind.NOT_IN_REPORT),
        LabelError("1", "fn", "Edema", ErrorKind.MISSED),
    ]
    for test, errors in (("open_ended", ERRORS), ("multiple_choice", made_up)):
        path = study.evaluation("mix_200_100", test)
        path.parent.mkdir(parents=True)
        path.write_bytes(scored_study.evaluation("mix_200_100", test).read_bytes())
        write_errors(path.parent / "errors.jsonl", errors, show_text=True)
    return read_results(study)


def test_tables_5_and_6_count_by_side_and_kind_beside_the_paper(erring: Results, reported: Reported) -> None:
    kinds, wordings = error_tables(erring, reported, erring.study.tests["open_ended"])
    assert kinds.title == "Table 5: open ended, errors of mini Llama, fine-tuned on 200 + 100"
    assert [list(row.values())[:5] for row in kinds.rows] == [
        ["False positive", "Paraphrase, see Table 6", 1, 1 / 7, 10],
        ["False positive", KIND_TITLES[ErrorKind.UNCERTAIN], 3, 3 / 7, 18],
        ["False positive", KIND_TITLES[ErrorKind.NOT_IN_GOLD], 0, 0.0, 1],
        ["False negative", "Paraphrase, see Table 6", 2, 2 / 7, None],
        ["False negative", KIND_TITLES[ErrorKind.MISSED], 1, 1 / 7, 22],
    ]
    assert [list(row.values())[:3] for row in wordings.rows] == [
        ["Misspelling", 0, 0], ["Device, place or side described differently", 1, 1],
        ["Conjunction split or joined", 0, 0], ["Other paraphrase", 0, 1],
    ]  # fmt: skip
    shown = [
        kinds,
        wordings,
        error_list(erring)[0],
        *error_tables(erring, reported, erring.study.tests["multiple_choice"]),
    ]
    values = {value for table in shown for row in table.rows for value in row.values()}
    assert {"another name", "Edema"} <= values or erring.study.settings.show_text
    texts = {text for error in ERRORS for text in (error.label, error.other, error.sentence) if text}
    if not erring.study.settings.show_text:
        assert not (texts | {"chest tube of Mr X"}) & values
        return
    assert [row.get("Example") for row in kinds.rows] == [
        "left basal opacity", "possible edema", None, "opacity at left base", "old fracture",
    ]  # fmt: skip
    # The generated label before gold's.
    assert list(wordings.rows[3].values())[3:] == ["cardiomegaly", "large heart"]
    listed = error_list(erring)[0].rows
    assert len(listed) == len(ERRORS) + 2 < MOST_LISTED
    assert list(listed[-1].values())[1:] == ["4", "FN", "Missed", "old fracture", None, "Old fracture."]


def test_a_study_without_mixes_shows_the_base_models_errors(few_values: dict, scored_study: Study) -> None:
    values = few_values | {"mixes": [], "run_dir": str(scored_study.run_dir)}
    cell, errors = read_errors(read_results(study_from_mapping(values)), "multiple_choice") or (None, [])
    assert cell is not None
    assert cell.kind == Kind.BASE
    assert errors


@pytest.mark.parametrize(
    "row",
    [
        {"report_id": "1", "side": "fp"},
        {"report_id": "1", "side": "fp", "kind": "boredom"},
        {"report_id": "1", "side": "fp", "kind": "missed", "label": 3},
    ],
)
def test_a_broken_errors_file_is_refused(erring: Results, row: dict) -> None:
    path = erring.study.evaluation("mix_200_100", "open_ended", "errors.jsonl")
    write_jsonl(path, [{"report_id": "1", "side": "fn", "kind": "missed", "label": "x"}, row])
    with pytest.raises(InputError, match=r"errors.jsonl:2: not an error of this version"):
        read_errors(erring, "open_ended")


TABLE = Table(
    "small",
    "A_title & 95 %",
    "data",
    [
        {"Model": "a|b", ("Data", "Rows"): 1500, "F1": 0.666, "CI": (0.6, 0.7)},
        {"Model": "a|b", ("Data", "Rows"): 3000, "F1": "missing", "CI": None},
    ],
)


def test_formats(tmp_path: Path) -> None:
    write_table(tmp_path, TABLE)
    with open(tmp_path / "small.csv", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["model", "data_rows", "f1", "ci_low", "ci_high"]
    assert rows[1:] == [["a|b", "1500", "0.666", "0.6", "0.7"], ["a|b", "3000", "missing", "", ""]]
    assert (tmp_path / "small.md").read_text() == markdown(TABLE)
    assert markdown(TABLE).splitlines()[2:] == [
        "| Model | Data Rows | F1 | CI |",
        "| --- | ---: | ---: | ---: |",
        "| a\\|b | 1,500 | 0.67 | 0.60–0.70 |",
        "|  | 3,000 | missing |  |",
    ]
    assert (tmp_path / "small.tex").read_text() == latex(TABLE)
    assert r"\caption{A\_title \& 95 \%}" in latex(TABLE)
    assert r" & \multicolumn{1}{c}{Data} & " in latex(TABLE)
    assert r"\cmidrule(lr){2-2}" in latex(TABLE)
    assert r"a|b & 1,500 & 0.67 & 0.60--0.70 \\" in latex(TABLE)
    assert plain_text(TABLE).splitlines()[2:] == [
        "Model   Rows       F1         CI",
        "a|b    1,500     0.67  0.60–0.70",
        "       3,000  missing",
    ]


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (None, False, ""), (13500, False, "13,500"), (0.666, False, "0.67"), ((0.5, 0.75), False, "0.50–0.75"),
        ("-", False, "-"), (0.1, True, "+0.10"), (-0.35, True, "−0.35"), (-0.004, True, "0.00"), (0.004, True, "0.00"),
        ((-0.1, 0.25), True, "−0.10 to +0.25"),
    ],
)  # fmt: skip
def test_values_in_print(value: object, signed: bool, text: str) -> None:
    assert value_text(value, signed) == text


def test_latex_knows_the_signs_of_our_tables_and_sorted_ones_repeat_names() -> None:
    rows = [{"Kind": "Uncertain: “possibly”, …", "ΔF1": -0.1}, {"Kind": "<0.001", "ΔF1": 0.1}]
    text = latex(Table("x", "Tab", "data", rows, signed=("ΔF1",)))
    # Plain, it would be printed as an inverted exclamation mark (OT1).
    assert r"$<$0.001 & +0.10 \\" in text
    assert r"Kind & $\Delta$F1 \\" in text
    assert r"Uncertain: ``possibly'', \ldots{} & $-$0.10 \\" in text
    assert Table("x", "T", "data", [{"A": "same"}] * 2, sortable=True).texts == [["same"], ["same"]]


def test_copies_of_a_model_in_the_studys_folder_are_a_table(tmp_path):
    cost = Cost(3 * 2**20, 2**30, 12.5)
    first = Copy("adapter", cost, 0, 0, 0, 9, 0, 0.8, (0.7, 0.9))
    other = Copy("gguf_Q4_0", Cost(2**20), 2, 1, 3, 10, 0, 0.75, (0.6, 0.8), -0.05, (-0.1, 0.02))
    write_json(tmp_path / "copies" / COPIES, Copies("multiple_choice", 1500, "gold.csv", [first, other]))
    (table,) = copies_tables(SimpleNamespace(run_dir=tmp_path))
    assert "1,500 reports" in table.title
    lines = markdown(table).splitlines()
    assert [cell.strip() for cell in lines[-1].split("|")[1:7]] == ["gguf_Q4_0", "2", "1", "3", "10", "0"]
    assert "−0.05" in lines[-1] and "0.80" in lines[-2]
