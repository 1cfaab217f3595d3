"""The Markdown report of a run folder: every table beside the paper's, every number with its interval and count."""

import json
import shutil
from pathlib import Path
from typing import Any

from evaluation import sections, sections_authenticity, sections_secrecy, sections_services, sections_stegos
from evaluation.errors import MaterialMissing
from evaluation.markdown import Lines
from evaluation.runs import Row
from evaluation.verdicts import verdicts

REPORT, FIGURES = "report.md", "tables.json"
_INTERVALS = (
    "Brackets hold 95 % intervals: bootstrap for means, Wilson for shares, a jackknife for Frechet distances. Faces "
    "are the model's size, 8 bits, with a PNG file in between. How everything is measured: "
    "`docs/results/README.md`; data set, device and threads of each table: `tables.json`."
)
_SECTIONS = {
    "services": sections_services.services,
    "security": sections_secrecy.security,
    "robustness": sections.robustness,
    "keys": sections_secrecy.keys,
    "peers": sections_secrecy.peers,
    "ablation": sections.ablation,
    "stegos": sections_stegos.stegos,
    "sealed": sections_authenticity.sealed,
}


def tables_of(folder: Path, name: str) -> dict[str, Row]:
    """Finished tables `folder/name/*/table.json`, by the name of their folder, in the order they were begun."""
    paths = sorted((folder / name).glob("*/table.json"), key=lambda path: path.parent.stat().st_ctime_ns)
    return {path.parent.name: json.loads(path.read_text()) for path in paths}


def _table(folder: Path, name: str) -> Row | None:
    path = folder / name / "table.json"
    if not path.is_file():
        return None
    table: Row = json.loads(path.read_text())
    return table


def write_report(folder: Path) -> Path:
    """Write `report.md` and its plots for the tables that the folder holds so far."""
    tables = {name: tables_of(folder, name) for name in _SECTIONS}
    main, instruments = _table(folder, "reversibility"), _table(folder, "instruments")
    lines: Lines = ["# Evaluation", "", _INTERVALS, ""]
    lines += verdicts(main, tables["security"], tables["robustness"], tables["ablation"])
    if main is not None:
        lines += sections.reversibility(main, folder)
    for name, section in _SECTIONS.items():
        if tables[name]:
            lines += section(tables[name], folder)
    if instruments is not None:
        lines += sections.instruments(instruments)
    path = folder / REPORT
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path


def publish(folder: Path, to: Path) -> Path:
    """Copy the report of a run folder, the pictures that it shows, and the figures of all tables to `to`.

    Returns:
        the copied report.

    Raises:
        MaterialMissing: the folder holds no table.
    """
    paths = sorted(path for path in folder.rglob("table.json"))
    if not paths:
        raise MaterialMissing(f"the run folder {folder.name} holds no finished table")
    text = write_report(folder).read_text()
    to.mkdir(parents=True, exist_ok=True)
    for picture in sorted([*folder.glob("*.png"), *folder.glob("*.jpg")]):
        if f"({picture.name})" in text:
            shutil.copyfile(picture, to / picture.name)
    tables = {path.parent.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in paths}
    (to / FIGURES).write_text(json.dumps(_rounded(tables), separators=(",", ":")) + "\n")
    shutil.copyfile(folder / REPORT, to / REPORT)
    return to / REPORT


def _rounded(value: Any) -> Any:
    """Floats to six digits: what lies beyond differs from machine to machine and says nothing."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value
