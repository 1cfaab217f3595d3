"""What a number format of the network costs: PSNR and verified identities for each pair of formats of sender and
receiver, and time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.faces import load_faces, through_file
from bench.judge import Judge
from bench.timing import in_turn, summary
from figures.fidelity import psnrs
from shared.diffusion.model import DiffusionModel
from shared.diffusion.pipeline import hide, recover
from shared.diffusion.walks import HideOptions


def run(
    source: Path | None,
    dtypes: Sequence[torch.dtype],
    *,
    count: int = 4,
    devices: Sequence[str] = ("cpu",),
    options: HideOptions | None = None,
    seed: int = 0,
    rounds: int = 3,
    folder: Path = Path("runs/bench"),
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Sender and receiver each on every device with every format. PSNR in dB of the recovered face; `verified`: share
    of the faces, 0..1, or None without the recognisers' material. Thresholds are remembered in `folder`."""
    models = {
        f"{device} {str(dtype).removeprefix('torch.')}": DiffusionModel.load(source, device=device, dtype=dtype)
        for device in devices
        for dtype in dtypes
    }
    first = next(iter(models.values()))
    faces = load_faces(count, first.image_size, seed)
    judge, rows = Judge.at_hand(first, folder, say), []
    for sender, model in models.items():
        hidden = hide(model, faces.pixels, faces.identities, faces.disguises, options, nonces=faces.nonces)
        stegos, recipes = through_file([one.stego for one in hidden]), [one.recipe for one in hidden]
        for receiver, other in models.items():
            recovered = recover(other, stegos, faces.identities, recipes)
            found = psnrs(faces.pixels, recovered)
            rows.append(
                {
                    "sender": sender,
                    "receiver": receiver,
                    "psnr_db": float(np.mean(found)),
                    "worst_db": min(found),
                    "verified": judge.verified(faces.pixels, recovered) if judge else None,
                }
            )
    times = {name: _evaluation(model, rounds) for name, model in models.items()}
    names = judge.names if judge else []
    return {"faces": faces.source, "count": count, "recognisers": names, "rows": rows, "evaluation": times}


def _evaluation(model: DiffusionModel, rounds: int) -> dict[str, Any]:
    """Seconds of one evaluation at batch 1 and 8."""
    table = {}
    for batch in (1, 8):
        x = torch.randn(batch, *model.latent_shape, dtype=torch.float64, device=model.device)
        text = model.embed(["a dark forest"] * batch)

        def call(x: torch.Tensor = x, text: torch.Tensor = text) -> None:
            model.predict_noise(x, 1.0, text).sum().item()

        call()
        table[str(batch)] = summary(in_turn({"": call}, rounds)[""])
    return table
