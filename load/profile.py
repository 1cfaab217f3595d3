"""The callers, for locust: `python -m load` runs it with the addresses of its own stack in the environment.

Every caller does one of a dozen things at a time and sees each of its jobs to the end. What it saw goes into the
ledgers (`load.accounts`) of the folder `DDSR_LOAD_FOLDER`. Good forms are the client's; what a client would never send
is made here.
"""

import io
import os
import random
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import requests
from locust import HttpUser, between, events, task
from PIL import Image

from ddsr_client.core import Core
from ddsr_client.models import Kind
from ddsr_client.retry import Retry
from ddsr_client.secret import Secret
from ddsr_client.settings import make_settings
from ddsr_client.sse import EventParser
from ddsr_client.wire import Request, job_of
from load.accounts import note

SENDER, RECEIVER = os.environ["DDSR_LOAD_SENDER"], os.environ["DDSR_LOAD_RECEIVER"]
KEY = {"X-API-Key": os.environ["DDSR_LOAD_KEY"]}
FOLDER = Path(os.environ["DDSR_LOAD_FOLDER"])
CORE = Core(make_settings(SENDER, RECEIVER, None, None, False), Retry(tries=0))
PATIENCE = 120  # seconds for a job's end
WAIT = "wait=60"
MODEL_SIDE = 32
Form = dict[str, Any]  # keyword arguments of a request: data, files, headers, params


@events.request.add_listener
def on_request(
    name: str, response_time: float, response: Any, exception: Any, context: dict[str, Any], **_: Any
) -> None:
    status = getattr(response, "status_code", 0)
    failed = str(exception) if exception is not None else None
    note(FOLDER, "requests", name=name, ms=round(response_time, 2), status=status, failed=failed, **context)


@events.user_error.add_listener
def on_user_error(exception: Exception, **_: Any) -> None:
    claim(False, f"{type(exception).__name__}: {exception}")


def claim(good: bool, what: str) -> None:
    """What ought to be so."""
    if not good:
        note(FOLDER, "broken", what=what)


def _photograph(rng: np.random.Generator, width: int, height: int) -> bytes:
    """A picture that has to be fitted, as PNG, JPEG or WebP."""
    rough = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    form = ("PNG", "JPEG", "WEBP")[rng.integers(3)]
    Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC).save(file, form)
    return file.getvalue()


_RNG = np.random.default_rng(0)
PHOTOGRAPHS = [_photograph(_RNG, *map(int, _RNG.integers(64, 400, 2))) for _ in range(24)]
PHOTOGRAPHS.append(_photograph(_RNG, 4000, 3000))  # as a telephone makes them
BOMB = io.BytesIO()
Image.new("P", (8000, 8000)).save(BOMB, "PNG")


def hide_form(prompt: str, disguise: str = "a hill", steps: int = 1) -> Form:
    """A good form of `POST /hide` with some photograph."""
    return _form(
        CORE.hide_request(
            random.choice(PHOTOGRAPHS),
            Secret(prompt),
            disguise,
            scheme=None,
            channel=None,
            face_size=None,
            steps=steps,
            format="png",
            crop="auto",
            webhook=None,
            idempotency_key=None,
        )
    )


def recover_form(stego: bytes, prompt: str, recipe: str) -> Form:
    """A good form of `POST /recover`."""
    return _form(
        CORE.recover_request(
            stego, Secret(prompt), recipe=recipe, decoy=False, format="png", webhook=None, idempotency_key=None
        )
    )


def _form(request: Request) -> Form:
    found = request.arguments()
    return {"data": found["data"], "files": found["files"]}


class Caller(HttpUser):
    """Somebody with a key who hides, recovers, follows, cancels, errs and leaves."""

    host = SENDER
    wait_time = between(0.0, 0.2)

    def ask(self, method: str, kind: Kind, path: str, name: str, expected: set[int], **options: Any) -> Any:
        """One request. Another status than an expected one is a failure of the run."""
        headers = {**KEY, **options.pop("headers", {})}
        base, service = (SENDER, "sender") if kind == "hide" else (RECEIVER, "receiver")
        known = {"name": name, "context": {"service": service}, "timeout": 180, "catch_response": True}
        with self.client.request(method, base + path, headers=headers, **known, **options) as response:
            if response.status_code in expected:
                response.success()
            else:
                what = response.error or ("" if response.content[:1] == b"\x89" else response.text)
                response.failure(f"{response.status_code} {what!s:.300}")
        return response

    def submit(self, kind: Kind, name: str, expected: set[int], prefer: str, form: Form) -> Any:
        """`POST /hide` or `/recover`; an accepted job goes into the ledger, with its end where that is known."""
        response = self.ask("POST", kind, f"/{kind}", name, expected, **_with(form, Prefer=prefer))
        job = response.headers.get("DDSR-Job") if response.status_code in (200, 202) else None
        if job is not None:
            self.saw(kind, job, "accepted")
            if response.status_code == 200:
                self.saw(kind, job, "done")
        return response

    def saw(self, kind: Kind, job: str, event: str) -> None:
        note(FOLDER, "jobs", job=job, kind=kind, event=event)

    def job(self, kind: Kind, job: str, part: str, name: str, expected: set[int], **options: Any) -> Any:
        return self.ask("GET", kind, f"/jobs/{job}{part}", name, expected, **options)

    def follow(self, kind: Kind, job: str) -> str:
        """Ask until the job has ended; its end goes into the ledger."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            response = self.job(kind, job, "", "job: wait", {200}, params={"wait": 10})
            if response.status_code == 200 and (found := job_of(200, response.content)).ended:
                self.saw(kind, job, found.state)
                return found.state
        return ""

    def hide_later(self, **changes: Any) -> str | None:
        """The job of a hiding that is not waited for; None where it was not accepted."""
        form = hide_form(f"a person, {secrets.token_hex(8)}", **changes)
        hidden = self.submit("hide", "hide: respond-async", {202}, "respond-async", form)
        return hidden.headers["DDSR-Job"] if hidden.status_code == 202 else None

    def see_through(self, kind: Kind, response: Any) -> None:
        """The end of a job whose answer was late."""
        if response.status_code == 202:
            self.follow(kind, response.headers["DDSR-Job"])

    @task(10)
    def there_and_back(self) -> None:
        prompt = f"a person, {secrets.token_hex(8)}"
        hidden = self.submit("hide", "hide: wait", {200, 202}, WAIT, hide_form(prompt))
        if hidden.status_code != 200:
            return self.see_through("hide", hidden)
        form = recover_form(hidden.content, prompt, hidden.headers["DDSR-Recipe"])
        face = self.submit("recover", "recover: wait", {200, 202}, WAIT, form)
        if face.status_code != 200:
            return self.see_through("recover", face)
        with Image.open(io.BytesIO(face.content)) as picture:
            claim(picture.size == (MODEL_SIDE, MODEL_SIDE), "a recovered face has the model's size")
        return None

    @task(4)
    def ask_later(self) -> None:
        """202, wait for the end, fetch the result twice."""
        job = self.hide_later()
        if job is not None and self.follow("hide", job) == "done":
            first = self.job("hide", job, "/result", "job: result", {200})
            again = self.job("hide", job, "/result", "job: result", {200})
            claim(first.content == again.content, "a second reading gives the same picture")
            form = recover_form(first.content, "another prompt", first.headers["DDSR-Recipe"])
            later = self.submit("recover", "recover: respond-async", {202}, "respond-async", form)
            self.see_through("recover", later)

    @task(2)
    def listen(self) -> None:
        """Server-sent events up to the last one."""
        job = self.hide_later()
        if job is not None:
            stream, parser = self.job("hide", job, "/events", "job: events", {200}), EventParser()
            heard = [event for line in stream.text.splitlines() if (event := parser.feed(line)) is not None]
            last = job_of(200, heard[-1].data) if heard else None
            if last is not None and last.ended:
                self.saw("hide", job, last.state)
            else:
                self.follow("hide", job)

    @task(3)
    def change_mind(self) -> None:
        """Cancel at once or a little later; whatever was first counts."""
        job = self.hide_later(steps=20)
        if job is not None:
            time.sleep(random.choice((0, 0.2, 1.0)))
            ended = self.ask("DELETE", "hide", f"/jobs/{job}", "job: cancel", {200})
            if ended.status_code == 200:
                state = job_of(200, ended.content).state
                late = state == "expired"  # it was done before, and its result was dropped
                self.saw("hide", job, "done" if late else state)
                self.job("hide", job, "/result", "job: result of a cancelled one", {410 if late else 409})

    @task(2)
    def say_it_twice(self) -> None:
        """One idempotency key, three times: the job, a conflict or its replay, its replay."""
        form = _with(hide_form("p"), **{"Idempotency-Key": secrets.token_hex(16)})
        first = self.submit("hide", "hide: respond-async", {202}, "respond-async", form)
        if first.status_code != 202:
            return
        job = first.headers["DDSR-Job"]
        waiting = _with(form, Prefer=WAIT)
        again = self.ask("POST", "hide", "/hide", "hide: same key", {200, 409}, **waiting)
        claim(again.status_code == 409 or again.headers["DDSR-Job"] == job, "one key, one job")
        if self.follow("hide", job) == "done":
            replay = self.ask("POST", "hide", "/hide", "hide: same key", {200}, **waiting)
            claim(replay.headers.get("DDSR-Job") == job, "a replay is the first job")

    @task(1)
    def leave(self) -> None:
        """Hang up in the middle of a wait; the key leads back to the job, which was not cancelled."""
        form = _with(hide_form("p", steps=20), **{"Idempotency-Key": secrets.token_hex(16), **KEY})
        status, start = 0, time.monotonic()
        with suppress(requests.RequestException):
            status = requests.post(f"{SENDER}/hide", timeout=0.5, **_with(form, Prefer=WAIT)).status_code
        ms = 1000 * (time.monotonic() - start)
        note(FOLDER, "requests", name="hide: hang up", ms=round(ms, 2), status=status, failed=None, service="sender")
        deadline, back = time.monotonic() + PATIENCE, _with(form, Prefer="wait=10")
        while time.monotonic() < deadline:  # the request may not even have arrived: then this one makes the job
            found = self.ask("POST", "hide", "/hide", "hide: come back", {200, 202, 409}, **back)
            job = found.headers.get("DDSR-Job") or (found.json().get("job") if found.status_code == 409 else None)
            if job is None:
                return
            self.saw("hide", job, "accepted")
            if self.follow("hide", job):
                return

    @task(6)
    def err(self) -> None:
        """Whatever a careless or malicious caller sends; each has its one answer."""
        name, status, form = random.choice(list(_bad_forms(hide_form("p"))))
        self.ask("POST", "hide", "/hide", f"bad: {name}", {status}, **form)
        self.job("recover", secrets.token_hex(16), "", "bad: unknown job", {404})

    @task(1)
    def say_too_much(self) -> None:
        """Few characters and many tokens: only the worker can know, so the job is accepted and fails."""
        job = self.hide_later(disguise="\u9854" * 80)
        if job is not None and self.follow("hide", job) == "failed":
            self.job("hide", job, "/result", "job: result of a failed one", {422})


def _bad_forms(good: Form) -> list[tuple[str, int, Form]]:
    """Name, status that is due, and form of every mistake."""
    data, photograph = good["data"], good["files"]["image"]
    return [
        ("no picture", 415, {**good, "files": {"image": ("face", b"hello")}}),
        ("truncated picture", 422, {**good, "files": {"image": ("face", PHOTOGRAPHS[0][:-100])}}),
        ("bomb", 413, {**good, "files": {"image": ("face", BOMB.getvalue())}}),
        ("missing field", 422, {"data": {"identity_prompt": "p"}, "files": {"image": photograph}}),
        ("prompt too long", 422, {**good, "data": {**data, "identity_prompt": "p" * 300}}),
        ("steps", 422, {**good, "data": {**data, "steps": "0"}}),
        ("media type", 415, {"json": data}),
        ("secret in query", 400, {**good, "params": {"identity_prompt": "p"}}),
        ("wrong size", 422, {**good, "data": {**data, "crop": "none"}}),
        ("key", 401, {**good, "headers": {"X-API-Key": "wrong"}}),
    ]


def _with(form: Form, **headers: str) -> Form:
    found: Mapping[str, str] = form.get("headers", {})
    return {**form, "headers": {**found, **headers}}
