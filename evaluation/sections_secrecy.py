"""Sections of the report about what others see: security, keys, peers."""

from collections.abc import Mapping
from pathlib import Path

from evaluation import plots
from evaluation.markdown import ATTACK_NAMES, Lines, area, figure, picture, provenance, trials_of
from evaluation.runs import Row
from evaluation.sections import attacks
from evaluation.verdicts import PAPER
from figures.tables import markdown


def security(tables: Mapping[str, Row], folder: Path) -> Lines:
    lines = ["## Security (Fig. 8, Tables 2 and 3)", ""]
    for table in tables.values():
        lines += provenance(table)
    lines += [
        "### Steganalysis",
        "",
        "Covers: samples of the same model and prompts that hide nothing, walked and drawn as stegos are, in the same "
        "file format. *Plain samples*: of the same noise, as another program makes them (Heun, 20 steps, no guidance, "
        "decoded at full contrast): against those, our way of walking and drawing shows. Chance is .5 everywhere.",
        "",
    ]
    rows = []
    for scheme, table in tables.items():
        for key, words in (("stegexpose", "covers"), ("stegexpose_plain", "plain samples")):
            if key in table:
                found = table[key]
                cells = (area(found), figure(found["accuracy"], 3), _parts(found))
                rows.append((f"{scheme} against {words}", str(table["count"]), *cells))
    rows.append(("paper", "", "-", f"{PAPER['roc_accuracy']} (CelebA-HQ), {PAPER['roc_accuracy_ladn']} (LADN)", "-"))
    head = ("StegExpose", "stegos", "area under ROC", "accuracy at its own threshold", "area, each detector")
    lines += markdown(head, rows)
    lines += picture(plots.roc_curves(tables, folder / "roc.png"), "ROC of StegExpose")
    for scheme, table in tables.items():
        lines += _control(scheme, table) + _detector(scheme, table) + _psr(scheme, table) + _naturalness(scheme, table)
    return lines


def _parts(found: Row) -> str:
    parts = found["detectors_auc"].items()
    return ", ".join(f"{name} {value:.2f}" if value is not None else f"{name} -" for name, value in parts)


def _control(scheme: str, table: Row) -> Lines:
    rows = [(name, area(one), figure(one["score"], 3)) for name, one in table["stegexpose_control"].items()]
    rows.append(("nothing (cover)", "-", figure(table["stegexpose"]["cover_score"], 3)))
    rows.append(("a face (stego)", area(table["stegexpose"]), figure(table["stegexpose"]["stego_score"], 3)))
    words = (
        f"Control, `{scheme}`: what StegExpose says once bits were replaced in these very covers (suspicious from .2):"
    )
    return [words, "", *markdown(("embedded", "area under ROC", "mean score"), rows)]


def _detector(scheme: str, table: Row) -> Lines:
    found = table.get("detector")
    if not found:
        return []
    rows = [(name, figure(one["accuracy"], 3), area(one)) for name, one in found.items() if isinstance(one, dict)]
    words = (
        f"Trained detector (after XuNet, {found['epochs']} epochs), `{scheme}`. Each of two networks learns from half "
        f"of the pairs, {found['training_pictures']}, and judges the other half; the area is the mean of both. The LSB "
        "rows tell what they can find at this number of pictures:"
    )
    return [words, "", *markdown(("", "accuracy", "area under ROC"), rows)]


def _psr(scheme: str, table: Row) -> Lines:
    rows = []
    sides = table.get("recognition", {})
    for side, attack in sides.items():
        missing = figure(attack["no_face_found"], 1, percent=True)
        for name, one in attack["recognisers"].items():
            cells = []
            for rank in ("rank-1", "rank-5"):
                cells += [figure(one[rank], 1, percent=True), f"{100 * one[rank + '-chance']:.1f} %"]
            rows.append((side, name, *cells, missing))
    if not rows:
        return []
    one = next(iter(next(iter(sides.values()))["recognisers"].values()))
    head = ("probe", "recogniser", "PSR rank-1", "chance", "PSR rank-5", "chance", "no face found")
    return [
        "### Recognition attack",
        "",
        f"Protection rate of `{scheme}` against a gallery of {one['gallery']} photographs, of which "
        f"{one['own_mean']:.1f} show the probe's person (paper, mean: 92.1 and 89.4 %). `cover`: pictures that hide "
        "nothing; `unprotected`: the face itself.",
        "",
        *markdown(head, rows),
    ]


def _naturalness(scheme: str, table: Row) -> Lines:
    found = table.get("naturalness")
    if not found:
        return []
    rows = [(key.replace("_", " "), figure(value)) for key, value in found.items() if isinstance(value, dict)]
    words = (
        f"{found['features']} of `{scheme}` at {found['count']} pictures a side (paper: FID 32.96, at other counts; "
        "the distance grows as counts shrink, so compare within this table only):"
    )
    return ["### Naturalness", "", words, "", *markdown(("sets", "distance"), rows)]


def keys(tables: Mapping[str, Row], folder: Path) -> Lines:
    lines = ["## Keys", "", "The attacker knows the method, the model, the stego and its recipe.", ""]
    lines += _in_short(tables)
    sheet = [("original", trials_of(next(iter(tables.values())), folder) / "original")]
    for scheme, table in tables.items():
        for kind in ("recovered", *table["attacked"]):
            sheet.append((f"{scheme}:\n{ATTACK_NAMES.get(kind, kind)}", trials_of(table, folder) / kind))
    lines += picture(plots.labelled_sheet(sheet, folder / "keys.png"), "what each prompt recovers, by scheme")
    for scheme, table in tables.items():
        lines += [f"### Scheme {scheme}", "", *provenance(table), *_nested(attacks(table)), *_common(table)]
        lines += [*_linkage(table), *_pairs(table)]
        found = table["machines"].items()
        rows = [
            (name, figure(one["psnr"]), figure(one["to_as_hidden"])) for name, one in found if isinstance(one, dict)
        ]
        words = f"Recovered with another arithmetic, {table['machines']['count']} faces:"
        lines += [
            words,
            "",
            *markdown(("arithmetic", "PSNR to the original", "to the one recovered as hidden (100: equal)"), rows),
        ]
    return lines


def _nested(lines: Lines) -> Lines:
    return [line.replace("### ", "#### ", 1) for line in lines]


def _in_short(tables: Mapping[str, Row]) -> Lines:
    rows = []
    for scheme, table in tables.items():
        kinds = ("recovered", *table["attacked"])
        verified = [_verified(table, kind) for kind in kinds]
        common = [f"{100 * one['verified']['value']:.0f}" for one in table["common"]["identity"].values()]
        rows.append((scheme, str(table["count"]), *verified, " / ".join(common) or "-"))
    tried = [ATTACK_NAMES[kind] for kind in next(iter(tables.values()))["attacked"]]
    names = ", ".join(next(iter(tables.values()))["calibrations"]) or "none"
    head = ("scheme", "faces", "right prompt", *tried, "best of the common prompts")
    return [f"Share verified as the right person, %, by {names}:", "", *markdown(head, rows)]


def _common(table: Row) -> Lines:
    found = table["common"]
    rows = [
        (
            name,
            figure(one["similarity"], 3) if "similarity" in one else "no face found",
            f"{found['strangers_max'][name]:.3f}",
            figure(one["verified"], 1, percent=True),
            f"{100 * (1 - 0.99 ** found['tries']):.1f} %",
        )
        for name, one in found["identity"].items()
    ]
    words = (
        f"The best of {found['tries']} common prompts on each of {found['psnr']['count']} pictures (PSNR "
        f"{figure(found['psnr'])}), beside the median best of as many strangers, and the share that as many strangers "
        "would pass:"
    )
    head = ("recogniser", "similarity", "strangers", "verified", "strangers verified")
    return [words, "", *markdown(head, rows)]


def _linkage(table: Row) -> Lines:
    found = table["linkage"]
    rows = [
        (
            name,
            figure(one["rank-1"], 1, percent=True),
            figure(one["mean_percentile"], 3),
            figure(one["own_correlation"], 3),
        )
        for name, one in found.items()
        if isinstance(one, dict)
    ]
    words = (
        f"Linkage: the right photograph picked among {found['gallery']} (chance {100 * found['chance']:.1f} %; "
        "percentile .5), by what stego and photograph leave in the noise:"
    )
    return [words, "", *markdown(("read from the noise", "rank-1", "mean percentile", "own correlation"), rows)]


def _pairs(table: Row) -> Lines:
    ways = list(next(iter(table["known_pair"].values())))
    rows = [(name, *(figure(one[way], 3) for way in ways)) for name, one in table["known_pair"].items()]
    words = (
        "Known pair: another stego's noise opened with one face and its stego, cosine to the truth (lengths: share):"
    )
    return [words, "", *markdown(("", *ways), rows)]


def peers(tables: Mapping[str, Row], folder: Path) -> Lines:
    rows = []
    for name, table in tables.items():
        jpeg = table["degraded"].get("jpeg 40")
        rows.append(
            (
                name,
                figure(table["recovered"]["psnr"]),
                figure(table["recovered"]["ssim"], 3),
                _verified(table, "recovered"),
                _verified(table, "wrong"),
                _verified(table, "none"),
                figure(table["attacked"]["wrong"]["psnr"]),
                figure(jpeg["psnr"]) if jpeg else "-",
                f"{table['evaluations']} / {table['recover_evaluations']}",
                f"{table['hide_seconds']['value']:.2f} / {table['recover_seconds']['value']:.2f}",
            )
        )
    first = next(iter(tables.values()))
    recognisers = ", ".join(first["calibrations"]) or "none"
    head = ("way", "PSNR", "SSIM", "verified, %", "wrong prompt verified, %", "no key verified, %",
            "wrong prompt, PSNR", "JPEG 40, PSNR", "evaluations", "seconds")  # fmt: skip
    return [
        "## Peers on the same model",
        "",
        f"The published ways and ours, on one network and the same faces. Verified by: {recognisers}, in this order. "
        "`paper`: DDSR as printed, 60 explicit steps, prompts alone. `paper-50`: the same switch of prompts in 50 "
        "steps (CRoSS). `signs5`, `signs`: 5 % (DiffStega) and half of the signs flipped by the key, on our walks. "
        "`rotation`: full orthogonal mixing. `matched`: our walks without a key. Evaluations and "
        "seconds: to hide / to recover one face; the machine did other work meanwhile.",
        "",
        *provenance(first),
        *markdown(head, rows),
    ]


def _verified(table: Row, kind: str) -> str:
    values = [f"{100 * one['verified']['value']:.0f}" for one in table["identity"].get(kind, {}).values()]
    return " / ".join(values) or "-"
