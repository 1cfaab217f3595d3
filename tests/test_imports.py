"""Who may import whom: the contracts of pyproject.toml hold, and one that is broken is found."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = """
[importlinter]
root_package = house
include_external_packages = True

[importlinter:contract:rq]
name = two files know RQ
type = forbidden
source_modules = house
forbidden_modules = rq
ignore_imports = house.queue -> rq

[importlinter:contract:cycles]
name = no package has a cycle
type = acyclic_siblings
ancestors = house
"""


def broken_contracts(folder: Path, *arguments: str) -> list[str]:
    """Names of the contracts that do not hold."""
    program = Path(sys.executable).with_name("lint-imports")
    ended = subprocess.run([program, "--no-cache", *arguments], cwd=folder, capture_output=True, text=True)
    assert "Contracts:" in ended.stdout, ended.stdout + ended.stderr
    return re.findall(r"^(.+) BROKEN\b", ended.stdout, re.MULTILINE)


def test_the_contracts_hold() -> None:
    assert broken_contracts(ROOT) == []


@pytest.mark.parametrize(
    ("line", "broken"),
    [("", []), ("import rq", ["two files know RQ"]), ("import house.queue", ["no package has a cycle"])],
)
def test_a_third_file_that_imports_rq_and_a_cycle_are_found(line: str, broken: list[str], tmp_path: Path) -> None:
    package = tmp_path / "house"
    package.mkdir()
    for name, text in {"__init__": "", "queue": "import rq\nimport house.part\n", "part": line}.items():
        (package / f"{name}.py").write_text(text)
    (tmp_path / ".importlinter").write_text(CONTRACTS)
    assert broken_contracts(tmp_path) == broken
