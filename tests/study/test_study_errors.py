from pathlib import Path

import pytest

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.score.errors import ErrorKind, LabelError, write_errors
from radtune.study import paths
from radtune.study.error_tables import MOST_LISTED, class_error_table, error_list, error_table, wording_table
from radtune.study.errors import KIND_TITLES, read_errors, shown_errors
from radtune.study.plan import Study, study_from_mapping
from radtune.study.reported import read_reported
from radtune.study.results import Results, read_results
from radtune.tasks import open_ended

ERRORS = [
    LabelError("1", "fp", "left basal opacity", ErrorKind.DESCRIPTION, "opacity at left base", "Opacity at left base."),
    LabelError("1", "fn", "opacity at left base", ErrorKind.DESCRIPTION, "left basal opacity", "Opacity at left base."),
    LabelError("2", "fn", "large heart", ErrorKind.PARAPHRASE, "cardiomegaly", "The heart is large."),
    LabelError("2", "fp", "possible edema", ErrorKind.UNCERTAIN, None, "Possible edema."),
    LabelError("3", "fp", "possible edema", ErrorKind.UNCERTAIN, None, "Possible edema."),
    LabelError("3", "fp", "possible mass", ErrorKind.UNCERTAIN, None, "Possible mass."),
    LabelError("4", "fn", "old fracture", ErrorKind.MISSED, None, "Old  fracture."),
]  # fmt: skip


@pytest.fixture
def results(few_values: dict, scored_study: Study) -> Results:
    """A study whose only mix made these errors; its scores are borrowed."""
    study = study_from_mapping(few_values | {"mixes": [[200, 100]], "show_text": True})
    mix = read_results(study).cells[1]
    folder = paths.evaluation_dir(study, mix, open_ended.NAME)
    folder.mkdir(parents=True)
    borrowed = paths.evaluation_dir(scored_study, mix, open_ended.NAME) / "metrics.json"
    (folder / "metrics.json").write_bytes(borrowed.read_bytes())
    write_errors(folder / "errors.jsonl", ERRORS, show_text=True)
    return read_results(study)


def test_table_5_counts_by_side_and_kind_beside_the_paper(results: Results) -> None:
    table = error_table(results, read_reported())
    assert table.title == "Table 5: open-ended errors of mini Llama, fine-tuned on 200 + 100"
    assert table.rows == [
        ["False positive", "Paraphrase, see Table 6", 1, 1 / 7, 10, "left basal opacity"],
        ["False positive", KIND_TITLES[ErrorKind.UNCERTAIN], 3, 3 / 7, 18, "possible edema"],
        ["False positive", KIND_TITLES[ErrorKind.NOT_IN_GOLD], 0, 0.0, 1, None],
        ["False negative", "Paraphrase, see Table 6", 2, 2 / 7, None, "opacity at left base"],
        ["False negative", KIND_TITLES[ErrorKind.MISSED], 1, 1 / 7, 22, "old fracture"],
    ]


def test_table_6_gives_reasons_with_generated_label_before_gold(results: Results) -> None:
    assert wording_table(results).rows == [
        ["Misspelling", 0, 0, None, None],
        ["Device, place or side described differently", 1, 1, "left basal opacity", "opacity at left base"],
        ["Conjunction split or joined", 0, 0, None, None],
        ["Other paraphrase", 0, 1, "cardiomegaly", "large heart"],
    ]


def test_list_has_every_error_and_its_sentence(results: Results) -> None:
    table = error_list(results)
    assert len(table.rows) == len(ERRORS) < MOST_LISTED
    assert table.rows[-1][1:] == ["4", "FN", "Missed", "old fracture", None, "Old fracture."]
    assert class_error_table(results).rows == []


def test_without_leave_no_phrase_is_shown(results: Results) -> None:
    results.study.show_text = False
    shown = [error_table(results, read_reported()), wording_table(results), error_list(results)]
    texts = {text for error in ERRORS for text in (error.label, error.other, error.sentence) if text}
    assert not texts & {value for table in shown for row in table.rows for value in row}
    assert all(len(row) == len(table.columns) for table in shown for row in table.rows)


def test_a_study_without_mixes_shows_the_base_models_errors(scored_study: Study) -> None:
    every = read_results(scored_study)
    base = Results(every.study, every.cells[:1], every.metrics)
    cell, errors = shown_errors(base, "multiple_choice") or (None, [])
    assert cell == every.cells[0]
    assert len(errors) == sum(sum(kinds.values()) for kinds in counts_of(base).values())


def test_names_that_a_model_makes_up_are_text(results: Results) -> None:
    write_made_up_name(results)
    table = error_list(results)
    assert [row[4] for row in table.rows if row[0] == "Multiple choice"] == ["chest tube of Mr X", "Edema"]
    results.study.show_text = False
    table = error_list(results)
    assert [row[4] for row in table.rows if row[0] == "Multiple choice"] == ["another name", "Edema"]
    assert {row[4] for row in class_error_table(results).rows} == {"another name", "Edema"}


def write_made_up_name(results: Results) -> None:
    mix = results.cells[1]
    folder = paths.evaluation_dir(results.study, mix, "multiple_choice")
    folder.mkdir(parents=True)
    errors = [LabelError("1", "fp", "chest tube of Mr X", ErrorKind.NOT_IN_REPORT)]
    write_errors(folder / "errors.jsonl", [*errors, LabelError("1", "fn", "Edema", ErrorKind.MISSED)], show_text=True)
    results.metrics[mix.name, "multiple_choice"] = results.metrics[mix.name, "open_ended"]


def counts_of(results: Results) -> dict[str, dict[str, int]]:
    table = class_error_table(results)
    return {str(row[0]): {str(r[1]): int(str(r[2])) for r in table.rows if r[0] == row[0]} for row in table.rows}


@pytest.mark.parametrize(
    "row",
    [
        {"report_id": "1", "side": "fp"},
        {"report_id": "1", "side": "fp", "kind": "boredom"},
        {"report_id": "1", "side": "fp", "kind": "missed", "label": 3},
    ],
)
def test_a_broken_errors_file_is_refused(tmp_path: Path, row: dict) -> None:
    path = tmp_path / "errors.jsonl"
    write_jsonl(path, [{"report_id": "1", "side": "fn", "kind": "missed", "label": "x"}, row])
    with pytest.raises(InputError, match=r"errors.jsonl:2: not an error of this version"):
        read_errors(path)
