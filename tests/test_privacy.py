"""Which column names a message may show."""

import pytest

from radtune.label_files import label_columns
from radtune.privacy import looks_like_name, no_column, shown_columns
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
