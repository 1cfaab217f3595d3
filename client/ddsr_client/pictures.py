"""Pictures in, as bytes, a path or a Pillow image, and out, as bytes. Pillow is needed for Pillow images only."""

import io
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ddsr_client.models import Box

if TYPE_CHECKING:
    from PIL import Image

_RECIPE = re.compile(r"ddsr[0-9]{1,3}\.[A-Za-z0-9_-]+")  # in a PNG text, a JPEG comment, EXIF or XMP
_DESCRIPTION = 0x010E  # EXIF tag in which a WebP carries it


@dataclass(frozen=True, repr=False)
class Picture:
    """A picture file from a service: a stego, or a face.

    Attributes:
        data: the file.
        media_type: `image/png`, `image/jpeg` or `image/webp`.
        recipe: of a stego, the public parameters that the receiver needs. They are in the file too.
        job_id: the job that made it.
        seconds: of computation, as the service measured them.
        crop: of a stego, what was cut out of the photograph; None with `crop="none"`.
        authentic: of a face of the scheme `sealed`, whether it is what the sender hid (True) or a decoy (False). None
            of the other schemes, which cannot tell, and of a stego.
    """

    data: bytes
    media_type: str
    recipe: str | None = None
    job_id: str | None = None
    seconds: float | None = None
    crop: Box | None = None
    authentic: bool | None = None

    def image(self) -> "Image.Image":
        """As a Pillow image. ImportError without Pillow."""
        from PIL import Image

        image = Image.open(io.BytesIO(self.data))
        image.load()
        return image

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file as it is; its name does not change the format."""
        target = Path(path)
        target.write_bytes(self.data)
        return target

    def __bytes__(self) -> bytes:
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        return f"Picture({self.media_type}, {len(self.data)} bytes, job {self.job_id})"


PictureSource: TypeAlias = "bytes | bytearray | memoryview | str | os.PathLike[str] | Picture | Image.Image"


@dataclass(frozen=True, repr=False)
class Upload:
    """The bytes to send, and a recipe that travelled beside them."""

    data: bytes
    recipe: str | None = None


def take(source: PictureSource) -> Upload:
    """Read a picture. A path is read now; a Pillow image becomes a PNG without metadata, upright.

    Raises:
        OSError: the file cannot be read. TypeError: what was given is no picture.
    """
    if isinstance(source, Picture):
        return Upload(source.data, source.recipe)
    if isinstance(source, bytes | bytearray | memoryview):
        return Upload(bytes(source))
    if isinstance(source, str | os.PathLike):
        return Upload(Path(source).read_bytes())
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(source, pillow.Image):
        return Upload(_png(source), _recipe(source))
    raise TypeError(f"a picture is bytes, a path, a Pillow image or a Picture, not {type(source).__name__}")


def _png(image: "Image.Image") -> bytes:
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    clear = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
    plain = upright.convert("RGBA" if clear else "RGB")
    plain.info = {}
    stream = io.BytesIO()
    plain.save(stream, "PNG")
    return stream.getvalue()


def _recipe(image: "Image.Image") -> str | None:
    """The recipe that the file of a Pillow image carried; encoding it anew would lose it."""
    for found in (*image.info.values(), image.getexif().get(_DESCRIPTION)):
        text = found.decode("ascii", "replace") if isinstance(found, bytes) else found
        if isinstance(text, str) and (recipe := _RECIPE.search(text)):
            return recipe[0]
    return None
