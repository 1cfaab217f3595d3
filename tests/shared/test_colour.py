"""Pictures of every mode and colour space, against the sRGB pixels that a browser shows for them."""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from shared import colour
from shared.imaging import Pixels, decode_upload, on_white

RAMP = np.linspace(0, 255, 32 * 24).astype(np.uint8).reshape(24, 32)
P3_TO_SRGB = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])  # CSS Color 4
ADOBE: colour.Primaries = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
PROPHOTO: colour.Primaries = (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001)
GREY_TAGS = struct.pack(">I", 2) + b"wtpt" + struct.pack(">2I", 156, 20) + b"kTRC" + struct.pack(">2I", 176, 14)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(data: bytes, *chunks: bytes) -> bytes:
    """The PNG with these chunks after its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def saved(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def colours() -> Pixels:
    """A picture of soft colours, (24, 32, 3)."""
    red, green = np.meshgrid(np.linspace(60, 200, 32), np.linspace(80, 180, 24))
    return np.stack([red, green, 255 - red], -1).astype(np.uint8)


def light(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def shown(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def close(found: Pixels, wanted: NDArray[np.float64], most: float = 2.0) -> None:
    assert np.abs(found.astype(float) - wanted).max() <= most


def grey_profile(gamma: float) -> bytes:
    """An ICC profile of one channel."""
    body = colour._xyz(np.array([0.9642, 1.0, 0.8249])) + b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    whole = colour._file([], b"")
    head = struct.pack(">I", 128 + len(GREY_TAGS) + len(body)) + whole[4:16] + b"GRAY" + whole[20:128]
    return head + GREY_TAGS + body


@pytest.mark.parametrize("big", [False, True])
def test_sixteen_bits_of_grey_are_scaled(big: bool) -> None:
    deep = RAMP.astype(np.uint16) * 257
    picture = Image.frombytes("I;16B", (32, 24), deep.astype(">u2").tobytes()) if big else Image.fromarray(deep)
    np.testing.assert_array_equal(np.asarray(on_white(picture))[..., 1], RAMP)
    if not big:
        np.testing.assert_array_equal(decode_upload(saved(picture))[..., 2], RAMP)
        clear = decode_upload(png(saved(picture), chunk(b"tRNS", struct.pack(">H", int(deep[0, 5])))))
        np.testing.assert_array_equal(clear[..., 0], np.where(RAMP[0, 5] == RAMP, 255, RAMP))


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "I", "F", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"]
)
def test_every_mode_of_pillow(mode: str) -> None:
    """The same picture in every mode, opaque: what comes back is that picture."""
    plain = Image.fromarray(RAMP) if mode in ("1", "L", "LA", "La", "I", "F") else Image.fromarray(colours())
    wanted = np.asarray(plain.convert("RGB")).astype(float)
    if mode == "I":
        picture = Image.fromarray(RAMP.astype(np.int32) * 257)
    elif mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        lab = ImageCms.profileToProfile(plain, *profiles, outputMode="LAB")
        assert lab is not None
        picture = lab
    elif mode in ("La", "RGBa"):
        picture = plain.convert(mode[:-1] + "A").convert(mode)
    elif mode == "PA":
        picture = plain.convert("P").convert("PA")
    else:
        picture = plain.convert(mode)
    if mode in ("1", "P", "PA"):
        wanted = np.asarray(picture.convert("RGB")).astype(float)
    close(np.asarray(on_white(picture)), wanted, {"LAB": 15, "HSV": 3, "YCbCr": 3}.get(mode, 1))  # LAB of 8 bits


def test_transparency_of_every_kind_is_white() -> None:
    half = Image.fromarray(np.dstack([colours(), np.full((24, 32), 128, np.uint8)]))
    wanted = colours() * (128 / 255) + 255 * (127 / 255)
    close(decode_upload(saved(half)), wanted)
    close(decode_upload(saved(half, "WEBP", lossless=True, exact=True)), wanted)
    close(np.asarray(on_white(half.convert("RGBa"))), wanted)
    grey = Image.merge("LA", (Image.fromarray(RAMP), Image.new("L", (32, 24), 128)))
    close(decode_upload(saved(grey))[..., 0], RAMP * (128 / 255) + 127)


@pytest.mark.parametrize(("depth", "value"), [(1, 1), (2, 2), (4, 9), (8, 77)])
def test_the_transparent_grey_of_every_depth(depth: int, value: int) -> None:
    """The value counts in samples of the file: 2 of 0..3 is 170."""
    samples = (np.arange(32 * 24).reshape(24, 32) % 2**depth).astype(np.uint8)
    bits = np.unpackbits(samples[..., None], axis=-1)[..., 8 - depth :].reshape(24, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, depth, 0, 0, 0, 0))
    data += chunk(b"tRNS", struct.pack(">H", value)) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    wanted = np.where(samples == value, 255, samples * (255 // (2**depth - 1)))
    np.testing.assert_array_equal(decode_upload(data)[..., 0], wanted)


def test_the_transparent_colour_of_sixteen_bits() -> None:
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in colours())
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, 16, 2, 0, 0, 0))
    key = colours()[3, 4]
    data += chunk(b"tRNS", (key.astype(">u2") * 257).tobytes()) + chunk(b"IDAT", zlib.compress(rows))
    found = decode_upload(data + chunk(b"IEND", b""))
    assert (found[3, 4] == 255).all()
    np.testing.assert_array_equal(found[0, 0], colours()[0, 0])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "AVIF", "HEIF"])
def test_display_p3_becomes_srgb_in_every_format(form: str) -> None:
    profile = colour.named_profile(12, 13)
    options = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100},
        "HEIF": {"quality": -1, "chroma": 444},
    }.get(form, {})
    if form == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    found = decode_upload(saved(Image.fromarray(colours()), form, icc_profile=profile, **options))
    wanted = shown(light(colours() / 255) @ P3_TO_SRGB.T)
    assert np.abs(found - wanted).mean() < 1.5 < np.abs(colours() - wanted).mean() / 2
    if form in ("PNG", "WEBP"):
        close(found, wanted)


@pytest.mark.parametrize(("primaries", "gamma"), [(ADOBE, 563 / 256), (PROPHOTO, 1.8)])
def test_wide_profiles_become_srgb(primaries: colour.Primaries, gamma: float) -> None:
    """Against the matrices of CSS Color 4, from XYZ (D65) by the primaries' own."""
    profile = colour.matrix_profile(primaries, lambda v: v**gamma)
    found = decode_upload(saved(Image.fromarray(colours()), icc_profile=profile))
    to_xyz = colour._to_d50(primaries)
    linear = (colours() / 255) ** gamma @ (np.linalg.inv(colour._to_d50(colour.SRGB)) @ to_xyz).T
    close(found, shown(linear))
    assert np.abs(found.astype(int) - colours()).max() > 10


def test_a_profile_of_grey() -> None:
    found = decode_upload(saved(Image.fromarray(RAMP), icc_profile=grey_profile(1.0)))
    close(found[..., 0], shown(RAMP / 255.0))


def test_profiles_that_do_not_fit_or_are_srgb_change_nothing() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    broken = [b"", b"nonsense", srgb[:200], grey_profile(1.0), srgb[:16] + b"CMYK" + srgb[20:], srgb + bytes(5_000_000)]
    for profile in [srgb, colour.matrix_profile(colour.SRGB, colour._srgb_light), *broken]:
        iccp = chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile or b""))
        np.testing.assert_array_equal(decode_upload(png(saved(Image.fromarray(colours())), iccp)), colours())


def test_a_picture_for_print_is_shown_without_a_profile_as_browsers_do() -> None:
    inks = Image.fromarray(np.dstack([255 - colours(), np.zeros((24, 32), np.uint8)]), "CMYK")
    close(decode_upload(saved(inks, "JPEG", quality=100)), colours().astype(float), 4)


def test_gamma_of_png() -> None:
    plain = saved(Image.fromarray(colours()))
    found = decode_upload(png(plain, chunk(b"gAMA", struct.pack(">I", 100_000))))
    close(found, 255 * (colours() / 255) ** (1 / 2.2))
    for harmless in (45_455, 45_000, 0):
        gama = chunk(b"gAMA", struct.pack(">I", harmless))
        np.testing.assert_array_equal(decode_upload(png(plain, gama)), colours())
    both = chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"sRGB", b"\0")
    np.testing.assert_array_equal(decode_upload(png(plain, *both)), colours())


def test_gamma_with_primaries_of_png() -> None:
    plain = saved(Image.fromarray(colours()))
    gama = chunk(b"gAMA", struct.pack(">I", 45_455))

    def chrm(primaries: colour.Primaries) -> bytes:
        return chunk(b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in primaries)))

    np.testing.assert_array_equal(decode_upload(png(plain, gama, chrm(colour.SRGB))), colours())
    p3 = decode_upload(png(plain, gama, chrm(colour.NAMED_PRIMARIES[12])))
    close(p3, shown((colours() / 255) ** 2.2 @ P3_TO_SRGB.T))
    np.testing.assert_array_equal(decode_upload(png(plain, gama, chunk(b"cHRM", bytes(32)))), colours())


def test_cicp_of_png_comes_first() -> None:
    plain = saved(Image.fromarray(colours()))
    p3, gama = chunk(b"cICP", bytes((12, 13, 0, 1))), chunk(b"gAMA", struct.pack(">I", 100_000))
    close(decode_upload(png(plain, p3, gama)), shown(light(colours() / 255) @ P3_TO_SRGB.T))
    for same in ((1, 13, 0, 1), (2, 2, 0, 1), (77, 13, 0, 1)):
        np.testing.assert_array_equal(decode_upload(png(plain, chunk(b"cICP", bytes(same)))), colours())


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.5807), (18, 0.75)])
def test_white_of_hdr_is_white(transfer: int, white: float) -> None:
    """BT.2408: 203 cd/m2 is 58 % of PQ and 75 % of HLG."""
    plain = saved(Image.new("RGB", (32, 24), (round(255 * white),) * 3))
    found = decode_upload(png(plain, chunk(b"cICP", bytes((9, transfer, 0, 1)))))
    close(found, np.full((24, 32, 3), 255.0), 4)
    dark = saved(Image.new("RGB", (32, 24), (round(200 * white),) * 3))
    assert decode_upload(png(dark, chunk(b"cICP", bytes((9, transfer, 0, 1))))).mean() < 240


def test_numbers_in_the_boxes_of_avif() -> None:
    """Pillow does not tell them; a colr box says 12 (P3 primaries) and 13 (the curve of sRGB)."""
    data = saved(Image.fromarray(colours()), "AVIF", quality=100, subsampling="4:4:4")
    place = data.index(b"colrnclx") + 8
    found = decode_upload(data[:place] + struct.pack(">2H", 12, 13) + data[place + 4 :])
    assert np.abs(found - shown(light(colours() / 255) @ P3_TO_SRGB.T)).mean() < 1.5
