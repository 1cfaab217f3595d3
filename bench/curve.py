"""The time-accuracy curve: network evaluations against PSNR, for every solver and number of steps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.faces import Faces, Pixels, load_faces, through_file
from bench.timing import timed
from figures.evaluations import evaluations
from figures.fidelity import psnrs
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import hide, recover
from shared.diffusion.solvers import SOLVERS
from shared.diffusion.walks import HideOptions
from shared.errors import SolverError
from shared.limits import DEFAULT_SCHEME

Say = Callable[[str], None]


@dataclass(frozen=True)
class CurveOptions:
    """`limit`: a solver's steps end before hide and recover together take more evaluations. `quality`: of the JPEG."""

    steps: Sequence[int] = (3, 4, 5, 6, 8, 10, 14, 20)
    limit: int = 160
    faces: int = 4
    quality: int = 40
    scheme: str = DEFAULT_SCHEME
    seed: int = 0


def run(model: DiffusionModel, options: CurveOptions, say: Say = lambda text: None) -> dict[str, Any]:
    """Every solver of the product, whatever it is called."""
    faces = load_faces(options.faces, model.image_size, options.seed)
    points, failed = [], []
    for solver in SOLVERS:
        for point in _solver(model, faces, solver, options):
            if "error" in point:
                failed.append(point)
                continue
            points.append(point)
            say(
                f"{solver}, {point['steps']} steps: {point['hide']} + {point['recover']} evaluations, "
                f"{point['psnr_db']:.2f} dB, {point['jpeg_db']:.2f} dB after JPEG {options.quality}"
            )
    ceiling = float(np.mean(psnrs(faces.pixels, model.decode(model.encode(faces.pixels)))))
    return {
        "faces": faces.source,
        "count": options.faces,
        "ceiling_db": ceiling,
        "quality": options.quality,
        "points": points,
        "failed": failed,
    }


def _solver(model: DiffusionModel, faces: Faces, solver: str, options: CurveOptions) -> Iterator[dict[str, Any]]:
    for steps in options.steps:
        try:
            point = _point(model, faces, HideOptions(options.scheme, solver, steps), options.quality)
        except SolverError as error:  # too few steps for an implicit solver
            yield {"solver": solver, "steps": steps, "error": error.detail}
            continue
        if point["hide"] + point["recover"] > options.limit:
            return
        yield point


def _point(model: DiffusionModel, faces: Faces, options: HideOptions, quality: int) -> dict[str, Any]:
    hidden = []
    with evaluations(model.unet, len(faces.pixels)) as count:
        hide_time = timed(
            lambda: hidden.extend(
                hide(model, faces.pixels, faces.identities, faces.disguises, options, nonces=faces.nonces)
            )
        )
    hide_count = count[0]
    recipes = [one.recipe for one in hidden]
    stegos = [one.stego for one in hidden]

    def back(pictures: Pixels) -> float:
        return float(np.mean(psnrs(faces.pixels, recover(model, pictures, faces.identities, recipes))))

    found: list[float] = []
    with evaluations(model.unet, len(faces.pixels)) as count:
        recover_time = timed(lambda: found.append(back(through_file(stegos))))
    return {
        "solver": options.resolved_solver,
        "steps": options.resolved_steps,
        "hide": hide_count,
        "recover": count[0],
        "hide_seconds": hide_time.cpu / len(stegos),
        "recover_seconds": recover_time.cpu / len(stegos),
        "psnr_db": found[0],
        "jpeg_db": back(through_file(stegos, "jpeg", quality)),
    }
