"""A real Chromium, driven by Playwright, and the steps that a person takes on the page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

PROMPT = "a smiling woman, lived outage flanked humorous afar"
WRONG = "a smiling woman, lived outage flanked humorous wrong"
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


def hide(
    page: Page,
    picture: Path = PORTRAIT,
    *,
    prompt: str = PROMPT,
    disguise: str | None = None,
    scheme: str | None = None,
    channel: str | None = None,
) -> None:
    """Fill in the left form and wait for the stego."""
    page.get_by_label("Choose a face").set_input_files(picture)
    page.locator("#identity").fill(prompt)
    if disguise is not None:
        page.get_by_label("Disguise prompt", exact=True).fill(disguise)
    if scheme is not None:
        choose(page, scheme, channel)
    page.get_by_role("button", name="Hide the face").click()
    expect(page.locator("#stego")).to_be_visible(timeout=PATIENCE)


def choose(page: Page, scheme: str, channel: str | None = None) -> None:
    """Scheme and channel, under "more"."""
    page.locator("#hide-more summary").click()
    page.locator(f"input[name=scheme][value={scheme}]").check()
    if channel is not None:
        page.locator(f"input[name=channel][value={channel}]").check()
    page.locator("#hide-more summary").click()


def recover(page: Page, *, prompt: str = PROMPT, other: str | None = WRONG) -> None:
    """Recover, try another prompt if there is one, and wait for what each of them gives."""
    page.locator("#first-prompt").fill(prompt)
    page.get_by_role("button", name="Recover the face").click()
    expect(given(page, "first")).to_contain_text("This prompt gave", timeout=PATIENCE)
    if other is not None:
        page.get_by_role("button", name="Try another prompt").click()
        page.locator("#other-prompt").fill(other)
        page.get_by_role("button", name="Try it").click()
        expect(given(page, "other")).to_contain_text("This prompt gave", timeout=PATIENCE)


def squeeze(page: Page) -> None:
    """Save the stego as JPEG 80 and wait for what the prompt gives from that."""
    page.get_by_role("button", name="Save as JPEG 80 and recover").click()
    expect(given(page, "after")).to_contain_text("This prompt gave", timeout=PATIENCE)


def given(page: Page, name: str) -> Locator:
    """The caption under what a prompt gave: `first`, `other`, `after`."""
    return page.locator(f"#frame-{name} figcaption")
