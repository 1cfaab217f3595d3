"""The report and the command."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from evaluation import report, reversibility, robustness, security, verdicts
from evaluation.bench import Bench
from evaluation.degradations import TABLE_4
from evaluation.errors import MaterialMissing
from evaluation.markdown import figure
from shared.diffusion.walks import HideOptions
from tests.evaluation.conftest import drawn_samples
from tests.pictures import encoded, write_tar

QUICK = HideOptions("matched", steps=2)


def test_report_shows_each_figure_with_its_interval_and_verdict(bench: Bench) -> None:
    table = reversibility.run(bench, reversibility.ReversibilityOptions(QUICK, degradations=TABLE_4[:1]))
    security.run(bench, security.SecurityOptions(QUICK, epochs=1))
    text = report.write_report(bench.out).read_text()
    assert figure(table["recovered"]["psnr"]) in text
    assert "| PSNR, dB (Table 1) | 35.11 |" in text
    assert "not reached" in text  # random weights reach nothing
    assert bench.model.fingerprint in text
    assert "wrong prompt" in text
    assert "noise 10" in text
    for name in ("roc.png", "sheet.png", "identity.png"):
        with Image.open(bench.out / name) as picture:
            picture.verify()
        assert f"({name})" in text


def test_verdicts() -> None:
    def verdict(low: float, high: float) -> str:
        return verdicts.verdict(35.11, {"low": low, "high": high})

    assert verdict(35.2, 36) == "beaten"
    assert verdict(34, 35) == "not reached"
    assert verdict(35, 35.2).startswith("level")


def test_command_measures_a_tar(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cli.evaluate import register
    from evaluation import setup
    from tests.evaluation.conftest import CentreFinder

    monkeypatch.setattr(setup, "FaceFinder", CentreFinder)  # the tiny pictures have no faces to find
    monkeypatch.setattr(robustness, "TABLE_4", TABLE_4[:1])
    monkeypatch.setattr(robustness, "BEYOND", ())
    monkeypatch.setattr(robustness, "HideOptions", lambda scheme: HideOptions(scheme, steps=2))
    _write_set(tmp_path / "set.tar", 4)
    app = typer.Typer()
    register(app)
    words = ["eval", "robustness", "--data", str(tmp_path / "set.tar"), "--model", str(tiny_folder), "--limit", "2"]
    result = CliRunner().invoke(
        app, [*words, "--scheme", "matched", "--recogniser", "none", "--out", str(tmp_path / "run")]
    )
    assert result.exit_code == 0, result.output
    table = json.loads((tmp_path / "run/robustness/matched/table.json").read_text())
    assert table["count"] == 2
    assert set(table["degraded"]) == {"noise 10"}
    assert "robustness.png" in (tmp_path / "run/report.md").read_text()


def _write_set(path: Path, count: int) -> None:
    samples = drawn_samples(count)
    rows = [{"file": sample.name, "identity": sample.identity, **sample.fields} for sample in samples]
    files = {sample.name: encoded(sample.picture) for sample in samples}
    write_tar(path, {**files, "metadata.jsonl": "\n".join(map(json.dumps, rows)).encode()})


def test_one_command_makes_every_table_and_publishes_the_report(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cli.evaluate import register
    from evaluation import peers, setup
    from shared.diffusion.schemes import SCHEMES
    from tests.evaluation.conftest import CentreFinder
    from tests.evaluation.test_networks import onnx_pooling

    monkeypatch.setattr(setup, "FaceFinder", CentreFinder)  # the tiny pictures have no faces to find
    for name, scheme in list(SCHEMES.items()):
        monkeypatch.setitem(SCHEMES, name, replace(scheme, solver="ddim", steps=1))
    monkeypatch.setitem(peers.PEERS, "paper-50", HideOptions("paper", steps=2))  # type: ignore[arg-type]
    data = tmp_path / "material/data"
    data.mkdir(parents=True)
    _write_set(data / setup.FACES, 40)  # of twenty people
    _write_set(data / setup.SCENES, 20)
    monkeypatch.setenv("DDSR_MATERIAL", str(data.parent))
    (tmp_path / "net.onnx").write_bytes(onnx_pooling())
    app = typer.Typer()
    register(app)
    words = [
        "eval",
        "all",
        "--model",
        str(tiny_folder),
        "--without",
        str(tiny_folder),
        "--limit",
        "8",
        "--compared",
        "2",
    ]
    words += ["--epochs", "1", "--recogniser", f"ir152={tmp_path / 'net.onnx'}", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run/trials").rglob("*.png")}
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0, again.output
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run/trials").rglob("*.png")}
    published = CliRunner().invoke(
        app, ["eval", "publish", "--out", str(tmp_path / "run"), "--to", str(tmp_path / "docs")]
    )
    assert published.exit_code == 0, published.output
    text = (tmp_path / "docs/report.md").read_text()
    for part in (
        "Against the paper",
        "Reversibility",
        "Security",
        "Robustness",
        "Keys",
        "Peers",
        "Ablation",
        "Instruments",
    ):
        assert f"\n## {part}" in text, part
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert len(shown) >= 8
    assert all((tmp_path / "docs" / name).is_file() for name in shown)
    figures = json.loads((tmp_path / "docs/tables.json").read_text())
    assert {"reversibility", "security/keyed", "robustness/paper", "keys/keyed", "peers/signs"} <= set(figures)
    for table in figures.values():
        assert {"command", "commit", "seed", "device", "model"} <= set(table["made"])


def test_nothing_to_publish_is_said(tmp_path: Path) -> None:
    with pytest.raises(MaterialMissing, match="no finished table"):
        report.publish(tmp_path, tmp_path / "docs")
