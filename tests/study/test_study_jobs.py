"""What a study's results are made from: a change makes stale what depends on it, and nothing else."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from refusals import refused

from radtune.config import InputError, parse_config
from radtune.files import write_jsonl
from radtune.study import jobs as jobs_module
from radtune.study import made_from as module
from radtune.study.cells import Kind
from radtune.study.check import check_files, check_name, check_study, parameters_of
from radtune.study.jobs import ADAPTER, jobs_of, made_by
from radtune.study.made_from import Hashes, fingerprint, given_of, stale, stamp_path
from radtune.study.plan import Study, opponents, read_study, read_training, study_from_mapping
from radtune.study.results import read_reported
from radtune.study.tables import dataset_table
from scripts.study_step import schemas

DIFFERENTIAL = ("differential", "differential_smollm2", "differential_8b")
ENSEMBLES = ("ensemble", "ensemble_random", "ensemble_shared", "ensemble_ways", "ensemble_openi", "ensemble_smollm2")


def made_from(study: Study) -> dict[str, dict]:
    jobs = jobs_of(study, read_training(study))
    hashes = Hashes()
    return {name: given_of(study, job, made_by(jobs), hashes) for name, job in jobs.items()}


def made_anew(before: Study, after: Study) -> set[str]:
    """The jobs of a study whose results, before it was changed, are not those that it would make now."""
    jobs, old, new = jobs_of(after, read_training(after)), made_from(before), made_from(after)
    found = {name for name in jobs if name not in old or fingerprint(old[name]) != fingerprint(new[name])}
    while more := {
        name for name, job in jobs.items()
        if name not in found and {*job.reads} & {path for other in found for path in jobs[other].outputs}
    }:  # fmt: skip
        found |= more
    return found


def test_paper_study_has_every_cell_by_its_recipe() -> None:
    study = read_study(Path("configs/study/paper.yaml"))
    assert len(study.cells) == 23
    found = jobs_of(study, read_training(study))
    trained = [cell for cell in study.cells if cell.trained]
    wanted = {f"train/{cell.name}" for cell in trained} | {f"build_instructions/{cell.rows_name}" for cell in trained}
    wanted |= {f"evaluate/{cell.name}/{test}" for cell, test in study.scores}
    wanted |= {f"compare/{cell.name}/{test}/{o}" for cell, test in study.scores for o in opponents(study, cell, test)}
    wanted |= {f"{job}/{test}" for job in ("annotate_test", "predict/base", "prepare_test") for test in study.tests}
    assert wanted <= set(found)
    # The exact run is torchtune's recipe; one cell is trained by ours.
    assert [cell.name for cell in trained if cell.recipe == "ours"] == ["mix_6000_3000_ours"]
    assert "lora_finetune_single_device" in found["train/mix_6000_3000"].words()
    with pytest.raises(InputError, match=r"no such file: .*negbio.csv.gz.*, data/wcm/notes.csv, .*reports.zip$"):
        check_files(study, found)


@pytest.mark.parametrize("name", ["mini", "openi", "openi_smollm2", "cmc_smollm2", *ENSEMBLES, *DIFFERENTIAL])
def test_a_shipped_study_has_a_job_for_every_score(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENI_DIR", "CMC_DIR"):
        monkeypatch.setenv(variable, "data")
    study = read_study(Path(f"configs/study/{name}.yaml"))
    jobs = jobs_of(study, read_training(study))
    for cell, test in study.scores:
        job = jobs[f"evaluate/{cell.name}/{test}"]
        assert study.evaluation(cell.name, test) in job.outputs
        # All that it reads is given, or made by another job.
        assert not [path for path in job.reads if study.run_dir in path.parents and path not in made_by(jobs)]
    labelled = [test for cell, test in study.scores if cell.kind == Kind.RULE_LABELER]
    assert bool(labelled) == (name != "cmc_smollm2")
    if name == "openi":
        # Both golds are of the same reports, which are labelled once.
        assert "alternatives=positive" in jobs["label_test_by_rules/mesh/either"].words()
        answers = study.predictions("either", "nih")
        assert study.predictions("either", "mesh") == answers != study.predictions("rule_labeler", "nih")


def one_rate_more(study: dict) -> set[str]:
    """Its rows are those of the other rates."""
    study["learning_rates"] = [*study["learning_rates"], 3e-3]
    return {"train/lr_3e-3", "predict/lr_3e-3/multiple_choice", "evaluate/lr_3e-3/multiple_choice"}


def one_mix_less(study: dict) -> set[str]:
    del study["mixes"][1]
    return set()


def other_variant(study: dict) -> set[str]:
    study["inference_variants"]["votes"]["samples"] = 3
    last = "_".join(map(str, ("mix", *study["mixes"][-1])))
    names = ("predict/votes/multiple_choice", "evaluate/votes/multiple_choice")
    return {*names, f"compare/votes/multiple_choice/{last}"}


def balanced(study: dict) -> set[str]:
    """Every row and whatever learns from it is another; reports, labels and what learns nothing stay."""
    study["balance"] = True
    planned = study_from_mapping(study)
    learnt = [cell for cell in planned.cells if cell.cohorts]
    return {
        *(f"train/{cell.name}" for cell in learnt if cell.trained),
        *(f"build_instructions/{cell.rows_name}" for cell in learnt),
        *(f"{rule}/{cell.name}/{test}" for cell in learnt for test in cell.tests for rule in ("predict", "evaluate")),
        *(f"compare/{c.name}/{test}/{o}" for c in learnt for test in c.tests for o in opponents(planned, c, test)),
    }


def other_teacher(study: dict) -> set[str]:
    """It labelled the wcm rows, so whatever was not trained on them stays."""
    study["teacher"]["drop"] = 0.2
    planned = study_from_mapping(study)
    redone = {"annotate_cohort/wcm", "annotate_test/multiple_choice", "annotate_test/open_ended"}
    for cell, test in planned.scores:
        if cell.rows.get("wcm") or cell.kind == Kind.TEACHER:
            redone |= {f"evaluate/{cell.name}/{test}"} if cell.kind == Kind.TEACHER else {
                f"predict/{cell.name}/{test}", f"evaluate/{cell.name}/{test}"
            }  # fmt: skip
            redone |= {f"compare/{cell.name}/{test}/{other}" for other in opponents(planned, cell, test)}
        if cell.rows.get("wcm") and cell.trained:
            redone |= {f"build_instructions/{cell.rows_name}", f"train/{cell.name}"}
    return redone


@pytest.mark.parametrize("change", [one_rate_more, one_mix_less, other_variant, balanced, other_teacher])
def test_a_change_redoes_only_what_depends_on_it(change: Callable[[dict], set[str]]) -> None:
    values = yaml.safe_load(Path("configs/study/mini.yaml").read_text())
    before = study_from_mapping(yaml.safe_load(Path("configs/study/mini.yaml").read_text()))
    wanted = change(values)
    assert made_anew(before, study_from_mapping(values)) == wanted


@pytest.fixture
def own(tmp_path: Path) -> dict:
    """A study of a table that holds its gold, another with labels, and a task and a recipe of its own."""
    for name in ("chest", "gold"):
        rows = "".join(f"{i},Small effusion number {i}.,Edema\n" for i in range(8))
        (tmp_path / f"{name}.csv").write_text(f"NOTE,Text,labels\n{rows}")
    task = yaml.safe_load(Path("configs/tasks/multiple_choice.yaml").read_text()) | {"name": "own_task"}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    (tmp_path / "train.yaml").write_text(Path("configs/mini/lora_fast.yaml").read_text())
    (tmp_path / "train.yml").write_text("extends: train.yaml\n")
    columns = {"id_column": "NOTE", "text_column": "Text"}
    part = {"task": str(tmp_path / "task.yaml"), "source": "table", **columns}
    labels = {"labels": str(tmp_path / "chest.csv"), "input": str(tmp_path / "chest.csv")}
    gold = {"gold": str(tmp_path / "gold.csv"), "gold_column": "labels", "input": str(tmp_path / "gold.csv")}
    return {
        "name": "own", "model_name": "m", "checkpoint_dir": "data/mini", "config": str(tmp_path / "train.yml"),
        "run_dir": str(tmp_path / "run"), "cohorts": {"notes": part | labels}, "tests": {"curated": part | gold},
        "mixes": [[8]],
    }  # fmt: skip


SCORES = {f"evaluate/{cell}/curated" for cell in ("base", "mix_8", "rule_labeler")}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def moved(values: dict, folder: Path) -> None:
    (folder / "gold.csv").rename(folder / "curated.csv")
    values["tests"]["curated"] |= dict.fromkeys(("gold", "input"), str(folder / "curated.csv"))


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (lambda v, f: [path.touch() for path in f.iterdir()], None),
        (moved, None),
        (lambda v, f: edit(f / "train.yaml", "seed: 0", "# a word more\nseed: 0"), None),
        (lambda v, f: edit(f / "gold.csv", "number 3.,Edema", "number 3.,"), "evaluate"),
        (lambda v, f: edit(f / "gold.csv", "number 3", "number three"), "prepare_test"),
        (lambda v, f: edit(f / "chest.csv", "number 3.,Edema", "number 3.,Fracture"), "build_instructions"),
        (lambda v, f: edit(f / "train.yaml", "lora_rank: 8", "lora_rank: 4"), "train"),
        (lambda v, f: edit(f / "task.yaml", "training:", "labelling: Say.\n  training:"), "build_instructions"),
    ],
    ids=["touched", "moved", "comment", "one gold label", "one test report", "one weak label", "rank", "prompt"],
)  # fmt: skip
def test_content_decides_not_time_or_place(own: dict, tmp_path: Path, change: Callable, first: str | None) -> None:
    before = made_from(study_from_mapping(own))
    change(own, tmp_path)
    study = study_from_mapping(own)
    after = made_from(study)
    changed = {name for name in after if fingerprint(before[name]) != fingerprint(after[name])}
    assert bool(changed) == (first is not None)
    assert first is None or any(name.startswith(first) for name in changed)
    if first == "evaluate":
        assert {name for name in changed if not name.startswith("compare")} == SCORES
    assert not any(name.startswith("train/") for name in changed) or first == "train"


def test_a_teacher_whose_weights_are_replaced_is_asked_anew(own: dict, tmp_path: Path) -> None:
    (weights := tmp_path / "teacher" / "model.safetensors").parent.mkdir()
    weights.write_bytes(b"one")
    own |= {"teacher": {"model": "x", "engine": "torchtune", "checkpoint_dir": str(weights.parent)}}
    before = made_from(study_from_mapping(own))
    weights.write_bytes(b"another")
    after = made_from(study_from_mapping(own))
    assert {job for job in after if fingerprint(before[job]) != fingerprint(after[job])} == {"annotate_test/curated"}


def test_an_image_that_is_replaced_is_asked_about_anew(own: dict, tmp_path: Path) -> None:
    for name in ("a", "b", "example"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    (tmp_path / "images.csv").write_text("NOTE,Text,images\n1,Edema.,a.png\n2,Clear.,b.png\n")
    write_jsonl(tmp_path / "e.jsonl", [{"example_id": "e", "images": ["example.png"], "labels": [], "fixed": True}])
    task = yaml.safe_load(Path("configs/tasks/radiograph.yaml").read_text()) | {"name": "shown"}
    task |= {"examples": {"file": "e.jsonl", "shown": 1}}
    (tmp_path / "shown.yaml").write_text(yaml.safe_dump(task).replace("{guidelines}", "{guidelines} {examples}"))
    shown = {"task": str(tmp_path / "shown.yaml"), "gold": str(tmp_path / "images.csv")}
    table = {"source": "table", "input": str(tmp_path / "images.csv"), "id_column": "NOTE", "text_column": "Text"}
    own |= {"teacher": {"model": "x"}, "tests": own["tests"] | {"drawn": shown | table}}
    before = made_from(study_from_mapping(own))
    for name in ("b", "example"):
        (tmp_path / f"{name}.png").write_bytes(b"another")
        after = made_from(study_from_mapping(own))
        assert {job for job in after if fingerprint(before[job]) != fingerprint(after[job])} == {"annotate_test/drawn"}
        before = after


def test_what_is_stale_is_said_with_what_has_changed(
    own: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_from_mapping(own)
    for name, made in made_from(study).items():
        stamp_path(study, name).parent.mkdir(parents=True, exist_ok=True)
        stamp_path(study, name).write_text(json.dumps(made | {"made": {}}))
    assert stale(study, made_from(study)) == []
    edit(tmp_path / "task.yaml", "training:", "labelling: Say.\n  training:")
    (line,) = stale(study, made_from(study))
    assert line.startswith(f"{tmp_path}/task.yaml: changed since")
    assert "predict/base/curated" in line
    edit(tmp_path / "task.yaml", "labelling: Say.\n  training:", "training:")
    versions = module.package_versions()
    monkeypatch.setattr(module, "package_versions", lambda: versions | {"torchtune": "9.9"})
    (line,) = stale(study, made_from(study))
    assert line.startswith(f"torchtune {versions['torchtune']} to 9.9: changed since 3 results were made")
    monkeypatch.setattr(module, "package_versions", lambda: versions)
    for name in ("train/mix_8", "predict/base/curated"):
        path = stamp_path(study, name)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "0123456789abcdef"}))
    (line,) = stale(study, made_from(study))
    assert line.startswith("of the results that are kept, 2 were made by other states of radtune's code (0123456789ab)")
    monkeypatch.setattr(module, "git_commit", lambda: None)
    assert stale(study, made_from(study)) == []
    stamp_path(study, "train/mix_8").write_text("torn")
    monkeypatch.setattr(module, "package_versions", lambda: versions | {"torchtune": "9.9"})
    assert "train" not in stale(study, made_from(study))[0].partition(":")[2]


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        (lambda folder: edit(folder / "regions.toml", "a = 1", "a = 2"), {"label_test_by_rules/curated/rule_labeler"}),
        (lambda folder: edit(folder / "sections.toml", "a = 1", "a = 2"), {"label_test_by_rules/curated/rule_labeler"}),
        ({"scikit-learn": "9.9"}, {"ask_linear/linear_8/curated"}),
        ({"scipy": "9.9"}, {"ask_linear/linear_8/curated"}),
    ],
    ids=["region", "heading", "scikit-learn", "scipy"],
)  # fmt: skip
def test_what_labels_and_what_linear_models_are_made_of_counts(
    own: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable | dict, jobs: set[str]
) -> None:
    for name in ("regions", "sections"):
        (tmp_path / f"{name}.toml").write_text("a = 1")
    monkeypatch.setattr(jobs_module, "PACKAGE", tmp_path)
    own |= {"linear": True}
    before, versions = made_from(study_from_mapping(own)), module.package_versions()
    if isinstance(change, dict):
        assert versions.keys() >= change.keys()
        monkeypatch.setattr(module, "package_versions", lambda: versions | change)
    else:
        change(tmp_path)
    after = made_from(study_from_mapping(own))
    assert {job for job in after if fingerprint(before[job]) != fingerprint(after[job])} == jobs


def test_a_training_is_made_anew_where_what_it_validates_on_has_changed(own: dict, tmp_path: Path) -> None:
    own["overrides"] = [f"validation.data_files={tmp_path / 'held_out.jsonl'}"]
    found = []
    for rows in ("{}", "{} "):
        (tmp_path / "held_out.jsonl").write_text(rows)
        found.append(fingerprint(made_from(study_from_mapping(own))["train/mix_8"]))
    assert found[0] != found[1]


def checked(values: dict) -> list[str]:
    study = study_from_mapping(values)
    recipes = read_training(study)
    jobs = jobs_of(study, recipes)
    check_files(study, jobs)
    return check_study(study, recipes, jobs, schemas(), Hashes()).lines


def test_a_study_is_told_what_is_doubtful_and_what_it_takes(own: dict) -> None:
    warmup, estimate = checked(own)
    assert warmup.startswith("mix_8: all of its 1 optimizer steps are warm-up (5 steps in ")
    assert "1 to train, about 1 min; 2 to ask, about 1 min; at least 0.0 GB" in estimate
    assert 2.5e6 < parameters_of(Path("data/mini")) < 3.5e6
    own["teacher"] = {"model": "gpt-4o-2024-05-13", "base_url": "https://api.openai.com/v1"}
    own["cohorts"]["notes"]["labels"] = "teacher"
    with pytest.raises(InputError, match=r"would leave this machine, for api.openai.com"):
        checked(own)
    own["teacher"] |= {"allow_endpoint": "api.openai.com", "zero_retention_confirmed": True}
    assert "questions to the teacher, about 0.0" in checked(own)[-1]
    own["teacher"]["model"] = "nobodys-model"
    assert "questions to the teacher, at a price that is not listed" in checked(own)[-1]


def foreign_gold(values: dict, folder: Path) -> None:
    (folder / "gold.csv").write_text("NOTE,Text,labels\nx9,A text.,Normal\nx8,A text.,\n")
    (folder / "tests.csv").write_text("NOTE,Text\nx7,A text.\nx8,A text.\n")
    values["tests"]["curated"]["input"] = str(folder / "tests.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, f: v.update(mixes=[[9]]), "cohorts.notes: mix_9 needs 9 labelled reports, there are 8"),
        (foreign_gold, "tests.curated: none of its reports is in"),
        (lambda v, f: (f / "chest.csv").unlink(), "no such file: "),
        (lambda v, f: v.update(checkpoint_dir="data"), "checkpoint_dir: data: no model folder"),
        (lambda v, f: v["cohorts"]["notes"].update(txt_column="x"), "prepare_cohort/notes: unknown key 'txt_column'"),
        (lambda v, f: v["cohorts"]["notes"].update(text_column="Body"), "no column 'Body'"),
        (lambda v, f: v.update(overrides=["loss.item_wieght=2"]), "train/mix_8: unknown key 'loss.item_wieght'"),
        (lambda v, f: v.update(overrides=["loss.end_weight=0"]), "loss.end_weight: expected more than 0"),
        (lambda v, f: edit(f / "train.yaml", "lora_rank: 8", "lora_rnk: 8"), "unknown key 'model.lora_rnk'"),
        (lambda v, f: v.update(inference={"batchsize": 8}), "unknown key 'batchsize'; did you mean 'batch_size'?"),
        (lambda v, f: v["tests"]["curated"].update(gold_column="truth"), "'truth'"),
    ],
)
def test_what_would_fail_is_refused_before_the_start(own: dict, tmp_path: Path, change: Callable, message: str) -> None:
    change(own, tmp_path)
    with refused(message):
        checked(own)


def test_an_id_column_reaches_every_step(own: dict, tmp_path: Path) -> None:
    jobs = jobs_of(study := study_from_mapping(own), read_training(study))
    for name in ("prepare_cohort/notes", "prepare_test/curated", "evaluate/base/curated"):
        assert "id_column=NOTE" in jobs[name].words(), name
    assert "own_task.id_column=NOTE" in jobs["build_instructions/notes_8"].words()
    # Our recipe trains the base that is asked, wherever its YAML was written.
    assert f"checkpoint_dir={study.settings.checkpoint_dir}" in jobs["train/mix_8"].words()
    write_jsonl(study.cohort_file("notes", "reports.jsonl"), [{"report_id": "003", "text": "Small effusion."}])
    row = dataset_table(study, read_reported(None)).rows[0]
    assert (row["Reports"], row["Labels"]) == (1, 1.0)
    # A gold whose ids have the usual name is read by that.
    (tmp_path / "gold_2.csv").write_text("report_id,labels\n1,Edema\n")
    own["tests"]["curated"]["gold"] = str(tmp_path / "gold_2.csv")
    jobs = jobs_of(study := study_from_mapping(own), read_training(study))
    assert not [word for word in jobs["evaluate/base/curated"].words() if word.startswith("id_column")]
    # Reports that are given are prepared where their ids have another name.
    given = {name: value for name, value in own["tests"]["curated"].items() if name not in ("source", "input")}
    own["tests"]["curated"] = given | {"reports": str(tmp_path / "gold.csv")}
    jobs = jobs_of(study := study_from_mapping(own), read_training(study))
    assert {"id_column=NOTE", f"input={tmp_path}/gold.csv"} <= set(jobs["prepare_test/curated"].words())


def test_an_ensemble_is_trained_asked_and_combined(own: dict, tmp_path: Path) -> None:
    own["tests"]["held_out"] = own["tests"]["curated"] | {"sample": 1}
    wording = tmp_path / "short.yaml"
    wording.write_text("extends: task.yaml\nprompts: {inference: Name what is there.}\n")
    own |= {"mixes": [[8]], "linear": True, "seeds": [1], "ensembles": {"eager": {
        "rows": [6], "members": 3, "validation": "held_out", "overrides": [["loss.end_weight=0.5"], []],
        "uncertain": ["positive", "negative"], "combine": {"calibration": "platt", "wanted": {"recall": 0.9}},
        "wordings": [own["tests"]["curated"]["task"], str(wording)],
    }, "plain": {
        "rows": [6], "members": 2, "validation": "held_out", "linear": True,
        "overrides": [["absence_weight=0.3", "output"]],
    },
    }}  # fmt: skip
    study = study_from_mapping(own)
    jobs, members = jobs_of(study, read_training(study)), ["eager_1", "eager_2", "eager_3"]
    assert [cell.name for cell in study.members("eager")] == members
    # What chooses is asked of what is chosen for, and not scored; members are scored with their ensemble.
    scored = {(cell.name, test) for cell, test in study.scores}
    assert {("eager", "curated"), ("plain", "curated"), ("mix_8_seed_1", "curated")} <= scored
    assert not {name for name, _ in scored} & {*members} and not {test for _, test in scored} - {"curated"}
    assert {"predict/mix_8_seed_1/held_out", "ask_linear/linear_8/held_out"} <= jobs.keys()
    assert "predict/base/held_out" not in jobs
    assert opponents(study, study.cell("plain"), "curated") == ["mix_8_seed_1", "linear_8", "eager"]
    for number, (cost, doubt) in enumerate([("0.5", "positive"), (None, "negative"), ("0.5", "positive")], start=1):
        built = jobs[f"build_instructions/notes_6_of_eager_{number}"]
        assert {f"seed={number}", f"uncertain={doubt}"} <= set(built.words())
        trained = jobs[f"train/eager_{number}"].words()
        assert ("loss.end_weight=0.5" in trained, f"seed={number}" in trained) == (cost is not None, True)
        answers = study.predictions(f"eager_{number}", "held_out")
        (asked,) = (job for job in jobs.values() if answers in job.outputs)
        assert {"scores=true", "constrain=true"} <= set(asked.words())
        # The second is trained and asked in words of its own.
        assert (asked.keys["task"] == wording, built.keys["tasks"] == [wording]) == (number == 2,) * 2
    # Those of one wording are asked together.
    together = jobs["predict/eager_1/curated"]
    assert together.keys["adapter_dir"] == [study.training(f"eager_{number}") / "adapter" for number in (1, 3)]
    assert together.outputs == (study.predictions("eager_1", "curated"), study.predictions("eager_3", "curated"))
    assert study.training("eager_3") / ADAPTER in together.reads
    linear = jobs["ask_linear/plain_2/curated"]
    assert {"absence_weight=0.3", "output"} <= set(linear.words()) and "train/plain_2" not in jobs
    with pytest.raises(InputError, match="'output' is not key=value"):
        parse_config(schemas()[linear.command[0]], linear.words()[2:])
    combine = jobs["combine/eager/curated"]
    assert combine.keys["predictions"] == [study.predictions(name, "curated") for name in members]
    assert combine.keys["gold"] == study.tests["held_out"].gold and combine.outputs[0] in jobs[
        "evaluate/eager/curated"
    ].reads  # fmt: skip
    for change, message in (
        ({"validation": "nowhere"}, "unknown key 'nowhere'"), ({"members": 1}, "2 or more"),
        ({"linear": True}, "no prompts of own_task that a language model is asked with"),
        ({"wordings": ["multiple_choice"]}, "no prompts of own_task"), ({"uncertain": ["state"]}, "uncertain"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            study_from_mapping(own | {"ensembles": {"eager": own["ensembles"]["eager"] | change}})
    # Its answers would stand where the rule labeler's do.
    with pytest.raises(InputError, match="rules: a labeler has this name"):
        study_from_mapping(own | {"ensembles": {"rules": own["ensembles"]["plain"]}})
    doubted = own["tests"] | {"curated": own["tests"]["curated"] | {"uncertain": "positive"}}
    with pytest.raises(InputError, match=r"tests\.curated\.uncertain: ensembles take"):
        study_from_mapping(own | {"tests": doubted})
    # What chooses must not be scored.
    own["tests"]["held_out"] |= {"gold_columns": ["A", "B"], "gold_rule": "union"}
    jobs = jobs_of(study := study_from_mapping(own), read_training(study))
    combining = [set(job.words()) for name, job in jobs.items() if name.startswith("combine/")]
    assert combining and all(
        {"gold_columns=[A, B]", "gold_rule=union", "id_column=NOTE"} <= words for words in combining
    )
    own["tests"]["held_out"] = own["tests"]["curated"]
    with pytest.raises(InputError, match="a test of it on other reports"):
        study_from_mapping(own)


def test_what_an_ensemble_is_chosen_and_scored_on_at_once_is_said_before_the_start(own: dict, tmp_path: Path) -> None:
    texts = ["small effusion.", "small  EFFUSION.", "clear.", "edema.", "mass."]
    rows = [f"{i},p{i // 3},Findings: {text},Edema\n" for i, text in enumerate(texts)]
    for name, some in (("gold", rows[1:]), ("other", rows[:1]), ("twice", rows[:2])):
        (tmp_path / f"{name}.csv").write_text("NOTE,MRN,Text,labels\n" + "".join(some))
    own |= {"ensembles": {"all": {"rows": [6], "members": 2, "validation": "held_out", "linear": True}}}
    where = "tests.held_out chooses the thresholds that tests.curated scores"
    own["tests"]["held_out"] = own["tests"]["curated"] | dict.fromkeys(("gold", "input"), str(tmp_path / "other.csv"))
    assert f"{where}: 0 patients and 1 texts are in both" in checked(own)
    for test in own["tests"].values():
        test["patient_column"] = "MRN"
    assert f"{where}: 1 patients and 1 texts are in both" in checked(own)
    # Only what is drawn counts.
    own["tests"]["curated"]["only_ids"] = str(tmp_path / "ids.txt")
    (tmp_path / "ids.txt").write_text("2\n3\n4\n")
    own["tests"]["curated"]["fold"] = [1, 1]
    assert f"{where}: 1 patients and 0 texts are in both" in checked(own)
    del own["tests"]["curated"]["only_ids"]
    own["tests"]["held_out"] |= dict.fromkeys(("gold", "input"), str(tmp_path / "twice.csv"))
    with pytest.raises(InputError, match=f"{where}, and has 1 of its reports: they may not decide"):
        checked(own)


def test_all_rows_seeds_and_a_trial(own: dict, tmp_path: Path) -> None:
    study = study_from_mapping(own | {"mixes": [{"notes": "all"}], "seeds": [1, 2]})
    assert [cell.name for cell in study.cells if cell.trained] == ["mix_all_seed_1", "mix_all_seed_2"]
    jobs = jobs_of(study, read_training(study))
    assert "own_task.rows=null" in jobs["build_instructions/notes_all"].words()
    assert "seed=2" in jobs["train/mix_all_seed_2"].words()
    assert "seed=2" in jobs["predict/mix_all_seed_2/curated"].words()
    trial = study_from_mapping(own | {"mixes": [[4], [8]], "limit": 3})
    assert trial.run_dir == tmp_path / "run_limit_3"
    assert [cell.name for cell in trial.cells if cell.trained] == ["mix_all"]
    words = jobs_of(trial, read_training(trial))["prepare_cohort/notes"].words()
    assert {"limit=3", f"only_ids={tmp_path / 'chest.csv'}"} < set(words)


def test_a_name_that_another_yaml_has_is_refused(own: dict, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(own | {"run_dir": None}))
    (tmp_path / "broken.yaml").write_text("a: [")
    check_name(tmp_path / "one.yaml", "own")
    with pytest.raises(InputError, match=r"two.yaml: one.yaml has the same name, 'own'"):
        check_name(tmp_path / "two.yaml", "own")


def test_what_ships_is_found_from_any_folder(own: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own["config"] = "configs/mini/lora_fast.yaml"
    monkeypatch.chdir(tmp_path)
    assert checked(own)[-1].startswith("estimate")
    study = study_from_mapping(own)
    assert Path(jobs_of(study, read_training(study))["train/mix_8"].words()[1]).exists()


def test_hashes_of_large_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGE", 0)
    write_jsonl(tmp_path / "rows.jsonl", [{"a": 1}])
    hashes = Hashes(tmp_path / "kept.json")
    found = hashes.of_file(tmp_path / "rows.jsonl")
    hashes.keep()
    monkeypatch.setattr(module, "sha256_file", lambda path: pytest.fail("hashed again"))
    assert Hashes(tmp_path / "kept.json").of_file(tmp_path / "rows.jsonl") == found
    (tmp_path / "kept.json").write_text("[1, 2")
    monkeypatch.undo()
    # A change that hides its time is seen.
    before = (tmp_path / "rows.jsonl").stat()
    write_jsonl(tmp_path / "rows.jsonl", [{"a": 2}])
    os.utime(tmp_path / "rows.jsonl", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Hashes(tmp_path / "kept.json").of_file(tmp_path / "rows.jsonl") != found
    write_jsonl(tmp_path / "rows.jsonl", [{"a": 1}])
    assert Hashes(tmp_path / "kept.json").of_file(tmp_path / "rows.jsonl") == found
