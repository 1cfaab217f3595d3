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

from services.common.keys import new_key
from services.receiver.app import ReceiverSettings
from services.receiver.app import create_app as create_receiver
from services.sender.page import WORDS
from shared.settings import QueueSettings
from stack.redis_server import RedisServer
from stack.stack import Stack
from tests.page.browser import (
    PATIENCE,
    PORTRAIT,
    PROMPT,
    WRONG,
    find_chromium,
    given,
    hide,
    ready,
    recover,
    squeeze,
)
from tests.page.conftest import AXE, Serve, Watched
from tests.pictures import pixels
from tests.services.conftest import DISGUISE
from tests.services.live import live
from tests.worker.support import queue_settings

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium: Debian's package, or DDSR_CHROMIUM")
Open = Callable[..., Watched]
PIXELS = """image => {
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const {data, width, height} = context.getImageData(0, 0, canvas.width, canvas.height);
  return {data: [...data], width, height};
}"""
HAND_OVER = """([way, bytes]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([new Uint8Array(bytes)], "given.png", {type: "image/png"}));
  const event = way === "drop" ? new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true})
    : new ClipboardEvent("paste", {clipboardData: dataTransfer, bubbles: true, cancelable: true});
  document.getElementById("frame-stego").dispatchEvent(event);
}"""
LISTEN = """() => {
  const ask = window.fetch;
  window.fetch = (address, options) => {
    if (address.endsWith("/recover")) window.sent = options.body;
    return ask(address, options);
  };
}"""
OUTLINED = """element => [element, element.closest("label")].some(
  (one) => one && getComputedStyle(one).outlineStyle !== "none")"""


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


def test_my_jobs(quick_stack: Stack, open_page: Open, pictures: Path) -> None:
    watched = open_page()
    page = watched.page
    ready(page, f"{quick_stack.sender_url}/")
    hide(page, pictures / "one.png")
    with httpx.Client(timeout=PATIENCE / 1000) as client:
        form = {"identity_prompt": PROMPT, "disguise_prompt": "a cat pause:1", "steps": "100", "scheme": "keyed"}
        files = {"image": (pictures / "one.png").read_bytes()}
        client.post(
            f"{quick_stack.sender_url}/hide", data=form, files=files, headers={"Prefer": "respond-async"}
        ).raise_for_status()
    page.get_by_text("My jobs", exact=True).click()
    lines = page.locator("#job-list li")
    expect(lines.first).to_contain_text(re.compile("queued|running"))
    accessible(page)
    lines.first.get_by_role("button", name="Cancel").click()
    expect(lines.first).to_contain_text("cancelled")
    before = shown(page, "stego")
    page.reload()
    expect(page.locator("#stego")).to_be_hidden()
    page.get_by_text("My jobs", exact=True).click()
    page.get_by_role("button", name=re.compile("Open: Hide")).first.click()
    expect(page.locator("#stego")).to_be_visible()
    np.testing.assert_array_equal(shown(page, "stego"), before)
    quiet(watched, quick_stack.sender_url, quick_stack.receiver_url)


def test_hide_save_and_recover(stack: Stack, open_page: Open, pictures: Path) -> None:
    """The whole way, on a photograph with a face somewhere in it."""
    watched = open_page()
    page = watched.page
    ready(page, f"{stack.sender_url}/")
    hide(page, pictures / "one.png")
    expect(page.locator("#now-hide").get_by_role("status")).to_contain_text("The face is hidden")
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the stego").click()
    stego = Path(saved.value.path()).read_bytes()
    assert saved.value.suggested_filename == "stego.png"
    expect(page.locator("#first-prompt")).to_have_value(PROMPT)
    expect(page.locator("#other-prompt")).to_be_hidden()
    recover(page)
    squeeze(page)
    for name in ("face", "stego", "first", "other", "jpeg", "after"):
        expect(page.locator(f"#{name}")).to_be_visible()
    expect(page.get_by_alt_text("The stego, drawn as: a glacier under a blue sky")).to_be_visible()
    np.testing.assert_array_equal(shown(page, "stego"), pixels(stego))
    with httpx.Client(timeout=PATIENCE / 1000) as client:
        url = f"{stack.receiver_url}/recover"
        again = client.post(url, files={"stego": stego}, data={"identity_prompt": PROMPT}).content
    np.testing.assert_array_equal(shown(page, "first"), pixels(again))
    assert not np.array_equal(shown(page, "first"), shown(page, "other"))
    with page.expect_download() as saved:
        page.get_by_role("link", name="Save the face").click()
    assert saved.value.suggested_filename == "face.png"
    np.testing.assert_array_equal(pixels(Path(saved.value.path()).read_bytes()), pixels(again))
    for name in ("first", "other", "after"):
        expect(given(page, name)).to_have_text("This prompt gave:any prompt gives a face: compare it")
    expect(page.locator("#first-prompt")).to_have_value(PROMPT)
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
    expect(page.locator("#disguise")).to_be_focused()
    expect(page.locator("#stego")).to_be_in_viewport()
    tab_to(page, "recover-button")
    page.keyboard.press("Enter")
    expect(page.locator("#first")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#recover-button")).to_be_focused()
    expect(page.locator("#first")).to_be_in_viewport()
    assert any(text.startswith("This prompt gave a face") for text in watched.said())
    tab_to(page, "another")
    page.keyboard.press("Enter")
    expect(page.locator("#other-prompt")).to_be_focused()
    page.keyboard.type(WRONG)
    page.keyboard.press("Enter")
    expect(page.locator("#other")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#other-prompt")).to_be_focused()
    expect(page.locator("#other")).to_be_in_viewport()
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
    page.locator("#first-prompt").fill(PROMPT)
    page.get_by_role("button", name="Recover the face").click()
    expect(page.locator("#first")).to_be_visible(timeout=PATIENCE)
    bare = io.BytesIO()
    Image.new("RGB", (32, 32)).save(bare, "PNG")
    page.get_by_label("open a stego").set_input_files(
        {"name": "b.png", "mimeType": "image/png", "buffer": bare.getvalue()}
    )
    expect(page.locator("#first")).to_be_hidden()
    page.get_by_role("button", name="Recover the face").click()
    alert = page.locator("#now-recover").get_by_role("alert")
    expect(alert).to_contain_text("missing-recipe")
    alert.get_by_role("button", name="Enter the recipe").click()
    expect(page.locator("#recipe")).to_be_focused()


def test_files_that_cannot_be_used_are_refused_when_chosen(
    queue: QueueSettings, serve: Serve, open_page: Open, pictures: Path
) -> None:
    watched = open_page(viewport={"width": 390, "height": 844})
    page = watched.page
    ready(page, serve(queue))
    refusal = page.locator("#now-pictures").get_by_role("alert")
    chosen = page.get_by_label("Choose a face")
    chosen.set_input_files(pictures / "broken.png")
    expect(refusal).to_have_text("This file cannot be usedChoose a photograph: JPEG, PNG, WebP, HEIC.")
    expect(refusal).to_be_in_viewport()
    accessible(page)
    fits(page)
    half = (pictures / "one.png").read_bytes()[:100]
    chosen.set_input_files({"name": "half.png", "mimeType": "image/png", "buffer": half})
    expect(refusal).to_contain_text("The picture is damaged")
    expect(page.locator("#face")).to_be_hidden()
    chosen.set_input_files({"name": "a.heic", "mimeType": "", "buffer": b"\0\0\0\x18ftypheic" + bytes(40)})
    expect(refusal).to_be_empty()
    expect(page.locator("#file-note")).to_have_text("a.heic (no preview)")
    chosen.set_input_files(pictures / "one.png")
    expect(page.locator("#face")).to_be_visible()
    chosen.set_input_files(pictures / "broken.png")
    expect(refusal).to_contain_text("Choose a photograph")
    expect(page.locator("#face")).to_be_visible()
    quiet(watched, page.url)


def test_what_is_missing_is_asked_for_and_a_picture_without_a_face_is_said(
    queue: QueueSettings, worker: None, serve: Serve, open_page: Open, pictures: Path
) -> None:
    watched = open_page(viewport={"width": 360, "height": 740})
    page = watched.page
    ready(page, serve(queue))
    said = page.locator("#now-hide").get_by_role("status")
    page.get_by_role("button", name="Hide the face").click()
    expect(said).to_have_text("Choose a face first")
    page.get_by_label("Choose a face").set_input_files(pictures / "none.png")
    page.get_by_role("button", name="Hide the face").click()
    expect(page.locator("#identity")).to_be_focused()
    expect(page.locator("#identity")).to_have_attribute("aria-invalid", "true")
    page.locator("#identity").fill(PROMPT)
    page.get_by_role("button", name="Hide the face").click()
    expect(page.locator("#stego")).to_be_visible()
    expect(said).to_contain_text("Not exactly one face was found: the middle of the picture is hidden.")
    expect(page.locator("#no-receiver")).to_be_visible()
    assert watched.violations() == []


def test_sealed_is_authentic_or_refused(quick_stack: Stack, open_page: Open) -> None:
    watched = open_page()
    page = watched.page
    ready(page, f"{quick_stack.sender_url}/")
    hide(page, scheme="sealed", channel="lossless")
    expect(page.locator("#stego-note")).to_have_text("scheme sealed, channel lossless")
    recover(page)
    said = page.locator("#now-recover").get_by_role("status")
    expect(given(page, "first")).to_contain_text("This prompt gave: authentic")
    expect(given(page, "other")).to_contain_text("This prompt gave: nothing")
    expect(said).to_have_text("Wrong prompt, or the picture was changed.")
    expect(page.locator("#frame-other .verdict")).to_have_text("Wrong prompt, or the picture was changed")
    expect(page.locator("#other")).to_be_hidden()
    expect(page.get_by_role("alert").filter(has_text=re.compile("."))).to_have_count(0)
    accessible(page)
    page.locator("#recover-more summary").click()
    page.get_by_label("draw a stranger").check()
    page.get_by_role("button", name="Try it").click()
    expect(given(page, "other")).to_contain_text("This prompt gave: a stranger")
    expect(page.locator("#other")).to_be_visible()
    page.locator("#first-prompt").fill(WRONG)
    page.get_by_label("draw a stranger").uncheck()
    squeeze(page)
    expect(page.locator("#frame-after .verdict")).to_be_visible()
    expect(page.locator("#now-squeeze").get_by_role("status")).to_contain_text("Hide it for the channel jpeg")
    quiet(watched, quick_stack.sender_url, quick_stack.receiver_url)


def test_after_jpeg_80_the_very_file_that_is_shown_is_recovered(quick_stack: Stack, open_page: Open) -> None:
    page = open_page().page
    ready(page, f"{quick_stack.sender_url}/")
    hide(page)
    page.evaluate(LISTEN)
    squeeze(page)
    expect(page.locator("#jpeg-note")).to_contain_text(" kB in place of ")
    data = bytes(page.evaluate("sent.get('stego').arrayBuffer().then((buffer) => [...new Uint8Array(buffer)])"))
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.size) == ("JPEG", shown(page, "stego").shape[:2])
    assert np.abs(shown(page, "jpeg").astype(int) - pixels(data)).mean() < 2, "what is shown is what was sent"
    assert b"ddsr" not in data
    assert page.evaluate("sent.get('recipe')") == page.locator("#recipe").input_value()


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_stego_is_opened_by_drop_and_by_paste(quick_stack: Stack, open_page: Open, way: str) -> None:
    page = open_page().page
    ready(page, f"{quick_stack.sender_url}/")
    with httpx.Client(timeout=PATIENCE / 1000) as client:
        files, data = {"image": PORTRAIT.read_bytes()}, {"identity_prompt": PROMPT, "disguise_prompt": "the sea"}
        answer = client.post(f"{quick_stack.sender_url}/hide", files=files, data=data)
    page.evaluate(HAND_OVER, [way, list(answer.content)])
    expect(page.locator("#stego")).to_be_visible()
    expect(page.locator("#recipe")).to_have_value(answer.headers["DDSR-Recipe"])
    recover(page, other=None)
    squeeze(page)
    page.evaluate(HAND_OVER, [way, list(b"this is no picture")])
    refusal = page.locator("#now-pictures").get_by_role("alert")
    expect(refusal).to_have_text("This file cannot be usedChoose a stego: PNG, JPEG, WebP.")


def test_a_suggested_phrase_is_random_words_and_says_its_strength(
    queue: QueueSettings, serve: Serve, open_page: Open
) -> None:
    watched = open_page()
    page = watched.page
    ready(page, serve(queue))
    words = set(WORDS.read_text().split())
    identity, button = page.locator("#identity"), page.get_by_role("button", name="Add five random words")
    found = set()
    identity.fill("a smiling woman")
    for _ in range(3):
        button.click()
        expect(identity).to_have_value(re.compile(r"^a smiling woman, \S+ \S+ \S+ \S+ \S+$"))
        found.add(identity.input_value())
    expect(page.locator("#strength")).to_have_text(re.compile(r"^5 of 7,776 words, drawn at random: 64 bits\."))
    expect(identity).to_have_attribute("type", "text")
    assert len(found) == 3
    assert {word for phrase in found for word in phrase.partition(", ")[2].split()} <= words
    identity.press("End")
    page.keyboard.type("x")
    expect(page.locator("#strength")).to_be_empty()
    accessible(page)
    quiet(watched, page.url)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(quick_stack: Stack, open_page: Open, width: int, scheme: str) -> None:
    """Before, with everything open, and after: an authentic face, a refusal and a JPEG."""
    page = open_page(viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce").page
    ready(page, f"{quick_stack.sender_url}/")
    accessible(page)
    hide(page, scheme="sealed", channel="jpeg")
    recover(page)
    squeeze(page)
    for summary in page.locator("summary").all():
        summary.click()
    page.evaluate("scrollTo(0, 0)")
    accessible(page)
    fits(page)


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
    expect(page.locator("#now-hide").get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("button", name="Hide the face")).to_be_disabled()
    expect(page.get_by_role("button", name="Hide the face")).to_be_focused()
    expect(page.locator("#now-hide .step")).to_have_text(re.compile(r"waiting|of 5"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#now-hide").get_by_role("status")).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Hide the face")).to_be_focused()
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
    alert = page.locator("#now-hide").get_by_role("alert")
    alert.get_by_role("button", name="Enter a key").click()
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.type(key)
    page.get_by_role("button", name="Hide the face").click()
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
        page.locator("#first-prompt").fill(PROMPT)
        page.get_by_role("button", name="Recover the face").click()
        alert = page.locator("#now-recover").get_by_role("alert")
        expect(alert).to_contain_text("The receiver cannot be reached")
        expect(alert).to_contain_text("DDSR_ALLOW_ORIGINS")


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
