"""One house for most tests. Whatever a test does to it, every job must end and no secret may be left."""

from collections.abc import Iterator

import pytest

from tests.faults.house import House


@pytest.fixture(scope="session")
def shared_house() -> Iterator[House]:
    house = House()
    try:
        house.start_redis()
        house.sender, house.receiver = house.service("sender"), house.service("receiver")
        yield house
    finally:
        house.stop()


@pytest.fixture
def house(shared_house: House) -> Iterator[House]:
    """Redis, sender and receiver; the test says which workers it wants (`staff`, `worker`, `dismiss`)."""
    yield shared_house
    try:
        if not shared_house.redis_answers():
            shared_house.start_redis()
        if shared_house.accepted:
            shared_house.staff()
        shared_house.settle()
    finally:
        shared_house.accepted.clear()


@pytest.fixture
def staffed(house: House) -> House:
    """With one worker."""
    house.staff()
    return house
