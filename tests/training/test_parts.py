import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from cli.train import configured
from shared.errors import InputError, InvalidOption
from training import vae
from training.captions import caption
from training.clip import TINY as CLIP_TINY
from training.clip import learn_tokenizer
from training.data import load_tars
from training.muon import Muon, orthogonalise
from training.pcr import PcrConfig, guided_target


def test_evaluation_pictures_are_refused(material: Path) -> None:
    with pytest.raises(InputError):
        load_tars(material, ["eval-faces-00"], size=32)


def test_tars_are_read_at_the_size_asked_for(material: Path) -> None:
    data = load_tars(material, ["faces-utk-00", "scenes-00"], size=32, limit=5)
    assert data.pixels.shape == (10, 32, 32, 3)
    assert [r.get("age") for r in data.records[:5]] == [0, 5, 10, 15, 20]


def test_captions_say_what_the_fields_say() -> None:
    rng = random.Random(1)
    man = {"attributes": ["Male", "Eyeglasses", "Smiling"]}
    texts = [caption(man, rng) for _ in range(200)]
    assert len(set(texts)) > 50
    assert any("glasses" in t for t in texts)
    assert not any("woman" in t or "young" in t for t in texts)


def test_every_age_range_has_a_caption() -> None:
    for age in ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"):
        assert caption({"age_range": age, "gender": "male"}, random.Random(0))


def test_the_tokenizer_reads_any_text_back(tmp_path: Path) -> None:
    learn_tokenizer(["a photo of a man", "a glacier under a blue sky"] * 5, CLIP_TINY, tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("a glacier zoë ✓ q").input_ids
    assert tokenizer.unk_token_id not in ids[1:-1]
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "a glacier zoë ✓ q"


def random_basis(channels: int = 9, patch: int = 4) -> vae.PatchBasis:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((3 * patch**2, channels)))[0]
    return vae.PatchBasis(directions, rng.uniform(0.3, 2, channels), rng.uniform(-0.2, 0.2, 3 * patch**2))


def test_the_autoencoder_is_the_linear_code() -> None:
    basis = random_basis()
    model = vae.build(basis, size=16)
    x = torch.rand(3, 48, 4, 4) * 2 - 1
    with torch.no_grad():
        z = model.encode(x).latent_dist.mean
        y = model.decode(z).sample
    u = x.permute(0, 2, 3, 1).double().numpy() - basis.mean
    expected = u @ (basis.directions / basis.scale)
    np.testing.assert_allclose(z.permute(0, 2, 3, 1).numpy(), expected, atol=2e-3)
    drawn = expected * basis.scale @ basis.directions.T + basis.mean
    np.testing.assert_allclose(y.permute(0, 2, 3, 1).numpy(), drawn, atol=2e-3)


def test_what_the_residual_learns_the_encoder_cannot_see() -> None:
    basis, generator = random_basis(), torch.Generator().manual_seed(0)
    model = vae.build(basis, size=16)
    residual = vae.Residual(model, torch.from_numpy(basis.directions).float())
    optimizer = torch.optim.Adam(residual.parameters, lr=1e-2)
    x = torch.rand(4, 48, 4, 4) * 2 - 1
    before = model.decode(model.encode(x).latent_dist.mean).sample.detach()
    for _ in range(4):
        optimizer.zero_grad()
        terms = vae.loss(model, x, vae.VaeConfig(size=16, patch=4), generator)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        residual.project()
    with torch.no_grad():
        z = model.encode(x).latent_dist.mean
        after = model.decode(z).sample
        again = model.encode(after).latent_dist.mean
    assert float((after - before).abs().max()) > 1e-2
    assert float((again - z).abs().max()) < 5e-3


def test_orthogonalise_brings_singular_values_near_one() -> None:
    matrix = torch.randn(32, 80, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    assert orthogonalise(matrix.T).shape == (80, 32)


def test_muon_minimises() -> None:
    target = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    weight = torch.nn.Parameter(torch.zeros(8, 8))
    optimizer = Muon([weight], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (weight - target).square().sum().backward()
        optimizer.step()
    assert float((weight.detach() - target).abs().mean()) < 0.2


def test_settings_are_read_as_the_type_of_the_field() -> None:
    changed = configured(vae.VaeConfig(), ["steps=7", "learning_rate=0.1", "limit=3"])
    assert (changed.steps, changed.learning_rate, changed.limit) == (7, 0.1, 3.0)
    for bad in ("nothing=1", "steps=x"):
        with pytest.raises(InvalidOption):
            configured(vae.VaeConfig(), [bad])


def test_the_guided_target_is_the_teachers_where_a_caption_asks_for_it() -> None:
    class Teacher(torch.nn.Module):  # v is the text's first number, everywhere
        def forward(self, z: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(sample=text[:, 0, 0].view(-1, 1, 1, 1).expand_as(z))

    sigma, scenes = torch.tensor([0.4, 1.0, 2.0, 8.0, 8.0]), torch.tensor([True, True, True, True, False])
    z, text, free = torch.zeros(5, 1, 2, 2), torch.full((5, 3, 1), 3.0), torch.ones(1, 3, 1)
    v = torch.full_like(z, 7.0)
    target = guided_target(Teacher(), free, scenes, PcrConfig(guidance=2.0, guidance_floor=1.0))
    found = target(z, torch.zeros(5), sigma, text, v)[:, 0, 0, 0].tolist()
    assert found == pytest.approx([7.0, 1 + 1.5 * 2, 1 + 2 * 2, 1 + 2 * 2, 7.0])
    assert guided_target(Teacher(), free, scenes, PcrConfig(guidance=1.0))(z, torch.zeros(5), sigma, text, v) is v
