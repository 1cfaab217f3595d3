"""`ddsr demo` with the arithmetic worker in place of the model."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli import demo, leaks


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    path = tmp_path / "portrait.png"
    noise = np.random.default_rng(3).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_the_demo(
    portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[str] = []

    def search(items: Iterable[tuple[str, bytes]], secrets: Mapping[str, bytes]) -> list[str]:
        sought.extend(secrets)
        return leaks.search(items, secrets)

    monkeypatch.setattr(demo, "search", search)
    monkeypatch.setitem(demo.PROMPTS, "wrong", "a prompt that is wrong")  # as the arithmetic worker knows it
    out = tmp_path / "out"
    assert demo.run(portrait, out, worker_module="tests.worker.arithmetic") == 0
    shown = capsys.readouterr().out
    assert "nothing readable" in shown
    assert "100.0 dB" in shown
    assert shown.count("ddsr3.") == 2
    rows = [[cell.strip() for cell in line.split("│")[1:5]] for line in shown.splitlines() if line.startswith("│")]
    answers = {(scheme, sent_as, prompt): words for scheme, sent_as, prompt, words in rows if prompt}
    for sent_as in ("PNG", "JPEG 80"):
        assert answers["keyed", sent_as, "right"] == "the face"
        assert answers["keyed", sent_as, "wrong"] == "a stranger"
        assert answers["sealed", sent_as, "right"] == "authentic"
        assert answers["sealed", sent_as, "wrong"] == "refused"
    assert len(answers) == 8
    given = [name for name in sought if name.startswith("recovered face")]
    assert len(given) == 6
    assert {f"file of the {name}" for name in given} < set(sought)
    assert {"right identity prompt", "wrong identity prompt", "upload", "face"} < set(sought)
    with Image.open(out / "side-by-side.png") as sheet:
        assert sheet.width > 4 * 256
    assert demo.IDENTITY_PROMPT not in (out / "stack.log").read_text()


def test_a_wrong_answer_is_a_failure(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The arithmetic worker takes every prompt without the word "wrong" for the right one."""
    assert demo.run(portrait, tmp_path / "out", worker_module="tests.worker.arithmetic") == 3
    assert "WRONG: sealed, PNG, wrong prompt: authentic" in capsys.readouterr().out


def test_a_demo_that_cannot_start_says_so(portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.run(portrait, tmp_path / "out", worker_module="tests.worker.nothing") == 3
    assert "worker did not get ready" in capsys.readouterr().out
    assert demo.run(tmp_path / "nowhere.jpg", tmp_path / "out") == 1
