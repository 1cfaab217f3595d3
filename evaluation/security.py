"""Is a stego picture told from a plain one, and does it give its face away? (Fig. 8, Tables 2 and 3.)

Covers are samples of the same model, prompt and solver that hide nothing, drawn as stegos are and through the same
PNG file: what else differed would be what the detectors find. Plain samples of the same noise, as another program
makes them (`latents.PLAIN`), stand beside them: against those, our way of walking and drawing is what shows.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation import stegexpose
from evaluation.attack import recognition_attack
from evaluation.bench import Bench, row_of, trial_of
from evaluation.data import Picture, stack
from evaluation.detector import detect
from evaluation.features import Features
from evaluation.identity import embedded
from evaluation.latents import plain_samples
from evaluation.metrics import Fold, area_under_roc, area_within, mean, roc, share
from evaluation.runs import Row, Run, batches
from shared.diffusion.walks import HideOptions

_CURVE_POINTS = 101


@dataclass(frozen=True)
class SecurityOptions:
    """Attributes:
    epochs: of the small trained detector; 0 leaves it out.
    scenes: real photographs for the Frechet distance; None leaves it out.
    """

    hide: HideOptions
    epochs: int = 30
    scenes: Picture | None = None


def run(bench: Bench, options: SecurityOptions, features: Features | None = None) -> Row:
    """Hide every face of the bench (or take the stegos of an earlier table), draw as many covers, judge both."""
    name = f"security/{options.hide.scheme}"
    hide = options.hide
    words = [hide.scheme, hide.resolved_solver, hide.resolved_steps]
    store = Run(bench.out / name, {**bench.setup(), "options": words})
    keys, start = bench.names, time.process_time()
    stegos = _stegos(bench, store, hide)
    covers, plain = _covers(bench, store, hide)
    others = {"cover": covers} if np.array_equal(covers, plain) else {"cover": covers, "plain": plain}
    table: Row = {
        "count": len(keys),
        "stegexpose": store.part("stegexpose", keys, lambda: steganalysis(covers, stegos, bench.seed)),
        "stegexpose_control": store.part("stegexpose_control", keys, lambda: _control(covers, bench.seed)),
    }
    if "plain" in others:
        table["stegexpose_plain"] = store.part(
            "stegexpose_plain", keys, lambda: steganalysis(plain, stegos, bench.seed)
        )
    if options.epochs and len(keys) >= 8:
        made = [keys, options.epochs]
        table["detector"] = store.part("detector", made, lambda: _trained(bench, others, stegos, options.epochs))
    if bench.recognisers and bench.gallery:
        made = [keys, [one.name for one in bench.recognisers]]
        table["recognition"] = store.part("recognition", made, lambda: _recognition(bench, stegos, covers))
    if features is not None:
        table["naturalness"] = _naturalness(features, stegos, covers, options.scenes)
    table["cpu_seconds"] = round((time.process_time() - start) / len(keys), 2)
    store.finish(table, bench.provenance())
    return table


def _stegos(bench: Bench, store: Run, options: HideOptions) -> Picture:
    parts = []
    for indices in batches(range(len(bench.faces)), bench.batch):
        bench.progress("stegos", indices[0], len(bench.faces))
        trial = trial_of(bench, indices, options)
        store.save("stego", [bench.faces[i].name for i in indices], trial.stegos)
        parts.append(trial.stegos)
    return np.concatenate(parts)


def _covers(bench: Bench, store: Run, options: HideOptions) -> tuple[Picture, Picture]:
    """A plain sample for each stego, under its disguise prompt, drawn in both ways; kept, so that a stopped run goes
    on."""
    keys = bench.names
    todo = [i for i, key in enumerate(keys) if not store.picture("cover", key).is_file()]
    for indices in batches(todo, bench.batch):
        bench.progress("covers", indices[0], len(keys))
        names = [keys[i] for i in indices]
        disguises = [row_of(bench, options, i)["disguise"] for i in indices]
        drawn, plain = plain_samples(bench.model, disguises, options, names, bench.seed)
        store.save("plain", names, plain)
        store.save("cover", names, drawn)
    return store.load("cover", keys), store.load("plain", keys)


def steganalysis(covers: Picture, stegos: Picture, seed: int) -> Row:
    """ROC of StegExpose's fusion and of its parts; `accuracy` at its own threshold, as the paper quotes."""
    parts = [[stegexpose.scores(picture) for picture in pictures] for pictures in (covers, stegos)]
    cover, stego = (np.array([stegexpose.fused(one) for one in side]) for side in parts)
    false, true = roc(cover, stego)
    grid = np.linspace(0, 1, _CURVE_POINTS)
    right = np.concatenate([cover <= stegexpose.SUSPICIOUS, stego > stegexpose.SUSPICIOUS])
    singles = {name: _single_auc([[one[name] for one in side] for side in parts]) for name in parts[0][0]}
    return {
        "auc": area_under_roc(cover, stego),
        "auc_interval": auc_interval([(cover, stego)], seed),
        "accuracy": share(right).as_dict(),
        "cover_score": mean(cover, seed).as_dict(),
        "stego_score": mean(stego, seed).as_dict(),
        "detectors_auc": singles,
        "curve": {"false": grid.tolist(), "true": np.interp(grid, false, true).tolist()},
    }


def _single_auc(sides: Sequence[Sequence[float | None]]) -> float | None:
    known = [np.array([value for value in side if value is not None]) for side in sides]
    return area_under_roc(*known) if all(len(side) for side in known) else None


def auc_interval(folds: Sequence[Fold], seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of `area_within` (500 resamples of both sides of every fold)."""
    rng = np.random.default_rng(seed)
    draws = [area_within([_resampled(rng, fold) for fold in folds]) for _ in range(500)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def _resampled(rng: np.random.Generator, fold: Fold) -> Fold:
    covers, stegos = fold
    return rng.choice(covers, len(covers)), rng.choice(stegos, len(stegos))


def _control(covers: Picture, seed: int) -> Row:
    """Known answers on these very covers: what the fusion says once LSB replacement was put into them."""
    rng = np.random.default_rng(seed)
    clean = np.array([stegexpose.fused(stegexpose.scores(picture)) for picture in covers])
    table: Row = {}
    for rate in (0.05, 0.25, 0.5, 1.0):
        marked = [stegexpose.embed_lsb(picture, rate, rng) for picture in covers]
        dirty = np.array([stegexpose.fused(stegexpose.scores(picture)) for picture in marked])
        table[f"lsb {rate:g}"] = {
            "auc": area_under_roc(clean, dirty),
            "auc_interval": auc_interval([(clean, dirty)], seed),
            "score": mean(dirty, seed).as_dict(),
        }
    return table


def _trained(bench: Bench, others: Mapping[str, Picture], stegos: Picture, epochs: int) -> Row:
    """The small network on stego against cover (and against plain samples); and on LSB replacement at a quarter and in
    full, which tells what it can find at this number of pictures."""
    rng, covers = np.random.default_rng(bench.seed), others["cover"]
    pairs = {f"stego against {name}": (pictures, stegos) for name, pictures in others.items()}
    for rate in (0.25, 1.0):
        marked = np.stack([stegexpose.embed_lsb(picture, rate, rng) for picture in covers])
        pairs[f"lsb {rate:g} against cover"] = (covers, marked)
    table: Row = {"epochs": epochs, "training_pictures": len(covers) // 2}
    for name, (first, second) in pairs.items():
        found = detect(first, second, seed=bench.seed, epochs=epochs, progress=bench.progress)
        table[name] = {
            "accuracy": found.accuracy.as_dict(),
            "auc": found.auc,
            "auc_interval": auc_interval(found.folds, bench.seed),
        }
    return table


def _recognition(bench: Bench, stegos: Picture, covers: Picture) -> Row:
    """Table 2 for the stego, for pictures that hide nothing (what any scene gives), and for the faces as they are.
    The gallery is the whole set."""
    gallery = embedded(bench.gallery, bench.finder, bench.recognisers, folder=bench.out, progress=bench.progress)
    place = {sample.name: i for i, sample in enumerate(bench.gallery)}
    own = [place[name] for name in bench.names]
    sides = {"stego": stegos, "cover": covers, "unprotected": stack(bench.faces)}
    return {
        name: recognition_attack(pictures, own, bench.gallery, gallery, bench.finder, bench.recognisers)
        for name, pictures in sides.items()
    }


def _naturalness(features: Features, stegos: Picture, covers: Picture, scenes: Picture | None) -> Row:
    """Frechet distances at one count: stego and cover against photographs, and photographs against others."""
    table: Row = {"features": features.name, "count": len(stegos)}
    table["stego_to_cover"] = features.distance(stegos, covers).as_dict()
    if scenes is not None and len(scenes) >= 2 * len(stegos):
        half = len(stegos)
        table["stego_to_photographs"] = features.distance(stegos, scenes[:half]).as_dict()
        table["cover_to_photographs"] = features.distance(covers, scenes[:half]).as_dict()
        table["photographs_to_photographs"] = features.distance(scenes[half : 2 * half], scenes[:half]).as_dict()
    return table
