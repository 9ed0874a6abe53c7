import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from radtune.config import InputError
from radtune.study import paths
from radtune.study.formats import latex, markdown, plain_text, printed_rows, value_text, write_table
from radtune.study.plan import Kind, Study, study_from_mapping
from radtune.study.reported import Reported, read_reported
from radtune.study.results import Results, read_results
from radtune.study.score_tables import score_table
from radtune.study.table import Column, Table
from radtune.study.tables import all_tables
from radtune.tasks.legacy import TASK_NAMES


@pytest.fixture(scope="module")
def results(scored_study: Study) -> Results:
    return read_results(scored_study)


@pytest.fixture(scope="module")
def reported() -> Reported:
    return read_reported()


def test_reported_numbers_agree_with_each_other(reported: Reported) -> None:
    for table in reported.tables.values():
        for row in table.rows:
            f1 = 2 * row.precision * row.recall / (row.precision + row.recall)
            assert row.f1 == pytest.approx(f1, abs=0.0101), row
    assert set(reported.tables) == set(TASK_NAMES)
    assert max(row.f1 for row in reported.tables["multiple_choice"].rows if row.kind == Kind.MIX) == 0.67
    assert max(row.f1 for row in reported.tables["open_ended"].rows if row.kind == Kind.MIX) == 0.91


def test_score_table_has_the_paper_beside_what_it_also_ran(results: Results, reported: Reported) -> None:
    table = score_table(results, reported, "multiple_choice")
    assert table.name == "table_3"
    by_label = {(row[0], row[1]): row for row in table.rows}
    assert by_label["mini Llama", 0][-4:-1] == [0.46, 0.65, 0.54]
    assert by_label["mini Llama", 300][-4:] == [None] * 4
    assert by_label["Rule labeler", "-"][-4:-1] == [0.82, 0.51, 0.63]
    teacher = by_label["GPT4-o (simulated)", "-"]
    assert teacher[-4:-1] == [0.83, 0.89, 0.86]
    micro = results.metrics["teacher", "multiple_choice"].micro
    assert teacher[4:8] == [micro.precision, micro.recall, micro.f1, micro.ci95["f1"]]
    assert teacher[-1] == pytest.approx(micro.f1 - 0.86)


def test_paper_tables_stand_whole_beside_other_sizes(results: Results, reported: Reported, study_values: dict) -> None:
    assert "table_3_paper" in [table.name for table in all_tables(results, reported)]
    study_values |= {"mixes": [[5000, 2500], [6000, 3000]], "cohorts": {"wcm": {"source": "synthetic"}, "mimic": {}}}
    paper_sizes = read_results(study_from_mapping(study_values))
    tables = {table.name: table for table in all_tables(paper_sizes, reported)}
    assert "table_3_paper" not in tables
    assert tables["table_3"].rows[1][-4:-1] == [0.61, 0.72, 0.66]
    # Table 4 of the paper has no such row.
    assert tables["table_4"].rows[1][-4:-1] == [None, None, None]
    assert tables["table_4"].rows[2][-2] == 0.91


def test_missing_cells_are_shown(
    study_values: dict, few_values: dict, reported: Reported, score: Callable[..., None]
) -> None:
    nothing = all_tables(read_results(study_from_mapping(study_values)), reported)
    assert [table.name for table in nothing] == [
        "table_1", "table_3", "table_3_paper", "table_4", "table_4_paper", "figure_3", "figure_4", "cells",
    ]  # fmt: skip
    study = study_from_mapping(few_values)
    score(study, skip=("mix_200_100", "base"))
    table = score_table(read_results(study), reported, "open_ended")
    assert [row[4] == "missing" for row in table.rows] == [True, False, True, False]


def test_scores_of_another_task_are_refused(few_values: dict, score: Callable[..., None]) -> None:
    study = study_from_mapping(few_values)
    score(study, skip=("mix_100_50", "mix_200_100", "teacher", "rule_labeler"))
    base = read_results(study).cells[0]
    other = paths.metrics(study, base, "open_ended").read_bytes()
    paths.metrics(study, base, "multiple_choice").write_bytes(other)
    with pytest.raises(InputError, match="scores of task 'open_ended', expected 'multiple_choice'"):
        read_results(study)


def test_class_table_marks_classes_that_do_not_occur(results: Results, reported: Reported) -> None:
    table = next(table for table in all_tables(results, reported) if table.name == "classes")
    assert len(table.rows) == 13
    assert [column.title for column in table.columns[2:]] == [
        "Base model", "Best mix (600 + 300)", "Rule labeler", "GPT4-o (simulated)",
    ]  # fmt: skip
    assert table.rows[0][2] == results.metrics["base", "multiple_choice"].per_class["Atelectasis"].f1


TABLE = Table(
    "small",
    "A_title & 95 %",
    [
        Column("model", "Model", text=True),
        Column("n", "Rows", "Data"),
        Column("f1", "F1"),
        Column("ci", "CI", interval=True),
    ],
    [["a|b", 1500, 0.666, (0.6, 0.7)], ["a|b", 3000, "missing", None]],
)


def test_formats(tmp_path: Path) -> None:
    write_table(tmp_path, TABLE)
    with open(tmp_path / "small.csv", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["model", "n", "f1", "ci_low", "ci_high"]
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
    lines = plain_text(TABLE).splitlines()
    assert lines[2:] == [
        "Model   Rows       F1         CI",
        "a|b    1,500     0.67  0.60–0.70",
        "       3,000  missing",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (13500, "13,500"), (0.666, "0.67"), (1.0, "1.00"), ((0.5, 0.75), "0.50–0.75"), ("-", "-")],
)
def test_values_in_print(value: object, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize("broken", [{"tables": {}}, [], {"source": "x", "figures": [], "tables": {"a": {"rows": []}}}])
def test_a_broken_reported_file_is_refused(tmp_path: Path, broken: object) -> None:
    path = tmp_path / "reported.yaml"
    path.write_text(yaml.safe_dump(broken))
    with pytest.raises(InputError, match="not in the form of"):
        read_reported(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "+0.10"),
        (-0.35, "−0.35"),
        (-0.004, "0.00"),
        (0.004, "0.00"),
        (-0.006, "−0.01"),
        (None, ""),
        ((-0.1, 0.25), "−0.10 to +0.25"),
    ],
)
def test_differences_have_their_sign(value: object, text: str) -> None:
    assert value_text(value, signed=True) == text


def test_latex_knows_the_signs_of_our_tables() -> None:
    columns = [Column("kind", "Kind", text=True), Column("d", "ΔF1", signed=True)]
    text = latex(Table("x", "Tab", columns, [["Uncertain: “possibly”, …", -0.1], ["<0.001", 0.1]]))
    # Plain, it would be printed as an inverted exclamation mark (OT1).
    assert r"$<$0.001 & +0.10 \\" in text
    assert r"Kind & $\Delta$F1 \\" in text
    assert r"Uncertain: ``possibly'', \ldots{} & $-$0.10 \\" in text
    assert text.isascii()


def test_all_tables_are_ascii_in_latex_and_rows_fit_columns(results: Results, reported: Reported) -> None:
    tables = all_tables(results, reported)
    assert {"table_1", "table_3", "table_4", "table_5", "table_6", "figure_3", "figure_4", "comparisons"} <= {
        table.name for table in tables
    }
    for table in tables:
        assert latex(table).isascii(), table.name
        assert all(len(row) == len(table.columns) for row in table.rows), table.name
        assert len({column.name for column in table.columns}) == len(table.columns), table.name


def test_sortable_tables_repeat_every_name() -> None:
    table = Table("x", "T", [Column("a", "A", text=True)], [["same"], ["same"]], sortable=True)
    assert printed_rows(table) == [["same"], ["same"]]
