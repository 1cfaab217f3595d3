"""Every problem that a service can answer with."""

from collections.abc import Iterable

import services.common.problems
import shared.errors
from shared.errors import DdsrError

MODULES = {services.common.problems.__name__, shared.errors.__name__}


def problem_classes() -> dict[str, type[DdsrError]]:
    """Code -> class; other programs have errors of their own."""
    return {kind.code: kind for kind in _with_subclasses(DdsrError) if kind.__module__ in MODULES}


def _with_subclasses(root: type[DdsrError]) -> Iterable[type[DdsrError]]:
    yield root
    for child in root.__subclasses__():
        yield from _with_subclasses(child)
