"""`ddsr bench service`: what the stack takes from the bare core, adds to a request, and holds under load."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import SecretStr

from bench import noop_worker
from bench.client import Answer, Call, hide_call, latency, post_all, rate, recover_call, tally
from bench.faces import PORTRAIT, Faces, load_faces
from bench.measured import Measured, running
from shared.imaging import decode_upload, encode_picture, fit_square
from shared.jobs import HideRequest, Picture, RecoverRequest
from shared.recipe import Recipe
from worker.engine import Engine

Say = Callable[[str], None]
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
    base = stack.stack.sender_url
    calls = [
        hide_call(base, uploads[i % len(uploads)], IDENTITY, faces.disguises[i % len(uploads)])
        for i in range(options.pictures)
    ]
    start = time.perf_counter()
    answers = post_all(calls, options.clients)
    _all_served(answers)
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
        first = _all_served(post_all([hide_call(stack.stack.sender_url, upload, IDENTITY, DISGUISE)], 1))[0]
        calls = {
            "hide": hide_call(stack.stack.sender_url, upload, IDENTITY, DISGUISE),
            "recover": recover_call(stack.stack.receiver_url, first.content, IDENTITY, first.recipe),
        }
        for name, call in calls.items():
            post_all([call] * 5, 1)
            found = latency(_all_served(post_all([call] * options.requests, 1)))
            direct = _direct(engine, call)
            result[name] = found | {"direct_ms": direct, "added_ms": found["median_ms"] - direct}
    return result


def _direct(engine: Engine, call: Call) -> float:
    """Median milliseconds of the same call without a stack: the upload decoded, the engine asked."""
    secret, times = SecretStr(IDENTITY), []
    for _ in range(20):
        start = time.perf_counter()
        picture = Picture.from_array(fit_square(decode_upload(call.picture), noop_worker.SIZE))
        request: HideRequest | RecoverRequest = (
            RecoverRequest(picture, secret, Recipe.from_text(call.form["recipe"]))
            if "recipe" in call.form
            else HideRequest(picture, secret, DISGUISE)
        )
        engine.run([request], lambda part, step, steps: None)
        times.append((time.perf_counter() - start) * 1000)
    return median(times)


def overload(options: ServiceOptions) -> dict[str, Any]:
    """`in_flight` requests at once, several times: each is served or refused with 503, and memory stays flat."""
    extra = {noop_worker.PAUSE: str(options.pause)}
    upload = PORTRAIT.read_bytes()
    with running(module="bench.noop_worker", batch=options.batch, log=options.log, extra=extra) as stack:
        call = hide_call(stack.stack.sender_url, upload, IDENTITY, DISGUISE)
        waves = []
        for _ in range(options.waves):
            found = tally(post_all([call] * options.in_flight, options.in_flight))
            redis = stack.redis()["used_memory"] / 2**20
            waves.append(found | {"resident_mib": stack.resident(), "redis_mib": redis})
    return {"in_flight": options.in_flight, "waves": waves}


def _all_served(answers: list[Answer]) -> list[Answer]:
    """Raises RuntimeError when an answer is no picture: then there is nothing to time."""
    for answer in answers:
        if answer.status != 200:
            raise RuntimeError(f"the stack answered {answer.status} {answer.problem}")
    return answers
