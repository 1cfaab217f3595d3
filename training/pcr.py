"""Stage `pcr`: prompt consistency regularisation (paper, section 3.4, equation 11), through the recovered picture.

One step, for faces z_0 and their captions:

1. z_T by inversion under the identity prompt, without gradient (equation 4), along the product's own walk;
2. what the channel and the receiver's inversion leave on it: noise that grows from the most valuable coordinate of the
   face to the least, as the mixing pairs them with the stego's (plan.py);
3. the recovered latent by sampling under the identity prompt (equation 9), with gradient;
4. L = recovery_weight |z~_0 - z_0|^2 + weight (1 - cos(f(x_rev), phi(prompt_id))) + the diffusion loss on faces and
   scenes, which keeps the disguise half of the model where it was. For scenes under a caption its target may be what
   the network of the start predicts with guidance (`guidance`; Meng et al., 2023, guidance distillation): the disguise
   walk is then guided at one evaluation a step and not two.

`weight` and `recovery_weight` 0 are the ablation of the paper's Table 5: as many steps, on the same pictures, without
regularisation. The embedded network trains in full; a large one of stage `diffusion` can train low-rank adapters
instead (peft), merged when saved. Networks that others trained are refused: they predict other things.
"""

import copy
import dataclasses
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPModel

from shared.diffusion.model import DiffusionModel
from shared.diffusion.schemes import plan_of
from shared.diffusion.solvers import solver
from shared.diffusion.walks import HideOptions, identity_frame
from shared.errors import ModelError
from training.data import TRAIN_FACES, TRAIN_SCENES, Pictures, load_tars
from training.diffusion import DiffusionConfig, Latents, Objective, Target, TextTower, follow, optimizers, update
from training.runs import Run, Saved, compiled, nothing
from training.sampling import eps_of


@dataclass(frozen=True)
class PcrConfig:
    """Size and length of the stage. `weight` is lambda of equation 11's term; `lora_rank` 0 trains all weights.

    `channel_noise` is the deviation of what the channel adds to the least valuable coordinate, in units of the noise;
    the rate falls linearly to zero. `guidance` is put into the network itself for scenes, from half of the noise level
    `guidance_floor` on and in full from twice it; the plan must then ask for none (`ddsr train plan --set guidance=1`).
    1 leaves it out, and then the plan may ask for it at run time.
    """

    size: int = 128
    weight: float = 0.05
    recovery_weight: float = 0.25
    steps: int = 250
    minutes: float | None = None
    batch: int = 32
    faces: int = 4
    learning_rate: float = 3e-4
    ema: float = 0.98
    walk_steps: int = 3
    channel_noise: float = 1.0
    guidance: float = 1.0
    guidance_floor: float = 1.0
    lora_rank: int = 0
    held_out: int = 256
    limit: int | None = None
    save_every: int = 50


TINY = PcrConfig(size=32, steps=2, batch=2, faces=2, walk_steps=1, held_out=2, limit=8, save_every=1)


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
    """Steps 1 to 3 above; float32, shaped as z0."""
    options = HideOptions(steps=config.walk_steps)
    levels, frame = identity_frame(model, options)
    step, rate = solver(options.resolved_solver), frame.rate(eps_of(model, unet, text))
    with torch.no_grad():
        u = step.send(frame.enter(z0.double(), levels[0]), levels[::-1], rate, lambda: None, frame.clock)
        noise = torch.randn(z0.shape, generator=generator).to(u) * _channel(model, config.channel_noise).to(u)
        u = u + noise
    u = step.receive(u, levels[::-1], rate, lambda: None, frame.clock)
    return frame.leave(u, levels[0]).float()


def _channel(model: DiffusionModel, deviation: float) -> Tensor:
    """Deviation of the channel's noise in each DCT coordinate, (C, h, w): from 0.05 to 1 of it along the order."""
    order = plan_of(model).face_order
    field = np.empty(len(order))
    field[order] = np.linspace(0.05, 1.0, len(order)) * deviation
    return torch.from_numpy(field.reshape(model.latent_shape))


def guided_target(teacher: torch.nn.Module, free: Tensor, scenes: Tensor, config: PcrConfig) -> Target:
    """The v that `teacher` predicts with guidance where `scenes`, bool (B,), asks for it; elsewhere the data's.

    `free`: hidden states of the empty prompt, (1, L, D).
    """

    @torch.no_grad()
    def target(z: Tensor, t: Tensor, sigma: Tensor, text: Tensor, v: Tensor) -> Tensor:
        rise = ((sigma / config.guidance_floor).log2() / 2 + 0.5).clamp(0, 1)  # a network cannot learn a step
        chosen = scenes.to(z.device) & (rise > 0)
        if config.guidance == 1 or not chosen.any():
            return v
        both = torch.cat([text[chosen], free.expand(int(chosen.sum()), -1, -1)])
        with torch.autocast(z.device.type, torch.bfloat16):
            found: Tensor = teacher(z[chosen].repeat(2, 1, 1, 1), t[chosen].repeat(2), both).sample
        prompted, unprompted = found.float().chunk(2)
        guidance = 1 + (config.guidance - 1) * rise[chosen].view(-1, 1, 1, 1)
        v = v.clone()
        v[chosen] = unprompted + guidance * (prompted - unprompted)
        return v

    return target


def _check(model: DiffusionModel) -> None:
    """Refuse a pipeline whose network or latents are not as stage `diffusion` makes them.

    Raises:
        ModelError: another prediction type, scaled latents, or a schedule that is not uniform in log sigma.
    """
    steps, vae = np.diff(np.log(model.schedule.sigmas)), model.vae.config
    plain = vae.scaling_factor == 1 and not vae.shift_factor
    if model.prediction_type != "v_prediction" or not plain or not np.allclose(steps, steps[0], rtol=1e-3):
        raise ModelError("this stage goes on with networks of stage `diffusion` only")


def train(
    material: Path,
    folder: Path,
    pipeline: Path,
    clip_folder: Path,
    config: PcrConfig,
    *,
    seed: int = 0,
    device: str | None = None,
    saved: Saved = nothing,
) -> Path:
    """Run the stage on the pipeline folder's network; returns the folder `unet/`. Resumes from the checkpoint.

    Args:
        device: None: a GPU where there is one.
        saved: called after every checkpoint, when `unet/` holds the weights so far.
    """
    accelerator = Accelerator(cpu=device == "cpu")
    model = DiffusionModel.load(pipeline, device=str(accelerator.device))
    _check(model)
    data = load_tars(material, TRAIN_FACES + TRAIN_SCENES, size=config.size, limit=config.limit)
    run, teacher = Run(folder, config, seed=seed), copy.deepcopy(model.unet)
    unet, steppers = _trainable(model.unet.train().requires_grad_(True), config)
    unet, *steppers = accelerator.prepare(unet, *steppers)
    average = copy.deepcopy(accelerator.unwrap_model(unet)).requires_grad_(False)
    parts = {"unet": unet, "average": average, "optimizers": steppers}
    run.restore_parts(**parts)
    lesson = Lesson(model, compiled(unet, str(accelerator.device)), teacher, data, clip_folder, config)

    def keep() -> None:
        run.save_parts(**parts)
        plain = copy.deepcopy(average).merge_and_unload() if config.lora_rank else average
        plain.save_pretrained(folder / "unet")
        saved()

    while (progress := run.progress(config.steps, config.minutes)) < 1:
        losses = lesson.losses(random.Random(f"{seed}/{run.step}"), torch.Generator().manual_seed(run.step))
        accelerator.backward(lesson.total(losses))
        accelerator.clip_grad_norm_(unet.parameters(), 1.0)
        update(steppers, config.learning_rate * (1 - progress))
        run.step += 1
        follow(average, accelerator.unwrap_model(unet), min(config.ema, run.step / (10 + run.step)))
        run.report(**{name: value.item() for name, value in losses.items()})
        if run.due(config.save_every):
            keep()
    keep()
    run.plot()
    return folder / "unet"


def _trainable(unet: torch.nn.Module, config: PcrConfig) -> tuple[torch.nn.Module, list[torch.optim.Optimizer]]:
    """The network, perhaps under low-rank adapters, and the optimizers of what is trained."""
    if not config.lora_rank:
        return unet, optimizers(unet, dataclasses.replace(DiffusionConfig(), learning_rate=config.learning_rate))
    names = ["to_q", "to_k", "to_v", "to_out.0"]
    adapted = get_peft_model(unet, LoraConfig(r=config.lora_rank, target_modules=names))
    return adapted, [torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad])]


class Lesson:
    """What one step learns from: the diffusion loss on faces and scenes, and what comes back of faces."""

    def __init__(
        self,
        model: DiffusionModel,
        unet: torch.nn.Module,
        teacher: torch.nn.Module,
        data: Pictures,
        clip_folder: Path,
        config: PcrConfig,
    ) -> None:
        self.model, self.unet, self.teacher, self.config = model, unet, teacher, config
        self.device = str(model.device)
        self.clip = CLIPModel.from_pretrained(clip_folder).to(self.device).eval().requires_grad_(False)
        self.latents, self.text = Latents.of(data, model.vae, config.held_out), TextTower(clip_folder, self.device)
        self.objective = Objective(DiffusionConfig(), model.schedule, model.vae, self.device)
        self.free = self.text([""])

    def losses(self, rng: random.Random, generator: torch.Generator) -> dict[str, Tensor]:
        """The terms of one batch, unweighted."""
        config = self.config
        both, captions = self.latents.batch(config.batch, 0.1, 2, rng)
        scenes = torch.tensor([n % 2 == 0 and bool(caption) for n, caption in enumerate(captions)])
        target = guided_target(self.teacher, self.free, scenes, config)
        losses = {"diffusion": self.objective(self.unet, both, self.text(captions), generator, target).mean()}
        if config.weight or config.recovery_weight:
            z0, prompts = self.latents.faces_batch(config.faces, rng)
            z0 = z0.to(self.device)
            z = recovered_latent(self.model, self.unet, z0, self.text(prompts), config, generator)
            pictures = F.pixel_shuffle(self.model.vae.decode(z).sample, self.model.patch).clamp(-1, 1)
            losses["recovery"] = ((z - z0).square() * self.objective.weights).mean()
            losses["consistency"] = consistency_loss(self.clip, pictures, self.text.ids(prompts)).mean()
        return losses

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The sum of `losses`, weighted as the configuration says."""
        weights = {"diffusion": 1.0, "recovery": self.config.recovery_weight, "consistency": self.config.weight}
        return sum((weights[name] * value for name, value in losses.items()), start=torch.zeros(()))
