"""Channels: their strength, their seed, their order."""

import numpy as np
import pytest

from evaluation import degradations as channel
from figures.fidelity import psnr

GREY = np.full((64, 64, 3), 128, np.uint8)


def picture() -> np.ndarray:
    y, x = np.mgrid[:64, :64] / 64
    rough = np.random.default_rng(5).normal(0, 6, (64, 64, 3))
    waves = np.stack([np.sin(9 * x), np.cos(7 * y), np.sin(5 * (x + y))], 2)
    return np.clip(128 + 70 * waves + rough, 0, 255).astype(np.uint8)


def test_png_is_exact() -> None:
    assert np.array_equal(channel.png(picture()), picture())


def test_noise_has_its_sigma() -> None:
    noisy = channel.gaussian_noise(GREY, 10, np.random.default_rng(0)).astype(int) - 128
    assert noisy.std() == pytest.approx(10, rel=0.03)
    assert noisy.mean() == pytest.approx(0, abs=0.3)


def test_salt_and_pepper_hits_its_share_half_white_half_black() -> None:
    noisy = channel.salt_and_pepper(np.full((256, 256, 3), 128, np.uint8), 0.02, np.random.default_rng(0))
    assert (noisy == 255).all(2).mean() == pytest.approx(0.01, abs=0.0015)
    assert (noisy == 0).all(2).mean() == pytest.approx(0.01, abs=0.0015)
    assert ((noisy == 128).all(2) | (noisy == 0).all(2) | (noisy == 255).all(2)).all()


@pytest.mark.parametrize("kind", ["noise", "jpeg", "salt-pepper", "webp", "resize", "blur"])
def test_a_stronger_level_does_more_harm(kind: str) -> None:
    levels = [one for one in channel.TABLE_4 + channel.BEYOND if one.kind == kind]
    values = [psnr(picture(), channel.degrade(picture()[None], one, ["a"], 0)[0]) for one in levels]
    assert len(values) >= 2
    assert values == sorted(values, reverse=True)


def test_table_4_is_the_papers() -> None:
    names = {one.name for one in channel.TABLE_4}
    noise, jpeg, specks = (
        {"noise 10", "noise 20", "noise 30"},
        {"jpeg 20", "jpeg 40", "jpeg 80"},
        {"salt-pepper 0.01"},
    )
    assert names == noise | jpeg | specks | {"salt-pepper 0.02"}


def test_noise_depends_on_seed_and_name_not_on_the_batch() -> None:
    noise = channel.TABLE_4[0]
    pair = channel.degrade(np.stack([GREY, GREY]), noise, ["a", "b"], 1)
    alone = channel.degrade(GREY[None], noise, ["b"], 1)
    assert np.array_equal(pair[1], alone[0])
    assert not np.array_equal(pair[0], pair[1])
    assert not np.array_equal(alone[0], channel.degrade(GREY[None], noise, ["b"], 2)[0])
