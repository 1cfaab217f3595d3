"""The scheme `sealed` on the embedded model: what it promises about the right face, wrong prompts, damage and rates."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from figures.fidelity import psnr
from shared import limits
from shared.diffusion import codecs, sealed
from shared.diffusion.channels import CHANNELS, jpeg, resized
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import hide, hide_each, recover, recover_each
from shared.diffusion.walks import Hidden, HideOptions
from shared.errors import ChannelTooPoor, DdsrError, NotAuthentic, RecipeMismatch
from shared.recipe import Recipe
from shared.stages import Facts, heard_by

Pixels = NDArray[np.uint8]

SECRET, DISGUISE = "blue kettle over a quiet marsh", "a forest"


@pytest.fixture(scope="module")
def lossless(embedded: DiffusionModel, portrait: Pixels) -> Hidden:
    return hide(embedded, [portrait], [SECRET], [DISGUISE], HideOptions("sealed"))[0]


class Heard:
    """Stages by their names and those above them, and figures, as a hiding tells them."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, ...]] = []
        self.figures: list[tuple[str, float, str]] = []
        self._above: tuple[str, ...] = ()

    @contextmanager
    def stage(self, name: str, facts: Facts) -> Iterator[None]:
        above, self._above = self._above, (*self._above, f"{name} {facts.get('direction', '')}".rstrip())
        self.stages.append(self._above)
        yield
        self._above = above

    def figure(self, name: str, value: float, facts: Facts) -> None:
        self.figures.append((name, value, str(facts["channel"])))


@pytest.fixture(scope="module")
def heard() -> Heard:
    return Heard()


@pytest.fixture(scope="module")
def rough(embedded: DiffusionModel, portrait: Pixels, heard: Heard) -> Hidden:
    with heard_by(heard):
        return hide(embedded, [portrait], [SECRET], [DISGUISE], HideOptions("sealed", channel="jpeg"))[0]


def test_a_hiding_tells_its_stages_and_figures(rough: Hidden, heard: Heard) -> None:
    draw = [
        ("channel loop", "draw"),
        ("channel loop", "draw", "walk sampling"),
        ("channel loop", "draw", "walk inversion"),
    ]
    assert heard.stages == [("channel loop",), *draw * rough.draws]
    (payload, size, channel), drawn = heard.figures
    assert (payload, channel) == ("payload", "jpeg")
    assert 100 < size < 10_000
    assert drawn == ("draws", rough.draws, "jpeg")


def test_names_and_sizes_are_those_that_services_offer() -> None:
    assert tuple(CHANNELS) == limits.CHANNELS
    assert codecs.SIZES == limits.FACE_SIZES
    assert len(CHANNELS) * sealed.STEPS == 256  # a rate is one byte


def test_the_face_comes_back(embedded: DiffusionModel, portrait: Pixels, lossless: Hidden) -> None:
    found = recover_each(embedded, [lossless.stego], [SECRET], [lossless.recipe])[0]
    assert not isinstance(found, DdsrError)
    assert found.authentic is True
    assert psnr(found.face, portrait) > 35
    assert lossless.recipe.lengths == b""
    assert len(lossless.recipe.to_text()) < 300


def test_the_same_words_are_the_same_secret(embedded: DiffusionModel, lossless: Hidden) -> None:
    other = f"\ufeff{SECRET.upper()}\u200b "
    both = recover(embedded, [lossless.stego] * 2, [SECRET, other], [lossless.recipe] * 2)
    assert (both[0] == both[1]).all()


@pytest.mark.parametrize("prompt", ["blue kettle over a quiet marsh!", "red kettle over a quiet marsh", "x"])
def test_a_wrong_prompt_is_refused(embedded: DiffusionModel, lossless: Hidden, prompt: str) -> None:
    with pytest.raises(NotAuthentic):
        recover(embedded, [lossless.stego], [prompt], [lossless.recipe])


def test_a_wrong_prompt_gives_a_decoy_where_one_is_asked_for(embedded: DiffusionModel, lossless: Hidden) -> None:
    stegos, recipes = [lossless.stego] * 3, [lossless.recipe] * 3
    ends = recover_each(embedded, stegos, ["wrong", "wrong", SECRET], recipes, decoys=[True, True, True])
    faces = [end for end in ends if not isinstance(end, DdsrError)]
    assert [end.authentic for end in faces] == [False, False, True]
    assert (faces[0].face == faces[1].face).all()
    assert psnr(faces[0].face, faces[2].face) < 20


def test_one_wrong_prompt_fails_alone(embedded: DiffusionModel, lossless: Hidden) -> None:
    ends = recover_each(embedded, [lossless.stego] * 2, ["wrong", SECRET], [lossless.recipe] * 2)
    assert [isinstance(end, NotAuthentic) for end in ends] == [True, False]


@pytest.mark.parametrize(
    "change",
    [
        lambda r: {"rate": r.rate + 1},
        lambda r: {"rate": (r.rate + sealed.STEPS) % 256},
        lambda r: {"nonce": bytes(16)},
        lambda r: {"disguise_prompt": r.disguise_prompt + " "},
        lambda r: {"steps": r.steps + 1},
        lambda r: {"solver": "heun-whitened"},
    ],
)
def test_another_recipe_opens_nothing(
    embedded: DiffusionModel, lossless: Hidden, change: Callable[[Recipe], dict[str, Any]]
) -> None:
    forged = dataclasses.replace(lossless.recipe, **change(lossless.recipe))
    with pytest.raises(NotAuthentic):
        recover(embedded, [lossless.stego], [SECRET], [forged])


def test_a_recipe_of_another_model_is_refused(embedded: DiffusionModel, lossless: Hidden) -> None:
    foreign = dataclasses.replace(lossless.recipe, model="0" * 16)
    with pytest.raises(RecipeMismatch):
        recover(embedded, [lossless.stego], [SECRET], [foreign])


def test_a_stego_for_jpeg_survives_what_it_was_tried_with(
    embedded: DiffusionModel, portrait: Pixels, rough: Hidden
) -> None:
    arrived = [happen(rough.stego, np.random.default_rng(0)) for happen in CHANNELS["jpeg"].steps.values()]
    faces = recover(embedded, arrived, [SECRET] * len(arrived), [rough.recipe] * len(arrived))
    assert (faces == faces[0]).all()  # bits: the face is the same whatever happened
    assert psnr(faces[0], portrait) > 27


def test_a_stego_twice_as_large_opens(embedded: DiffusionModel, rough: Hidden) -> None:
    recover(embedded, [resized(rough.stego, 2 * embedded.image_size)], [SECRET], [rough.recipe])


def test_another_picture_opens_nothing(embedded: DiffusionModel, portrait: Pixels, rough: Hidden) -> None:
    for picture in (portrait, rough.stego[::-1].copy(), jpeg(rough.stego, 3), np.zeros_like(rough.stego)):
        with pytest.raises(NotAuthentic):
            recover(embedded, [picture], [SECRET], [rough.recipe])


@pytest.mark.parametrize("size", limits.FACE_SIZES[1:])
def test_faces_may_be_larger_than_the_model(embedded: DiffusionModel, portrait: Pixels, size: int) -> None:
    face = resized(portrait, size)
    hidden = hide(embedded, [face], [SECRET], [DISGUISE], HideOptions("sealed"))[0]
    assert psnr(recover(embedded, [hidden.stego], [SECRET], [hidden.recipe])[0], face) > 28


def test_the_first_rate_is_that_of_the_channel_whatever_the_face(embedded: DiffusionModel, lossless: Hidden) -> None:
    """One stego in ten needs another draw, at a poorer rate."""
    [first] = sealed.first_rates(embedded, "lossless", [DISGUISE])
    assert (lossless.recipe.rate == first) == (lossless.draws == 1)
    assert lossless.recipe.rate >= first
    assert sealed.first_rates(embedded, "lossless", ["the sea", DISGUISE])[1] == first


def test_another_draw_carries_less_than_the_channel_let_through(embedded: DiffusionModel) -> None:
    """What decides the next rate is the channel's noise alone: no face, no prompt enters."""
    [first], count = sealed.first_rates(embedded, "jpeg", [DISGUISE]), int(np.prod(embedded.latent_shape))
    noise = np.array(sealed.rate_of(embedded, first).profile) / 2 + 3.0  # what was assumed, 3 dB louder
    again = sealed.next_rate(embedded, first, noise)
    assert again is not None
    assert (
        0 < sealed.rate_of(embedded, again).payload_bytes(count) < sealed.rate_of(embedded, first).payload_bytes(count)
    )
    assert sealed.next_rate(embedded, first, np.full_like(noise, 40.0)) is None


def test_an_autoencoder_that_is_a_network_serves_too(embedded: DiffusionModel, portrait: Pixels) -> None:
    """The embedded autoencoder run as the network that it is: nothing may depend on its matrix."""
    network = copy.copy(embedded)
    network._encoder = network._decoder = None
    network.exact = False
    hidden = hide(network, [portrait], [SECRET], [DISGUISE], HideOptions("sealed", channel="jpeg"))[0]
    face = recover(embedded, [hidden.stego], [SECRET], [hidden.recipe])[0]
    assert psnr(face, portrait) > 25


def test_a_model_that_carries_nothing_says_so(tiny: DiffusionModel, portrait: Pixels) -> None:
    """Random weights: what is read back has nothing to do with what was drawn."""
    end = hide_each(tiny, [portrait], [SECRET], [DISGUISE], HideOptions("sealed"))[0]
    assert isinstance(end, ChannelTooPoor)
    assert "another disguise prompt" in end.detail


def test_progress_counts_every_draw(embedded: DiffusionModel, portrait: Pixels) -> None:
    seen: list[tuple[int, int]] = []
    options = HideOptions("sealed", channel="degraded", steps=1)
    end = hide_each(embedded, [portrait], [SECRET], [DISGUISE], options, on_step=lambda k, n: seen.append((k, n)))[0]
    assert len(seen) % 2 == 0
    assert seen
    assert all(k < n for k, n in seen)
    assert isinstance(end, ChannelTooPoor) or len(seen) == 2 * end.draws
