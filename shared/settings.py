"""Settings of the queue, the worker and the stack, read from the environment (prefix `DDSR_`) by whoever
starts.

Nothing here makes an instance at import: `__main__` and `create_app` do, once. Secrets are files, never
variables; the one exception is a password inside `REDIS_URL`, for which `DDSR_REDIS_PASSWORD_FILE` is the
better place.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def state_folder() -> Path:
    """Where keys and the embedded Redis live unless a setting says otherwise: `$XDG_STATE_HOME/ddsr`."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "ddsr"


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DDSR_", extra="ignore", frozen=True, hide_input_in_errors=True)


class QueueSettings(_Settings):
    """What services and worker share. Times are seconds."""

    redis_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        validation_alias=AliasChoices("redis_url", "REDIS_URL", "DDSR_REDIS_URL"),
        description="redis://, rediss:// or unix:// address",
    )
    redis_password_file: Path | None = Field(default=None, description="file with the Redis password")
    queue: str = Field(default="ddsr", pattern=r"^[a-z0-9-]{1,32}$", description="name of the one queue")
    queue_limit: int = Field(default=100, ge=1, description="jobs that may wait; more are refused with 503")
    queue_ttl: int = Field(default=900, ge=1, description="a job that waited this long expires")
    job_timeout: int = Field(default=300, ge=1, description="limit of one computation")
    retries: int = Field(default=3, ge=0, le=10, description="new attempts after a worker was lost")
    result_ttl: int = Field(default=600, ge=1, description="life of a result that nobody reads")
    first_read_ttl: int = Field(default=60, ge=1, description="life of a result after its first reading")
    tombstone_ttl: int = Field(default=86_400, ge=60, description="how long a finished job answers 410, not 404")
    idempotency_ttl: int = Field(default=86_400, ge=60, description="life of an idempotency key")
    service_keys: Path = Field(
        default_factory=lambda: state_folder() / "keys" / "service",
        description="folder of the services' private keys (0400); replicas of one service share it",
    )
    worker_keys_file: Path | None = Field(
        default=None,
        description="public keys to which services may seal, one a line; without it, the keys that workers "
        "announce in Redis are trusted, so that whoever may write to Redis is trusted too",
    )

    @model_validator(mode="after")
    def _a_job_outlives_its_idempotency_key(self) -> "QueueSettings":
        """Else the key would answer 409 for a job that nobody can look up any more."""
        if self.idempotency_ttl > self.tombstone_ttl:
            raise ValueError("DDSR_IDEMPOTENCY_TTL must not be longer than DDSR_TOMBSTONE_TTL")
        return self

    @property
    def envelope_ttl(self) -> int:
        """Seconds for which a sealed request must outlive its waiting and every attempt."""
        return self.queue_ttl + (self.retries + 1) * (self.job_timeout + 60)


class WorkerSettings(_Settings):
    """The worker's own part. Times are seconds."""

    worker_keys: Path = Field(
        default_factory=lambda: state_folder() / "keys" / "worker",
        description="folder of the worker's private keys (0400), made at first start",
    )
    public_keys_file: Path | None = Field(
        default=None,
        description="where the worker writes its public keys, for DDSR_WORKER_KEYS_FILE of the services",
    )
    model: str | None = Field(default=None, description="folder or hub id of a model; none: the embedded one")
    device: str = Field(default="cpu", description="torch device")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="number format of the network; docs/benchmarks.md says what each costs"
    )
    batch_size: int = Field(default=4, ge=1, le=256, description="jobs computed together at most")
    batch_window: float = Field(
        default=0.05, ge=0, le=5, description="how long a batch waits for company; a job alone a tenth of it"
    )
    heartbeat_interval: float = Field(default=2.0, gt=0)
    heartbeat_ttl: int = Field(default=6, ge=1, description="silence after which a running job is taken over")
    maintenance_interval: int = Field(default=2, ge=1)
    stuck_after: int = Field(default=15, ge=1, description="a job taken but never begun is queued again after this")
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9464, ge=0, le=65535, description="Prometheus port of the worker; 0: none")
    webhook_secret_file: Path = Field(
        default_factory=lambda: state_folder() / "keys" / "webhook.secret",
        description="secret that signs webhooks (`whsec_...`, 0400), made at first start",
    )
    webhook_allow_private: bool = Field(default=False, description="let webhooks reach private addresses")
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class StackSettings(_Settings):
    """`ddsr up`: where the processes of one machine live."""

    state: Path = Field(default_factory=state_folder, description="keys, Redis data")
    host: str = "127.0.0.1"
    sender_port: int = Field(default=8001, ge=0, le=65535)
    receiver_port: int = Field(default=8002, ge=0, le=65535)
    metrics_port: int = Field(default=9464, ge=0, le=65535)
    workers: int = Field(default=1, ge=0, le=64)
    ready_timeout: float = Field(default=600.0, gt=0, description="seconds that one part may take to get ready")
