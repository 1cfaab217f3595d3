"""The composition root of a worker process: keys, Redis, engine, threads, and the loop."""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import redis
from prometheus_client import start_http_server

from shared import tracing
from shared.envelope import Keyring
from shared.errors import DdsrError, ModelError
from shared.jobs import WorkerInfo, open_redis
from shared.jobs.connection import remedy
from shared.jobs.due import DueWebhooks
from shared.jobs.lease import Lease
from shared.jobs.workers import announce, live_workers, withdraw
from shared.logs import Log, configure_libraries, make_log, where
from shared.process import end_with_zero, no_core_dumps
from shared.settings import QueueSettings, WorkerSettings
from shared.webhooks import load_secret
from worker.batching import Batches
from worker.engine import Engine
from worker.metrics import WorkerMetrics
from worker.outbox import Outbox
from worker.rq_worker import RqWorker

_MISSED = 4  # heartbeats that a worker may miss before the services think it dead


def run(queue_settings: QueueSettings, settings: WorkerSettings, load: Callable[[], Engine]) -> int:
    """Work until SIGTERM (0, even where Redis is away) or until Redis goes away (1, for the supervisor to start it
    again).
    """
    no_core_dumps()
    end_with_zero()
    log = make_log("worker", settings.log_level)
    configure_libraries("worker")
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    try:
        tracing.start("ddsr-worker")
        keys = Keyring.load_or_create(settings.worker_keys)
        if settings.public_keys_file is not None:
            publish(keys, settings.public_keys_file)
        start = time.perf_counter()
        engine = load()
        seconds = round(time.perf_counter() - start, 3)
        log.info("loaded", worker=name, model=engine.fingerprint, seconds=seconds)
        return _serve(name, queue_settings, settings, keys, engine, log)
    except redis.RedisError as error:
        log.error("redis went away", worker=name, detail=remedy(error), **where(error))
    except DdsrError as error:
        log.error("cannot work", worker=name, code=error.code, detail=error.detail)
    except tracing.TracingError as error:
        log.error("cannot work", worker=name, detail=str(error))
    finally:
        tracing.stop()
    return 1


def _serve(
    name: str,
    queue_settings: QueueSettings,
    settings: WorkerSettings,
    keys: Keyring,
    engine: Engine,
    log: Log,
) -> int:
    metrics = WorkerMetrics()
    metrics.model.info({"fingerprint": engine.fingerprint, "image_size": str(engine.image_size)})
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_host, registry=metrics.registry)
    connection = open_redis(queue_settings)
    lease = Lease(connection, queue_settings, keys, worker=name, seconds=settings.heartbeat_ttl)
    batches = Batches(engine, lease, queue_settings=queue_settings, settings=settings, metrics=metrics, log=log)
    worker = RqWorker(connection, queue_settings, name, batches.run)
    batches.impatient = lambda: worker.cold
    secret = load_secret(settings.webhook_secret_file)
    due = DueWebhooks(connection, keys)
    allow_private = settings.webhook_allow_private
    outbox = Outbox(due, secret, allow_private=allow_private, metrics=metrics, log=log)
    public_key = keys.current.public.to_text()
    info = WorkerInfo(name, public_key, engine.fingerprint, engine.image_size, private_webhooks=allow_private)
    ttl = max(2, round(_MISSED * settings.heartbeat_interval))
    _refuse_another_model(connection, engine.fingerprint, ttl)
    announce(connection, info, ttl)
    metrics.heartbeat.set_to_current_time()
    stop = threading.Event()

    def pulse() -> None:
        announce(connection, info, ttl)
        batches.beat()
        worker.beat()
        metrics.queued.set(lease.queued())
        metrics.heartbeat.set_to_current_time()

    threads = (
        (pulse, settings.heartbeat_interval),
        (batches.reap, settings.maintenance_interval),
        (outbox.send_due, 0.5),
    )
    for action, pause in threads:
        threading.Thread(target=_every, args=(pause, stop, action, log), daemon=True).start()
    log.info("ready", worker=name)
    try:
        return _work(worker, connection, log)
    finally:
        stop.set()


def _work(worker: RqWorker, connection: redis.Redis, log: Log) -> int:
    """The loop. 0 where it was asked to stop, even while Redis is away."""
    try:
        worker.work(logging_level="WARNING")
        withdraw(connection, worker.name)
    except redis.RedisError as error:
        if not worker.asked_to_stop:
            raise
        log.warning("redis does not answer", error=type(error).__name__)  # its announcement ends by itself
    log.info("stopped", worker=worker.name, asked=worker.asked_to_stop)
    return 0 if worker.asked_to_stop else 1


def _refuse_another_model(connection: redis.Redis, own: str, seconds: int) -> None:
    """What a worker that is gone had announced is forgotten within `seconds`.

    Raises:
        ModelError: live workers hold another model; this one would take jobs that are meant for theirs.
    """
    end = time.monotonic() + seconds + 1
    while others := {worker.model for worker in live_workers(connection)} - {own}:
        if time.monotonic() > end:
            raise ModelError(
                f"live workers hold the model {min(others)}, this one {own}: one Redis database holds one model; "
                "give this worker their DDSR_MODEL, or another database in REDIS_URL"
            )
        time.sleep(0.2)


def _every(seconds: float, stop: threading.Event, action: Callable[[], None], log: Log) -> None:
    while not stop.wait(seconds):
        try:
            action()
        except redis.RedisError as error:
            log.warning("redis does not answer", detail=remedy(error))
        except Exception as error:
            log.error("thread", **where(error))


def publish(keys: Keyring, path: Path) -> None:
    """Write the public keys, one a line, for the services to pin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.write_text("".join(key.to_text() + "\n" for key in keys.public_keys), encoding="ascii")
    draft.replace(path)
