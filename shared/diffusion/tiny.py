"""A pipeline of random weights in Stable Diffusion's own layout, made on the spot: 32x32 pictures, for tests.

Every part is the real class made small, so what runs on it runs on Stable Diffusion 1.5. It draws no pictures that mean
anything; what hide and recover promise of solvers, keys and recipes holds for any weights.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import pre_tokenizers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def byte_tokenizer(length: int = 77) -> CLIPTokenizer:
    """CLIP's tokenizer with the 256 bytes as its whole vocabulary, in the middle and at the end of a word."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*SPECIAL, *alphabet, *(byte + "</w>" for byte in alphabet)]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=length)


def build_tiny(folder: Path, seed: int = 0) -> Path:
    """Write the pipeline to `folder` and return it. The same seed gives the same weights."""
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        vae = AutoencoderKL(
            block_out_channels=(16, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=8,
            sample_size=32,
        )
        unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 16),
            layers_per_block=1,
            norm_num_groups=8,
            cross_attention_dim=32,
            attention_head_dim=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        )
        tokenizer = byte_tokenizer()
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=1,
                num_attention_heads=2,
                projection_dim=32,
                bos_token_id=0,
                eos_token_id=1,
                pad_token_id=1,
            )
        )
    finally:
        torch.random.set_rng_state(generator_state)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    for name, part in {
        "vae": vae,
        "unet": unet,
        "text_encoder": text,
        "tokenizer": tokenizer,
        "scheduler": scheduler,
    }.items():
        part.save_pretrained(folder / name)
    return folder
