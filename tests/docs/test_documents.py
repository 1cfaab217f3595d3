"""What the documents name exists: settings and their defaults, commands and flags, targets, links, codes.

`tests/deploy/test_documents.py` looks closer at operations, threat model and security policy.
"""

import ast
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from cli.main import app
from services.common.problems import problem_classes
from services.common.settings import ServiceSettings
from services.receiver.app import ReceiverSettings
from services.receiver.schemas import RecoverForm
from services.sender.app import SenderSettings
from services.sender.schemas import HideForm
from shared import errors
from shared.settings import QueueSettings, StackSettings, WorkerSettings
from tests.docs.pages import PAGES, README, ROOT, anchors, blocks, code_of, prose, rows, section, shell_lines

KINDS = (StackSettings, ServiceSettings, SenderSettings, ReceiverSettings, QueueSettings, WorkerSettings)
UNITS = {"KiB": 1024, "MiB": 1024**2, "million": 10**6}
every_page = pytest.mark.parametrize("page", PAGES)


def variable_of(name: str, field: Any) -> str:
    """The environment variable of a settings field."""
    alias = field.validation_alias
    if isinstance(alias, str):
        return alias
    return "REDIS_URL" if alias is not None else f"DDSR_{name.upper()}"


def default_text(value: Any) -> str:
    """A default as the README's table writes it."""
    value = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value in ("", ()):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.fixture(scope="module")
def defaults() -> dict[str, str]:
    """Variable -> default, with the folder of state in its own words."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("REDIS_URL", "XDG_STATE_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("XDG_STATE_HOME", "$XDG_STATE_HOME")
        found = {}
        for kind in KINDS:
            made = {name: field.get_default(call_default_factory=True) for name, field in kind.model_fields.items()}
            found |= {variable_of(name, kind.model_fields[name]): default_text(value) for name, value in made.items()}
    return found


@pytest.fixture(scope="module")
def known(defaults: dict[str, str]) -> set[str]:
    """Every variable that something reads: settings, other programs of the repository, Compose's files."""
    stack = {f"DDSR_{name.upper()}" for name in StackSettings.model_fields}
    compose = "".join(path.read_text() for path in (ROOT / "docker-compose.yml", *(ROOT / "docker").glob("*.yml")))
    code = "".join(
        path.read_text()
        for folder in ("cli", "client", "evaluation", "training", "bench", "load", "fuzz", "tests/fuzz", "tests/page")
        for path in (ROOT / folder).rglob("*.py")
    )
    read = re.findall(r'"(DDSR_[A-Z_]+)"', code) + re.findall(r"\$\{(DDSR_[A-Z_]+)", compose)
    return {*defaults, *stack, *read}


def test_there_are_pages() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "client/README.md"} <= set(PAGES)
    assert len(README.splitlines()) <= 240


@every_page
def test_every_variable_exists(page: str, known: set[str]) -> None:
    assert set(re.findall(r"\bDDSR_[A-Z_]*[A-Z]\b", PAGES[page])) <= known


def test_the_table_of_settings_is_the_codes(defaults: dict[str, str]) -> None:
    table = rows(section(README, "## Configuration"))[2:]
    assert len(table) > 15
    for names, values, *_ in table:
        said = [value.strip("`") for value in values.split(", ")]
        assert len(said) == len(code_of(names))
        for name, value in zip(code_of(names), said, strict=True):
            assert value == defaults[name], name


@every_page
def test_defaults_in_brackets_are_the_codes(page: str, defaults: dict[str, str]) -> None:
    for name, value in re.findall(r"`(DDSR_[A-Z_]+)` \(([\d.]+)(?: s)?\)", PAGES[page]):
        assert value.removesuffix(".0") == defaults[name], name


def test_the_table_of_limits_is_the_codes(defaults: dict[str, str]) -> None:
    table = [row for row in rows(section(PAGES["docs/api.md"], "## Limits")) if code_of(row[2])]
    assert len(table) > 8
    for _, value, name, _ in table:
        numbers = re.findall(r"(\d+(?: \d{3})*)(?: (KiB|MiB|million))?", value)
        said = {str(int(number.replace(" ", "")) * UNITS.get(unit, 1)) for number, unit in numbers}
        assert defaults[name.strip("`")].removesuffix("/minute") in said, name


@every_page
def test_every_link_resolves(page: str) -> None:
    here = (ROOT / page).parent
    text = re.sub(r"`[^`\n]*`", "", prose(PAGES[page]))
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = (here / path).resolve() if path else ROOT / page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(found.read_text()), target


@every_page
def test_python_compiles(page: str) -> None:
    for block in blocks(PAGES[page], "python"):
        compile(block.text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def commands(page: str) -> list[list[str]]:
    """The words after `ddsr` of every command of a page; alternatives (`a | b`) are cut off."""
    found = []
    for line in shell_lines(page):
        match = re.search(r"(?:^|[\s/(])ddsr +((?:-|[a-z]).*)$", line.split(" #")[0])
        if match and not re.match(r"^(RUN|image|FROM)\b", line):
            found.append(shlex.split(match[1].split(" | ")[0].split(" > ")[0].rstrip(")"), posix=True))
    return found


@every_page
def test_every_command_and_flag_exists(page: str) -> None:
    for words in commands(PAGES[page]):
        command: Any = typer.main.get_command(app)
        path = []
        while words and hasattr(command, "commands") and words[0] in command.commands:
            path.append(words[0])
            command = command.commands[words.pop(0)]
        assert path or not words or words[0].startswith("-") or words[0].isupper(), words
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        options |= {"--help", "-h"}
        assert {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= options, (path, words)
        assert not hasattr(command, "commands") or not words or not re.fullmatch(r"[a-z]+", words[0]), (path, words)


def test_help_of_every_command_that_is_named() -> None:
    root: click.Command = typer.main.get_command(app)
    heads = {tuple(words[:1]) for text in PAGES.values() for words in commands(text) if words and words[0].islower()}
    names = {head for head in heads if not head[0].startswith("-")}
    assert {("hide",), ("recover",), ("up",), ("doctor",), ("bench",)} <= names
    for name in sorted(names):
        ended = CliRunner().invoke(app, [*name, "--help"])
        assert ended.exit_code == 0, ended.output
        assert "Usage" in ended.output
    assert root is not None


@every_page
def test_every_target_and_module_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in shell_lines(PAGES[page]):
        for target in re.findall(r"(?:^|&& )make ([a-z][a-z-]*)", line):
            assert target in targets, line
        for module in re.findall(r"python3? -m ([a-z_.]+)", line):
            if module.split(".")[0] not in ("pip", "pytest"):
                assert importlib.util.find_spec(module), line


@every_page
def test_files_of_the_repository_exist(page: str) -> None:
    folders = "docs|docker|deploy|tests|shared|requirements|services|worker|cli|client|training|evaluation|bench|load"
    for span in code_of(prose(PAGES[page])):
        match = re.fullmatch(rf"((?:{folders})/[\w./*-]+)(?:::\w+)?", span)
        if match and match[1] != "deploy/kubernetes/base/secrets":  # made by the reader
            assert list(ROOT.glob(match[1].rstrip("/"))), span


def test_the_table_of_errors_is_the_codes() -> None:
    table = rows(section(README, "## Errors"))[2:]
    said = {code: int(status) for status, codes, _ in table for code in code_of(codes)}
    assert said == {code: kind.status for code, kind in problem_classes().items()}
    assert {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")} <= set(
        said
    )
    for status, codes, _ in table:
        assert code_of(codes) == sorted(code_of(codes)), status


@every_page
def test_fields_of_curl_exist(page: str) -> None:
    fields = {*HideForm.model_fields, *RecoverForm.model_fields}
    for line in shell_lines(PAGES[page]):
        if "curl" in line and ("/hide" in line or "/recover" in line):
            assert set(re.findall(r"-F '?(\w+)=", line)) <= fields, line


def test_the_default_walk_is_named() -> None:
    from shared.diffusion.schemes import SCHEMES

    keyed = SCHEMES["keyed"]
    assert f"`{keyed.solver}` with {keyed.steps} steps" in PAGES["CHANGELOG.md"]


def test_the_embedded_weights_are_named() -> None:
    card = PAGES["shared/weights/README.md"]
    (fingerprint,) = re.findall(r"Fingerprint `([0-9a-f]{16})`", card)
    assert f"fingerprint `{fingerprint}`" in PAGES["CHANGELOG.md"]


def test_examples_for_the_readme_are_there() -> None:
    for name in re.findall(r"@(examples/\S+?)[\s']", README):
        assert Path(ROOT / name).exists()
