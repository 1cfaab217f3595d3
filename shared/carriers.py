"""What surrounds the pixels of a picture file: its format, its orientation, its colours. No pixel is decoded here.

A file is taken apart before its decoder sees it, so that what is thrown away anyway (texts, thumbnails, films) cannot
make a good picture fail. Formats: PNG (W3C, 3rd edition), JPEG (ITU-T T.81, ICC.1 annex B.4), HEIF (ISO 23008-12).
"""

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from PIL import Image

from shared import colour

ORIENTATION = 0x0112  # of EXIF
MAX_PROFILE = 4 * 2**20  # bytes; the largest in use, of printing presses, have three million
TAKEN = {"JPEG": "JPEG", "PNG": "PNG", "WEBP": "WebP", "AVIF": "AVIF", "HEIF": "HEIC"}

_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")  # of JPEG: those that a length follows, and the end
_SIGNATURES: Mapping[str, tuple[bytes, ...]] = {
    "JPEG": (rb"\xff\xd8\xff",),
    "PNG": (rb"\x89PNG\r\n\x1a\n",),
    "WEBP": (rb"RIFF....WEBP",),
    "AVIF": (rb"....ftyp(avif|avis)", rb"....ftyp(mif1|msf1)....(....)*?(avif|avis)"),
    "HEIF": (rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)",),
    "GIF": (rb"GIF8",),
    "TIFF or a camera's raw format": (rb"II[*+]\0", rb"MM\0[*+]"),
    "BMP": (rb"BM",),
    "JPEG XL": (rb"\xff\x0a", rb"\0\0\0\x0cJXL "),
    "JPEG 2000": (rb"\0\0\0\x0cjP  ", rb"\xff\x4f\xff\x51"),
    "a film": (rb"....ftyp", rb"\x1aE\xdf\xa3"),
    "an icon": (rb"\0\0[\1\2]\0",),
    "Photoshop's format": (rb"8BPS",),
    "PDF": (rb"%PDF",),
    "SVG": (rb"\s*<(\?xml|svg|!DOCTYPE svg)",),
}
_KINDS = [(name, re.compile(b"|".join(some), re.DOTALL)) for name, some in _SIGNATURES.items()]
_LOOK_FOR_BRANDS = 256  # bytes of a file's beginning
TURNING_BOX = re.compile(rb"\0\0\0\x09(irot|imir)")  # of AVIF and HEIF
_EXIF_ITEM = re.compile(rb"(infe[\2\3].{7}(?:..)?)Exif", re.DOTALL)
_COLOUR_BOX = re.compile(rb"colrnclx(.{6})", re.DOTALL)


@dataclass(frozen=True)
class Carrier:
    """A file without what does not matter, and what its metadata say of the pixels.

    Attributes:
        turn: EXIF orientation, 1..8 (anything else: none); None: the decoder knows.
        profile: ICC profile of the pixels; None: sRGB, or the decoder knows.
        depth: bits of a sample of a PNG, else 8.
    """

    data: bytes
    turn: int | None = None
    profile: bytes | None = None
    depth: int = 8


def kind_of(data: bytes) -> str | None:
    """Pillow's name of the format, by its first bytes; of other formats a name for people; None: unknown."""
    start = data[:_LOOK_FOR_BRANDS]
    return next((name for name, pattern in _KINDS if pattern.match(start)), None)


def taken_apart(data: bytes, kind: str) -> Carrier:
    """The file as its decoder shall see it. What is damaged beyond that is left for the decoder to say."""
    return {"PNG": _png, "JPEG": _jpeg, "AVIF": _avif}.get(kind, Carrier)(data)


def orientation(exif: bytes | None) -> int:
    """Orientation of an EXIF block, 1 where it has none or is damaged. XMP is not asked, as browsers do not."""
    found = Image.Exif()
    try:
        found.load(exif or b"")
        turn = found.get(ORIENTATION)
    except Exception:  # Pillow's parser raises of everything, `struct.error` among it
        return 1
    return turn if isinstance(turn, int) else 1


def profile_of_boxes(data: bytes) -> bytes | None:
    """An ICC profile for the colours that the first `colr` box of an AVIF or HEIC file names (ITU-T H.273)."""
    found = _COLOUR_BOX.search(data)
    if found is None:
        return None
    return colour.named_profile(int.from_bytes(found[1][:2]), int.from_bytes(found[1][2:4]))


def scans(data: bytes, most: int) -> int:
    """Scans of a JPEG file up to its end, `most` + 1 at most. What follows it, or hides in a segment, is none."""
    found, place = 0, 0
    while found <= most and (marker := _MARKER.search(data, place)) is not None and marker[1] != b"\xd9":
        found += marker[1] == b"\xda"
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return found


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of every chunk of a PNG, to its end or where it breaks off."""
    place, kind = 8, b""
    while place + 12 <= len(data) and kind != b"IEND":
        kind, start = data[place + 4 : place + 8], place
        place += 12 + int.from_bytes(data[place : place + 4])
        yield kind, start, place


def _sound(data: bytes, start: int, end: int) -> bool:
    return zlib.crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])


def _png(data: bytes) -> Carrier:
    """Critical chunks as they are, and `tRNS`. Ancillary chunks with a wrong checksum are none, as in browsers."""
    kept, found, pixels = [data[:8]], dict[bytes, bytes](), False
    for kind, start, end in _chunks(data):
        pixels |= kind == b"IDAT"
        if not kind[0] & 0x20 or (kind == b"tRNS" and _sound(data, start, end)):
            kept.append(data[start:end])
        elif (kind == b"eXIf" or (kind in colour.PNG_CHUNKS and not pixels)) and _sound(data, start, end):
            found.setdefault(kind, data[start + 8 : end - 4])
    profile = colour.profile_of_chunks(found, MAX_PROFILE)
    return Carrier(b"".join(kept), orientation(found.get(b"eXIf")), profile, data[24] if len(data) > 24 else 8)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Code, start and end of every segment of a JPEG before its pixels; the last one starts them, or ends the file."""
    place = 2
    while (marker := _MARKER.search(data, place)) is not None:
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
        yield marker[1][0], marker.start(), place
        if marker[1] in b"\xd9\xda":
            return


def _jpeg(data: bytes) -> Carrier:
    """Without comments, and of the application segments only those that name the colour transform."""
    kept, exif, parts, place = [data[:2]], None, dict[int, bytes](), 2
    for code, start, end in _segments(data):
        place, body = end, data[start + 4 : min(end, start + 4 + 0xFFFF)]
        if code in (0xD9, 0xDA):
            place = start
        elif code == 0xE1 and exif is None and body.startswith(b"Exif\0\0"):
            exif = body
        elif code == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            parts.setdefault(body[12], body[14:])
        elif not 0xE0 <= code <= 0xFE or _says_transform(code, body):
            kept.append(data[start:end])
    profile = b"".join(parts[number] for number in sorted(parts))
    sound = 0 < len(profile) <= MAX_PROFILE
    return Carrier(b"".join([*kept, data[place:]]), orientation(exif), profile if sound else None)


def _says_transform(code: int, body: bytes) -> bool:
    """Whether a whole APP0 of JFIF, or APP14 of Adobe."""
    return (code == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 14) or (
        code == 0xEE and body[:5] == b"Adobe" and len(body) >= 12
    )


def _avif(data: bytes) -> Carrier:
    """Without EXIF, which libavif refuses where it is damaged; the boxes of the file say how it is turned."""
    return Carrier(_EXIF_ITEM.sub(rb"\1none", data))


def exif_of(picture: Image.Image) -> bytes | None:
    """The EXIF block that Pillow found."""
    found = picture.info.get("exif")
    return found if isinstance(found, bytes) else None
