"""`shared.diffusion.pipeline` bound to its model, as `worker.engine.Core` asks for it. This is what imports torch."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from shared.diffusion import pipeline
from shared.diffusion.model import DiffusionModel
from shared.errors import ChannelTooPoor, NotAuthentic
from shared.recipe import Recipe
from worker.engine import Engine, OnStep, Options


class PipelineCore:
    """See `worker.engine.Core`."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model

    def hide_each(
        self,
        faces: NDArray[np.uint8],
        identity_prompts: Sequence[str],
        disguise_prompts: Sequence[str],
        options: Options,
        on_step: OnStep,
    ) -> list[pipeline.Hidden | ChannelTooPoor]:
        chosen = pipeline.HideOptions(options.scheme, options.solver, options.steps, options.channel)
        return pipeline.hide_each(self.model, faces, identity_prompts, disguise_prompts, chosen, on_step=on_step)

    def recover_each(
        self,
        stegos: NDArray[np.uint8],
        identity_prompts: Sequence[str],
        recipes: Sequence[Recipe],
        decoys: Sequence[bool],
        on_step: OnStep,
    ) -> list[pipeline.Recovered | NotAuthentic]:
        return pipeline.recover_each(self.model, stegos, identity_prompts, recipes, decoys=decoys, on_step=on_step)


def load_engine(source: str | None, device: str, *, precision: str = "float32", limit: int = 4) -> Engine:
    """The real model. `source`: None for the embedded one; `precision`: of the network, a torch dtype's name."""
    model = DiffusionModel.load(source, device=device, dtype=getattr(torch, precision))
    return Engine(PipelineCore(model), limit=limit)
