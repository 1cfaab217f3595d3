"""The small image-text model that ships beside the network: equation 11's f and phi, for measurement and training.

Its text tower is the pipeline's own text encoder, so only the rest is stored (`clip/`). Hiding and recovering never
load it.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextModel

from shared.errors import ModelError

_FILE = "picture_tower.safetensors"
_TEXT = "text_model."


def save_clip(clip: CLIPModel, pipeline: Path) -> None:
    """Write all but the text tower to `pipeline`/clip, float16."""
    folder = pipeline / "clip"
    folder.mkdir(parents=True, exist_ok=True)
    clip.config.save_pretrained(folder)
    kept = {n: t.half().contiguous() for n, t in clip.state_dict().items() if not n.startswith(_TEXT)}
    save_file(kept, folder / _FILE)


def load_clip(pipeline: Path) -> CLIPModel:
    """The whole model in float32, its text tower from `pipeline`/text_encoder.

    Raises:
        ModelError: the pipeline has no such part.
    """
    if not (pipeline / "clip" / _FILE).is_file():
        raise ModelError("the pipeline has no image-text model")
    clip = CLIPModel(CLIPConfig.from_pretrained(pipeline / "clip"))
    text = CLIPTextModel.from_pretrained(pipeline / "text_encoder", dtype=torch.float32).state_dict()
    state = {n: t.float() for n, t in load_file(pipeline / "clip" / _FILE).items()}
    state |= {n if n.startswith(_TEXT) else _TEXT + n: t for n, t in text.items()}
    clip.load_state_dict(state)
    return clip.eval().requires_grad_(False)
