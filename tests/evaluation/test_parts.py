"""Smaller parts: alignment, similarity, linkage, the ranking attack, prompts, the trained
detector."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation import prompts
from evaluation.alignment import TEMPLATE_112, Found, align
from evaluation.attack import chance, protected
from evaluation.calibration import Calibration, calibrate
from evaluation.data import Sample
from evaluation.detector import detect
from evaluation.identity import BORROWED, compare, embedded, identify
from evaluation.metrics import area_under_roc, area_within
from evaluation.mtcnn import non_maximum_suppression
from evaluation.noise import correlation, lengths_found, linkage, openings, reflected
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
