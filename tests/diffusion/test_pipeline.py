import base64
import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from figures.fidelity import psnr
from shared.diffusion import pipeline
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import hide, recover
from shared.diffusion.schemes import SCHEMES
from shared.diffusion.walks import HideOptions, identity_walk, levels_of, temperature
from shared.errors import InputError, InvalidOption, InvalidPrompt, PromptTooLong, RecipeMismatch
from shared.imaging import decode_upload
from shared.recipe import VERSION, Recipe

V2 = Path(__file__).parent / "vectors" / "ddsr2.json"
PROMPT, DISGUISE = "a woman with short hair, blue kettle 77", "a glacier under a blue sky"


def faces(count: int = 1, size: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_undoes_its_mixing(tiny: DiffusionModel, scheme: str) -> None:
    noise = np.random.default_rng(1).standard_normal(tiny.latent_shape)
    mixed, side = SCHEMES[scheme].mix(tiny, noise, b"k" * 32, VERSION)
    assert len(side) == SCHEMES[scheme].side_bytes(tiny)
    back = SCHEMES[scheme].unmix(tiny, mixed, b"k" * 32, side, VERSION)
    np.testing.assert_allclose(back, noise, atol=0.1 if side else 1e-12)  # lengths are known to a byte


@pytest.mark.parametrize("scheme", [name for name, scheme in SCHEMES.items() if not scheme.sealed])
def test_hide_and_recover_run_under_every_scheme(tiny: DiffusionModel, scheme: str) -> None:
    hidden = hide(tiny, faces(), [PROMPT], [DISGUISE], HideOptions(scheme, steps=2))[0]
    assert hidden.stego.shape == (32, 32, 3)
    assert hidden.recipe.scheme == scheme
    assert Recipe.from_text(hidden.recipe.to_text()) == hidden.recipe
    assert recover(tiny, hidden.stego[None], [PROMPT], [hidden.recipe]).shape == (1, 32, 32, 3)


def test_the_paper_takes_sixty_evaluations_a_walk(tiny: DiffusionModel) -> None:
    assert hide(tiny, faces(), [PROMPT], [DISGUISE], HideOptions("paper"))[0].evaluations == 120


def test_progress_and_stopping_between_steps(tiny: DiffusionModel) -> None:
    seen: list[tuple[int, int]] = []

    def stop(k: int, n: int) -> None:
        seen.append((k, n))
        if k == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        hide(tiny, faces(), [PROMPT], [DISGUISE], HideOptions(steps=3), on_step=stop)
    assert seen == [(0, 6), (1, 6), (2, 6)]


def test_nonces_are_fresh(tiny: DiffusionModel) -> None:
    a, b = hide(tiny, faces(2), [PROMPT] * 2, [DISGUISE] * 2, HideOptions(steps=1))
    assert a.recipe.nonce != b.recipe.nonce


def test_a_batch_gives_what_single_pictures_give(tiny: DiffusionModel) -> None:
    nonces = [bytes([i]) * 16 for i in range(2)]
    options = HideOptions(steps=2)
    both = hide(tiny, faces(2), [PROMPT, "b"], [DISGUISE] * 2, options, nonces=nonces)
    alone = hide(tiny, faces(2)[1:], ["b"], [DISGUISE], options, nonces=nonces[1:])[0]
    assert np.abs(both[1].stego.astype(int) - alone.stego).max() <= 1


@pytest.mark.parametrize("options", [{"scheme": "none"}, {"solver": "euler"}, {"steps": 0}, {"steps": 251}])
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        HideOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", ["", "  ", "\ufeff", "x" * 257])
def test_prompts_that_cannot_serve_are_refused(tiny: DiffusionModel, prompt: str) -> None:
    with pytest.raises(InputError):
        hide(tiny, faces(), [prompt], [DISGUISE], HideOptions(steps=1))
    with pytest.raises(InputError):
        hide(tiny, faces(), [PROMPT], [prompt], HideOptions(steps=1))


def test_a_recipe_of_another_model_is_refused(tiny: DiffusionModel) -> None:
    other = Recipe("0" * 16, "keyed", "heun", 2, DISGUISE, bytes(16), bytes(16))
    with pytest.raises(RecipeMismatch):
        recover(tiny, faces(), [PROMPT], [other])


def test_a_recipe_with_too_few_lengths_is_refused(tiny: DiffusionModel) -> None:
    short = Recipe(tiny.fingerprint, "keyed", "heun", 2, DISGUISE, bytes(16), b"")
    with pytest.raises(RecipeMismatch):
        recover(tiny, faces(), [PROMPT], [short])


def test_recipes_of_one_batch_must_agree(tiny: DiffusionModel) -> None:
    a, b = (Recipe(tiny.fingerprint, "paper", "ddim", n, DISGUISE, bytes(16)) for n in (2, 3))
    with pytest.raises(RecipeMismatch):
        recover(tiny, faces(2), [PROMPT] * 2, [a, b])


def test_control_characters_in_a_recipe_are_refused(tiny: DiffusionModel) -> None:
    odd = Recipe(tiny.fingerprint, "paper", "ddim", 1, "a\x00b", bytes(16))
    with pytest.raises(InvalidPrompt):
        recover(tiny, faces(), [PROMPT], [odd])


def test_recipes_of_version_2_are_recovered(tiny: DiffusionModel) -> None:
    vector = json.loads(V2.read_text("utf-8"))["vectors"][0]
    recipe = Recipe.from_text(vector["recipe"])
    stego, face = (decode_upload(base64.b64decode(vector[name]))[None] for name in ("stego", "face"))
    assert (recipe.version, recipe.to_text()) == (2, vector["recipe"])
    found = recover(tiny, stego, [vector["identity_prompt"]], [recipe])
    assert np.abs(found.astype(int) - face).mean() < 1
    for other in (dataclasses.replace(recipe, version=3), dataclasses.replace(recipe, nonce=bytes(16))):
        assert np.abs(recover(tiny, stego, [vector["identity_prompt"]], [other]).astype(int) - face).mean() > 10


def test_the_same_words_are_the_same_secret_and_the_same_picture(tiny: DiffusionModel) -> None:
    options, nonce = HideOptions(steps=2), [bytes(16)]
    first = hide(tiny, faces(), [PROMPT], [DISGUISE], options, nonces=nonce)[0]
    again = hide(tiny, faces(), ["\ufeff" + PROMPT.title() + "\r\n"], [DISGUISE.upper()], options, nonces=nonce)[0]
    assert again.recipe == first.recipe
    assert first.recipe.disguise_prompt == DISGUISE
    np.testing.assert_array_equal(again.stego, first.stego)


@pytest.mark.parametrize("name", ["identity_prompt", "disguise_prompt"])
@pytest.mark.parametrize(("long", "unit"), [("x" * 257, "characters"), ("x" * 100, "tokens")])
def test_an_error_says_which_prompt_is_too_long_and_in_what(
    tiny: DiffusionModel, name: str, long: str, unit: str
) -> None:
    prompts = {"identity_prompt": PROMPT, "disguise_prompt": DISGUISE, name: long}
    with pytest.raises(PromptTooLong, match=f"^{name} has more than [0-9]+ {unit}"):
        hide(tiny, faces(), [prompts["identity_prompt"]], [prompts["disguise_prompt"]], HideOptions(steps=1))


def test_the_embedded_model_gives_the_face_back_and_a_stranger_to_others(
    embedded: DiffusionModel, portrait: NDArray[np.uint8]
) -> None:
    """The main job on the shipped weights. The floor is 3 dB below the ceiling of the autoencoder."""
    hidden = hide(embedded, portrait[None], [PROMPT], [DISGUISE])[0]
    ceiling = psnr(embedded.decode(embedded.encode(portrait[None]))[0], portrait)
    right = recover(embedded, hidden.stego[None], [PROMPT], [hidden.recipe])[0]
    near = recover(embedded, hidden.stego[None], [PROMPT.replace("77", "78")], [hidden.recipe])[0]
    assert psnr(hidden.stego, portrait) < 15
    assert psnr(right, portrait) > ceiling - 3
    assert psnr(near, portrait) < 15


def test_levels_end_where_the_schedule_does(tiny: DiffusionModel) -> None:
    levels = levels_of(tiny, HideOptions("paper"), None, None, None)
    assert len(levels) == 61
    assert levels == sorted(levels)
    assert levels[-1] == tiny.schedule.sigmas[-1]


def test_only_whitened_walks_end_below_the_schedule(embedded: DiffusionModel) -> None:
    depth = embedded.extras.face_depth
    assert depth is not None
    top = float(embedded.schedule.sigmas[-1])
    assert levels_of(embedded, HideOptions(), 0.1, depth, 1.0)[-1] == pytest.approx(depth)
    assert levels_of(embedded, HideOptions(solver="heun"), 0.1, depth, 1.0)[-1] == pytest.approx(top)


@pytest.mark.parametrize(("scheme", "solver"), [("matched", "heun"), ("matched", "heun-whitened"), ("paper", "ddim")])
def test_the_single_walks_are_those_of_hide_and_recover(tiny: DiffusionModel, scheme: str, solver: str) -> None:
    options = HideOptions(scheme, solver, steps=4)
    hidden = hide(tiny, faces(), [PROMPT], [DISGUISE], options)[0]
    noise = pipeline.face_noise(tiny, faces(), [PROMPT], options)
    latents = pipeline.stego_latents(tiny, noise, [DISGUISE], options)
    again = tiny.decode(latents) if scheme == "paper" else pipeline.draw(tiny, latents, tiny.extras.contrast)
    assert np.array_equal(again[0], hidden.stego)
    found = pipeline.stego_noise(tiny, hidden.stego[None], [DISGUISE], options)
    latent = identity_walk(tiny, options, [PROMPT]).latent(torch.from_numpy(found))
    assert np.array_equal(tiny.decode(latent), recover(tiny, hidden.stego[None], [PROMPT], [hidden.recipe]))


def test_evaluations_of_a_guided_walk_count_twice(
    embedded: DiffusionModel, portrait: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heun takes two a step. The disguise walk is guided at the levels above the floor, at either end of a step."""
    monkeypatch.setattr(embedded, "extras", dataclasses.replace(embedded.extras, guidance=2.0, guidance_floor=1.0))
    options = HideOptions(solver="heun-whitened", steps=3)
    floor, depth = embedded.extras.stego_floor, embedded.extras.stego_depth
    levels = levels_of(embedded, options, floor, depth, embedded.extras.stego_knee)
    guided = sum(level >= 1.0 for pair in itertools.pairwise(levels) for level in pair)
    hidden = hide(embedded, portrait[None], [PROMPT], [DISGUISE], options)[0]
    assert hidden.evaluations == 2 * 3 + 2 * 3 + guided


def test_temperature_falls_along_the_stego_order(embedded: DiffusionModel) -> None:
    extras = embedded.extras
    assert extras.stego_order is not None
    ranked = temperature(embedded).ravel()[extras.stego_order]
    assert ranked[0] == 1
    assert ranked[-1] == pytest.approx(extras.temperature)
    assert (np.diff(ranked) <= 0).all()


def test_keys_made_beside_a_gpus_walk_are_the_same(tiny: DiffusionModel) -> None:
    class OnGpu:  # what the function asks of a model; the rest needs a GPU
        device = torch.device("cuda")

    prompts, nonces = ["a man", "a woman"], [bytes(16), bytes([1]) * 16]
    found = []
    for model in (tiny, OnGpu()):
        with pipeline._keys(model, SCHEMES["keyed"], prompts, nonces) as keys:  # type: ignore[arg-type]
            found.append(keys())
    assert found[0] == found[1]
    assert len(set(found[0])) == 2
