"""What a client asks for in `Prefer` (RFC 7240) and `Accept` (RFC 9110, 12.5.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from services.common.problems import NotAcceptable


@dataclass(frozen=True)
class Preference:
    """How long a client waits for its result. `applied` is the header that says so."""

    seconds: float
    applied: str | None

    @property
    def at_once(self) -> bool:
        """Whether the client wants the job's address and nothing else, however quick the job is."""
        return self.applied == "respond-async"


def parse_prefer(header: str | None, *, default: float, longest: float) -> Preference:
    """Read `respond-async` and `wait=N`; whatever else stands there is ignored, as the RFC asks."""
    wait: float | None = None
    respond_async = False
    for part in (header or "").split(","):
        name, _, value = part.partition(";")[0].partition("=")
        if name.strip().lower() == "respond-async":
            respond_async = True
        elif name.strip().lower() == "wait" and wait is None:
            wait = _seconds(value)
    if wait is not None:
        seconds = min(wait, longest)
        return Preference(seconds, f"respond-async, wait={seconds:g}" if respond_async else f"wait={seconds:g}")
    if respond_async:
        return Preference(0.0, "respond-async")
    return Preference(min(default, longest), None)


def _seconds(text: str) -> float | None:
    digits = text.strip().strip('"')
    return float(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 6 else None


def accept_of(request: Request) -> str | None:
    """`Accept`, of however many lines."""
    return ", ".join(request.headers.getlist("accept")) or None


def choose_media_type(accept: str | None, offered: Sequence[str]) -> str:
    """The first of the offered types where the client takes it at all, else the one that it likes best.

    Clients that never chose a format name those that they can show, and a lossy one costs fidelity; so the first,
    which is PNG, is passed over only where the client excludes it.

    Raises:
        NotAcceptable: none will do.
    """
    ranges = _ranges(accept)
    weights = [_weight(ranges, kind) for kind in offered]
    if max(weights) <= 0:
        raise NotAcceptable(f"`Accept` takes none of {', '.join(offered)}; add one of them")
    return offered[0 if weights[0] > 0 else weights.index(max(weights))]


def _ranges(accept: str | None) -> list[tuple[str, float]]:
    if accept is None or not accept.strip():
        return [("*/*", 1.0)]
    return [_range(part) for part in accept.split(",") if part.strip()]


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (piece.strip().lower() for piece in part.split(";"))
    media = "*/*" if media == "*" else media  # as Java's own client says it
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return media, _quality(value.strip())
    return media, 1.0


def _quality(text: str) -> float:
    plain = text.replace(".", "", 1)
    return min(float(text), 1.0) if plain.isascii() and plain.isdigit() else 0.0


def _weight(ranges: Sequence[tuple[str, float]], kind: str) -> float:
    """The weight of the most specific range that covers `kind`; 0 where none does."""
    for candidate in (kind, kind.partition("/")[0] + "/*", "*/*"):
        found = [quality for media, quality in ranges if media == candidate]
        if found:
            return max(found)
    return 0.0
