"""Each table at a size of seconds, on the tiny pipeline: rows, resuming, and the relations that hold for any
weights."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation import keys, reversibility, robustness, security
from evaluation.ablation import perception
from evaluation.bench import Bench, hide_faces, recover_faces
from evaluation.degradations import TABLE_4
from evaluation.metrics import psnr
from evaluation.peers import PEERS
from evaluation.report import write_report
from evaluation.reversibility import ReversibilityOptions
from evaluation.runs import Run
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import HideOptions
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
    assert 0 <= table["detector"]["stego"]["accuracy"]["value"] <= 1
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


def test_keys_give_every_table_of_both_schemes(
    bench: Bench, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys.prompts, "COMMON", keys.prompts.COMMON[:1])
    monkeypatch.setattr(keys, "HideOptions", lambda scheme: HideOptions(scheme, steps=2))
    half = DiffusionModel.load(tiny_folder, dtype=torch.bfloat16)
    tables = keys.run(replace(bench, faces=bench.faces[:2]), half=half)
    # The paper passes the noise on as it is; ours under a key.
    assert tables["paper"]["known_pair"]["another nonce"]["as it is"]["value"] == pytest.approx(1)
    assert abs(tables["keyed"]["known_pair"]["another nonce"]["as it is"]["value"]) < 0.15
    for table in tables.values():
        assert set(table["linkage"]) == {"gallery", "chance", "noise", "magnitude", "band energies"}
        assert table["linkage"]["chance"] == 0.5
        assert set(table["machines"]) == {
            "count", "as hidden", "batch of one", "2 threads for 1", "half precision",
        }  # fmt: skip
        assert set(table["attacked"]) == {"wrong", "near", "none"}
    assert torch.get_num_threads() == 1
    text = write_report(bench.out).read_text()
    for words in ("### paper", "### keyed", "one word off", "band energies", "half precision", "another nonce"):
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
    assert perception(bench, pictures, pictures, None, None, None) == {}
