"""The small files of a collection, read one by one from a folder, a .zip or a .tgz; nothing is ever unpacked."""

import gzip
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from radtune.config import InputError

# The longest radiology reports run to a few thousand words; a file this long is something else, or a bomb.
MAX_REPORT_BYTES = 1_000_000

# What Python's readers raise on damaged archives; both documented and not.
_DAMAGED = (
    EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file of a collection.

    Attributes:
        name: How its name matched.
        data: Its bytes.
        where: What to call it in a message.
    """

    name: re.Match[str]
    data: bytes
    where: str


def read_members(path: Path, names: re.Pattern[str], example: str) -> Iterator[Member]:
    """Reads the files of a collection whose names match.

    Args:
        path: A folder (searched with all below it, in natural order: 2.xml before 10.xml), a ``.zip`` or a ``.tgz``
            (in their own order). Memory grows with a zip's number of members, not with their size.
        names: Searched for in a file's name, its folders included, ``/`` between them.
        example: A name that matches, for the message that none does.

    Yields:
        The files.

    Raises:
        InputError: The collection is absent, damaged, encrypted or without a matching file; a member of an archive
            would escape the folder it is unpacked to, or is a link; a file is longer than
            :data:`MAX_REPORT_BYTES`.
    """
    path = Path(path)
    if path.is_dir():
        members = _folder(path, names)
    elif not path.exists():
        raise InputError(f"{path}: no such file or folder")
    elif path.suffix == ".zip":
        members = _zip(path, names)
    elif path.name.endswith((".tgz", ".tar.gz")):
        members = _tgz(path, names)
    else:
        raise InputError(f"{path}: expected a folder, a .zip or a .tgz")
    empty = True
    for member in members:
        empty = False
        yield member
    if empty:
        raise InputError(f"{path}: no reports there (no file is named like {example})")


def decode(member: Member) -> str:
    """A file's text.

    Raises:
        InputError: It is not UTF-8.
    """
    try:
        return member.data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{member.where}: not UTF-8 at byte {error.start}") from None


def _folder(path: Path, names: re.Pattern[str]) -> Iterator[Member]:
    try:
        # Absolute, since a name's folders count, and the path given may lie within them.
        for name in _walk(os.path.abspath(path)):
            if match := names.search(name):
                with open(name, "rb") as stream:
                    data = _read_capped(name, stream)
                yield Member(match, data, name)
    except OSError as error:
        raise InputError(f"{error.filename or path}: {error.strerror}") from None


def _walk(folder: str) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=_natural):
        if entry.is_dir():
            yield from _walk(entry.path)
        else:
            yield entry.path


def _natural(entry: os.DirEntry[str]) -> list[tuple[int, str]]:
    """A sort key that puts 2.xml before 10.xml."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", entry.name)]


def _zip(path: Path, names: re.Pattern[str]) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _check_name(path, info.filename, stat.S_ISLNK(info.external_attr >> 16))
                if match := names.search(info.filename):
                    where = f"{path}: {info.filename}"
                    if info.flag_bits & 1:
                        raise InputError(f"{where}: encrypted")
                    _check_size(where, info.file_size)
                    with archive.open(info) as stream:
                        data = _read_capped(where, stream)
                    yield Member(match, data, where)
    except InputError:
        raise
    except (zipfile.BadZipFile, *_DAMAGED):
        raise InputError(f"{path}: no zip file, or a truncated or damaged one") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'damaged zip file'}") from None


def _tgz(path: Path, names: re.Pattern[str]) -> Iterator[Member]:
    try:
        # Through gzip, not tarfile's own unpacker, which takes a file cut off for one that ends.
        with gzip.open(path) as packed, tarfile.open(fileobj=(blocks := _Blocks(packed)), mode="r:") as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # or an archive of nothing but headers would fill the memory
                _check_name(path, info.name, not (info.isreg() or info.isdir()))
                match = names.search(info.name)
                if match and info.isreg():
                    _check_size(f"{path}: {info.name}", info.size)
                    data = archive.extractfile(info).read()  # type: ignore[union-attr]
                    yield Member(match, data, f"{path}: {info.name}")
            # Nothing but zeros ends an archive; to tarfile any header that it cannot read does. And gzip's checksum
            # stands at the very end.
            if blocks.last != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError
            while rest := packed.read(MAX_REPORT_BYTES):
                if any(rest):
                    raise tarfile.ReadError
    except InputError:
        raise
    except (tarfile.TarError, gzip.BadGzipFile, *_DAMAGED):
        raise InputError(f"{path}: no gzip-packed tar file, or a truncated or damaged one") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


class _Blocks:
    """An unpacked tar as tarfile reads it, block by block; remembers the last block, refuses huge ones."""

    def __init__(self, packed: IO[bytes]) -> None:
        self.seek, self.tell = packed.seek, packed.tell
        self.last = b""
        self._packed = packed

    def read(self, size: int) -> bytes:
        # More than a report at once is a long name or an extended header, which tarfile would hold in memory.
        if size > MAX_REPORT_BYTES + tarfile.BLOCKSIZE:
            raise tarfile.ReadError
        self.last = self._packed.read(size)
        return self.last


def _check_name(path: Path, name: str, is_link: bool) -> None:
    """Refuses what no honest archive of reports holds, though nothing is written under these names here."""
    parts = name.replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or re.match(r"[A-Za-z]:", name):
        raise InputError(f"{path}: member {name!r} points outside the archive")
    if is_link:
        raise InputError(f"{path}: member {name!r} is a link or a device")


def _check_size(where: str, size: int) -> None:
    if size > MAX_REPORT_BYTES:
        raise InputError(f"{where}: longer than {MAX_REPORT_BYTES:,} bytes, which no report is")


def _read_capped(where: str, stream: IO[bytes]) -> bytes:
    data = stream.read(MAX_REPORT_BYTES + 1)
    _check_size(where, len(data))
    return data
