from pathlib import Path

import pytest

from radtune.files import write_jsonl
from radtune.label_files import read_labels
from radtune.labels import Answer
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
    for without in (coded(path, [("left effusion", None)]), coded(path, [("scar", "L90")], status="truncated")):
        assert score_codes(without, gold) is None
        assert score_codes(gold, without) is None
    found = score_codes(coded(path, [("pleural fluid", "J90")]), gold)
    assert found is not None
    assert (found.code.f1, found.n_matched, found.same_code) == (1, 0, None)
