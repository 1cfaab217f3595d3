"""Each table at a size of seconds, on the tiny pipeline: rows, resuming, and the relations that hold for any
weights."""

import json
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation import ablation, keys, peers, reversibility, robustness, security
from evaluation import bench as trials
from evaluation.bench import Bench, hide_faces, recover_faces
from evaluation.degradations import TABLE_4
from evaluation.latents import PLAIN
from evaluation.peers import PEERS
from evaluation.perception import NO_METRICS, PerceptualMetrics, perception
from evaluation.report import tables_of, write_report
from evaluation.reversibility import ReversibilityOptions
from evaluation.runs import Run
from figures.fidelity import psnr
from shared.diffusion.drawing import draw
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import stego_latents
from shared.diffusion.tiny import build_tiny
from shared.diffusion.walks import HideOptions
from shared.errors import InvalidOption

QUICK = HideOptions("matched", solver="heun", steps=2)  # without a key, whose stretching is slow by design


def options(**changes: object) -> ReversibilityOptions:
    base = ReversibilityOptions(QUICK, degradations=(TABLE_4[3],))
    return replace(base, **changes)


def test_reversibility_gives_every_figure_and_writes_them(bench: Bench) -> None:
    table = reversibility.run(bench, options())
    assert table["count"] == 8
    assert table["recovered"]["psnr"]["count"] == 8
    assert set(table["attacked"]) == {"wrong", "near", "none"}
    assert set(table["degraded"]) == {"jpeg 80"}
    written = json.loads((bench.out / "reversibility" / "table.json").read_text())
    assert written["recovered"] == table["recovered"]
    assert written["made"]["model"] == bench.model.fingerprint
    assert {"command", "commit", "device", "seed", "threads"} <= set(written["made"])
    assert (written["setup"]["options"]["solver"], written["setup"]["options"]["steps"]) == ("heun", 2)


def test_figures_are_those_of_the_rows(bench: Bench) -> None:
    table = reversibility.run(bench, options(attacks=False, degradations=()))
    trial = hide_faces(bench, range(8), QUICK)
    recovered = recover_faces(bench, trial, trial.stegos, trial.prompts)
    expected = np.mean([psnr(a, b) for a, b in zip(trial.originals, recovered, strict=True)])
    assert table["recovered"]["psnr"]["value"] == pytest.approx(expected, abs=0.01)
    ceiling = bench.model.decode(bench.model.encode(trial.originals))
    expected = np.mean([psnr(a, b) for a, b in zip(trial.originals, ceiling, strict=True)])
    assert table["ceiling"]["psnr"]["value"] == pytest.approx(expected, abs=0.01)


def test_a_stopped_run_goes_on_without_doing_rows_twice(bench: Bench) -> None:
    part = replace(bench, faces=bench.faces[:4])
    reversibility.run(part, options(attacks=False))
    path = bench.out / "reversibility" / "rows.jsonl"
    first = path.read_text()
    with path.open("a") as handle:
        handle.write('{"key": "cut o')  # killed in the middle of a line
    table = reversibility.run(bench, options(attacks=False))
    assert path.read_text().startswith(first)
    assert len(path.read_text().splitlines()) == 8
    assert table["count"] == 8


def test_rows_of_another_setup_are_refused(bench: Bench) -> None:
    reversibility.run(replace(bench, faces=bench.faces[:4]), options(attacks=False))
    with pytest.raises(InvalidOption, match="another setup"):
        reversibility.run(bench, options(attacks=False, hide=HideOptions("matched", steps=3)))


def test_rows_hold_no_identity_prompt(bench: Bench) -> None:
    reversibility.run(bench, options())
    text = (bench.out / "reversibility" / "rows.jsonl").read_text()
    assert not any(prompt in text for prompt in bench.prompts)


def test_a_face_that_is_not_found_is_not_verified(bench: Bench) -> None:
    reversibility.run(bench, options(attacks=False, degradations=()))
    store = Run(bench.out / "reversibility", reversibility.setup_of(bench, options(attacks=False, degradations=())))
    rows = list(store.rows.values())
    name = next(iter(bench.calibrations))
    for row in rows:
        row["recovered"]["similarity"] = {name: 1.0}
    rows[0]["recovered"] = {**rows[0]["recovered"], "similarity": {f"{name}@original-landmarks": 1.0}}
    figures = reversibility.identity_figures(rows, "recovered", bench.calibrations, 0)[name]
    assert figures["verified"]["value"] == pytest.approx(7 / 8)
    assert figures["face_found"]["value"] == pytest.approx(7 / 8)
    assert figures["similarity@original-landmarks"]["count"] == 1


def test_security_compares_with_plain_samples_of_the_same_prompts(bench: Bench) -> None:
    table = security.run(bench, security.SecurityOptions(QUICK, epochs=1))
    curve = table["stegexpose"]["curve"]
    assert curve["true"][0] >= 0
    assert curve["true"][-1] == 1
    assert np.all(np.diff(curve["true"]) >= 0)
    assert 0 <= table["detector"]["stego against cover"]["accuracy"]["value"] <= 1
    assert table["detector"]["training_pictures"] == 4
    assert "half of the pairs, 4, and judges the other half" in write_report(bench.out).read_text()
    unprotected = table["recognition"]["unprotected"]["recognisers"]["mean-colours"]
    assert unprotected["rank-1"]["value"] < unprotected["rank-1-chance"]
    # 8 faces of 4 people: one other picture of the probe's identity among seven.
    assert unprotected["rank-1-chance"] == pytest.approx(6 / 7)
    assert unprotected["rank-5-chance"] == pytest.approx(2 / 7)
    covers = sorted((bench.out / "security/matched/pictures/cover").glob("*.png"))
    assert len(covers) == 8


def test_robustness_measures_every_degradation_of_the_table(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "HideOptions", lambda scheme: HideOptions(scheme, steps=2))
    few = replace(bench, faces=bench.faces[:2])
    table = robustness.run(few, ["matched"])["matched"]
    assert {one.name for one in TABLE_4} <= set(table["degraded"])
    assert {"webp 80", "resize 0.5", "blur 1"} <= set(table["degraded"])
    unprotected = json.loads((bench.out / "robustness/unprotected/table.json").read_text())
    assert set(unprotected["degraded"]) == set(table["degraded"])
    # White noise of 10 grey levels: 20 log10(255 / 10) dB, a little more where it is clipped.
    assert unprotected["degraded"]["noise 10"]["psnr"]["value"] == pytest.approx(28.1, abs=0.4)


def test_keys_give_every_table_of_both_schemes(
    bench: Bench, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys.prompts, "COMMON", keys.prompts.COMMON[:1])
    monkeypatch.setattr(keys, "HideOptions", lambda scheme: HideOptions(scheme, steps=2))
    half = DiffusionModel.load(tiny_folder, dtype=torch.bfloat16)
    tables = keys.run(replace(bench, faces=bench.faces[:2]), halves={"half precision": half})
    # The paper passes the noise on as it is; ours under a key.
    assert tables["paper"]["known_pair"]["another nonce"]["as it is"]["value"] == pytest.approx(1)
    assert abs(tables["keyed"]["known_pair"]["another nonce"]["as it is"]["value"]) < 0.15
    for table in tables.values():
        views = {"noise", "magnitude", "band energies", "group lengths"}
        assert set(table["linkage"]) == {"gallery", "chance", *views}
        assert table["linkage"]["chance"] == 0.5
        assert set(table["machines"]) == {
            "count",
            "as hidden, batch of 2",
            "batch of one",
            "2 threads for 1",
            "half precision",
        }
        assert set(table["attacked"]) == {"wrong", "near", "none"}
    assert torch.get_num_threads() == 1
    text = write_report(bench.out).read_text()
    for words in (
        "| paper | 2 |",
        "| keyed | 2 |",
        "one word off",
        "band energies",
        "half precision",
        "another nonce",
    ):
        assert words in text


def test_sign_flips_fall_to_one_known_pair_under_the_same_nonce(bench: Bench) -> None:
    table = keys._known_pair(replace(bench, faces=bench.faces[:2]), HideOptions("signs", steps=2))
    assert table["same nonce"]["signs of the pair"]["value"] == pytest.approx(1)
    assert abs(table["another nonce"]["signs of the pair"]["value"]) < 0.15


def test_without_a_key_the_paper_loses_nothing(bench: Bench) -> None:
    for scheme, same in (("paper", True), ("keyed", False)):
        trial = hide_faces(bench, [0, 1], HideOptions(scheme, steps=3))
        with_key = recover_faces(bench, trial, trial.stegos, trial.prompts)
        without = recover_faces(bench, trial, trial.stegos, trial.prompts, keyed=False)
        assert np.array_equal(with_key, without) == same


def test_peers_are_options_that_exist() -> None:
    assert PEERS["paper"].resolved_steps == 60
    assert PEERS["paper-50"].resolved_steps == 50
    assert len({(o.scheme, o.resolved_solver, o.resolved_steps) for o in PEERS.values()}) == len(PEERS)


def test_perception_is_silent_about_parts_not_given(bench: Bench) -> None:
    pictures = np.stack([sample.picture for sample in bench.faces])
    assert perception(bench, pictures, pictures, NO_METRICS) == {}


def test_tables_share_hidings_recoveries_and_channels(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("hide", "recover"):
        real = getattr(trials, name)
        monkeypatch.setattr(trials, name, lambda *a, real=real, name=name, **k: calls.append(name) or real(*a, **k))
    few = replace(bench, faces=bench.faces[:4])
    reversibility.run(few, options())
    # One batch: hidden once; recovered clean, under three attacks, and through one channel.
    assert (calls.count("hide"), calls.count("recover")) == (1, 5)
    security.run(few, security.SecurityOptions(QUICK, epochs=0))
    reversibility.run(few, options(), name="elsewhere")
    assert (calls.count("hide"), calls.count("recover")) == (1, 5)
    reversibility.run(few, options(degradations=TABLE_4[3:5]), name="more")
    assert (calls.count("hide"), calls.count("recover")) == (1, 6)
    rows = [
        [json.loads(line) for line in (bench.out / name / "rows.jsonl").read_text().splitlines()]
        for name in ("reversibility", "elsewhere")
    ]
    for first, second in zip(*rows, strict=True):
        assert {k: v for k, v in first.items() if k != "cpu_seconds"} == {
            k: v for k, v in second.items() if k != "cpu_seconds"
        }


def test_trials_of_another_seed_are_refused(bench: Bench) -> None:
    few = replace(bench, faces=bench.faces[:2])
    reversibility.run(few, options(attacks=False, degradations=()))
    with pytest.raises(InvalidOption, match="another setup"):
        reversibility.run(replace(few, seed=4, trials={}), options(attacks=False, degradations=()), name="again")


def test_rows_of_another_version_of_the_method_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else new mixing would recover what old mixing hid."""
    few = replace(bench, faces=bench.faces[:2])
    reversibility.run(few, options(attacks=False, degradations=()))
    security.run(few, security.SecurityOptions(QUICK, epochs=0))
    monkeypatch.setattr(trials, "VERSION", trials.VERSION + 1)
    new = replace(few, trials={})
    for run in (
        lambda: reversibility.run(new, options(attacks=False, degradations=())),
        lambda: reversibility.run(new, options(attacks=False, degradations=()), name="again"),  # old trials
        lambda: security.run(new, security.SecurityOptions(QUICK, epochs=0)),
    ):
        with pytest.raises(InvalidOption, match="another setup"):
            run()


@pytest.mark.parametrize(
    ("kind", "low", "high", "count", "verdict"),
    [
        ("wrong", 0.05, 0.1, 9, "yes"),
        ("wrong", 0.05, 0.15, 9, "undecided"),  # the low end below the floor proves nothing
        ("wrong", 0.11, 0.15, 9, "no"),  # below those of the same description, which this attacker does not know
        ("none", 0.11, 0.15, 9, "no"),
        ("near", 0.11, 0.15, 9, "yes"),
        ("near", 0.19, 0.25, 9, "undecided"),
        ("near", 0.21, 0.25, 9, "no"),
        ("wrong", 0.05, 0.05, 1, "undecided"),
    ],
)
def test_an_attack_is_bounded_by_strangers(kind: str, low: float, high: float, count: int, verdict: str) -> None:
    figures = {
        "strangers": {"mean": 0.1, "described": 0.2},
        "similarity": {"value": (low + high) / 2, "low": low, "high": high, "count": count},
    }
    assert reversibility.strangers_bound(figures, kind) == verdict
    figures["strangers"]["drawn"] = 0.3  # pictures that are like everybody tell nothing of one
    assert reversibility.strangers_bound(figures, kind) == ("yes" if count > 1 else "undecided")


def test_evaluations_are_counted_on_both_sides(bench: Bench) -> None:
    table = reversibility.run(replace(bench, faces=bench.faces[:2]), options(attacks=False, degradations=()))
    # Heun: two evaluations a step, two steps a walk, two walks.
    assert (table["evaluations"], table["recover_evaluations"]) == (8, 8)


def test_peers_give_one_table_with_all_columns(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = {"matched": QUICK, "paper": HideOptions("paper", steps=2), "signs": HideOptions("signs", "heun", 2)}
    monkeypatch.setattr(peers, "PEERS", ways)
    tables = peers.run(replace(bench, faces=bench.faces[:2]), tuple(ways))
    assert {name: table["evaluations"] for name, table in tables.items()} == {"matched": 8, "paper": 4, "signs": 8}
    for table in tables.values():
        assert set(table["degraded"]) == {"jpeg 40"}
        assert {"psnr", "ssim"} <= set(table["recovered"])
    text = write_report(bench.out).read_text()
    (head,) = [line for line in text.splitlines() if line.startswith("| way |")]
    for words in ("PSNR", "verified", "wrong prompt verified", "JPEG 40", "evaluations", "seconds"):
        assert words in head
    assert sum(line.startswith(("| matched |", "| paper |", "| signs |")) for line in text.splitlines()) == 3


def test_ablation_sets_two_models_side_by_side(bench: Bench, tmp_path: Path) -> None:
    folder = build_tiny(tmp_path / "other", seed=1)
    ablation.run(replace(bench, faces=bench.faces[:3]), folder, QUICK, PerceptualMetrics())
    tables = tables_of(bench.out, "ablation")
    assert tables["with"]["made"]["model"] == bench.model.fingerprint
    assert tables["without"]["made"]["model"] == DiffusionModel.load(folder).fingerprint
    assert tables["with"]["recovered"] != tables["without"]["recovered"]
    text = write_report(bench.out).read_text()
    assert "| paper, without |" in text
    assert "(ablation.png)" in text


def test_covers_go_the_way_of_stegos_and_plain_samples_another(bench: Bench) -> None:
    model = copy(bench.model)
    model.extras = replace(model.extras, contrast=0.5)
    few = replace(bench, faces=bench.faces[:2], model=model)
    security.run(few, security.SecurityOptions(QUICK, epochs=0))
    table = json.loads((bench.out / "security/matched/table.json").read_text())
    assert "stegexpose_plain" in table
    store = Run(bench.out / "security/matched", table["setup"])
    draws = [np.random.default_rng([few.seed, *name.encode()]).normal(size=model.latent_shape) for name in few.names]
    disguises = [trials.row_of(few, QUICK, i)["disguise"] for i in range(2)]
    latents = {o: stego_latents(model, np.stack(draws), disguises, o) for o in (QUICK, PLAIN)}
    assert np.array_equal(store.load("cover", few.names), draw(model, latents[QUICK], 0.5))
    assert np.array_equal(store.load("plain", few.names), model.decode(latents[PLAIN]))


def test_a_stopped_part_is_computed_once(tmp_path: Path) -> None:
    store, calls = Run(tmp_path / "run", {"seed": 0}), []

    def make() -> dict[str, int]:
        calls.append(1)
        return {"value": len(calls)}

    assert store.part("one", ["a"], make) == store.part("one", ["a"], make) == {"value": 1}
    assert Run(tmp_path / "run", {"seed": 0}).part("one", ["a"], make) == {"value": 1}
    assert store.part("one", ["a", "b"], make) == {"value": 2}
