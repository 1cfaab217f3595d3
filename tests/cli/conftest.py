"""The Redis fixtures of tests.worker."""

from tests.worker.conftest import server, shared_server

__all__ = ["server", "shared_server"]
