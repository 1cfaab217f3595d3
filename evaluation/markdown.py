"""Pieces of a Markdown report: figures with their intervals, tables, provenance, pictures."""

from pathlib import Path

from evaluation.bench import trials_name
from evaluation.metrics import Figure
from evaluation.runs import Row

Lines = list[str]
ATTACK_NAMES = {"wrong": "wrong prompt", "near": "one word off", "none": "no prompt, no key"}


def figure(row: Row, digits: int = 2, *, percent: bool = False) -> str:
    return Figure(**row).text(digits, percent=percent)


def area(row: Row) -> str:
    """Area under a ROC with its interval."""
    low, high = row["auc_interval"]
    return f"{row['auc']:.3f} [{low:.3f}, {high:.3f}]"


def provenance(table: Row, noun: str = "faces") -> Lines:
    made = table["made"]
    words = f"`{made['command']}`, seed {made['seed']}, commit {made['commit']}, {made['device']}"
    cost = f", {table['cpu_seconds']:.1f} CPU-seconds a {noun.removesuffix('s')}" if "cpu_seconds" in table else ""
    when = f", {made['day']}" if made.get("day") else ""
    data = f" of {made['data']}" if made.get("data") else ""
    words += f", {made['threads']} threads, model {made['model']}{when}"
    return [f"<sub>{table.get('count')} {noun}{data}. Made by {words}{cost}.</sub>", ""]


def picture(path: Path | None, words: str) -> Lines:
    return [] if path is None else [f"![{words}]({path.name})", ""]


def trials_of(table: Row, folder: Path) -> Path:
    """The pictures of the trials behind a table."""
    options = table["setup"]["options"]
    name = trials_name(options["scheme"], options["solver"], options["steps"], table["setup"]["model"])
    return folder / "trials" / name / "pictures"
