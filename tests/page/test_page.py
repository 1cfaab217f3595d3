"""The page at `/` in a real Chromium, before the real stack."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import FileChooser, Page, expect

from cli.stack import Stack
from services.common.keys import new_key
from services.receiver.app import ReceiverSettings
from services.receiver.app import create_app as create_receiver
from shared.settings import QueueSettings
from tests.page.browser import PATIENCE, PROMPT, WRONG, find_chromium, hide, ready, recover
from tests.page.conftest import Serve, Watched
from tests.services.conftest import DISGUISE, pixels
from tests.services.live import live
from tests.worker.redis_server import RedisServer
from tests.worker.support import queue_settings

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium: Debian's package, or DDSR_CHROMIUM")
Open = Callable[..., Watched]
PIXELS = """image => {
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const {data, width, height} = context.getImageData(0, 0, canvas.width, canvas.height);
  return {data: [...data], width, height};
}"""
OUTLINED = """element => [element, element.closest("label")].some(
  (one) => one && getComputedStyle(one).outlineStyle !== "none")"""
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def accessible(page: Page) -> None:
    """No violation of WCAG 2.2 AA or of axe's best practices."""
    results = Axe().run(page, options=AXE)
    assert not results.response["violations"], results.generate_report()
    assert results.response["passes"]


def shown(page: Page, name: str) -> Any:
    """The pixels of a picture on the page, uint8 (H, W, 3)."""
    found = page.locator(f"#{name}").evaluate(PIXELS)
    return np.array(found["data"], np.uint8).reshape(found["height"], found["width"], 4)[..., :3]


def fits(page: Page) -> None:
    """Nothing is wider than the window."""
    assert page.evaluate("document.scrollingElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]


def quiet(watched: Watched, *addresses: str) -> None:
    """The policy was never broken, nothing was logged, and no other address was asked."""
    assert watched.violations() == []
    assert watched.console == []
    allowed = {urlsplit(address).netloc for address in addresses} | {""}  # blob: has none
    assert {urlsplit(url).netloc for url in watched.requests} <= allowed
    assert not any("prompt" in url or "kettle" in url for url in watched.requests)


def test_hide_save_and_recover(stack: Stack, open_page: Open, pictures: Path) -> None:
    """The whole way, on a photograph with a face somewhere in it."""
    watched = open_page()
    page = watched.page
    ready(page, f"{stack.sender_url}/")
    hide(page, pictures / "one.png")
    expect(page.get_by_role("status")).to_contain_text("The face is hidden")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the stego").click()
    stego = Path(saved.value.path()).read_bytes()
    assert saved.value.suggested_filename == "stego.png"
    recover(page)
    for name in ("#face", "#stego", "#right", "#wrong"):
        expect(page.locator(name)).to_be_visible()
    expect(page.get_by_alt_text("The stego, drawn as: a glacier under a blue sky")).to_be_visible()
    np.testing.assert_array_equal(shown(page, "stego"), pixels(stego))
    with httpx.Client(timeout=PATIENCE / 1000) as client:
        url = f"{stack.receiver_url}/recover"
        again = client.post(url, files={"stego": stego}, data={"identity_prompt": PROMPT}).content
    np.testing.assert_array_equal(shown(page, "right"), pixels(again))
    assert not np.array_equal(shown(page, "right"), shown(page, "wrong"))
    accessible(page)
    quiet(watched, stack.sender_url, stack.receiver_url)
    assert page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length") == 0
    assert page.url == f"{stack.sender_url}/"


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the element has the focus, and see that the focus shows."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == name:
            assert page.locator(f"#{name}").evaluate(OUTLINED), name
            return
    raise AssertionError(f"Tab never reaches {name}")


def test_with_the_keyboard_alone_on_a_phone(stack: Stack, open_page: Open, pictures: Path) -> None:
    watched = open_page(viewport={"width": 360, "height": 740}, color_scheme="dark", reduced_motion="reduce")
    page = watched.page
    ready(page, f"{stack.sender_url}/")
    fits(page)
    tab_to(page, "file")
    choosers: list[FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(10):  # a busy browser may lose a key press before its first frame
        page.keyboard.press("Enter")
        page.wait_for_timeout(1000)
        if choosers:
            break
    choosers[0].set_files(pictures / "one.png")
    expect(page.locator("#face")).to_be_visible()
    tab_to(page, "identity")
    page.keyboard.type(PROMPT)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.locator("#identity")).to_have_attribute("type", "text")
    tab_to(page, "disguise")
    page.keyboard.press("Enter")
    expect(page.locator("#stego")).to_be_visible(timeout=PATIENCE)
    tab_to(page, "right-prompt")
    page.keyboard.type(PROMPT)
    page.keyboard.press("Enter")
    expect(page.locator("#right")).to_be_visible(timeout=PATIENCE)
    tab_to(page, "wrong-prompt")
    page.keyboard.type(WRONG)
    page.keyboard.press("Enter")
    expect(page.locator("#wrong")).to_be_visible(timeout=PATIENCE)
    fits(page)
    accessible(page)
    quiet(watched, stack.sender_url, stack.receiver_url)


def test_a_stego_of_a_file_is_recovered_and_a_bare_one_explained(stack: Stack, open_page: Open, pictures: Path) -> None:
    watched = open_page()
    page = watched.page
    ready(page, f"{stack.sender_url}/")
    with httpx.Client(timeout=PATIENCE / 1000) as client:
        files = {"image": (pictures / "one.png").read_bytes()}
        data = {"identity_prompt": PROMPT, "disguise_prompt": "the sea"}
        stego = client.post(f"{stack.sender_url}/hide", files=files, data=data).content
    page.get_by_label("open a stego").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": stego})
    page.locator("#right-prompt").fill(PROMPT)
    page.get_by_role("button", name="Recover the face").click()
    expect(page.locator("#right")).to_be_visible(timeout=PATIENCE)
    bare = io.BytesIO()
    Image.new("RGB", (32, 32)).save(bare, "PNG")
    page.get_by_label("open a stego").set_input_files(
        {"name": "b.png", "mimeType": "image/png", "buffer": bare.getvalue()}
    )
    expect(page.locator("#right")).to_be_hidden()
    page.get_by_role("button", name="Recover the face").click()
    expect(page.get_by_role("alert")).to_contain_text("missing-recipe")


def test_pictures_that_cannot_be_used_are_explained(
    queue: QueueSettings, worker: None, serve: Serve, open_page: Open, pictures: Path
) -> None:
    watched = open_page(viewport={"width": 360, "height": 740})
    page = watched.page
    ready(page, serve(queue))
    page.get_by_role("button", name="Hide the face").click()
    expect(page.get_by_role("status")).to_have_text("Choose a face first")
    page.get_by_label("Choose a face").set_input_files(pictures / "broken.png")
    page.get_by_role("button", name="Hide the face").click()
    expect(page.locator("#identity")).to_be_focused()
    expect(page.locator("#identity")).to_have_attribute("aria-invalid", "true")
    page.locator("#identity").fill(PROMPT)
    page.get_by_role("button", name="Hide the face").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The picture format is not supported")
    expect(alert).to_be_focused()
    accessible(page)
    fits(page)
    page.locator("#file").set_input_files(pictures / "two.png")
    expect(alert).to_be_empty()
    page.get_by_role("button", name="Hide the face").click()
    expect(alert).to_contain_text("2 faces were found")
    page.locator("#file").set_input_files(pictures / "none.png")
    page.get_by_role("button", name="Hide the face").click()
    expect(alert).to_contain_text("No face was found")
    alert.get_by_role("button", name="Use the middle of the picture").click()
    expect(page.locator("#stego")).to_be_visible()
    expect(page.locator("#no-receiver")).to_be_visible()
    assert watched.violations() == []


def test_progress_is_announced_and_a_job_can_be_cancelled(
    queue: QueueSettings, worker: None, serve: Serve, open_page: Open, pictures: Path
) -> None:
    watched = open_page()
    page = watched.page
    ready(page, serve(queue))
    hide(page, pictures / "one.png", disguise=DISGUISE.replace("0.02", "0.5"))
    heard = [text for text in watched.said() if text.startswith("Drawing the stego: ")]
    shares = [int(number) for number in re.findall(r"(\d+) percent", " ".join(heard))]
    assert len(shares) >= 2
    assert shares == sorted(set(shares)), "each quarter is said once"
    page.locator("#disguise").fill("a man pause:3")
    page.get_by_role("button", name="Hide the face").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("button", name="Hide the face")).to_be_disabled()
    expect(page.locator("#step")).to_have_text(re.compile(r"waiting|of 5"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("Cancelled")
    expect(page.get_by_role("progressbar")).to_be_hidden()
    expect(page.get_by_role("button", name="Hide the face")).to_be_enabled()
    assert watched.violations() == []


def test_without_a_worker_and_with_keys(own_server: RedisServer, serve: Serve, open_page: Open, pictures: Path) -> None:
    """A key is asked for, kept in the page alone, and enough to hear that nobody is there to work."""
    watched = open_page(color_scheme="dark")
    page = watched.page
    key, line = new_key("alice")
    ready(page, serve(queue_settings(own_server), api_keys=(line,)))
    accessible(page)
    expect(page.get_by_label("Key of the sender", exact=True)).to_be_visible()
    page.get_by_label("Choose a face").set_input_files(pictures / "one.png")
    page.locator("#identity").fill(PROMPT)
    page.get_by_role("button", name="Hide the face").click()
    page.get_by_role("alert").get_by_role("button", name="Enter a key").click()
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.type(key)
    page.get_by_role("button", name="Hide the face").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("No worker is ready")
    expect(alert.get_by_role("button", name="Try again")).to_be_visible()
    assert watched.violations() == []
    assert key not in page.evaluate("JSON.stringify({...localStorage, ...sessionStorage}) + document.cookie + location")


def test_a_receiver_that_does_not_allow_the_page_is_explained(
    queue: QueueSettings, worker: None, serve: Serve, open_page: Open, pictures: Path
) -> None:
    page = open_page().page
    with live(create_receiver(ReceiverSettings(), queue)) as receiver:
        ready(page, serve(queue, receiver_url=receiver))
        hide(page, pictures / "one.png")
        page.locator("#right-prompt").fill(PROMPT)
        page.get_by_role("button", name="Recover the face").click()
        expect(page.get_by_role("alert")).to_contain_text("The receiver cannot be reached")
        expect(page.get_by_role("alert")).to_contain_text("DDSR_ALLOW_ORIGINS")


def test_motion_rests_where_that_is_wished(queue: QueueSettings, serve: Serve, open_page: Open) -> None:
    address = serve(queue)
    names = {}
    for wish in ("reduce", "no-preference"):
        page = open_page(reduced_motion=wish).page
        ready(page, address)
        page.locator("#frame-stego").evaluate("frame => frame.classList.add('drawing')")
        look = "picture => getComputedStyle(picture, '::after').animationName"
        names[wish] = page.locator("#frame-stego .picture").evaluate(look)
    assert names == {"reduce": "none", "no-preference": "breathe"}
