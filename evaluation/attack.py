"""The recognition attack of Table 2: is a hidden face's owner found in a gallery?

A probe is protected when none of its N nearest gallery pictures shows its identity (PSR rank-N, untargeted).
The gallery holds the other pictures of all identities. A random picture is protected nearly always, so the
table names chance beside every rate, and the share of probes in which no face is found at all.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from evaluation.alignment import FaceFinder
from evaluation.data import Picture, Sample
from evaluation.identity import Identified, identify
from evaluation.metrics import share
from evaluation.recognisers import Recogniser, Vectors
from evaluation.runs import Row

RANKS = (1, 5)


def protected(
    similarity: Vectors, probe_owners: NDArray[np.str_], owners: NDArray[np.str_], rank: int
) -> NDArray[np.bool_]:
    """(P,) whether none of the `rank` most similar gallery pictures shows the probe's identity.

    Args:
        similarity: (P, G), -inf where a gallery picture is the probe's own photograph.
    """
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :rank]
    safe: NDArray[np.bool_] = (owners[nearest] != probe_owners[:, None]).all(axis=1)
    return safe


def chance(gallery: int, own: NDArray[np.int64], rank: int) -> float:
    """Mean protection under a random order, with `own` (P,) pictures of the probe's identity among
    `gallery`."""
    return float(hypergeom.pmf(0, gallery, own, rank).mean())


def recognition_attack(
    probes: Picture,
    indices: Sequence[int],
    faces: Sequence[Sample],
    gallery: Identified,
    finder: FaceFinder,
    recognisers: Sequence[Recogniser],
) -> Row:
    """PSR of probes against the gallery of all `faces`; probe i was made from the face at `indices[i]`, whose own
    photograph is left out.

    A probe without a face of its own is aligned where the original's face was: the attacker who knows the
    method may do that, and every probe then has a place in the ranking.
    """
    found = finder.find(probes)
    shown = [one.shows_face for one in found]
    used = [own if own.face is not None else gallery.found[i] for own, i in zip(found, indices, strict=True)]
    owners = np.array([sample.identity or sample.name for sample in faces])
    embedded = identify(probes, finder, recognisers, borrowed=used)
    table: Row = {"no_face_found": share([not one for one in shown]).as_dict(), "recognisers": {}}
    for recogniser in recognisers:
        table["recognisers"][recogniser.name] = _rates(recogniser, embedded, gallery, owners, indices)
    return table


def _rates(
    recogniser: Recogniser,
    probes: Identified,
    gallery: Identified,
    owners: NDArray[np.str_],
    indices: Sequence[int],
) -> Row:
    first, second = probes.vectors[recogniser.name], gallery.vectors[recogniser.name]
    rows = np.flatnonzero(~np.isnan(first[:, 0]))
    columns = np.flatnonzero(~np.isnan(second[:, 0]))
    similarity = recogniser.similarity(first[rows], second[columns])
    own_picture = np.asarray(indices)[rows]
    similarity[own_picture[:, None] == columns[None]] = -np.inf
    probe_owners = owners[own_picture]
    own = (owners[columns][None] == probe_owners[:, None]).sum(axis=1) - 1
    rates: Row = {}
    for rank in RANKS:
        safe = protected(similarity, probe_owners, owners[columns], rank)
        rates[f"rank-{rank}"] = share(safe).as_dict()
        rates[f"rank-{rank}-chance"] = chance(len(columns) - 1, own, rank)
    return {**rates, "gallery": len(columns) - 1, "own_mean": float(own.mean())}
