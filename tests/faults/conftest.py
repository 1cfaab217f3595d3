"""One cluster for most tests. Whatever a test does to it, every job must end and no secret may be left."""

from collections.abc import Iterator

import pytest

from tests.faults.cluster import Cluster


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start_redis()
        cluster.sender, cluster.receiver = cluster.service("sender"), cluster.service("receiver")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """Redis, sender and receiver; the test says which workers it wants (`staff`, `worker`, `dismiss`)."""
    yield shared_cluster
    try:
        if not shared_cluster.redis_answers():
            shared_cluster.start_redis()
        if shared_cluster.accepted:
            shared_cluster.staff()
        shared_cluster.settle()
    finally:
        shared_cluster.accepted.clear()


@pytest.fixture
def staffed(cluster: Cluster) -> Cluster:
    """With one worker."""
    cluster.staff()
    return cluster
