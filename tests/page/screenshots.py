"""`python -m tests.page.screenshots [FOLDER]`: pictures of the page before the real stack and the embedded model."""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from stack.temporary import temporary_stack
from tests.page.browser import chromium, find_chromium, hide, ready, recover, squeeze

VIEWS = {"desktop": (1280, 900, "light"), "phone": (390, 844, "light"), "dark": (1280, 900, "dark")}
DISGUISE = "the sea under a cloudy sky"


def shoot(browser: Browser, address: str, folder: Path) -> None:
    """One run of the page, seen in each view, written as PNG of 256 colours."""
    folder.mkdir(parents=True, exist_ok=True)
    page = browser.new_page()
    ready(page, address)
    hide(page, disguise=DISGUISE, scheme="sealed", channel="jpeg")
    recover(page)
    squeeze(page)
    page.mouse.move(0, 0)
    for name, (width, height, scheme) in VIEWS.items():
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
        few.save(folder / f"{name}.png", optimize=True)
    page.close()


def main(folder: Path) -> int:
    program = find_chromium()
    if program is None:
        sys.stderr.write("no Chromium: install it or set DDSR_CHROMIUM\n")
        return 3
    with temporary_stack(io.StringIO()) as stack, chromium(program) as browser:
        shoot(browser, f"{stack.sender_url}/", folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screenshots")))
