"""With prompt consistency regularisation and without: two sets of weights, one protocol (Table 5, Fig. 10)."""

from collections.abc import Mapping
from dataclasses import replace

from evaluation import reversibility
from evaluation.bench import Bench
from evaluation.perception import BLIND, Eyes
from evaluation.reversibility import ReversibilityOptions
from evaluation.runs import Row
from shared.diffusion.model import DiffusionModel
from shared.diffusion.walks import HideOptions


def run(bench: Bench, models: Mapping[str, DiffusionModel], hide: HideOptions, eyes: Eyes = BLIND) -> dict[str, Row]:
    """Table 5 of each model, by its label ("with", "without"): fidelity, identity, and what the eyes see."""
    options = ReversibilityOptions(hide, attacks=False, degradations=(), degraded_identity=False)
    return {
        label: reversibility.run(replace(bench, model=model), options, eyes, name=f"ablation/{label}")
        for label, model in models.items()
    }
