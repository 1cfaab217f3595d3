"""The README's commands and programs run as they stand, and print what it says they print.

One stack for all, as `ddsr up` starts it, with a tiny model; only the ports differ.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.diffusion.tiny import build_tiny
from shared.recipe_files import recipes_in
from stack.stack import Stack
from stack.temporary import temporary_stack
from tests.docs.pages import PAGES, README, ROOT, blocks, section

pytestmark = pytest.mark.timeout(400)

VISIT = """
import asyncio
from pathlib import Path

enrolled = recogniser.look(Path("examples/portrait.jpg").read_bytes())
print(asyncio.run(verified(Path("stego.png").read_bytes(), Secret.from_file("prompt.txt"), enrolled)))
"""


@dataclass(frozen=True)
class Desk:
    """Where a reader types: a folder with the examples in it, before a running stack."""

    folder: Path
    stack: Stack

    def shell(self, text: str) -> str:
        """What the commands print; each must succeed."""
        here = text.replace("http://127.0.0.1:8001", self.stack.sender_url)
        return self._run(
            ["bash", "-euo", "pipefail", "-c", here.replace("http://127.0.0.1:8002", self.stack.receiver_url)]
        )

    def python(self, text: str) -> str:
        return self._run([sys.executable, "-c", text])

    def picture(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return np.asarray(Image.open(self.folder / name))

    def _run(self, command: list[str]) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DDSR_SENDER_URL": self.stack.sender_url,
            "DDSR_RECEIVER_URL": self.stack.receiver_url,
        }
        ended = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "desk").mkdir()
        (folder / "desk/examples").symlink_to(ROOT / "examples")
        with temporary_stack(io.StringIO(), extra={"DDSR_MODEL": str(build_tiny(folder / "tiny"))}) as stack:
            yield Desk(folder / "desk", stack)


@pytest.fixture(scope="module")
def printed(desk: Desk) -> str:
    """What the curl calls of the README print; their files lie on the desk."""
    if shutil.which("curl") is None or shutil.which("bash") is None:
        pytest.skip("curl or bash is not installed")
    (commands,) = blocks(section(README, "## curl"), "sh")
    return desk.shell(commands.text)


def test_curl_prints_what_the_readme_shows(desk: Desk, printed: str) -> None:
    (shown,) = blocks(section(README, "## curl"), "text")
    heads = [set(re.findall(r"^([\w-]+): ", text, re.MULTILINE)) for text in (shown.text, printed)]
    assert heads[0] <= heads[1]
    statuses = [re.findall(r"^(?:HTTP/1.1 )?(\d{3}) ([\w/]+)", text, re.MULTILINE) for text in (shown.text, printed)]
    assert statuses[0] == statuses[1]
    problems = [json.loads(text[text.index('{"type"') :]) for text in (shown.text, printed)]
    for name in ("type", "title", "status", "code", "detail"):
        assert problems[0][name] == problems[1][name]
    assert "preference-applied: wait=300" in printed


def test_curl_leaves_the_pictures(desk: Desk, printed: str) -> None:
    (recipe,) = recipes_in((desk.folder / "stego.png").read_bytes())
    assert f"ddsr-recipe: {recipe}" in printed
    pictures = [desk.picture(name) for name in ("stego.png", "face.png", "stranger.png")]
    assert {picture.shape for picture in pictures} == {(32, 32, 3)}
    assert not np.array_equal(pictures[1], pictures[2])


def test_python_of_the_readme_and_of_the_example(desk: Desk, printed: str) -> None:
    (client,) = blocks(README, "python")
    (backend,) = blocks(PAGES["examples/face_verification/README.md"], "python")
    assert len([line for line in client.text.splitlines() if line]) <= 15
    for name in ("stego.png", "face.png", "stranger.png"):
        (desk.folder / name).unlink()
    assert "done" in desk.python(client.text)
    assert not np.array_equal(desk.picture("face.png"), desk.picture("stranger.png"))
    assert desk.python(backend.text + VISIT).split() == ["False"]  # random weights draw nobody


def test_curl_and_client_of_the_other_pages(desk: Desk, printed: str) -> None:
    shutil.copy(ROOT / "examples/portrait.jpg", desk.folder / "face.jpg")
    for heading in ("## Hide a face", "## Recover a face"):
        (commands,) = blocks(section(PAGES["docs/api.md"], heading), "sh")
        said = desk.shell(commands.text)
        assert ("ddsr-recipe: ddsr3." in said.lower()) == (heading == "## Hide a face")
    assert desk.picture("face.png").shape == (32, 32, 3)
    desk.python(blocks(PAGES["client/README.md"], "python")[0].text)
