import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from shared.diffusion import model as model_module
from shared.diffusion.model import EXTRAS, DiffusionModel
from shared.diffusion.tiny import build_tiny
from shared.errors import ModelError, PromptTooLong, WrongPictureSize


def test_sizes(tiny: DiffusionModel) -> None:
    assert (tiny.image_size, tiny.latent_shape) == (32, (4, 16, 16))


def test_the_fingerprint_follows_the_weights(tiny: DiffusionModel, tiny_folder: Path, tmp_path: Path) -> None:
    assert DiffusionModel.load(tiny_folder).fingerprint == tiny.fingerprint
    assert DiffusionModel.load(build_tiny(tmp_path, seed=1)).fingerprint != tiny.fingerprint


def test_the_fingerprint_is_that_of_the_weights_not_of_their_format(tiny: DiffusionModel, tiny_folder: Path) -> None:
    half = DiffusionModel.load(tiny_folder, dtype=torch.bfloat16)
    assert half.unet.dtype == torch.bfloat16
    assert half.fingerprint == tiny.fingerprint


def test_encode_and_decode_shapes(tiny: DiffusionModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    latents = tiny.encode(pixels)
    assert (latents.shape, latents.dtype) == ((2, 4, 16, 16), torch.float64)
    decoded = tiny.decode(latents)
    assert (decoded.shape, decoded.dtype) == ((2, 32, 32, 3), np.uint8)


def test_another_size_is_refused(tiny: DiffusionModel) -> None:
    with pytest.raises(WrongPictureSize):
        tiny.encode(np.zeros((1, 16, 16, 3), np.uint8))


def test_an_over_long_prompt_is_refused_and_nowhere_quoted(
    tiny: DiffusionModel, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny.embed(["x" * 75])
    with pytest.raises(PromptTooLong) as caught:
        tiny.embed(["canary" * 13])
    out, err = capfd.readouterr()
    assert "canary" not in str(caught.value) + caplog.text + out + err


def test_a_prefix_takes_its_room_of_the_prompts(tiny: DiffusionModel) -> None:
    assert torch.equal(tiny.embed(["dog"], prefix="hot "), tiny.embed(["hot dog"]))
    with pytest.raises(PromptTooLong, match="more than 72 tokens"):
        tiny.embed(["x" * 73], prefix="pre ")


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_every_prediction_type_means_the_same_noise(
    tiny: DiffusionModel, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that knows z_0 = 0.5 and answers in its own terms must be understood as the same eps."""
    x, sigma = torch.randn(1, 4, 16, 16, dtype=torch.float64), 2.0
    alpha = (1 + sigma**2) ** -0.5
    eps = (x - 0.5) / sigma
    answer = {"epsilon": eps, "v_prediction": alpha * eps - alpha * sigma * 0.5, "sample": torch.full_like(x, 0.5)}[
        kind
    ]

    class Reply:
        sample = answer.float()

    monkeypatch.setattr(tiny, "prediction_type", kind)
    monkeypatch.setattr(tiny.unet, "forward", lambda *args, **kwargs: Reply)
    torch.testing.assert_close(tiny.predict_noise(x, sigma, tiny.embed(["a"])), eps, rtol=1e-5, atol=1e-5)


class Payload:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("vae", "diffusion_pytorch_model.bin"),
        ("unet", "diffusion_pytorch_model.bin"),
        ("text_encoder", "pytorch_model.bin"),
    ],
)
def test_pickled_weights_are_refused_and_not_opened(part: str, name: str, tiny_folder: Path, tmp_path: Path) -> None:
    copy, tripped = tmp_path / "pipeline", tmp_path / "tripped"
    shutil.copytree(tiny_folder, copy)
    for weights in (copy / part).glob("*.safetensors"):
        weights.unlink()
    torch.save({"weight": Payload(tripped)}, copy / part / name)
    with pytest.raises(ModelError):
        DiffusionModel.load(copy)
    assert not tripped.exists()


def test_no_pipeline_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        DiffusionModel.load(tmp_path)


def test_a_network_that_wants_more_than_a_latent_and_a_text_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "inpainting")
    channels = DiffusionModel.load(folder).latent_shape[0]
    config = UNet2DConditionModel.load_config(folder, subfolder="unet")
    more = UNet2DConditionModel.from_config({**config, "in_channels": 2 * channels + 1})
    more.save_pretrained(folder / "unet")
    with pytest.raises(ModelError, match="one text encoder"):
        DiffusionModel.load(folder)


def test_the_extras_of_a_hub_model_are_fetched_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / EXTRAS).write_text(json.dumps({"contrast": 0.5}))
    asked = []

    def download(repository: str, name: str) -> str:  # the hub itself is out of reach of a test
        asked.append((repository, name))
        return str(tmp_path / name)

    monkeypatch.setattr(model_module, "hf_hub_download", download)
    assert model_module._extras("someone/faces").contrast == 0.5
    assert asked == [("someone/faces", EXTRAS)]


def test_fields_that_say_nothing_do_not_change_the_fingerprint(tiny: DiffusionModel) -> None:
    before, kept = tiny.fingerprint, tiny.extras
    tiny.extras = dataclasses.replace(kept, face_knee=None)
    assert tiny._fingerprint() == before
    tiny.extras = dataclasses.replace(kept, face_knee=0.7)
    assert tiny._fingerprint() != before
    tiny.extras = kept
