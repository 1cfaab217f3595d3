"""What the latent noise gives away: a gallery matched to it, and one known pair used to open another stego.

The attacker knows the method, the model, the recipe and, for linkage, even the right identity prompt's text for every
candidate; walks on his side are ours. The tests bound him from above.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from evaluation.metrics import mean, share
from evaluation.runs import Row
from shared.diffusion.keying import GROUP, MixingPlan, from_coordinates, to_coordinates
from shared.diffusion.pipeline import Noise

BANDS = 8
Scores = NDArray[np.float64]


def linkage(candidates: Noise, seen: Noise, seed: int, plan: MixingPlan | None = None) -> Row:
    """Match rows of `seen` to rows of `candidates` (equal places belong together) by the noise itself, by its
    absolute values, by the energies of bands of its spectrum, and by the lengths of the plan's groups, which are what
    a rotation inside groups would leave as it was."""
    views = {
        "noise": (_flat(candidates), _flat(seen)),
        "magnitude": (_flat(np.abs(candidates)), _flat(np.abs(seen))),
        "band energies": (band_energies(candidates), band_energies(seen)),
    }
    if plan is not None:
        views["group lengths"] = (
            group_lengths(candidates, plan.face_order),
            group_lengths(seen, plan.stego_order),
        )
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
    """Rows relative to their mean: what all have in common tells nobody apart."""
    flat: Scores = noise.reshape(len(noise), -1) - noise.reshape(len(noise), -1).mean(axis=0)
    return flat


def band_energies(noise: Noise) -> Scores:
    """(B, C * BANDS) log energies in rings of the 2-D DCT, of each channel; relative to the mean of all rows."""
    spectrum = dctn(noise, axes=(2, 3), norm="ortho") ** 2
    height, width = noise.shape[2:]
    radius = np.hypot(np.arange(height)[:, None] / height, np.arange(width)[None] / width)
    ring = np.minimum((radius / radius.max() * BANDS).astype(int), BANDS - 1)
    used = [b for b in range(BANDS) if (ring == b).any()]
    energies = np.log(np.stack([spectrum[:, :, ring == b].mean(axis=2) for b in used], 2) + 1e-12)
    flat: Scores = energies.reshape(len(noise), -1)
    relative: Scores = flat - flat.mean(axis=0)
    return relative


def group_lengths(noise: Noise, order: NDArray[np.intp]) -> Scores:
    """(B, groups) log lengths of the mixing's groups of coordinates; relative to the mean of all rows."""
    groups = np.stack([to_coordinates(one)[order].reshape(-1, GROUP) for one in noise])
    lengths = np.log(np.linalg.norm(groups, axis=2) + 1e-12)
    relative: Scores = lengths - lengths.mean(axis=0)
    return relative


def correlation(first: Scores, second: Scores) -> Scores:
    """(N, M) Pearson correlations of rows; 0 where a row is constant."""
    a, b = (part - part.mean(axis=1, keepdims=True) for part in (first, second))
    a, b = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (a, b))
    matrix: Scores = a @ b.T
    return matrix


def cosine(first: Noise, second: Noise) -> float:
    a, b = first.ravel(), second.ravel()
    return float(a @ b / np.maximum(np.linalg.norm(a) * np.linalg.norm(b), 1e-12))


def openings(mixed: Noise, target: Noise, mixed_known: Noise, known: Noise, plan: MixingPlan) -> Mapping[str, float]:
    """Cosine to the target's noise of what an attacker makes of its mixed noise with one known pair, in four ways.
    All of shape (C, h, w)."""
    return {
        "as it is": cosine(mixed, target),
        "signs of the pair": cosine(np.sign(known * mixed_known) * mixed, target),
        "reflection of the pair": cosine(reflected(mixed, mixed_known, known), target),
        "directions of the pair's groups": cosine(turned_back(mixed, mixed_known, known, plan), target),
    }


def reflected(x: Noise, source: Noise, target: Noise) -> Noise:
    """x under the reflection that carries the direction of `source` to that of `target`: the orthogonal map of least
    change that agrees with one known pair."""
    a, b = (part.ravel() / np.linalg.norm(part) for part in (source, target))
    axis = a - b
    length = float(axis @ axis)
    if length < 1e-12:
        return x
    image: Noise = x - (2 * (axis @ x.ravel()) / length * axis).reshape(x.shape)
    return image


def turned_back(mixed: Noise, mixed_known: Noise, known: Noise, plan: MixingPlan) -> Noise:
    """What one pair tells of a rotation inside groups: the part of each group along the known direction. Of GROUP
    dimensions that is one, so about 1 / sqrt(GROUP) of the cosine under the same rotations."""
    x, source = (to_coordinates(part)[plan.stego_order].reshape(-1, GROUP) for part in (mixed, mixed_known))
    image = to_coordinates(known)[plan.face_order].reshape(-1, GROUP)
    along = (x * source).sum(axis=1, keepdims=True) / np.maximum((source**2).sum(axis=1, keepdims=True), 1e-12)
    out = np.empty(x.size)
    out[plan.face_order] = (along * image).ravel()
    return from_coordinates(out, plan.shape)


def lengths_found(side: bytes, side_known: bytes, level_known: bytes, level: bytes) -> float:
    """Share of the target's masked lengths that one pair opens: it gives the mask, if the mask is the same."""
    parts = (np.frombuffer(part, np.uint8) for part in (side, side_known, level_known, level))
    masked, masked_known, plain_known, plain = parts
    return float((masked ^ masked_known ^ plain_known == plain).mean())
