"""The composition in a real engine, as `docker/trial.sh` has built it: commands, calls and what was seen."""

import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
PROJECT = "ddsr-trial"
FILES = ("docker-compose.yml", "tests/containers/one-thread.yml")
COMPOSE = (
    str(Path(sys.executable).parent / "docker-compose"),
    *("-p", PROJECT, "--profile", "observability"),
    *(word for name in FILES for word in ("-f", name)),
)
IMAGE = "ddsr-services:0.1.0"
URLS = {"hide": "http://127.0.0.1:8001", "recover": "http://127.0.0.1:8002"}
PORTRAIT = (ROOT / "examples/portrait.jpg").read_bytes()
PROMPT = "a smiling woman, red kite over Ullapool 1987"
WRONG = "a smiling woman, red kite over Ullapool 1988"
DISGUISE = "a glacier under a blue sky"
LONG = 100  # steps of a job that a test can meet in its middle
Answer = httpx.Response


class Trial:
    """`seen` holds the logs of containers that are gone, `faces` pieces of pictures that must be found nowhere."""

    def __init__(self) -> None:
        self.key = ""
        self.seen: list[tuple[str, bytes]] = []
        self.faces: list[bytes] = []
        self.client = httpx.Client(timeout=330, trust_env=False)

    # ---- the engine

    def run(self, *command: str, fails: bool = False, both: bool = False, timeout: float = 420) -> str:
        """Standard output; with `fails` or `both` also standard error. An end other than expected is an error."""
        ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=ROOT)
        assert (ended.returncode != 0) == fails, (
            f"{command} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
        )
        return ended.stdout + (ended.stderr if fails or both else "")

    def docker(self, *words: str, **options: Any) -> str:
        return self.run("docker", *words, **options)

    def compose(self, *words: str, **options: Any) -> str:
        return self.run(*COMPOSE, *words, **options)

    def shell(self, command: str) -> str:
        """A line of the documents, whose `docker compose` is that of the trial."""
        ours = f'[ "$1" != compose ] || {{ shift; {shlex.join(COMPOSE)} "$@"; return; }}; command docker "$@"'
        return self.run("sh", "-ec", f"docker() {{ {ours}; }}; {command}")

    def official(self, service: str) -> bool:
        """Whether a hub gave the image of a service: then it has a digest."""
        image = self.inspect(service)["Image"]
        return self.docker("image", "inspect", "--format", "{{len .RepoDigests}}", image).strip() != "0"

    def up(self, *words: str) -> None:
        self.compose("up", "--no-build", "--detach", "--wait", *words)

    def down(self, *words: str) -> None:
        """The logs stay, for the search at the end."""
        self.seen += self.logs()
        self.compose("down", *words)

    def ids(self, service: str) -> list[str]:
        """Its containers, without those of one command."""
        labels = {"project": PROJECT, "service": service, "oneoff": "False"}
        filters = [
            word for name, value in labels.items() for word in ("--filter", f"label=com.docker.compose.{name}={value}")
        ]
        return self.docker("ps", "--all", "--quiet", *filters).split()

    def inspect(self, service: str) -> dict[str, Any]:
        """Of the first container of a service."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", self.ids(service)[0]))
        return found[0]

    @cached_property
    def services(self) -> list[str]:
        """All that run on: without `keys`, which ends."""
        return [name for name in self.compose("config", "--services").split() if name != "keys"]

    def inside(self, service: str, *command: str, **options: Any) -> str:
        return self.docker("exec", self.ids(service)[0], *command, **options)

    def python(self, service: str, code: str, **options: Any) -> str:
        return self.inside(service, "python", "-c", code, **options)

    def once(self, service: str, *options: str, command: tuple[str, ...] = (), fails: bool = False) -> str:
        """A container of its own for one command."""
        return self.compose("run", "--rm", "--no-deps", "-T", *options, service, *command, fails=fails, timeout=300)

    def logs(self) -> list[tuple[str, bytes]]:
        """Of every container that there is."""
        ids = self.docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split()
        ended = [subprocess.run(["docker", "logs", name], capture_output=True, timeout=60) for name in ids]
        return [(f"log {name[:12]}", each.stdout + each.stderr) for name, each in zip(ids, ended, strict=True)]

    def volumes(self) -> list[str]:
        return self.docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}").split()

    def files(self, volume: str) -> Iterator[tuple[str, bytes]]:
        """Everything that lies in a volume."""
        command = ["docker", "run", "--rm", "--user", "0", "--network", "none", "--volume", f"{volume}:/volume:ro"]
        ended = subprocess.run([*command, IMAGE, "tar", "-c", "-C", "/volume", "."], capture_output=True, timeout=120)
        assert ended.returncode == 0 or b"file changed as we read it" in ended.stderr, ended.stderr  # Redis writes on
        with tarfile.open(fileobj=io.BytesIO(ended.stdout)) as archive:
            for member in archive:
                if (stream := archive.extractfile(member)) is not None:
                    yield f"{volume} {member.name}", stream.read()

    # ---- the services

    def send(self, kind: str, *, key: str | None = None, wait: int | None = 300, **fields: Any) -> Answer:
        """`POST /hide` of the portrait, or `POST /recover` of `stego`. `wait=None`: the job's address at once."""
        name = "image" if kind == "hide" else "stego"
        picture = fields.pop(name, PORTRAIT)
        fields = {"identity_prompt": PROMPT, **({"disguise_prompt": DISGUISE} if kind == "hide" else {}), **fields}
        headers = {"Prefer": "respond-async" if wait is None else f"wait={wait}"}
        if (key := self.key if key is None else key) != "":
            headers["X-API-Key"] = key
        form = {name: str(value) for name, value in fields.items() if value is not None}
        return self.client.post(f"{URLS[kind]}/{kind}", files={name: picture}, data=form, headers=headers)

    def get(self, kind: str, path: str, **headers: str) -> Answer:
        return self.client.get(URLS[kind] + path, headers={"X-API-Key": self.key, **headers})

    def begin(self, steps: int = LONG) -> str:
        """The address of a hiding job that was accepted."""
        answer = self.send("hide", wait=None, steps=steps)
        assert answer.status_code == 202, answer.text
        return answer.headers["Location"]

    def state(self, job: str, wait: int = 0) -> str:
        answer = self.get("hide", f"{job}?wait={wait}")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["state"])

    def prometheus(self, path: str) -> Any:
        """`data` of an answer of its API."""
        answer = self.inside("prometheus", "wget", "-q", "-O", "-", f"http://127.0.0.1:9090/api/v1/{path}")
        return json.loads(answer)["data"]


def until(condition: Callable[[], bool], seconds: float, pause: float = 0.3) -> float:
    """Wait until something holds; gives the seconds that it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds} s"
        time.sleep(pause)
    return time.monotonic() - start


def outside() -> str:
    """Host and port of an HTTP server outside the engine."""
    return os.environ.get("DDSR_TRIAL_OUTSIDE", "example.org:80")
