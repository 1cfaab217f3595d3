"""Does the face come back, and only under its prompt? (Table 1 and Fig. 7 of the paper, and what it leaves
out.)

One row a picture; `summary` turns rows into figures. The lead call:

    bench = setup.make_bench(model, out=..., limit=200)
    table = reversibility.run(bench, ReversibilityOptions(HideOptions()))
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evaluation import prompts
from evaluation.alignment import FACE_FOUND
from evaluation.bench import RECOVERED, Bench, Trial, recover_faces, recovery, row_of, trial_of
from evaluation.data import Picture
from evaluation.degradations import TABLE_4, Degradation, degrade
from evaluation.identity import BORROWED, Calibration, Identified, compare, identify
from evaluation.metrics import mean, share, ssim
from evaluation.perception import NO_METRICS, PerceptualMetrics, perception
from evaluation.recognisers import PUBLISHED_THRESHOLDS
from evaluation.runs import Row, Run, batches
from figures.fidelity import psnr
from shared.diffusion.walks import HideOptions

ATTACKS = ("wrong", "near", "none")


@dataclass(frozen=True)
class ReversibilityOptions:
    """What to measure.

    Attributes:
        attacks: recover also under a wrong prompt, a near one, and none.
        degradations: channels to recover through, beside the PNG file.
        degraded_identity: recognise the faces recovered through them, too.
    """

    hide: HideOptions
    attacks: bool = True
    degradations: Sequence[Degradation] = TABLE_4
    degraded_identity: bool = True

    def as_dict(self) -> Row:
        return {
            "scheme": self.hide.scheme,
            "solver": self.hide.resolved_solver,
            "steps": self.hide.resolved_steps,
            "attacks": self.attacks,
            "degradations": [one.name for one in self.degradations],
            "degraded_identity": self.degraded_identity,
        }


def run(
    bench: Bench, options: ReversibilityOptions, metrics: PerceptualMetrics = NO_METRICS, *, name: str = "reversibility"
) -> Row:
    """Measure every face of the bench, going on where an earlier run stopped, and write the table.

    Args:
        metrics: networks that look at the stegos and at the recovered pictures.

    Returns:
        the figures, as in `table.json`.
    """
    store = Run(bench.out / name, setup_of(bench, options))
    todo = store.missing(bench.names)
    done = len(bench.faces) - len(todo)
    for indices in batches(todo, bench.batch):
        bench.progress(name, done, len(bench.faces))
        store.add(_rows(bench, store, indices, options, metrics))
        done += len(indices)
    bench.progress(name, done, len(bench.faces))
    rows = [store.rows[key] for key in bench.names]
    table = summary(rows, bench.calibrations, bench.seed)
    if metrics is not NO_METRICS:
        originals, recovered = store.load("original", bench.names), store.load(RECOVERED, bench.names)
        table["perception"] = perception(bench, originals, recovered, metrics)
    store.finish(table, bench.provenance())
    return table


def setup_of(bench: Bench, options: ReversibilityOptions) -> Row:
    """What the rows depend on, so that rows of different questions never mix."""
    names = [recogniser.name for recogniser in bench.recognisers]
    return {**bench.setup(), "recognisers": names, "options": options.as_dict()}


def _rows(
    bench: Bench, store: Run, indices: Sequence[int], options: ReversibilityOptions, metrics: PerceptualMetrics
) -> list[Row]:
    start = time.process_time()
    trial = trial_of(bench, indices, options.hide)
    originals = identify(trial.originals, bench.finder, bench.recognisers)
    rows = _base_rows(bench, trial, options.hide)
    keys = [row["key"] for row in rows]
    recovered = recovered_under(bench, trial, RECOVERED)
    for kind, pictures in (("original", trial.originals), ("stego", trial.stegos), (RECOVERED, recovered)):
        store.save(kind, keys, pictures)
    ceiling = bench.model.decode(bench.model.encode(trial.originals))
    _add(rows, "ceiling", measure(bench, originals, trial.originals, ceiling))
    _add(rows, RECOVERED, measure(bench, originals, trial.originals, recovered))
    _add(rows, "stego", measure(bench, originals, trial.originals, trial.stegos))
    if metrics.scorer is not None:
        _add(rows, "clip", metrics.scorer.judge(trial.stegos, trial.scenes, trial.disguises))
    for kind in ATTACKS if options.attacks else ():
        _add(rows, kind, measure(bench, originals, trial.originals, recovered_under(bench, trial, kind)))
    for degradation in options.degradations:
        known = originals if options.degraded_identity else None
        pictures = recovered_through(bench, trial, degradation)
        _add(rows, degradation.name, measure(bench, known, trial.originals, pictures))
    seconds = (time.process_time() - start) / len(rows)
    return [{**row, "cpu_seconds": round(seconds, 3)} for row in rows]


def _base_rows(bench: Bench, trial: Trial, hide: HideOptions) -> list[Row]:
    told = ("scene", "disguise", "evaluations", "recover_evaluations", "hide_seconds", "recover_seconds")
    rows = [(bench.faces[index].name, row_of(bench, hide, index)) for index in trial.indices]
    return [{"key": name, **{key: row[key] for key in told}} for name, row in rows]


def recovered_through(bench: Bench, trial: Trial, degradation: Degradation) -> Picture:
    """What the receiver gets when the stego went through a lossy channel."""
    names = [bench.faces[i].name for i in trial.indices]

    def make() -> Picture:
        return recover_faces(bench, trial, degrade(trial.stegos, degradation, names, bench.seed), trial.prompts)

    return recovery(bench, trial, degradation.name, make)


def recovered_under(bench: Bench, trial: Trial, kind: str) -> Picture:
    """Pictures that somebody gets who knows the stego, its recipe and the model: under the identity prompt
    (RECOVERED), or one of ATTACKS without it."""
    keyed, texts = True, list(trial.prompts)
    if kind == "wrong":
        texts = [bench.others(index) for index in trial.indices]
    elif kind == "near":
        texts = [prompts.near(text) for text in trial.prompts]
    elif kind == "none":
        keyed, texts = False, [prompts.NO_PROMPT] * len(trial.prompts)
    return recovery(bench, trial, kind, lambda: recover_faces(bench, trial, trial.stegos, texts, keyed=keyed))


def measure(bench: Bench, known: Identified | None, originals: Picture, pictures: Picture) -> list[Row]:
    """PSNR and SSIM of pictures to the originals at their places; with `known`, faces and similarities,
    too."""
    rows: list[Row] = [
        {"psnr": round(psnr(a, b), 4), "ssim": round(ssim(a, b), 5)} for a, b in zip(originals, pictures, strict=True)
    ]
    if known is not None:
        for row, more in zip(rows, compare(known, pictures, bench.finder, bench.recognisers), strict=True):
            row.update(more)
    return rows


def _add(rows: Sequence[Row], name: str, parts: Sequence[Row]) -> None:
    for row, part in zip(rows, parts, strict=True):
        row[name] = part


def summary(rows: Sequence[Row], calibrations: Mapping[str, Calibration], seed: int) -> Row:
    """Figures of rows: fidelity, verification, attacks against strangers, the stego's looks, degradations."""
    gaps = [row["ceiling"]["psnr"] - row["recovered"]["psnr"] for row in rows]
    table: Row = {
        "count": len(rows),
        "calibrations": {name: asdict(one) for name, one in calibrations.items()},
        "ceiling": _fidelity(rows, "ceiling", seed),
        "recovered": _fidelity(rows, "recovered", seed),
        "loss_db": mean(gaps, seed).as_dict(),
        "stego_to_original": _fidelity(rows, "stego", seed),
        "stego_shows_face": share([row["stego"]["face"] >= FACE_FOUND for row in rows]).as_dict(),
        "hide_seconds": mean([row["hide_seconds"] for row in rows], seed).as_dict(),
        "recover_seconds": mean([row["recover_seconds"] for row in rows], seed).as_dict(),
        "evaluations": rows[0]["evaluations"],
        "recover_evaluations": rows[0]["recover_evaluations"],
        "cpu_seconds": round(float(np.mean([row["cpu_seconds"] for row in rows])), 2),
        "by_scene": _by_scene(rows, seed),
    }
    kinds = [kind for kind in ("ceiling", "recovered", "stego", *ATTACKS) if kind in rows[0]]
    table["identity"] = {kind: identity_figures(rows, kind, calibrations, seed) for kind in kinds}
    table["attacked"] = {kind: _fidelity(rows, kind, seed) for kind in ATTACKS if kind in rows[0]}
    channels = [name for name in rows[0] if name.split(" ")[0] in _CHANNELS]
    table["degraded"] = {name: _degraded(rows, name, calibrations, seed) for name in channels}
    if "clip" in rows[0]:
        table["clip"] = clip_figures(rows, seed)
    return table


_CHANNELS = frozenset({"noise", "jpeg", "salt-pepper", "webp", "resize", "blur"})


def _fidelity(rows: Sequence[Row], kind: str, seed: int) -> Row:
    return {what: mean([row[kind][what] for row in rows], seed).as_dict() for what in ("psnr", "ssim")}


def _by_scene(rows: Sequence[Row], seed: int) -> Row:
    scenes = sorted({row["scene"] for row in rows})
    return {s: _fidelity([row for row in rows if row["scene"] == s], "recovered", seed) for s in scenes}


def identity_figures(
    rows: Sequence[Row], kind: str, calibrations: Mapping[str, Calibration], seed: int
) -> dict[str, Row]:
    """Of each recogniser: similarity, share verified, confidence, place among strangers.

    A picture without a face of its own counts as not verified. `strangers` holds what attacks are compared with
    (`strangers_bound`): the mean similarity of strangers, of strangers of the same description, and of these very
    pictures to the other originals of their batch, `drawn`, where there are any.
    """
    return {name: _one_identity(rows, kind, one, seed) for name, one in calibrations.items()}


def _one_identity(rows: Sequence[Row], kind: str, calibration: Calibration, seed: int) -> Row:
    name = calibration.recogniser
    values = [row[kind]["similarity"].get(name) for row in rows]
    own = [value for value in values if value is not None]
    lent = [row[kind]["similarity"].get(name + BORROWED) for row in rows]
    borrowed = [value for value in lent if value is not None]
    figures: Row = {
        "verified": share([value is not None and value > calibration.threshold for value in values]).as_dict(),
        "face_found": share([value is not None for value in values]).as_dict(),
        "threshold": calibration.threshold,
    }
    published = PUBLISHED_THRESHOLDS.get(name)
    if published is not None:
        hits = [value is not None and value > published for value in values]
        figures["verified_at_published_threshold"] = share(hits).as_dict()
    if own:
        figures["similarity"] = mean(own, seed).as_dict()
        figures["confidence"] = mean([calibration.confidence(value) for value in own], seed).as_dict()
        figures["strangers"] = {"mean": calibration.stranger_mean, "described": calibration.described_mean}
        control = [row[kind]["others"][name] for row in rows if name in row[kind].get("others", {})]
        if control:
            figures["strangers"]["drawn"] = float(np.mean(control))
        ranks = [calibration.percentile(value) for value in own]
        figures["stranger_percentile"] = mean(ranks, seed).as_dict()
    if borrowed:
        figures["similarity" + BORROWED] = mean(borrowed, seed).as_dict()
        figures["verified" + BORROWED] = share([v > calibration.threshold for v in borrowed]).as_dict()
    return figures


def _degraded(rows: Sequence[Row], name: str, calibrations: Mapping[str, Calibration], seed: int) -> Row:
    figures = _fidelity(rows, name, seed)
    drops = [row["recovered"]["psnr"] - row[name]["psnr"] for row in rows]
    figures["drop_db"] = mean(drops, seed).as_dict()
    if "similarity" in rows[0][name]:
        figures["identity"] = identity_figures(rows, name, calibrations, seed)
    return figures


def clip_figures(rows: Sequence[Row], seed: int) -> Row:
    """The small CLIP's opinion of the stego pictures, as `evaluation.clip.Scorer.judge` gives it."""
    numbers: dict[str, Any] = {key: [row["clip"][key] for row in rows] for key in rows[0]["clip"]}
    return {
        key: (share(values) if isinstance(values[0], bool) else mean(values, seed)).as_dict()
        for key, values in numbers.items()
    }


def strangers_bound(figures: Mapping[str, Any], kind: str) -> str:
    """Whether the mean similarity of an attack, one of ATTACKS, is no higher than between strangers.

    The floor is the mean of strangers, or, where that is higher, of the attack's own pictures and other people: what a
    model draws has something of its usual face. Only `near` knows the description, and strangers of one description
    count for it, too.

    Returns: "yes" if the whole interval lies at or below the floor, "no" if all of it lies above, else "undecided";
    so few faces decide nothing. One face has no interval.
    """
    strangers, found = figures["strangers"], figures["similarity"]
    floor = max(value for name, value in strangers.items() if name != "described" or kind == "near")
    if found["count"] < 2:
        return "undecided"
    if found["high"] <= floor:
        return "yes"
    return "no" if found["low"] > floor else "undecided"
