"""Small tars in the layout of the training data, drawn here: soft faces-like and scene-like pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.pictures import encoded, write_tar
from training.data import TRAIN_FACES, TRAIN_SCENES

COUNT = 12


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    rng = np.random.default_rng(0)
    for name in (*TRAIN_FACES, *TRAIN_SCENES, "eval-faces-00"):
        records = [{"file": f"{i:06d}.webp", **_fields(name, i)} for i in range(COUNT)]
        files = {record["file"]: _webp(rng) for record in records}
        files["metadata.jsonl"] = "".join(json.dumps(record) + "\n" for record in records).encode()
        write_tar(folder / f"{name}.tar", files)
    return folder


def _fields(name: str, i: int) -> dict[str, Any]:
    if "celeba" in name or name.startswith("eval"):
        return {
            "identity": i // 2,
            "attributes": ["Smiling", "Young", "Blond_Hair"] if i % 2 else ["Male", "Eyeglasses"],
        }
    if "utk" in name:
        return {"age": 5 * i, "gender": "male" if i % 2 else "female"}
    if "fairface" in name:
        return {"age_range": "more than 70" if i % 2 else "20-29", "gender": "female"}
    return {"scene": "sea" if i % 2 else "mountain", "top": "blue", "bottom": "dark", "light": "normal"}


def _webp(rng: np.random.Generator) -> bytes:
    coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return encoded(Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC), "WEBP", quality=84)
