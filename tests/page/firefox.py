"""Debian's Firefox, driven by WebDriver BiDi, its own protocol: Playwright wants a newer Firefox, or one of its own."""

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import websocket

PATIENCE = 90  # seconds
CONTENT_SCHEME = {"dark": 0, "light": 1}  # values of Firefox's preference


def find_firefox() -> str | None:
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """One tab."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(f"{address}/session", timeout=PATIENCE, suppress_origin=True)
        self._number = 0
        self.ask("session.new", capabilities={})
        self._tab = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command; events in between are passed over."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv())).get("id") != self._number:
            pass
        assert answer["type"] == "success", answer
        found: dict[str, Any] = answer["result"]
        return found

    def open(self, address: str, width: int, height: int) -> None:
        self.ask("browsingContext.setViewport", context=self._tab, viewport={"width": width, "height": height})
        self.ask("browsingContext.navigate", context=self._tab, url=address, wait="complete")
        self.until("document.documentElement.dataset.ready === '1'")

    def run(self, script: str) -> Any:
        """The value of an expression, awaited; it must be one that JSON has."""
        told = self.load(f"(async () => JSON.stringify(await ({script})))()")
        return json.loads(told.get("value", "null"))

    def load(self, script: str) -> dict[str, Any]:
        """What a script comes to, in the protocol's form. It goes past the policy of the page, as a debugger's does."""
        told = self.ask("script.evaluate", expression=script, target={"context": self._tab}, awaitPromise=True)
        assert told["type"] == "success", told
        found: dict[str, Any] = told["result"]
        return found

    def until(self, condition: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < deadline, condition
            time.sleep(0.1)

    def choose(self, selector: str, file: Path) -> None:
        """Put a file into a file field, as the browser's own dialogue would."""
        locator = {"type": "css", "value": selector}
        (node,) = self.ask("browsingContext.locateNodes", context=self._tab, locator=locator)["nodes"]
        self.ask("input.setFiles", context=self._tab, element={"sharedId": node["sharedId"]}, files=[str(file)])

    def close(self) -> None:
        self.ask("browser.close")
        self._socket.close()


@contextmanager
def firefox(program: str, scheme: str) -> Iterator[Firefox]:
    with tempfile.TemporaryDirectory(prefix="ddsr-", ignore_cleanup_errors=True) as profile:
        wishes = {
            "layout.css.prefers-color-scheme.content-override": CONTENT_SCHEME[scheme],
            "ui.prefersReducedMotion": 1,
        }
        lines = [f'user_pref("{name}", {value});\n' for name, value in wishes.items()]
        (Path(profile) / "user.js").write_text("".join(lines))
        words = [program, "--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", profile]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            heard = (re.search(r"BiDi listening on (ws://\S+)", line) for line in process.stderr)
            address = next(filter(None, heard))[1]
            with closing(Firefox(address)) as browser:
                yield browser
        finally:
            process.kill()
            process.communicate()
