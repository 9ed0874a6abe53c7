"""The ledger: nothing lost, nothing doubled, whatever byte a kill came at."""

import hashlib
import json
import resource
import stat
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radtune.ask.ledger import Ledger, ledger_path
from radtune.config import InputError


def key(name):
    return hashlib.sha256(name.encode()).hexdigest()


def answer(name, **more):
    return {"report_id": name, "response": "é “x”\n漢", **more}


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "annotations.jsonl.ledger"


def test_it_stands_beside_its_output():
    assert ledger_path(Path("runs/annotations.jsonl")) == Path("runs/annotations.jsonl.ledger")


def test_answers_are_in_the_file_at_once_and_for_the_owner_only(path):
    with Ledger(path) as ledger:
        for count in (1, 2, 3):
            ledger.append(key(f"r{count}"), answer(f"r{count}"))
            assert len(read(path)) == len(ledger) == count
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_answer_is_found_by_its_key_and_the_latest_one_counts(path):
    with Ledger(path) as ledger:
        ledger.append(key("a"), answer("a"))
        ledger.append(key("b"), answer("b", response="first"))
        ledger.append(key("b"), answer("b", response="second"))
        assert ledger.get(key("a")) == {"key_sha256": key("a"), **answer("a")}
    with Ledger(path) as ledger:
        assert (len(ledger), key("a") in ledger, key("c") in ledger) == (2, True, False)
        assert ledger.get(key("b"))["response"] == "second"
        assert ledger.get(key("c")) is None
    assert len(read(path)) == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_a_kill_at_any_byte_loses_at_most_the_answer_being_written(tmp_path, data):
    path = tmp_path / "annotations.jsonl.ledger"
    path.unlink(missing_ok=True)
    rows = [{"key_sha256": key(f"r{i}"), **answer(f"r{i}", more="x" * i)} for i in range(3)]
    lines = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]
    content = b"".join(lines)
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    # An answer without its newline is whole all the same.
    whole = sum(len(b"".join(lines[: i + 1])) - 1 <= cut for i in range(3))
    with Ledger(path) as ledger:
        assert [row["key_sha256"] in ledger for row in rows] == [i < whole for i in range(3)]
        for missing in rows[whole:]:
            ledger.append(missing["key_sha256"], {k: v for k, v in missing.items() if k != "key_sha256"})
        assert path.read_bytes() == content
        assert [ledger.get(row["key_sha256"]) for row in rows] == rows


def test_one_process_at_a_time(path):
    with Ledger(path) as ledger:
        ledger.append(key("a"), answer("a"))
        with pytest.raises(InputError, match=r"annotations\.jsonl\.ledger: another process"):
            Ledger(path)
    with Ledger(path) as ledger:
        assert key("a") in ledger


@pytest.mark.parametrize(
    "content",
    [
        '{"report_id": "r", "text": "Clear."}\n',
        '{"report_id": "r", "text": "Clear."}',
        "report_id,labels\n1,Edema\n",
        "notes without end of line",
        "[1, 2]",
        '{"key_sha256": "short", "response": ""}\n',
        '{"key_sha256": "' + "z" * 64 + '"}\n',
        '{"key_sha256": "a"\n{"key_sha256": "b"\n',
    ],
)
def test_a_file_of_something_else_is_left_as_it_is(path, content):
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError, match=r"annotations\.jsonl\.ledger:1: .*output="):
        Ledger(path)
    assert path.read_text() == content
    path.write_text("")
    with Ledger(path) as ledger:
        assert len(ledger) == 0


def test_a_damaged_line_is_told_without_its_text(path):
    with Ledger(path) as ledger:
        ledger.append(key("a"), answer("a", response="zebra"))
    path.write_bytes(path.read_bytes().replace(b'"zebra', b'zebra"'))
    with Ledger(path) as ledger, pytest.raises(InputError, match="line at byte 0 is damaged") as error:
        ledger.get(key("a"))
    assert "zebra" not in str(error.value)


def test_a_run_without_answers_leaves_no_file(path):
    with Ledger(path):
        pass
    # Nor the folder that it has made.
    assert not path.parent.exists()
    path.parent.mkdir()
    with Ledger(path):
        (path.parent / "other").touch()
    assert [other.name for other in path.parent.iterdir()] == ["other"]


def test_a_folder_or_a_place_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        Ledger(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        Ledger(tmp_path / "file" / "annotations.jsonl.ledger")


def test_a_full_disk_is_one_line_and_costs_only_the_answer(path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Ledger(path) as ledger:
        ledger.append(key("a"), answer("a"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 300, limits[1]))
        try:
            with pytest.raises(InputError, match=r"annotations\.jsonl\.ledger: cannot write"):
                ledger.append(key("b"), answer("b", response="long" * 500))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        ledger.append(key("c"), answer("c", response=""))
    assert [row["report_id"] for row in read(path)] == ["a", "c"]
    with Ledger(path) as ledger:
        assert [key(name) in ledger for name in "abc"] == [True, False, True]


def test_what_is_no_plain_file_is_refused():
    with pytest.raises(InputError, match="/dev/null: is a device or pipe"):
        Ledger(Path("/dev/null"))


def test_a_hundred_thousand_answers_open_fast_and_stay_on_disk(path):
    path.parent.mkdir()
    with open(path, "w", encoding="ascii") as stream:
        for number in range(100_000):
            stream.write(json.dumps({"key_sha256": key(str(number)), "response": "x" * 1000}) + "\n")
    tracemalloc.start()
    started = time.process_time()
    with Ledger(path) as ledger:
        took = time.process_time() - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(ledger) == 100_000
        assert ledger.get(key("77777"))["response"] == "x" * 1000
    # Tracing makes it several times slower than it is.
    assert took < 5
    assert peak < 40 * 2**20
