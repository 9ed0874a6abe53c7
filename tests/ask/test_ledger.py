"""The ledger: nothing lost, nothing doubled, whatever byte a kill came at."""

import hashlib
import json
import random
import resource
import sqlite3
import stat
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
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
    """What another process sees."""
    with closing(sqlite3.connect(path)) as db:
        return [json.loads(row) for (row,) in db.execute("SELECT answer FROM answers ORDER BY rowid")]


def test_answers_are_in_the_file_at_once_and_for_the_owner_only(path):
    with Ledger(path) as ledger:
        for count in (1, 2, 3):
            ledger.append(key(f"r{count}"), answer(f"r{count}"))
            assert len(read(path)) == len(ledger) == count
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ledger_path(Path("runs/annotations.jsonl")) == Path("runs/annotations.jsonl.ledger")


def test_an_answer_is_found_by_its_key_and_the_latest_one_counts(path):
    with Ledger(path) as ledger:
        ledger.append(key("a"), answer("a"))
        ledger.append(key("b"), answer("b", response="first"))
        ledger.append(key("b"), answer("b", response="second"))
        assert ledger.get(key("a")) == answer("a")
    with Ledger(path) as ledger:
        assert (len(ledger), key("a") in ledger, key("c") in ledger) == (2, True, False)
        assert ledger.get(key("b"))["response"] == "second"
        assert ledger.get(key("c")) is None


WRITER = """
import sys
from pathlib import Path
from radtune.ask.ledger import Ledger
with Ledger(Path(sys.argv[1])) as ledger:
    for number in range(len(ledger), 100_000):
        ledger.append(f"{number:064x}", {"report_id": f"r{number}", "response": "x" * (number % 3000)})
        print(number, flush=True)
"""


def test_a_kill_at_any_moment_loses_no_answer_that_was_appended(path):
    chance, kept = random.Random(3), 0  # noqa: S311  (no secret)
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        said = process.communicate()[0].split()
        # What the process has said that it wrote is there, whole, and readable for others.
        last = int(said[-1]) if said else kept
        held = read(path)
        assert len(held) > last and [row["report_id"] for row in held] == [f"r{n}" for n in range(len(held))]
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
        kept = len(held)
    with Ledger(path) as ledger:
        assert len(ledger) == kept and ledger.get(f"{kept - 1:064x}")["report_id"] == f"r{kept - 1}"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.data())
def test_an_earlier_versions_ledger_is_taken_over_whatever_byte_a_kill_came_at(tmp_path, data):
    path = tmp_path / "annotations.jsonl.ledger"
    path.unlink(missing_ok=True)
    rows = [{"key_sha256": key(f"r{i}"), **answer(f"r{i}", more="x" * i)} for i in range(3)]
    lines = [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows]
    content = b"".join(lines)
    cut = data.draw(st.integers(1, len(content)))
    path.write_bytes(content[:cut])
    # An answer without its newline is whole all the same.
    whole = sum(len(b"".join(lines[: i + 1])) - 1 <= cut for i in range(3))
    for _ in range(2):
        with Ledger(path) as ledger:
            assert [row["key_sha256"] in ledger for row in rows] == [i < whole for i in range(3)]
            assert [ledger.get(key(f"r{i}")) for i in range(whole)] == [
                answer(f"r{i}", more="x" * i) for i in range(whole)
            ]
            assert ledger.taken_over or not whole
    assert [file.name for file in tmp_path.iterdir()] == ([path.name] if whole else [])


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
        '{"report_id": "r", "text": "Clear."}',
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
    assert path.read_text() == content and len(list(path.parent.iterdir())) == 1
    path.write_text("")
    with Ledger(path) as ledger:
        assert len(ledger) == 0


def test_another_programs_database_is_left_as_it_is(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (text)")
    content = path.read_bytes()
    with pytest.raises(InputError, match="not answers written here"):
        Ledger(path)
    assert path.read_bytes() == content


def test_a_damaged_answer_is_told_without_its_text(path):
    with Ledger(path) as ledger:
        ledger.append(key("a"), answer("a", response="zebra"))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE answers SET answer = replace(answer, '\"zebra', 'zebra')")
    with Ledger(path) as ledger, pytest.raises(InputError, match="is damaged") as error:
        ledger.get(key("a"))
    assert "zebra" not in str(error.value)


def test_a_run_without_answers_leaves_no_file(path):
    with Ledger(path):
        assert path.exists()
    assert not list(path.parent.iterdir())


def test_a_folder_a_device_or_a_place_that_cannot_be_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        Ledger(tmp_path)
    with pytest.raises(InputError, match="/dev/null: is a device"):
        Ledger(Path("/dev/null"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        Ledger(tmp_path / "file" / "annotations.jsonl.ledger")


def test_a_full_disk_is_one_line_and_costs_only_the_answer(path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Ledger(path) as ledger:
        ledger.append(key("a"), answer("a"))
        log = path.with_name(f"{path.name}-wal")
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 300, limits[1]))
        try:
            with pytest.raises(InputError, match=r"annotations\.jsonl\.ledger: cannot write"):
                ledger.append(key("b"), answer("b", response="long" * 5000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert key("b") not in ledger
        ledger.append(key("c"), answer("c", response=""))
    assert [row["report_id"] for row in read(path)] == ["a", "c"]
    with Ledger(path) as ledger:
        assert [key(name) in ledger for name in "abc"] == [True, False, True]


def test_a_hundred_thousand_answers_are_opened_and_looked_up_fast_and_stay_on_disk(path):
    keys = [key(str(number)) for number in range(100_000)]
    with Ledger(path) as ledger:
        for name in keys:
            ledger._db.execute("BEGIN") if name == keys[0] else None
            ledger.append(name, {"response": "x" * 1000})
        ledger._db.execute("COMMIT")
    tracemalloc.start()
    with Ledger(path) as ledger:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(ledger) == 100_000 and peak < 60 * 2**20
    began = time.process_time()
    with Ledger(path) as ledger:
        assert all(ledger.get(name) for name in keys)
    # Open and looked up in 2 s on a quiet machine.
    assert time.process_time() - began < 5
