"""The whole way on the page, and axe, in Debian's Firefox."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

from stack.stack import Stack
from tests.page.browser import PORTRAIT, PROMPT, WRONG
from tests.page.conftest import AXE
from tests.page.firefox import find_firefox, firefox

pytestmark = pytest.mark.skipif(find_firefox() is None, reason="no Firefox here (Debian's package firefox-esr)")
AXE_SCRIPT = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js"))
FOUND = """(one) => [one.violations.map((it) => [it.id, it.nodes.map((node) => node.html + node.failureSummary)]),
  one.passes.length]"""
Run = Callable[[str], Any]


def accessible(run: Run) -> None:
    """axe finds nothing."""
    found = run(f"axe.run(document, {json.dumps(AXE)}).then({FOUND})")
    assert found[0] == []
    assert found[1]


def fill(selector: str, text: str) -> str:
    return f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}"


def click(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)}).click()"


def given(name: str) -> str:
    return f"document.querySelector('#frame-{name} figcaption b').textContent"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_hide_recover_and_squeeze(quick_stack: Stack, pictures: Path, width: int, scheme: str) -> None:
    with firefox(str(find_firefox()), scheme) as browser:
        browser.open(f"{quick_stack.sender_url}/", width, 844)
        assert browser.run(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
        assert browser.run("innerWidth") == width
        browser.load(AXE_SCRIPT.read_text())
        browser.choose("#file", pictures / "broken.png")
        browser.until("document.querySelector('#now-pictures .problem').textContent.includes('Choose a photograph')")
        accessible(browser.run)
        browser.choose("#file", PORTRAIT)
        browser.until("!document.querySelector('#face').hidden")
        browser.run(fill("#identity", PROMPT))
        browser.run(click("[name=scheme][value=sealed]"))
        browser.run(click("#hide-button"))
        browser.until("!document.querySelector('#stego').hidden")
        browser.run(click("#recover-button"))
        browser.until(f"{given('first')} === 'This prompt gave: authentic'")
        browser.run(click("#another"))
        browser.run(fill("#other-prompt", WRONG))
        browser.run(click("#other-button"))
        browser.until(f"{given('other')} === 'This prompt gave: nothing'")
        browser.run(click("#squeeze-button"))
        browser.until(f"{given('after')} === 'This prompt gave: authentic'")
        browser.run("document.querySelectorAll('summary').forEach((one) => one.click())")
        accessible(browser.run)
        assert browser.run("document.scrollingElement.scrollWidth") <= width
