"""Files appear whole or not at all, belong to their owner, and bad ones are named by file and line."""

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from radtune.config import InputError
from radtune.files import (
    LOCK,
    MAX_LINE,
    check_outputs,
    jsonl_line,
    lock,
    manifest_path,
    read_json,
    read_jsonl,
    sha256_file,
    sha256_text,
    write_bytes,
    write_jsonl,
    write_manifest,
    write_whole,
    write_whole_folder,
)

# Writes a file slowly, as a long command does, after telling that it has begun.
SLOW_WRITER = """
import sys, time
from pathlib import Path
from radtune.command import run_command
from radtune.config import key
from radtune.files import write_whole
from dataclasses import dataclass
from datetime import datetime
@dataclass
class Keys:
    output: Path = key("Where to.")
def main(config):
    with write_whole(config.output) as stream:
        stream.write("patient text " * 1000)
        stream.flush()
        print("begun", flush=True)
        while True:
            time.sleep(0.1)
run_command(main, Keys)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_writer_leaves_nothing_under_the_name(tmp_path: Path, sent: signal.Signals) -> None:
    path = tmp_path / "a[b]*.jsonl"
    path.write_text("what stood there before")
    command = [sys.executable, "-c", SLOW_WRITER, f"output={path}"]
    # Under nohup a command outlives its terminal.
    with subprocess.Popen(["nohup", *command] if sent == signal.SIGHUP else command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(sent)
        if sent == signal.SIGHUP:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
        else:
            process.wait()
        # Of two writers neither takes the other's file away.
        with write_whole(path) as stream:
            stream.write("new")
        if sent == signal.SIGHUP:
            process.terminate()
    assert process.returncode == (-signal.SIGKILL if sent == signal.SIGKILL else 130)
    assert {other.name: other.read_text() for other in tmp_path.iterdir()} == {path.name: "new"}


def test_a_written_file_is_the_owners_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "a.txt"
    with write_whole(path) as stream:
        stream.write("é\n")
    with pytest.raises(KeyError), write_whole(path) as stream:
        stream.write("half")
        raise KeyError
    assert path.read_bytes() == "é\n".encode()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
    try:
        with (
            pytest.raises(InputError, match=r"a\.txt: cannot write: File too large"),
            write_whole(tmp_path / "a.txt") as stream,
        ):
            for _ in range(1000):
                stream.write("x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(tmp_path.iterdir()) == []


def test_bytes_and_folders_are_written_whole_too(tmp_path: Path) -> None:
    write_bytes(tmp_path / "new" / "a.png", b"\xff\x00\r\n")
    assert (tmp_path / "new" / "a.png").read_bytes() == b"\xff\x00\r\n"
    folder = tmp_path / "model"
    for text in ("one", "two"):
        with write_whole_folder(folder) as unfinished:
            (unfinished / "deep").mkdir()
            (unfinished / "deep" / text).write_text(text)
    with pytest.raises(KeyError), write_whole_folder(folder) as unfinished:
        (unfinished / "three").touch()
        raise KeyError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new"]
    assert [path.name for path in folder.rglob("*")] == ["deep", "two"]
    assert {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))} == {0o700, 0o600}


@pytest.mark.parametrize("moment", range(4))
def test_a_folder_is_not_gone_before_its_successor_is_whole(tmp_path: Path, moment: int) -> None:
    """A writer killed before or after each renaming leaves one of the two, which the next writer finds."""
    folder = tmp_path / "adapter"
    with write_whole_folder(folder) as unfinished:
        (unfinished / "weights").write_text("first")
    if (child := os.fork()) == 0:
        replace, calls = os.replace, iter(range(4))

        def killed(source: Path, target: Path) -> None:
            if next(calls) == moment:
                os._exit(9)
            replace(source, target)
            if next(calls) == moment:
                os._exit(9)

        os.replace = killed  # type: ignore[assignment]
        with write_whole_folder(folder) as unfinished:
            (unfinished / "weights").write_text("second")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert (tmp_path / "adapter/weights").is_file() or (tmp_path / ".adapter.old/weights").is_file()
    with pytest.raises(KeyError), write_whole_folder(folder):
        raise KeyError
    assert (folder / "weights").read_text() == ("second" if moment == 3 else "first")
    with write_whole_folder(folder) as unfinished:
        (unfinished / "weights").write_text("third")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "run" / LOCK
    code = f"from pathlib import Path; from radtune.files import lock; kept = lock(Path({str(path)!r})); input('held')"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.read(4) == "held"
        with refused(line=f"{tmp_path / 'run'}: another process is writing there"):
            lock(path)
        process.kill()
    with lock(path):
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InputError, match="is a device or pipe"):
        lock(Path(os.devnull))


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.text())), max_size=5))
def test_jsonl_reads_what_it_wrote(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "rows.jsonl"
    assert write_jsonl(path, rows) == len(rows)
    assert [row for _, row in read_jsonl(path)] == rows


def test_marks_blank_lines_and_surrogates(tmp_path: Path) -> None:
    assert jsonl_line({"response": "edema \ud83d"}) == '{"response": "edema ?"}\n'
    path = tmp_path / "rows.jsonl"
    path.write_text('\ufeff{"a": 1}\n\n  \n{"a": "\\ud83d\\ude00"}')
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (4, {"a": "😀"})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"a": "secret', ":1: not valid JSON"),
        ("a.jsonl", b"{}\n[1]", ":2: expected a JSON object, got list"),
        ("a.jsonl", b"[" * 100_000, ":1: not valid JSON"),
        ("a.jsonl", b'{"a": {"b": 1, "c": 2, "b": 1}}', ":1: a key stands twice in a JSON object"),
        ("config.json", b'{"text": "secret", "text": "other"}', ": a key stands twice in a JSON object"),
        ("config.json", b"", ": not valid JSON"),
        ("a.jsonl", b'{"a": "\\ud83d"}', ":1: half a surrogate pair in an escape"),
        ("a.jsonl", b'{}\n{"a": "caf\xe9"}', ": line 1 or near it is not UTF-8; save it as UTF-8"),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 1000, mtime=0)[:-20], ": truncated or damaged gzip file"),
        ("a.jsonl.gz", gzip.compress(b"{}\n", mtime=0)[:-8] + b"8 bytes.", ": truncated or damaged gzip file"),
        ("a.jsonl.gz", b"plain text", ": truncated or damaged gzip file"),
        ("a.jsonl", None, ": No such file or directory"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with refused(line=f"{path}{message}"):
        read_json(path) if path.suffix == ".json" else list(read_jsonl(path))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_line_that_would_fill_the_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with gzip.open(path, "wb", compresslevel=1) if name.endswith(".gz") else path.open("wb") as stream:
        stream.write(b"{}\n")
        for _ in range(5 * MAX_LINE // 2**20):
            stream.write(b"x" * 2**20)
    tracemalloc.start()
    with pytest.raises(InputError) as caught:
        list(read_jsonl(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value) == f"{path}:2: longer than 67,108,864 characters"
    assert peak < 3 * MAX_LINE


def test_outputs_that_would_overwrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").touch()
    (tmp_path / "link.csv").symlink_to("in.csv")
    one, other = Path("a.jsonl"), Path("b.jsonl")
    check_outputs([one, other, None, Path("a.csv")], [Path("in.csv"), None])
    for outputs, line in (
        ([Path("in.csv")], "in.csv: would overwrite in.csv"),
        ([tmp_path / "in.csv"], f"{tmp_path}/in.csv: would overwrite in.csv"),
        ([one, Path("link.csv")], "link.csv: would overwrite in.csv"),
        ([one, other, Path("./a.jsonl")], "a.jsonl: would overwrite a.jsonl"),
        ([one, Path("a.jsonl.manifest.json")], "a.jsonl.manifest.json: would overwrite a.jsonl.manifest.json"),
    ):
        with refused(line=line):
            check_outputs(outputs, [Path("in.csv")])
    for name in ("a.csv", "a.XLSX", "a.tsv", "a.parquet"):
        with pytest.raises(InputError, match=rf"^{name}: JSON lines are written there; end its name in \.jsonl$"):
            check_outputs([], [], [one, Path(name)])
    with pytest.raises(InputError, match="would overwrite"):
        check_outputs([Path("in.jsonl")], [], [None, Path("in.jsonl")])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "is a folder, expected a file name"),
        ("pipe", "is a device or pipe, expected a file name"),
        ("file/a.jsonl", "cannot write: (Not a directory|File exists)"),
        ("nowhere/a.jsonl", "cannot write: (No such file or directory|File exists)"),
        ("n" * 250, "cannot write: File name too long"),
        ("/proc/1/a.jsonl", "cannot write: "),
        # Of these only outputs, which bring a manifest, are refused.
        ("taken.csv", "is a folder"),
        ("a.jsonl.gz", "outputs are not packed; leave .gz out"),
        ("n" * 235, "cannot write: File name too long"),
        ("/", "expected a file name"),
    ],
)
def test_places_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("nothing")
    (tmp_path / "folder").mkdir()
    (tmp_path / "taken.csv.manifest.json").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match=message):
        check_outputs([tmp_path / "new/deep/good.jsonl", None, tmp_path / name])
    if name not in ("taken.csv", "a.jsonl.gz", "n" * 235, "/"):
        with pytest.raises(InputError, match=message), write_whole(tmp_path / name):
            pass
    assert set(tmp_path.iterdir()) == before


@dataclass
class Keys:
    seed: int
    output: Path


def test_a_manifest_tells_what_made_a_file(tmp_path: Path) -> None:
    output, source = tmp_path / "reports.jsonl", tmp_path / "in.csv"
    output.write_text("out")
    source.write_text("in")
    written = write_manifest(output, Keys(3, output), [source, None, tmp_path], counts={"read": 1})
    assert written == manifest_path(output) == tmp_path / "reports.jsonl.manifest.json"
    manifest = json.loads(written.read_text())
    assert manifest["config"] == {"seed": 3, "output": str(output)}
    assert manifest["inputs"] == {str(source): sha256_text("in")}
    assert manifest["output"] == {"path": str(output), "sha256": sha256_file(output)}
    assert manifest["counts"] == {"read": 1}
    assert manifest["versions"]["python"].startswith("3.")
    assert datetime.fromisoformat(manifest["created"]).tzinfo is not None
    assert {"command", "git_commit"} <= set(manifest)


def test_no_manifest_tells_of_what_another_process_has_written(tmp_path: Path) -> None:
    output = tmp_path / "reports.jsonl"
    write_jsonl(output, [{"by": "us"}])
    write_manifest(output, {})
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "theirs").rename(output)
    with pytest.raises(InputError, match="another process has written it meanwhile"):
        write_manifest(output, {})
    assert not manifest_path(output).exists()
