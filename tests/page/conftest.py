"""Chromium, and what it looks at: the whole stack with a tiny model, and single services over a real queue.

The browser lives as long as a module: Playwright's event loop runs in this thread until it is closed, and other
tests want one of their own.
"""

import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page

from services.sender.app import SenderSettings, create_app
from shared.diffusion.tiny import build_tiny
from shared.jobs import JobStore, open_redis
from shared.settings import QueueSettings
from stack.redis_server import RedisServer
from stack.stack import Stack
from stack.temporary import temporary_stack
from tests.page.browser import chromium, find_chromium
from tests.services.conftest import wait_until
from tests.services.live import live
from tests.shared.test_faces import photograph
from tests.worker.conftest import own_server, shared_server
from tests.worker.support import queue_settings, worker_process

__all__ = ["own_server", "shared_server"]

Serve = Callable[..., str]
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
WATCH = """
window.violations = []; window.said = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
document.addEventListener("DOMContentLoaded", () => {
  const heard = (one) => one.target.parentElement?.closest("[role=status]") ?? one.target;
  new MutationObserver((changes) => changes.filter((one) => heard(one).role === "status")
    .forEach((one) => window.said.push(heard(one).textContent)))
    .observe(document.body, {childList: true, subtree: true});
});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium here (Debian's package chromium, or DDSR_CHROMIUM)")
    with chromium(program) as browser:
        yield browser


@dataclass
class Watched:
    """A page, with what it wrote to the console, the errors it threw and the addresses it asked."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        found: list[str] = self.page.evaluate("window.violations")
        return found

    def said(self) -> list[str]:
        """Everything that the live region announced."""
        found: list[str] = self.page.evaluate("window.said")
        return found


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Makes watched pages, each in a context of its own; keyword arguments are Playwright's, such as `viewport`."""
    contexts: list[BrowserContext] = []

    def make(**options: Any) -> Watched:
        context = browser.new_context(**options)
        contexts.append(context)
        context.add_init_script(WATCH)
        watched = Watched(context.new_page())
        watched.page.on("console", lambda message: watched.console.append(message.text))
        watched.page.on("pageerror", lambda error: watched.console.append(str(error)))
        watched.page.on("request", lambda request: watched.requests.append(request.url))
        return watched

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """`ddsr up` with a pipeline of random weights: real services, Redis, worker and diffusion."""
    with (
        tempfile.TemporaryDirectory() as folder,
        temporary_stack(io.StringIO(), extra={"DDSR_MODEL": str(build_tiny(Path(folder) / "tiny"))}) as stack,
    ):
        yield stack


@pytest.fixture(scope="module")
def quick_stack() -> Iterator[Stack]:
    """The same with arithmetic in place of diffusion, for what the page says of each scheme: random weights carry no
    face of `sealed`."""
    with temporary_stack(io.StringIO(), worker_module="tests.worker.arithmetic") as stack:
        yield stack


@pytest.fixture(scope="module")
def queue(shared_server: RedisServer) -> QueueSettings:
    return queue_settings(shared_server)


@pytest.fixture(scope="module")
def worker(shared_server: RedisServer, queue: QueueSettings) -> Iterator[None]:
    with worker_process(shared_server), open_redis(queue) as connection:
        wait_until(JobStore(connection, queue).health, lambda health: health.trouble is None, seconds=240)
        yield


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a sender over the given queue under a real server; keyword arguments are settings. Its address."""
    with ExitStack() as running:
        yield lambda queue, **settings: running.enter_context(live(create_app(SenderSettings(**settings), queue))) + "/"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one.png (a face in a room), none.png (a room), two.png, broken.png (no picture)."""
    folder = tmp_path_factory.mktemp("pictures")
    faces = {"one": [(600, 180, 232)], "none": [], "two": [(50, 100, 260), (560, 250, 240)]}
    for name, places in faces.items():
        Image.fromarray(photograph(900, 600, *places)).save(folder / f"{name}.png")
    (folder / "broken.png").write_text("this is no picture")
    return folder
