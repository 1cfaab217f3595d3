"""Help, examples, exit codes, colours, completion, of the real program."""

import importlib
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.examples import EXAMPLES
from cli.main import EXIT_CODES, app, main
from cli.train import configured

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "import sys; sys.argv[0] = 'ddsr'; from cli.main import main; main()"]
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;|4[0-7])[0-9;]*m")


def leaves(command: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words after `ddsr`."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, (*above, name))
    else:
        yield " ".join(above), command


COMMANDS = dict(leaves(typer.main.get_command(app)))


def test_every_command_has_help_and_examples() -> None:
    assert set(EXAMPLES) == set(COMMANDS), "cli/examples.py"
    for name, command in COMMANDS.items():
        assert command.help, name
        assert all(example in (command.epilog or "") for example in EXAMPLES[name]), name


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_are_understood(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys" / "worker").mkdir(parents=True)
    for example in EXAMPLES[name]:
        words = shlex.split(example)
        start = ["ddsr", *name.split()]
        assert words[: len(start)] == start
        COMMANDS[name].make_context(name, words[len(start) :]).close()  # raises for an unknown option or a bad value


def test_fields_that_examples_set_exist() -> None:
    seen = []
    for name in (name for name in EXAMPLES if name.startswith("train ")):
        command, stage = COMMANDS[name], name.removeprefix("train ")
        for example in EXAMPLES[name]:
            given = command.make_context(name, shlex.split(example)[3:], resilient_parsing=True).params
            if given.get("set"):
                module = importlib.import_module(f"training.{stage}")
                config = module.TINY if given["tiny"] else getattr(module, f"{stage.capitalize()}Config")()
                configured(config, given["set"])  # raises for an unknown field or a value that is none
                seen += given["set"]
    assert seen


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "PY_COLORS", "NO_COLOR")}
    return subprocess.run(
        [*PROGRAM, *words], cwd=ROOT, env={**clean, **environment}, capture_output=True, text=True, timeout=240
    )


def in_terminal(*words: str, **environment: str) -> str:
    """What the program writes to a terminal that can show colours."""
    clean = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "PY_COLORS", "NO_COLOR")}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, *words],
        cwd=ROOT,
        env={**clean, "TERM": "xterm-256color", **environment},
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not part:
            break
        said += part
    os.close(ours)
    process.wait(240)
    return said.decode()


def test_version() -> None:
    assert run("--version").stdout == f"ddsr {version('ddsr')}\n"


def test_passphrase() -> None:
    """Words of the list and as many as asked for, another five each time; on standard output nothing else."""
    first, second = run("passphrase"), run("passphrase", "--words", "7")
    assert (len(first.stdout.split()), first.stderr) == (5, "64 bits\n")
    assert (len(second.stdout.split()), second.stderr) == (7, "90 bits\n")
    assert first.stdout.split() != second.stdout.split()[:5]
    assert run("passphrase", "--words", "4").returncode == 2


def test_no_colours_in_a_pipe() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "Exit codes" in done.stdout


def test_no_colours_with_no_color() -> None:
    words = ("hide", "face.png", "--disguise", "x", "--format", "tiff", "-o", "s.png")
    assert COLOUR.search(in_terminal(*words)), "the terminal of this test does show colours"
    quiet = in_terminal(*words, NO_COLOR="1")
    assert "one of png" in quiet
    assert not COLOUR.search(quiet)


def test_the_help_and_the_page_list_the_exit_codes() -> None:
    listed = {int(number) for number in re.findall(r"\b(\d+) [a-z]", EXIT_CODES)}
    assert listed == {0, 1, 2, 3, 4, 5, 130}
    page = (ROOT / "docs" / "cli.md").read_text()
    assert {int(number) for number in re.findall(r"^\| `(\d+)` \|", page, re.MULTILINE)} == listed


def exit_code(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["ddsr", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_exit_codes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prompt").write_text("secret")
    hide = ("hide", "no.png", "--disguise", "x", "-o", str(tmp_path / "s.png"), "--identity-prompt-file")
    assert exit_code(monkeypatch, "--help") == 0
    assert exit_code(monkeypatch, *hide, str(tmp_path / "nothing")) == 1
    assert exit_code(monkeypatch, "hide", "--nonsense") == 2
    assert exit_code(monkeypatch, *hide, str(tmp_path / "prompt"), "--model", str(tmp_path)) == 3
    capsys.readouterr()


def test_an_error_of_the_program_is_4(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cli.keys._load", broken)
    assert exit_code(monkeypatch, "keys", "show", ".") == 4
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_interrupted_is_130(tmp_path: Path) -> None:
    """It waits for the identity prompt of a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "prompt")
    words = ["hide", "no.png", "--disguise", "x", "-o", "s.png", "--identity-prompt-file", str(tmp_path / "prompt")]
    process = subprocess.Popen(
        [*PROGRAM, *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits it ignored
    )
    deadline = time.monotonic() + 240
    while "wait_for_partner" not in (waits := _waits(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 130, (waits, errors)
    assert "Traceback" not in errors


def _waits(pid: int) -> str:
    """The kernel's name for what a process waits in; opening a fifo waits for its other end."""
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize(("words", "number", "expected"), [("ddsr do", 1, ["doctor"]), ("ddsr keys ro", 2, ["rotate"])])
def test_completion_for_bash(words: str, number: int, expected: list[str]) -> None:
    done = run(_DDSR_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(number))
    assert done.stdout.split() == expected
