"""How often a network is asked: what hiding and recovering cost on any machine."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def evaluations(network: nn.Module, batch: int) -> Iterator[list[int]]:
    """Counts the evaluations of a network a picture, [count]: a guided call takes a doubled batch and counts twice."""
    count = [0]

    def tick(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        count[0] += len(inputs[0]) // batch

    handle = network.register_forward_pre_hook(tick)
    try:
        yield count
    finally:
        handle.remove()
