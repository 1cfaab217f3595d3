"""`ddsr bench service`: what the stack takes from the bare core, adds to a request, and holds under load."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import SecretStr

from bench import noop_worker
from bench.client import Caller, all_served, latency, post_all, rate, tally
from bench.faces import PORTRAIT, Faces, load_faces
from bench.measured import Measured, running
from ddsr_client.wire import Request, picture_of
from shared.imaging import decode_upload, encode_picture, fit_square
from shared.jobs import HideRequest, Picture, RecoverRequest
from shared.recipe import Recipe
from worker.engine import Engine

Say = Callable[[str], None]
Ask = Callable[[Picture, SecretStr], HideRequest | RecoverRequest]
IDENTITY = "a photo of a person, blue kettle 77"
DISGUISE = "a dark forest"
CALLS = 4  # of the bare core, a round


@dataclass(frozen=True)
class ServiceOptions:
    """Sizes of the four measurements; `pictures` a round of the throughput, `requests` of the latency."""

    clients: int = 16
    batch: int = 4
    pictures: int = 48
    rounds: int = 3
    requests: int = 60
    in_flight: int = 500
    waves: int = 3
    pause: float = 0.05
    threads: int | None = None
    log: Path | None = None


def run(source: Path | None, options: ServiceOptions, say: Say = lambda text: None) -> dict[str, Any]:
    """All of it. `source`: pipeline folder; None is the embedded model."""
    result = {"latency": added_latency(options), "overload": overload(options)}
    added = {name: f"{result['latency'][name]['added_ms']:.0f} ms" for name in ("hide", "recover")}
    say(f"added latency: {added}")
    say(f"{options.in_flight} in flight: {result['overload']['waves'][-1]}")
    result["throughput"] = throughput(source, options, say)
    return result


def throughput(source: Path | None, options: ServiceOptions, say: Say = lambda text: None) -> dict[str, Any]:
    """Pictures a second of the stack and of the bare core at the same batch size, in turn; also start and memory."""
    from shared.diffusion.model import DiffusionModel
    from shared.diffusion.walks import HideOptions

    model, choice = DiffusionModel.load(source), HideOptions()
    faces = load_faces(options.batch, model.image_size)
    uploads = [encode_picture(picture, "png") for picture in faces.pixels]
    with running(threads=options.threads, model=source, batch=options.batch, log=options.log):
        pass  # the first start reads the disk
    with running(threads=options.threads, model=source, batch=options.batch, log=options.log) as stack:
        fresh = stack.resident()
        rounds = []
        for number in range(options.rounds):
            row = {"stack": _stack_rate(stack, uploads, faces, options), "core": _core_rate(model, faces, choice)}
            row["share"] = row["stack"] / row["core"]
            rounds.append(row)
            say(f"round {number + 1}: stack {row['stack']:.2f}, core {row['core']:.2f} pictures a second")
        return {
            "clients": options.clients,
            "batch": options.batch,
            "rounds": rounds,
            "share": median(row["share"] for row in rounds),
            "ready_seconds": stack.ready_seconds,
            "resident_mib": {"after start": fresh, "after load": stack.resident()},
        }


def _stack_rate(stack: Measured, uploads: list[bytes], faces: Faces, options: ServiceOptions) -> float:
    caller, count = Caller.of(stack.stack), len(uploads)
    requests = [caller.hide(uploads[i % count], IDENTITY, faces.disguises[i % count]) for i in range(options.pictures)]
    start = time.perf_counter()
    answers = post_all(requests, options.clients)
    all_served(answers)
    return rate(answers, start)


def _core_rate(model: Any, faces: Faces, choice: Any) -> float:
    from shared.diffusion.pipeline import hide

    start = time.perf_counter()
    for _ in range(CALLS):
        hide(model, faces.pixels, faces.identities, faces.disguises, choice)
    return CALLS * len(faces.pixels) / (time.perf_counter() - start)


def added_latency(options: ServiceOptions) -> dict[str, Any]:
    """One request after the other through a stack whose core computes nothing, against the call of that core."""
    engine = noop_worker.make_engine(options.batch)
    upload = PORTRAIT.read_bytes()
    result: dict[str, Any] = {"requests": options.requests}
    with running(module="bench.noop_worker", batch=options.batch, log=options.log) as stack:
        caller = Caller.of(stack.stack)
        hide = caller.hide(upload, IDENTITY, DISGUISE)
        stego = picture_of(all_served(post_all([hide], 1))[0])
        recipe = stego.recipe or ""
        calls: dict[str, tuple[Request, bytes, Ask]] = {
            "hide": (hide, upload, lambda picture, secret: HideRequest(picture, secret, DISGUISE)),
            "recover": (
                caller.recover(stego.data, IDENTITY, recipe),
                stego.data,
                lambda picture, secret: RecoverRequest(picture, secret, Recipe.from_text(recipe)),
            ),
        }
        for name, (request, file, ask) in calls.items():
            post_all([request] * 5, 1)
            answers = post_all([request] * options.requests, 1)
            all_served(answers)
            found, direct = latency(answers), _direct(engine, file, ask)
            result[name] = found | {"direct_ms": direct, "added_ms": found["median_ms"] - direct}
    return result


def _direct(engine: Engine, file: bytes, ask: Ask) -> float:
    """Median milliseconds of the same call without a stack: the upload decoded, the engine asked."""
    secret, times = SecretStr(IDENTITY), []
    for _ in range(20):
        start = time.perf_counter()
        picture = Picture.from_array(fit_square(decode_upload(file), noop_worker.SIZE))
        engine.run([ask(picture, secret)], lambda part, step, steps: None)
        times.append((time.perf_counter() - start) * 1000)
    return median(times)


def overload(options: ServiceOptions) -> dict[str, Any]:
    """`in_flight` requests at once, several times: each is served or refused with 503, and memory stays flat."""
    extra = {noop_worker.PAUSE: str(options.pause)}
    upload = PORTRAIT.read_bytes()
    with running(module="bench.noop_worker", batch=options.batch, log=options.log, extra=extra) as stack:
        call = Caller.of(stack.stack).hide(upload, IDENTITY, DISGUISE)
        waves = []
        for _ in range(options.waves):
            found = tally(post_all([call] * options.in_flight, options.in_flight))
            redis = stack.redis()["used_memory"] / 2**20
            waves.append(found | {"resident_mib": stack.resident(), "redis_mib": redis})
    return {"in_flight": options.in_flight, "waves": waves}
