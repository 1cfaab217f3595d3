"""The published ways and ours, on one model, in one run.

keyed        the product
matched      the same walks without a key: what the key costs
paper        DDSR as printed: 60 explicit DDIM steps, prompts alone
paper-50     CRoSS (NeurIPS 2023), the same switch of prompts: 50 explicit DDIM steps
signs5       5 % of the signs flipped by a key (DiffStega, IJCAI 2024), on our walks
signs        half of them
rotation     full orthogonal mixing, on our walks
"""

from collections.abc import Mapping, Sequence

from evaluation import reversibility
from evaluation.bench import Bench
from evaluation.degradations import TABLE_4
from evaluation.reversibility import ReversibilityOptions
from evaluation.runs import Row
from shared.diffusion.walks import HideOptions

PEERS: Mapping[str, HideOptions] = {
    "keyed": HideOptions("keyed"),
    "matched": HideOptions("matched"),
    "paper": HideOptions("paper"),
    "paper-50": HideOptions("paper", steps=50),
    "signs5": HideOptions("signs5"),
    "signs": HideOptions("signs"),
    "rotation": HideOptions("rotation"),
}
JPEG_40 = tuple(one for one in TABLE_4 if one.name == "jpeg 40")


def run(bench: Bench, names: Sequence[str] = tuple(PEERS)) -> dict[str, Row]:
    """Table of each peer: fidelity, verification, attacks, JPEG 40, evaluations and seconds."""
    tables = {}
    for name in names:
        options = ReversibilityOptions(PEERS[name], degradations=JPEG_40, degraded_identity=False)
        tables[name] = reversibility.run(bench, options, name=f"peers/{name}")
    return tables
