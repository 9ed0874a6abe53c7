"""The small files of a collection, read one by one from a folder, a .zip or a .tgz; nothing is ever unpacked."""

import gzip
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from radtune.config import InputError
from radtune.files import CP1252

# The longest radiology reports run to a few thousand words; a file this long is something else, or a bomb.
MAX_REPORT_BYTES = 1_000_000

# What Python's readers raise on damaged archives, documented or not; a RuntimeError is for an encrypted one.
_DAMAGED = (
    EOFError, ValueError, OverflowError, RuntimeError, gzip.BadGzipFile, lzma.LZMAError, tarfile.TarError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file of a collection: how its name matched, its bytes, and what to call it in a message."""

    name: re.Match[str]
    data: bytes
    where: str


def read_members(path: Path, names: re.Pattern[str], example: str) -> Iterator[Member]:
    """Reads the files of a folder (and below it, in natural order), ``.zip`` or ``.tgz`` (in their own order).

    Args:
        path: The collection.
        names: Searched for in a file's name, with ``/`` between its folders; other files are passed over.
        example: A name that matches, for the message that none does.
    """
    path, empty = Path(path), True
    is_tar = path.name.endswith((".tgz", ".tar.gz"))
    if not (path.is_dir() or path.suffix == ".zip" or is_tar):
        raise InputError(f"{path}: expected a folder, a .zip or a .tgz")
    try:
        for name, where, stream in _folder(path) if path.is_dir() else _tgz(path) if is_tar else _zip(path):
            if match := names.search(name):
                with stream() as opened:
                    data = opened.read(MAX_REPORT_BYTES + 1)
                if len(data) > MAX_REPORT_BYTES:
                    raise InputError(f"{where}: longer than {MAX_REPORT_BYTES:,} bytes, which no report is")
                yield Member(match, data, where)
                empty = False
    except InputError:
        raise
    except _DAMAGED:
        raise InputError(f"{path}: no archive, or an encrypted, truncated or damaged one") from None
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror or 'damaged archive'}") from None
    if empty:
        raise InputError(f"{path}: no reports there (no file is named like {example})")


def decode(member: Member) -> str:
    """A file's text: UTF-8, and what is not that Windows-1252, as tables are read."""
    try:
        return member.data.decode("utf-8-sig", CP1252)
    except UnicodeDecodeError:
        raise InputError(f"{member.where}: neither UTF-8 nor Windows-1252") from None


# A file's name, what to call it, and how to open it.
_Files = Iterator[tuple[str, str, Callable[[], IO[bytes]]]]


def _folder(folder: Path) -> _Files:
    # Absolute, since a name's folders count, and the path given may lie within them.
    for entry in sorted(os.scandir(folder.absolute()), key=_natural):
        if entry.is_dir(follow_symlinks=False):
            yield from _folder(Path(entry.path))
        else:
            yield entry.path, entry.path, partial(_open, entry)


def _open(entry: os.DirEntry[str]) -> IO[bytes]:
    """Opens a file that stands in its folder: a link may lead to what is no report, and a pipe has no end."""
    if not entry.is_file(follow_symlinks=False):
        raise InputError(f"{entry.path}: is a {'link' if entry.is_symlink() else 'pipe or device'}, expected a file")
    return open(entry.path, "rb")


def _natural(entry: os.DirEntry[str]) -> list[tuple[int, str]]:
    """A sort key that puts 2.xml before 10.xml."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", entry.name)]


def _zip(path: Path) -> _Files:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            yield info.filename, f"{path}: {info.filename}", partial(archive.open, info)


class _Packed(gzip.GzipFile):
    """Gives no more at once than a report: a header, which tarfile takes whole, may unpack to anything."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= 2 * MAX_REPORT_BYTES:
            raise tarfile.ReadError
        return super().read(size)


def _tgz(path: Path) -> _Files:
    # Through gzip, not tarfile's own unpacker, which takes a file cut off for one that ends.
    with _Packed(path) as packed, tarfile.open(fileobj=packed, mode="r:") as archive:
        for info in archive:
            archive.members.clear()  # or an archive of nothing but headers would fill the memory
            if info.isreg():
                yield info.name, f"{path}: {info.name}", partial(archive.extractfile, info)
        while packed.read(MAX_REPORT_BYTES):
            pass  # gzip's checksum stands at the very end
