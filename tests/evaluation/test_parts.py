"""Smaller parts: alignment, similarity, linkage, the ranking attack, prompts, loaders, the trained
detector."""

import io
import json
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import prompts
from evaluation.alignment import TEMPLATE_112, Found, align
from evaluation.attack import chance, protected
from evaluation.calibration import Calibration, calibrate
from evaluation.data import Sample, lfw_pairs, load_set, pick, whole_identities
from evaluation.detector import detect
from evaluation.errors import MaterialMissing
from evaluation.identity import BORROWED, compare, embedded, identify
from evaluation.lpips import read_arrays
from evaluation.metrics import area_under_roc, area_within
from evaluation.mtcnn import non_maximum_suppression
from evaluation.noise import correlation, lengths_found, linkage, openings, reflected
from evaluation.recognisers import load
from evaluation.security import auc_interval
from evaluation.stegexpose import embed_lsb
from shared.diffusion.keying import GROUP, Mixing, MixingPlan, from_coordinates, to_coordinates
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


def calibrated(samples: list[Sample], pairs: list[tuple[str, str, bool]] | None = None) -> Calibration:
    recogniser = mean_colours()
    seen = embedded(samples, CentreFinder(), [recogniser])
    return calibrate(samples, seen, [recogniser], pairs=pairs)["mean-colours"]


def test_threshold_lets_one_stranger_in_a_hundred_pass() -> None:
    samples = drawn_samples(60)
    calibration = calibrated(samples)
    assert calibration.stranger_pairs == 60 * 59 // 2 - 30
    assert calibration.same_pairs == 30
    assert calibration.percentile(calibration.threshold) == pytest.approx(0.99, abs=0.002)
    assert calibration.confidence(calibration.threshold) == 50
    assert calibration.confidence(1.0) == 100
    assert calibration.confidence(calibration.stranger_mean - 1) == 0
    assert calibration.auc > 0.9
    assert calibration.threshold_low < calibration.threshold < calibration.threshold_high
    assert calibration.true_accept_low <= calibration.true_accept <= calibration.true_accept_high


def test_the_threshold_is_surer_with_more_people_and_more_pairs_of_few_do_not_help() -> None:
    few, many = calibrated(drawn_samples(16)), calibrated(drawn_samples(120))
    assert many.threshold_high - many.threshold_low < few.threshold_high - few.threshold_low
    # Each picture four times over: many more pairs, the same eight people, no narrower than a quarter off.
    copies = [replace(s, name=f"{i}/{s.name}") for i in range(4) for s in drawn_samples(16)]
    wide = calibrated(copies)
    assert wide.threshold_high - wide.threshold_low > 0.75 * (few.threshold_high - few.threshold_low)


def test_embeddings_are_remembered_for_the_very_set_and_each_recogniser(tmp_path: Path) -> None:
    samples = drawn_samples(4)
    samples[3] = replace(samples[3], picture=np.full_like(samples[3].picture, 90))  # shows no face
    first = embedded(samples, CentreFinder(), [mean_colours()], folder=tmp_path)
    (stored,) = tmp_path.glob("embedded-*.npz")

    class Blind(CentreFinder):
        def find(self, pictures: np.ndarray) -> list[Found]:
            raise AssertionError("the set was looked at again")

    again = embedded(samples, Blind(), [mean_colours()], folder=tmp_path)
    assert np.array_equal(again.vectors["mean-colours"], first.vectors["mean-colours"], equal_nan=True)
    assert [one.shows_face for one in again.found] == [True, True, True, False]
    assert np.array_equal(again.found[0].landmarks, first.found[0].landmarks)
    embedded(samples, CentreFinder(), [mean_colours(), mean_colours("second")], folder=tmp_path)
    with np.load(stored) as file:
        assert {"mean-colours", "second"} <= set(file.files)
    with pytest.raises(AssertionError, match="looked at again"):
        embedded(samples[:3], Blind(), [mean_colours()], folder=tmp_path)


def test_a_protocols_pairs_replace_all_pairs() -> None:
    samples = drawn_samples(6)
    names = [sample.name for sample in samples]
    pairs = [(names[0], names[1], True), (names[0], names[2], False), (names[5], names[3], False)]
    calibration = calibrated(samples, pairs)
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


def test_the_control_is_the_mean_similarity_to_the_other_originals() -> None:
    samples = drawn_samples(4)
    pictures = np.stack([sample.picture for sample in samples])
    finder, recogniser = CentreFinder(), mean_colours()
    known = identify(pictures, finder, [recogniser])
    vectors = known.vectors["mean-colours"]
    rows = compare(known, pictures, finder, [recogniser])
    for place, row in enumerate(rows):
        others = [float(vectors[i] @ vectors[place]) for i in range(4) if i != place]
        assert row["others"]["mean-colours"] == pytest.approx(np.mean(others), abs=1e-5)
    assert "others" not in compare(known.part([0]), pictures[:1], finder, [recogniser])[0]


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


def test_a_known_pair_opens_what_it_can_and_no_more() -> None:
    rng = np.random.default_rng(3)
    plan = MixingPlan.of((8, 16, 16))
    target, known = rng.normal(size=(2, 8, 16, 16))
    same, other = Mixing(plan, b"k" * 32), Mixing(plan, b"o" * 32)
    (mixed_known, side_known), (mixed, side), (foreign, side_foreign) = (
        same.hide(known),
        same.hide(target),
        other.hide(target),
    )
    opened = openings(mixed, target, mixed_known, known, plan)
    # One of 64 directions of every group is known: a cosine of about 1/8 each.
    assert opened["directions of the pair's groups"] == pytest.approx(1 / 8, abs=0.04)
    assert abs(openings(foreign, target, mixed_known, known, plan)["directions of the pair's groups"]) < 0.06
    assert abs(opened["as it is"]) < 0.08
    unmixed = openings(target, target, known, known, plan)
    assert unmixed["as it is"] == pytest.approx(1)
    mask, foreign_mask = (np.frombuffer(m.mask.tobytes(), np.uint8) for m in (same, other))
    level_known = (np.frombuffer(side_known, np.uint8) ^ mask).tobytes()
    level = (np.frombuffer(side, np.uint8) ^ mask).tobytes()
    assert (np.frombuffer(side_foreign, np.uint8) ^ foreign_mask).tobytes() == level
    assert lengths_found(side, side_known, level_known, level) == 1
    assert lengths_found(side_foreign, side_known, level_known, level) < 0.2


def test_group_lengths_link_a_rotation_inside_groups_and_not_fresh_lengths() -> None:
    rng = np.random.default_rng(4)
    plan = MixingPlan.of((4, 16, 16))
    faces = rng.normal(size=(30, 4, 16, 16))
    mixed, rotated = [], []
    for i, face in enumerate(faces):
        mixing = Mixing(plan, bytes([i]) * 32)
        mixed.append(mixing.hide(face)[0])
        groups = to_coordinates(face)[plan.face_order].reshape(plan.groups, GROUP)
        turned = np.empty(groups.size)
        turned[plan.stego_order] = mixing.rotations.apply(groups).ravel()
        rotated.append(from_coordinates(turned, plan.shape))
    found = linkage(faces, np.stack(rotated), 0, plan)
    assert found["group lengths"]["rank-1"]["value"] == 1
    assert found["noise"]["rank-1"]["value"] < 0.3
    fresh = linkage(faces, np.stack(mixed), 0, plan)
    for view in ("noise", "magnitude", "band energies", "group lengths"):
        assert fresh[view]["mean_percentile"]["low"] < 0.5 < fresh[view]["mean_percentile"]["high"]


def test_prompts() -> None:
    fields = {"attributes": ["Smiling", "Young", "Blond_Hair"]}
    assert prompts.identity(fields) == "a smiling young woman with blond hair"
    assert prompts.identity({}) == "a photo of a person"
    for text in ("a smiling young woman with blond hair", "a photo of a person", "correct horse battery"):
        changed = prompts.near(text)
        differing = [a != b for a, b in zip(text.split(), changed.split(), strict=True)]
        assert sum(differing) == 1
    texts = ["a man", "a man", "a woman"]
    assert all(prompts.wrong(text, texts, [seed]) != text for text in texts for seed in range(3))
    assert {prompts.disguise(i)[0] for i in range(6)} == set(prompts.DISGUISES)


def test_detector_finds_replaced_bits_and_not_what_is_not_there() -> None:
    from tests.evaluation.test_stegexpose import cover

    covers = np.stack([cover(i, 48) // 2 * 2 for i in range(24)])  # even samples: a parity that a network can see
    marked = np.stack([embed_lsb(x, 1.0, np.random.default_rng(i)) for i, x in enumerate(covers)])
    found = detect(covers, marked, seed=0, epochs=25)
    assert found.accuracy.low > 0.6  # far from chance, from twelve pairs a fold
    assert found.auc > 0.75
    assert [len(side) for fold in found.folds for side in fold] == [12] * 4
    assert found.auc == pytest.approx(np.mean([area_under_roc(*fold) for fold in found.folds]))
    others = np.stack([cover(100 + i, 48) // 2 * 2 for i in range(24)])
    idle = detect(covers, others, seed=0, epochs=10)
    assert idle.accuracy.low < 0.5 < idle.accuracy.high


def test_the_area_of_two_networks_does_not_mix_their_scales() -> None:
    covers, stegos = np.arange(6.0), np.arange(6.0) + 100
    folds = [(covers, stegos), (covers - 1000, stegos - 1000)]
    assert area_under_roc(*(np.concatenate(side) for side in zip(*folds, strict=True))) < 0.8
    assert area_within(folds) == 1
    assert auc_interval(folds, 0) == (1, 1)  # drawn within each fold, in which all is told apart


def _png(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 30), (value, 0, 0)).save(path)


def test_layouts(tmp_path: Path) -> None:
    _png(tmp_path / "lfw/Ann_Lee/Ann_Lee_0001.png")
    _png(tmp_path / "lfw/Bo/Bo_0001.png")
    assert [sample.identity for sample in load_set(tmp_path / "lfw", "")] == ["Ann_Lee", "Bo"]
    for plain, painted in (("non-makeup", "makeup"), ("before", "after")):
        _png(tmp_path / plain / "ladn" / plain / "1.png")
        _png(tmp_path / plain / "ladn" / painted / "2.png")
        _png(tmp_path / plain / "ladn" / "blend" / "1_2.png")
        assert [s.fields["makeup"] for s in load_set(tmp_path / plain / "ladn", "")] == [False, True]
    for missing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(MaterialMissing):
            load_set(missing, "")


@pytest.mark.parametrize("inner", ["", "CelebA-HQ-img"])
def test_celeba_hq(tmp_path: Path, inner: str) -> None:
    for number in (0, 10, 2):
        _png(tmp_path / inner / f"{number}.jpg")
    (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text("idx orig_idx orig_file\n0 119613 119614.jpg\n")
    (tmp_path / "identity_CelebA.txt").write_text("119614.jpg 2880\n")
    (tmp_path / "CelebAMask-HQ-attribute-anno.txt").write_text("2\nMale Smiling Young\n0.jpg  -1 1 1\n2.jpg  1 -1 1\n")
    samples = load_set(tmp_path, "", size=16)
    assert [Path(sample.name).name for sample in samples] == ["0.jpg", "2.jpg", "10.jpg"]
    assert (samples[0].identity, samples[1].identity) == ("2880", None)
    assert prompts.identity(samples[0].fields) == "a smiling young woman"
    assert prompts.identity(samples[1].fields) == "a serious young man"
    assert prompts.identity(samples[2].fields) == "a photo of a person"
    assert samples[0].picture.shape == (16, 16, 3)


def _jpeg(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 2, 3)).save(buffer, "PNG")
    return buffer.getvalue()


def _tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_tars_of_ours_and_of_lfw_with_its_pairs(tmp_path: Path) -> None:
    described = json.dumps({"file": "000000.webp", "identity": 7}).encode()
    _tar(tmp_path / "set.tar", {"000000.webp": _jpeg(1), "metadata.jsonl": described})
    (sample,) = load_set(tmp_path / "set.tar", "")
    assert (sample.identity, sample.picture[0, 0].tolist()) == ("7", [1, 2, 3])
    assert lfw_pairs(tmp_path / "set.tar") is None
    pairs = b"1\t1\nAnn_Lee\t1\t4\nAnn_Lee\t2\tBo\t1\n"
    names = ("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0004.jpg", "Bo/Bo_0001.jpg")
    _tar(tmp_path / "lfw.tgz", {**{f"lfw/{name}": _jpeg(i) for i, name in enumerate(names)}, "lfw/pairs.txt": pairs})
    samples = load_set(tmp_path / "lfw.tgz", "")
    assert [(s.name, s.identity, int(s.picture[0, 0, 0])) for s in samples] == [
        (names[0], "Ann_Lee", 0), (names[1], "Ann_Lee", 1), (names[2], "Bo", 2),
    ]  # fmt: skip
    assert lfw_pairs(tmp_path / "lfw.tgz") == [
        ("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0004.jpg", True),
        ("Ann_Lee/Ann_Lee_0002.jpg", "Bo/Bo_0001.jpg", False),
    ]
    assert lfw_pairs(None) is None


def test_whole_identities_are_never_cut_and_singles_come_last() -> None:
    samples = [Sample(f"{i}", np.zeros((1, 1, 3), np.uint8), who) for i, who in enumerate("abbcccdd")]
    chosen = whole_identities(samples, 5, 0)
    assert len(chosen) in (4, 5)
    assert all(sum(s.identity == who for s in chosen) in (0, "abbcccdd".count(who)) for who in "abcd")
    assert "a" not in {s.identity for s in whole_identities(samples, 7, 0)}
    assert whole_identities(samples, 8, 0) == samples


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
    seen = embedded(samples, CentreFinder(), [recogniser])
    calibrations = calibrate(samples, seen, [recogniser])
    assert np.allclose(np.linalg.norm(seen.vectors["irse50"], axis=1), 1)
    rows = [{"recovered": {"similarity": {"irse50": value}}} for value in (0.24, 0.25)]
    figures = identity_figures(rows, "recovered", calibrations, 0)["irse50"]
    assert figures["verified_at_published_threshold"]["value"] == 0.5  # .241045


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + _varint(value // 128)


def _message(*fields: tuple[int, object]) -> bytes:
    """A protobuf message of (number, int | str | bytes) fields."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(_varint(number * 8) + _varint(value))
        else:
            data = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[arg-type]
            parts.append(_varint(number * 8 + 2) + _varint(len(data)) + data)
    return b"".join(parts)


def onnx_pooling() -> bytes:
    """An ONNX file of mean pooling over 28x28 cells: (1, 3, 112, 112) -> (1, 48). Written by hand, since the package
    that writes such files is large and nothing else needs it; field numbers are those of onnx.proto."""

    def value(name: str, *shape: int) -> bytes:
        dims = _message(*((1, _message((1, size))) for size in shape))
        return _message((1, name), (2, _message((1, _message((1, 1), (2, dims))))))

    def ints(name: str) -> bytes:
        return _message((1, name), (8, 28), (8, 28), (20, 7))

    pool = ((1, "x"), (2, "p"), (4, "AveragePool"), (5, ints("kernel_shape")), (5, ints("strides")))
    flat = _message((1, "p"), (2, "y"), (4, "Flatten"))
    graph = ((1, _message(*pool)), (1, flat), (2, "net"), (11, value("x", 1, 3, 112, 112)), (12, value("y", 1, 48)))
    return _message((1, 8), (7, _message(*graph)), (8, _message((2, 13))))


def test_an_onnx_network_by_path_is_fed_aligned_crops_scaled_to_one(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(onnx_pooling())
    (recogniser,) = load([f"ir152={tmp_path / 'net.onnx'}"])
    samples = drawn_samples(3)
    seen = embedded(samples, CentreFinder(), [recogniser])
    crop = align(samples[0].picture, seen.found[0].landmarks).astype(float)
    expected = ((crop - 127.5) / 127.5).transpose(2, 0, 1).reshape(3, 4, 28, 4, 28).mean((2, 4)).ravel()
    assert np.allclose(seen.vectors["ir152"][0], expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_inception_by_path_alone_is_called_fid(tmp_path: Path) -> None:
    import torch

    from evaluation.features import load_features
    from evaluation.metrics import frechet_distance

    class Means(torch.nn.Module):
        def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
            return x.float().mean([2, 3]) if return_features else x.float()

    torch.jit.script(Means()).save(str(tmp_path / "net.pt"))
    features = load_features(tmp_path / "net.pt")
    assert features.name == "FID"
    first, second = (np.stack([s.picture for s in drawn_samples(12)[part]]) for part in (slice(0, 6), slice(6, 12)))
    found = features.distance(first, second)
    assert found.value == pytest.approx(frechet_distance(first.mean((1, 2)), second.mean((1, 2))), rel=1e-4)
    assert found.low <= found.value <= found.high
    with pytest.raises(MaterialMissing, match="Inception"):
        load_features(tmp_path / "nowhere.pt")
