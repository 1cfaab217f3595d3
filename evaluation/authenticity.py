"""The scheme `sealed` through its channels: what is let go, what arrives, how good the face is, and what is refused.

One row a face and channel. Faces whose sender found no stego that survives the channel have a row without figures; they
count against `let_go`, and against nothing else. What arrives beyond repair counts against `authentic` alone.
"""

import time
from collections.abc import Sequence

import numpy as np

from evaluation import prompts
from evaluation.bench import Bench, nonce
from evaluation.data import Picture, stack
from evaluation.degradations import BEYOND, CLEAN, TABLE_4, Degradation, degrade
from evaluation.identity import Identified, identify
from evaluation.metrics import mean, share
from evaluation.reversibility import identity_figures, measure
from evaluation.runs import Row, Run, batches
from figures.evaluations import evaluations
from shared.diffusion.channels import CHANNELS, jpeg
from shared.diffusion.pipeline import Hidden, Recovered, hide_each, recover_each
from shared.diffusion.sealed import rate_of
from shared.diffusion.walks import HideOptions
from shared.errors import DdsrError

JPEG_95 = Degradation("jpeg", 95, lambda picture, _: jpeg(picture, 95))
_BY_NAME = {one.name: one for one in (CLEAN, JPEG_95, *TABLE_4, *BEYOND)}
_THROUGH = {
    "lossless": ("none", "salt-pepper 0.01", "salt-pepper 0.02"),
    "jpeg": ("none", "jpeg 95", "webp 80", "jpeg 80"),
    "messenger": ("jpeg 40", "noise 10", "resize 0.75"),
    "degraded": ("jpeg 20", "noise 20", "noise 30"),
}
WRONG = ("wrong", "near", "none")  # prompts that are not the face's


def run(bench: Bench, channels: Sequence[str] = tuple(CHANNELS), steps: int | None = None) -> Row:
    """Measure every face of the bench in every channel, going on where an earlier run stopped; write the table."""
    table: Row = {"count": len(bench.faces), "channels": {}}
    for name in channels:
        options = HideOptions("sealed", steps=steps, channel=name)
        words = [options.resolved_solver, options.resolved_steps, name, *_THROUGH[name]]
        names = [recogniser.name for recogniser in bench.recognisers]
        store = Run(bench.out / "sealed" / name, {**bench.setup(), "options": words, "recognisers": names})
        todo = store.missing(bench.names)
        for indices in batches(todo, bench.batch):
            bench.progress(f"sealed {name}", len(bench.faces) - len(todo), len(bench.faces))
            store.add(_rows(bench, store, indices, options))
        table["channels"][name] = summary(bench, [store.rows[key] for key in bench.names], options)
    Run(bench.out / "sealed" / "all", bench.setup()).finish(table, bench.provenance())
    return table


def _rows(bench: Bench, store: Run, indices: Sequence[int], options: HideOptions) -> list[Row]:
    samples = [bench.faces[i] for i in indices]
    identity = [prompts.identity(sample.fields) for sample in samples]
    scenes, disguises = zip(*(prompts.disguise(i) for i in indices), strict=True)
    nonces = [nonce(bench.seed, sample.name, f"sealed {options.channel}") for sample in samples]
    start = time.process_time()
    ends = hide_each(bench.model, stack(samples), identity, disguises, options, nonces=nonces)
    seconds = (time.process_time() - start) / len(indices)
    rows: list[Row] = [
        {"key": sample.name, "scene": scene, "let_go": isinstance(end, Hidden), "hide_cpu_seconds": round(seconds, 3)}
        for sample, scene, end in zip(samples, scenes, ends, strict=True)
    ]
    sent = [place for place, end in enumerate(ends) if isinstance(end, Hidden)]
    if sent:
        hidden = [end for end in ends if isinstance(end, Hidden)]
        store.save("stego", [rows[place]["key"] for place in sent], np.stack([one.stego for one in hidden]))
        trial = _Trial(bench, [indices[place] for place in sent], hidden)
        for place, part in zip(sent, trial.rows(options), strict=True):
            rows[place].update(part)
    return rows


class _Trial:
    """Faces that were let go, with what their receivers make of them."""

    def __init__(self, bench: Bench, indices: Sequence[int], hidden: Sequence[Hidden]) -> None:
        self.bench, self.indices, self.hidden = bench, indices, hidden
        self.originals = stack([bench.faces[i] for i in indices])
        self.stegos = np.stack([one.stego for one in hidden])
        self.prompts = [bench.prompts[i] for i in indices]

    def rows(self, options: HideOptions) -> list[Row]:
        bench, known = self.bench, identify(self.originals, self.bench.finder, self.bench.recognisers)
        rows: list[Row] = [
            {
                "draws": one.draws,
                "evaluations": one.evaluations,
                "rate": one.recipe.rate,
                "bytes": rate_of(bench.model, one.recipe.rate).payload_bytes(int(np.prod(bench.model.latent_shape))),
            }
            for one in self.hidden
        ]
        for name in _THROUGH[options.channel]:
            names = [bench.faces[i].name for i in self.indices]
            arrived = degrade(self.stegos, _BY_NAME[name], names, bench.seed)
            _add(rows, name, self._through(known, arrived))
        _add(rows, "refused", self._refusals())
        return rows

    def _through(self, known: Identified, arrived: Picture) -> list[Row]:
        """Of each stego that arrived: whether it opens, and if so the face's figures."""
        start = time.process_time()
        with evaluations(self.bench.model.unet, len(arrived)) as calls:
            ends = self._recover(arrived, self.prompts)
        seconds = round((time.process_time() - start) / len(arrived), 3)
        rows: list[Row] = [{"authentic": isinstance(end, Recovered)} for end in ends]
        good = [place for place, end in enumerate(ends) if isinstance(end, Recovered)]
        if good:
            faces = np.stack([end.face for end in ends if isinstance(end, Recovered)])
            for place, more in zip(
                good, measure(self.bench, known.part(good), self.originals[good], faces), strict=True
            ):
                rows[place].update(more, evaluations=calls[0], cpu_seconds=seconds)
        return rows

    def _refusals(self) -> list[Row]:
        texts = {
            "wrong": [self.bench.others(i) for i in self.indices],
            "near": [prompts.near(text) for text in self.prompts],
            "none": [prompts.NO_PROMPT] * len(self.indices),
        }
        ends = {kind: self._recover(self.stegos, texts[kind]) for kind in WRONG}
        return [
            {kind: isinstance(found[place], DdsrError) for kind, found in ends.items()}
            for place in range(len(self.indices))
        ]

    def _recover(self, stegos: Picture, texts: Sequence[str]) -> Sequence[Recovered | DdsrError]:
        return recover_each(self.bench.model, stegos, texts, [one.recipe for one in self.hidden])


def _add(rows: Sequence[Row], name: str, parts: Sequence[Row]) -> None:
    for row, part in zip(rows, parts, strict=True):
        row[name] = part


def summary(bench: Bench, rows: Sequence[Row], options: HideOptions) -> Row:
    """Figures of the rows of one channel."""
    sent, seed = [row for row in rows if row["let_go"]], bench.seed
    table: Row = {
        "steps": options.resolved_steps,
        "let_go": share([row["let_go"] for row in rows]).as_dict(),
        "hide_cpu_seconds": mean([row["hide_cpu_seconds"] for row in rows], seed).as_dict(),
        "first_draw": share([row["let_go"] and row["draws"] == 1 for row in rows]).as_dict(),
    }
    if sent:
        table["draws"] = mean([row["draws"] for row in sent], seed).as_dict()
        table["bytes"] = mean([row["bytes"] for row in sent], seed).as_dict()
        table["refused"] = {kind: share([row["refused"][kind] for row in sent]).as_dict() for kind in WRONG}
        table["through"] = {name: _arrived(bench, sent, name) for name in _THROUGH[options.channel]}
    return table


def _arrived(bench: Bench, rows: Sequence[Row], name: str) -> Row:
    good, seed = [row for row in rows if row[name]["authentic"]], bench.seed
    found: Row = {"authentic": share([row[name]["authentic"] for row in rows]).as_dict()}
    if good:
        for what in ("psnr", "ssim", "cpu_seconds"):
            found[what] = mean([row[name][what] for row in good], seed).as_dict()
        found["evaluations"] = good[0][name]["evaluations"]
        found["identity"] = identity_figures(good, name, bench.calibrations, seed)
    return found
