import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.score.statements import Said, reading_rules, statement
from radtune.tasks import load_task

RULES = reading_rules(load_task("open_ended"))

REPORT = """Findings: Left effusion is small. No right effusion. Bochdalek hernia is unlikely on the left.
History of mastectomy. Rule out tuberculosis. The heart is enlarged.
Impression: Possible granuloma. Left effusion."""


@pytest.mark.parametrize(
    ("label", "said", "sentence"),
    [
        ("left effusion", Said.STATED, "Left effusion is small"),
        ("right effusion", Said.DENIED, "No right effusion"),
        ("Bochdalek hernia", Said.DENIED, "Bochdalek hernia is unlikely on the left"),
        ("left hernia", Said.DENIED, "Bochdalek hernia is unlikely on the left"),
        ("mastectomy", Said.STATED, "History of mastectomy"),
        ("tuberculosis", Said.DOUBTED, "Rule out tuberculosis"),
        ("calcified granuloma", Said.NOTHING, None),
        ("granuloma", Said.DOUBTED, "Possible granuloma"),
        ("cardiomegaly", Said.STATED, "The heart is enlarged"),
        ("Cardiomegaly", Said.STATED, "The heart is enlarged"),
        ("Pleural Effusion", Said.STATED, "Left effusion is small"),
        ("Fracture", Said.NOTHING, None),
    ],
)
def test_what_a_report_says(label: str, said: Said, sentence: str | None) -> None:
    found = statement(label, REPORT, RULES)
    assert found.said == said
    assert found.sentence == sentence


@given(st.text(min_size=1, max_size=30), st.text(max_size=100))
def test_any_text_says_something_or_nothing(label: str, text: str) -> None:
    found = statement(label, text, RULES)
    assert (found.sentence is None) == (found.said == Said.NOTHING)
    assert found.sentence is None or found.sentence in text
