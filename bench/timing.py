"""Contenders in turn, so that whatever else the machine does hits all of them alike; medians and ratios."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Sample:
    """One call: seconds on the clock, and seconds of CPU of all threads of this process."""

    wall: float
    cpu: float


def timed(call: Callable[[], object]) -> Sample:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Sample(time.perf_counter() - wall, time.process_time() - cpu)


def in_turn(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Sample]]:
    """Call each contender once a round; every round starts with the next one."""
    names = list(contenders)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(timed(contenders[name]))
    return samples


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Medians and range."""
    walls = [sample.wall for sample in samples]
    return {
        "seconds": median(walls),
        "least": min(walls),
        "most": max(walls),
        "cpu_seconds": median(sample.cpu for sample in samples),
        "rounds": len(samples),
    }


def ratio(slow: Sequence[Sample], fast: Sequence[Sample]) -> dict[str, float]:
    """How many times faster: medians of the ratios of the rounds, by the clock and in CPU time."""
    return {
        "wall": median(a.wall / b.wall for a, b in zip(slow, fast, strict=True)),
        "cpu": median(a.cpu / b.cpu for a, b in zip(slow, fast, strict=True)),
    }
