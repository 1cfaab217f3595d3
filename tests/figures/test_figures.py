"""What all measurements share: PSNR, provenance, counting, tables."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from figures import memory
from figures.evaluations import evaluations
from figures.fidelity import IDENTICAL_DB, decibels, psnr, psnrs
from figures.provenance import ROOT, _command, commit, machine, provenance
from figures.tables import markdown


def test_psnr() -> None:
    black = np.zeros((2, 8, 8, 3), np.uint8)
    other = black.copy()
    other[1] += 51  # a fifth of the range: 20 log10(5) dB
    assert psnrs(black, other) == [IDENTICAL_DB, pytest.approx(13.979, abs=1e-3)]
    assert decibels(255**2) == 0


def test_psnr_is_skimages() -> None:
    from skimage.metrics import peak_signal_noise_ratio

    one, other = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    assert psnr(one, other) == peak_signal_noise_ratio(one, other, data_range=255)


def test_pictures_of_two_sizes_have_no_psnr() -> None:
    with pytest.raises(ValueError, match="different sizes"):
        psnr(np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 3), np.uint8))


def test_provenance_names_what_is_needed_to_repeat_it() -> None:
    found = provenance(seed=3, threads=2)
    names = {"command", "commit", "day", "cpu", "cores", "memory_gib", "python", "versions", "seed", "threads"}
    assert names <= set(found)
    assert (found["seed"], found["threads"]) == (3, 2)
    assert found["versions"]["numpy"] == np.__version__
    assert f"{len(os.sched_getaffinity(0))} cores" in machine(found)


def test_the_commit_is_gits() -> None:
    head = subprocess.run(["git", "rev-parse", "--short=7", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if head.returncode != 0:
        pytest.skip("not a checkout")
    assert commit().rstrip("+") == head.stdout.strip()


def test_a_command_is_told_without_folders_of_this_machine() -> None:
    assert _command(["/opt/venv/bin/ddsr", "eval", "--data", "/home/a/faces.tar"]) == "ddsr eval --data faces.tar"
    assert _command(["/opt/ddsr/load/__main__.py", "--seconds", "9"]) == "python -m load --seconds 9"


def test_evaluations_of_a_doubled_batch_count_twice() -> None:
    network = torch.nn.Linear(3, 3)
    with evaluations(network, 2) as count:
        network(torch.zeros(2, 3))
        network(torch.zeros(4, 3))
    network(torch.zeros(2, 3))
    assert count == [3]


def test_memory_that_is_held_counts() -> None:
    before = memory.resident()
    held = np.ones(32 * memory.MIB, np.uint8)
    assert memory.resident() - before > 24
    memory.reset_peak()
    assert memory.peak() > held.nbytes / memory.MIB
    assert memory.cpu_seconds(os.getpid()) > 0
    assert memory.resident(2**22 + 1) == 0  # above the largest process id


def test_a_table_is_markdown(tmp_path: Path) -> None:
    assert markdown(("a", "b"), [("1", "2")]) == ["| a | b |", "|---|---|", "| 1 | 2 |", ""]
