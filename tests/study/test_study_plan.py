from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refused

from radtune.config import InputError
from radtune.study.cells import Kind, rate_text
from radtune.study.check import check_files
from radtune.study.jobs import jobs_of, made_by
from radtune.study.made_from import Hashes, given_of
from radtune.study.plan import read_study, read_training, study_from_mapping


def test_cells_in_the_order_of_the_tables(study_values: dict) -> None:
    study = study_from_mapping(study_values)
    assert [cell.name for cell in study.cells] == [
        "base", "mix_100_50", "mix_200_100", "mix_400_200", "mix_600_300", "rule_labeler", "teacher",
        "lr_1e-4", "lr_3e-4", "lr_1e-3",
        "only_multiple_choice_100", "only_multiple_choice_300", "only_multiple_choice_500",
        "only_open_ended_200", "only_open_ended_600", "mix_200_100_stock", "constrained", "voted",
    ]  # fmt: skip
    mix, rate, alone = study.cell("mix_200_100"), study.cell("lr_3e-4"), study.cell("only_open_ended_600")
    assert (mix.kind, mix.rows, mix.total, mix.recipe) == (Kind.MIX, {"wcm": 200, "mimic": 100}, 300, "ours")
    assert mix.tests == study.cell("teacher").tests == ("multiple_choice", "open_ended")
    assert study.cell("rule_labeler").tests == ("multiple_choice",)
    assert (rate.rows_name, rate.learning_rate, rate.tests) == ("mimic_500", 3e-4, ("multiple_choice",))
    assert (alone.rows, alone.tests) == ({"wcm": 600}, ("open_ended",))
    assert study.cell("mix_200_100_stock").rows_name == mix.rows_name == "wcm_200_mimic_100"
    # What only a task of classes can be asked is asked of no other.
    assert [study.cell(name).tests for name in ("constrained", "voted")] == [("multiple_choice",), tuple(study.tests)]
    assert study.cell("voted").model == "mix_600_300"
    assert [cell.name for cell in study.cells if cell.recipe == "stock"] == ["mix_200_100_stock"]
    assert study.evaluation("base", "open_ended") == study.run_dir / "evaluations/base/open_ended/metrics.json"


def test_a_study_may_have_one_task_and_no_teacher(study_values: dict) -> None:
    values = {name: study_values[name] for name in ("name", "model_name", "config", "checkpoint_dir", "tests")}
    del values["tests"]["open_ended"]
    study = study_from_mapping(values)
    assert [cell.name for cell in study.cells] == ["base", "rule_labeler"]
    assert study.run_dir == Path("runs/made-up")


def test_tasks_cohorts_and_tests_of_ones_own(study_values: dict, tmp_path: Path) -> None:
    (tmp_path / "organs.yaml").write_text(
        "name: organs\ntitle: CT organs\nkind: classes\nclasses: [Liver lesion, Cyst]\n"
        "prompts: {inference: 'Which of {classes}?'}\n"
    )
    organs = str(tmp_path / "organs.yaml")
    values = {name: study_values[name] for name in ("name", "model_name", "config", "checkpoint_dir")} | {
        "cohorts": {
            "liver": {"task": organs, "labels": "labels.csv", "source": "table", "input": "x.csv"},
            "chest": {"task": "multiple_choice", "labels": "rules", "source": "table", "input": "y.csv"},
        },
        "tests": {
            "ct": {"task": organs, "reports": "r.jsonl", "gold": "g.csv"},
            "mesh": {
                "task": "multiple_choice", "title": "MeSH", "input": "$STUDY_DIR/r.csv", "gold": "${STUDY_DIR}/g.csv"
            },
        },
        "mixes": [[10, 0], {"chest": 20}],
        "separate": {"mesh": [5]},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_DIR", "given")
        study = study_from_mapping(values)
        patch.delenv("STUDY_DIR")
        with pytest.raises(InputError, match="environment variable STUDY_DIR is not set"):
            study_from_mapping(values)
        for name in ("OPENAI_API_KEY", "oc.env:HF_TOKEN"):
            patch.setenv(name.rpartition(":")[2], "hush")
            values["tests"]["mesh"]["input"] = f"${{{name}}}/r.csv"
            with pytest.raises(InputError, match="looks like a secret, and no path is one"):
                study_from_mapping(values)
    assert [cell.name for cell in study.cells] == ["base", "mix_10_0", "mix_0_20", "rule_labeler", "only_mesh_5"]
    assert study.cell("rule_labeler").tests == ("mesh",)
    assert [test.title for test in study.tests.values()] == ["CT organs", "MeSH"]
    assert (study.tests["mesh"].gold, study.tests["mesh"].source) == (
        Path("given/g.csv"), {"input": "given/r.csv", "source": "table"}
    )  # fmt: skip
    assert study.cell("only_mesh_5").rows == {"chest": 5}


def test_tests_of_one_title_are_told_apart(study_values: dict) -> None:
    study_values["tests"]["later"] = {"task": "open_ended", "source": "synthetic", "seed": 8}
    titles = [test.title for test in study_from_mapping(study_values).tests.values()]
    assert titles == ["Multiple choice", "Open ended, open_ended", "Open ended, later"]


def test_a_fold_of_a_test_is_no_fold_of_a_study(study_values: dict) -> None:
    study_values["tests"]["open_ended"]["fold"] = [1, 2]
    assert study_from_mapping(study_values)
    with pytest.raises(InputError, match=r"tests.open_ended.fold: a study with folds"):
        study_from_mapping(study_values | {"folds": 2})


def test_yaml_and_mapping_are_the_same_study(study_values: dict, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study_values, sort_keys=False).replace("0.0003", "3e-4"))
    read, given = read_study(path), study_from_mapping(study_values)
    assert (read.settings, read.cells) == (given.settings, given.cells)
    assert read_study(path, Path("elsewhere")).run_dir == Path("elsewhere")


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
        ("mixs", [[1, 2]], "unknown key 'mixs'; did you mean 'mixes'?"),
        ("tests.open_endd", {"gold": "x"}, "'open_endd' is none of"),
        ("separate.multiple", [1], "separate: unknown key 'multiple'"),
        ("name", "../up", "cannot name a folder"),
        ("name", "", "cannot name a folder"),
        ("run_dir", "runs/\x1b[31m", "cannot name a folder"),
        ("name", None, "name"),
        ("seed", "many", "seed"),
        ("seed", -1, "seed"),
        ("training", "theirs", "training"),
        ("run_dir", "runs/{x}", "snakemake takes the braces"),
        ("cohorts.wcm.task", None, "cohorts.wcm: missing required key: task"),
        ("cohorts.wcm.labels", "rules", "cohorts.wcm.labels: no rules label open_ended"),
        ("cohorts.wcm.labels", "nobody", "expected rules, teacher, a labeler or the path"),
        ("cohorts.wcm.source", "openi", "cohorts.wcm: a simulated teacher needs their gold, or synthetic reports"),
        ("cohorts.a b", {"task": "open_ended", "labels": "teacher"}, "cohorts.a b: letters, digits"),
        ("mixes", [[1, "x"]], "mixes: expected numbers of rows, or all"),
        ("mixes", [[1, 2, 3]], "mixes: [1, 2, 3] is not a number of rows for each of wcm, mimic"),
        ("mixes", [{"wcn": 1}], "mixes: unknown key 'wcn'; did you mean 'wcm'?"),
        ("mixes", [[0, 0]], "not all of them 0"),
        ("mixes", [[-1, 2]], "must be 0 or more"),
        ("mixes", [[100, 50], [100, 50]], "mix_100_50 stands twice"),
        ("learning_rates", [1e-4, 0.0001], "lr_1e-4 stands twice"),
        ("seeds", [1, 1], "seeds: one of them stands twice"),
        ("rule_tests", {"open_ended": {"gold": "x"}}, "rule_tests.open_ended: there is a test of this name"),
        ("tests.multiple_choice.gold_names", {"Effusion": "Fluid"}, "gold_names: expected a class of multiple_choice"),
        ("learning_rates", [0.0], "learning_rates"),
        ("learning_rates", [float("nan")], "learning_rates"),
        ("learning_rate_rows", [], "learning_rates and learning_rate_rows go together"),
        ("separate.open_ended", [0], "separate.open_ended"),
        ("inference_variants.voted.tests", ["all"], "inference_variants.voted.tests: unknown key 'all'"),
        ("tests.open_ended", {"reports": "x.jsonl"}, "tests.open_ended has no gold"),
        ("tests.open_ended", {"gold": 7}, "tests.open_ended has no gold, or gold is no path"),
        ("tests.open_ended.gold", "runs/other/gold.jsonl", "is written by the study, so it belongs in"),
        ("tests.open_ended.spelling", "lenient", "tests.open_ended.spelling: lenient is for tasks of classes"),
        ("tests", {"open_ended": {"gold": "x"}}, "separate: unknown key 'multiple_choice'"),
        ("teacher", {"simulated": "yes", "model": "x"}, "teacher.simulated is not true or false"),
        ("teacher", {"simulated": True}, "teacher has no model"),
        ("labelers", {"rules": {"title": "x", "labels": "x.csv"}}, "labelers.rules: a name of its own, and"),
        ("labelers", {"a": {"title": "x"}}, "labelers.a: a name of its own, and rules, alternatives or a file"),
        ("seeds", {"mix_1_2": [1]}, "seeds: unknown key 'mix_1_2'"),
        ("folds", 1, "folds: 2 or more"),
        ("cohorts.wcm.count", None, "cohorts.wcm.count: expected a whole number"),
        ("cohorts.wcm.input", ["a.csv"], "cohorts.wcm.input: expected a path"),
        ("tests.multiple_choice.gold_names", {"Edema": ["a"]}, "gold_names: expected a class of multiple_choice"),
        ("inference_variants.voted.tests", None, "inference_variants.voted.tests: expected a list"),
        ("teacher", {}, "cohorts.wcm: mix_100_50 needs a teacher"),
        ("config", {"mine": "x.yaml"}, "config: unknown key 'mine'"),
    ],
)
def test_mistakes_are_named(study_values: dict, where: str, value: object, message: str) -> None:
    with refused(message):
        study_from_mapping(change(study_values, where, value))


def places(values: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every value of a YAML, from its top."""
    yield at
    for name in values if isinstance(values, dict) else range(len(values)) if isinstance(values, list) else ():
        yield from places(values[name], (*at, name))


def replaced(values: object, at: tuple[str | int, ...], value: object) -> object:
    if not at:
        return value
    values = values.copy()
    values[at[0]] = replaced(values[at[0]], at[1:], value)
    return values


ODD = (None, 5, -1.5, True, "", "x", [], ["a"], [[1, 2], None], {}, {"a": {"b": [1]}}, float("nan"))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_odd_values_are_mistakes_or_mean_something(study_values: dict, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(list(places(study_values))[1:]))
    odd = replaced(study_values, place, data.draw(st.sampled_from(ODD)))
    with suppress(InputError):
        study = study_from_mapping(odd)
        jobs, hashes = jobs_of(study, read_training(study)), Hashes()
        for job in jobs.values():
            given_of(study, job, made_by(jobs), hashes)
        check_files(study, jobs)


STOCK = "batch_size: 2\ngradient_accumulation_steps: 4\nepochs: 3\ndevice: cuda\n"
MODEL = "model: {_component_: a.b, lora_attn_modules: [q_proj, v_proj], lora_rank: 8, lora_alpha: 16, vocab_size: 9}\n"


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (STOCK, [], None),
        (STOCK + MODEL, [], None),
        (STOCK + MODEL, ["model.lora_attn_modules=[q_proj,o_proj]"], "model: lora_attn_modules[1]: expected one of"),
        (STOCK + MODEL.replace("q_proj", "qkv_proj"), [], "lora_attn_modules[0]: expected one of q_proj, k_proj"),
        (STOCK + MODEL, ["model.lora_attn_modules=[]"], "lora_attn_modules names none"),
        (None, [], "recipe.yaml: No such file"),
        ("a: [1\n", [], "recipe.yaml:2: not valid YAML"),
        ("epochs: 1\n", [], "batch_size is None, expected a whole number above 0"),
        (STOCK, ["batch_size"], "is not key=value"),
        (STOCK + "checkpointer: {checkpoint_dir: other}\n", [], "trains other (checkpointer.checkpoint_dir), not data"),
        (STOCK, ["epochs=many"], "epochs is 'many'"),
        (STOCK, ["epochs=0"], "epochs is 0"),
        (STOCK, ["loss.tversky=1"], "recipe.yaml has no 'loss.tversky', and torchtune's recipes would pass over it"),
        (STOCK, ["epochs.most=1"], "recipe.yaml has no 'epochs.most'"),
        (f"extends: {Path('configs/mini/lora_single_device.yaml').resolve()}\n", [], "do not know extends"),
        (STOCK, ["batch_size=true"], "batch_size is True"),
        (STOCK, ["gradient_accumulation_steps=100"], "mix_100_50: 150 rows do not fill one optimizer step of 200"),
    ],
)
def test_what_cannot_be_trained_is_told_before(
    few_values: dict, tmp_path: Path, text: str | None, overrides: list[str], message: str | None
) -> None:
    recipe = tmp_path / "recipe.yaml"
    if text is not None:
        recipe.write_text(text)
    values = few_values | {"training": "stock", "config": str(recipe), "overrides": overrides}
    if message is None:
        found = read_training(study_from_mapping(values))["stock"]
        assert (found.epochs, found.on_gpu) == (3, True)
        return
    with refused(message):
        read_training(study_from_mapping(values))


def test_both_recipes_have_their_own_yaml(study_values: dict) -> None:
    found = read_training(study_from_mapping(study_values | {"overrides": {"stock": ["epochs=2"]}}))
    assert {recipe: training.epochs for recipe, training in found.items()} == {"ours": 1, "stock": 2}
    with pytest.raises(InputError, match="no YAML for the stock recipe"):
        read_training(study_from_mapping(study_values | {"config": "configs/mini/lora_fast.yaml"}))


@given(st.integers(1, 9999), st.integers(-9, 0))
def test_rate_text_reads_back(digits: int, exponent: int) -> None:
    rate = float(f"{digits}e{exponent}")
    assert float(rate_text(rate)) == rate
