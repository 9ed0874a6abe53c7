from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from radtune.files import read_json, write_jsonl
from radtune.label_files import read_labels
from radtune.labels import Answer, Phrase, side_of
from radtune.score.codes import score_codes
from radtune.tasks import load_task


def coded(path: Path, *reports: list[tuple[str, str | None]], status: str = "ok") -> list[Answer]:
    rows = [
        {"report_id": i, "status": status, "phrases": [{"phrase": x, "icd10": code} for x, code in phrases]}
        for i, phrases in enumerate(reports)
    ]
    write_jsonl(path, rows)
    return list(read_labels(path, load_task("open_ended")).answers.values())


def test_codes_in_full_and_by_category(tmp_path: Path) -> None:
    predictions = coded(
        tmp_path / "p.jsonl",
        [("small  left effusion", "J90"), ("rib fracture", "S2232XA"), ("old scar", None)],
        [("heart enlargement", "I51.7"), ("hiatal hernia", "k44.9")],
    )
    gold = coded(
        tmp_path / "g.jsonl",
        [("left effusion", "J90"), ("right rib fracture", "S22.31XA"), ("old scar", "L90.5")],
        [("Hiatal hernia", "K44.9"), ("cardiomegaly", "I51.7")],
    )
    found = score_codes(predictions, gold)
    assert found is not None
    assert (found.code.tp, found.code.fp, found.code.fn) == (3, 1, 2)
    assert (found.category.tp, found.category.fp, found.category.fn) == (4, 0, 1)
    # Three coded phrases match a coded one; the heart's two wordings do not match each other.
    assert (found.n_matched, found.same_code, found.same_category) == (3, pytest.approx(2 / 3), 1)


def test_a_phrase_that_stands_twice_has_its_first_code(tmp_path: Path) -> None:
    predictions = coded(tmp_path / "p.jsonl", [("Left effusion", "j90"), ("left  EFFUSION", "J91.8"), ("scar", " ")])
    assert predictions[0].labels == ("Left effusion", "scar")
    found = score_codes(predictions, coded(tmp_path / "g.jsonl", [("left effusion", "J90")]))
    assert found is not None
    assert (found.code.tp, found.code.fp, found.code.fn) == (1, 0, 0)


def test_sides_without_codes_or_matches(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    gold = coded(tmp_path / "g.jsonl", [("left effusion", "J90")])
    unread = coded(path, [("scar", "L90")], status="truncated")
    for without in (coded(path, [("left effusion", None)]), unread):
        assert score_codes(gold, without) is None
    assert score_codes(coded(path, [("left effusion", None)]), gold) is None
    # Nothing is said, which a code of gold is missed by.
    nothing = score_codes(unread, gold)
    assert nothing is not None and (nothing.code.f1, nothing.code.fn, nothing.hallucinated) == (0, 1, 0)
    found = score_codes(coded(path, [("pleural fluid", "J90")]), gold)
    assert found is not None
    assert (found.code.f1, found.n_matched, found.same_code) == (1, 0, None)


# Of ten images: gold, what is predicted (None where the answer cannot be read), and by hand precision, recall and F1 of
# names, codes, categories, and codes with sides; then findings that are made up. Sides not given are in words.
ONE, NOTHING = (1, 1, 1), (0, 0, 0)
TEN = [
    ([("left pleural effusion", "J90")], [("Pleural effusion", "J90", "left")], ONE, ONE, ONE, ONE, 0),
    (
        [("right pleural effusion", "J90"), ("cardiomegaly", "I51.7")], [("Pleural effusion", "j90", "left")],
        (1, 1 / 2, 2 / 3), (1, 1 / 2, 2 / 3), (1, 1 / 2, 2 / 3), NOTHING, 0,
    ),
    (
        [("rib fracture", "S22.31XA", "right")],
        [("rib fracture", "S22.32XA", "left"), ("pneumothorax", "J93.9", "left")],
        (1 / 2, 1, 2 / 3), NOTHING, (1 / 2, 1, 2 / 3), NOTHING, 1,
    ),
    ([], [], ONE, ONE, ONE, ONE, 0),
    ([], [("atelectasis", "J98.11", "none")], NOTHING, NOTHING, NOTHING, NOTHING, 1),
    ([("pulmonary edema", "J81.1", "bilateral")], [], NOTHING, NOTHING, NOTHING, NOTHING, 0),
    (
        [("bilateral pleural effusions", "J90")],
        [("pleural effusions", "J90", "left"), ("basal pleural effusions", "J90", "right")],
        ONE, ONE, ONE, ONE, 0,
    ),
    (
        [("lung mass", "R91.8", "left"), ("emphysema", "J43.9")],
        [("emphysema", "J439", "none"), ("nodule", "R91.1", "left"), ("scoliosis", "M41.9", "none")],
        (1 / 3, 1 / 2, 2 / 5), (1 / 3, 1 / 2, 2 / 5), (2 / 3, 1, 4 / 5), (1 / 3, 1 / 2, 2 / 5), 1,
    ),
    ([("left lower lobe consolidation", "J18.1")], [("consolidation", "J18.1", "left")], NOTHING, ONE, ONE, ONE, 0),
    ([("hiatal hernia", "K44.9")], None, NOTHING, NOTHING, NOTHING, NOTHING, 0),
]  # fmt: skip


def test_ten_images_by_hand(tmp_path: Path, command) -> None:
    def rows(side: int) -> Iterator[dict[str, Any]]:
        for number, image in enumerate(TEN):
            said = [dict(zip(("phrase", "icd10", "side"), phrase, strict=False)) for phrase in image[side] or ()]
            labels, status = [phrase["phrase"] for phrase in said], "unparsed" if image[side] is None else "ok"
            yield {"report_id": f"x{number}", "labels": labels, "phrases": said, "status": status}

    for side, name in enumerate(("gold", "predictions")):
        write_jsonl(tmp_path / f"{name}.jsonl", rows(side))
    given = [f"{name}={tmp_path}/{name}.jsonl" for name in ("gold", "predictions")]
    code, out, err = command("evaluate.py", "task=radiograph", *given, f"output={tmp_path}/m.json")
    assert (code, err) == (0, "") and "averaged over reports, codes and sides  precision 0.433  recall 0.450" in out
    assert "0.30 [0.00, 0.60] findings a report that nothing in gold is meant by" in out
    found = read_json(tmp_path / "m.json")["codes"]
    for place, rule in enumerate(("name", "code", "category", "code_side"), start=2):
        means = [sum(image[place][measure] for image in TEN) / 10 for measure in range(3)]
        scored = found["per_report"][rule]
        assert [scored[measure] for measure in ("precision", "recall", "f1")] == pytest.approx(means), rule
        assert all(low <= scored[measure] <= high for measure, (low, high) in scored["ci95"].items())
    assert found["hallucinated"] == pytest.approx(sum(image[6] for image in TEN) / 10)
    assert [found[rule]["tp"] for rule in ("code", "category", "code_side")] == [5, 7, 4]
    assert [found[rule]["fp"] + found[rule]["tp"] for rule in ("code", "code_side")] == [10, 10]


@pytest.mark.parametrize(
    ("words", "side"),
    [
        ("bi-basilar atelectasis", "bilateral"),
        ("Bi-apical scarring", "bilateral"),
        ("bibasally", "bilateral"),
        ("effusions, R>L", "bilateral"),
        ("L > R effusions", "bilateral"),
        ("R-sided effusion", "right"),
        ("R. effusion", "right"),
        ("effusion (L)", "left"),
        ("R/L effusions", "bilateral"),
        ("1.5 L effusion, R/O L 5 or L spine fracture", "none"),
        ("l-sided pneumothorax", "left"),
        ("biventricular pacer", "none"),
        ("L-sided heart failure", "none"),
    ],
)
def test_sides_are_read_however_they_are_shortened(words: str, side: str) -> None:
    assert side_of(Phrase(words)) == side
