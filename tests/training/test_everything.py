"""`ddsr train all` at the size of tests: killed, gone on with, and what it leaves to be carried away."""

import io
import json
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.train import minutes_of
from shared.diffusion.model import DiffusionModel
from shared.errors import InvalidOption, ModelError
from stack.waiting import wait_until
from training import everything
from training.runs import Run

ROOT = Path(__file__).parents[2]


def unpacked(out: Path, target: Path) -> Path:
    archive = io.BytesIO(b"".join(part.read_bytes() for part in sorted(out.glob("model.tar.*"))))
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(target, filter="data")
    return target / "model"


def losses(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "losses.jsonl").read_text().splitlines()]


@pytest.mark.timeout(600)
def test_a_killed_run_goes_on_and_ends_with_model_report_and_sheet(material: Path, tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out"
    words = ["train", "all", "--material", str(material), "--runs", str(runs), "--out", str(out), "--tiny"]
    words += ["--device", "cpu"]
    command = [sys.executable, "-c", "from cli.main import main; main()", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as first:
        state = runs / "diffusion" / "checkpoint.pt"
        wait_until(lambda: state.is_file() or first.poll() is not None, seconds=400)
        first.kill()
        assert first.wait() == -signal.SIGKILL
    assert list(out.glob("model.tar.*")), "weights were there to be carried away before the end"
    words_before, drawn_before = losses(runs / "clip"), len(losses(runs / "diffusion"))

    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert losses(runs / "clip") == words_before
    assert all(line["step"] > 2 for line in losses(runs / "diffusion")[drawn_before:]), "the checkpoint is of step 2"
    files = list(out.iterdir())
    assert {"report.md", "losses.png", "sheet.jpg", "model.tar.000"} <= {path.name for path in files}
    assert len(files) <= 8
    assert max(path.stat().st_size for path in files) <= 16 * 2**20
    model = DiffusionModel.load(unpacked(out, tmp_path / "carried"))
    report = (out / "report.md").read_text()
    assert model.fingerprint in report
    assert "| recovered under a wrong prompt |" in report
    assert model.extras.channel_start is not None  # the rates of the channels were measured


def test_an_archive_is_cut_to_size_and_replaced_whole(tmp_path: Path) -> None:
    folder, out = tmp_path / "weights", tmp_path / "out"
    folder.mkdir()
    (folder / "a").write_bytes(bytes(range(256)) * 120)
    everything.bundle(folder, out, part=10_000)
    assert sorted(path.name for path in out.iterdir()) == [f"model.tar.{n:03d}" for n in range(5)]
    assert max(path.stat().st_size for path in out.iterdir()) == 10_000
    (folder / "a").write_bytes(b"short")
    everything.bundle(folder, out, part=20_000)
    assert (unpacked(out, tmp_path / "back") / "a").read_bytes() == b"short"
    assert len(list(out.iterdir())) == 1
    with pytest.raises(ModelError, match="larger than 5 files"):
        everything.bundle(folder, out, part=1000)


def test_the_budget_is_dealt_among_the_stages() -> None:
    config = everything.stages(100, "cpu")
    minutes = (config.clip.minutes, config.diffusion.minutes, config.pcr.minutes)
    assert minutes == (15, 60, 10)
    assert everything.stages(100, "cuda").diffusion.batch > config.diffusion.batch


def test_a_schedule_ends_by_steps_or_by_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, everything.TINY.clip, seed=0)
    run.step, run.seconds = 5, 30.0
    assert run.progress(10, None) == 0.5
    assert run.progress(10, 60) == 0.5
    assert run.progress(1000, 1) == pytest.approx(0.5, abs=0.1)
    assert run.due(5)
    assert not run.due(3)
    monkeypatch.setattr("training.runs.SAVE_SECONDS", -1.0)
    assert run.due(3), "too long since the last checkpoint"


@pytest.mark.parametrize(("text", "minutes"), [("25m", 25), ("90s", 1.5), ("2h", 120), ("0.5m", 0.5)])
def test_a_budget_has_a_unit(text: str, minutes: float) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["25", "", "m", "xm"])
def test_a_budget_without_one_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="is no time"):
        minutes_of(text)


def test_a_gpu_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InvalidOption, match="no CUDA device"):
        everything.train(tmp_path, tmp_path, tmp_path, everything.TINY, device="cuda")
