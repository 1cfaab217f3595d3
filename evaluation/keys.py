"""What someone without the key gets, in the paper's scheme and in ours. No paper has this table.

prompts      the recovered picture under no prompt, a wrong one, one word off, the most common ones
linkage      a gallery of candidate photographs matched to the noise read out of a stego
known pair   one face and its stego known: does that open another stego, under the same nonce and under another?
machines     other threads, batch sizes and half precision at the receiver: noise, or another picture?
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from evaluation import prompts, reversibility
from evaluation.bench import RECOVERED, Bench, Trial, nonce, recover_faces, recovery, trial_of
from evaluation.data import Picture, stack
from evaluation.identity import identify
from evaluation.metrics import mean
from evaluation.noise import lengths_found, linkage, openings
from evaluation.reversibility import ReversibilityOptions, identity_figures
from evaluation.runs import Row, Run, batches
from figures.fidelity import psnrs
from shared.diffusion import keying
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import Noise, face_noise, stego_noise
from shared.diffusion.schemes import SCHEMES, plan_of
from shared.diffusion.walks import HideOptions
from shared.recipe import VERSION

COMPARED = ("paper", "keyed")
MOST = 16  # faces of the tests that take many recoveries each


def run(bench: Bench, schemes: Sequence[str] = COMPARED, halves: Mapping[str, DiffusionModel] | None = None) -> Row:
    """All four tests of each scheme.

    Args:
        halves: the same weights in half precision, by name, for the test of other machines.
    """
    return {scheme: _of_scheme(bench, HideOptions(scheme), halves or {}) for scheme in schemes}


def _of_scheme(bench: Bench, hide: HideOptions, halves: Mapping[str, DiffusionModel]) -> Row:
    options = ReversibilityOptions(hide, degradations=(), degraded_identity=False)
    name, faces, start = f"keys/{hide.scheme}", bench.names, time.process_time()
    table = reversibility.run(bench, options, name=name)
    store = Run(bench.out / name, reversibility.setup_of(bench, options))
    table["common"] = store.part("common", faces[:MOST], lambda: _common_prompts(bench, hide))
    table["linkage"] = store.part("linkage", faces, lambda: _linkage(bench, hide))
    table["known_pair"] = store.part("known_pair", faces[:MOST], lambda: _known_pair(bench, hide))
    made = [faces[: bench.batch], sorted(halves)]
    table["machines"] = store.part("machines", made, lambda: _machines(bench, hide, halves))
    table["cpu_seconds"] += round((time.process_time() - start) / len(faces), 2)
    store.finish(table, bench.provenance())
    return table


def _common_prompts(bench: Bench, options: HideOptions) -> Row:
    """The best that a list of common prompts gives: of all tries on a picture, the largest similarity by each
    recogniser. The maximum of several strangers is larger than one stranger; `strangers_max` says how
    large."""
    count = min(len(bench.faces), MOST)
    best: list[Row] = []
    for indices in batches(range(count), bench.batch):
        trial = trial_of(bench, indices, options)
        known = identify(trial.originals, bench.finder, bench.recognisers)
        tries = []
        for number, text in enumerate(prompts.COMMON):
            bench.progress(
                f"keys/{options.scheme}: common prompts",
                indices[0] * len(prompts.COMMON) + number,
                count * len(prompts.COMMON),
            )
            guess = [text if own != text else prompts.NO_PROMPT for own in trial.prompts]
            pictures = _guessed(bench, trial, guess, f"common {number}")
            tries.append(reversibility.measure(bench, known, trial.originals, pictures))
        best += [_best(own) for own in zip(*tries, strict=True)]
    bench.progress(f"keys/{options.scheme}: common prompts", 1, 1)
    return {
        "tries": len(prompts.COMMON),
        "psnr": mean([row["common"]["psnr"] for row in best], bench.seed).as_dict(),
        "identity": identity_figures(best, "common", bench.calibrations, bench.seed),
        "strangers_max": {
            name: float(np.interp(0.5 ** (1 / len(prompts.COMMON)), np.linspace(0, 1, 101), one.strangers))
            for name, one in bench.calibrations.items()
        },
    }


def _guessed(bench: Bench, trial: Trial, guess: Sequence[str], kind: str) -> Picture:
    return recovery(bench, trial, kind, lambda: recover_faces(bench, trial, trial.stegos, guess))


def _best(tries: Sequence[Row]) -> Row:
    names = {name for one in tries for name in one["similarity"]}
    similarity = {n: max(one["similarity"].get(n, -np.inf) for one in tries) for n in names}
    return {"common": {"psnr": max(one["psnr"] for one in tries), "similarity": similarity}}


def _linkage(bench: Bench, options: HideOptions) -> Row:
    """The right photograph picked for each stego among all faces of the bench, by what both leave in the noise."""
    faces, stegos = [], []
    for indices in batches(range(len(bench.faces)), bench.batch):
        bench.progress(f"keys/{options.scheme}: linkage", indices[0], len(bench.faces))
        trial = trial_of(bench, indices, options)
        faces.append(face_noise(bench.model, trial.originals, trial.prompts, options))
        stegos.append(stego_noise(bench.model, trial.stegos, trial.disguises, options))
    bench.progress(f"keys/{options.scheme}: linkage", 1, 1)
    return linkage(np.concatenate(faces), np.concatenate(stegos), bench.seed, plan_of(bench.model))


def _known_pair(bench: Bench, options: HideOptions) -> Row:
    """What an attacker opens of another face's noise with one pair of the same identity prompt known: cosines, and
    the share of the masked lengths. On the noise itself: channel and solver would only make it worse for him."""
    count = min(len(bench.faces), MOST)
    pictures = stack(bench.faces[:count])
    parts = batches(range(count), bench.batch)
    noises = np.concatenate(
        [face_noise(bench.model, pictures[part], [bench.prompts[i] for i in part], options) for part in parts]
    )
    table: Row = {}
    for name, second in (("same nonce", "one"), ("another nonce", "two")):
        values = [_open_by_pair(bench, options.scheme, noises[i], noises[i - 1], second) for i in range(count)]
        table[name] = {k: mean([one[k] for one in values], bench.seed).as_dict() for k in values[0]}
    return table


def _open_by_pair(bench: Bench, name: str, target: Noise, known: Noise, second: str) -> Mapping[str, float]:
    scheme, plan = SCHEMES[name], plan_of(bench.model)
    prompt = "a prompt of the owner"  # the test plays both sides
    keys = [keying.stretch(prompt, nonce(bench.seed, word, name)) if scheme.keyed else b"" for word in ("one", second)]
    mixed_known, side_known = scheme.mix(bench.model, known, keys[0], VERSION)
    mixed, side = scheme.mix(bench.model, target, keys[1], VERSION)
    found = openings(mixed, target, mixed_known, known, plan)
    if not scheme.lengths:
        return found
    level_known, level = (
        _xor(part, keying.Mixing(plan, key).mask.tobytes()) for part, key in zip((side_known, side), keys, strict=True)
    )
    return {**found, "masked lengths opened": lengths_found(side, side_known, level_known, level)}


def _xor(first: bytes, second: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(first, second, strict=True))


def _machines(bench: Bench, options: HideOptions, halves: Mapping[str, DiffusionModel]) -> Row:
    """PSNR of pictures recovered elsewhere to the originals, and to those recovered as they were hidden."""
    indices = list(range(min(len(bench.faces), bench.batch)))
    trial = trial_of(bench, indices, options)
    bench.progress(f"keys/{options.scheme}: machines", 0, 1)
    clean = reversibility.recovered_under(bench, trial, RECOVERED)
    others = {f"as hidden, batch of {len(indices)}": clean}
    ones = [trial.part(i) for i in range(len(indices))]
    others["batch of one"] = np.concatenate([recover_faces(bench, one, one.stegos, one.prompts) for one in ones])
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        words = f"{torch.get_num_threads()} threads for {threads}"
        others[words] = recover_faces(bench, trial, trial.stegos, trial.prompts)
    finally:
        torch.set_num_threads(threads)
    for name, half in halves.items():
        recipes = [replace(recipe, model=half.fingerprint) for recipe in trial.recipes]
        elsewhere = replace(bench, model=half)
        others[name] = recover_faces(elsewhere, replace(trial, recipes=recipes), trial.stegos, trial.prompts)
    bench.progress(f"keys/{options.scheme}: machines", 1, 1)
    figures = {
        name: {"psnr": _psnr(bench, trial.originals, one), "to_as_hidden": _psnr(bench, clean, one)}
        for name, one in others.items()
    }
    return {"count": len(indices), **figures}


def _psnr(bench: Bench, first: Picture, second: Picture) -> Row:
    return mean(psnrs(first, second), bench.seed).as_dict()
