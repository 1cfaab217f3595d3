"""Sections of the report about what others see: security, keys, peers."""

from collections.abc import Mapping
from pathlib import Path

from evaluation import plots
from evaluation.markdown import ATTACK_NAMES, Lines, area, figure, picture, provenance, provenances, shares, trials_of
from evaluation.runs import Row
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
                cells = (area(found), figure(found["accuracy"], 3))
                rows.append((f"{scheme} against {words}", str(table["count"]), *cells))
    rows.append(("paper", "", "-", f"{PAPER['roc_accuracy']} (CelebA-HQ), {PAPER['roc_accuracy_ladn']} (LADN)"))
    head = ("StegExpose", "stegos", "area under ROC", "accuracy at its own threshold")
    lines += markdown(head, rows)
    lines += picture(plots.roc_curves(tables, folder / "roc.png"), "ROC of StegExpose")
    for scheme, table in tables.items():
        lines += _control(scheme, table) + _detector(scheme, table) + _psr(scheme, table) + _naturalness(scheme, table)
    return lines


def _control(scheme: str, table: Row) -> Lines:
    rows = [(name, area(one)) for name, one in table["stegexpose_control"].items()]
    words = f"Control, `{scheme}`: what StegExpose says once bits were replaced in these very covers:"
    return [words, "", *markdown(("embedded", "area under ROC"), rows)]


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
    sides = table.get("recognition", {})
    rows = [
        (side, name, *(figure(one[rank], 1, percent=True) for rank in ("rank-1", "rank-5")))
        for side, attack in sides.items()
        for name, one in attack["recognisers"].items()
    ]
    if not rows:
        return []
    one = next(iter(next(iter(sides.values()))["recognisers"].values()))
    chance = [f"{100 * one[f'{rank}-chance']:.1f} %" for rank in ("rank-1", "rank-5")]
    missing = [f"{side} {figure(attack['no_face_found'], 1, percent=True)}" for side, attack in sides.items()]
    return [
        "### Recognition attack",
        "",
        f"Protection rate of `{scheme}` against a gallery of {one['gallery']} photographs, of which "
        f"{one['own_mean']:.1f} show the probe's person (paper, mean: 92.1 and 89.4 %; by chance {chance[0]} at rank "
        f"1, {chance[1]} at rank 5). `cover`: pictures that hide nothing; `unprotected`: the face itself. No face is "
        f"found in: {', '.join(missing)}.",
        "",
        *markdown(("probe", "recogniser", "PSR rank-1", "PSR rank-5"), rows),
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
    lines += [*provenances(tables), *_in_short(tables)]
    sheet = [("original", trials_of(next(iter(tables.values())), folder) / "original")]
    for scheme, table in tables.items():
        for kind in ("recovered", *table["attacked"]):
            sheet.append((f"{scheme}:\n{ATTACK_NAMES.get(kind, kind)}", trials_of(table, folder) / kind))
    lines += picture(plots.labelled_sheet(sheet, folder / "keys.png"), "what each prompt recovers, by scheme")
    return [*lines, *_linkage(tables), *_pairs(tables), *_machines(tables)]


def _in_short(tables: Mapping[str, Row]) -> Lines:
    rows = []
    for scheme, table in tables.items():
        kinds = ("recovered", *table["attacked"])
        verified = [shares(table["identity"].get(kind, {})) for kind in kinds]
        rows.append((scheme, str(table["count"]), *verified, shares(table["common"]["identity"])))
    tried = [ATTACK_NAMES[kind] for kind in next(iter(tables.values()))["attacked"]]
    names = ", ".join(next(iter(tables.values()))["calibrations"]) or "none"
    tries = next(iter(tables.values()))["common"]["tries"]
    head = ("scheme", "faces", "right prompt", *tried, f"best of {tries} common prompts")
    words = (
        f"Share verified as the right person, %, by {names}; of the best of as many strangers as there are common "
        f"prompts {100 * (1 - 0.99**tries):.1f} % would pass:"
    )
    return [words, "", *markdown(head, rows)]


def _linkage(tables: Mapping[str, Row]) -> Lines:
    rows = [
        (
            scheme,
            name,
            figure(one["rank-1"], 1, percent=True),
            figure(one["mean_percentile"], 3),
            figure(one["own_correlation"], 3),
        )
        for scheme, table in tables.items()
        for name, one in table["linkage"].items()
        if isinstance(one, dict)
    ]
    found = next(iter(tables.values()))["linkage"]
    words = (
        f"Linkage: the right photograph picked among {found['gallery']} (chance {100 * found['chance']:.1f} %; "
        "percentile .5), by what stego and photograph leave in the noise:"
    )
    return [words, "", *markdown(("scheme", "read", "rank-1", "mean percentile", "own correlation"), rows)]


def _pairs(tables: Mapping[str, Row]) -> Lines:
    pairs = [(scheme, name, one) for scheme, table in tables.items() for name, one in table["known_pair"].items()]
    ways = list(dict.fromkeys(way for *_, one in pairs for way in one))
    rows = [
        (scheme, name, *(figure(one[way], 3) if way in one else "-" for way in ways)) for scheme, name, one in pairs
    ]
    words = (
        "Known pair: another stego's noise opened with one face and its stego, cosine to the truth (lengths: share):"
    )
    return [words, "", *markdown(("scheme", "", *ways), rows)]


def _machines(tables: Mapping[str, Row]) -> Lines:
    rows = [
        (scheme, name, figure(one["psnr"]), figure(one["to_as_hidden"]))
        for scheme, table in tables.items()
        for name, one in table["machines"].items()
        if isinstance(one, dict) and not name.startswith("as hidden")  # the one that the others are compared with
    ]
    words = f"Recovered with another arithmetic, {next(iter(tables.values()))['machines']['count']} faces:"
    head = ("scheme", "arithmetic", "PSNR to the original", "to the one of the same arithmetic (100: equal)")
    return [words, "", *markdown(head, rows)]


def peers(tables: Mapping[str, Row], folder: Path) -> Lines:
    rows = []
    for name, table in tables.items():
        jpeg = table["degraded"].get("jpeg 40")
        rows.append(
            (
                name,
                figure(table["recovered"]["psnr"]),
                shares(table["identity"].get("recovered", {})),
                shares(table["identity"].get("wrong", {})),
                shares(table["identity"].get("none", {})),
                figure(table["attacked"]["wrong"]["psnr"]),
                figure(jpeg["psnr"]) if jpeg else "-",
                f"{table['evaluations']}/{table['recover_evaluations']}",
                f"{table['hide_seconds']['value']:.2f}/{table['recover_seconds']['value']:.2f}",
            )
        )
    first = next(iter(tables.values()))
    recognisers = ", ".join(first["calibrations"]) or "none"
    head = (
        "way",
        "PSNR",
        "verified, %",
        "wrong prompt verified, %",
        "no key verified, %",
        "wrong prompt, PSNR",
        "JPEG 40, PSNR",
        "evaluations",
        "seconds",
    )
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
