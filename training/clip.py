"""Stage `clip`: a small image-text model on captions made from the metadata (Radford et al., 2021, section 2.3).

Its text tower conditions the diffusion model, its picture tower measures prompt consistency (paper, equation 11). The
tokenizer is byte-level BPE as CLIP's, learned on the captions, so that every text has a token sequence.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from training.captions import caption
from training.data import TRAIN_FACES, TRAIN_SCENES, Pictures, load_tars
from training.runs import Run, Saved, compiled, nothing

END = "<|endoftext|>"


@dataclass(frozen=True)
class ClipConfig:
    """Size and length of the stage. `steps` is the whole schedule, or `minutes` of training where these are fewer; a
    resumed run goes on to it."""

    size: int = 128
    patch: int = 16
    vocabulary: int = 1024
    tokens: int = 77
    text_width: int = 160
    text_layers: int = 4
    vision_width: int = 160
    vision_layers: int = 5
    batch: int = 128
    steps: int = 1500
    minutes: float | None = None
    learning_rate: float = 1e-3
    limit: int | None = None
    save_every: int = 200


TINY = ClipConfig(
    size=32,
    patch=8,
    vocabulary=400,
    text_width=32,
    text_layers=1,
    vision_width=32,
    vision_layers=1,
    batch=8,
    steps=4,
    limit=16,
    save_every=2,
)


def learn_tokenizer(captions: list[str], config: ClipConfig, folder: Path) -> CLIPTokenizer:
    """Byte-level BPE with CLIP's conventions (lower case, `</w>` at word ends), saved to `folder`."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|startoftext|>", END]
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        initial_alphabet=alphabet,
        special_tokens=special,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    learned = tokenizer.get_vocab()
    # A byte may end a word: every byte needs its `</w>` form, or such a word would be unknown.
    missing = [b + "</w>" for b in sorted(alphabet) if b + "</w>" not in learned]
    vocabulary = {token: i for i, token in enumerate([*sorted(learned, key=learned.__getitem__), *missing])}
    merges = [tuple(m) for m in _merges(tokenizer)]
    clip = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=config.tokens)
    clip.save_pretrained(folder)
    return clip


def _merges(tokenizer: Tokenizer) -> list[list[str]]:
    return [m if isinstance(m, list) else m.split(" ") for m in json.loads(tokenizer.to_str())["model"]["merges"]]


def build(config: ClipConfig, tokenizer: CLIPTokenizer) -> CLIPModel:
    tower = {"num_attention_heads": 4, "hidden_act": "quick_gelu"}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": config.text_width,
        "intermediate_size": 4 * config.text_width,
        "num_hidden_layers": config.text_layers,
        "max_position_embeddings": config.tokens,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **tower,
    }
    vision = {
        "hidden_size": config.vision_width,
        "intermediate_size": 4 * config.vision_width,
        "image_size": config.size,
        "num_hidden_layers": config.vision_layers,
        "patch_size": config.patch,
        **tower,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def pixel_values(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in -1..1, the picture tower's input."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def tokens(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids int64 (B, L), padded to the longest caption: attention is causal and the pooled token the last."""
    encoded = tokenizer(captions, padding="longest", truncation=True, return_tensors="pt")
    ids: Tensor = encoded.input_ids
    return ids


def contrastive_loss(model: CLIPModel, pixels: Tensor, ids: Tensor) -> Tensor:
    """Symmetric cross entropy over the batch's cosine similarities (Radford et al., figure 3)."""
    picture = F.normalize(model.get_image_features(pixels).pooler_output.float(), dim=-1)
    text = F.normalize(model.get_text_features(ids).pooler_output.float(), dim=-1)
    logits = model.logit_scale.exp().clamp(max=100) * picture @ text.T
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def train(
    material: Path, folder: Path, config: ClipConfig, *, seed: int = 0, device: str = "cpu", saved: Saved = nothing
) -> Path:
    """Run the stage; returns the folder `clip/` with model and tokenizer. Resumes from the checkpoint.

    Args:
        saved: called after every checkpoint, when `clip/` holds the weights so far.
    """
    data = load_tars(material, TRAIN_FACES + TRAIN_SCENES, size=config.size, limit=config.limit)
    rng, run = random.Random(seed), Run(folder, config, seed=seed)
    torch.manual_seed(seed)
    tokenizer = learn_tokenizer([caption(r, rng) for r in data.records for _ in range(2)], config, folder / "clip")
    model = build(config, tokenizer).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps + 1, pct_start=0.1
    )
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    run.restore_parts(**parts)
    loss_of = compiled(contrastive_loss, device)

    def keep() -> None:
        run.save_parts(**parts)
        model.save_pretrained(folder / "clip")
        saved()

    while run.progress(config.steps, config.minutes) < 1:
        rng.seed(f"{seed}/{run.step}")
        pixels, texts = sample_batch(data, config.batch, rng)
        with torch.autocast(model.device.type, torch.bfloat16):
            loss = loss_of(model, pixel_values(pixels).to(device), tokens(tokenizer, texts).to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        run.step += 1
        done = min(1, run.progress(config.steps, config.minutes))
        while schedule.last_epoch < done * config.steps:
            schedule.step()
        if run.step % 10 == 0 or done == 1:
            run.report(contrastive=loss.item())
        if run.due(config.save_every):
            keep()
    keep()
    run.plot()
    return folder / "clip"


def sample_batch(data: Pictures, size: int, rng: random.Random) -> tuple[NDArray[np.uint8], list[str]]:
    """A batch, half faces and half scenes, half of it mirrored, each with a fresh caption."""
    scenes = [i for i, r in enumerate(data.records) if "scene" in r]
    faces = [i for i, r in enumerate(data.records) if "scene" not in r]
    chosen = [rng.choice(faces if n % 2 else scenes) for n in range(size)]
    pixels = np.stack([data.pixels[i][:, :: rng.choice((1, -1))] for i in chosen])
    return pixels, [caption(data.records[i], rng) for i in chosen]
