"""The comparison with the baseline at a size of seconds. What is counted is checked, what is timed is not."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import core, curve, faces, precision, results, timing
from bench.baseline import Baseline
from bench.judge import Judge
from evaluation.data import SETTING
from figures.evaluations import evaluations
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import hide
from shared.diffusion.solvers import SOLVERS
from shared.diffusion.walks import HideOptions


@pytest.fixture(scope="module")
def result(tiny_folder: Path) -> dict[str, object]:
    options = core.CoreOptions((1, 2), (2, 1), steps=3, ours=[HideOptions("matched", "heun", 2)])
    return core.run(tiny_folder, options)


def test_evaluations_of_both_are_counted(result: dict[str, list[dict[str, dict[str, dict[str, int]]]]]) -> None:
    for row in result["rows"]:
        for phase in ("hide", "recover"):
            assert row[phase]["baseline"]["evaluations"] == 2 * 3  # two walks of three steps, one evaluation each
            assert row[phase]["ours"]["evaluations"] == 2 * 2 * 2  # two walks of two steps of Heun's rule


def test_the_table_has_a_row_for_each_phase_and_batch(result: dict[str, object]) -> None:
    rows = results.core_rows(result)
    assert [row[0] for row in rows] == [
        f"{phase}, batch {batch}, matched, 2 steps" for batch in (1, 2) for phase in ("hide", "recover")
    ]
    assert all(len(row) == len(results.CORE_HEAD) for row in rows)


def test_the_baseline_undoes_itself_the_better_the_more_steps_it_takes(tiny_folder: Path) -> None:
    found = faces.load_faces(1, 32)

    def back(steps: int) -> float:
        baseline = Baseline(tiny_folder, steps=steps)
        with torch.no_grad():
            latent = baseline._encode(found.pixels)
            there = baseline._walk(baseline.inverter, latent, found.identities)
            return float((baseline._walk(baseline.sampler, there, found.identities) - latent).abs().mean())

    assert back(80) < 0.75 * back(10)


def test_every_solver_is_on_the_curve(tiny_folder: Path, tmp_path: Path) -> None:
    options = curve.CurveOptions(steps=(3,), limit=10_000, faces=1)
    found = curve.run(DiffusionModel.load(tiny_folder), options)
    assert {point["solver"] for point in found["points"] + found["failed"]} == set(SOLVERS)
    assert all(point["recover"] >= 3 for point in found["points"])
    assert results.curve_plot(found, tmp_path / "curve.png").stat().st_size > 10_000


def test_a_solver_ends_at_the_limit(tiny_folder: Path) -> None:
    options = curve.CurveOptions(steps=(2, 4, 8), limit=2 * 2 * 2 * 4, faces=1)  # two phases, two walks, Heun, 4 steps
    points = curve.run(DiffusionModel.load(tiny_folder), options)["points"]
    assert [point["steps"] for point in points if point["solver"] == "heun"] == [2, 4]


def test_number_formats_are_crossed(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    found = precision.run(
        tiny_folder, [torch.float32, torch.bfloat16], count=1, options=HideOptions("matched", "heun", 2), rounds=1
    )
    pairs = {(row["sender"], row["receiver"]) for row in found["rows"]}
    names = {"cpu float32", "cpu bfloat16"}
    assert pairs == {(one, other) for one in names for other in names}
    assert results.precision_rows(found)


def test_contenders_run_in_turn_and_each_starts_a_round() -> None:
    calls: list[str] = []
    samples = timing.in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert "".join(calls) == "abba"
    assert [len(found) for found in samples.values()] == [2, 2]


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    slow = [timing.Sample(4, 8), timing.Sample(9, 9), timing.Sample(2, 6)]
    fast = [timing.Sample(2, 2), timing.Sample(3, 3), timing.Sample(2, 2)]
    assert timing.ratio(slow, fast) == {"wall": 2, "cpu": 3}


def test_faces_without_material_are_crops_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    found = faces.load_faces(3, 32)
    assert found.pixels.shape == (3, 32, 32, 3)
    assert "crops" in found.source
    assert len({picture.tobytes() for picture in found.pixels}) == 3
    again = found.first(4)
    assert np.array_equal(again.pixels[3], found.pixels[0])


@pytest.mark.skipif(not os.environ.get(SETTING), reason=f"{SETTING} does not name the material")
def test_the_judge_verifies_a_face_as_itself_and_not_as_another(tmp_path: Path) -> None:
    model, people = DiffusionModel.load(), faces.load_faces(4, 128)
    judge = Judge.at_hand(model, tmp_path, print)
    assert judge is not None
    assert judge.verified(people.pixels, people.pixels) == 1
    assert judge.verified(people.pixels, people.pixels[::-1]) == 0


def test_without_material_there_is_no_judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_folder: Path) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    said: list[str] = []
    assert Judge.at_hand(DiffusionModel.load(tiny_folder), tmp_path, said.append) is None
    assert SETTING in said[0]


def test_a_guided_evaluation_counts_twice(tiny_folder: Path) -> None:
    model, people = DiffusionModel.load(tiny_folder), faces.load_faces(2, 32)
    model.extras = dataclasses.replace(model.extras, guidance=2.0, guidance_floor=0.0)
    with evaluations(model.unet, 2) as count:
        found = hide(model, people.pixels, people.identities, people.disguises, HideOptions(steps=3))
    assert count[0] == found[0].evaluations == (3 + 1) + 2 * (3 + 1)


def test_contenders_share_their_keys() -> None:
    assert faces.load_faces(3, 32).nonces == faces.load_faces(3, 32).nonces
    assert len(set(faces.load_faces(3, 32).nonces)) == 3
