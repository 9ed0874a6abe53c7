from pathlib import Path

import pytest

from radtune.config import InputError
from radtune.files import write_jsonl
from radtune.score.gold import combine, read_gold

MC, OE = "multiple_choice", "open_ended"


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    path = tmp_path / "curated.csv"
    path.write_text('uid,A,B,agreed\n1,"Edema, Fracture","edema, ",Edema\n2,Pneumonia,,Pneumonia\n3,Normal,Edema,\n')
    return path


def gold_of(path: Path, rule: str, task: str = MC) -> dict[str, tuple[str, ...]]:
    sides = read_gold(path, task, None, ["A", "B"], rule, None)
    return combine(list(sides.values()), rule, task).labels


def test_union_and_intersection(curated: Path) -> None:
    assert gold_of(curated, "union") == {"1": ("Edema", "Fracture"), "2": ("Pneumonia",), "3": ("Edema",)}
    assert gold_of(curated, "intersection") == {"1": ("Edema",), "2": (), "3": ()}


def test_phrases_are_the_same_by_the_matching_rule(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write_jsonl(
        path, [{"report_id": "1", "A": ["small left effusion", "Nodule"], "B": ["left effusion", "nodule", "scar"]}]
    )
    assert gold_of(path, "union", OE) == {"1": ("small left effusion", "Nodule", "left effusion", "scar")}
    assert gold_of(path, "intersection", OE) == {"1": ("small left effusion", "Nodule")}


def test_a_consensus_column_stands_beside_its_annotators(curated: Path) -> None:
    sides = read_gold(curated, MC, "agreed", ["A", "B"], None, None)
    assert list(sides) == ["A", "B", "gold"]
    assert sides["gold"].labels == {"1": ("Edema",), "2": ("Pneumonia",), "3": ()}


def test_combining_leaves_the_annotators_alone(curated: Path) -> None:
    sides = read_gold(curated, MC, None, ["A", "B"], "union", None)
    gold = combine(list(sides.values()), "union", MC)
    gold.statuses.clear()
    assert set(sides["A"].statuses) == {"1", "2", "3"}


@pytest.mark.parametrize(
    ("column", "columns", "rule", "message"),
    [
        (None, ["A"], "union", "two or more different columns"),
        (None, ["A", "A"], "union", "two or more different columns"),
        (None, ["A", "B"], None, "needs gold_rule=union|intersection or the gold_column"),
        ("agreed", ["A", "B"], "union", "needs gold_rule=union|intersection or the gold_column"),
        ("agreed", [], "union", "gold_rule needs the annotators' columns"),
        (None, ["A", "gold"], "union", "cannot be named 'gold'"),
        (None, ["A", "C"], "union", "no column 'C'"),
    ],
)
def test_contradicting_keys_are_refused(
    curated: Path, column: str | None, columns: list[str], rule: str | None, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_gold(curated, MC, column, columns, rule, None)
    assert message in str(caught.value)


def test_gold_must_be_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write_jsonl(path, [{"report_id": "1", "A": [], "B": [], "status": "refused"}])
    with pytest.raises(InputError, match="gold of report '1' has status refused"):
        gold_of(path, "union")
