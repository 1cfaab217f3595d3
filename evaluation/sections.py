"""Sections of the report about the recovered face: instruments, reversibility, robustness, ablation."""

from collections.abc import Mapping
from pathlib import Path

from evaluation import plots
from evaluation.identity import BORROWED
from evaluation.markdown import ATTACK_NAMES, Lines, figure, picture, provenance, provenances, shares, trials_of
from evaluation.reversibility import strangers_bound
from evaluation.runs import Row
from figures.tables import markdown

_PAIRS = ("stranger_pairs", "described_pairs", "same_pairs")


def instruments(table: Row) -> Lines:
    rows = [
        (
            name,
            f"{one['threshold']:.4f} [{one['threshold_low']:.4f}, {one['threshold_high']:.4f}]",
            f"{one['stranger_mean']:.3f}",
            f"{one['described_mean']:.3f}",
            f"{100 * one['described_accept']:.1f} %",
            f"{100 * one['true_accept']:.1f} % "
            f"[{100 * one['true_accept_low']:.1f}, {100 * one['true_accept_high']:.1f}]",
            f"{one['auc']:.4f}",
        )
        for name, one in table["calibrations"].items()
    ]
    pairs = next(iter(table["calibrations"].values()), dict.fromkeys(_PAIRS, 0))
    found, false = (figure(table[key], 2, percent=True) for key in ("faces_found", "scenes_with_face"))
    head = (
        "recogniser",
        "threshold at FAR 1 %",
        "mean of strangers",
        "strangers of one description",
        "of these accepted",
        "same person accepted",
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
        f"Pairs: {pairs['stranger_pairs']} of strangers, {pairs['described_pairs']} of one description, "
        f"{pairs['same_pairs']} of one person. Intervals of thresholds and acceptance: bootstrap over people, since "
        "pairs that share a person are not independent.",
        "",
    ]


def reversibility(table: Row, folder: Path) -> Lines:
    options = table["setup"]["options"]
    lines = ["## Reversibility (Table 1, Fig. 7)", ""]
    lines += [
        f"Scheme {options['scheme']}, solver {options['solver']}, {options['steps']} steps; network evaluations "
        f"{table['evaluations']} to hide, {table['recover_evaluations']} to recover."
    ]
    lines += ["", *provenance(table)]
    seen = table.get("perception", {})
    lpips = figure(seen["lpips"], 4) if "lpips" in seen else "-"
    rows = [
        ("recovered", figure(table["recovered"]["psnr"]), figure(table["recovered"]["ssim"], 3), lpips),
        ("ceiling decode(encode(x))", figure(table["ceiling"]["psnr"]), figure(table["ceiling"]["ssim"], 3), "-"),
        (
            "stego against the face",
            figure(table["stego_to_original"]["psnr"]),
            figure(table["stego_to_original"]["ssim"], 3),
            "-",
        ),
    ]
    lines += markdown(("", "PSNR, dB", "SSIM", "LPIPS (AlexNet)"), rows)
    lines += [
        f"The loop costs {figure(table['loss_db'])} dB against the ceiling. "
        f"Stegos that show a face: {figure(table['stego_shows_face'], 1, percent=True)}."
    ]
    if "frechet" in seen:
        lines += [f"Recovered against original pictures, {seen['frechet']['features']}: {_distance(seen['frechet'])}."]
    lines += [""]
    kinds = [kind for kind in ("original", "stego", "recovered", *table["attacked"]) if kind]
    rows_of_pictures = [(ATTACK_NAMES.get(kind, kind), trials_of(table, folder) / kind) for kind in kinds]
    sheet = plots.labelled_sheet(rows_of_pictures, folder / "sheet.png")
    lines += picture(sheet, "originals, stegos, recovered faces, and what attackers get")
    lines += [*_identity(table), *_attacks_plot(table, folder), *_attacks(table)]
    return [*lines, *_degradations(table), *_scenes(table)]


def _distance(row: Row) -> str:
    return figure({key: row[key] for key in ("value", "low", "high", "count", "interval")})


def _identity(table: Row) -> Lines:
    rows = []
    for name, one in table["identity"]["recovered"].items():
        published = one.get("verified_at_published_threshold")
        rows.append(
            (
                name,
                figure(one["verified"], 1, percent=True)
                + (f"; at the published threshold {figure(published, 1, percent=True)}" if published else ""),
                figure(one["similarity"], 3) if "similarity" in one else "no face found",
                figure(one["confidence"], 1) if "confidence" in one else "-",
            )
        )
    if not rows:
        return []
    head = ("recogniser", "verified", "similarity", "confidence")
    words = (
        "Thresholds, at which 1 % of all pairs of strangers pass, and what another photograph of the person gets: "
        "Instruments, below."
    )
    return ["### The same person?", "", *markdown(head, rows), words, ""]


def _attacks_plot(table: Row, folder: Path) -> Lines:
    if not table["attacked"] or not table["calibrations"]:
        return []
    kinds = {"recovered": "recovered", **{kind: ATTACK_NAMES[kind] for kind in table["attacked"]}}
    path = plots.identity_points(table, folder / "identity.png", kinds)
    return picture(path, "similarity to the original, among strangers")


def _attacks(table: Row) -> Lines:
    """What somebody without the identity prompt gets, by attack and recogniser."""
    found = {kind: table["identity"][kind] for kind in table["attacked"]}
    rows = [(ATTACK_NAMES[kind], *_attack(kind, name, one)) for kind in found for name, one in found[kind].items()]
    if not rows:
        return []
    fidelity = [
        (ATTACK_NAMES[kind], figure(one["psnr"]), figure(one["ssim"], 3), _faces_found(found[kind]))
        for kind, one in table["attacked"].items()
    ]
    head = ("attack", "recogniser", "similarity", "these pictures to others", "bounded by strangers", "verified")
    return [
        "### Without the identity prompt",
        "",
        *markdown(("attack", "PSNR", "SSIM", "face found"), fidelity),
        *markdown(head, rows),
        "To others: the mean over these pictures and other people of the set, which shows what the model's usual face "
        "has in common with anybody. Bounded: *yes* where the whole interval of the similarity lies at or below the "
        "highest of it and the means of Instruments (that of one description counts for one word off alone), *no* "
        "where all of it lies above, else *undecided*.",
        "",
    ]


def _attack(kind: str, name: str, one: Row) -> tuple[str, ...]:
    verified = figure(one["verified"], 1, percent=True)
    if "similarity" not in one:
        lent = one.get("similarity" + BORROWED)
        return name, f"no face; {figure(lent, 3)} where it was" if lent else "no face", "-", "-", verified
    bound = strangers_bound(one, kind)
    drawn = f"{one['strangers'].get('drawn', float('nan')):.3f}"
    return name, figure(one["similarity"], 3), drawn, "**no**" if bound == "no" else bound, verified


def _faces_found(recognisers: Row) -> str:
    """The detector's share, which is the same for every recogniser."""
    return figure(next(iter(recognisers.values()))["face_found"], 0, percent=True)


def _degradations(table: Row) -> Lines:
    if not table["degraded"]:
        return []
    rows = []
    for name, one in table["degraded"].items():
        cells = (figure(one["psnr"]), figure(one["drop_db"]), figure(one["ssim"], 3), shares(one.get("identity", {})))
        rows.append((name, *cells))
    recognisers = ", ".join(table["calibrations"]) or "none"
    head = ("channel", "PSNR", "drop, dB", "SSIM", "verified, %")
    words = f"Verified by: {recognisers}, in this order."
    return ["### Through a lossy channel", "", *markdown(head, rows), words, ""]


def _scenes(table: Row) -> Lines:
    """Worst and best of the disguises' scenes, and the small CLIP's opinion of the stego where it was asked."""
    ordered = sorted(table["by_scene"].items(), key=lambda item: float(item[1]["psnr"]["value"]))
    ends = [f"{figure(one['psnr'])} dB ({scene})" for scene, one in (ordered[0], ordered[-1])]
    lines = ["### By scene", "", f"PSNR by the disguise's scene, {len(ordered)} of them: from {' to '.join(ends)}."]
    clip = table.get("clip")
    if clip:
        right = figure(clip["right_scene"], 1, percent=True)
        scene = figure(clip["scene_not_face"], 1, percent=True)
        lines += [
            f"The shipped CLIP model names the right one of six scenes for {right} of the stegos (chance 16.7 %); "
            f"it sees the scene rather than a face in {scene}; cosine to the prompt {figure(clip['score'], 3)}. It "
            "learned from the same pictures as the network, so it is no independent judge."
        ]
    return [*lines, ""]


def robustness(tables: Mapping[str, Row], folder: Path) -> Lines:
    shown = dict(sorted(tables.items(), key=lambda item: item[0] == "unprotected"))
    lines = ["## Robustness (Table 4, Fig. 9)", ""]
    lines += provenances(shown)
    names = list(dict.fromkeys(name for table in shown.values() for name in table["degraded"]))
    rows = [("none", *(cell for table in shown.values() for cell in _through(table.get("recovered"))))]
    for name in names:
        rows.append((name, *(cell for table in shown.values() for cell in _through(table["degraded"].get(name)))))
    recognisers = ", ".join(next(iter(shown.values()))["calibrations"]) or "nobody"
    head = (word for scheme, table in shown.items() for word in (f"{scheme}, {table['count']} faces", "verified, %"))
    lines += markdown(("channel", *head), rows)
    lines += [
        f"PSNR in dB to the original face, and the share verified by {recognisers}. `unprotected`: the face itself "
        "through the channel, nothing hidden; `paper`: the published scheme on the same network.",
        "",
    ]
    lines += picture(plots.robustness_curves(shown, folder / "robustness.png"), "PSNR over degradations")
    for scheme, table in shown.items():
        if scheme == "unprotected":
            continue
        kinds = [kind for kind in ("recovered", *table["degraded"]) if (trials_of(table, folder) / kind).is_dir()]
        parts = [(kind, trials_of(table, folder) / kind) for kind in kinds]
        sheet = plots.labelled_sheet(parts, folder / f"channels-{scheme}.png") if parts else None
        lines += picture(sheet, f"recovered after each channel, {scheme}")
    return lines


def _through(cell: Row | None) -> tuple[str, str]:
    """PSNR and the share verified, recogniser by recogniser, where they were measured."""
    if cell is None:
        return "-", "-"
    return figure(cell["psnr"]), shares(cell.get("identity", {}))


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
    head = (
        "PCR",
        "model",
        "PSNR",
        "SSIM",
        next(iter(features), "Frechet distance"),
        "CLIP to identity prompt",
        "LPIPS",
        "similarity, by recogniser",
    )
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
