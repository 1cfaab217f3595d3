"""Section of the report about the stegos themselves: do they pass for photographs?"""

from collections.abc import Mapping
from pathlib import Path

from evaluation.markdown import Lines, area, figure, picture, provenance
from evaluation.runs import Row
from figures.tables import markdown

_SIDES = {
    "stegos": "stegos",
    "plain": "plain samples",
    "coded": "photographs, decode(encode(x))",
    "photographs": "photographs",
}
_ROWS = (
    ("frechet", "Frechet distance", 2, False),
    ("kernel", "kernel distance", 3, False),
    ("precision", "precision", 2, False),
    ("recall", "recall", 2, False),
    ("right_scene_compared", "right scene, of the kinds compared", 1, True),
    ("right_scene", "right scene, all kinds", 1, True),
    ("grid", "grid ratio, steps of grey", 3, False),
    ("grid_third", "grid ratio, third differences", 3, False),
    ("slope", "slope of the spectrum", 2, False),
    ("face_found", "a face found", 1, True),
)


def stegos(tables: Mapping[str, Row], folder: Path) -> Lines:
    lines = ["## Do stegos pass for photographs?", ""]
    for name, table in tables.items():
        lines += [f"### Model {name}", "", *provenance(table, "stegos"), *_words(table), *_sides(table), *_told(table)]
        lines += _unknown(table, folder / f"stegos-{name}-unknown.jpg")
        lines += picture(folder / f"stegos-{name}.jpg", "stegos between photographs, in random order")
    return lines


def _words(table: Row) -> Lines:
    held = table["scene_judge"]["held_out"].items()
    return [
        f"Features: {table['features']}, trained on ImageNet and not here, so no distance is an FID; compare at one "
        f"count only. Each side has {table['compared']} pictures against as many other photographs of the same scenes. "
        "Plain samples: noise drawn from N(0, I), the same captions and walk. Right scene: by a classifier that "
        "learned from features of training photographs alone. Of those held out it names rightly "
        f"{', '.join(f'{kind} {100 * value:.0f} %' for kind, value in held)}. Grid ratio: mean step across borders of "
        f"patches of {table['patch']} pixels over that inside. Face: {table['detector']}.",
        "",
    ]


def _sides(table: Row) -> Lines:
    sides = table["sides"]
    rows = [
        (words, *(figure(sides[side][key], digits, percent=percent) for side in _SIDES))
        for key, words, digits, percent in _ROWS
    ]
    for name, found in table["beside"].items():
        rows.append((name, *(figure(found[side]) for side in _SIDES)))
    kinds = sides["stegos"]["right_by_kind"].items()
    words = f"Right scene of stegos, by kind: {', '.join(f'{kind} {100 * value:.0f} %' for kind, value in kinds)}."
    return [*markdown(("", *_SIDES.values()), rows), words, ""]


def _told(table: Row) -> Lines:
    rows = [
        (words, area(found["features"]), area(found["detector"]) if "detector" in found else "-")
        for words, found in table["told"].items()
    ]
    words = (
        "Told apart: area under the ROC of classifiers trained on half of the pictures and tried on the other half "
        "(features: five divisions, both ways; small network after XuNet: one). Chance is .5; *photographs against "
        "photographs* is the control. Photographs bear the traces of their own WebP files, which no stego has; coded "
        "ones went through the autoencoder, whose traces both then have."
    )
    return [words, "", *markdown(("", "on features", "small network"), rows)]


def _unknown(table: Row, sheet: Path) -> Lines:
    found = table["unknown"]
    which = ", ".join(found["prompts_with_face"]) or "none"
    return [
        f"Under {found['face_found']['count']} disguises in words that training never used, a face is found in "
        f"{figure(found['face_found'], 1, percent=True)}: {which}.",
        "",
        *picture(sheet, "stegos under words that training never used"),
    ]
