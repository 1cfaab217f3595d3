"""Only `shared.jobs` and the worker's loop know RQ, and only `shared.jobs` the keys of a job."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.jobs.rq import QueueKeys
from shared.settings import QueueSettings

ROOT = Path(__file__).parents[2]
PRODUCT = ("shared", "services", "worker", "cli", "bench", "load", "fuzz", "training", "evaluation", "examples")
RQ = {Path("shared/jobs/rq.py"), Path("worker/rq_worker.py")}
KEYS = ("rq:queue", "rq:job", "rq:wip", "ddsr:job:", "ddsr:leases", "ddsr:webhooks", "ddsr:workers", "ddsr:worker:")


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def imported(tree: ast.Module) -> set[str]:
    """First parts of the names of all modules that a file imports, at its top or later."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names}


def test_two_files_import_rq() -> None:
    assert {path for path, tree in sources() if "rq" in imported(tree)} == RQ


@pytest.mark.parametrize("key", KEYS)
def test_no_other_file_names_a_key(key: str) -> None:
    found = [
        path
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and key in node.value
    ]
    assert not [path for path in found if not path.is_relative_to("shared/jobs")]


def test_the_lists_of_rq() -> None:
    """What KEDA's scaler and Redis' users are told (deploy/kubernetes, docker/redis.conf)."""
    assert QueueKeys.of(QueueSettings()) == QueueKeys("rq:queue:ddsr", "rq:queue:ddsr:intermediate")
