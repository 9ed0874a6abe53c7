"""Cross-validation, labelers, linear models: a study's commands one after the other, but for the language model's."""

import csv
import json
from pathlib import Path

import pytest

from radtune.files import read_jsonl
from radtune.study.cells import Kind
from radtune.study.jobs import jobs_of
from radtune.study.plan import Study, opponents, read_training, study_from_mapping
from radtune.study.results import read_reported, read_results
from radtune.study.tables import all_tables

ROOT = Path(__file__).resolve().parents[2]
CODES = ("786.2", "780.6", "486", "V13.02")
WORDS = ("cough", "fever", "pneumonia", "prior infection")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Reports that say what they are coded by; the second company misses fever, and gives a code beyond the task's."""
    with (tmp_path / "reports.csv").open("w", newline="") as reports, (tmp_path / "codes.csv").open("w") as codes:
        write = csv.writer(reports).writerow
        write(("report_id", "history", "impression"))
        codes.write("report_id,majority,company1,company2\n")
        for number in range(60):
            # Two reports of each text.
            found = [i for i in range(4) if (number // 2) >> i & 1] or [number % 4 // 2]
            words = [WORDS[i] for i in found]
            write((number, f"Child {number // 2} with {words[0]}.", f"Shows {' and '.join(words)}."))
            right = ", ".join(CODES[i] for i in found)
            wrong = ", ".join(CODES[i] for i in found if i != 1) or "079.0"
            codes.write(f'{number},"{right}","{right}","{wrong}"\n')
    reports = {"source": "cmc", "input": str(tmp_path / "reports.csv")}
    codes, columns = str(tmp_path / "codes.csv"), {"gold_column": "majority", "gold_columns": ["company1", "company2"]}
    return study_from_mapping({
        "name": "coders", "model_name": "m", "checkpoint_dir": "data/mini", "run_dir": str(tmp_path / "run"),
        "config": "configs/mini/lora_fast.yaml", "folds": 3, "linear": True, "seeds": {"mix_all_0": [1, 2]},
        "labelers": {
            "company1": {"title": "One", "labels": codes, "column": "company1"},
            "company2": {"title": "Two", "labels": codes, "column": "company2"},
        },
        "cohorts": {
            "two": {"task": "cmc_codes", "labels": "company2", **reports},
            "all": {"task": "cmc_codes", "labels": codes, "label_column": "majority", **reports},
        },
        "mixes": [{"two": "all"}, {"all": "all"}],
        "tests": {"cmc_codes": {**reports, "gold": codes, **columns}},
    })  # fmt: skip


def test_every_report_is_asked_of_a_model_that_has_not_seen_it(study: Study, run_here, tmp_path: Path) -> None:
    learnt = [f"mix_all_0_seed_{seed}{end}" for seed in (1, 2) for end in ("_fold_1", "_fold_2", "_fold_3", "")]
    assert [cell.name for cell in study.cells if cell.kind == Kind.MIX][:8] == learnt
    assert opponents(study, study.cell("mix_0_all"), "cmc_codes") == [
        "base", "mix_all_0_seed_1", "mix_all_0_seed_2", "linear_0_all",
    ]  # fmt: skip
    assert opponents(study, study.cell("linear_all_0"), "cmc_codes") == ["company2"]
    jobs = jobs_of(study, read_training(study))
    without_language_model = [
        job for name, job in jobs.items()
        if not name.startswith(("train", "predict")) and not {"mix", "base"} & set(name.replace("_", "/").split("/"))
    ]  # fmt: skip
    for job in without_language_model:
        script, *words = job.words()[1:]
        done = run_here(script, *words)
        assert done.returncode == 0, (job.name, done.stderr)
    folds = [read_ids(study.test_reports("cmc_codes", fold)) for fold in (1, 2, 3)]
    joined = [number for fold in folds for number in fold]
    assert sorted(joined, key=int) == [str(number) for number in range(60)]
    assert all(str(int(number) ^ 1) in fold for fold in folds for number in fold)
    for cell in (cell for cell in study.cells if cell.learns):
        built = read_ids(study.instructions(cell))
        assert built
        assert not set(built) & set(folds[cell.fold - 1])
    assert sorted(read_ids(study.predictions("linear_0_all", "cmc_codes"))) == sorted(joined)
    scores = {
        name: json.loads(study.evaluation(name, "cmc_codes").read_text())["micro"]["f1"]
        for name in ("linear_0_all", "linear_all_0", "company1", "company2")
    }
    assert scores["company1"] == 1.0 >= scores["linear_0_all"] > scores["linear_all_0"]
    # A company that never codes fever teaches none, and its code that the task does not know is learned by nobody.
    assert scores["company2"] < 0.9
    # The two teach as many rows only as the plan has it.
    against = [study.evaluation(*of, f"against_{other}.json") for *of, other in (
        ("linear_all_0", "cmc_codes", "company2"), ("mix_0_all", "cmc_codes", "mix_all_0_seed_1"),
    )]  # fmt: skip
    against[1].parent.mkdir(parents=True)
    against[1].write_bytes(against[0].read_bytes())
    tables = {table.name: table for table in all_tables(read_results(study), read_reported(None))}
    totals = [
        row["Fine-tuning data", "Total"] for row in tables["scores_cmc_codes"].rows if row["Model"] == "Linear model"
    ]
    assert totals == [
        round(
            sum(
                len(read_ids(study.instructions(cell)))
                for cell in study.cells
                if cell.kind == Kind.LINEAR and cell.cohorts == [cohort] and cell.fold
            )
            / 3
        )
        for cohort in ("two", "all")
    ]
    assert totals[0] < totals[1] and totals == [row["Trained on"] for row in tables["reports"].rows[:2]]
    rows = {(row["One"], row["Other"]): row["Kappa"] for row in tables["agreement_cmc_codes"].rows}
    assert 0 < rows["company1", "company2"] < 1
    compared = {(row["System"], row["Against"]) for row in tables["comparisons"].rows}
    assert compared == {
        ("Linear model on two", "Two"),
        ("Fine-tuned by our recipe on all", "Fine-tuned by our recipe on two, seed 1"),
    }


def read_ids(path: Path) -> list[str]:
    return [row["report_id"] for _, row in read_jsonl(path)]
