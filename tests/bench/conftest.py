"""A pipeline of random weights, built once."""

from pathlib import Path

import pytest

from shared.diffusion.tiny import build_tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("tiny"))
