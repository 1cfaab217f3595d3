"""The Redis fixtures of tests.worker."""

from tests.worker.conftest import own_server, server, shared_server

__all__ = ["own_server", "server", "shared_server"]
