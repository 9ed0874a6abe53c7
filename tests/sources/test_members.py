"""Collections of small files: folders, zips and tgzs, honest, damaged and hostile."""

import gzip
import io
import os
import re
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused

from radtune.config import InputError
from radtune.sources.members import MAX_REPORT_BYTES, decode, read_members

NAMES = re.compile(r"(?:^|/)(\d+)\.txt$")
FILES = {"a/2.txt": b"two", "a/10.txt": b"ten", "a/readme.md": b"no report"}


def make_zip(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def make_tgz(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def make_folder(path: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


MAKERS = [(make_zip, "c.zip"), (make_tgz, "c.tgz"), (make_tgz, "c.tar.gz"), (make_folder, "c")]


def read(path: Path) -> list[tuple[str, bytes]]:
    return [(member.name[1], member.data) for member in read_members(path, NAMES, "a/1.txt")]


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_all_forms_hold_the_same(tmp_path: Path, make: Callable[..., Path], name: str) -> None:
    assert read(make(tmp_path / name)) == [("2", b"two"), ("10", b"ten")]


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_a_collection_without_reports(tmp_path: Path, make: Callable[..., Path], name: str) -> None:
    (tmp_path / name).mkdir() if make is make_folder else None
    for files in ({}, {"a/readme.md": b"x"}):
        with pytest.raises(InputError, match=r"no reports there \(no file is named like a/1\.txt\)"):
            read(make(tmp_path / name, files))


@pytest.mark.parametrize(("make", "name"), MAKERS)
def test_a_file_longer_than_any_report(tmp_path: Path, make: Callable[..., Path], name: str) -> None:
    bomb = make(tmp_path / name, {"1.txt": bytes(MAX_REPORT_BYTES), "2.txt": bytes(MAX_REPORT_BYTES + 1)})
    with pytest.raises(InputError, match=r"2\.txt: longer than 1,000,000 bytes, which no report is"):
        read(bomb)
    if make is not make_folder:
        assert bomb.stat().st_size < 10_000


def test_archives_that_lie(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "c.zip", {"1.txt": bytes(10 * MAX_REPORT_BYTES)})
    whole = path.read_bytes()
    local, central = whole.index(b"PK\x03\x04"), whole.index(b"PK\x01\x02")
    # Bit 0 of the flags, 6 bytes into a local header and 8 into a central one, says that a member is encrypted; the
    # unpacked size stands 24 bytes into the central one.
    for lies in ({local + 6: 1, central + 8: 1}, {central + 24 + place: 100 * (place == 0) for place in range(4)}):
        data = bytearray(whole)
        for place, value in lies.items():
            data[place] = value
        path.write_bytes(data)
        with pytest.raises(InputError, match="encrypted, truncated or damaged"):
            read(path)
    packed = make_tgz(tmp_path / "c.tgz")
    packed.write_bytes(packed.read_bytes()[:-8] + b"checksum")
    with pytest.raises(InputError, match="truncated or damaged"):
        read(packed)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_unpacks_to_anything(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 9 * 2**22
    path = make_tgz(tmp_path / "c.tgz")
    path.write_bytes(gzip.compress(info.tobuf() + b"9 path=a\n" * 2**22 + gzip.decompress(path.read_bytes()), 1))
    began = time.process_time()
    with pytest.raises(InputError, match="no archive, or an encrypted, truncated or damaged one"):
        read(path)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(("make", "name"), [(make_zip, "c.zip"), (make_tgz, "c.tgz")])
def test_an_archive_cut_off_anywhere(tmp_path: Path, make: Callable[..., Path], name: str) -> None:
    files = {f"a/{number}.txt": f"report {number} ".encode() * 40 for number in range(60)}
    path = make(tmp_path / name, files)
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 50)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"truncated or damaged|no reports there"):
            read(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
@pytest.mark.parametrize(("make", "name"), [(make_zip, "c.zip"), (make_tgz, "c.tgz")])
def test_a_garbled_archive_is_read_right_or_refused(
    tmp_path_factory: pytest.TempPathFactory, make: Callable[..., Path], name: str, data: st.DataObject
) -> None:
    path = make(tmp_path_factory.mktemp("garbled") / name)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        members = read(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert {text for _, text in members} <= {b"two", b"ten", b"no report"}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_a_zip(tmp_path: Path, method: int) -> None:
    path = tmp_path / "c.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("1.txt", " ".join(map(str, range(500))))
    whole = path.read_bytes()
    # The packed bytes begin behind 30 bytes of header, the name and, for LZMA, 9 bytes of its properties.
    for place in range(30 + 5 + 9, 300, 7):
        path.write_bytes(whole[:place] + bytes(20) + whole[place + 20 :])
        with pytest.raises(InputError, match="damaged"):
            read(path)


def test_what_is_no_collection(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file or directory"):
        read(tmp_path / "no.zip")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"expected a folder, a \.zip or a \.tgz"):
        read(tmp_path / "a.txt")
    for name in ("a.zip", "a.tgz"):
        (tmp_path / name).write_text("neither")
        with pytest.raises(InputError, match="truncated or damaged"):
            read(tmp_path / name)
    (tmp_path / "b.tgz").write_bytes(gzip.compress(b"packed, but no tar"))
    with pytest.raises(InputError, match="truncated or damaged"):
        read(tmp_path / "b.tgz")


def test_a_folder_holds_files(tmp_path: Path) -> None:
    """Not what links lead to, and nothing that never ends."""
    folder, outside = tmp_path / "in", make_folder(tmp_path / "out", {"1.txt": b"outside"})
    make_folder(folder, {"1.txt": b"one"})
    (folder / "around").symlink_to(folder)
    (folder / "outside").symlink_to(outside)
    assert read(folder) == [("1", b"one")]
    for make, message in (
        (lambda path: path.symlink_to(outside / "1.txt"), "2.txt: is a link, expected a file"),
        (lambda path: path.symlink_to("nowhere"), "2.txt: is a link, expected a file"),
        (os.mkfifo, "2.txt: is a pipe or device, expected a file"),
    ):
        make(folder / "2.txt")
        with pytest.raises(InputError, match=message):
            read(folder)
        (folder / "2.txt").unlink()


def test_decode_reads_what_tables_may_be_and_names_the_rest(tmp_path: Path) -> None:
    files = {"1.txt": "\ufeffcafé".encode(), "2.txt": "café".encode() + " – 2".encode("cp1252"), "3.txt": b"caf\x81"}
    first, second, third = read_members(make_zip(tmp_path / "c.zip", files), NAMES, "1.txt")
    assert (decode(first), decode(second)) == ("café", "café – 2")
    with refused(line=f"{tmp_path}/c.zip: 3.txt: neither UTF-8 nor Windows-1252"):
        decode(third)
