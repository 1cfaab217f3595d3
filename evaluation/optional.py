"""What can be measured only where packages or files are at hand. What is missing is said, and left out."""

from collections.abc import Callable
from pathlib import Path

import torch

from evaluation.bench import Bench
from evaluation.clip import Scorer, load_scorer, pipeline_scorer
from evaluation.data import Picture, load_set, pick, stack
from evaluation.errors import MaterialMissing
from evaluation.features import Features, load_features
from evaluation.lpips import Lpips
from evaluation.perception import PerceptualMetrics
from evaluation.setup import SCENES
from shared.diffusion.model import EMBEDDED, DiffusionModel

Say = Callable[[str], None]
HALVES = {"half precision (bfloat16)": torch.bfloat16, "half precision (float16)": torch.float16}


def perceptual_metrics(clip: Path | None, model: str | None, inception: Path | None, say: Say) -> PerceptualMetrics:
    """Every network that is to be had. `clip`, `inception`: see `scorer` and `frechet_features`."""
    try:
        lpips = Lpips()
    except MaterialMissing as error:
        say(f"no LPIPS: {error.detail}")
        lpips = None
    return PerceptualMetrics(scorer(clip, model), frechet_features(inception, say), lpips)


def frechet_features(inception: Path | None, say: Say) -> Features | None:
    """Of the Inception file that is given, else AlexNet's.

    Raises:
        MaterialMissing: the file that is given is not there.
    """
    try:
        return load_features(inception)
    except MaterialMissing as error:
        if inception is not None:
            raise
        say(f"no Frechet distance: {error.detail}")
        return None


def scorer(clip: Path | None, model: str | None) -> Scorer | None:
    """The CLIP model given, with its own tokenizer or the pipeline's; else the one that the pipeline ships."""
    if clip is None:
        return pipeline_scorer(Path(model or EMBEDDED))
    own = clip / "tokenizer_config.json"
    return load_scorer(clip, clip if own.is_file() else Path(model or EMBEDDED) / "tokenizer")


def photographs(bench: Bench, say: Say) -> Picture | None:
    """Two photographs of scenes for each face, for the Frechet distances of Table 3."""
    try:
        scenes = load_set(None, SCENES, size=bench.model.image_size)
    except MaterialMissing as error:
        say(f"Table 3 goes without photographs: {error.detail}")
        return None
    return stack(pick(scenes, 2 * len(bench.faces), bench.seed))


def halves(source: str | None, device: str) -> dict[str, DiffusionModel]:
    """The same weights in half precision, by name."""
    return {name: DiffusionModel.load(source, device=device, dtype=dtype) for name, dtype in HALVES.items()}
