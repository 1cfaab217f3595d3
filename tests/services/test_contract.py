"""Both services against their own OpenAPI documents (schemathesis), with a real server, queue and worker."""

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from services.receiver.app import ReceiverSettings
from services.receiver.app import create_app as create_receiver
from services.sender.app import SenderSettings
from services.sender.app import create_app as create_sender
from shared.settings import QueueSettings
from tests.services.live import live

OPERATIONS = {GenerationMode.POSITIVE: 9, GenerationMode.NEGATIVE: 5}  # the others take nothing that could be wrong
BOUNDED = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
# A schema cannot say which bytes are a picture or which text is a prompt, so data that it allows may be refused.
EXCLUDED = [positive_data_acceptance]


def make_sender(queue: QueueSettings) -> FastAPI:
    return create_sender(SenderSettings(rate_limit="", default_wait=5), queue)


def make_receiver(queue: QueueSettings) -> FastAPI:
    return create_receiver(ReceiverSettings(rate_limit="", default_wait=5), queue)


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("make", [make_sender, make_receiver])
def test_answers_are_as_documented(
    make: Callable[[QueueSettings], FastAPI], mode: GenerationMode, queue: QueueSettings, worker: None
) -> None:
    """Valid and invalid requests to every operation: statuses, media types, headers and bodies are documented."""
    asked: set[str] = set()
    with live(make(queue)) as address:
        document = schemathesis.openapi.from_url(address + "/openapi.json")
        for found in document.get_all_operations():
            operation = found.ok()
            if mode is GenerationMode.POSITIVE or operation.body or list(operation.iter_parameters()):
                _ask(operation.as_strategy(generation_mode=mode), asked)
    assert len(asked) == OPERATIONS[mode]


def _ask(cases: Any, asked: set[str]) -> None:
    @BOUNDED
    @given(cases)
    def ask(case: schemathesis.Case) -> None:
        asked.add(case.operation.label)
        case.call_and_validate(excluded_checks=EXCLUDED)

    ask()
