"""What someone without the key gets, in the paper's scheme and in ours. No paper has this table.

    prompts      the recovered picture under no prompt, a wrong one, one word off, the most common ones
    linkage      a gallery of candidate photographs matched to the noise read out of a stego
    known pair   one face and its stego known: does that open another stego, under the same nonce and under
    another? machines     other threads, batch sizes and half precision at the receiver: noise, or another
    picture?

The attacker knows the method, the model, the recipe and, in the linkage test, even the right identity
prompt's text for every candidate: the test bounds him from above.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dctn

from evaluation import prompts, reversibility
from evaluation.bench import Bench, Trial, hide_faces, nonce, recover_faces
from evaluation.data import stack
from evaluation.identity import identify
from evaluation.metrics import mean, psnr, share
from evaluation.reversibility import ReversibilityOptions, identity_figures
from evaluation.runs import Row, Run, batches
from shared.diffusion import keying
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import HideOptions, Noise, face_noise, stego_noise
from shared.diffusion.schemes import SCHEMES

COMPARED = ("paper", "keyed")
BANDS = 8
Scores = NDArray[np.float64]


def run(bench: Bench, schemes: Sequence[str] = COMPARED, half: DiffusionModel | None = None) -> dict[str, Row]:
    """All four tests of each scheme.

    Args:
        half: the same weights in half precision, for the test of other machines.
    """
    tables = {}
    for scheme in schemes:
        options = ReversibilityOptions(HideOptions(scheme), degradations=(), degraded_identity=False)
        table = reversibility.run(bench, options, name=f"keys/{scheme}")
        store = Run(bench.out / f"keys/{scheme}", reversibility.setup_of(bench, options))
        bench.progress(f"keys/{scheme}: common prompts", 0, len(bench.faces))
        table["common"] = _common_prompts(bench, options.hide)
        bench.progress(f"keys/{scheme}: linkage", 0, len(bench.faces))
        table["linkage"] = _linkage(bench, store, options.hide)
        table["known_pair"] = _known_pair(bench, options.hide)
        bench.progress(f"keys/{scheme}: machines", 0, len(bench.faces))
        table["machines"] = _machines(bench, options.hide, half)
        store.finish(table, bench.provenance())
        tables[scheme] = table
    return tables


def _common_prompts(bench: Bench, options: HideOptions) -> Row:
    """The best that a list of common prompts gives: of all tries on a picture, the largest similarity by each
    recogniser. The maximum of several strangers is larger than one stranger; `strangers_max` says how
    large."""
    count = min(len(bench.faces), 2 * bench.batch)
    best: list[Row] = []
    for indices in batches(range(count), bench.batch):
        trial = hide_faces(bench, indices, options)
        known = identify(trial.originals, bench.finder, bench.recognisers)
        tries = []
        for text in prompts.COMMON:
            guess = [text if own != text else prompts.NO_PROMPT for own in trial.prompts]
            pictures = recover_faces(bench, trial, trial.stegos, guess)
            tries.append(reversibility.measure(bench, known, trial.originals, pictures))
        best += [_best(own) for own in zip(*tries, strict=True)]
    return {
        "tries": len(prompts.COMMON),
        "psnr": mean([row["common"]["psnr"] for row in best], bench.seed).as_dict(),
        "identity": identity_figures(best, "common", bench.calibrations, bench.seed),
        "strangers_max": {
            name: float(np.interp(0.5 ** (1 / len(prompts.COMMON)), np.linspace(0, 1, 101), one.strangers))
            for name, one in bench.calibrations.items()
        },
    }


def _best(tries: Sequence[Row]) -> Row:
    names = {name for one in tries for name in one["similarity"]}
    similarity = {n: max(one["similarity"].get(n, -np.inf) for one in tries) for n in names}
    return {"common": {"psnr": max(one["psnr"] for one in tries), "similarity": similarity}}


def _linkage(bench: Bench, store: Run, options: HideOptions) -> Row:
    """Rank-1 rate with which the right photograph is picked for each stego among all faces of the bench."""
    faces, stegos = [], []
    for indices in batches(range(len(bench.faces)), bench.batch):
        samples = [bench.faces[i] for i in indices]
        keys = [sample.name for sample in samples]
        texts = [bench.prompts[i] for i in indices]
        faces.append(face_noise(bench.model, stack(samples), texts, options))
        disguises = [store.rows[key]["disguise"] for key in keys]
        stegos.append(stego_noise(bench.model, store.load("stego", keys), disguises, options))
    candidates, seen = np.concatenate(faces), np.concatenate(stegos)
    return linkage(candidates, seen, bench.seed)


def linkage(candidates: Noise, seen: Noise, seed: int) -> Row:
    """Match rows of `seen` to rows of `candidates` (equal places belong together) by the noise itself, by its
    absolute values, and by the energies of bands of its spectrum."""
    views = {
        "noise": (_flat(candidates), _flat(seen)),
        "magnitude": (_flat(np.abs(candidates)), _flat(np.abs(seen))),
        "band energies": (band_energies(candidates), band_energies(seen)),
    }
    table: Row = {"gallery": len(candidates), "chance": 1 / len(candidates)}
    for name, (first, second) in views.items():
        scores = correlation(second, first)
        own = np.diag(scores)[:, None]
        rank = (scores > own).sum(axis=1)  # 0: the right one is best
        table[name] = {
            "rank-1": share(rank == 0).as_dict(),
            "mean_percentile": mean(1 - rank / max(1, len(candidates) - 1), seed).as_dict(),
            "own_correlation": mean(np.diag(scores), seed).as_dict(),
        }
    return table


def _flat(noise: Noise) -> Scores:
    flat: Scores = noise.reshape(len(noise), -1)
    return flat


def band_energies(noise: Noise) -> Scores:
    """(B, C * BANDS) log energies in rings of the 2-D DCT, of each channel; relative to the mean of all
    rows."""
    spectrum = dctn(noise, axes=(2, 3), norm="ortho") ** 2
    height, width = noise.shape[2:]
    radius = np.hypot(np.arange(height)[:, None] / height, np.arange(width)[None] / width)
    ring = np.minimum((radius / radius.max() * BANDS).astype(int), BANDS - 1)
    used = [b for b in range(BANDS) if (ring == b).any()]
    energies = np.log(np.stack([spectrum[:, :, ring == b].mean(axis=2) for b in used], 2) + 1e-12)
    flat: Scores = energies.reshape(len(noise), -1)
    relative: Scores = flat - flat.mean(axis=0)
    return relative


def correlation(first: Scores, second: Scores) -> Scores:
    """(N, M) Pearson correlations of rows; 0 where a row is constant."""
    a, b = (part - part.mean(axis=1, keepdims=True) for part in (first, second))
    a, b = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (a, b))
    matrix: Scores = a @ b.T
    return matrix


def _known_pair(bench: Bench, options: HideOptions) -> Row:
    """Cosine between another face's noise and what an attacker reads out of its stego with one pair of the
    same identity prompt known. On the noise itself: channel and solver would only make it worse for him."""
    count = min(len(bench.faces), 2 * bench.batch)
    pictures = stack(bench.faces[:count])
    noises = np.concatenate(
        [
            face_noise(bench.model, pictures[part], [bench.prompts[i] for i in part], options)
            for part in batches(range(count), bench.batch)
        ]
    )
    secret = "a secret of the owner"  # noqa: S105 - of the test, which plays both sides
    table: Row = {}
    for name, second in (("same nonce", "one"), ("another nonce", "two")):
        values = [_open_by_pair(bench, options.scheme, noises[i], noises[i - 1], secret, second) for i in range(count)]
        table[name] = {k: mean([one[k] for one in values], bench.seed).as_dict() for k in values[0]}
    return table


def _open_by_pair(
    bench: Bench, scheme_name: str, target: Noise, known: Noise, prompt: str, second: str
) -> Mapping[str, float]:
    scheme = SCHEMES[scheme_name]
    keys = [
        keying.stretch(prompt, nonce(bench.seed, word, scheme_name)) if scheme.keyed else b""
        for word in ("one", second)
    ]
    mixed_known, _ = scheme.mix(bench.model, known, keys[0])
    mixed, _ = scheme.mix(bench.model, target, keys[1])
    signs = np.sign(known * mixed_known) * mixed
    return {
        "as it is": cosine(mixed, target),
        "signs of the pair": cosine(signs, target),
        "reflection of the pair": cosine(reflected(mixed, mixed_known, known), target),
    }


def cosine(first: Noise, second: Noise) -> float:
    a, b = first.ravel(), second.ravel()
    return float(a @ b / np.maximum(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def reflected(x: Noise, source: Noise, target: Noise) -> Noise:
    """x under the reflection that carries the direction of `source` to that of `target`: the orthogonal map
    of least change that agrees with one known pair."""
    a, b = (part.ravel() / np.linalg.norm(part) for part in (source, target))
    axis = a - b
    length = float(axis @ axis)
    if length < 1e-12:
        return x
    image: Noise = x - (2 * (axis @ x.ravel()) / length * axis).reshape(x.shape)
    return image


def _machines(bench: Bench, options: HideOptions, half: DiffusionModel | None) -> Row:
    """PSNR of pictures recovered elsewhere to the originals, beside those recovered as they were hidden."""
    indices = list(range(min(len(bench.faces), bench.batch)))
    trial = hide_faces(bench, indices, options)
    table: Row = {"count": len(indices), "as hidden": _recovered_psnr(bench, trial)}
    ones = [_recovered_psnr(bench, _part(trial, i))["value"] for i in range(len(indices))]
    table["batch of one"] = mean(ones, bench.seed).as_dict()
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        table[f"{torch.get_num_threads()} threads for {threads}"] = _recovered_psnr(bench, trial)
    finally:
        torch.set_num_threads(threads)
    if half is not None:
        recipes = [replace(recipe, model=half.fingerprint) for recipe in trial.recipes]
        elsewhere = replace(bench, model=half)
        table["half precision"] = _recovered_psnr(elsewhere, replace(trial, recipes=recipes))
    return table


def _part(trial: Trial, i: int) -> Trial:
    here = slice(i, i + 1)
    return replace(
        trial,
        indices=trial.indices[here],
        originals=trial.originals[here],
        prompts=trial.prompts[here],
        stegos=trial.stegos[here],
        recipes=trial.recipes[here],
    )


def _recovered_psnr(bench: Bench, trial: Trial) -> Row:
    pictures = recover_faces(bench, trial, trial.stegos, trial.prompts)
    values = [psnr(a, b) for a, b in zip(trial.originals, pictures, strict=True)]
    return mean(values, bench.seed).as_dict()
