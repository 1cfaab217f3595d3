"""`Prefer` and `Accept`."""

import pytest

from services.common.preferences import choose_media_type, parse_prefer
from services.common.problems import NotAcceptable

PICTURES = ("image/png", "image/jpeg", "image/webp")


@pytest.mark.parametrize(
    ("header", "seconds", "applied"),
    [
        (None, 60, None),
        ("wait=5", 5, "wait=5"),
        ("WAIT=5", 5, "wait=5"),
        ("wait=9999", 300, "wait=300"),
        ("wait=0", 0, "wait=0"),
        ("respond-async", 0, "respond-async"),
        ("respond-async, wait=10", 10, "respond-async, wait=10"),
        ("respond-async; foo=bar", 0, "respond-async"),
        ("wait=5, wait=7", 5, "wait=5"),
        ("wait=-5", 60, None),
        ("wait=soon", 60, None),
        ("wait=٣", 60, None),
        ("return=minimal", 60, None),
        (",,;=", 60, None),
    ],
)
def test_prefer(header: str | None, seconds: float, applied: str | None) -> None:
    found = parse_prefer(header, default=60, longest=300)
    assert (found.seconds, found.applied) == (seconds, applied)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "image/png"),
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("image/webp", "image/webp"),
        ("IMAGE/WEBP", "image/webp"),
        ("image/*;q=0.5, image/jpeg", "image/png"),
        ("image/jpeg, image/png;q=0.1", "image/png"),
        ("image/jpeg;q=0.5, image/webp", "image/webp"),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "image/png"),  # Java before 19
        ("text/html,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8", "image/png"),  # Chrome
        ("image/png;q=0, */*", "image/jpeg"),
        ("text/html, image/webp;q=0.2", "image/webp"),
    ],
)
def test_accept(accept: str | None, chosen: str) -> None:
    assert choose_media_type(accept, PICTURES) == chosen


@pytest.mark.parametrize("accept", ["text/html", "image/png;q=0", "image/gif", "*/*;q=0", "image/png;q=x"])
def test_nothing_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        choose_media_type(accept, PICTURES[:1])
