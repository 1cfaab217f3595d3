"""Fig. 7 with services as judges: recovered faces against their originals, and what sets the scale.

Every service is asked about the original with the recovered face, with the stego and, but for `sealed`, which refuses
a wrong prompt, with the picture that one gives; and about pairs of real photographs, of strangers and of one person,
which calibrate its scores as those of the other recognisers are.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import compress

import httpx
import numpy as np
from numpy.typing import NDArray

from evaluation.bench import RECOVERED, Bench, trial_of
from evaluation.calibration import Scored, from_scores
from evaluation.data import Picture, Sample
from evaluation.errors import MaterialMissing, ServiceRefused, ServiceUnavailable
from evaluation.identity import Calibration
from evaluation.metrics import mean, share
from evaluation.reversibility import identity_figures, recovered_under
from evaluation.runs import Row, batches
from evaluation.services.asking import PATIENCE, Bounds, Judge
from evaluation.services.providers import Answer, Service
from shared.diffusion.walks import HideOptions

STEGO, WRONG = "stego", "wrong"


@dataclass(frozen=True)
class ServiceOptions:
    """What to ask. `pairs`: of strangers, for the calibration; half as many pairs show one person."""

    hide: HideOptions
    pairs: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """What each original is compared with."""
        return (RECOVERED, STEGO) if self.hide.scheme == "sealed" else (RECOVERED, STEGO, WRONG)

    def questions(self, faces: int) -> int:
        """The most that one service is asked."""
        return faces * len(self.kinds) + self.pairs + self.pairs // 2


def run(bench: Bench, services: Sequence[Service], options: ServiceOptions, bounds: Bounds) -> None:
    """Ask every service and write its table to `out/services/NAME`. One that fails does not stop the next.

    Raises:
        ServiceRefused, ServiceUnavailable: of a service, after all had their turn; its answers so far are kept.
        MaterialMissing: the faces' identities are not known.
    """
    shown, controls = _pictures(bench, options), _controls(bench, options.pairs)
    failures: list[ServiceRefused | ServiceUnavailable] = []
    with httpx.Client(timeout=PATIENCE) as client:
        for service in services:
            judge = Judge(service, bench.out / "services" / service.name, bounds, client)
            try:
                table = _judged(bench, judge, shown, controls, options)
            except (ServiceRefused, ServiceUnavailable) as error:
                failures.append(error)
                continue
            judge.answers.finish(table, bench.provenance())
    if failures:
        raise type(failures[0])("; ".join(error.detail for error in failures))


def _pictures(bench: Bench, options: ServiceOptions) -> dict[str, Picture]:
    """The originals, and of each kind the pictures beside them, (N, H, W, 3)."""
    parts: dict[str, list[Picture]] = {kind: [] for kind in ("original", *options.kinds)}
    for indices in batches(range(len(bench.faces)), bench.batch):
        trial = trial_of(bench, indices, options.hide)
        parts["original"].append(trial.originals)
        parts[STEGO].append(trial.stegos)
        for kind in set(options.kinds) - {STEGO}:
            parts[kind].append(recovered_under(bench, trial, kind))
    return {kind: np.concatenate(part) for kind, part in parts.items()}


@dataclass(frozen=True)
class _Controls:
    """Pairs of photographs of the gallery, (first, second), by whether they show one person."""

    samples: Sequence[Sample]
    pairs: Sequence[tuple[int, int]]
    together: NDArray[np.bool_]


def _controls(bench: Bench, count: int) -> _Controls:
    owners: dict[str, list[int]] = {}
    for place, sample in enumerate(bench.gallery):
        owners.setdefault(sample.identity or sample.name, []).append(place)
    people = [owners[name] for name in sorted(owners)]
    several = [places for places in people if len(places) > 1]
    if len(people) < 2 or not several:
        raise MaterialMissing("services are calibrated by a set that names at least 20 people, some of them seen twice")
    strangers = _drawn(_strangers(people, np.random.default_rng([bench.seed, 1])), count)
    same = _drawn(_same(several, np.random.default_rng([bench.seed, 2])), count // 2)
    return _Controls(bench.gallery, [*strangers, *same], np.arange(len(strangers) + len(same)) >= len(strangers))


def _drawn(pairs: Iterator[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """The first `count` different pairs; fewer where a small set has no more in many draws."""
    found: dict[tuple[int, int], None] = {}
    for _ in range(20 * count):
        if len(found) == count:
            break
        found[next(pairs)] = None
    return list(found)


def _strangers(people: Sequence[Sequence[int]], rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    while True:
        one, other = rng.choice(len(people), 2, replace=False)
        first, second = sorted((int(rng.choice(people[one])), int(rng.choice(people[other]))))
        yield first, second


def _same(people: Sequence[Sequence[int]], rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    while True:
        places = people[int(rng.integers(len(people)))]
        first, second = sorted(int(place) for place in rng.choice(places, 2, replace=False))
        yield first, second


def _judged(
    bench: Bench, judge: Judge, shown: Mapping[str, Picture], controls: _Controls, options: ServiceOptions
) -> Row:
    photographs = [sample.picture for sample in controls.samples]
    pairs = [(a, b) for kind in options.kinds for a, b in zip(shown["original"], shown[kind], strict=True)]
    pairs += [(photographs[first], photographs[second]) for first, second in controls.pairs]
    answers = []
    for done, (first, second) in enumerate(pairs):
        bench.progress(judge.service.name, done, len(pairs))
        answers.append(judge.ask(first, second))
    bench.progress(judge.service.name, len(pairs), len(pairs))
    count = len(bench.faces)
    asked = {kind: answers[i * count : (i + 1) * count] for i, kind in enumerate(options.kinds)}
    known = answers[len(options.kinds) * count :]
    calibration = _calibrated(judge, controls, known)
    sides = {"same": controls.together, "strangers": ~controls.together}
    hide = options.hide
    return {
        "count": count,
        "sent": judge.sent,
        "top": judge.service.top,
        "hiding": {"scheme": hide.scheme, "solver": hide.resolved_solver, "steps": hide.resolved_steps},
        "calibration": asdict(calibration),
        "asked": {kind: _figures(judge, part, calibration, bench.seed) for kind, part in asked.items()},
        "controls": {word: _scores(list(compress(known, side)), bench.seed) for word, side in sides.items()},
    }


def _calibrated(judge: Judge, controls: _Controls, known: Sequence[Answer]) -> Calibration:
    seen = np.array([one.score is not None for one in known])
    first, second = np.array(controls.pairs, np.intp)[seen].T
    scores = np.array([one.score for one in known if one.score is not None]) / judge.service.top
    pairs = Scored(first, second, controls.together[seen], scores)
    return from_scores(judge.service.name, controls.samples, pairs, undetected=int((~seen).sum()))


def _figures(judge: Judge, answers: Sequence[Answer], calibration: Calibration, seed: int) -> Row:
    """On the service's own scale, and calibrated, as `identity_figures` has it."""
    name, top = judge.service.name, judge.service.top
    rows: list[Row] = [{STEGO: {"similarity": {} if one.score is None else {name: one.score / top}}} for one in answers]
    return {**_scores(answers, seed), **identity_figures(rows, STEGO, {name: calibration}, seed)[name]}


def _scores(answers: Sequence[Answer], seed: int) -> Row:
    """`score` over the answers that have one, `own_verified` where the service names a threshold, and the codes of
    those without a score."""
    scores = [one.score for one in answers if one.score is not None]
    figures: Row = {"no_face": dict(Counter(one.code for one in answers if one.score is None))}
    if scores:
        figures["score"] = mean(scores, seed).as_dict()
    if scores and all(one.threshold is not None for one in answers if one.score is not None):
        verdicts = [
            one.score is not None and one.threshold is not None and one.score >= one.threshold for one in answers
        ]
        figures["own_verified"] = share(verdicts).as_dict()
    return figures
