"""A test that hangs costs itself: it fails with the stacks of all threads, and the others run on."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HANGING = """
import threading


def test_that_hangs():
    lock = threading.Lock()
    lock.acquire()
    threading.Thread(target=wait_for_ever, args=(lock,), daemon=True).start()
    lock.acquire()


def wait_for_ever(lock):
    lock.acquire()


def test_after_it():
    pass
"""


def test_a_test_that_hangs_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "test_hanging.py"
    path.write_text(HANGING)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-o", "timeout=1", str(path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 1
    assert "1 failed, 1 passed" in ended.stdout
    assert "Timeout (>1.0s)" in ended.stdout
    assert "wait_for_ever" in ended.stdout + ended.stderr


def test_every_test_has_a_limit(pytestconfig: pytest.Config) -> None:
    assert float(pytestconfig.getini("timeout")) == 120
