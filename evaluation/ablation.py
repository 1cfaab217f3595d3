"""With prompt consistency regularisation and without: two sets of weights, one protocol (Table 5, Fig.
10)."""

from collections.abc import Mapping
from dataclasses import replace

from evaluation import reversibility
from evaluation.bench import Bench
from evaluation.clip import Scorer
from evaluation.data import Picture
from evaluation.features import Features
from evaluation.lpips import Lpips
from evaluation.metrics import mean
from evaluation.reversibility import ReversibilityOptions
from evaluation.runs import Row, Run
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import HideOptions


def run(
    bench: Bench,
    models: Mapping[str, DiffusionModel],
    hide: HideOptions,
    *,
    scorer: Scorer | None = None,
    features: Features | None = None,
    lpips: Lpips | None = None,
) -> dict[str, Row]:
    """Table 5 of each model, by its label ("with", "without"): fidelity, identity, and where the parts are
    given, the CLIP similarity of the recovered picture to its identity prompt, the Frechet distance of
    recovered to original pictures, LPIPS."""
    tables = {}
    for label, model in models.items():
        own = replace(bench, model=model)
        options = ReversibilityOptions(hide, attacks=False, degradations=(), degraded_identity=False)
        table = reversibility.run(own, options, name=f"ablation/{label}")
        store = Run(own.out / f"ablation/{label}", reversibility.setup_of(own, options))
        originals, recovered = store.load("original", own.names), store.load("recovered", own.names)
        table["perception"] = perception(own, originals, recovered, scorer, features, lpips)
        store.finish(table, own.provenance())
        tables[label] = table
    return tables


def perception(
    bench: Bench,
    originals: Picture,
    recovered: Picture,
    scorer: Scorer | None,
    features: Features | None,
    lpips: Lpips | None,
) -> Row:
    """What networks see in recovered pictures, beside the originals."""
    table: Row = {}
    if scorer is not None:
        texts = scorer.embed_texts(bench.prompts)
        for name, pictures in (("recovered", recovered), ("original", originals)):
            values = (scorer.embed_pictures(pictures) * texts).sum(axis=1)
            table[f"clip_to_identity_prompt_{name}"] = mean(values, bench.seed).as_dict()
    if features is not None and len(recovered) >= 2:
        table["frechet"] = {"features": features.name, "value": features.distance(recovered, originals)}
    if lpips is not None:
        table["lpips"] = mean(lpips.distance(originals, recovered), bench.seed).as_dict()
    return table
