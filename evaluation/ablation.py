"""With prompt consistency regularisation and without: two sets of weights, one protocol (Table 5, Fig. 10)."""

from dataclasses import replace
from pathlib import Path

from evaluation import reversibility
from evaluation.bench import Bench
from evaluation.perception import NO_METRICS, PerceptualMetrics
from evaluation.reversibility import ReversibilityOptions
from evaluation.runs import Row
from shared.diffusion.model import DiffusionModel
from shared.diffusion.walks import HideOptions


def run(
    bench: Bench, without: str | Path, hide: HideOptions, metrics: PerceptualMetrics = NO_METRICS
) -> dict[str, Row]:
    """Table 5 of the bench's model, "with", and of the pipeline at `without`: fidelity, identity, and what networks
    see."""
    models = {"with": bench.model, "without": DiffusionModel.load(without, device=str(bench.model.device))}
    options = ReversibilityOptions(hide, attacks=False, degradations=(), degraded_identity=False)
    return {
        label: reversibility.run(replace(bench, model=model), options, metrics, name=f"ablation/{label}")
        for label, model in models.items()
    }
