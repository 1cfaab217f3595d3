"""What the two services read from the environment, once, at start."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.imaging import MAX_PIXELS, MAX_SIDE
from shared.limits import DEFAULT_SCHEME, MAX_PROMPT, MAX_STEPS, Scheme

MIB = 1024 * 1024
ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class ServiceSettings(BaseSettings):
    """Limits, addresses and keys of one service; every field is an environment variable `DDSR_<NAME>`.

    Seconds are seconds, sizes are bytes or pixels. `api_keys` holds hashes only (see `services.common.keys`).
    """

    model_config = SettingsConfigDict(
        env_prefix="DDSR_", extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    trusted_proxies: str = Field(default="", description="addresses whose X-Forwarded-For is believed")

    api_keys: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="lines `name:sha256:hex[:metrics]`; in the environment parted by spaces or commas"
    )
    api_keys_file: Path | None = Field(default=None, description="a file of such lines, with # for remarks")
    metrics_open: bool = Field(default=False, description="/metrics needs no key even where keys are set")

    allow_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="origins whose pages may call this service (CORS); parted by spaces or commas"
    )

    max_body_bytes: int = Field(default=16 * MIB, ge=1024)
    max_field_bytes: int = Field(default=16 * 1024, ge=1024, description="of one text field of a form")
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    max_prompt: int = Field(
        default=MAX_PROMPT, ge=1, le=MAX_PROMPT, description="characters of a prompt's canonical form"
    )
    max_side: int = Field(default=MAX_SIDE, ge=1, description="pixels of one side of a picture")
    max_steps: int = Field(default=MAX_STEPS, ge=1, le=MAX_STEPS)
    max_uploads: int = Field(default=32, ge=1, description="requests with a body held in memory at a time")
    max_waiting: int = Field(
        default=200, ge=1, description="requests of one key, without keys of all, that wait for jobs or follow them"
    )
    upload_seconds: float = Field(default=60.0, gt=0, description="a body must have arrived by then")

    scheme: Scheme = Field(default=DEFAULT_SCHEME, description="of a hiding that names none")

    default_wait: float = Field(default=60.0, ge=0, description="without `Prefer: wait`")
    max_wait: float = Field(default=300.0, ge=0)
    retry_after: int = Field(default=2, ge=1, description="the hint of 202 and of 503")
    stream_seconds: float = Field(default=3600.0, gt=0, description="the longest event stream")

    rate_limit: str = Field(default="60/minute", description="POSTs of one key, without keys of all; empty: none")
    poll_limit: str = Field(default="1200/minute", description="other requests for jobs; empty: none")

    log_level: str = "info"

    @field_validator("api_keys", "allow_origins", mode="before")
    @classmethod
    def split(cls, value: object) -> object:
        """Several values out of one environment variable."""
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("allow_origins")
    @classmethod
    def check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Each is scheme and host, without a path: browsers compare the text. `*` is refused."""
        for origin in value:
            if ORIGIN.fullmatch(origin) is None:
                raise ValueError("an origin is http://HOST or https://HOST, with a port where it has one, and no path")
        return value
