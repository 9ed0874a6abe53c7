"""The images of a report as a model is shown them: pixels alone, of eight bits, written anew without their metadata.

Names that are burned into the pixels stay: :mod:`radtune.engines.guard` asks about them before an image leaves the
machine.
"""

import base64
import hashlib
import io
import os
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radtune.config import InputError
from radtune.privacy import NOT_SHOWN

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

# Endings of files that are images, in a folder of them.
ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")
# No radiograph's file is larger: 4,300 x 3,500 pixels of 16 bits are 30 MB.
MAX_BYTES = 2**28
# Pillow's own limit, which it warns at; of a DICOM file we count.
_MAX_PIXELS = 2**30 // 4 // 3
# DICOM PS3.10, section 7.1: where its mark stands.
_DICOM = slice(128, 132)
# An archive of metadata, which unpacks to any size (DICOM PS3.5, section A.5).
_DEFLATED = "1.2.840.10008.1.2.1.99"
_DEEP_COLOURS = "colours of a palette, or of more than 8 bits; write it as grey, or as RGB of 8 bits"
# What Pillow and pydicom raise on broken files, documented or not.
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError,
    NotImplementedError, MemoryError, struct.error, zlib.error, Warning,
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """An image that may be shown.

    Attributes:
        path: Its file: PNG, JPEG or DICOM.
        max_side: The most pixels that its longer side may have; a larger one is made smaller.
        sha256: Names what is shown: SHA-256 of its kind (``L``, ``RGB``), its size and its pixels.
    """

    path: Path
    max_side: int
    sha256: str

    def data_uri(self) -> str:
        """It as a PNG inside of an address, so that whoever gets it fetches nothing.

        Raises:
            InputError: The file has changed.
        """
        image = _clean(self.path, self.max_side)
        if _name_of(image) != self.sha256:
            raise InputError(f"{self.path}: the image has changed meanwhile")
        stream = io.BytesIO()
        # Of no more than its pixels; small enough at the lowest level, which takes a fifth of the time.
        image.save(stream, "PNG", compress_level=1)
        return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def read_picture(path: Path, max_side: int) -> Picture:
    """Reads an image whole; an InputError where it is absent, empty, broken, or of more pixels than any radiograph."""
    return Picture(path, max_side, _name_of(_clean(path, max_side)))


def _name_of(image: "Image.Image") -> str:
    return hashlib.sha256(f"{image.mode} {image.width} {image.height} ".encode() + image.tobytes()).hexdigest()


def _clean(path: Path, max_side: int) -> "Image.Image":
    """The pixels, grey (``L``) or coloured (``RGB``), and nothing else of the file."""
    from PIL import Image

    try:
        if not os.path.isfile(path):
            # Of a column of texts it is one; of one of addresses, the image itself may stand there.
            is_name = path.suffix.lower() in ENDINGS or not re.search(r"\s", str(path))
            named = path if is_name and len(path.name) < 256 else NOT_SHOWN
            raise InputError(f"{named}: no such image")
        if not (size := path.stat().st_size) or size > MAX_BYTES:
            raise InputError(f"{path}: {'an empty file' if not size else 'larger than any X-ray image'}, not an image")
        data = path.read_bytes()
        with warnings.catch_warnings():
            # Of pydicom's about a file's small faults there is nothing to say; Pillow's about bombs is an error.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = _dicom(path, data) if data[_DICOM] == b"DICM" else _picture(path, data)
            image.thumbnail((max_side, max_side))
    except InputError:
        raise
    except (Image.DecompressionBombError, *_BROKEN):
        # Their own messages may quote the file.
        raise InputError(f"{path}: no PNG, JPEG or DICOM image, or a broken one, or one of too many pixels") from None
    return image


def _picture(path: Path, data: bytes) -> "Image.Image":
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
        if opened.format == "PNG" and getattr(opened, "is_animated", False):
            raise InputError(f"{path}: a film; expected one image")
        if opened.format == "PNG" and data[24] == 16 and (data[25] or opened.has_transparency_data):
            # Pillow takes the upper eight of them: of twelve that are used, hardly any.
            raise InputError(f"{path}: {_DEEP_COLOURS}")
        # How it is to be turned stands in the metadata.
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith(("I", "F")):
            return _grey(np.asarray(image))
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        if image.has_transparency_data:
            # What no viewer shows may be hidden on purpose; around it is black.
            image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
        image = image.convert(mode)
    return Image.frombytes(image.mode, image.size, image.tobytes())


def _grey(values: "np.ndarray", low: float | None = None, high: float | None = None) -> "Image.Image":
    """Numbers, shape (rows, columns), as grey: black up to ``low``, white from ``high``; else of their own range."""
    import numpy as np
    from PIL import Image

    values = values.astype(np.float32)
    low, high = (float(values.min()) if low is None else low), (float(values.max()) if high is None else high)
    return Image.fromarray((np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255 + 0.5).astype(np.uint8))


def _dicom(path: Path, data: bytes) -> "Image.Image":
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, apply_voi_lut
    except ImportError:
        raise InputError(f"{path}: DICOM needs one package more: pip install pydicom") from None
    import numpy as np
    from PIL import Image

    if _DEFLATED.encode() in data[:1024]:
        raise InputError(f"{path}: a deflated DICOM file; write it with another transfer syntax")
    header: Any = pydicom.dcmread(io.BytesIO(data))
    if header.PhotometricInterpretation == "PALETTE COLOR" or (
        header.SamplesPerPixel == 3 and header.BitsAllocated > 8
    ):
        raise InputError(f"{path}: {_DEEP_COLOURS}")
    if int(header.get("NumberOfFrames") or 1) > 1 or header.Rows * header.Columns > _MAX_PIXELS:
        raise InputError(f"{path}: a film, or more pixels than any X-ray image has; expected one image")
    try:
        pixels = header.pixel_array
    except (RuntimeError, NotImplementedError, AttributeError):
        kind = header.file_meta.TransferSyntaxUID.name
        raise InputError(f"{path}: no pixels that can be read here ({kind}); write it uncompressed") from None
    if header.SamplesPerPixel == 3:
        return Image.fromarray(pixels.astype(np.uint8))
    values, low, high = apply_modality_lut(pixels, header), None, None
    center, width = (np.atleast_1d(header.get(f"Window{name}") or []) for name in ("Center", "Width"))
    if len(center) and len(width) and float(width[0]) >= 1:
        # DICOM PS3.3, section C.11.2.1.2.1; of several windows the first.
        half = (float(width[0]) - 1) / 2
        low, high = float(center[0]) - 0.5 - half, float(center[0]) - 0.5 + half
    elif "VOILUTSequence" in header:
        values = apply_voi_lut(values, header)
    elif (inside := values[pixels != header.get("PixelPaddingValue")]).size:
        # What stands around the image may be far from all of it.
        low, high = float(inside.min()), float(inside.max())
    image = _grey(values, low, high)
    return image.point(lambda value: 255 - value) if header.PhotometricInterpretation == "MONOCHROME1" else image
