"""Files between the stages: JSON lines, whole-or-nothing writing, hashes and manifests.

Patient text may be in any of these files, so each is created readable by its owner only (mode 0600).
"""

import codecs
import dataclasses
import errno
import fcntl
import functools
import glob
import gzip
import hashlib
import io
import json
import os
import platform
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO, TypeVar

import msgspec

from radtune import ROOT
from radtune.config import InputError

Kind = TypeVar("Kind")

# What a result depends on; listed in every manifest where installed.
_PACKAGES = (
    "radtune", "torch", "torchtune", "torchao", "transformers", "peft", "openai", "scikit-learn", "scipy",
)  # fmt: skip

# What a full disk, a quota or a file size limit says while a file is being written.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Endings of tables that are none of JSON lines.
_OTHER_TABLES = (".csv", ".tsv", ".xlsx", ".xlsm", ".parquet")

# Stands in a folder that one process keeps to itself.
LOCK = ".lock"

# Windows-1252, and what reads as that the bytes that are no UTF-8, as ``errors=``.
CP1252 = "cp1252"
codecs.register_error(CP1252, lambda e: (e.object[e.start : e.end].decode(CP1252), e.end))  # type: ignore[attr-defined]

# What this process has written: files by their paths, each by its number in its file system.
_written: dict[Path, int] = {}

# Characters of one line, end included. The longest honest ones are an annotation's: a report and a model's answer.
MAX_LINE = 64 * 2**20


@contextmanager
def write_whole(path: Path) -> Iterator[TextIO]:
    """Opens a UTF-8 text file that appears under its name, in a folder that is made if needed, when the block ends.

    After an error, which is an :class:`InputError` where the disk is full, what stood there before is left. What
    killed writers of the same file left behind goes; living ones keep theirs locked.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        held = lock(temporary, path)
        for left in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
            with suppress(InputError), lock(left):
                left.unlink()
        with io.TextIOWrapper(io.BufferedWriter(held), encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(held.fileno())
            os.replace(temporary, path)
            _written[path.absolute()] = os.fstat(held.fileno()).st_ino
    except BaseException as error:
        # Where its folder is none, there is no file either.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (error.errno in DISK_FULL or error.filename == str(temporary)):
            raise InputError(f"{path}: cannot write: {error.strerror}") from None
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file of bytes as :func:`write_whole` does one of text."""
    with write_whole(path) as stream:
        stream.buffer.write(content)


@contextmanager
def write_whole_folder(folder: Path) -> Iterator[Path]:
    """Gives a folder to fill, which takes the place of ``folder`` when the block ends without an error.

    What stood there goes when the new one is whole, and comes back where a writer was killed between the two.
    """
    temporary, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("tmp", "old"))
    try:
        if old.is_dir() and not folder.exists():
            os.replace(old, folder)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True, mode=0o700)
        yield temporary
        for path in temporary.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        shutil.rmtree(old, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.replace(folder, old)
        os.replace(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot write: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Takes away what killed writers left in a folder, which the caller keeps to itself."""
    for left in folder.rglob(".*.tmp"):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def lock(path: Path, becomes: Path | None = None) -> io.FileIO:
    """Keeps a file to this process until the stream returned is closed or the process ends; made where it is absent.

    A folder is kept by the file :data:`LOCK` in it; a file that is not whole, by what it ``becomes``.
    """
    what = becomes or (path.parent if path.name == LOCK else path)
    try:
        _check_regular(becomes or path)
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            stream = io.FileIO(path, "r+b", opener=lambda path, _: os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have taken the file away between our opening and our locking it.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(stream.fileno()), os.stat(path)):
                    return stream
            stream.close()
    except OSError as error:
        held = isinstance(error, BlockingIOError)
        reason = "another process is writing there" if held else f"cannot write: {error.strerror}"
        raise InputError(f"{what}: {reason}") from None


@contextmanager
def open_text(path: Path, encoding: str = "utf-8-sig", errors: str = "strict") -> Iterator[TextIO]:
    """Opens a text file, packed if its name ends in ``.gz``; errors of reading it are InputErrors, too."""
    path = Path(path)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as binary:
            # utf-8-sig: spreadsheets put a byte order mark in front of the CSVs they save.
            yield io.TextIOWrapper(binary, encoding=encoding, errors=errors, newline="")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte 0x{error.object[error.start]:02x})") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise InputError(f"{path}: truncated or damaged gzip file") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def read_lines(path: Path, stream: TextIO) -> Iterator[str]:
    """The lines of a text file, ends included; refuses any over :data:`MAX_LINE`: a small packed file may hold one."""
    number = 0
    try:
        while line := stream.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                raise InputError(f"{path}:{number}: longer than {MAX_LINE:,} characters")
            yield line
    except UnicodeDecodeError:
        encoding = stream.encoding.upper().removesuffix("-SIG") + " or Windows-1252" * (stream.errors == CP1252)
        raise InputError(f"{path}: line {number + 1} or near it is not {encoding}; save it as UTF-8") from None


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads a file of JSON objects, one a line, each with its line's number; blank lines are skipped."""
    with open_text(path) as stream:
        for number, line in enumerate(read_lines(path, stream), start=1):
            if line.strip():
                yield number, _json_object(f"{path}:{number}", line)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    with open_text(path) as stream:
        return _json_object(str(path), stream.read())


def read_json_as(path: Path, kind: type[Kind], what: str) -> Kind:
    """What a command has written in JSON; an InputError where it is not ``what``."""
    try:
        return msgspec.convert(read_json(path), kind)
    except msgspec.ValidationError:
        raise InputError(f"{path}: not {what}") from None


def _json_object(where: str, text: str) -> dict[str, Any]:
    try:
        row = json.loads(text, object_pairs_hook=_unique)
        if "\\u" in text:
            # Half a surrogate pair is legal as an escape, but no text: no tokenizer and no file could take it.
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(f"{where}: half a surrogate pair in an escape") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (ValueError, RecursionError):
        # The decoder's own message may quote the text, which may be a patient's.
        raise InputError(f"{where}: not valid JSON") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected a JSON object, got {type(row).__name__}")
    return row


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        # Which of its values holds, readers disagree about.
        raise InputError("a key stands twice in a JSON object")
    return row


def write_json(path: Path, content: Any) -> None:
    """Writes an object, or a dataclass instance by its fields, as JSON for people, whole or not at all."""
    with write_whole(path) as stream:
        json.dump(_plain(content), stream, indent=2, ensure_ascii=False)
        stream.write("\n")


def _plain(row: Any) -> Any:
    return dataclasses.asdict(row) if dataclasses.is_dataclass(row) else row


def jsonl_line(row: Any) -> str:
    """One row as a JSON line; a dataclass instance is written by its fields, in their order."""
    line = json.dumps(_plain(row), ensure_ascii=False)
    # A server's answer cut off within a character carries half a surrogate pair, which UTF-8 cannot hold.
    return line.encode("utf-8", "replace").decode("utf-8") + "\n"


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Writes rows (dicts or dataclass instances) as JSON lines, whole or not at all; returns their number."""
    with write_whole(path) as stream:
        return sum(1 for row in rows if stream.write(jsonl_line(row)))


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def manifest_path(output: Path) -> Path:
    """Where the manifest of an output file stands: ``reports.jsonl`` -> ``reports.jsonl.manifest.json``."""
    return Path(output).with_name(f"{Path(output).name}.manifest.json")


def check_outputs(
    outputs: Iterable[Path | None], inputs: Iterable[Path | None] = (), rows: Iterable[Path | None] = ()
) -> None:
    """Refuses outputs that cannot be written or would overwrite an input or one another, before any work is done.

    Each output brings a manifest; ``rows`` are those that are JSON lines, whatever their names say. None stands for a
    file that is not asked for.
    """
    taken = {Path(path).resolve(): path for path in inputs if path is not None}
    rows = [path for path in rows if path is not None]
    for output in (*rows, *outputs):
        if output is None:
            continue
        if output in rows and output.suffix.lower() in _OTHER_TABLES:
            raise InputError(f"{output}: JSON lines are written there; end its name in .jsonl")
        if not Path(output).name:
            raise InputError(f"{str(output)!r}: expected a file name")
        if Path(output).suffix == ".gz":
            raise InputError(f"{output}: outputs are not packed; leave .gz out")
        for path in (Path(output), manifest_path(output)):
            _check_writable(path)
            if path.resolve() in taken:
                raise InputError(f"{output}: would overwrite {taken[path.resolve()]}")
            taken[path.resolve()] = path


def _check_writable(path: Path) -> None:
    try:
        _check_regular(path)
        # The name that write_whole begins with is the longest.
        path.with_name(f".{path.name}.12345678.tmp").exists()
        folder = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error.strerror}") from None


def _check_regular(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path}: is a folder, expected a file name")
    if path.exists() and not path.is_file():
        # A file renamed to this name would take the place of, say, /dev/null.
        raise InputError(f"{path}: is a device or pipe, expected a file name")


@functools.cache
def package_versions() -> dict[str, str]:
    """The versions of what a result depends on, where installed."""
    from importlib import metadata  # takes as long to import as all else here, and short commands should start fast

    found = {name: next(metadata.Distribution.discover(name=name), None) for name in _PACKAGES}
    return {name: package.version for name, package in found.items() if package}


def write_manifest(output: Path, config: Any, inputs: Iterable[Path | None] = (), **facts: Any) -> Path:
    """Writes what made an output file, beside it: the config (a dataclass or dict), and the hashes of input files.

    ``facts`` are counts, seeds, scores: no patient text. Where another process has written the output meanwhile, there
    is no manifest, and an :class:`InputError`.
    """
    values = _plain(config)
    manifest = {
        "command": f"{os.path.basename(sys.argv[0])} {shlex.join(sys.argv[1:])}",
        "config": {name: str(value) if isinstance(value, Path) else value for name, value in values.items()},
        "inputs": {str(path): sha256_file(path) for path in inputs if path is not None and Path(path).is_file()},
        "output": {"path": str(output), "sha256": sha256_file(output)},
        **facts,
        "versions": {"python": platform.python_version(), **package_versions()},
        "git_commit": git_commit(),
        "created": now(),
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False, default=str)
    with write_whole(manifest_path(output)) as stream:
        # A file name need not be UTF-8. What Python makes of its bytes (half surrogate pairs) stands as JSON's escape.
        stream.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    if not _is_ours(Path(output)):
        if _is_ours(manifest_path(output)):
            manifest_path(output).unlink()
        raise InputError(f"{output}: another process has written it meanwhile; give each an output of its own")
    return manifest_path(output)


def _is_ours(path: Path) -> bool:
    """Whether a file that this process has written is still the one that stands there."""
    with suppress(FileNotFoundError):
        return _written.get(path.absolute(), found := path.stat().st_ino) == found
    return False


def now() -> str:
    """Time of day in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_commit() -> str | None:
    """Commit of the radtune checkout that is running, with ``-dirty`` if it was edited; None outside a checkout."""
    if not (ROOT / ".git").exists():
        # Installed as a package, perhaps within somebody else's repository.
        return None
    try:
        shown = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=ROOT, capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.strip() or None
