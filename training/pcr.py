"""Stage `pcr`: prompt consistency regularisation (paper, section 3.4, equation 11), through the recovered picture.

One step, for faces z_0 and their captions:

1. z_T by inversion under the identity prompt, without gradient (equation 4);
2. what the channel and the receiver's inversion leave on it: z_T + noise;
3. the recovered latent by sampling under the identity prompt (equation 9), with gradient;
4. L = |z~_0 - z_0|^2 + lambda (1 - cos(f(x_rev), phi(prompt_id))) + the diffusion loss on faces and scenes, which
   keeps the disguise half of the model where it was.

`weight` 0 is the ablation of the paper's Table 5: the same steps without the second term. The embedded network trains
in full; a network of Stable Diffusion's size trains low-rank adapters (peft), merged when saved.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPModel

from shared.diffusion.model import DiffusionModel
from shared.diffusion.schedule import karras_levels
from training.data import TRAIN_FACES, TRAIN_SCENES, load_tars
from training.diffusion import DiffusionConfig, Latents, Objective, TextTower
from training.runs import Run
from training.sampling import eps_of, sample


@dataclass(frozen=True)
class PcrConfig:
    """Size and length of the stage. `weight` is lambda of equation 11's term; `lora_rank` 0 trains all weights."""

    size: int = 128
    weight: float = 0.05
    steps: int = 60
    batch: int = 8
    learning_rate: float = 1e-4
    inversion_steps: int = 8
    sampling_steps: int = 6
    floor: float = 0.05
    channel_noise: float = 0.1
    lora_rank: int = 0
    held_out: int = 256
    limit: int | None = 600
    save_every: int = 20


TINY = PcrConfig(size=32, steps=2, batch=2, inversion_steps=2, sampling_steps=2, held_out=2, limit=8, save_every=1)


def consistency_loss(clip: CLIPModel, pictures: Tensor, ids: Tensor) -> Tensor:
    """Equation 11, (B,): one minus the cosine between picture and prompt in CLIP's space.

    Args:
        pictures: float32 (B, 3, H, W) in -1..1.
        ids: token ids (B, L) of the identity prompts.
    """
    f = F.normalize(clip.get_image_features(pictures).pooler_output, dim=-1)
    phi = F.normalize(clip.get_text_features(ids).pooler_output, dim=-1)
    return 1 - (f * phi).sum(-1)


def recovered_latent(
    model: DiffusionModel,
    unet: torch.nn.Module,
    z0: Tensor,
    text: Tensor,
    config: PcrConfig,
    generator: torch.Generator,
) -> Tensor:
    """Steps 1 to 3 above; shaped as z0."""
    high = float(model.schedule.sigmas[-1])
    eps = eps_of(model, unet, text)
    with torch.no_grad():
        zT = sample(z0, karras_levels(config.floor, high, config.inversion_steps).tolist(), eps)
        noise = torch.randn(z0.shape, generator=generator).to(z0)
        zT = (zT + config.channel_noise * high * noise) / (1 + config.channel_noise**2) ** 0.5
    return sample(zT, karras_levels(config.floor, high, config.sampling_steps).tolist()[::-1], eps)


def train(material: Path, folder: Path, pipeline: Path, clip_folder: Path, config: PcrConfig, *, seed: int = 0) -> Path:
    """Run the stage on the pipeline folder's network; returns the folder `unet/`. Resumes from the checkpoint."""
    accelerator = Accelerator()
    device = str(accelerator.device)
    model = DiffusionModel.load(pipeline, device=device)
    clip = CLIPModel.from_pretrained(clip_folder).to(device).eval().requires_grad_(False)
    data = load_tars(material, TRAIN_FACES + TRAIN_SCENES, size=config.size, limit=config.limit)
    latents, text = Latents.of(data, model.vae, config.held_out), TextTower(clip_folder, device)
    objective, run = Objective(DiffusionConfig(), model.schedule, model.vae, device), Run(folder, config, seed=seed)
    unet = model.unet.requires_grad_(True)
    if config.lora_rank:
        names = ["to_q", "to_k", "to_v", "to_out.0"]
        unet = get_peft_model(unet, LoraConfig(r=config.lora_rank, target_modules=names))
    optimizer = torch.optim.AdamW([p for p in unet.parameters() if p.requires_grad], lr=config.learning_rate)
    unet, optimizer = accelerator.prepare(unet, optimizer)
    if state := run.restore():
        unet.load_state_dict(state["unet"])
        optimizer.load_state_dict(state["optimizer"])
    while run.step < config.steps:
        rng, generator = random.Random(f"{seed}/{run.step}"), torch.Generator().manual_seed(run.step)
        z0, prompts = latents.faces_batch(config.batch, rng)
        z0 = z0.to(device)
        z = recovered_latent(model, unet, z0, text(prompts), config, generator)
        pictures = F.pixel_shuffle(model.vae.decode(z).sample, model.patch).clamp(-1, 1)
        both, captions = latents.batch(config.batch, 0.1, rng)
        terms = {
            "recovery": (z - z0).square().mean(),
            "consistency": consistency_loss(clip, pictures, text.ids(prompts)).mean(),
            "diffusion": objective(unet, both, text(captions), generator).mean(),
        }
        accelerator.backward(terms["recovery"] + config.weight * terms["consistency"] + terms["diffusion"])
        accelerator.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        run.step += 1
        run.report(**{name: value.item() for name, value in terms.items()})
        if run.step % config.save_every == 0 or run.step == config.steps:
            run.save(unet=unet.state_dict(), optimizer=optimizer.state_dict())
    plain = accelerator.unwrap_model(unet)
    plain = plain.merge_and_unload() if config.lora_rank else plain
    plain.save_pretrained(folder / "unet")
    run.plot()
    return folder / "unet"
