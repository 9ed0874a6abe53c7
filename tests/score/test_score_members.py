"""Members of an ensemble: one answer of many, by a setting that validation reports decide."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from radtune.config import InputError
from radtune.files import manifest_path, read_jsonl, write_jsonl
from radtune.label_files import LabelFile, is_edited, read_labels, write_label_table
from radtune.score.members import MEAN, VOTES, Setting, as_read, choose_setting, combined, queue_cell
from radtune.tables import read_table, write_cells
from radtune.tasks import load_task

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "combine.py"
MC, OE = load_task("multiple_choice"), load_task("open_ended")
N = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Five members that find most of what there is and each much of its own that is not there."""
    folder, chance = tmp_path_factory.mktemp("members"), np.random.default_rng(1)
    for part, count in (("validation", 120), ("test", 200)):
        truth = chance.random((count, len(MC.classes))) < 0.15
        table = {f"{part}{i}": {n: int(t) for n, t in zip(MC.classes, row, strict=True)} for i, row in enumerate(truth)}
        write_label_table(folder / f"{part}.csv", MC, table)
        for number in range(N):
            odds = np.where(truth, 2.5, -1.0) + chance.normal(0, 1.5, truth.shape)
            scores = (1 / (1 + np.exp(-odds))).round(4)
            write_jsonl(
                folder / f"{part}_{number}.jsonl",
                (
                    {
                        "report_id": name, "task": MC.name, "status": "ok",
                        "labels": [x for x, s in zip(MC.classes, row, strict=True) if s > 0.5],
                        "scores": dict(zip(MC.classes, row.tolist(), strict=True)),
                    }
                    for name, row in zip(table, scores, strict=True)
                ),
            )  # fmt: skip
    return folder


def files(folder: Path, part: str) -> str:
    return f"[{','.join(str(folder / f'{part}_{number}.jsonl') for number in range(N))}]"


def scored(succeeds, folder: Path, *words: str, gold: str = "test.csv") -> dict:
    output = folder / "metrics.json"
    succeeds(ROOT / "evaluate.py", "task=multiple_choice", f"gold={folder / gold}", f"output={output}", *words)
    return json.loads(output.read_text())


def test_false_positives_of_members_cancel_by_mean_and_by_votes(run_here, succeeds, folder: Path) -> None:
    one = scored(run_here, folder, f"predictions={folder / 'test_0.jsonl'}")
    chosen = {}
    for rule in (MEAN, VOTES):
        output = folder / f"{rule}.jsonl"
        succeeds(
            SCRIPT, "task=multiple_choice", f"predictions={files(folder, 'test')}", f"output={output}", f"rule={rule}",
            f"validation={files(folder, 'validation')}", f"gold={folder / 'validation.csv'}",
        )  # fmt: skip
        chosen[rule] = json.loads(manifest_path(output).read_text())["setting"]
        both = scored(run_here, folder, f"predictions={output}", f"compare={folder / 'test_0.jsonl'}")
        assert both["comparison"]["f1"]["ci95"][0] > 0.1 and both["micro"]["recall"] > one["micro"]["recall"] - 0.05
        assert both["micro"]["f1"] == pytest.approx(chosen[rule]["measures"]["f1"], abs=0.05)
    assert chosen[VOTES]["least"] >= 3 and 0.5 < chosen[MEAN]["least"] < 1
    # What was chosen can be given, and is the same answer.
    again = folder / "again.jsonl"
    given = f"least={chosen[MEAN]['least']}"
    run_here(SCRIPT, "task=multiple_choice", f"predictions={files(folder, 'test')}", f"output={again}", given)
    assert again.read_text() == (folder / "mean.jsonl").read_text()
    row = next(iter(read_jsonl(again)))[1]
    mean = np.mean([next(iter(read_jsonl(folder / f"test_{n}.jsonl")))[1]["scores"]["Edema"] for n in range(N)])
    assert row["scores"]["Edema"] == pytest.approx(mean, abs=1e-4) and not is_edited(row)


def test_gold_may_be_of_annotators_and_what_cannot_be_is_told_before_files_are_read(
    run_here, succeeds, folder: Path
) -> None:
    answers = read_labels(folder / "validation.csv", MC).answers
    cells = ((x, "; ".join(a.labels) or "Normal", "; ".join(a.labels[:1]) or "Normal") for x, a in answers.items())
    (folder / "two.csv").write_text("NOTE;A;B\n" + "".join(f'{x};"{a}";"{b}"\n' for x, a, b in cells))
    words = ["task=multiple_choice", f"predictions={files(folder, 'test')}", f"output={folder / 'by_two.jsonl'}"]
    words += [f"validation={files(folder, 'validation')}"]
    told = ["id_column=NOTE", "gold_columns=[A,B]"]
    measured = []
    for gold in (
        ["gold_rule=union", f"gold={folder / 'two.csv'}", *told],
        [f"gold={folder / 'validation.csv'}"],
        ["gold_rule=intersection", f"gold={folder / 'two.csv'}", *told],
    ):
        succeeds(SCRIPT, *words, *gold)
        measured.append(json.loads(manifest_path(folder / "by_two.jsonl").read_text())["setting"]["measures"])
    assert measured[0] == measured[1] != measured[2]
    for slip in ("wanted.recal=0.9", "validation=[]", f"output={folder / 'rows.csv'}"):
        done = run_here(SCRIPT, *words, "gold=nowhere.csv", slip)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "No such file" not in done.stderr, done.stderr


def test_calibration_a_wanted_recall_and_a_reader(run_here, succeeds, folder: Path) -> None:
    output = folder / "calibrated.jsonl"
    for method in ("platt", "isotonic"):
        succeeds(
            SCRIPT, "task=multiple_choice", f"predictions=[{folder / 'test_0.jsonl'}]", f"output={output}",
            f"validation=[{folder / 'validation_0.jsonl'}]", f"gold={folder / 'validation.csv'}",
            f"calibration={method}", "wanted.recall=0.9", "abstain=0.1",
        )  # fmt: skip
        metrics = scored(run_here, folder, f"predictions={output}", f"compare={folder / 'test_0.jsonl'}")
        assert metrics["calibration"]["minus_other_ci95"][1] < 0, method
        assert metrics["micro"]["recall"] == pytest.approx(0.9, abs=0.05)
        assert metrics["calibration"]["curve"][-1]["f1"] > metrics["micro"]["f1"]
    rows = [row for _, row in read_jsonl(output)]
    assert sum(row["for_reader"] for row in rows) == 20
    kept = [str(row["report_id"]) for row in rows if not row["for_reader"]]
    assert metrics["calibration"]["curve"][2]["f1"] == pytest.approx(_f1_of(folder, output, kept))


def test_to_a_reader_and_back(run_here, succeeds, folder: Path) -> None:
    queue, output = folder / "queue.xlsx", folder / "read.jsonl"
    words = [
        SCRIPT,
        "task=multiple_choice",
        f"predictions=[{folder / 'test_0.jsonl'}]",
        "least=0.5",
        f"output={output}",
    ]
    done = succeeds(*words, "abstain=0.1", f"queue={queue}")
    assert f"{queue}: 20 reports for a reader" in done.stdout
    before = {row["report_id"]: row for _, row in read_jsonl(output)}
    asked = [str(row["report_id"]) for _, row in read_table(queue)]
    assert {*asked} == {x for x, row in before.items() if row["for_reader"]} and len(asked) == 20
    # What is not mended comes back as it was.
    said = read_labels(queue, MC).answers
    assert {x: [*said[x].labels] for x in asked} == {x: before[x]["labels"] for x in asked}
    cells = [[x, "Edema, Odema" if x == asked[0] else MC.encode(said[x].labels)] for x in reversed(asked)]
    write_cells(queue, [["report_id", "labels"], *cells])
    done = run_here(*words, f"reader={queue}")
    assert (done.returncode, "no classes: Odema (1)" in done.stdout) == (0, True)
    after = {row["report_id"]: row for _, row in read_jsonl(output)}
    assert [*after] == [*before] and after[asked[0]]["labels"] == ["Edema", "Odema"]
    assert [x for x in after if after[x]["labels"] != before[x]["labels"]] == asked[:1]
    write_cells(queue, [["report_id", "labels"], ["nobody's", "[Edema]"]])
    done = run_here(*words, f"reader={queue}")
    assert done.returncode == 2 and "1 of its reports are none of those to answer" in done.stderr


def _f1_of(folder: Path, output: Path, kept: list[str]) -> float:
    named = {row["report_id"]: set(row["labels"]) for _, row in read_jsonl(output)}
    gold = {x: set(a.labels) for x, a in read_labels(folder / "test.csv", MC).answers.items()}
    right = sum(len(named[x] & gold[x]) for x in kept)
    return 2 * right / sum(len(named[x]) + len(gold[x]) for x in kept)


def test_phrases_by_votes_and_members_that_could_not_be_read(tmp_path: Path) -> None:
    said = [["small effusion", "edema"], ["small effusion"], None]
    for number, phrases in enumerate(said):
        status = {"status": "ok" if phrases is not None else "refused", "labels": phrases or []}
        write_jsonl(tmp_path / f"{number}.jsonl", [{"report_id": "7", "task": OE.name, **status}])
    members = [read_labels(tmp_path / f"{number}.jsonl", OE) for number in range(3)]
    by_least = {least: combined(OE, members, Setting(VOTES, least))["7"].answer for least in (1, 2, 3)}
    assert {least: answer.labels for least, answer in by_least.items()} == {
        1: ("small effusion", "edema"), 2: ("small effusion",), 3: ()
    }  # fmt: skip
    assert by_least[3].status == "refused"
    gold = tmp_path / "gold.jsonl"
    write_jsonl(gold, [{"report_id": "7", "task": OE.name, "labels": ["small effusion"]}])
    assert choose_setting(OE, members, read_labels(gold, OE), VOTES, None, {}).least == 2


def test_mistakes_are_one_line(run_here, folder: Path) -> None:
    test, validation, gold = files(folder, "test"), files(folder, "validation"), f"gold={folder / 'validation.csv'}"
    asked = ("task=multiple_choice", f"output={folder / 'never.jsonl'}")
    chosen = (f"predictions={test}", f"validation={validation}", gold)
    for words, message in (
        ((f"predictions={test}",), "give least=..., or validation=[...]"),
        ((f"predictions={test}", f"validation=[{folder / 'validation_0.jsonl'}]", gold), "a file for each"),
        ((f"predictions=[{folder / 'test_0.jsonl'},{folder / 'validation_0.jsonl'}]", "least=1"), "no answer to 120"),
        ((*chosen, "rule=votes", "calibration=platt"), "calibration is of scores"),
        ((*chosen, "wanted.precision=0.9", "wanted.recall=1"), "no setting has a"),
        ((*chosen, "wanted.f1=1"), "wanted: recall or precision"),
        ((f"predictions={test}", "least=2"), "no mean score is above 1"),
    ):
        done = run_here(SCRIPT, *asked, *words)
        assert (done.returncode, message in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5], "is not a number for each class"),
        ({"Edema": None}, "is not a number for each class"),
        ({"EDEMA": 0.9}, "name no class"),
        (None, "no scores for report '2'; rule=votes counts labels"),
    ],
)
def test_no_label_is_lost_where_scores_cannot_be_read(tmp_path: Path, scores: object, message: str) -> None:
    row = {"report_id": "1", "labels": ["Edema"], "scores": dict.fromkeys(MC.classes, 0.9)}
    write_jsonl(tmp_path / "a.jsonl", [row, row | {"report_id": "2", "scores": scores}])
    with pytest.raises(InputError, match=message):
        combined(MC, [read_labels(tmp_path / "a.jsonl", MC)], Setting(MEAN, 0.5))


def test_validation_may_not_be_what_is_answered_nor_without_cases(tmp_path: Path, monkeypatch) -> None:
    for name, ids, labels in (("a", "12", ["Edema"]), ("b", ("s1", "s2"), []), ("c", "34", [])):
        rows = [{"report_id": x, "labels": labels, "scores": {"Edema": 0.9}} for x in ids]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from combine import CombineConfig, main

    a, b, c = (tmp_path / f"{name}.jsonl" for name in "abc")
    for predictions, other, message in (
        ([a], [b], "2 of its reports"),
        ([a], [c], "no label"),
        ([a, a], [c, c], "twice"),
    ):
        keys = {"predictions": predictions, "validation": other, "gold": other[0], "output": tmp_path / "o.jsonl"}
        with pytest.raises(InputError, match=message):
            main(CombineConfig(task=MC.name, **keys))


def answered(path: Path, scores: np.ndarray, failed: np.ndarray) -> LabelFile:
    """A model's answers to reports, some of which it could not read."""
    write_jsonl(
        path,
        (
            {"report_id": str(i), "labels": [], "status": "failed"} if failed[i] else
            {"report_id": str(i), "labels": [n for n, s in row.items() if s > 0.5], "scores": row}
            for i, row in enumerate(dict(zip(MC.classes, row.tolist(), strict=True)) for row in scores)
        ),
    )  # fmt: skip
    return read_labels(path, MC)


def check_measures(members: list[LabelFile], gold: Path, truth: np.ndarray, *how: object) -> None:
    """What is said of a setting is what the reports that it was chosen on are given by it."""
    setting = choose_setting(MC, members, read_labels(gold, MC), *how)
    named = [[name in one.answer.labels for name in MC.classes] for one in combined(MC, members, setting).values()]
    expected = precision_recall_fscore_support(truth, np.array(named), average="micro")[:3]
    assert [*setting.measures.values()] == pytest.approx(expected)


@pytest.mark.parametrize("outlier", [7.25, 7.5])
def test_a_threshold_is_chosen_among_scores_as_they_are_written(tmp_path: Path, outlier: float) -> None:
    odds = np.linspace(-9, 9, 130)
    truth = odds > 0
    truth[np.abs(odds - outlier).argmin()] = False
    # Platt's curve takes the surest to 1, but for digits that are not written.
    odds, truth = odds.reshape(10, -1), truth.reshape(10, -1)
    member = answered(tmp_path / "a.jsonl", (1 / (1 + np.exp(-odds))).round(4), np.zeros(10, dtype=bool))
    gold = tmp_path / "gold.csv"
    write_label_table(
        gold, MC, {str(i): dict(zip(MC.classes, map(int, row), strict=True)) for i, row in enumerate(truth)}
    )
    check_measures([member], gold, truth, MEAN, "platt", {"precision": 1.0})


@pytest.mark.parametrize(("rule", "calibration"), [(VOTES, None), (MEAN, None), (MEAN, "isotonic")])
def test_what_most_members_could_not_read_is_missed_where_a_setting_is_chosen(
    tmp_path: Path, rule: str, calibration: str | None
) -> None:
    chance = np.random.default_rng(0)
    truth = chance.random((60, len(MC.classes))) < 0.3
    members = [
        answered(tmp_path / f"{n}.jsonl", np.where(truth, 0.6, 0.3) + chance.uniform(-0.3, 0.3, truth.shape), failed)
        for n, failed in enumerate(chance.random((3, 60)) < 0.4)
    ]
    # What gold doubts is no label, and no other name.
    gold, doubted = tmp_path / "gold.jsonl", [f"{MC.classes[0]} (uncertain)"]
    labels = [[name for name, there in zip(MC.classes, row, strict=True) if there] for row in truth]
    write_jsonl(gold, ({"report_id": str(i), "labels": names or doubted} for i, names in enumerate(labels)))
    check_measures(members, gold, truth, rule, calibration, {})
    none = [answered(tmp_path / f"no_{n}.jsonl", truth * 0.5, np.arange(60) % 3 != n) for n in range(3)]
    if rule == MEAN:
        with pytest.raises(InputError, match="most models could read none"):
            choose_setting(MC, none, read_labels(gold, MC), rule, calibration, {})


def test_a_score_that_a_member_lacks_is_no_zero(tmp_path: Path) -> None:
    for name, scores in {"lacking": {"Edema": 0.9}, "text": dict.fromkeys(MC.classes, "0.5")}.items():
        path = tmp_path / f"{name}.jsonl"
        write_jsonl(path, [{"report_id": "1", "labels": ["Edema"], "scores": scores}])
        with pytest.raises(InputError, match=r"no score of 'Atelectasis' for report '1'|not a number"):
            combined(MC, [read_labels(path, MC)], Setting(MEAN, 0.5))


def test_what_a_reader_leaves_blank_stays_and_what_is_said_is_sure(tmp_path: Path) -> None:
    scores = dict.fromkeys(MC.classes, 0.2) | {"Edema": 0.9}
    path, queue = tmp_path / "a.jsonl", tmp_path / "queue.csv"
    said = [{"report_id": str(i), "labels": ["Edema", "No such"], "scores": scores} for i in range(3)]
    write_jsonl(path, [*said, {"report_id": "3", "labels": [], "status": "failed"}])
    votes = combined(MC, [read_labels(path, MC)], Setting(VOTES, 1))
    assert [queue_cell(MC, votes[x].answer) for x in ("0", "3")] == ["['Edema']", None]
    found = combined(MC, [read_labels(path, MC)], Setting(MEAN, 0.5))
    write_cells(queue, [["report_id", "labels"], ["0", "Mass"], ["1", "['Normal']"], ["2", ""], ["3", None]])
    read = as_read(MC, found, read_labels(queue, MC))
    assert {x: one.answer.labels for x, one in read.items()} == {"0": ("Mass",), "1": ()}
    assert {name for name, score in read["0"].answer.provenance["scores"].items() if score} <= {"Mass"}
    assert not any(read["1"].answer.provenance["scores"].values())


def test_a_radiographs_queue_comes_back_with_its_codes_and_sides(tmp_path: Path) -> None:
    task, path, queue = load_task("radiograph"), tmp_path / "a.jsonl", tmp_path / "queue.csv"
    phrases = [{"phrase": "Effusion", "icd10": "J90", "side": "left"}]
    write_jsonl(path, [{"report_id": "1", "labels": ["Effusion"], "phrases": phrases}])
    found = combined(task, [read_labels(path, task)], Setting(VOTES, 1))
    write_cells(queue, [["report_id", "labels"], ["1", queue_cell(task, found["1"].answer)]])
    assert as_read(task, found, read_labels(queue, task))["1"].answer == found["1"].answer
