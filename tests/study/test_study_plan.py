from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.study import paths
from radtune.study.plan import Kind, Study, cells, opponents, rate_text, read_study, study_from_mapping


def test_cells_in_the_order_of_the_tables(study_values: dict) -> None:
    study = study_from_mapping(study_values)
    planned = cells(study)
    assert [cell.name for cell in planned] == [
        "base", "mix_100_50", "mix_200_100", "mix_400_200", "mix_600_300", "rule_labeler", "teacher",
        "lr_1e-4", "lr_3e-4", "lr_1e-3",
        "only_multiple_choice_100", "only_multiple_choice_300", "only_multiple_choice_500",
        "only_open_ended_200", "only_open_ended_600",
    ]  # fmt: skip
    by_name = {cell.name: cell for cell in planned}
    mix = by_name["mix_200_100"]
    assert (mix.kind, mix.wcm, mix.mimic, mix.total) == (Kind.MIX, 200, 100, 300)
    assert (mix.rows("open_ended"), mix.rows("multiple_choice")) == (200, 100)
    assert mix.tasks == by_name["teacher"].tasks == ("multiple_choice", "open_ended")
    assert by_name["rule_labeler"].tasks == ("multiple_choice",)
    assert (by_name["lr_3e-4"].mimic, by_name["lr_3e-4"].wcm, by_name["lr_3e-4"].learning_rate) == (500, 0, 3e-4)
    assert (by_name["only_open_ended_600"].wcm, by_name["only_open_ended_600"].tasks) == (600, ("open_ended",))
    assert paths.metrics(study, mix, "open_ended") == study.run_dir / "evaluations/mix_200_100/open_ended/metrics.json"


def test_only_mixes_are_compared_and_rules_only_where_they_can_answer(study_values: dict) -> None:
    by_name = {cell.name: cell for cell in cells(study_from_mapping(study_values))}
    assert opponents(by_name["mix_200_100"], "multiple_choice") == ["base", "rule_labeler"]
    assert opponents(by_name["mix_200_100"], "open_ended") == ["base"]
    assert all(opponents(cell, task) == [] for cell in by_name.values() for task in cell.tasks if cell.kind != Kind.MIX)


def test_a_study_may_have_one_task_and_no_teacher(study_values: dict) -> None:
    for name in ("teacher", "mixes", "learning_rates", "learning_rate_rows", "separate", "cohorts", "run_dir"):
        del study_values[name]
    del study_values["tests"]["open_ended"]
    study = study_from_mapping(study_values)
    assert [cell.name for cell in cells(study)] == ["base", "rule_labeler"]
    assert study.run_dir == Path("runs/made-up")


def test_yaml_and_mapping_are_the_same_study(study_values: dict, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study_values))
    assert read_study(path) == study_from_mapping(study_values)
    # PyYAML reads a bare 3e-4 as a string.
    path.write_text(path.read_text().replace("0.0003", "3e-4"))
    assert read_study(path) == study_from_mapping(study_values)


def change(values: dict, where: str, value: object) -> dict:
    *folders, name = where.split(".")
    inner = values
    for folder in folders:
        inner = inner[folder]
    inner[name] = value
    return values


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("mixs", [[1, 2]], "study: unknown key 'mixs'; did you mean 'mixes'?"),
        ("cohorts.mimc", {}, "study: unknown key 'mimc'; did you mean 'mimic'?"),
        ("tests.open_endd", {"gold": "x"}, "study: unknown key 'open_endd'; did you mean 'open_ended'?"),
        ("separate.multiple", [1], "study: unknown key 'multiple'"),
        ("name", "../up", "cannot name a folder"),
        ("name", None, "name"),
        ("seed", "many", "seed: Value 'many'"),
        ("seed", -1, "seed must be 0 or more"),
        ("labels", {"wcm": "x.csv"}, "unknown key 'wcm'"),
        ("cohorts.wcm.source", "openi", "needs phrases that a simulated teacher has for synthetic reports alone"),
        ("learning_rates", [float("nan")], "must be above 0"),
        ("learning_rates", [float("inf")], "must be above 0"),
        ("mixes", [[1, "x"]], "mixes[0][1]: Value 'x'"),
        ("mixes", [[1, 2, 3]], "mixes: [1, 2, 3] is not a pair"),
        ("mixes", [[0, 0]], "mixes: [0, 0] is not a pair"),
        ("mixes", [[100, 50], [100, 50]], "mix_100_50 stands twice"),
        ("mixes", [[601, 0]], "mix_601_0 needs 601 wcm reports, cohorts.wcm.count is 600"),
        ("learning_rates", [1e-4, 0.0001], "lr_1e-4 stands twice"),
        ("learning_rates", [0.0], "must be above 0"),
        ("learning_rate_rows", 0, "learning_rates and learning_rate_rows go together"),
        ("separate.open_ended", [0], "must be above 0"),
        ("tests.open_ended", {"reports": "x.jsonl"}, "tests.open_ended has no gold"),
        ("tests.open_ended", {"gold": "x", "gold_blank": "skip"}, "gold_blank is not one of negative, ignore"),
        ("tests.open_ended", {"gold": 7}, "tests.open_ended.gold is no path"),
        ("tests.multiple_choice.gold_rule", "xor", "gold_rule is not one of union, intersection"),
        ("tests.multiple_choice.spelling", "loose", "spelling is not one of strict, lenient"),
        ("tests.open_ended.spelling", "lenient", "tests.open_ended.spelling: lenient is for multiple_choice"),
        ("tests.open_ended.gold_blank", "ignore", "tests.open_ended.gold_blank: ignore is for multiple_choice"),
        ("name", "", "cannot name a folder"),
        ("run_dir", "runs/{x}", "snakemake takes the braces"),
        ("tests", {"open_ended": {"gold": "x"}}, "unknown key 'multiple_choice'"),
        ("teacher", {"simulated": "yes", "model": "x"}, "teacher.simulated is not true or false"),
        ("teacher", {"simulated": True}, "teacher has no model"),
        ("teacher", {}, "needs a teacher to label wcm reports"),
        ("cohorts", {"wcm": {"source": "synthetic"}}, "needs cohorts.mimic"),
    ],
)
def test_mistakes_are_named(study_values: dict, where: str, value: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        study_from_mapping(change(study_values, where, value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_keys_are_named(study_values: dict) -> None:
    del study_values["config"], study_values["tests"]
    with pytest.raises(InputError, match="missing required key: config, tests"):
        study_from_mapping(study_values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "expected a mapping"),
        ("a: [", "study.yaml:1: not valid YAML"),
        ("a: 1\na: 2", "study.yaml:2: not valid"),
    ],
)
def test_broken_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_study(path)


@given(st.integers(1, 9999), st.integers(-9, 0))
def test_rate_text_reads_back(digits: int, exponent: int) -> None:
    rate = float(f"{digits}e{exponent}")
    assert float(rate_text(rate)) == rate


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), unique=True), st.lists(st.integers(1, 99), unique=True)
)
def test_cell_names_are_unique_and_safe(mixes: list[tuple[int, int]], sizes: list[int]) -> None:
    study = Study(
        name="x", model_name="x", config=Path("x"), checkpoint_dir=Path("x"), tests={"multiple_choice": {}},
        mixes=[list(mix) for mix in mixes], separate={"multiple_choice": sizes},
    )  # fmt: skip
    names = [cell.name for cell in cells(study)]
    assert len(set(names)) == len(names)
    assert all(name.replace("_", "").replace("-", "").isalnum() for name in names)
