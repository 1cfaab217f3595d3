"""The example, played once for all tests of this folder: the embedded model, every process real."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.face_verification.__main__ import NOBODY, PORTRAIT, SUBJECT, second_take
from examples.face_verification.recogniser import Recogniser
from examples.face_verification.story import PROMPT, WRONG_PROMPT, Outcome, Scene, Visit


@dataclass(frozen=True)
class Played:
    """A scene that still runs, what came of its visits, and its log."""

    scene: Scene
    outcomes: list[Outcome]
    log: io.StringIO
    folder: Path


@pytest.fixture(scope="package")
def recogniser() -> Recogniser:
    return Recogniser()


def play(folder: Path, enrolled: Path, again: Path, other: Path) -> Iterator[Played]:
    log = io.StringIO()
    scene = Scene(folder, log, SUBJECT, enrolled)
    visits = [
        Visit("the same person", again, PROMPT, True),
        Visit("another person", other, PROMPT, False),
        Visit("a wrong prompt", again, WRONG_PROMPT, False),
    ]
    try:
        scene.start()
        yield Played(scene, [scene.receive(visit, number) for number, visit in enumerate(visits)], log, folder)
    finally:
        scene.stop()


@pytest.fixture(scope="package")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("scene")
    temporary = folder / "tmp"
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        yield from play(folder, PORTRAIT, second_take(PORTRAIT, folder / "take.jpg"), NOBODY)
