"""What a measurement must name so that someone else can make it again."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "redis", "rq", "fastapi", "uvicorn")
ROOT = Path(__file__).resolve().parents[1]


def describe(threads: int, note: str = "") -> dict[str, Any]:
    """Machine, versions, commit and threads. `note`: what else ran at the time."""
    words = [Path(sys.argv[0]).name, *(Path(a).name if os.path.isabs(a) else a for a in sys.argv[1:])]
    return {
        "command": " ".join(words),
        "commit": commit(),
        "day": datetime.now(UTC).isoformat(timespec="minutes"),
        "cpu": _field(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "isa": _isa(),
        "memory_gib": round(_kib(Path("/proc/meminfo"), "MemTotal") / 2**20, 1),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "note": note,
    }


def commit() -> str:
    """Short hash of the checked-out commit, with `+` when tracked files differ; "unknown" outside git."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"],  # noqa: S607
            cwd=ROOT, capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def line(machine: Mapping[str, Any]) -> str:
    """The description in one line of a table's caption."""
    text = f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads"
    text += f", torch {machine['versions'].get('torch')}, commit {machine['commit']}, load {machine['load']} at the end"
    return text + (f"; {machine['note']}" if machine["note"] else "")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _isa() -> list[str]:
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")
    flags = _field(Path("/proc/cpuinfo"), "flags").split()
    return [name for name in wanted if name in flags]


def _field(path: Path, name: str) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ""
    return next((text.partition(":")[2].strip() for text in lines if text.startswith(name)), "")


def _kib(path: Path, name: str) -> float:
    words = _field(path, name).split()
    return float(words[0]) if words else 0.0
