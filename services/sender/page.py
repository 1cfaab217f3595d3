"""The page at `/`: its files and what they must know of this service. Off with `DDSR_PAGE=0`."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from xkcdpass import xkcd_password

from services.common.context import context_of

STATIC = Path(__file__).parent / "static"
WORDS = Path(xkcd_password.locate_wordfile("eff-long"))  # those of `ddsr passphrase`, one a line
FILES = {
    "/": (STATIC / "index.html", "text/html; charset=utf-8"),
    "/page.css": (STATIC / "page.css", "text/css; charset=utf-8"),
    "/page.js": (STATIC / "page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": (STATIC / "icon.svg", "image/svg+xml"),
    "/words.txt": (WORDS, "text/plain; charset=utf-8"),
}
FORM_OVERHEAD = 64 * 1024  # bytes of a body that are not the picture


def policy(receiver_url: str) -> str:
    """The Content-Security-Policy: own files only, no inline code or style; requests go here and to the receiver."""
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob:",
        "connect-src": f"'self' {receiver_url}".strip(),
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def page_router(receiver_url: str) -> APIRouter:
    """Routes of the page; they need no key, hold no secret and are not part of the API's document."""
    router = APIRouter(include_in_schema=False)
    headers = {
        "Content-Security-Policy": policy(receiver_url),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
    for address, (path, media_type) in FILES.items():
        router.add_api_route(address, _file(path, media_type, headers), methods=["GET", "HEAD"])

    @router.get("/page.json")
    async def settings(request: Request) -> Response:
        """What the page must know: the receiver, whether a key is asked for, the scheme, what a picture may weigh."""
        context = context_of(request)
        return JSONResponse(
            {
                "receiver": receiver_url or None,
                "keys": bool(context.keys),
                "scheme": context.settings.scheme,
                "max_bytes": max(1, context.settings.max_body_bytes - FORM_OVERHEAD),
            }
        )

    return router


def _file(path: Path, media_type: str, headers: dict[str, str]) -> Callable[[], Awaitable[Response]]:
    content = path.read_bytes()

    async def send() -> Response:
        return Response(content, media_type=media_type, headers=headers)

    return send
