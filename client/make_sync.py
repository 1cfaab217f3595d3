"""Makes `ddsr_client/sync.py` out of `ddsr_client/aio.py` by `unasync`; `--check` only says whether it is so."""

import subprocess
import sys
import tempfile
from pathlib import Path

import unasync

HERE = Path(__file__).parent / "ddsr_client"
HEADER = "# Made from aio.py by `make client`. Do not edit.\n"
NAMES = {
    "AsyncClient": "Client",
    "AsyncJobHandle": "JobHandle",
    "AsyncProgress": "Progress",
    "aclose": "close",
    "aclosing": "closing",
    "aiter_lines": "iter_lines",
    "anext": "next",
    "apause": "pause",
    "aread": "read",
    "ashield": "shield",
    "atell": "tell",
}


def blocking() -> str:
    """The text of `sync.py`."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = (Path(folder, name, "client.py") for name in ("aio", "sync"))
        source.parent.mkdir()
        source.write_text((HERE / "aio.py").read_text())
        unasync.unasync_files([str(source)], [unasync.Rule("/aio/", "/sync/", NAMES)])
        text = HEADER + target.read_text()
    return _ruff(["format"], _ruff(["check", "--fix", "--select", "I"], text))


def _ruff(command: list[str], text: str) -> str:
    """The text as ruff leaves it, with the settings for `sync.py`."""
    ruff = [sys.executable, "-m", "ruff", *command, "--quiet", "--stdin-filename", str(HERE / "sync.py"), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    made, target = blocking(), HERE / "sync.py"
    if "--check" not in sys.argv:
        target.write_text(made)
    sys.exit(made != target.read_text() and "client/ddsr_client/sync.py is not what aio.py makes: run `make client`")
