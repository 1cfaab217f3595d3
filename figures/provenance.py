"""What a figure must name so that someone else can make it again."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "redis", "rq", "fastapi", "uvicorn")
ROOT = Path(__file__).resolve().parents[1]
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")


def provenance(**known: Any) -> dict[str, Any]:
    """Command, commit, day, machine and versions, and what only the measurement knows: seed, threads, model, ..."""
    flags = _proc("cpuinfo", "flags").split()
    return {
        "command": _command(sys.argv),
        "commit": commit(),
        "day": datetime.now(UTC).date().isoformat(),
        "cpu": _proc("cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "isa": [name for name in _INSTRUCTIONS if name in flags],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        **known,
    }


def commit() -> str:
    """Short hash of the checked-out commit, with `+` when tracked files differ; "unknown" outside git."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def _command(words: Sequence[str]) -> str:
    """As it was typed, of absolute paths the last part alone."""
    program = Path(words[0])
    first = f"python -m {program.parent.name}" if program.name == "__main__.py" else program.name
    return " ".join([first, *(Path(word).name if os.path.isabs(word) else word for word in words[1:])])


def machine(made: Mapping[str, Any]) -> str:
    """Processor, cores, memory and Python of a `provenance`."""
    return f"{made['cpu']}, {made['cores']} cores, {made['memory_gib']:.0f} GiB, Python {made['python']}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _proc(file: str, name: str) -> str:
    """The first value of a name in a file of /proc; nothing where there is none."""
    try:
        lines = Path("/proc", file).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
