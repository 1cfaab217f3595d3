"""`ddsr doctor`: what is installed and running here, and what is broken. It looks, and changes nothing."""

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import typer
from rich.console import Console

from stack.parts import address, is_ok

if TYPE_CHECKING:
    from shared.settings import QueueSettings, WorkerSettings

State = Literal["ok", "note", "broken"]
PACKAGES = {
    "core": ("numpy", "pillow", "pydantic", "typer"),
    "services": ("fastapi", "uvicorn", "redis", "rq", "cryptography", "dlib-bin"),
    "worker": ("torch", "diffusers", "transformers", "safetensors"),
}
LONGEST = 5.0  # seconds that Redis and the services get to answer
COLOURS: dict[State, str] = {"ok": "green", "note": "yellow", "broken": "bold red"}


@dataclass(frozen=True)
class Check:
    """One line: `note` is worth knowing, `broken` has to be mended."""

    name: str
    state: State
    detail: str


def register(app: typer.Typer) -> None:
    """Add `ddsr doctor`."""

    @app.command()
    def doctor(
        state: Annotated[Path | None, typer.Option(help="Folder of `ddsr up`; looked at without REDIS_URL.")] = None,
        model: Annotated[str | None, typer.Option(help="Pipeline folder or hub id; else DDSR_MODEL.")] = None,
        device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; else DDSR_DEVICE.")] = None,
        no_model: Annotated[bool, typer.Option("--no-model", help="Do not load the model.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    ) -> None:
        """Look at packages, device, model, key files, Redis, workers, services; exit with 3 if something is broken."""
        checks: list[Check] = []
        console = Console(highlight=False)
        for check in examine(state, model, device, with_model=not no_model):
            checks.append(check)
            if not as_json:
                console.print(f"[{COLOURS[check.state]}]{check.state:<6}[/] {check.name:<18}", end=" ")
                console.print(check.detail, markup=False, soft_wrap=True)
        broken = any(check.state == "broken" for check in checks)
        if as_json:
            typer.echo(json.dumps({"ok": not broken, "checks": [asdict(check) for check in checks]}, indent=1))
        raise typer.Exit(3 if broken else 0)


def examine(state: Path | None, model: str | None, device: str | None, *, with_model: bool) -> Iterator[Check]:
    """Every check, as soon as it is done."""
    yield from packages()
    try:
        from shared.settings import StackSettings, WorkerSettings

        stack, worker = StackSettings(), WorkerSettings()
        folder = (state or stack.state).absolute()
        queue = _queue_settings(folder)
    except (ValueError, ImportError) as error:
        fields = [".".join(map(str, item["loc"])) for item in error.errors()] if hasattr(error, "errors") else []
        yield Check("settings", "broken", f"cannot be read: {', '.join(fields) or type(error).__name__}")
        return
    fingerprint = None
    if with_model:
        for check in the_model(model or worker.model, device or worker.device):
            fingerprint = check.detail.split(",")[0] if check.name == "model" and check.state == "ok" else fingerprint
            yield check
    yield from key_files(folder, queue, worker)
    yield from redis_and_workers(queue, fingerprint)
    for name, port in (("sender", stack.sender_port), ("receiver", stack.receiver_port)):
        yield service(name, stack.host, port)


def packages() -> Iterator[Check]:
    """Versions by part. A part of which something is missing cannot run here, which may be on purpose."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for part, names in PACKAGES.items():
        found = {name: _version(name) for name in ("ddsr", *names) if name != "ddsr" or part == "core"}
        missing = [name for name, number in found.items() if number is None]
        text = ", ".join(f"{name} {number}" for name, number in found.items() if number is not None)
        if missing:
            text = f"not installed: {', '.join(missing)}" + (f"; {text}" if text else "")
        yield Check(f"{part} packages", "ok" if not missing else "broken" if part == "core" else "note", text)


def the_model(source: str | None, device: str) -> Iterator[Check]:
    """The device works, and the model loads on it."""
    try:
        import torch

        from shared.diffusion.model import DiffusionModel
        from shared.errors import DdsrError
    except ImportError as error:
        yield Check("model", "note", f"cannot be loaded here: no {error.name}")
        return
    cards = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    about = f"{device}; {os.cpu_count()} cores, {torch.get_num_threads()} threads; CUDA: {', '.join(cards) or 'none'}"
    try:
        torch.zeros(1, device=device).add_(1).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        yield Check("device", "broken", f"{about}; {device} cannot be used ({type(error).__name__})")
        return
    yield Check("device", "ok", about)
    try:
        loaded = DiffusionModel.load(source, device=device)
    except (DdsrError, OSError, ValueError, RuntimeError) as error:
        why = error.detail if isinstance(error, DdsrError) else type(error).__name__
        yield Check("model", "broken", f"{source or 'embedded'}: {why}")
        return
    size = loaded.image_size
    yield Check("model", "ok", f"{loaded.fingerprint}, {size}x{size} pixels, {source or 'embedded'}")


def key_files(folder: Path, queue: "QueueSettings", worker: "WorkerSettings") -> Iterator[Check]:
    """Every secret file that is there: ours, and closed to others. None is made, and none is shown."""
    from shared.envelope import read_secret
    from shared.errors import KeyFileError

    folders = {folder / "keys", queue.service_keys, worker.worker_keys}
    files = {path for one in folders if one.is_dir() for path in one.rglob("*") if path.is_file()}
    named = {worker.webhook_secret_file, queue.redis_password_file, folder / "redis" / "redis.conf"}
    files |= {path for path in named if path is not None and path.exists()}
    if queue.redis_password_file is not None:
        files.add(queue.redis_password_file)
    wrong = []
    for path in sorted(path for path in files if path.suffix != ".pub"):
        try:
            read_secret(path)
        except KeyFileError as error:
            wrong.append(f"{path.parent}: {error.detail}")
    wrong += [f"{one}: others may write to it; its mode must be 0700" for one in sorted(folders) if _is_open(one)]
    if wrong:
        yield from (Check("key files", "broken", text) for text in wrong)
    elif files:
        yield Check("key files", "ok", f"{len(files)} in {', '.join(sorted({str(path.parent) for path in files}))}")
    else:
        yield Check("key files", "note", f"none yet in {folder}; the first start makes them")


def redis_and_workers(queue: "QueueSettings", fingerprint: str | None) -> Iterator[Check]:
    """Whether Redis answers and is set up to keep jobs, and which workers live."""
    try:
        import redis

        from shared.errors import DdsrError
        from shared.jobs import open_redis
        from shared.jobs import scripts as records
        from shared.jobs.rq import queue_length
    except ImportError as error:
        yield Check("redis", "note", f"cannot be asked: no {error.name}")
        return
    if not _configured(queue):
        yield _redis_to_start()
        return
    where = _address(queue)
    try:
        client: Any = open_redis(queue, socket_connect_timeout=LONGEST, socket_timeout=LONGEST)
        with client:
            about = client.info()
            policy = str(about.get("maxmemory_policy", "unknown"))
            names = sorted(name.decode() for name in client.smembers(records.WORKERS))
            texts = client.mget([records.worker_key(name) for name in names]) if names else []
            waiting = queue_length(client, queue)
    except (redis.RedisError, DdsrError, OSError, ValueError) as error:
        why = error.detail if isinstance(error, DdsrError) else type(error).__name__
        yield Check("redis", "broken", f"{where}: {why}")
        return
    durable = "append-only file" if about.get("aof_enabled") else "no append-only file: a restart loses jobs"
    detail = f"{about.get('valkey_version') or about.get('redis_version')} at {where}, {policy}, {durable}"
    kept = policy in ("noeviction", "unknown")
    yield Check("redis", "ok" if kept else "broken", detail if kept else f"{detail}: it may drop jobs; set noeviction")
    yield Check("queue", "ok", f"{waiting} jobs wait in {queue.queue}")
    yield from _workers([json.loads(text) for text in texts if text is not None], fingerprint)


def _workers(found: list[dict[str, Any]], fingerprint: str | None) -> Iterator[Check]:
    if not found:
        yield Check("workers", "broken", "none lives; start `python -m worker`")
    for worker in found:
        other = fingerprint is not None and worker.get("model") != fingerprint
        size = worker.get("image_size")
        text = f"{worker.get('name')}: model {worker.get('model')}, {size}x{size} pixels"
        text += "; not the model that was loaded here" if other else ""
        yield Check("worker", "note" if other else "ok", text)


def service(name: str, host: str, port: int) -> Check:
    """Whether a service answers on its port, and takes jobs."""
    from urllib.error import HTTPError

    url = address(host, port)
    try:
        is_ok(f"{url}/readyz", LONGEST)
        return Check(name, "ok", f"{url} is ready")
    except HTTPError as error:
        with error:
            return Check(name, "broken", f"{url} answers {error.code}: it takes no jobs now")
    except OSError:
        return Check(name, "note", f"nothing listens at {url}")


def _queue_settings(folder: Path) -> "QueueSettings":
    """Those of the environment; without REDIS_URL, those of a `ddsr up` that runs in `folder`."""
    from shared.settings import QueueSettings

    socket, password = folder / "redis" / "redis.sock", folder / "keys" / "redis.password"
    if _named_redis() or not socket.exists():
        return QueueSettings()
    return QueueSettings(redis_url=f"unix://{socket}", redis_password_file=password)  # type: ignore[arg-type]


def _named_redis() -> bool:
    return "REDIS_URL" in os.environ or "DDSR_REDIS_URL" in os.environ


def _configured(queue: "QueueSettings") -> bool:
    return _named_redis() or queue.redis_url.get_secret_value().startswith("unix:")


def _redis_to_start() -> Check:
    from stack.redis_server import find_redis
    from stack.supervisor import StartError

    try:
        return Check("redis", "note", f"none runs for us (no REDIS_URL); `ddsr up` would start {find_redis()}")
    except StartError as error:
        return Check("redis", "broken", str(error))


def _address(queue: "QueueSettings") -> str:
    """Where Redis is, without the password that its address may hold."""
    try:
        parts = urlsplit(queue.redis_url.get_secret_value())
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "REDIS_URL"
    if "@" in parts.path:  # a password that was not escaped
        return "REDIS_URL"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def _is_open(folder: Path) -> bool:
    return folder.is_dir() and bool(folder.stat().st_mode & 0o022)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
