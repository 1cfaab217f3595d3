"""Sections of the report about the recovered face: instruments, reversibility, robustness, ablation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation import plots
from evaluation.identity import BORROWED
from evaluation.markdown import ATTACK_NAMES, Lines, figure, picture, provenance, trials_of
from evaluation.reversibility import strangers_bound
from evaluation.runs import Row
from evaluation.verdicts import PAPER
from figures.tables import markdown


def instruments(table: Row) -> Lines:
    rows = [
        (
            name,
            f"{one['threshold']:.4f} [{one['threshold_low']:.4f}, {one['threshold_high']:.4f}]",
            f"{one['stranger_mean']:.3f} ({one['stranger_pairs']})",
            f"{one['described_mean']:.3f} ({one['described_pairs']})",
            f"{100 * one['true_accept']:.1f} % "
            f"[{100 * one['true_accept_low']:.1f}, {100 * one['true_accept_high']:.1f}] ({one['same_pairs']})",
            f"{one['auc']:.4f}",
        )
        for name, one in table["calibrations"].items()
    ]
    found, false = (figure(table[key], 2, percent=True) for key in ("faces_found", "scenes_with_face"))
    head = (
        "recogniser",
        "threshold at FAR 1 %",
        "mean of strangers (pairs)",
        "strangers of one description (pairs)",
        "same person accepted (pairs)",
        "area under ROC",
    )
    return [
        "## Instruments",
        "",
        *provenance(table),
        f"{table['detector']}: finds a face in {found} of the face pictures and in {false} of "
        f"{table['scenes_with_face']['count']} scenes.",
        "",
        *markdown(head, rows),
        "Intervals of thresholds and acceptance: bootstrap over people, since pairs that share a person are not "
        "independent.",
        "",
    ]


def reversibility(table: Row, folder: Path) -> Lines:
    options = table["setup"]["options"]
    lines = ["## Reversibility (Table 1, Fig. 7)", ""]
    lines += [f"Scheme {options['scheme']}, solver {options['solver']}, {options['steps']} steps; network evaluations "
              f"{table['evaluations']} to hide, {table['recover_evaluations']} to recover."]  # fmt: skip
    lines += ["", *provenance(table)]
    seen = table.get("perception", {})
    lpips = figure(seen["lpips"], 4) if "lpips" in seen else "-"
    rows = [
        ("recovered", figure(table["recovered"]["psnr"]), figure(table["recovered"]["ssim"], 3), lpips),
        ("ceiling decode(encode(x))", figure(table["ceiling"]["psnr"]), figure(table["ceiling"]["ssim"], 3), "-"),
        ("stego against the face", figure(table["stego_to_original"]["psnr"]),
         figure(table["stego_to_original"]["ssim"], 3), "-"),
        ("paper, recovered", f"{PAPER['psnr']}", f"{PAPER['ssim']}", "-"),
        ("paper, without PCR", f"{PAPER['psnr_without']:g}", f"{PAPER['ssim_without']}", "-"),
    ]  # fmt: skip
    lines += markdown(("", "PSNR, dB", "SSIM", "LPIPS (AlexNet)"), rows)
    lines += [f"The loop costs {figure(table['loss_db'])} dB against the ceiling. "
              f"Stegos that show a face: {figure(table['stego_shows_face'], 1, percent=True)}."]  # fmt: skip
    if "frechet" in seen:
        lines += [f"Recovered against original pictures, {seen['frechet']['features']}: {_distance(seen['frechet'])}."]
    lines += [""]
    kinds = [kind for kind in ("original", "stego", "recovered", *table["attacked"]) if kind]
    rows_of_pictures = [(ATTACK_NAMES.get(kind, kind), trials_of(table, folder) / kind) for kind in kinds]
    sheet = plots.labelled_sheet(rows_of_pictures, folder / "sheet.png")
    lines += picture(sheet, "originals, stegos, recovered faces, and what attackers get")
    return (
        lines + _identity(table) + _attacks_plot(table, folder) + attacks(table) + _degradations(table) + _scenes(table)
    )


def _distance(row: Row) -> str:
    return figure({key: row[key] for key in ("value", "low", "high", "count", "interval")})


def _identity(table: Row) -> Lines:
    rows = []
    for name, one in table["identity"]["recovered"].items():
        ceiling = table["identity"]["ceiling"][name]
        calibration = table["calibrations"][name]
        published = one.get("verified_at_published_threshold")
        rows.append(
            (
                name,
                figure(one["verified"], 1, percent=True)
                + (f"; at the published threshold {figure(published, 1, percent=True)}" if published else ""),
                figure(ceiling["verified"], 1, percent=True),
                f"{100 * calibration['true_accept']:.1f} %",
                figure(one["similarity"], 3) if "similarity" in one else "no face found",
                figure(one["confidence"], 1) if "confidence" in one else "-",
                f"{calibration['threshold']:.3f} "
                f"[{calibration['threshold_low']:.3f}, {calibration['threshold_high']:.3f}]",
            )
        )
    if not rows:
        return []
    head = ("recogniser", "verified", "ceiling verified", "another photograph verified", "similarity", "confidence",
            "threshold")  # fmt: skip
    words = (
        "Threshold: 1 % of all pairs of strangers pass. Another photograph: what an unprotected, different picture of "
        "the person gets. A recovered picture in which no face is found counts as not verified. Confidence: 0 at the "
        "mean of strangers, 50 at the threshold, 100 for the same picture."
    )
    return ["### The same person?", "", *markdown(head, rows), words, ""]


def _attacks_plot(table: Row, folder: Path) -> Lines:
    if not table["attacked"] or not table["calibrations"]:
        return []
    kinds = {"recovered": "recovered", **{kind: ATTACK_NAMES[kind] for kind in table["attacked"]}}
    path = plots.identity_points(table, folder / "identity.png", kinds)
    return picture(path, "similarity to the original, among strangers")


def attacks(table: Row) -> Lines:
    """What somebody without the identity prompt gets, by attack and recogniser."""
    rows = []
    for kind in table["attacked"]:
        for name, one in table["identity"][kind].items():
            found = figure(one["face_found"], 0, percent=True)
            floor = f"1.0 / {100 * table['calibrations'][name]['described_accept']:.1f} %"
            if "similarity" not in one:
                lent = one.get("similarity" + BORROWED)
                shown = f"no face; {figure(lent, 3)} where it was" if lent else "no face"
                verified = figure(one["verified"], 1, percent=True)
                rows.append((ATTACK_NAMES[kind], name, shown, "-", "-", found, verified, floor))
                continue
            rows.append(
                (
                    ATTACK_NAMES[kind],
                    name,
                    figure(one["similarity"], 3),
                    " / ".join(f"{one['strangers'].get(k, float('nan')):.3f}" for k in ("mean", "described", "drawn")),
                    "**no**" if (bound := strangers_bound(one, kind)) == "no" else bound,
                    found,
                    figure(one["verified"], 1, percent=True),
                    floor,
                )
            )
    if not rows:
        return []
    head = ("attack", "recogniser", "similarity", "strangers / of one description / of these pictures",
            "bounded by them", "face found", "verified", "strangers verified / of the same description")  # fmt: skip
    fidelity = [
        (ATTACK_NAMES[kind], figure(one["psnr"]), figure(one["ssim"], 3)) for kind, one in table["attacked"].items()
    ]
    return [
        "### Without the identity prompt",
        "",
        *markdown(("attack", "PSNR", "SSIM"), fidelity),
        *markdown(head, rows),
        "Strangers: the mean over pairs of the set; over pairs of one description; between these pictures and other "
        "people of the set, which shows what the model's usual face has in common with anybody. Bounded: *yes* where "
        "the whole interval of the similarity lies at or below the highest of these (the second counts for one word "
        "off alone), *no* where all of it lies above, else *undecided*.",
        "",
    ]


def _degradations(table: Row) -> Lines:
    if not table["degraded"]:
        return []
    rows = []
    for name, one in table["degraded"].items():
        verified = [f"{100 * part['verified']['value']:.0f}" for part in one.get("identity", {}).values()]
        cells = (figure(one["psnr"]), figure(one["drop_db"]), figure(one["ssim"], 3), " / ".join(verified) or "-")
        rows.append((name, *cells))
    recognisers = ", ".join(table["calibrations"]) or "none"
    head = ("channel", "PSNR", "drop, dB", "SSIM", "verified, %")
    words = f"Verified by: {recognisers}, in this order."
    return ["### Through a lossy channel", "", *markdown(head, rows), words, ""]


def _scenes(table: Row) -> Lines:
    """Fidelity by the disguise's scene, and the small CLIP's opinion of the stego where it was asked."""
    rows = [
        (s, str(one["psnr"]["count"]), figure(one["psnr"]), figure(one["ssim"], 3))
        for s, one in table["by_scene"].items()
    ]
    lines = ["### By scene", "", *markdown(("disguise", "faces", "PSNR", "SSIM"), rows)]
    clip = table.get("clip")
    if clip:
        right = figure(clip["right_scene"], 1, percent=True)
        scene = figure(clip["scene_not_face"], 1, percent=True)
        lines += [
            f"The shipped CLIP model names the right one of six scenes for {right} of the stegos (chance 16.7 %); "
            f"it sees the scene rather than a face in {scene}; cosine to the prompt {figure(clip['score'], 3)}. It "
            "learned from the same pictures as the network, so it is no independent judge.",
            "",
        ]
    return lines


def robustness(tables: Mapping[str, Row], folder: Path) -> Lines:
    lines = ["## Robustness (Table 4, Fig. 9)", ""]
    shown = dict(sorted(tables.items(), key=lambda item: item[0] == "unprotected"))
    for table in shown.values():
        lines += provenance(table)
    names = list(dict.fromkeys(name for table in shown.values() for name in table["degraded"]))
    first = [figure(table["recovered"]["psnr"]) if "recovered" in table else "-" for table in shown.values()]
    rows = [("none", *first)]
    for name in names:
        cells = [table["degraded"].get(name) for table in shown.values()]
        rows.append((name, *(_channel(cell) for cell in cells)))
    lines += markdown(("channel", *shown), rows)
    lines += ["PSNR in dB to the original face, and its fall. `unprotected`: the face itself through the channel, "
              "nothing hidden; `paper`: the published scheme on the same network.", ""]  # fmt: skip
    lines += picture(plots.robustness_curves(shown, folder / "robustness.png"), "PSNR over degradations")
    lines += _verified_through(shown, names)
    for scheme, table in shown.items():
        if scheme == "unprotected":
            continue
        kinds = [kind for kind in ("recovered", *table["degraded"]) if (trials_of(table, folder) / kind).is_dir()]
        parts = [(kind, trials_of(table, folder) / kind) for kind in kinds]
        sheet = plots.labelled_sheet(parts, folder / f"channels-{scheme}.png") if parts else None
        lines += picture(sheet, f"recovered after each channel, {scheme}")
    return lines


def _verified_through(tables: Mapping[str, Row], names: Sequence[str]) -> Lines:
    recognisers = next(iter(tables.values()))["calibrations"]
    if not recognisers:
        return []
    rows = []
    for name in names:
        parts = [table["degraded"].get(name, {}).get("identity", {}).values() for table in tables.values()]
        shown = [" / ".join(f"{100 * one['verified']['value']:.0f}" for one in part) or "-" for part in parts]
        rows.append((name, *shown))
    words = f"Share verified, %, by {', '.join(recognisers)}:"
    return [words, "", *markdown(("channel", *tables), rows)]


def _channel(cell: Row | None) -> str:
    if cell is None:
        return "-"
    return figure(cell["psnr"]) + (f", {-cell['drop_db']['value']:+.1f}" if "drop_db" in cell else "")


def ablation(tables: Mapping[str, Row], folder: Path) -> Lines:
    rows = []
    for label, table in tables.items():
        seen = table.get("perception", {})
        clip = seen.get("clip_to_identity_prompt_recovered")
        rows.append(
            (
                label,
                table["made"]["model"],
                figure(table["recovered"]["psnr"]),
                figure(table["recovered"]["ssim"], 3),
                _distance(seen["frechet"]) if "frechet" in seen else "-",
                figure(clip, 3) if clip else "-",
                figure(seen["lpips"], 4) if "lpips" in seen else "-",
                _mean_similarity(table),
            )
        )
    rows.append(("paper, without", "", "28", "0.77", "34 (FID)", "-", "-", "-"))
    rows.append(("paper, with", "", "35.11", "0.93", "32.96 (FID)", "-", "-", "-"))
    features = [t["perception"]["frechet"]["features"] for t in tables.values() if "frechet" in t.get("perception", {})]
    head = ("PCR", "model", "PSNR", "SSIM", next(iter(features), "Frechet distance"), "CLIP to identity prompt",
            "LPIPS", "similarity, by recogniser")  # fmt: skip
    lines = ["## Ablation (Table 5, Fig. 10)", ""]
    for table in tables.values():
        lines += provenance(table)
    lines += markdown(head, rows)
    shown = [("original", next(iter(tables)), "original")] + [(label, label, "recovered") for label in tables]
    parts = [(words, folder / "ablation" / label / "pictures" / kind) for words, label, kind in shown]
    return lines + picture(plots.labelled_sheet(parts, folder / "ablation.png"), "original, and recovered by each")


def _mean_similarity(table: Row) -> str:
    found = table["identity"]["recovered"].values()
    return " / ".join(f"{one['similarity']['value']:.3f}" if "similarity" in one else "-" for one in found) or "-"
