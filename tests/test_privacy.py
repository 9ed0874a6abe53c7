"""Which column names a message may show, and which characters a terminal gets."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radtune.ask.run import Run
from radtune.engines.server import ServerEngine
from radtune.label_files import label_columns
from radtune.privacy import ToPeople, looks_like_name, nearest, no_column, printable, say, shown_columns
from radtune.tasks import load_task


@pytest.mark.parametrize(
    "name", [*label_columns(load_task("multiple_choice")), "", "x", "subject_id", "Note_Text", "NOTE (2nd)"]
)
def test_names(name: str) -> None:
    assert looks_like_name(name)


@pytest.mark.parametrize(
    "cell", ["1", "s1", "50414267", "2024-11-22", "Clear.", "Small, new", "No acute disease seen", "x" * 41, "___"]
)
def test_first_cells_of_a_table_without_a_header(cell: str) -> None:
    assert not looks_like_name(cell)
    assert shown_columns(["study_id", cell]) == "2 columns; is the header missing?"


def test_a_column_that_is_absent() -> None:
    assert shown_columns(["study_id", "Note Text"]) == "columns: study_id, Note Text"
    assert no_column("txt", ["uid", "text"]) == "no column 'txt'; did you mean 'text'?; columns: uid, text"
    assert no_column("secrets", ["1", "secret"]) == "no column 'secrets'; 2 columns; is the header missing?"


def test_a_suggestion_ignores_case() -> None:
    assert [nearest(name, ["Model", "max_tokens"]) for name in ("MODEL", "modle", "Max_Token", "zzz")] == [
        "; did you mean 'Model'?", "; did you mean 'Model'?", "; did you mean 'max_tokens'?", "",
    ]  # fmt: skip


@given(st.text())
def test_no_text_steers_a_terminal(text: str) -> None:
    """What is left of control characters (Cc) is the tab and the line feed; of marks of direction (Cf), none."""
    kept = printable(text)
    assert all(letter in "\t\n" or letter >= " " for letter in kept)
    assert not set("\x7f\x80\x9b\x9f\u200e\u202e\u2066\r\0") & set(kept)
    assert printable(kept) == kept
    assert text.isprintable() is False or kept == text


def test_streams_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    below = io.StringIO()
    stream = ToPeople(below)
    print("r1\x1b]0;title\x07", "two\tcells", "\u202egnp.exe", file=stream)
    assert below.getvalue() == "r1\\x1b]0;title\\x07 two\tcells \\u202egnp.exe\n"
    assert not stream.isatty() and stream.getvalue() == below.getvalue()
    say("id \x9b2J\r")
    assert capsys.readouterr().err == "id \\x9b2J\\r\n"


@pytest.mark.parametrize("kind", [Run, ServerEngine])
def test_what_holds_reports_or_a_key_prints_neither(kind: type) -> None:
    assert kind.__repr__ is object.__repr__
