"""The ledger: nothing lost, nothing doubled, whatever byte a kill came at."""

import json
import resource
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radtune.config import InputError
from radtune.teacher.ledger import Ledger


def row(report_id, key="k", status="ok", **more):
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    return {
        "report_id": report_id,
        "response": "é “x”\n漢",
        "status": status,
        "usage": usage,
        "key_sha256": key,
        **more,
    }


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "annotations.jsonl"


def test_rows_are_in_the_file_at_once_and_for_the_owner_only(path):
    with Ledger(path) as ledger:
        for count in (1, 2, 3):
            ledger.append(row(f"r{count}"))
            assert len(read(path)) == count
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_later_row_takes_the_place_of_an_earlier_one(path):
    with Ledger(path) as ledger:
        ledger.append(row("b", status="failed"))
        ledger.append(row("a"))
    with Ledger(path) as ledger:
        ledger.append(row("b", key="k2"))
        assert {name: (entry.key_sha256, entry.status) for name, entry in ledger.entries.items()} == {
            "a": ("k", "ok"),
            "b": ("k2", "ok"),
        }
        assert len(read(path)) == 3
        ledger.finish(["a", "b", "c"])
        assert read(path) == [row("a"), row("b", key="k2")]
        # It goes on after a rewrite, and what it knows fits the new file.
        ledger.append(row("c"))
        ledger.finish(["c", "b", "a"])
    assert read(path) == [row("c"), row("b", key="k2"), row("a")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_tokens_are_summed_over_prompt_and_answer(path):
    with Ledger(path) as ledger:
        ledger.append(row("a"))
        ledger.append(row("b", usage=None))
        assert [entry.tokens for entry in ledger.entries.values()] == [7, 0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_a_kill_at_any_byte_loses_at_most_the_row_being_written(tmp_path, data):
    path = tmp_path / "annotations.jsonl"
    path.unlink(missing_ok=True)
    rows = [row(f"r{i}", response="x" * i) for i in range(3)]
    lines = [json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in rows]
    content = b"".join(lines)
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    # A row without its newline is whole all the same.
    whole = sum(len(b"".join(lines[: i + 1])) - 1 <= cut for i in range(3))
    with Ledger(path) as ledger:
        assert list(ledger.entries) == [f"r{i}" for i in range(whole)]
        for missing in rows[whole:]:
            ledger.append(missing)
        assert path.read_bytes() == content
        ledger.finish(["r2", "r0", "r1"])
    assert read(path) == [rows[2], rows[0], rows[1]]


def test_what_a_kill_in_a_rewrite_left_is_taken_away(path):
    path.parent.mkdir()
    for name in (".annotations.jsonl.abc123.tmp", ".other.jsonl.abc123.tmp"):
        (path.parent / name).write_text("half a copy")
    with Ledger(path) as ledger:
        ledger.append(row("a"))
    assert sorted(file.name for file in path.parent.iterdir()) == [".other.jsonl.abc123.tmp", "annotations.jsonl"]


def test_one_process_at_a_time(path):
    with Ledger(path) as ledger:
        ledger.append(row("a"))
        with pytest.raises(InputError, match=r"annotations\.jsonl: another process"):
            Ledger(path)
        ledger.finish(["a"])
        # The file under that name is a new one, and just as locked.
        with pytest.raises(InputError, match="another process"):
            Ledger(path)
    with Ledger(path) as ledger:
        assert list(ledger.entries) == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        '{"report_id": "r", "text": "Clear."}\n',
        '{"report_id": "r", "text": "Clear."}',
        "report_id,labels\n1,Edema\n",
        "notes without end of line",
        "[1, 2]",
        '{"report_id": "r", "status": "ok", "key_sha256": "k", "usage": 3}\n',
        '{"report_id": "a"\n{"report_id": "b"\n',
    ],
)
def test_a_file_of_something_else_is_left_as_it_is(path, content):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError, match=r"annotations\.jsonl:1: .*output="):
        Ledger(path)
    assert path.read_text() == content
    path.write_text("")
    with Ledger(path) as ledger:
        assert ledger.entries == {}


def test_a_run_without_rows_leaves_no_file(path):
    with Ledger(path) as ledger:
        ledger.finish(["a"])
    assert list(path.parent.iterdir()) == []


def test_a_folder_or_a_place_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        Ledger(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        Ledger(tmp_path / "file" / "annotations.jsonl")


def test_a_full_disk_is_one_line_and_costs_only_the_row(path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Ledger(path) as ledger:
        ledger.append(row("a"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 300, limits[1]))
        try:
            with pytest.raises(InputError, match=r"annotations\.jsonl: cannot write"):
                ledger.append(row("b", response="long" * 500))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        ledger.append(row("c", response=""))
    assert read(path) == [row("a"), row("c", response="")]
    with Ledger(path) as ledger:
        assert list(ledger.entries) == ["a", "c"]


def test_what_is_no_plain_file_is_refused():
    with pytest.raises(InputError, match="/dev/null: not a plain file"):
        Ledger(Path("/dev/null"))
