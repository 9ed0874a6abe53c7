"""Progress: plain lines away from a terminal, items untouched."""

import re

import pytest

from radtune import progress as progress_module
from radtune.progress import progress


def test_plain_lines_away_from_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(progress(iter("abc"), "letters")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress_module, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(progress([1, 2], "reports", total=2, also=lambda: "1 failed")) == [1, 2]
    out, lines = capsys.readouterr()
    assert out == ""
    assert [line.split(",")[0] for line in lines.splitlines()] == ["1 of 2 reports", "2 of 2 reports"]
    assert all(re.search(r"/s, \d+\.\d min left, 1 failed$", line) for line in lines.splitlines())
