"""Both services against their own OpenAPI documents (schemathesis), with a real server, queue and worker."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from services.receiver.app import ReceiverSettings
from services.receiver.app import create_app as create_receiver
from services.sender.app import SenderSettings
from services.sender.app import create_app as create_sender
from shared.settings import QueueSettings
from tests.services.live import live

BOUNDED = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
# A schema cannot say which bytes are a picture or which text is a prompt, so data that it allows may be refused.
EXCLUDED = [positive_data_acceptance]


@pytest.fixture(scope="module")
def sender_schema(queue: QueueSettings, worker: None) -> Iterator[Any]:
    with live(create_sender(SenderSettings(rate_limit="", default_wait=5), queue)) as address:
        yield schemathesis.openapi.from_url(address + "/openapi.json")


@pytest.fixture(scope="module")
def receiver_schema(queue: QueueSettings, worker: None) -> Iterator[Any]:
    with live(create_receiver(ReceiverSettings(rate_limit="", default_wait=5), queue)) as address:
        yield schemathesis.openapi.from_url(address + "/openapi.json")


sender = schemathesis.pytest.from_fixture("sender_schema")
receiver = schemathesis.pytest.from_fixture("receiver_schema")


@sender.parametrize()
@BOUNDED
def test_sender(case: schemathesis.Case) -> None:
    case.call_and_validate(excluded_checks=EXCLUDED)


@receiver.parametrize()
@BOUNDED
def test_receiver(case: schemathesis.Case) -> None:
    case.call_and_validate(excluded_checks=EXCLUDED)
