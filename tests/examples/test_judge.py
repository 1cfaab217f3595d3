"""`ddsr eval services` asks the example's backend, which speaks CompreFace's interface: real faces, a real process."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from ddsr_client import Secret
from evaluation.data import Picture, decode
from evaluation.errors import ServiceRefused
from evaluation.services.asking import Bounds, Judge
from evaluation.services.providers import CompreFace
from examples.face_verification.__main__ import NOBODY, PORTRAIT, SUBJECT, second_take
from examples.face_verification.register import write_prompts
from examples.face_verification.story import PROMPT, ROOT
from stack.temporary import free_ports

Variables = dict[str, str]


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Variables]:
    """Of a judge, while the backend runs; no sender, receiver or worker: these pictures are photographs."""
    folder = tmp_path_factory.mktemp("backend")
    (folder / "faces").mkdir()
    (folder / "faces" / f"{SUBJECT}.jpg").write_bytes(PORTRAIT.read_bytes())
    write_prompts(folder / "prompts.json", {SUBJECT: Secret(PROMPT)})
    (folder / "key").write_text("a key of the test\n")
    (folder / "key").chmod(0o600)
    (port,) = free_ports(1)
    own = {
        "VERIFY_FACES": str(folder / "faces"),
        "VERIFY_PROMPTS": str(folder / "prompts.json"),
        "VERIFY_KEY_FILE": str(folder / "key"),
        "VERIFY_PORT": str(port),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.face_verification.backend"], cwd=ROOT, env={**os.environ, **own}
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/healthz", process)
        yield {"COMPREFACE_URL": address, "COMPREFACE_API_KEY_FILE": str(folder / "key")}
    finally:
        process.terminate()
        process.wait(30)


def wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(address).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError("the backend does not answer")


def test_compreface_judges_real_faces(variables: Variables, tmp_path: Path) -> None:
    portrait, nobody = decode(PORTRAIT), decode(NOBODY)
    again = decode(second_take(PORTRAIT, tmp_path / "again.jpg"))
    grey: Picture = np.full((128, 128, 3), 128, np.uint8)
    with httpx.Client(timeout=60) as client:
        judge = Judge(CompreFace.from_environment(variables), tmp_path / "answers", Bounds(10, 1000.0), client)
        same, other, none = (judge.ask(portrait, one) for one in (again, nobody, grey))
        assert same.score is not None
        assert other.score is not None
        assert other.score < 0.5 < same.score
        assert (none.score, none.code) == (None, "28")
        wrong = {"COMPREFACE_URL": variables["COMPREFACE_URL"], "COMPREFACE_API_KEY": "another key"}
        refused = Judge(CompreFace.from_environment(wrong), tmp_path / "refused", Bounds(10, 1000.0), client)
        with pytest.raises(ServiceRefused, match="401"):
            refused.ask(portrait, nobody)
