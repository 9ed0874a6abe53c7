"""Changes to a report that change nothing of what it says."""

import textwrap
import tomllib
from pathlib import Path

import pytest
from chest import CHEST, labels
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from radtune.label_files import NO_FINDING
from radtune.sources.synthetic import generate

PROBES = [
    text
    for path in sorted(Path(__file__).with_name("probes").glob("*.toml"))
    for part, probes in tomllib.loads(path.read_text(encoding="utf-8")).items()
    for text in probes
    if part not in ("layout", "writing") and "\n" not in text
]
REPORTS = [made.report.text for made in generate(300, seed=5)]
ANY = st.sampled_from(PROBES + REPORTS)


@settings(max_examples=300, deadline=None)
@given(ANY)
def test_capitals(text: str) -> None:
    assert labels(text.upper()) == labels(text)
    assert labels(text.lower()) == labels(text)


@settings(max_examples=300, deadline=None)
@given(ANY, st.integers(2, 4))
def test_blanks(text: str, count: int) -> None:
    assert labels(text.replace(" ", " " * count)) == labels(text)
    assert labels(f"  {text}  ") == labels(text)


@settings(max_examples=400, deadline=None)
@given(ANY, st.integers(20, 100))
def test_line_wrapping(text: str, width: int) -> None:
    joined = text.replace("\n", " ")
    wrapped = "\n".join(textwrap.wrap(joined, width, break_long_words=False, break_on_hyphens=False))
    assert labels(wrapped) == labels(joined)


@settings(max_examples=300, deadline=None)
@given(ANY, st.sampled_from(["The patient is rotated.", "Two views were obtained.", "Dr. ___ was informed."]))
def test_an_unrelated_sentence(text: str, sentence: str) -> None:
    whole = text if text.endswith((".", "?")) else f"{text}."
    assert labels(f"{whole} {sentence}") == labels(whole)
    assert labels(f"{sentence} {whole}") == labels(whole)


@pytest.mark.parametrize("heading", ["Findings:", "FINDINGS:", "Impression:", "IMPRESSION:\n"])
@settings(max_examples=150, deadline=None)
@given(ANY)
def test_a_heading_in_front(heading: str, text: str) -> None:
    assert labels(f"{heading} {text}") == labels(text)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PROBES), st.sampled_from(PROBES))
def test_two_statements_add_up(one: str, other: str) -> None:
    strength = (1, -1, 0)
    # Under this heading no question is the referrer's; one that the other statement denies says nothing.
    assume("?" not in one)
    apart = [labels(f"Findings: {text}") for text in (one, other)]
    expected = {}
    for finding in CHEST.classes:
        values = [part[finding] for part in apart if finding in part]
        if values:
            expected[finding] = min(values, key=strength.index)
    together = labels(f"Findings: {one}\n\n{other}")
    assert {name: value for name, value in together.items() if name != NO_FINDING} == expected
    assert (NO_FINDING in together) == all(NO_FINDING in part for part in apart)
