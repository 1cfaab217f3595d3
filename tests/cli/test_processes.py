"""What all processes have in common: no core dumps, and no word of a password in an address that is malformed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.test_serve import allow_core_dumps
from tests.worker.support import ROOT

pytestmark = pytest.mark.timeout(300)

LIMIT = """
import resource, sys
from typer.testing import CliRunner
from cli.main import app
CliRunner(env={"DDSR_IDENTITY_PROMPT": None}).invoke(app, sys.argv[1:])
print(resource.getrlimit(resource.RLIMIT_CORE))
"""
PASSWORDS = ["xyzzy-1/plugh-2", "xyzzy-1#plugh-2", "xyzzy-1?plugh-2", "xyzzy-1]plugh-2"]
PROGRAMS = {
    "worker": ["tests.worker.arithmetic"],
    "sender": ["services.sender"],
    "up": ["cli.main", "up"],
    "doctor": ["cli.main", "doctor"],
}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DDSR_", "REDIS_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=allow_core_dumps,
        timeout=240,
    )


@pytest.mark.parametrize("command", [["hide", "x.png", "--disguise", "the sea"], ["recover", "x.png"]])
def test_commands_that_see_a_face_leave_no_core_dump(command: list[str], tmp_path: Path) -> None:
    done = run("-c", LIMIT, *command, "--out-dir", str(tmp_path))
    assert done.stdout == "(0, 0)\n", done.stderr


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_malformed_address_of_redis_is_not_quoted(program: str, password: str, tmp_path: Path) -> None:
    done = run(
        "-m",
        *PROGRAMS[program],
        REDIS_URL=f"redis://:{password}@127.0.0.1:1/0",
        XDG_STATE_HOME=str(tmp_path),
        DDSR_METRICS_PORT="0",
    )
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "REDIS_URL cannot be read; escape its password, or use DDSR_REDIS_PASSWORD_FILE" in said
    assert "xyzzy" not in said
    assert "plugh" not in said
    assert "Traceback" not in said
