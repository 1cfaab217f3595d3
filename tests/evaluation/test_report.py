"""The report and the command."""

import io
import json
import tarfile
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from evaluation import report, reversibility, robustness, security, verdicts
from evaluation.bench import Bench
from evaluation.degradations import TABLE_4
from evaluation.markdown import figure
from shared.diffusion.pipeline import HideOptions
from tests.evaluation.conftest import drawn_samples

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
    rows = []
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for sample in drawn_samples(4):
            buffer = io.BytesIO()
            Image.fromarray(sample.picture).save(buffer, "PNG")
            _put(tar, sample.name, buffer.getvalue())
            rows.append({"file": sample.name, "identity": sample.identity, **sample.fields})
        _put(tar, "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode())
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


def _put(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
