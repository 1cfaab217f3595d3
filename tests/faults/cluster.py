"""The whole of DDSR as real processes, any of which a test may kill, stop and start again.

Redis runs with the configuration that `ddsr up` writes, the services under uvicorn, the workers with the arithmetic
core of tests.worker. Everything lives in one folder: Redis' files, logs, the temporary folder of all processes.

Every test ends with `settle`, which holds what must hold after any fault: each job that was accepted has ended in a
state that its client can read, no request is left, and none of the planted secrets can be found anywhere.
"""

import ctypes
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import redis

from cli.leaks import file_items, redis_items, search
from stack.parts import service_part
from stack.redis_server import find_redis, write_redis_config
from stack.temporary import free_ports
from tests.pictures import encoded, pixels
from tests.worker.support import ROOT, face, until

_LIBC = ctypes.CDLL(None)
PROMPT = "canary-77e1 the red kite over Ullapool"
FACE = face(77)
TERMINAL = {"done", "failed", "cancelled", "expired"}
ASYNC = "respond-async"
QUICK = {
    "DDSR_HEARTBEAT_INTERVAL": "1",
    "DDSR_HEARTBEAT_TTL": "4",
    "DDSR_MAINTENANCE_INTERVAL": "1",
    "DDSR_STUCK_AFTER": "2",
    "DDSR_RETRIES": "1",
    "DDSR_RATE_LIMIT": "",
    "DDSR_POLL_LIMIT": "",
    "DDSR_METRICS_PORT": "0",
    "DDSR_LOG_LEVEL": "debug",
}


UPLOAD = encoded(FACE)
SECRETS = {
    "prompt": PROMPT.encode(),
    "face": FACE[5].tobytes(),
    "face, transposed": FACE.transpose(2, 0, 1)[0, 5].tobytes(),
    "float face": (FACE[5].astype(np.float32) / 127.5 - 1).tobytes()[:64],
    "upload": UPLOAD[100:200],
}


class Cluster:
    """`variables` go to every process."""

    def __init__(self, *, redis_folder: Path | None = None, **variables: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ddsr-"))  # a short path: unix sockets allow 107 characters
        self.redis_folder = redis_folder or self.folder / "redis"
        self.socket = self.folder / "redis.sock"
        self.password = secrets.token_hex(16)
        self.accepted: list[str] = []
        self._seen: dict[bytes, str] = {}
        self._replicas: dict[str, str] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        for name in ("redis", "logs", "tmp", "keys"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DDSR_", "REDIS_"))}
        self.environment = {
            **inherited,
            **QUICK,
            "REDIS_URL": f"unix://:{self.password}@{self.socket}",
            "DDSR_WORKER_KEYS": str(self.folder / "keys" / "worker"),
            "DDSR_WEBHOOK_SECRET_FILE": str(self.folder / "keys" / "webhook.secret"),
            "TMPDIR": str(self.folder / "tmp"),
            **variables,
        }
        self.redis: subprocess.Popen[bytes] | None = None
        self.standing: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client(timeout=60)
        self.sender = self.receiver = ""

    # ---- parts

    def start_redis(self, *, preexec: Callable[[], None] | None = None, **variables: str) -> None:
        config = write_redis_config(self.redis_folder, self.socket, self.password)
        self.redis = self._spawn("redis", [find_redis(), str(config)], variables, preexec)
        until(self.redis_answers, 20)

    def redis_answers(self) -> bool:
        with suppress(redis.RedisError), self.store() as store:
            return bool(store.ping())
        return False

    def kill_redis(self) -> None:
        assert self.redis is not None
        self.kill(self.redis)

    def store(self) -> Any:
        """A client of Redis, that does not try again."""
        return redis.Redis.from_url(self.environment["REDIS_URL"], retry=None)

    def service(self, name: str, **variables: str) -> str:
        """Start a sender or a receiver; gives its address once it answers. Replicas share their keys."""
        (port,) = free_ports(1)
        part = service_part(name, self.folder, "127.0.0.1", port, self.environment)
        process = self._spawn(name, part.command, {**part.environment, **variables})
        url = f"http://127.0.0.1:{port}"
        until(lambda: self._lives(url) or process.poll() is not None, 300)
        assert process.poll() is None
        return url

    def replica(self, name: str, **variables: str) -> str:
        """A replica of the sender that stays for the tests to come; the same name gives the same one."""
        if name not in self._replicas:
            self._replicas[name] = self.service("sender", **variables)
        return self._replicas[name]

    @property
    def sender_process(self) -> subprocess.Popen[bytes]:
        """The first sender."""
        return next(process for process in self._processes if "services.sender" in process.args)  # type: ignore[operator]

    @property
    def youngest(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        return self._processes[-1]

    def start_worker(self, *, ready: bool = True, **variables: str) -> subprocess.Popen[bytes]:
        """Start a worker and wait until it has announced itself, unless Redis is not to be had (`ready=False`)."""
        process = self._spawn("worker", [sys.executable, "-m", "tests.worker.arithmetic"], variables)
        if ready:
            until(lambda: self._announcements(process.pid) or process.poll() is not None, 300)
            assert process.poll() is None
        return process

    @contextmanager
    def worker(self, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker for the length of a block, killed at its end if it still runs."""
        process = self.start_worker(**variables)
        try:
            yield process
        finally:
            self.kill(process)

    def staff(self) -> subprocess.Popen[bytes]:
        """The standing worker: the one that is there already, else a new one."""
        if self.standing is None or self.standing.poll() is not None:
            self.standing = self.start_worker()
        return self.standing

    def dismiss(self) -> None:
        """No standing worker, and no word left of any that has ended: a paused one was announced for ten minutes."""
        if self.standing is not None:
            self.kill(self.standing)
        self.standing = None
        for process in self._processes:
            if process.poll() is not None:
                self.kill(process)

    def pause(self, process: subprocess.Popen[bytes]) -> None:
        """SIGSTOP to a worker; the services take it for alive for ten minutes, however slow the test is."""
        stop_process(process)
        with self.store() as store:
            for name in self._announcements(process.pid):
                store.expire(name, 600)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """SIGKILL; of a worker also the announcement, which would take some seconds to expire."""
        if process.poll() is None:
            process.kill()
        process.wait(20)
        if process is not self.redis and self.redis_answers():
            with self.store() as store:
                for name in self._announcements(process.pid):
                    store.delete(name)

    def stop(self) -> None:
        for process in reversed(self._processes):
            if process.poll() is None:
                process.kill()
            process.wait(20)
        self.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self, name: str) -> str:
        """All that the processes of a name have logged."""
        return "".join(path.read_text() for path in sorted((self.folder / "logs").glob(f"{name}-*")))

    def lines(self, job_id: str) -> list[dict[str, Any]]:
        """What the workers' logs say of a job."""
        found = [json.loads(line) for line in self.log("worker").splitlines() if job_id in line]
        return [line for line in found if job_id == line.get("job") or job_id in line.get("jobs", [])]

    def batches(self, *job_ids: str) -> int:
        """How many batches these jobs were computed in."""
        found = [line["jobs"] for job_id in job_ids for line in self.lines(job_id) if line["event"] == "batch"]
        return len({tuple(jobs) for jobs in found}) if len(job_ids) > 1 else len(found)

    def said(self, event: str, job_id: str, **fields: str) -> bool:
        """Whether a worker's log says so of a job."""
        wanted = {"event": event, **fields}.items()
        return any(wanted <= line.items() for line in self.lines(job_id))

    # ---- what a client does

    def post(self, disguise: str = "a cat", *, prefer: str = ASYNC, key: str = "", url: str = "", **form: Any) -> Any:
        """POST /hide with the planted face and prompt; an accepted job is remembered."""
        headers = {"Prefer": prefer, **({"Idempotency-Key": key} if key else {})}
        fields = {"identity_prompt": PROMPT, "disguise_prompt": disguise, **form}
        answer = self.client.post(f"{url or self.sender}/hide", data=fields, files={"image": UPLOAD}, headers=headers)
        if answer.status_code in (200, 202):
            self.accepted.append(answer.headers["DDSR-Job"])
        return answer

    def submit(self, disguise: str = "a cat", **more: Any) -> str:
        """The id of a job that was accepted."""
        answer = self.post(disguise, **more)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def together(self, *disguises: str) -> list[str]:
        """Jobs that the standing worker finds all at once, and takes as one batch."""
        worker = self.staff()
        self.pause(worker)
        try:
            return [self.submit(disguise) for disguise in disguises]
        finally:
            worker.send_signal(signal.SIGCONT)

    def job(self, job_id: str, suffix: str = "", **parameters: Any) -> httpx.Response:
        """GET /jobs/{id}, or one of its parts."""
        return self.client.get(f"{self.sender}/jobs/{job_id}{suffix}", params=parameters)

    def delete(self, job_id: str) -> httpx.Response:
        return self.client.delete(f"{self.sender}/jobs/{job_id}")

    def state(self, job_id: str) -> str:
        return str(self.job(job_id).json()["state"])

    def running(self, *job_ids: str) -> None:
        """Return once all of these jobs report a step."""
        until(lambda: all(self.job(job_id).json()["step"] for job_id in job_ids), 60)

    def end(self, job_id: str) -> str:
        """The state in which a job ends, asked as a patient client would: again after a 503."""

        def ended() -> bool:
            answer = self.job(job_id, wait=5)
            assert answer.status_code in (200, 503), answer.text
            return answer.status_code == 200 and answer.json()["state"] in TERMINAL

        until(ended, 180)
        return self.state(job_id)

    def proves(self, job_id: str) -> bool:
        """Whether the job's stego gives the planted face back to the receiver: the work was done, and done right."""
        hidden = self.job(job_id, "/result")
        assert hidden.status_code == 200, hidden.text
        form = {"identity_prompt": PROMPT}
        back = self.client.post(f"{self.receiver}/recover", data=form, files={"stego": hidden.content})
        assert back.status_code == 200, back.text
        return bool(np.array_equal(pixels(back.content), FACE))

    # ---- what must hold after every fault

    def look(self) -> None:
        """Remember all that Redis holds at this moment. The append-only file has the rest."""
        with self.store() as store:
            for place, value in redis_items(store):
                self._seen.setdefault(value, place)

    def leaks(self, planted: Mapping[str, bytes] = SECRETS) -> list[str]:
        """Where a planted secret can be read: in Redis, its files, the logs, the temporary folder."""
        self.look()
        items = [(place, value) for value, place in self._seen.items()]
        folders = {self.folder, self.redis_folder}
        return search([*items, *(item for folder in folders for item in file_items(folder))], planted)

    def settle(self) -> None:
        """Nothing that was acknowledged is lost, nothing is left over, nothing can be read."""
        for job_id in self.accepted:
            assert self.end(job_id) in TERMINAL
        until(lambda: self.left_over() == [], 30)
        assert self.leaks() == []
        self.accepted.clear()

    def left_over(self) -> list[str]:
        """Keys of requests and of RQ that should be gone once every job has ended."""
        with self.store() as store:
            names = [name.decode() for name in store.keys("*")]
            kept = [name for name in names if name.startswith("rq:job:")]
            lists = [name for name in names if name in ("rq:queue:ddsr", "rq:queue:ddsr:intermediate", "ddsr:leases")]
            return [*kept, *lists, *(name for name in names if name.endswith(":request"))]

    # ---- inside

    def _spawn(
        self,
        name: str,
        command: Sequence[str],
        variables: Mapping[str, str],
        preexec: Callable[[], None] | None = None,
    ) -> subprocess.Popen[bytes]:
        environment = {**self.environment, **variables}
        number = len(self._processes)
        with open(self.folder / "logs" / f"{name}-{number:03d}.log", "wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, preexec_fn=preexec)
        self._processes.append(process)
        return process

    def _announcements(self, pid: int) -> list[bytes]:
        """Keys by which a worker process is known to live."""
        with self.store() as store:
            return list(store.keys(f"ddsr:worker:*-{pid}-*"))

    def _lives(self, url: str) -> bool:
        try:
            return self.client.get(f"{url}/livez").status_code == 200
        except httpx.TransportError:
            time.sleep(0.05)
            return False


def _begin(more: Callable[[], None] | None) -> None:
    """In a new process: die with the test's process, however that ends (Linux: PR_SET_PDEATHSIG)."""
    _LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)
    if more is not None:
        more()


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """SIGSTOP, and wait until the process does stand still."""
    process.send_signal(signal.SIGSTOP)
    until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T", 10)
