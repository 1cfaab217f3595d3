"""Put the parts of a model together as one diffusers folder: float16 files, no shard above 14 MB."""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from shared.diffusion.clip import save_clip

SHARD = "14MB"


def pack(target: Path, *, vae: Path, clip: Path, unet: Path, scheduler: Path) -> Path:
    """Write `target`/{vae, unet, text_encoder, tokenizer, scheduler, clip}; an older `target` is replaced."""
    shutil.rmtree(target, ignore_errors=True)
    half = {"torch_dtype": torch.float16}
    AutoencoderKL.from_pretrained(vae, **half).save_pretrained(target / "vae")
    UNet2DConditionModel.from_pretrained(unet, **half).save_pretrained(target / "unet", max_shard_size=SHARD)
    CLIPTextModel.from_pretrained(clip, dtype=torch.float16).save_pretrained(target / "text_encoder")
    CLIPTokenizer.from_pretrained(clip).save_pretrained(target / "tokenizer")
    DDIMScheduler.from_pretrained(scheduler).save_pretrained(target / "scheduler")
    save_clip(CLIPModel.from_pretrained(clip), target)
    return target
