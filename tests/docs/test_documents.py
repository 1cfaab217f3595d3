"""What the documents name exists: settings and their defaults, commands and flags, targets, links, codes.

`tests/deploy/test_documents.py` looks closer at operations, threat model and security policy.
"""

import ast
import importlib.util
import re
import shlex
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.main import app
from services.common.settings import ServiceSettings
from services.receiver.app import ReceiverSettings
from services.receiver.schemas import RecoverForm
from services.sender.app import SenderSettings
from services.sender.schemas import HideForm
from shared import errors
from shared.settings import QueueSettings, StackSettings, WorkerSettings
from tests.docs.pages import PAGES, README, ROOT, anchors, blocks, code_of, prose, rows, section, shell_lines
from tests.services.problem_table import problem_classes

KINDS = (StackSettings, ServiceSettings, SenderSettings, ReceiverSettings, QueueSettings, WorkerSettings)
UNITS = {"KiB": 1024, "MiB": 1024**2, "million": 10**6}


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


@cache
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


@cache
def known() -> set[str]:
    """Every variable that something reads: settings, other programs of the repository, Compose's files."""
    stack = {f"DDSR_{name.upper()}" for name in StackSettings.model_fields}
    compose = "".join(path.read_text() for path in (ROOT / "docker-compose.yml", *(ROOT / "docker").glob("*.yml")))
    code = "".join(
        path.read_text()
        for folder in ("cli", "client", "evaluation", "training", "bench", "load", "fuzz", "tests/fuzz", "tests/page")
        for path in (ROOT / folder).rglob("*.py")
    )
    read = re.findall(r'"(DDSR_[A-Z_]+)"', code) + re.findall(r"\$\{(DDSR_[A-Z_]+)", compose)
    return {*defaults(), *stack, *read}


def test_there_are_pages() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "client/README.md"} <= set(PAGES)


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.split()) <= 1200
    assert re.findall(r"^## (.+)$", prose(README), re.MULTILINE) == [
        "When to use it, and when not",
        "Two commands",
        "curl",
        "Python",
        "How well it works",
        "Schemes and channels",
        "Limits",
        "More",
    ]


def test_the_documents_stay_short() -> None:
    """Generated reports count, too."""
    assert sum(len(path.read_text().split()) for path in (ROOT / "docs").rglob("*.md")) <= 22_000


def test_the_readmes_figures_are_the_reports() -> None:
    """Ten rows; each figure with its interval is one of the published report, in its own digits."""
    table = rows(section(README, "## How well it works"))[2:]
    assert len(table) == 10
    reports = "".join(path.read_text() for path in (ROOT / "docs/results").rglob("*.md"))
    for row in table:
        figures = re.findall(r"[\d.]+ \[[\d.]+, [\d.]+\]", row[3])
        assert len(figures) == 1 or row[3] == "refused"
        assert all(figure in reports for figure in figures), row


def test_no_cell_of_the_readme_holds_a_list() -> None:
    cells = [cell for row in rows(README) for cell in row]
    assert len(cells) > 60
    assert not [cell for cell in cells if len(code_of(cell)) > 2 or cell.count(", ") > 2 or "<br" in cell]


Check = Callable[[str, str], list[tuple[str, bool]]]
CHECKS: dict[str, tuple[Check, int, str]] = {}


def check(least: int, wrong: str) -> Callable[[Check], Check]:
    """Register a check, which gives every statement of a page (its path, its text) and whether it is true.

    `least` statements are to be found in all pages together, and `wrong` is a page with a false one: a check whose
    expressions match nothing any more, or that takes everything for true, fails.
    """

    def add(function: Check) -> Check:
        CHECKS[function.__name__] = (function, least, wrong)
        return function

    return add


@check(100, "`DDSR_NO_SUCH_THING`")
def variables(page: str, text: str) -> list[tuple[str, bool]]:
    return [(name, name in known()) for name in re.findall(r"\bDDSR_[A-Z_]*[A-Z]\b", text)]


@check(8, "`DDSR_HEARTBEAT_TTL` (7 s)")
def defaults_in_brackets(page: str, text: str) -> list[tuple[str, bool]]:
    found = re.findall(r"`(DDSR_[A-Z_]+)` \(([\d.]+)(?: s)?\)", text)
    return [(name, value.removesuffix(".0") == defaults()[name]) for name, value in found]


@check(90, "[a page](no/such/page.md) and [a heading](README.md#none-of-this-name)")
def links(page: str, text: str) -> list[tuple[str, bool]]:
    plain = re.sub(r"`[^`\n]*`", "", prose(text))
    found = re.findall(r"\]\(([^)\s]+)\)", plain) + re.findall(r'src="([^"]+)"', plain)
    return [(target, resolves(page, target)) for target in found if not target.startswith(("https://", "http://"))]


def resolves(page: str, target: str) -> bool:
    path, _, anchor = target.partition("#")
    found = ((ROOT / page).parent / path).resolve() if path else ROOT / page
    inside = found.exists() and found.is_relative_to(ROOT)
    return inside and (not anchor or anchor in anchors(found.read_text()))


@check(4, "```python\nawait (\n```\n")
def python_blocks(page: str, text: str) -> list[tuple[str, bool]]:
    return [(block.text, compiles(block.text, page)) for block in blocks(text, "python")]


def compiles(text: str, page: str) -> bool:
    try:
        compile(text, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError:
        return False
    return True


def commands(page: str) -> list[list[str]]:
    """The words after `ddsr` of every command of a page; alternatives (`a | b`) are cut off."""
    found = []
    for line in shell_lines(page):
        match = re.search(r"(?:^|[\s/(])ddsr +((?:-|[a-z]).*)$", line.split(" #")[0])
        if match and not re.match(r"^(RUN|image|FROM)\b", line):
            found.append(shlex.split(match[1].split(" | ")[0].split(" > ")[0].rstrip(")"), posix=True))
    return found


@check(60, "`ddsr hide a.jpg --no-such-flag` and `ddsr vanish`")
def commands_and_flags(page: str, text: str) -> list[tuple[str, bool]]:
    return [(shlex.join(words), takes(words)) for words in commands(text)]


def takes(words: list[str]) -> bool:
    """Whether `ddsr` has such a command with such flags."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    flags = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    left_over = hasattr(command, "commands") and words and re.fullmatch(r"[a-z]+", words[0])
    return not left_over and flags <= options | {"--help", "-h"}


@check(25, "`make no-such-target`")
def targets(page: str, text: str) -> list[tuple[str, bool]]:
    known_ones = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    found = [re.findall(r"(?:^|&& )make ([a-z][a-z-]*)", line) for line in shell_lines(text)]
    return [(target, target in known_ones) for line in found for target in line]


@check(10, "`python -m services.no_such_module`")
def modules(page: str, text: str) -> list[tuple[str, bool]]:
    found = [name for line in shell_lines(text) for name in re.findall(r"python3? -m ([a-z_.]+)", line)]
    return [(name, bool(importlib.util.find_spec(name))) for name in found]


@check(45, "`shared/no_such_file.py`")
def files(page: str, text: str) -> list[tuple[str, bool]]:
    folders = "docs|docker|deploy|tests|shared|requirements|services|worker|cli|client"
    folders += "|training|evaluation|bench|load|figures|stack"
    matches = [re.fullmatch(rf"((?:{folders})/[\w./*-]+)(?:::\w+)?", span) for span in code_of(prose(text))]
    found = [match[1] for match in matches if match and match[1] != "deploy/kubernetes/base/secrets"]  # the reader's
    return [(path, any(ROOT.glob(path.rstrip("/")))) for path in found]


@check(10, "`curl http://127.0.0.1:8001/hide -F no_such_field=1`")
def fields_of_curl(page: str, text: str) -> list[tuple[str, bool]]:
    fields = {*HideForm.model_fields, *RecoverForm.model_fields}
    lines = [line for line in shell_lines(text) if "curl" in line and ("/hide" in line or "/recover" in line)]
    return [(name, name in fields) for line in lines for name in re.findall(r"-F '?(\w+)=", line)]


every_check = pytest.mark.parametrize("name", CHECKS)


@every_check
def test_what_the_pages_say_is_true(name: str) -> None:
    function, least, _ = CHECKS[name]
    said = [(page, *statement) for page, text in PAGES.items() for statement in function(page, text)]
    assert not [(page, statement) for page, statement, true in said if not true]
    assert len(said) >= least, "the pages say little, or the check finds little of it"


@every_check
def test_a_false_statement_is_found(name: str) -> None:
    function, _, wrong = CHECKS[name]
    said = function("README.md", wrong)
    assert said
    assert not [statement for statement, true in said if true]


def test_the_table_of_settings_is_the_codes() -> None:
    table = [row for row in rows(PAGES["docs/settings.md"]) if row[0].startswith("`")]
    assert len(table) > 25
    for name, value, *_ in table:
        assert value.strip("`") == defaults()[name.strip("`")], name


def test_the_table_of_limits_is_the_codes() -> None:
    table = [row for row in rows(section(PAGES["docs/api.md"], "## Limits")) if code_of(row[2])]
    assert len(table) > 8
    for _, value, name, _ in table:
        numbers = re.findall(r"(\d+(?: \d{3})*)(?: (KiB|MiB|million))?", value)
        said = {str(int(number.replace(" ", "")) * UNITS.get(unit, 1)) for number, unit in numbers}
        assert defaults()[name.strip("`")].removesuffix("/minute") in said, name


def test_help_of_every_command_that_is_named() -> None:
    heads = {tuple(words[:1]) for text in PAGES.values() for words in commands(text) if words and words[0].islower()}
    names = {head for head in heads if not head[0].startswith("-")}
    assert {("hide",), ("recover",), ("up",), ("doctor",), ("bench",)} <= names
    for name in sorted(names):
        ended = CliRunner().invoke(app, [*name, "--help"])
        assert ended.exit_code == 0, ended.output
        assert "Usage" in ended.output


def test_the_table_of_errors_is_the_codes() -> None:
    table = rows(section(PAGES["docs/api.md"], "## Problems"))[2:]
    said = [(int(status), code.strip("`")) for code, status, _ in table]
    assert said == sorted((kind.status, code) for code, kind in problem_classes().items())
    known_ones = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    assert known_ones <= {code for _, code in said}


def test_the_default_walk_is_named() -> None:
    from shared.diffusion.schemes import SCHEMES

    keyed = SCHEMES["keyed"]
    assert f"`{keyed.solver}` with {keyed.steps} steps" in PAGES["CHANGELOG.md"]


def test_the_embedded_weights_are_named() -> None:
    card = PAGES["shared/weights/README.md"]
    (fingerprint,) = re.findall(r"Fingerprint `([0-9a-f]{16})`", card)
    assert f"fingerprint `{fingerprint}`" in PAGES["CHANGELOG.md"]


def test_examples_for_the_readme_are_there() -> None:
    names = re.findall(r"@(examples/\S+?)[\s']", README)
    assert names
    assert all((ROOT / name).exists() for name in names)
