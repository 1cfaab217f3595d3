"""`ddsr demo` with the arithmetic worker in place of the model."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli import demo


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "portrait.png"
    noise = np.random.default_rng(3).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_the_demo(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert demo.run(portrait, out, worker_module="tests.worker.arithmetic") == 0
    shown = capsys.readouterr().out
    assert "nothing readable" in shown
    assert "inf dB" in shown
    assert "ddsr3." in shown
    with Image.open(out / "side-by-side.png") as sheet:
        assert sheet.width > 4 * 256
    assert demo.IDENTITY_PROMPT not in (out / "stack.log").read_text()


def test_a_demo_that_cannot_start_says_so(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run(portrait, tmp_path / "out", worker_module="tests.worker.nothing") == 3
    assert "worker did not get ready" in capsys.readouterr().out
    assert demo.run(tmp_path / "nowhere.jpg", tmp_path / "out") == 1
