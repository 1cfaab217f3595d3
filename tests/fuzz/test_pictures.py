"""Pictures that were made to hurt: what hypothesis and atheris found stays here."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from shared.errors import PictureTooLarge
from shared.imaging import COST, decode_upload
from tests.pictures import encoded
from tests.worker.support import ROOT

SIDE = 4000
PEAK = """
import json, resource, sys
from pathlib import Path
from shared.imaging import decode_upload

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

data, before = Path(sys.argv[1]).read_bytes(), peak()
decode_upload(data)
print(json.dumps(peak() - before))
"""


@pytest.mark.parametrize(("mode", "form"), [("RGBA", "PNG"), ("P", "PNG"), ("RGB", "JPEG"), ("RGBA", "WEBP")])
def test_a_small_file_of_many_pixels_takes_little_memory(mode: str, form: str, tmp_path: Path) -> None:
    """Found by size: 190 kB took 1.1 GB, and 89 kB of WebP 1.5 GB, which is more than a container of a service has."""
    file = tmp_path / "bomb"
    Image.new(mode, (SIDE, SIDE)).save(file, form)
    command = [sys.executable, "-c", PEAK, str(file)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    budget = 9 * COST.get(form, 1)  # bytes a pixel: 4 of Pillow's, 3 of ours
    assert json.loads(done.stdout) < budget * SIDE * SIDE


def test_webp_may_have_a_third_of_the_pixels() -> None:
    file = encoded(Image.new("RGB", (60, 60)), "WEBP")
    assert decode_upload(file, max_pixels=COST["WEBP"] * 3600).shape == (60, 60, 3)
    with pytest.raises(PictureTooLarge):
        decode_upload(file, max_pixels=COST["WEBP"] * 3600 - 1)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("turn", range(10))
def test_every_orientation_is_turned_as_pillow_does(turn: int, form: str) -> None:
    """0 and 9 are no orientations and leave the picture as it is."""
    exif = Image.Exif()
    exif[0x0112] = turn
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    file = encoded(rgb, form, exif=exif)
    found = decode_upload(file)
    with Image.open(io.BytesIO(file)) as picture:
        np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(picture).convert("RGB")))
    assert found.flags.c_contiguous


def paletted(indices: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(indices, "L")
    picture.putpalette(bytes(range(256)) * 3)
    return picture


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_strips_meet(mode: str) -> None:
    """More pixels than one strip, with transparency of each kind."""
    rgb = np.random.default_rng(0).integers(0, 256, (1500, 900, 4), dtype=np.uint8)
    picture = Image.fromarray(rgb).convert(mode) if mode != "P" else paletted(rgb[..., 0])
    file = encoded(picture, **({"transparency": 3} if mode == "P" else {}))
    with Image.open(io.BytesIO(file)) as again:
        whole = again.convert("RGBA")
    wanted = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    np.testing.assert_array_equal(decode_upload(file), np.asarray(wanted))


LARGE = """
import json, resource, sys
from pathlib import Path
from shared.faces import decode_and_fit
from tests.pictures import encoded

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

data = Path(sys.argv[1]).read_bytes()
decode_and_fit(Path(sys.argv[2]).read_bytes(), 128)
before = peak()
decode_and_fit(data, 128)
print(json.dumps(peak() - before))
"""


def test_fifty_million_pixels_of_a_telephone_take_less_than_twelve_did(tmp_path: Path) -> None:
    """Twelve million took 7 bytes a pixel, before JPEG was decoded smaller. The detector is loaded before."""
    small, large = tmp_path / "small.jpg", tmp_path / "large.jpg"
    Image.new("RGB", (100, 100)).save(small, "JPEG")
    Image.linear_gradient("L").resize((8160, 6144)).convert("RGB").save(large, "JPEG")
    command = [sys.executable, "-c", LARGE, str(large), str(small)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert json.loads(done.stdout) < 7 * 12_000_000
