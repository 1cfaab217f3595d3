"""What networks see in recovered pictures, beside the originals. Every part is optional and named where it is given."""

from dataclasses import dataclass

from evaluation.bench import Bench
from evaluation.clip import Scorer
from evaluation.data import Picture
from evaluation.features import Features
from evaluation.lpips import Lpips
from evaluation.metrics import mean
from evaluation.runs import Row


@dataclass(frozen=True)
class PerceptualMetrics:
    """Networks that look at pictures; None: not to be had.

    Attributes:
        scorer: the small CLIP.
        features: for a Frechet distance.
        lpips: perceptual distance of pairs.
    """

    scorer: Scorer | None = None
    features: Features | None = None
    lpips: Lpips | None = None


NO_METRICS = PerceptualMetrics()


def perception(bench: Bench, originals: Picture, recovered: Picture, metrics: PerceptualMetrics) -> Row:
    """CLIP similarity to the identity prompt, Frechet distance of recovered to original pictures, and LPIPS."""
    table: Row = {}
    if metrics.scorer is not None:
        texts = metrics.scorer.embed_texts(bench.prompts)
        for name, pictures in (("recovered", recovered), ("original", originals)):
            values = (metrics.scorer.embed_pictures(pictures) * texts).sum(axis=1)
            table[f"clip_to_identity_prompt_{name}"] = mean(values, bench.seed).as_dict()
    if metrics.features is not None and len(recovered) >= 2:
        distance = metrics.features.distance(recovered, originals)
        table["frechet"] = {"features": metrics.features.name, **distance.as_dict()}
    if metrics.lpips is not None:
        table["lpips"] = mean(metrics.lpips.distance(originals, recovered), bench.seed).as_dict()
    return table
