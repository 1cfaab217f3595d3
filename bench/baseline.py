"""The baseline: the same weights, the same two phases, through diffusers' own parts and nothing of ours.

Written as a user of diffusers would write the published method: `AutoencoderKL`, `CLIPTextModel`,
`UNet2DConditionModel`, `DDIMInverseScheduler` and `DDIMScheduler`, 60 + 60 steps, no guidance, float32. There is no
key: z_T goes over as it is.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMInverseScheduler, DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

STEPS = 60
SPACING = "leading"  # of the two that DDIMInverseScheduler knows, its default


class Baseline:
    """Pictures are uint8 (B, H, W, 3). `steps` of each walk; both phases walk twice."""

    def __init__(self, folder: Path, *, steps: int = STEPS, spacing: str = SPACING, device: str = "cpu") -> None:
        root = str(folder)
        self.vae = AutoencoderKL.from_pretrained(root, subfolder="vae", torch_dtype=torch.float32).to(device).eval()
        self.unet = UNet2DConditionModel.from_pretrained(root, subfolder="unet", torch_dtype=torch.float32)
        self.unet.to(device).eval()
        self.text_encoder = CLIPTextModel.from_pretrained(root, subfolder="text_encoder", dtype=torch.float32)
        self.text_encoder.to(device).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(root, subfolder="tokenizer")
        config = dict(
            DDIMScheduler.load_config(root, subfolder="scheduler"), timestep_spacing=spacing, clip_sample=False
        )
        self.sampler = DDIMScheduler.from_config(config)
        self.inverter = DDIMInverseScheduler.from_config(config)
        self.sampler.set_timesteps(steps)
        self.inverter.set_timesteps(steps)
        self.patch = round((self.vae.config.in_channels / 3) ** 0.5)  # the autoencoder may work on unshuffled pixels
        self.device = device

    @torch.no_grad()
    def hide(self, faces: NDArray[np.uint8], identities: Sequence[str], disguises: Sequence[str]) -> NDArray[np.uint8]:
        """Equations 3 to 6: encode, invert under the identity prompt, sample under the disguise prompt, decode."""
        z = self._walk(self.inverter, self._encode(faces), identities)
        return self._decode(self._walk(self.sampler, z, disguises))

    @torch.no_grad()
    def recover(
        self, stegos: NDArray[np.uint8], identities: Sequence[str], disguises: Sequence[str]
    ) -> NDArray[np.uint8]:
        """Equations 7 to 10: encode, invert under the disguise prompt, sample under the identity prompt, decode."""
        z = self._walk(self.inverter, self._encode(stegos), disguises)
        return self._decode(self._walk(self.sampler, z, identities))

    def _walk(self, scheduler: DDIMScheduler | DDIMInverseScheduler, z: Tensor, prompts: Sequence[str]) -> Tensor:
        text = self._embed(prompts)
        for t in scheduler.timesteps:
            noise = self.unet(z, t, encoder_hidden_states=text).sample
            z = scheduler.step(noise, t, z).prev_sample
        return z

    def _embed(self, prompts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt")
        hidden: Tensor = self.text_encoder(tokens.input_ids.to(self.device)).last_hidden_state
        return hidden

    def _encode(self, pixels: NDArray[np.uint8]) -> Tensor:
        x = torch.tensor(pixels, device=self.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        z: Tensor = self.vae.encode(F.pixel_unshuffle(x, self.patch)).latent_dist.mode()
        scaled: Tensor = z * self.vae.config.scaling_factor
        return scaled

    def _decode(self, z: Tensor) -> NDArray[np.uint8]:
        x = F.pixel_shuffle(self.vae.decode(z / self.vae.config.scaling_factor).sample, self.patch)
        levels = ((x + 1) * 127.5).round().clamp(0, 255).byte()
        pixels: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).cpu().numpy()
        return pixels
