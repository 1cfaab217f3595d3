"""A pipeline of random weights, built once for all tests."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from shared.diffusion.model import DiffusionModel


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from shared.diffusion.tiny import build_tiny  # most tests need no torch

    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> "DiffusionModel":
    from shared.diffusion.model import DiffusionModel

    return DiffusionModel.load(tiny_folder)
