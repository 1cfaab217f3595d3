"""What the blocking and the awaited client have in common: settings, the core, and httpx's plain form."""

import httpx

from ddsr_client.core import Core, Started
from ddsr_client.models import Kind
from ddsr_client.retry import Retry
from ddsr_client.secret import Secret
from ddsr_client.settings import Settings, make_settings
from ddsr_client.wire import Reply

DIRECT = {"http://": None}  # no proxy of the environment for http: it would read prompt and key


class ClientBase:
    """Settings and core of a client; see `ddsr_client.sync.Client` for the arguments."""

    def __init__(
        self,
        sender_url: str | None,
        receiver_url: str | None,
        api_key: str | Secret | None,
        receiver_api_key: str | Secret | None,
        timeout: float | None,
        retry: Retry | None,
        insecure_http: bool,
    ) -> None:
        self.settings: Settings = make_settings(sender_url, receiver_url, api_key, receiver_api_key, insecure_http)
        self.timeout = timeout
        self._core = Core(self.settings, retry or Retry())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(sender={self.settings.sender.url!r}, receiver={self.settings.receiver.url!r})"

    def _seconds(self, given: float | None) -> float | None:
        return self.timeout if given is None else given


class HandleBase:
    """Kind and id of a job, and what was cut out for it."""

    def __init__(self, started: Started) -> None:
        self._started = started
        self.kind: Kind = started.kind
        self.id = started.id
        self.crop = started.crop

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind!r}, {self.id!r})"


def reply_of(response: httpx.Response, content: bytes = b"") -> Reply:
    """The plain form of httpx's answer, which holds the request."""
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, content)
