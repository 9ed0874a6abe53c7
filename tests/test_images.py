"""Images: what of a file is shown, and files that are none. All are drawn here."""

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, generate_uid
from refusals import refused

from radtune.config import InputError
from radtune.images import Picture, read_picture

NAME = "Zebrowski^Zelda"
# Of 12 bits, from left to right.
RAMP = np.tile(np.linspace(0, 4095, 64), (48, 1)).astype(np.uint16)


def shown(picture: Picture) -> Image.Image:
    """What a server gets."""
    kind, _, data = picture.data_uri().partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def grey(path: Path, max_side: int = 1024) -> np.ndarray:
    return np.asarray(shown(read_picture(path, max_side))).astype(int)


def dicom(path: Path, pixels: np.ndarray = RAMP, kind: str = "MONOCHROME2", **tags: object) -> Path:
    """A file as an X-ray machine writes it, with its patient's name."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID, data.PhotometricInterpretation = NAME, "MRN-4711", kind
    data.Rows, data.Columns, data.SamplesPerPixel = *pixels.shape, 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def test_a_dicom_file_is_its_pixels_alone_in_the_header_s_window(tmp_path: Path) -> None:
    whole = grey(dicom(tmp_path / "a.dcm"))
    assert (whole[0, 0], whole[0, -1]) == (0, 255) and np.abs(whole - RAMP / 4095 * 255).max() <= 1
    inverted = dicom(tmp_path / "b.dcm", kind="MONOCHROME1")
    assert np.array_equal(grey(inverted), 255 - whole)
    window = {"WindowCenter": [1024, 9], "WindowWidth": [512, 9], "RescaleSlope": 2, "RescaleIntercept": -1000}
    narrow = grey(dicom(tmp_path / "c.dcm", **window))
    values = RAMP.astype(float) * 2 - 1000
    low, high = 1024 - 0.5 - 511 / 2, 1024 - 0.5 + 511 / 2
    assert np.abs(narrow - np.clip((values - low) / (high - low), 0, 1) * 255).max() <= 1
    assert shown(read_picture(inverted, 1024)).info == {}


def test_what_is_shown_has_no_metadata_and_stands_as_the_file_says(tmp_path: Path) -> None:
    image = Image.fromarray((RAMP >> 4).astype(np.uint8))
    said, turned = PngInfo(), Image.Exif()
    said.add_text("Patient", NAME)
    image.save(tmp_path / "a.png", pnginfo=said, dpi=(300, 300), icc_profile=b"profile of Zebrowski")
    turned[0x0112], turned[0x010E] = 6, NAME  # to be turned by a quarter; a description
    image.save(tmp_path / "b.jpg", exif=turned, comment=NAME.encode())
    for name, size in (("a.png", (64, 48)), ("b.jpg", (48, 64))):
        found = shown(read_picture(tmp_path / name, 1024))
        assert (found.size, found.mode, found.info) == (size, "L", {})
    assert grey(tmp_path / "a.png", 32).shape == (24, 32)
    Image.fromarray(RAMP).save(tmp_path / "c.png")
    assert np.abs(grey(tmp_path / "c.png") - RAMP / 4095 * 255).max() <= 1
    Image.new("RGBA", (4, 4), (200, 0, 0, 255)).save(tmp_path / "d.png")
    assert shown(read_picture(tmp_path / "d.png", 1024)).getpixel((0, 0)) == (200, 0, 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L"])
def test_what_transparency_hides_stays_hidden(tmp_path: Path, mode: str) -> None:
    # Bright where a name was: as alpha, or as the grey that is said to be none.
    grey_there, alpha = (
        Image.fromarray(np.where(RAMP < 2000, *pair).astype(np.uint8)) for pair in ((255, 40), (0, 255))
    )
    image = Image.merge("LA", (grey_there, alpha)) if mode in ("RGBA", "LA") else grey_there
    image.convert(mode).save(tmp_path / "a.png", **({} if mode in ("RGBA", "LA") else {"transparency": 255}))
    found = np.asarray(shown(read_picture(tmp_path / "a.png", 1024)).convert("L"))
    assert np.array_equal(found, np.where(RAMP < 2000, 0, 40))


def test_the_hash_is_of_what_is_shown(tmp_path: Path) -> None:
    image = Image.fromarray((RAMP >> 4).astype(np.uint8))
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", compress_level=0, dpi=(72, 72))
    a, b = (read_picture(tmp_path / name, 1024) for name in ("a.png", "b.png"))
    assert a.sha256 == b.sha256 != read_picture(tmp_path / "a.png", 32).sha256
    Image.new("L", (64, 48)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: the image has changed meanwhile"):
        a.data_uri()


def png(width: int, height: int, bits: int, colours: int, rows: bytes) -> bytes:
    """A PNG by hand, of what Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = (struct.pack(">I", len(x)) + kind + x + struct.pack(">I", zlib.crc32(kind + x)) for kind, x in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# Of a hundred bytes, and of 12 bits in colours of 16, of which the upper eight are nearly nothing.
BOMB, DEEP, DEEP_ALPHA = (
    png(40_000, 40_000, 8, 0, b"\0" * 9), png(2, 1, 16, 2, b"\0\x0f\xff" + b"\x08\0" * 5),
    png(2, 1, 16, 4, b"\0" + b"\x0f\xff\xff\xff" * 2),
)  # fmt: skip


def broken_dicom(path: Path, how: str) -> None:
    if how == "many pixels":
        dicom(path, Rows=60_000, Columns=60_000)
    elif how == "a film":
        dicom(path, NumberOfFrames=20)
    elif how == "deflated":
        data = pydicom.dcmread(dicom(path))
        data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        data.save_as(path, enforce_file_format=True)
    elif how == "palette":
        dicom(path, kind="PALETTE COLOR")
    elif how == "16 bit colours":
        dicom(path, np.hstack([RAMP] * 3), kind="RGB", Columns=64, SamplesPerPixel=3, PlanarConfiguration=0)
    elif how == "no pixels":
        data = pydicom.dcmread(dicom(path))
        del data.PixelData
        data.save_as(path)
    else:
        path.write_bytes(dicom(path).read_bytes()[:-2000])


@pytest.mark.parametrize("how", ["many pixels", "a film", "deflated", "no pixels", "cut", "palette", "16 bit colours"])
def test_dicom_files_that_cannot_be_shown_are_one_line(tmp_path: Path, how: str) -> None:
    path = tmp_path / "x.dcm"
    broken_dicom(path, how)
    with refused(f"{path}: ", NAME):
        read_picture(path, 1024)


@pytest.mark.parametrize("how", ["", "text", "bomb", "cut", "eps", "deep", "alpha", "film", None])
def test_files_that_are_no_image_are_one_line(tmp_path: Path, how: str | None) -> None:
    path = tmp_path / "x.png"
    if how == "cut":
        Image.effect_noise((64, 64), 50).save(path)
        path.write_bytes(path.read_bytes()[:-900])
    elif how == "film":
        Image.new("L", (9, 9)).save(path, save_all=True, append_images=[Image.new("L", (9, 9), 200)])
    elif how is not None:
        # Pillow would have Ghostscript run what is EPS.
        eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
        files = {"": b"", "text": b"Findings: Zebrowski", "bomb": BOMB, "eps": eps, "deep": DEEP, "alpha": DEEP_ALPHA}
        path.write_bytes(files[how])
    with refused(f"{path}: ", "Zebrowski"):
        read_picture(path, 1024)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dicom(tmp_path / "x.dcm")
    monkeypatch.setitem(__import__("sys").modules, "pydicom.pixels", None)
    with pytest.raises(InputError, match="pip install pydicom"):
        read_picture(path, 1024)


def test_a_report_in_the_column_of_images_is_not_shown(tmp_path: Path) -> None:
    for text in (
        "Mrs Zebrowski has a small effusion.",
        "Zebrowski, no edema. " * 300,
        "data:image/png;base64," + "QUJD" * 90,
    ):
        with pytest.raises(InputError, match=r"^\(not shown\): no such image$"):
            read_picture(tmp_path / text, 1024)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_does_not_take_the_range_of_the_image(tmp_path: Path, kind: str) -> None:
    around = np.arange(64) < 8
    padded = np.where(around, 65_535, RAMP).astype(np.uint16)
    tags = {"BitsStored": 16, "HighBit": 15, "PixelPaddingValue": 65_535}
    found = grey(dicom(tmp_path / "a.dcm", padded, kind, **tags))[:, ~around]
    assert np.array_equal(found, grey(dicom(tmp_path / "b.dcm", RAMP[:, ~around], kind)))


def test_a_window_without_width_is_none(tmp_path: Path) -> None:
    empty = dicom(tmp_path / "b.dcm", WindowCenter=9, WindowWidth=0)
    assert np.array_equal(grey(empty), grey(dicom(tmp_path / "a.dcm")))
