"""The pages of the documentation, and what stands in them: blocks, spans, tables, headings."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = ("*.md", "docs/*.md", "docs/results/*.md", "*/README.md", "examples/*/README.md", "shared/weights/README.md")
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for pattern in PATTERNS
    for path in sorted(ROOT.glob(pattern))
    if path.relative_to(ROOT).parts[0] not in (".venv", "runs")
}
README = PAGES["README.md"]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language ('' where none is named) and its text."""

    language: str
    text: str


def blocks(page: str, *languages: str) -> list[Block]:
    """All blocks, or those of the languages."""
    found = [Block(*match.groups()) for match in _BLOCK.finditer(page)]
    return [block for block in found if not languages or block.language in languages]


def prose(page: str) -> str:
    """The page without its blocks."""
    return _BLOCK.sub("", page)


def section(page: str, heading: str) -> str:
    """From the heading to the next of its rank."""
    rank = heading.split()[0]
    _, _, rest = page.partition(f"\n{heading}\n")
    assert rest, heading
    return re.split(rf"^{rank} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(page: str) -> list[list[str]]:
    """Cells of every table's row, headings and rules included."""
    lines = (line.strip() for line in page.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def code_of(cell: str) -> list[str]:
    """The code spans of a text."""
    return re.findall(r"`([^`]+)`", cell)


def shell_lines(page: str) -> list[str]:
    """Commands: the lines of blocks that are no Python, JSON or output, continued lines joined, and the code spans."""
    lines = []
    for block in blocks(page, "", "sh", "bash"):
        lines += re.sub(r"\\\n\s*", " ", block.text).splitlines()
    return lines + code_of(prose(page))


def anchors(page: str) -> set[str]:
    """The anchors that forges give to the headings."""
    found = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}
