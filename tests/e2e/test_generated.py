"""Clients that generators make of the OpenAPI documents, against the whole stack with the embedded model.

The requests are the documents' own examples, as they stand.
"""

import importlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from examples.face_verification.recogniser import Recogniser
from figures.fidelity import psnr
from shared.faces import decode_and_fit
from stack.stack import Stack
from tests.e2e.test_stack import settings
from tests.pictures import pixels

ROOT = Path(__file__).parents[2]
SERVICES = ("sender", "receiver")
# docs/api.md gives the same: the generator does not take pictures for bytes by itself.
CONFIG = "post_hooks: []\ncontent_type_overrides:\n" + "".join(
    f"  image/{name}: application/octet-stream\n" for name in ("png", "jpeg", "webp")
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    found = Stack(settings(tmp_path_factory.mktemp("stack")), io.StringIO())
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def documents(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("documents")
    paths = {name: folder / f"{name}.json" for name in SERVICES}
    for path, url in zip(paths.values(), (stack.sender_url, stack.receiver_url), strict=True):
        path.write_text(httpx.get(f"{url}/openapi.json").raise_for_status().text)
    return paths


@pytest.fixture(scope="module")
def generated(documents: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the packages `made_sender` and `made_receiver`."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "config.yaml").write_text(CONFIG)
    for name, path in documents.items():
        words = ["--path", path, "--output-path", folder / f"made_{name}", "--meta", "none", "--fail-on-warning"]
        run("openapi_python_client", "generate", *words, "--config", folder / "config.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def run(module: str, *words: object) -> None:
    done = subprocess.run([sys.executable, "-m", module, *map(str, words)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def part(name: str) -> ModuleType:
    return importlib.import_module(name)


def example(document: Path, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document.read_text())["paths"][path]["post"]["requestBody"]["content"]
    return dict(found["multipart/form-data"]["example"])


def form(package: str, model: str, values: dict[str, Any], **files: bytes) -> Any:
    """A generated form of an example, its file fields replaced by the files that they name."""
    kind = getattr(part(f"{package}.models"), model)
    made = kind.from_dict(values | files)
    for name in files:
        getattr(made, name).file_name = name  # a part without one is text
    return made


@pytest.fixture
def clients(stack: Stack, generated: Path) -> Iterator[tuple[Any, Any]]:
    """The generated clients of sender and receiver."""
    sender, receiver = (
        part(f"made_{name}.client").Client(base_url=url, timeout=httpx.Timeout(300))
        for name, url in zip(SERVICES, (stack.sender_url, stack.receiver_url), strict=True)
    )
    with sender, receiver:
        yield sender, receiver


def test_hide_and_recover_at_once_and_by_job(clients: tuple[Any, Any], documents: dict[str, Path]) -> None:
    sender, receiver = clients
    values = example(documents["sender"], "/hide")
    portrait = ROOT / values.pop("image").removeprefix("@")
    hidden = part("made_sender.api.hide.hide").sync_detailed(
        client=sender, body=form("made_sender", "HideForm", values, image=portrait.read_bytes()), prefer="wait=300"
    )
    stego = hidden.parsed.payload.read()
    assert hidden.headers["DDSR-Recipe"].startswith("ddsr")
    assert Recogniser().look(stego) is None

    body = form("made_receiver", "RecoverForm", example(documents["receiver"], "/recover"), stego=stego)
    at_once = part("made_receiver.api.recover.recover").sync(client=receiver, body=body, prefer="wait=300")
    assert alike(at_once.payload.read(), portrait) > 20

    body = form("made_receiver", "RecoverForm", example(documents["receiver"], "/recover"), stego=stego)
    job = part("made_receiver.api.recover.recover").sync(client=receiver, body=body, prefer="respond-async")
    jobs = "made_receiver.api.jobs"
    ended = part(f"{jobs}.get_job").sync(job.id, client=receiver, wait=300)
    assert ended.state == "done"
    followed = part(f"{jobs}.follow_job").sync(job.id, client=receiver)
    assert "event: done" in followed
    face = part(f"{jobs}.get_result").sync(job.id, client=receiver).payload.read()
    assert alike(face, portrait) > 20
    assert part(f"{jobs}.cancel_job").sync(job.id, client=receiver).state == "expired"
    gone = part(f"{jobs}.get_result").sync(job.id, client=receiver)
    assert gone.code == "job-gone"


def alike(face: bytes, photograph: Path) -> float:
    """PSNR in dB against what was hidden."""
    found = pixels(face)
    wanted, _ = decode_and_fit(photograph.read_bytes(), found.shape[0], "auto")
    return psnr(wanted, found)


@pytest.mark.parametrize("name", SERVICES)
def test_another_generator_makes_models_that_compile(
    name: str, documents: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / f"models_{name}.py"
    words = ["--input", documents[name], "--output", target, "--input-file-type", "openapi", "--formatters", "builtin"]
    run("datamodel_code_generator", *words, "--output-model-type", "pydantic_v2.BaseModel")
    monkeypatch.syspath_prepend(tmp_path)
    job = part(f"models_{name}").Job.model_json_schema()
    assert {"id", "state", "links"} <= set(job["properties"])
