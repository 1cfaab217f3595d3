"""Pieces of a Markdown report: figures with their intervals, tables, provenance, pictures."""

from collections.abc import Mapping
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
    """How a table was made; its data set, device and threads stand in `tables.json`."""
    made = table["made"]
    words = f"`{made['command']}`, seed {made['seed']}, commit {made['commit']}, model {made['model']}"
    cost = f", {table['cpu_seconds']:.1f} CPU-seconds a {noun.removesuffix('s')}" if "cpu_seconds" in table else ""
    when = f", {made['day']}" if made.get("day") else ""
    return [f"<sub>{table.get('count')} {noun}: {words}{when}{cost}.</sub>", ""]


def provenances(tables: Mapping[str, Row]) -> Lines:
    """One line for all tables of one run, whatever each cost."""
    alike = {line: None for table in tables.values() for line in provenance(_without_cost(table)) if line}
    return [*alike, ""]


def _without_cost(table: Row) -> Row:
    made = {key: value for key, value in table["made"].items() if key != "day"}
    return {**{key: value for key, value in table.items() if key != "cpu_seconds"}, "made": made}


def shares(identity: Row) -> str:
    """Share verified, %, recogniser by recogniser: `100/100/88/100`."""
    return "/".join(f"{100 * one['verified']['value']:.0f}" for one in identity.values()) or "-"


def picture(path: Path | None, words: str) -> Lines:
    return [] if path is None else [f"![{words}]({path.name})", ""]


def trials_of(table: Row, folder: Path) -> Path:
    """The pictures of the trials behind a table."""
    options = table["setup"]["options"]
    name = trials_name(options["scheme"], options["solver"], options["steps"], table["setup"]["model"])
    return folder / "trials" / name / "pictures"
