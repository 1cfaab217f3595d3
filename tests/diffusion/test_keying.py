import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from shared.diffusion.keying import (
    GROUP,
    HaarRotations,
    KeyStream,
    Mixing,
    MixingPlan,
    from_coordinates,
    stretch,
    to_coordinates,
)

VECTORS = json.loads((Path(__file__).parent / "vectors" / "keying.json").read_text())
SHAPE = (4, 16, 16)
PLAN = MixingPlan.of(SHAPE)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SHAPE)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: f"{v['version']} {v['prompt']}")
def test_vectors(vector: dict[str, Any]) -> None:
    version = vector["version"]
    key = stretch(vector["prompt"], bytes.fromhex(vector["nonce"]), version)
    assert key.hex() == vector["key"]
    assert KeyStream(key, "mixing", version).bytes(32).hex() == vector["mixing_stream"]
    mixed, lengths = Mixing(PLAN, key, version).hide(np.sin(np.arange(1024.0)).reshape(SHAPE))
    np.testing.assert_allclose(mixed.ravel()[:4], vector["mixed_head"], rtol=0, atol=1e-9)
    assert lengths.hex() == vector["lengths"]


def test_hide_and_recover_undo_each_other_but_for_the_byte_of_the_length() -> None:
    mixing = Mixing(PLAN, bytes(range(32)))
    mixed, lengths = mixing.hide(noise(0))
    back = mixing.recover(mixed, lengths)
    groups = to_coordinates(noise(0))[PLAN.face_order].reshape(-1, GROUP)
    found = to_coordinates(back)[PLAN.face_order].reshape(-1, GROUP)
    cosine = (groups * found).sum(1) / np.linalg.norm(groups, axis=1) / np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(cosine, 1, atol=1e-12)
    assert np.abs(np.log((found**2).sum(1) / (groups**2).sum(1))).max() < 0.05  # a 256th of the quantile


def test_the_stego_noise_is_standard_normal_whatever_the_face() -> None:
    odd = 0.01 * np.ones(SHAPE) + 30.0 * (np.indices(SHAPE).sum(0) % 7 == 0)  # nothing like noise
    values = np.concatenate([Mixing(PLAN, bytes([i]) * 32).hide(odd)[0].ravel() for i in range(20)])
    assert kstest(values, "norm").pvalue > 0.01


def test_lengths_of_the_groups_tell_nothing_of_the_face() -> None:
    """The gallery attack: match a known photograph's noise to a stego by its group energies or its magnitudes."""
    rng = np.random.default_rng(1)
    scale = np.exp(rng.normal(0, 0.5, (60, PLAN.groups, 1)))  # faces whose group energies differ widely
    gallery = (rng.standard_normal((60, PLAN.groups, GROUP)) * scale).reshape(60, -1)
    hits = {"mixed": 0, "rotated only": 0}
    for i, face in enumerate(gallery):
        mixing = Mixing(PLAN, bytes([i, 7]) * 16)
        grid = from_coordinates(face[np.argsort(PLAN.face_order)], SHAPE)
        mixed, _ = mixing.hide(grid)
        energies = {
            "mixed": np.log((to_coordinates(mixed)[PLAN.stego_order].reshape(-1, GROUP) ** 2).sum(1)),
            "rotated only": np.log((face.reshape(-1, GROUP) ** 2).sum(1)),  # a rotation leaves them as they were
        }
        known = np.log((gallery.reshape(60, -1, GROUP) ** 2).sum(2))
        for name, energy in energies.items():
            hits[name] += int(np.argmax([np.corrcoef(energy, k)[0, 1] for k in known]) == i)
    assert hits["rotated only"] == 60
    assert hits["mixed"] <= 5  # chance is 1; six or more have probability 6e-4


@pytest.mark.parametrize("other", ["a smiling women", "a smiling woman!", "a smiling woman.", "smiling woman", "x"])
def test_a_near_prompt_gives_unrelated_noise(other: str) -> None:
    nonce = bytes(16)
    mixed, lengths = Mixing(PLAN, stretch("a smiling woman", nonce)).hide(noise(3))
    back = Mixing(PLAN, stretch(other, nonce)).recover(mixed, lengths)
    cosine = float((back * noise(3)).sum() / np.linalg.norm(back) / np.linalg.norm(noise(3)))
    assert abs(cosine) < 5 / noise(3).size ** 0.5


def test_another_nonce_gives_another_key() -> None:
    assert stretch("a man", bytes(16)) != stretch("a man", bytes(15) + b"\1")


def test_another_version_gives_another_key_stream() -> None:
    assert KeyStream(bytes(32), "a", 2).bytes(16) != KeyStream(bytes(32), "a", 3).bytes(16)
    assert stretch("A man", bytes(16), 2) != stretch("A man", bytes(16), 3) == stretch("a man", bytes(16), 2)


def matrices(count: int, size: int) -> np.ndarray:
    maps = HaarRotations(KeyStream(bytes(32), "test"), count, size)
    return np.stack([maps.apply(np.tile(column, (count, 1))) for column in np.eye(size)], axis=2)


def test_rotations_are_orthogonal_and_undone() -> None:
    q = matrices(5, GROUP)
    np.testing.assert_allclose(q @ q.transpose(0, 2, 1), np.broadcast_to(np.eye(GROUP), q.shape), atol=1e-12)
    maps, x = (
        HaarRotations(KeyStream(bytes(32), "test"), 5, GROUP),
        np.random.default_rng(0).standard_normal((5, GROUP)),
    )
    np.testing.assert_allclose(maps.undo(maps.apply(x)), x, atol=1e-12)


def test_the_first_column_of_a_rotation_is_the_streams_first_vector() -> None:
    g = KeyStream(bytes(32), "test").normal(5 * GROUP * (GROUP + 1) // 2).reshape(5, -1)[:, :GROUP]
    np.testing.assert_allclose(matrices(5, GROUP)[:, :, 0], g / np.linalg.norm(g, axis=1, keepdims=True), atol=1e-12)


def test_rotations_are_haar_distributed() -> None:
    """Every entry of a Haar-random matrix of O(3) is uniform in -1..1 (Archimedes); half of them keep orientation."""
    q = matrices(4000, 3)
    assert min(kstest(q[:, i, j], "uniform", (-1, 2)).pvalue for i in range(3) for j in range(3)) > 0.01 / 9
    assert abs((np.linalg.det(q) > 0).mean() - 0.5) < 4 * 0.5 / 4000**0.5
    assert np.trace(q, axis1=1, axis2=2).var() == pytest.approx(1, abs=0.1)


def test_uniform_numbers_are_uniform_and_open() -> None:
    numbers = KeyStream(bytes(32), "test").uniform(20_000)
    assert 0 < numbers.min() < numbers.max() < 1
    assert kstest(numbers, "uniform").pvalue > 0.01


def test_purposes_have_streams_of_their_own() -> None:
    assert KeyStream(bytes(32), "a").bytes(16) != KeyStream(bytes(32), "b").bytes(16)
