"""All stages one after the other, at the size of seconds, through the command line; then the product on the result."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from shared.diffusion.clip import load_clip
from shared.diffusion.codecs import learned
from shared.diffusion.model import EXTRAS, DiffusionModel
from shared.diffusion.pipeline import hide, recover
from shared.diffusion.walks import HideOptions
from shared.errors import ModelError
from training.data import load_tars


def run(*arguments: object) -> None:
    done = CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def runs(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    for stage in ("vae", "clip", "diffusion", "codec"):
        more = ["--set", "channels=16"] if stage == "vae" else []
        run(stage, "--material", material, "--runs", runs, "--tiny", *more)
    run("pack", "--runs", runs)
    run("pcr", "--material", material, "--runs", runs, "--tiny")
    run("pcr", "--material", material, "--runs", runs, "--tiny", "--set", "weight=0", "--name", "pcr-without")
    run("pack", "--runs", runs, "--unet", runs / "pcr" / "unet", "--target", runs / "final")
    run("plan", runs / "final", "--material", material, "--tiny")
    return runs


@pytest.mark.parametrize("stage", ["vae", "clip", "diffusion", "codec", "pcr", "pcr-without"])
def test_a_run_folder_tells_how_it_was_made(runs: Path, stage: str) -> None:
    about = json.loads((runs / stage / "run.json").read_text())
    assert {"config", "seed", "command", "commit", "cpu", "threads", "versions"} <= set(about)
    assert (runs / stage / "losses.png").stat().st_size > 1000
    losses = [json.loads(line) for line in (runs / stage / "losses.jsonl").read_text().splitlines()]
    assert all(np.isfinite(list(line.values())).all() for line in losses)


def test_the_codec_writes_and_reads_faces_with_its_file(runs: Path, material: Path) -> None:
    with np.load(runs / "codec" / "learned.npz", allow_pickle=False) as file:
        net = learned.Model.of(dict(file))
    for face in load_tars(material, ["faces-utk-00"], size=128, limit=2).pixels:
        code = learned.encode(face, 1500, net)
        assert code is not None
        assert len(code) <= 1500
        found = learned.decode(code, net)
        assert found is not None
        assert np.square(found.astype(float) - face).mean() < 200


def test_a_stage_resumes_where_it_stopped(runs: Path, material: Path) -> None:
    before = (runs / "diffusion" / "losses.jsonl").read_text().count("\n")
    run("diffusion", "--material", material, "--runs", runs, "--tiny", "--set", "steps=6")
    lines = (runs / "diffusion" / "losses.jsonl").read_text().splitlines()[before:]
    assert json.loads(lines[0])["step"] == 5


def test_pcr_changes_the_network_and_its_weight_matters(runs: Path) -> None:
    first, with_pcr, without = (
        DiffusionModel.load(path).unet.state_dict()["conv_out.weight"]
        for path in (runs / "model", runs / "final", _packed(runs))
    )
    assert not first.equal(with_pcr)
    assert not with_pcr.equal(without)


def test_pcr_refuses_a_network_of_another_kind(runs: Path, material: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(runs / "model", tmp_path / "epsilon")
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("v_prediction", "epsilon"))
    with pytest.raises(ModelError, match="stage `diffusion`"):
        run("pcr", "--material", material, "--runs", runs, "--tiny", "--pipeline", folder, "--name", "other")


def _packed(runs: Path) -> Path:
    run("pack", "--runs", runs, "--unet", runs / "pcr-without" / "unet", "--target", runs / "without")
    return runs / "without"


def test_low_rank_adapters_train_and_merge(runs: Path, material: Path) -> None:
    run("pcr", "--material", material, "--runs", runs, "--tiny", "--set", "lora_rank=2", "--name", "lora")
    run("pack", "--runs", runs, "--unet", runs / "lora" / "unet", "--target", runs / "merged")
    changed, first = (DiffusionModel.load(runs / name).unet.state_dict() for name in ("merged", "model"))
    assert changed.keys() == first.keys()
    names = [n for n in first if not first[n].equal(changed[n])]
    assert names
    assert all("attn" in n for n in names)


def test_the_result_hides_and_recovers(runs: Path, material: Path) -> None:
    model = DiffusionModel.load(runs / "final")
    assert (runs / "final" / EXTRAS).is_file()
    face = load_tars(material, ["faces-celeba-00"], size=32, limit=1).pixels
    hidden = hide(model, face, ["a man"], ["the sea"], HideOptions(steps=12))[0]
    back = recover(model, hidden.stego[None], ["a man"], [hidden.recipe])
    ceiling = model.decode(model.encode(face)).astype(float)
    wrong = recover(model, hidden.stego[None], ["a woman"], [hidden.recipe])
    assert np.abs(back - ceiling).mean() < np.abs(wrong - ceiling).mean() / 2


def test_the_image_text_model_is_put_together_again(runs: Path) -> None:
    from transformers import CLIPModel

    whole = CLIPModel.from_pretrained(runs / "clip" / "clip")
    again = load_clip(runs / "final").state_dict()
    for name, value in whole.state_dict().items():
        assert value.half().equal(again[name].half()), name
