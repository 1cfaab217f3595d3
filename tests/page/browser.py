"""A real Chromium, driven by Playwright, and the steps that a person takes on the page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

PROMPT = "a smiling woman, blue kettle 77"
WRONG = "a smiling woman, blue kettle 78"
PORTRAIT = Path(__file__).parents[2] / "examples" / "portrait.jpg"
PATIENCE = 240_000  # milliseconds for one diffusion walk on a busy machine


def find_chromium() -> str | None:
    """`DDSR_CHROMIUM`, else Debian's, else whatever is on PATH."""
    named = os.environ.get("DDSR_CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium(program: str) -> Iterator[Browser]:
    expect.set_options(timeout=60_000)  # far above what anything takes; nothing waits for it that comes true
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--disable-quic", "--disable-gpu"])
        yield browser
        browser.close()


def ready(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("html[data-ready]")).to_be_attached()


def hide(page: Page, picture: Path = PORTRAIT, *, prompt: str = PROMPT, disguise: str | None = None) -> None:
    """Fill in the left form and wait for the stego."""
    page.get_by_label("Choose a face").set_input_files(picture)
    page.get_by_label("Identity prompt", exact=True).first.fill(prompt)
    if disguise is not None:
        page.get_by_label("Disguise prompt", exact=True).fill(disguise)
    page.get_by_role("button", name="Hide the face").click()
    expect(page.locator("#stego")).to_be_visible(timeout=PATIENCE)


def recover(page: Page, *, right: str = PROMPT, wrong: str = WRONG) -> None:
    """Recover with both prompts and wait for both faces."""
    page.locator("#right-prompt").fill(right)
    page.get_by_role("button", name="Recover the face").click()
    expect(page.locator("#right")).to_be_visible(timeout=PATIENCE)
    page.locator("#wrong-prompt").fill(wrong)
    page.get_by_role("button", name="Try the wrong one").click()
    expect(page.locator("#wrong")).to_be_visible(timeout=PATIENCE)
