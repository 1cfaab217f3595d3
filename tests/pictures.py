"""Picture files of tests, and what a test says of pictures."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def encoded(rgb: Pixels | Image.Image, form: str = "PNG", **options: object) -> bytes:
    """The bytes of a picture file, in a format of Pillow's with its options."""
    stream = io.BytesIO()
    (rgb if isinstance(rgb, Image.Image) else Image.fromarray(rgb)).save(stream, form, **options)
    return stream.getvalue()


def pixels(data: bytes) -> Pixels:
    """uint8 (H, W, 3) of a picture file."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def write_tar(path: Path, files: Mapping[str, bytes]) -> None:
    """A tar of plain files."""
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
