"""The callers, for locust: `python -m load` runs it with the addresses of its own stack in the environment.

Every caller does one of a dozen things at a time and sees each of its jobs to the end. What it saw goes into the folder
`DDSR_LOAD_FOLDER`: `requests.jsonl` has a line for every answer, `jobs.jsonl` for every accepted job and every end that
was seen, `broken.jsonl` for every answer that had the right status and was wrong all the same.
"""

import io
import json
import os
import random
import secrets
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
from locust import HttpUser, between, events, task
from PIL import Image

SENDER = os.environ["DDSR_LOAD_SENDER"]
RECEIVER = os.environ["DDSR_LOAD_RECEIVER"]
KEY = {"X-API-Key": os.environ["DDSR_LOAD_KEY"]}
FOLDER = Path(os.environ["DDSR_LOAD_FOLDER"])
PATIENCE = 120  # seconds for a job's end
WAIT = "wait=60"
MODEL_SIDE = 32
TERMINAL = ("done", "failed", "cancelled", "expired")

_STREAMS = {name: open(FOLDER / f"{name}.jsonl", "a", encoding="utf-8") for name in ("requests", "jobs", "broken")}  # noqa: SIM115


def note(ledger: str, **fields: Any) -> None:
    """One line of a ledger, on disk at once."""
    stream = _STREAMS[ledger]
    stream.write(json.dumps({"t": round(time.time(), 3), **fields}) + "\n")
    stream.flush()


@events.request.add_listener
def on_request(
    name: str, response_time: float, response: Any, exception: Any, context: dict[str, Any], **_: Any
) -> None:
    status = getattr(response, "status_code", 0)
    failed = str(exception) if exception is not None else None
    note("requests", name=name, ms=round(response_time, 2), status=status, failed=failed, **context)


@events.user_error.add_listener
def on_user_error(exception: Exception, **_: Any) -> None:
    note("broken", what=f"{type(exception).__name__}: {exception}")


def claim(good: bool, what: str) -> None:
    """What ought to be so."""
    if not good:
        note("broken", what=what)


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


class Caller(HttpUser):
    """Somebody with a key who hides, recovers, follows, cancels, errs and leaves."""

    host = SENDER
    wait_time = between(0.0, 0.2)

    def ask(self, method: str, base: str, path: str, name: str, expected: set[int], **options: Any) -> Any:
        """One request. Another status than an expected one is a failure of the run."""
        headers = {**KEY, **options.pop("headers", {})}
        route = options.pop("route", path)
        context = {"service": "sender" if base == SENDER else "receiver", "method": method, "route": route}
        call = self.client.request(
            method,
            base + path,
            name=name,
            headers=headers,
            catch_response=True,
            context=context,
            timeout=180,
            **options,
        )
        with call as response:
            if response.status_code in expected:
                response.success()
            else:
                what = response.error or ("" if response.content[:1] == b"\x89" else response.text)
                response.failure(f"{response.status_code} {what!s:.300}")
        return response

    def submit(self, kind: str, name: str, expected: set[int], prefer: str, **options: Any) -> Any:
        """`POST /hide` or `/recover`; an accepted job goes into the ledger, with its end where that is known."""
        base = SENDER if kind == "hide" else RECEIVER
        headers = {"Prefer": prefer, **options.pop("headers", {})}
        response = self.ask("POST", base, f"/{kind}", name, expected, headers=headers, **options)
        job = response.headers.get("DDSR-Job") if response.status_code in (200, 202) else None
        if job is not None:
            note("jobs", job=job, kind=kind, event="accepted")
            if response.status_code == 200:
                note("jobs", job=job, kind=kind, event="done")
        return response

    def job(
        self, kind: str, job: str, part: str, name: str, expected: set[int], method: str = "GET", **options: Any
    ) -> Any:
        base = SENDER if kind == "hide" else RECEIVER
        return self.ask(method, base, f"/jobs/{job}{part}", name, expected, route=f"/jobs/{{job_id}}{part}", **options)

    def follow(self, kind: str, job: str) -> str:
        """Ask until the job has ended; its end goes into the ledger."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            response = self.job(kind, job, "", "job: wait", {200}, params={"wait": 10})
            state = str(response.json()["state"]) if response.status_code == 200 else ""
            if state in TERMINAL:
                note("jobs", job=job, kind=kind, event=state)
                return state
        return ""

    def hide(self, name: str, prefer: str, expected: set[int], **changes: Any) -> tuple[Any, str]:
        """A hiding under a fresh prompt; gives the answer and the prompt."""
        prompt = f"a person, {secrets.token_hex(8)}"
        headers = changes.pop("headers", {})
        data = {"identity_prompt": prompt, "disguise_prompt": "a hill", "steps": "1", **changes}
        files = {"image": ("face", random.choice(PHOTOGRAPHS))}
        return self.submit("hide", name, expected, prefer, data=data, files=files, headers=headers), prompt

    def recover(self, stego: bytes, prompt: str, recipe: str, name: str, prefer: str, expected: set[int]) -> Any:
        data = {"identity_prompt": prompt, "recipe": recipe}
        return self.submit("recover", name, expected, prefer, data=data, files={"stego": ("stego", stego)})

    @task(10)
    def there_and_back(self) -> None:
        hidden, prompt = self.hide("hide: wait", WAIT, {200, 202})
        if hidden.status_code != 200:
            return self._late("hide", hidden)
        face = self.recover(hidden.content, prompt, hidden.headers["DDSR-Recipe"], "recover: wait", WAIT, {200, 202})
        if face.status_code != 200:
            return self._late("recover", face)
        with Image.open(io.BytesIO(face.content)) as picture:
            claim(picture.size == (MODEL_SIDE, MODEL_SIDE), "a recovered face has the model's size")
        return None

    def _late(self, kind: str, response: Any) -> None:
        if response.status_code == 202:
            self.follow(kind, response.headers["DDSR-Job"])

    @task(4)
    def ask_later(self) -> None:
        """202, wait for the end, fetch the result twice."""
        hidden, prompt = self.hide("hide: respond-async", "respond-async", {202})
        if hidden.status_code == 202 and self.follow("hide", job := hidden.headers["DDSR-Job"]) == "done":
            first = self.job("hide", job, "/result", "job: result", {200})
            again = self.job("hide", job, "/result", "job: result", {200})
            claim(first.content == again.content, "a second reading gives the same picture")
            recipe = first.headers["DDSR-Recipe"]
            later = self.recover(first.content, prompt + "!", recipe, "recover: respond-async", "respond-async", {202})
            self._late("recover", later)

    @task(2)
    def listen(self) -> None:
        """Server-sent events up to the last one."""
        hidden, _ = self.hide("hide: respond-async", "respond-async", {202})
        if hidden.status_code == 202:
            job = hidden.headers["DDSR-Job"]
            stream = self.job("hide", job, "/events", "job: events", {200})
            last = stream.text.rsplit("event: ", 1)[-1].split("\n", 1)[0].strip()
            if last in TERMINAL:
                note("jobs", job=job, kind="hide", event=last)
            else:
                self.follow("hide", job)

    @task(3)
    def change_mind(self) -> None:
        """Cancel at once or a little later; whatever was first counts."""
        hidden, _ = self.hide("hide: respond-async", "respond-async", {202}, steps="20")
        if hidden.status_code == 202:
            job = hidden.headers["DDSR-Job"]
            time.sleep(random.choice((0, 0.2, 1.0)))
            ended = self.job("hide", job, "", "job: cancel", {200}, "DELETE")
            if ended.status_code == 200:
                state = ended.json()["state"]
                late = state == "expired"  # it was done before, and its result was dropped
                note("jobs", job=job, kind="hide", event="done" if late else state)
                self.job("hide", job, "/result", "job: result of a cancelled one", {410 if late else 409})

    @task(2)
    def say_it_twice(self) -> None:
        """One idempotency key, three times: the job, a conflict or its replay, its replay."""
        key = secrets.token_hex(16)
        form: dict[str, Any] = {
            "data": {"identity_prompt": f"p {key}", "disguise_prompt": "a hill", "steps": "1"},
            "files": {"image": ("face", random.choice(PHOTOGRAPHS))},
            "headers": {"Idempotency-Key": key},
        }
        first = self.submit("hide", "hide: respond-async", {202}, "respond-async", **_copy(form))
        if first.status_code != 202:
            return
        job = first.headers["DDSR-Job"]
        again = self.ask("POST", SENDER, "/hide", "hide: same key", {200, 409}, **_with(form, Prefer=WAIT))
        claim(again.status_code == 409 or again.headers["DDSR-Job"] == job, "one key, one job")
        if self.follow("hide", job) == "done":
            replay = self.ask("POST", SENDER, "/hide", "hide: same key", {200}, **_with(form, Prefer=WAIT))
            claim(replay.headers.get("DDSR-Job") == job, "a replay is the first job")

    @task(1)
    def leave(self) -> None:
        """Hang up in the middle of a wait; the key leads back to the job, which was not cancelled."""
        key = secrets.token_hex(16)
        form: dict[str, Any] = {
            "data": {"identity_prompt": f"p {key}", "disguise_prompt": "a hill", "steps": "20"},
            "files": {"image": ("face", random.choice(PHOTOGRAPHS))},
            "headers": {"Idempotency-Key": key, **KEY},
        }
        try:
            gone = requests.post(f"{SENDER}/hide", timeout=0.5, **_with(form, Prefer=WAIT))
            note("requests", name="hide: hang up", ms=gone.elapsed.total_seconds() * 1000, status=gone.status_code,
                 failed=None, service="sender", method="POST", route="/hide")  # fmt: skip
        except requests.RequestException:
            note(
                "requests",
                name="hide: hang up",
                ms=500.0,
                status=0,
                failed=None,
                service="sender",
                method="POST",
                route="/hide",
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:  # the request may not even have arrived: then this one makes the job
            back = self.ask(
                "POST", SENDER, "/hide", "hide: come back", {200, 202, 409}, **_with(form, Prefer="wait=10")
            )
            job = back.headers.get("DDSR-Job") or (back.json().get("job") if back.status_code == 409 else None)
            if job is None:
                return
            note("jobs", job=job, kind="hide", event="accepted")
            if self.follow("hide", job):
                return

    @task(6)
    def err(self) -> None:
        """Whatever a careless or malicious caller sends; each has its one answer."""
        face = ("face", random.choice(PHOTOGRAPHS))
        good = {"identity_prompt": "p", "disguise_prompt": "a hill", "steps": "1"}
        name, status, options = random.choice((
            ("bad: no picture", 415, {"data": good, "files": {"image": ("face", b"hello")}}),
            ("bad: truncated picture", 422, {"data": good, "files": {"image": ("face", PHOTOGRAPHS[0][:-100])}}),
            ("bad: bomb", 413, {"data": good, "files": {"image": ("face", BOMB.getvalue())}}),
            ("bad: missing field", 422, {"data": {"identity_prompt": "p"}, "files": {"image": face}}),
            ("bad: prompt too long", 422, {"data": {**good, "identity_prompt": "p" * 300}, "files": {"image": face}}),
            ("bad: steps", 422, {"data": {**good, "steps": "0"}, "files": {"image": face}}),
            ("bad: media type", 415, {"json": good}),
            ("bad: secret in query", 400, {"data": good, "files": {"image": face}, "params": {"identity_prompt": "p"}}),
            ("bad: wrong size", 422, {"data": {**good, "crop": "none"}, "files": {"image": face}}),
            ("bad: key", 401, {"data": good, "files": {"image": face}, "headers": {"X-API-Key": "wrong"}}),
        ))  # fmt: skip
        route = "unmatched" if status == 400 else "/hide"
        self.ask("POST", SENDER, "/hide", name, {status}, route=route, **options)
        self.job("recover", secrets.token_hex(16), "", "bad: unknown job", {404})

    @task(1)
    def say_too_much(self) -> None:
        """Few characters and many tokens: only the worker can know, so the job is accepted and fails."""
        hidden, _ = self.hide("hide: respond-async", "respond-async", {202}, disguise_prompt="\u9854" * 80)
        if hidden.status_code == 202 and self.follow("hide", job := hidden.headers["DDSR-Job"]) == "failed":
            self.job("hide", job, "/result", "job: result of a failed one", {422})


def _copy(form: dict[str, Any]) -> dict[str, Any]:
    return {**form, "headers": dict(form["headers"])}


def _with(form: dict[str, Any], **headers: str) -> dict[str, Any]:
    return {**form, "headers": {**form["headers"], **headers}}
