from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from radtune.config import InputError
from radtune.label_files import LabelFile
from radtune.labels import Answer, State
from radtune.score.agreement import agreement_text, cohen_kappa, compare, compare_tables
from radtune.tasks import load_task

MC = load_task("multiple_choice")
LABELS = st.sampled_from([1, 0, -1, None])


def table(**rows: dict[str, int]) -> LabelFile:
    states = {report_id: {name: State(value) for name, value in row.items()} for report_id, row in rows.items()}
    answers = {report_id: Answer(MC.labels_of(row), report_id, states=row) for report_id, row in states.items()}
    return LabelFile(Path("x.csv"), answers, has_states=True)


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1))
def test_kappa_is_scikit_learns(pairs: list[tuple[int | None, int | None]]) -> None:
    first, second = ([9 if label is None else label for label in side] for side in zip(*pairs, strict=True))
    kappa = cohen_kappa(Counter(pairs))
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    else:
        assert kappa is None


def test_only_shared_reports_are_compared_and_differences_are_named() -> None:
    a = table(x={"Edema": 1, "Pneumonia": 1}, y={"Edema": 0}, z={"Edema": -1}, only_a={"Edema": 1})
    b = table(z={"Edema": 1}, y={"Edema": 0}, x={"Edema": 1, "Pneumonia": 0})
    found = compare_tables(MC, a, b)
    assert (found.figures.n_reports, found.only_in_a, found.only_in_b) == (3, 1, 0)
    assert found.figures.per_class_agreement["Edema"] == pytest.approx(2 / 3)
    assert found.differ["Edema"] == [{"report_id": "z", "a": -1, "b": 1}]
    assert found.figures.per_class_kappa["Pneumonia"] == pytest.approx(cohen_kappa({(1, 0): 1, (None, None): 2}))
    # Neither says No Finding, and classes without a column are not compared.
    assert list(found.differ) == [*MC.classes]
    assert list(compare_tables(MC, replace(a, missing=("Edema",)), b).differ) == [x for x in MC.classes if x != "Edema"]
    other = table(**{"s01": {"Edema": 1}, "02": {"Edema": 0}})
    assert compare_tables(MC, table(**{"1": {"Edema": 1}, "2": {"Edema": 1}}), other).differ["Edema"] == [
        {"report_id": "2", "a": 1, "b": 0}
    ]
    # Long lists are cut on screen only.
    a, b = (table(**{f"r{i}": {"Edema": (i + shift) % 2} for i in range(12)}) for shift in (0, 1))
    found = compare_tables(MC, a, b)
    assert (len(found.differ["Edema"]), found.figures.per_class_kappa["Edema"]) == (12, pytest.approx(-1))
    assert "r0, r1, r2 and 9 more" in agreement_text(found)


def test_tables_without_a_common_report_are_refused() -> None:
    with pytest.raises(InputError, match="no report in common"):
        compare_tables(MC, table(x={}), table(y={}))
    with pytest.raises(InputError, match="no label table"):
        compare_tables(MC, LabelFile(Path("x.csv"), {"x": Answer((), "x")}), table(x={}))


SHAPE = st.integers(1, 12).map(lambda reports: (reports, len(MC.classes)))


@settings(max_examples=40, deadline=None)
@given(SHAPE.flatmap(lambda shape: st.tuples(*[arrays(bool, shape)] * 3)))
def test_set_agreement_is_scikit_learns(sides: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    first, second, judged = sides
    found = compare(MC.classes, "a", first, "b", second, judged)
    cells = [(first[judged], second[judged], found.kappa, found.agreement)]
    for column, name in enumerate(MC.classes):
        kept = judged[:, column]
        figures = found.per_class_kappa[name], found.per_class_agreement[name]
        cells.append((first[kept, column], second[kept, column], *figures))
    for a, b, kappa, agreement in cells:
        if len(a) == 0:
            assert (kappa, agreement) == (None, None)
            continue
        assert agreement == pytest.approx((a == b).mean())
        if a.min() == a.max() or b.min() == b.max():
            assert kappa is None
        else:
            assert kappa == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
    equal = [(a[k] == b[k]).all() for a, b, k in zip(*sides, strict=True) if k.any()]
    assert (found.n_reports, found.exact) == (len(equal), pytest.approx(np.mean(equal) if equal else 0))
