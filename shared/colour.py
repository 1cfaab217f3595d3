"""From the colours that a file names to sRGB: ICC profiles, and profiles made for PNG's gAMA, cHRM and cICP.

Whatever a file says of its colours becomes an ICC profile, and little CMS (Pillow's ImageCms) converts from that.
Sources: ICC.1:2001-04 (the file), ITU-T H.273 (the numbers of cICP), PNG 3rd edition (which chunk wins), SMPTE ST 2084
and ITU-R BT.2100 (PQ and HLG), ITU-R BT.2408 (203 cd/m2 is white).
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # from 0..1 to linear light, 1 is white
Primaries = tuple[float, ...]  # x, y of white, red, green, blue, as in cHRM

PNG_CHUNKS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
D65 = (0.3127, 0.329)
SRGB: Primaries = (*D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
NAMED_PRIMARIES: Mapping[int, Primaries] = {
    1: SRGB,
    4: (0.31, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    12: (*D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),
    22: (*D65, 0.63, 0.34, 0.295, 0.605, 0.155, 0.077),
}
UNNOTICED = 2  # of 255: a profile that moves no colour by more is sRGB, and its pixels are left as they are
LIKE_SRGB = 0.05  # share of a gamma that makes no difference, as libpng has it
SAME_COLOUR = 0.002  # of x and y
_ENTRIES = 4096  # of a curve's table
_D50 = np.array([0.9642, 1.0, 0.8249])  # of ICC.1
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_WHITE = 203.0 / 10_000  # of PQ's largest light
_HLG_WHITE = 0.75  # the signal of white


def to_srgb(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """What converts a picture of 8 bits with this ICC profile to RGB; None: leave its colours as they are.

    That is so for a profile that is damaged, that does not fit the picture's mode, or that is sRGB in all but name.
    Transparency is lost.
    """
    given = _input_mode(profile[16:20], mode)
    if given is None:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        exact = ImageCms.Flags.NOOPTIMIZE if given == "L" else ImageCms.Flags.NONE  # its shortcut is 10 levels off
        transform = ImageCms.buildTransform(source, srgb, given, "RGB", flags=exact)
        probe = _probe(given)
        moved = np.asarray(ImageCms.applyTransform(probe, transform), np.int16) - np.asarray(probe.convert("RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if given != "CMYK" and np.abs(moved).max() <= UNNOTICED:
        return None

    def convert(picture: Image.Image) -> Image.Image:
        return cast(Image.Image, ImageCms.applyTransform(picture.convert(given), transform))  # a copy, not in place

    return convert


def _input_mode(space: bytes, mode: str) -> str | None:
    """Pillow's mode for what a profile takes, where a picture of `mode` can be that."""
    if space == b"CMYK" or mode == "CMYK":
        return "CMYK" if space == b"CMYK" and mode == "CMYK" else None
    if space == b"GRAY":
        return "L" if mode in ("1", "L", "LA", "La") else None
    return "RGB" if space == b"RGB " else None


def _probe(mode: str) -> Image.Image:
    """Colours from all over a mode."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(*[levels] * len(mode)), -1).reshape(1, -1, len(mode))
    return Image.fromarray(np.ascontiguousarray(grid), mode)


def profile_of_chunks(chunks: Mapping[bytes, bytes], most: int) -> bytes | None:
    """The ICC profile for the colours of a PNG, None for sRGB. cICP comes before iCCP, sRGB, gAMA with cHRM.

    `most`: bytes of a profile that is looked at.
    """
    if (cicp := chunks.get(b"cICP")) is not None and len(cicp) == 4 and cicp[2] == 0:
        return named_profile(cicp[0], cicp[1])
    if (iccp := chunks.get(b"iCCP")) is not None and (profile := _inflated(iccp, most)) is not None:
        return profile
    gamma = chunks.get(b"gAMA", b"")
    if b"sRGB" in chunks or len(gamma) != 4 or gamma == bytes(4):
        return None
    return _gamma_profile(int.from_bytes(gamma) / 100_000, chunks.get(b"cHRM", b""))


def _inflated(iccp: bytes, most: int) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(iccp.partition(b"\0")[2][1:], most)
    except zlib.error:
        return None
    return profile if unpacker.eof else None


def _gamma_profile(gamma: float, chrm: bytes) -> bytes | None:
    """gAMA alone: a display of gamma 2.2 shows it as sRGB. With cHRM: a pure power, with these primaries."""
    plain = abs(gamma * 2.2 - 1) < LIKE_SRGB
    if len(chrm) != 32:
        return None if plain else matrix_profile(SRGB, lambda v: _srgb_light(v ** (1 / (2.2 * gamma))))
    primaries = tuple(number / 100_000 for number in struct.unpack(">8I", chrm))
    if plain and np.abs(np.subtract(primaries, SRGB)).max() < SAME_COLOUR:
        return None
    return matrix_profile(primaries, lambda v: v ** (1 / gamma))


def named_profile(primaries: int, transfer: int) -> bytes | None:
    """The ICC profile for numbers of ITU-T H.273; None for sRGB and for what is unknown or unspecified.

    The curves of television (1, 6, 14, 15) count as sRGB's, as browsers have it. Of PQ and HLG, what is brighter than
    white becomes white.
    """
    curve = _CURVES.get(transfer)
    if primaries not in NAMED_PRIMARIES or curve is None or (primaries == 1 and curve is _srgb_light):
        return None
    return matrix_profile(NAMED_PRIMARIES[primaries], curve)


def _srgb_light(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _pq_light(v: NDArray[np.float64]) -> NDArray[np.float64]:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = v ** (1 / m2)
    return np.minimum((np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / _WHITE, 1)


def _hlg_light(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scene light by the inverse of HLG's curve, then gamma 1.2 of a display of 1000 cd/m2, channel by channel."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073

    def shown(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(v <= 0.5, v * v / 3, (np.exp((v - c) / a) + b) / 12) ** 1.2

    return np.minimum(shown(v) / shown(np.array(_HLG_WHITE)), 1)


_CURVES: Mapping[int, Curve] = {
    **dict.fromkeys((1, 6, 13, 14, 15), _srgb_light),
    4: lambda v: v**2.2,
    5: lambda v: v**2.8,
    8: lambda v: v,
    16: _pq_light,
    17: lambda v: v**2.6,
    18: _hlg_light,
}


def matrix_profile(primaries: Primaries, curve: Curve) -> bytes | None:
    """An ICC profile (version 2) of three primaries and one curve; None for primaries that span no colours."""
    try:
        columns = _to_d50(primaries)
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return None
    if not np.isfinite(columns).all() or np.abs(columns).max() >= 2**15:
        return None
    table = np.rint(np.clip(curve(np.linspace(0, 1, _ENTRIES)), 0, 1) * 65535).astype(">u2").tobytes()
    curv = b"curv" + bytes(4) + struct.pack(">I", _ENTRIES) + table
    tags = [(b"%cXYZ" % name, _xyz(column)) for name, column in zip(b"rgb", columns.T, strict=True)]
    return _file([(b"wtpt", _xyz(_D50)), *tags], curv)


def _to_d50(primaries: Primaries) -> NDArray[np.float64]:
    """(3, 3): XYZ of red, green and blue as columns, adapted to D50 (Bradford)."""
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in zip(primaries[::2], primaries[1::2], strict=True)]).T
    white, colours = xyz[:, 0], xyz[:, 1:]
    scaled = colours * np.linalg.solve(colours, white)
    adapt = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    found: NDArray[np.float64] = np.linalg.solve(_BRADFORD, adapt @ _BRADFORD @ scaled)
    return found


def _xyz(value: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(v) * 65536) for v in value))


def _file(tags: list[tuple[bytes, bytes]], curv: bytes) -> bytes:
    """The profile's header, its table of tags, and the tags; the three curves are one."""
    place, table, body = 128 + 4 + 12 * (len(tags) + 3), b"", b""
    for name, value in tags:
        table += name + struct.pack(">2I", place + len(body), len(value))
        body += value
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        table += name + struct.pack(">2I", place + len(body), len(curv))
    body += curv
    header = struct.pack(">I4sI", place + len(body), bytes(4), 0x02100000) + b"mntrRGB XYZ " + bytes(12) + b"acsp"
    header += bytes(28) + struct.pack(">3i", *(round(float(v) * 65536) for v in _D50)) + bytes(48)
    return header + struct.pack(">I", len(tags) + 3) + table + body
