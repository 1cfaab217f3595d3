"""Both services on real sockets, with a real Redis and a real worker process."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ddsr_client import Client, Retry
from services.receiver.app import ReceiverSettings
from services.receiver.app import create_app as create_receiver
from services.sender.app import SenderSettings
from services.sender.app import create_app as create_sender
from shared.settings import QueueSettings
from tests.services.conftest import queue, worker
from tests.services.live import live
from tests.worker.conftest import own_server, shared_server

__all__ = ["own_server", "queue", "shared_server", "worker"]

EAGER = Retry(tries=8, first=0.05, longest=0.5)


@dataclass(frozen=True)
class Addresses:
    sender: str
    receiver: str

    def client(self, retry: Retry = EAGER, timeout: float = 60) -> Client:
        return Client(self.sender, self.receiver, retry=retry, timeout=timeout)


@pytest.fixture(scope="session")
def services(queue: QueueSettings, worker: None) -> Iterator[Addresses]:
    sender = create_sender(SenderSettings(rate_limit=""), queue)
    receiver = create_receiver(ReceiverSettings(rate_limit=""), queue)
    with live(sender) as sender_url, live(receiver) as receiver_url:
        yield Addresses(sender_url, receiver_url)


@pytest.fixture
def client(services: Addresses) -> Iterator[Client]:
    with services.client() as found:
        yield found
