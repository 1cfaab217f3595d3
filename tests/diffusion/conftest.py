"""The embedded model, loaded once."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.diffusion.model import DiffusionModel
from shared.imaging import fit_square

PORTRAIT = Path(__file__).parents[2] / "examples" / "portrait.jpg"


@pytest.fixture(scope="session")
def embedded() -> DiffusionModel:
    return DiffusionModel.load()


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    """uint8 (128, 128, 3)."""
    return fit_square(np.asarray(Image.open(PORTRAIT).convert("RGB")), 128)
