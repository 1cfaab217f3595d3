"""`python -m bench.size`: how large the house is, and how many functions and files one face passes in it.

The second half starts a stack of its own, with the embedded model, and hides one face. While that request is open, each
process notes every function of the product that it enters (`sys.setprofile`), but for threads that would run without it
(heartbeats, webhooks).
"""

import ast
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from statistics import median, quantiles
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
PRODUCT = ("services", "shared", "worker")
TOOLS = ("cli", "stack", "figures", "training", "evaluation", "bench", "load", "fuzz")
PARTS: Mapping[str, tuple[str, ...]] = {"product": PRODUCT, "tools": TOOLS, "client": ("client",), "tests": ("tests",)}
SEALED = ("sealed.py", "payload.py", "noise_code.py", "ldpc5g.py", "repair.py", "channels.py", "codecs/*.py")
FOLDER = "DDSR_BENCH_PASSED"  # where the processes of the stack leave their notes
_START, _STOP = "start", "stop"  # files by which they are told
_NO_FUNCTION = ("<module>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


def sizes(folders: Iterable[str], pattern: str = "**/*.py") -> dict[str, Any]:
    """Modules, lines, and the lengths of functions in lines: median, 90th percentile, longest."""
    sources = [path.read_text() for folder in folders for path in sorted((ROOT / folder).glob(pattern))]
    lengths = [length for source in sources for length in _lengths(source)]
    return {
        "modules": len(sources),
        "lines": sum(source.count("\n") for source in sources),
        "functions": len(lengths),
        "lengths": (round(median(lengths)), round(quantiles(lengths, n=10)[-1]), max(lengths)),
    }


def _lengths(source: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def passed() -> list[tuple[str, str]]:
    """File and name of every function of the product that one hiding passes, the second one of a fresh stack."""
    from bench.client import Caller, all_served, post_all
    from bench.faces import DISGUISES, PORTRAIT
    from bench.measured import running
    from bench.service import IDENTITY

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sitecustomize.py").write_text("from bench.size import note_functions\n\nnote_functions()\n")
        extra = {FOLDER: name, "PYTHONPATH": f"{name}{os.pathsep}{ROOT}"}
        with running(extra=extra) as measured:
            request = Caller.of(measured.stack).hide(PORTRAIT.read_bytes(), IDENTITY, DISGUISES[0])
            for file in ("", _START):
                if file:
                    (folder / file).touch()
                    time.sleep(1)
                all_served(post_all([request], 1))
            (folder / _STOP).touch()
            time.sleep(1)
        notes = [tuple(found) for path in folder.glob("*.json") for found in json.loads(path.read_text())]
    return sorted({(file, function) for file, function in notes})


def note_functions() -> None:
    """In a process of the stack: note which functions of the product are entered between `start` and `stop`."""
    folder = Path(os.environ[FOLDER])
    entered: set[CodeType] = set()
    recording = threading.Event()

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and recording.is_set():
            entered.add(frame.f_code)

    def first(frame: FrameType, event: str, argument: object) -> None:
        named = threading.current_thread().name.startswith("AnyIO")  # those that serve requests
        sys.setprofile(note if named else None)

    def watch() -> None:
        for file, act in ((_START, recording.set), (_STOP, recording.clear)):
            while not (folder / file).exists():
                time.sleep(0.05)
            act()
        (folder / f"{os.getpid()}.json").write_text(json.dumps(sorted(filter(None, map(_ours, entered)))))

    threading.Thread(target=watch, daemon=True).start()
    threading.setprofile(first)
    sys.setprofile(note)


def _ours(code: CodeType) -> tuple[str, str] | None:
    path = Path(code.co_filename)
    if code.co_name in _NO_FUNCTION or not path.is_relative_to(ROOT):
        return None
    file = path.relative_to(ROOT)
    return (str(file), code.co_qualname) if file.parts[0] in PRODUCT else None


def main() -> None:
    for part, folders in PARTS.items():
        found = sizes(folders)
        lengths = " / ".join(map(str, found["lengths"]))
        print(f"{part}: {found['modules']} modules, {found['lines']} lines, functions of {lengths} lines")
    sealed = [sizes(["shared/diffusion"], pattern) for pattern in SEALED]
    numbers = (sum(found[name] for found in sealed) for name in ("modules", "lines"))
    print("of the product, what only the scheme sealed needs: {} modules, {} lines".format(*numbers))
    functions = passed()
    for file, group in groupby(functions, key=lambda found: found[0]):
        print(f"  {file}: {', '.join(name for _, name in group)}")
    for start in ("", "services/", "shared/jobs", "worker/", "shared/diffusion/"):
        some = [file for file, _ in functions if file.startswith(start)]
        print(f"the face passes {len(some)} functions in {len(set(some))} files {start and f'of {start}'}")


if __name__ == "__main__":
    main()
