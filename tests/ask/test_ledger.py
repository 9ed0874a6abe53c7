"""The ledger: nothing lost, nothing doubled, whatever byte a kill came at and however full the disk."""

import dataclasses
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

from radtune.ask import ledger as ask_ledger
from radtune.ask.ledger import Ledger, Said, ledger_path
from radtune.config import InputError
from radtune.files import jsonl_line


def key(name):
    return hashlib.sha256(name.encode()).hexdigest()


def answer(name, response="é “x”\n漢", **more):
    return Said(response, True, False, name, **more)


def rows_of(path):
    """What another process sees."""
    with closing(sqlite3.connect(path)) as db:
        return [json.loads(row) for (row,) in db.execute("SELECT answer FROM answers ORDER BY rowid")]


def test_an_answer_is_in_the_file_at_once_for_the_owner_only_and_the_latest_one_counts(path):
    with Ledger(path) as ledger:
        for count in (1, 2, 3):
            ledger.append(key(f"r{count}"), answer(f"r{count}", "first", usage={"prompt_tokens": count}))
            assert len(rows_of(path)) == len(ledger) == count
        ledger.append(key("r3"), answer("r3", seed_example_ids=("s1", "s2"), scores={"Edema": 0.5}))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(InputError, match=r"annotations\.jsonl\.ledger: another process"):
            Ledger(path)
    with Ledger(path) as ledger:
        assert (len(ledger), key("r1") in ledger, key("c") in ledger) == (3, True, False)
        assert ledger.get(key("r1")) == answer("r1", "first", usage={"prompt_tokens": 1})
        assert ledger.get(key("r3")) == answer("r3", seed_example_ids=("s1", "s2"), scores={"Edema": 0.5})
        assert ledger.get(key("c")) is None
    assert ledger_path(Path("runs/annotations.jsonl")) == Path("runs/annotations.jsonl.ledger")


WRITER = """
import sys
from pathlib import Path
from radtune.ask.ledger import Ledger, Said
with Ledger(Path(sys.argv[1])) as ledger:
    for number in range(len(ledger), 100_000):
        ledger.append(f"{number:064x}", Said("x" * (number % 3000), True, False, f"r{number}"))
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
        held = rows_of(path)
        assert len(held) > last and [row["report_id"] for row in held] == [f"r{n}" for n in range(len(held))]
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
        kept = len(held)
    with Ledger(path) as ledger:
        assert len(ledger) == kept and ledger.get(f"{kept - 1:064x}").report_id == f"r{kept - 1}"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.data())
def test_an_earlier_versions_ledger_is_taken_over_whatever_byte_a_kill_came_at(tmp_path, data):
    path = tmp_path / "annotations.jsonl.ledger"
    path.unlink(missing_ok=True)
    rows = [answer(f"r{i}", "x" * i) for i in range(3)]
    lines = [jsonl_line({"key_sha256": key(row.report_id), **vars(row)}).encode() for row in rows]
    # Blank lines, the ends of Windows' editors, and zeros that a power cut left are no answers.
    gaps = [data.draw(st.sampled_from([b"", b"\n", b" \r\n", b"\0" * 100 + b"\n"])) for _ in rows]
    lines = [line + gap for line, gap in zip(lines, gaps, strict=True)]
    content = b"".join(lines)
    ends = [len(b"".join(lines[:i])) + lines[i].index(b"\n") for i in range(3)]
    cut = data.draw(st.one_of(st.integers(1, len(content)), st.sampled_from(ends)))
    path.write_bytes(content[:cut] + data.draw(st.sampled_from([b"", b"\0" * 512])))
    # An answer without its newline is whole all the same.
    whole = sum(end <= cut for end in ends)
    for _ in range(2):
        with Ledger(path) as ledger:
            assert [key(f"r{i}") in ledger for i in range(3)] == [i < whole for i in range(3)]
            assert [ledger.get(key(f"r{i}")) for i in range(whole)] == rows[:whole]
            assert ledger.taken_over or not whole
    assert [file.name for file in tmp_path.iterdir()] == ([path.name] if whole else [])


def test_a_damaged_line_of_an_earlier_ledger_is_named_and_costs_only_itself(path):
    path.parent.mkdir()
    lines = [jsonl_line({"key_sha256": key(name), **vars(answer(name, "zebra"))}) for name in "abc"]
    for damaged in ('{"key_sha256": "a"\n', lines[1][:-3] + "\n", "null\n", lines[1][:-1] + lines[2]):
        content = f"{lines[0]}\n{damaged}{lines[2]}"
        path.write_text(content)
        with pytest.raises(
            InputError, match=r"annotations\.jsonl\.ledger:3: a damaged answer; remove this line"
        ) as error:
            Ledger(path)
        assert "zebra" not in str(error.value) and path.read_text() == content


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


def test_another_programs_database_a_folder_a_device_and_a_place_that_cannot_be_are_refused(path, tmp_path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (text)")
    content = path.read_bytes()
    with pytest.raises(InputError, match="not answers written here"):
        Ledger(path)
    assert path.read_bytes() == content
    with pytest.raises(InputError, match="is a folder"):
        Ledger(tmp_path)
    with pytest.raises(InputError, match="/dev/null: is a device"):
        Ledger(Path("/dev/null"))
    with pytest.raises(InputError, match="cannot write"):
        Ledger(path / "annotations.jsonl.ledger")


def edit(path, change):
    with closing(sqlite3.connect(path)) as db, db:
        (text,) = db.execute("SELECT answer FROM answers").fetchone()
        db.execute("UPDATE answers SET answer = ?", [change(text)])


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": "zebra"}, {"usage": {"prompt_tokens": "zebra"}}, {"usage": {"prompt_tokens": -(10**30)}},
        {"usage": [1]}, {"scores": {"Edema": "zebra"}}, {"seed": "zebra", "vote": None}, {"cut_words": 1.5},
        {"seed_example_ids": "s1"}, {"asked_again": "no", "as_json": 7}, {"report_id": 5, "created": {}, "more": [[]]},
    ],
)  # fmt: skip
def test_odd_values_beside_an_answer_cost_nothing(path, odd):
    whole = answer("a", usage={"prompt_tokens": 3}, scores={"Edema": 0.5}, seed=3)
    with Ledger(path) as ledger:
        ledger.append(key("a"), whole)
    edit(path, lambda text: json.dumps(json.loads(text) | odd))
    defaults = {name: Said.__dataclass_fields__[name].default for name in odd.keys() - {"more"}}
    with Ledger(path) as ledger:
        assert ledger.get(key("a")) == dataclasses.replace(whole, **defaults)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"zebra', "zebra"),
        lambda text: text.replace('"response":"zebra"', '"response":null'),
        lambda text: text.replace('"response":"zebra"', '"response":["zebra"]'),
        lambda text: text.replace('"response":"zebra",', ""),
        lambda text: text.replace('"finished":true', '"finished":"no"'),
        lambda text: text.replace("{", '{"x": ' + "[" * 100_000 + "]" * 100_000 + ", ", 1),
        lambda text: "[]",
        lambda text: 5,
    ],
)
def test_a_damaged_answer_is_told_without_its_text(path, change):
    with Ledger(path) as ledger:
        ledger.append(key("a"), answer("a", "zebra"))
    edit(path, change)
    with Ledger(path) as ledger, pytest.raises(InputError, match=r"\.ledger: a damaged answer; .*: sqlite3 ") as error:
        ledger.get(key("a"))
    assert "zebra" not in str(error.value)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(str(error.value).split('"')[1])
    with Ledger(path) as ledger:
        assert len(ledger) == 0


def test_a_run_without_answers_leaves_no_file(path):
    with Ledger(path):
        assert path.exists()
    assert not list(path.parent.iterdir())


def test_on_a_full_disk_an_answer_waits_for_room(path, capsys, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Ledger(path) as ledger:
        ledger.append(key("a"), answer("a"))
        log = path.with_name(f"{path.name}-wal")
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 300, limits[1]))
        try:
            monkeypatch.setattr(ask_ledger, "MOST_PATIENCE_S", 0.0)
            with pytest.raises(InputError, match=r"annotations\.jsonl\.ledger: cannot write: .*; the last answers"):
                ledger.append(key("b"), answer("b", "long" * 5000))
            assert key("b") not in ledger
            monkeypatch.setattr(ask_ledger, "MOST_PATIENCE_S", 60.0)
            pauses = iter(range(3))

            def pause(seconds):
                if next(pauses) == 2:
                    resource.setrlimit(resource.RLIMIT_FSIZE, limits)

            monkeypatch.setattr(ask_ledger.time, "sleep", pause)
            ledger.append(key("b"), answer("b", "long" * 5000))
            assert list(pauses) == []
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        ledger._db.execute("CREATE TRIGGER no BEFORE INSERT ON answers BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(InputError, match="cannot write: no"):
            ledger.append(key("c"), answer("c"))
    assert capsys.readouterr().err.count("waiting for room") == 1
    assert [row["report_id"] for row in rows_of(path)] == ["a", "b"]


def test_a_hundred_thousand_answers_are_opened_and_looked_up_fast_and_stay_on_disk(path):
    keys = [key(str(number)) for number in range(100_000)]
    with Ledger(path) as ledger:
        ledger.append(keys[0], Said("x" * 1000, True, False))
    (kept,) = rows_of(path)
    with closing(sqlite3.connect(path)) as db, db:
        text = json.dumps(kept)
        db.executemany("INSERT OR IGNORE INTO answers VALUES (?, '', ?)", [(name, text) for name in keys])
    tracemalloc.start()
    with Ledger(path) as ledger:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(ledger) == 100_000 and peak < 60 * 2**20
    began = time.process_time()
    with Ledger(path) as ledger:
        assert all(ledger.get(name) for name in keys[::10])
    # Open and a tenth of them looked up in 0.3 s on a quiet machine.
    assert time.process_time() - began < 3
