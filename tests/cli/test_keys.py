"""`ddsr keys` on real key files."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli.keys import register
from shared.envelope import Keyring


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, ["keys", *arguments])
    return result.exit_code, result.output


def test_rotation(tmp_path: Path) -> None:
    old = Keyring.load_or_create(tmp_path).current.public
    assert run("show", str(tmp_path)) == (0, f"{old.id} {old.to_text()}\n")
    code, new = run("rotate", str(tmp_path))
    assert code == 0
    assert [line.split()[0] for line in run("show", str(tmp_path))[1].splitlines()] == [old.id, new.strip()]
    assert run("destroy", str(tmp_path), new.strip())[0] == 1
    assert run("destroy", str(tmp_path), old.id) == (0, "")
    assert Keyring.load_or_create(tmp_path).current.public.id == new.strip()


def test_unknown_and_damaged(tmp_path: Path) -> None:
    Keyring.load_or_create(tmp_path)
    assert run("destroy", str(tmp_path), "0" * 16) == (1, "there is no such key\n")
    (tmp_path / "0001.key").chmod(0o644)
    code, shown = run("show", str(tmp_path))
    assert code == 1
    assert "0600" in shown
    assert run("show", str(tmp_path / "nowhere"))[0] == 2


@pytest.mark.parametrize("words", [("show",), ("rotate",), ("destroy", "0" * 16)])
def test_a_folder_without_keys_gets_none(tmp_path: Path, words: tuple[str, ...]) -> None:
    """A mistyped folder that exists; a key made in it would be nobody's."""
    code, said = run(words[0], str(tmp_path), *words[1:])
    assert code == 1
    assert "no key" in said
    assert not list(tmp_path.iterdir())
