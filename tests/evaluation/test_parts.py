"""Smaller parts: alignment, similarity, linkage, the ranking attack, prompts, loaders, the trained
detector."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import prompts
from evaluation.alignment import TEMPLATE_112, align
from evaluation.attack import chance, protected
from evaluation.data import lfw_pairs, load_folder, load_set, pick
from evaluation.detector import detect
from evaluation.errors import MaterialMissing
from evaluation.identity import BORROWED, calibrate, compare, identify
from evaluation.keys import correlation, linkage, reflected
from evaluation.lpips import read_arrays
from evaluation.mtcnn import non_maximum_suppression
from evaluation.recognisers import load
from evaluation.stegexpose import embed_lsb
from tests.evaluation.conftest import CentreFinder, drawn_samples, mean_colours


def test_alignment_undoes_a_turn_and_a_scale() -> None:
    y, x = np.mgrid[:112, :112]
    upright = np.stack([x * 2, y * 2, (x + y)], 2).clip(0, 255).astype(np.uint8)
    angle, scale = 0.3, 0.8
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    marks = (TEMPLATE_112 - 56) @ turn.T + 60
    grid = np.stack(np.meshgrid(np.arange(128), np.arange(128)), 2).reshape(-1, 2)
    source = np.rint((grid - 60) @ np.linalg.inv(turn).T + 56).astype(int)
    inside = ((source >= 0) & (source < 112)).all(1)
    turned = np.zeros((128 * 128, 3), np.uint8)
    turned[inside] = upright[source[inside, 1], source[inside, 0]]
    aligned = align(turned.reshape(128, 128, 3), marks)
    assert np.abs(aligned[30:90, 30:90].astype(int) - upright[30:90, 30:90]).mean() < 2


def test_suppression_keeps_the_best_of_an_overlap_and_what_stands_apart() -> None:
    boxes = np.array([[0, 0, 9, 9], [1, 1, 10, 10], [50, 50, 59, 59.0], [2, 2, 5, 5]])
    scores = np.array([0.8, 0.9, 0.5, 0.7])
    assert non_maximum_suppression(boxes, scores, 0.5) == [1, 3, 2]
    assert non_maximum_suppression(boxes, scores, 0.5, by_smaller=True) == [1, 2]


def test_threshold_lets_one_stranger_in_a_hundred_pass() -> None:
    samples = drawn_samples(60)
    calibration = calibrate(samples, CentreFinder(), [mean_colours()])[0]["mean-colours"]
    assert calibration.stranger_pairs == 60 * 59 // 2 - 30
    assert calibration.same_pairs == 30
    assert calibration.percentile(calibration.threshold) == pytest.approx(0.99, abs=0.002)
    assert calibration.confidence(calibration.threshold) == 50
    assert calibration.confidence(1.0) == 100
    assert calibration.confidence(calibration.stranger_mean - 1) == 0
    assert calibration.auc > 0.9


def test_a_protocols_pairs_replace_all_pairs() -> None:
    samples = drawn_samples(6)
    names = [sample.name for sample in samples]
    pairs = [(names[0], names[1], True), (names[0], names[2], False), (names[5], names[3], False)]
    calibration = calibrate(samples, CentreFinder(), [mean_colours()], pairs=pairs)[0]["mean-colours"]
    assert (calibration.stranger_pairs, calibration.same_pairs) == (2, 1)
    vectors = identify(np.stack([s.picture for s in samples]), CentreFinder(), [mean_colours()]).vectors["mean-colours"]
    expected = (vectors[0] @ vectors[2] + vectors[5] @ vectors[3]) / 2
    assert calibration.stranger_mean == pytest.approx(expected)
    assert calibration.same_mean == pytest.approx(vectors[0] @ vectors[1])


def test_similarity_of_a_faceless_picture_has_its_own_name() -> None:
    samples = drawn_samples(2)
    pictures = np.stack([sample.picture for sample in samples])
    finder, recogniser = CentreFinder(), mean_colours()
    known = identify(pictures, finder, [recogniser])
    flat = np.full_like(pictures[:1], 90)
    rows = compare(known, np.concatenate([pictures[:1], flat]), finder, [recogniser])
    assert rows[0]["similarity"] == {"mean-colours": pytest.approx(1, abs=1e-5)}
    assert list(rows[1]["similarity"]) == ["mean-colours" + BORROWED]
    assert rows[1]["face"] == 0


def test_protection_by_hand() -> None:
    similarity = np.array([[0.9, 0.5, 0.1], [0.2, 0.8, 0.4]])
    owners, probes = np.array(["a", "b", "c"]), np.array(["a", "c"])
    assert protected(similarity, probes, owners, 1).tolist() == [False, True]
    assert protected(similarity, probes, owners, 2).tolist() == [False, False]
    assert chance(10, np.array([2]), 1) == pytest.approx(0.8)
    assert chance(10, np.array([2]), 5) == pytest.approx(5 * 4 / (10 * 9))


def test_linkage_finds_flipped_signs_by_magnitude_and_nothing_in_fresh_noise() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(40, 4, 8, 8))
    flipped = linkage(noise, noise * np.sign(rng.normal(size=noise.shape)), 0)
    assert flipped["magnitude"]["rank-1"]["value"] == 1
    assert flipped["noise"]["rank-1"]["value"] < 0.3
    fresh = linkage(noise, rng.normal(size=noise.shape), 0)
    for view in ("noise", "magnitude", "band energies"):
        assert fresh[view]["mean_percentile"]["low"] < 0.5 < fresh[view]["mean_percentile"]["high"]
    scaled = noise * np.exp(rng.normal(size=(40, 4, 1, 1)))
    turned = np.take(scaled, rng.permutation(8), axis=2)[..., ::-1]
    assert linkage(scaled, turned, 0)["band energies"]["rank-1"]["value"] > 0.5


def test_reflection_carries_the_known_pair() -> None:
    rng = np.random.default_rng(1)
    a, b, x = rng.normal(size=(3, 2, 4, 4))
    image = reflected(a, a, b)
    assert correlation(image.reshape(1, -1), b.reshape(1, -1))[0, 0] == pytest.approx(1, abs=0.05)
    assert np.allclose(image / np.linalg.norm(image), b / np.linalg.norm(b))
    assert np.linalg.norm(reflected(x, a, b)) == pytest.approx(np.linalg.norm(x))


def test_prompts() -> None:
    fields = {"attributes": ["Smiling", "Young", "Blond_Hair"]}
    assert prompts.identity(fields) == "a smiling young woman with blond hair"
    assert prompts.identity({}) == "a photo of a person"
    for text in ("a smiling young woman with blond hair", "a photo of a person", "correct horse battery"):
        changed = prompts.near(text)
        differing = [a != b for a, b in zip(text.split(), changed.split(), strict=True)]
        assert sum(differing) == 1
    texts = ["a man", "a man", "a woman"]
    assert all(prompts.wrong(texts, i, 0) != texts[i] for i in range(3))
    assert {prompts.disguise(i)[0] for i in range(6)} == set(prompts.DISGUISES)


def test_detector_finds_replaced_bits_and_not_what_is_not_there() -> None:
    from tests.evaluation.test_stegexpose import cover

    covers = np.stack([cover(i, 48) // 2 * 2 for i in range(24)])  # even samples: a parity that a network can see
    marked = np.stack([embed_lsb(x, 1.0, np.random.default_rng(i)) for i, x in enumerate(covers)])
    found = detect(covers, marked, seed=0, epochs=25)
    assert found.accuracy.low > 0.6  # far from chance, from twelve pairs a fold
    assert found.auc > 0.75
    others = np.stack([cover(100 + i, 48) // 2 * 2 for i in range(24)])
    idle = detect(covers, others, seed=0, epochs=10)
    assert idle.accuracy.low < 0.5 < idle.accuracy.high


def _png(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 30), (value, 0, 0)).save(path)


def test_layouts(tmp_path: Path) -> None:
    _png(tmp_path / "lfw/Ann_Lee/Ann_Lee_0001.png")
    _png(tmp_path / "lfw/Bo/Bo_0001.png")
    assert [sample.identity for sample in load_folder(tmp_path / "lfw")] == ["Ann_Lee", "Bo"]
    _png(tmp_path / "ladn/makeup/1.png")
    _png(tmp_path / "ladn/non-makeup/2.png")
    assert [sample.fields["makeup"] for sample in load_folder(tmp_path / "ladn")] == [True, False]
    _png(tmp_path / "hq/0.png")
    (tmp_path / "hq/CelebA-HQ-to-CelebA-mapping.txt").write_text("idx orig_idx orig_file\n0 119613 119614.jpg\n")
    (tmp_path / "hq/identity_CelebA.txt").write_text("119614.jpg 2880\n")
    (sample,) = load_set(tmp_path / "hq", "", size=16)
    assert (sample.identity, sample.picture.shape) == ("2880", (16, 16, 3))
    with pytest.raises(MaterialMissing):
        load_set(tmp_path / "nowhere", "")


def test_tar_and_pairs(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(buffer, "PNG")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name, data in (
            ("000000.webp", buffer.getvalue()),
            ("metadata.jsonl", json.dumps({"file": "000000.webp", "identity": 7}).encode()),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (sample,) = load_set(tmp_path / "set.tar", "")
    assert (sample.identity, sample.picture[0, 0].tolist()) == ("7", [1, 2, 3])
    (tmp_path / "pairs.txt").write_text("1\t1\nAnn_Lee\t1\t4\nAnn_Lee\t2\tBo\t1\n")
    assert lfw_pairs(tmp_path / "pairs.txt") == [
        ("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0004.jpg", True),
        ("Ann_Lee/Ann_Lee_0002.jpg", "Bo/Bo_0001.jpg", False),
    ]


def test_pick_is_repeatable_and_spreads_over_identities() -> None:
    samples = drawn_samples(20)
    first = pick(samples, 10, 4)
    assert [s.name for s in first] == [s.name for s in pick(samples, 10, 4)]
    assert [s.name for s in first] != [s.name for s in pick(samples, 10, 5)]
    assert len({s.identity for s in first}) == 10
    everything = pick(samples, None, 4)
    assert [s.name for s in everything[:10]] == [s.name for s in first]
    assert sorted(s.name for s in everything) == sorted(s.name for s in samples)


def test_weight_file_that_would_run_code_is_refused() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("run",))

    with pytest.raises(pickle.UnpicklingError, match="more than arrays"):
        read_arrays(io.BytesIO(pickle.dumps(Evil())))
    tree = {"a": np.arange(3.0)}
    assert np.array_equal(read_arrays(io.BytesIO(pickle.dumps(tree)))["a"], tree["a"])


def test_unknown_recogniser_and_missing_weights_are_named() -> None:
    with pytest.raises(MaterialMissing, match="unknown recogniser"):
        load(["no-such"])
    with pytest.raises(MaterialMissing, match="irse50"):
        load(["irse50=nowhere.onnx"])


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_network_by_path_keeps_its_name_and_gets_its_published_threshold(tmp_path: Path) -> None:
    import torch

    from evaluation.reversibility import identity_figures

    net = torch.nn.Sequential(torch.nn.AvgPool2d(28), torch.nn.Flatten())  # (B, 3, 112, 112) -> (B, 48)
    torch.jit.script(net).save(str(tmp_path / "net.pt"))
    (recogniser,) = load([f"irse50={tmp_path / 'net.pt'}"])
    samples = drawn_samples(6)
    calibrations, seen = calibrate(samples, CentreFinder(), [recogniser])
    assert np.allclose(np.linalg.norm(seen.vectors["irse50"], axis=1), 1)
    rows = [{"recovered": {"similarity": {"irse50": value}}} for value in (0.24, 0.25)]
    figures = identity_figures(rows, "recovered", calibrations, 0)["irse50"]
    assert figures["verified_at_published_threshold"]["value"] == 0.5  # .241045
