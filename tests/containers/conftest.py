"""One composition for all checks, on empty volumes."""

from collections.abc import Callable, Iterator

import pytest

from tests.containers.trial import Trial

Say = Callable[[str], None]


@pytest.fixture(scope="session")
def trial() -> Iterator[Trial]:
    trial = Trial()
    trial.compose("down", "--volumes", "--remove-orphans")
    assert trial.volumes() == []
    with trial.client:
        yield trial
    trial.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Print what was measured, on the line of the check."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {text}", end=" ", flush=True)

    return say
