"""What the report page shows of ensembles, on made-up answers of their members."""

from copy import copy

import numpy as np
import pytest

from evaluate import EvaluateConfig, main
from radtune.files import write_jsonl
from radtune.label_files import write_label_table
from radtune.report import report_from_sections
from radtune.score.cancellation import Said
from radtune.study.cells import Kind
from radtune.study.ensembles import System, ensemble_figures, ensemble_tables, systems_of
from radtune.study.figures import calibration_figures
from radtune.study.jobs import key_words
from radtune.study.plan import Study, study_from_mapping
from radtune.study.report import all_parts, report_html
from radtune.study.results import read_reported, read_results


@pytest.fixture
def answered(few_values: dict, run_here) -> Study:
    """Two ensembles and a mix have answered; members name most of what there is, and each much of its own."""
    del few_values["tests"]["open_ended"]
    few_values["tests"]["chosen"] = {"task": "multiple_choice", "source": "synthetic", "seed": 5}
    member = {"rows": {"mimic": 100}, "validation": "chosen", "members": 3}
    few_values |= {"mixes": [{"mimic": 300}], "inference_variants": {"samples": {"samples": 3}}, "ensembles": {
        "eager": member | {"overrides": [["loss.end_weight=0.3"], []]}, "plain": member | {"title": "Plain"},
    }}  # fmt: skip
    study, chance = study_from_mapping(few_values), np.random.default_rng(0)
    for test in study.tests.values():
        ids = [f"{test.name}{i}" for i in range(60)]
        truth = chance.random((60, len(test.task.classes))) < 0.2
        write_jsonl(study.test_reports(test.name), [report_from_sections(x, x, "Lungs.", "", "made-up") for x in ids])
        states = ({n: int(t) for n, t in zip(test.task.classes, row, strict=True)} for row in truth)
        write_label_table(test.gold, test.task, dict(zip(ids, states, strict=True)))
        for cell in study.cells:
            if test.name in cell.tests and cell.kind in (Kind.MIX, Kind.MEMBER, Kind.VARIANT):
                odds = np.where(truth, 2.5, -1.0) + chance.normal(0, 1.5, truth.shape)
                rows = [dict(zip(test.task.classes, row, strict=True)) for row in (1 / (1 + np.exp(-odds))).tolist()]
                write_jsonl(study.predictions(cell.name, test.name), (
                    {"report_id": x, "labels": [n for n, s in row.items() if s > 0.5]}
                    | ({} if cell.kind == Kind.VARIANT else {"scores": row}) for x, row in zip(ids, rows, strict=True)
                ))  # fmt: skip
    return study


def test_the_page_shows_what_ensembles_are_worth(answered: Study, run_here) -> None:
    study, reported = answered, read_reported(None)
    test, chosen = (study.tests[name] for name in ("multiple_choice", "chosen"))
    files = {
        name: [study.predictions(f"plain_{n}", part.name) for n in (1, 2, 3)]
        for name, part in (("predictions", test), ("validation", chosen))
    }
    answers = study.predictions("plain", test.name)
    keys = {"task": test.task.name, **files, "gold": chosen.gold, "output": answers}
    assert run_here("scripts/combine.py", *key_words(keys)).returncode == 0
    keys = {"task": test.task.name, "gold": test.gold, "reports": study.test_reports(test.name)}
    main(EvaluateConfig(**keys, predictions=answers, output=study.evaluation("plain", test.name)))
    results = read_results(study)
    found, figures = all_parts(results, reported)
    tables = {table.name: table for table in found}
    rows = tables["ensembles_multiple_choice"].rows
    assert [(row["System"], row["Answering"], row["Threshold"]) for row in rows] == [
        *(
            (system, who, threshold)
            for system in ("eager, 3 members", "Plain, 3 members")
            for who in ("one, on average", "all") for threshold in ("0.5", "tuned")
        ),
        ("mini Llama, 300 rows", "alone", "0.5"), ("mini Llama, 300 rows", "alone", "tuned"),
        ("samples: samples=3", "alone", "-"),
    ]  # fmt: skip
    # What is combined here is what the command combines; the difference is to the model alone.
    assert rows[7]["F1"] == pytest.approx(results.metrics["plain", test.name].micro.f1, abs=0.005)
    assert rows[7]["ΔF1"] == pytest.approx(rows[7]["F1"] - rows[9]["F1"]) and rows[9]["ΔF1"] == 0
    assert rows[7]["ΔF1 95 % CI"][0] > 0 and rows[7]["F1"] > rows[5]["F1"] + 0.1
    members = tables["members_multiple_choice"].rows
    assert [row["Member"] for row in members[:4]] == [1, 2, 3, "all"]
    assert [row.get("Of its own") for row in members[:4]] == ["loss.end_weight=0.3", None, "loss.end_weight=0.3", None]
    sizes = [row["F1"] for row in tables["f1_by_members_multiple_choice"].rows if row["System"].startswith("Plain")]
    assert sizes == sorted(sizes) and sizes[-1] == rows[7]["F1"]
    gains = [row["ΔF1"] for row in tables["f1_by_members_multiple_choice"].rows if row["System"].startswith("Plain")]
    assert gains == pytest.approx([f1 - sizes[0] for f1 in sizes])
    assert {"cancellation_multiple_choice", "correlation_multiple_choice", "calibration_multiple_choice"} <= {*tables}
    assert not [name for name in tables if name.endswith("_chosen")]
    names = ["members", "f1_by_members", "reliability", "handed_over"]
    assert [f.name for f in figures if f.part == "ensembles"] == [f"{name}_multiple_choice" for name in names]
    page = report_html(results, reported, found, figures)
    assert '<h2 id="ensembles">' in page and ", before 0." in page
    # Until all have answered there is nothing to show.
    study.predictions("mix_0_300", "chosen").unlink()
    study.predictions("eager_2", test.name).unlink()
    rest = {row["System"] for table in ensemble_tables(study, systems_of(results, test), test) for row in table.rows}
    assert rest == {"Plain, 3 members", "samples: samples=3"}


def test_members_of_low_precision_are_in_the_picture(answered: Study) -> None:
    test, chance = answered.tests["multiple_choice"], np.random.default_rng(0)
    scores = chance.random((3, 60, len(test.task.classes)))
    gold = chance.random(scores.shape[1:]) < 0.2
    said = Said(scores, scores > 0.1, gold, np.ones_like(gold), np.arange(60))
    system = System("Eager", answered.members("eager"), said, said)
    plane, _ = ensemble_figures([system], test)
    assert ">0.2<" in plane.svg and "more" not in plane.title
    # What has no line left is not left out without a word.
    assert system.calibrations and system.by_size  # worked out once: copies have it
    many = [copy(system) for _ in range(14)]
    for number, one in enumerate(many):
        vars(one)["title"] = f"System {number}"
    figures = [*ensemble_figures(many, test), *calibration_figures(read_results(answered), test, many)]
    for figure in figures:
        assert f"; 2 more in tables/{'ensembles' if 'member' in figure.name else 'calibration'}_" in figure.title
        assert "System 11" in figure.svg and "System 12" not in figure.svg
