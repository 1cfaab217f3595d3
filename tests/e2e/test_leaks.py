"""A canary prompt and a canary face through success, failure, crash and retry; then a search for them everywhere.

Everywhere: every key that Redis held at any moment that was looked at, its append-only file, the logs at their most
talkative, the temporary folder; in the clear, and inside base64 and zlib.
"""

import os
from pathlib import Path

import numpy as np
from pydantic import SecretStr

from cli.leaks import file_items, redis_items, search
from shared.jobs import HideRequest, JobStore, Picture
from stack.redis_server import RedisServer
from tests.pictures import pixels
from tests.worker.support import OWNER, ended, face, make_store, recover_request, until, worker_process

PROMPT = "canary-5d1e the red kite over Ullapool"
WRONG = "canary-5d1f the black kite over Ullapool"
CANARY = face(77)
SECRETS = {
    "prompt": PROMPT.encode(),
    "wrong prompt": WRONG.encode(),
    "face": CANARY[5].tobytes(),
    "face, transposed": CANARY.transpose(2, 0, 1)[0, 5].tobytes(),
    "float face": (CANARY[5].astype(np.float32) / 127.5 - 1).tobytes()[:64],
}


def submit(store: JobStore, disguise: str) -> str:
    request = HideRequest(Picture.from_array(CANARY), SecretStr(PROMPT), disguise)
    return store.submit("hide", request, owner=OWNER, webhook="https://example.org/canary").id


class Everything:
    """What was seen in Redis so far, and where the files are."""

    def __init__(self, server: RedisServer, temporary: Path) -> None:
        self._server = server
        self._temporary = temporary
        self.items: dict[bytes, str] = {}

    def look(self) -> None:
        client = self._server.client()
        for place, value in redis_items(client):
            self.items.setdefault(value, place)
        client.close()

    def finds(self) -> list[str]:
        self.look()
        items = [(place, value) for value, place in self.items.items()]
        return search([*items, *file_items(self._server.folder), *file_items(self._temporary)], SECRETS)


def test_nothing_readable_is_left(own_server: RedisServer, tmp_path: Path) -> None:
    server = own_server
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    variables = {"TMPDIR": str(temporary), "DDSR_LOG_LEVEL": "debug"}
    store = make_store(server)
    all_of_it = Everything(server, temporary)

    with worker_process(server, **variables) as process:
        until(lambda: store.health().trouble is None)
        done, poisoned, refused = (submit(store, text) for text in ("a cat", "poison", "too long"))
        all_of_it.look()
        ends = [ended(store, job, 60).state for job in (done, poisoned, refused)]
        assert ends == ["done", "failed", "failed"]
        all_of_it.look()
        hidden = store.result(done, owner=OWNER)
        found = []
        for prompt in (PROMPT, WRONG):
            job = store.submit("recover", recover_request(hidden.picture, hidden.recipe, prompt=prompt), owner=OWNER)
            ended(store, job.id, 60)
            all_of_it.look()
            found.append(pixels(store.result(job.id, owner=OWNER).picture))
        assert np.array_equal(found[0], CANARY)
        assert not np.array_equal(found[1], CANARY)
        retried = submit(store, "pause:0.4")
        until(lambda: store.view(retried, owner=OWNER).step)
        process.kill()
        process.wait(10)
        all_of_it.look()
    with worker_process(server, **variables) as process:
        assert ended(store, retried, 90).state == "done"
        assert store.view(retried, owner=OWNER).attempts == 2
        crashing = submit(store, "crash")
        process.wait(60)
        all_of_it.look()
        store.cancel(crashing, owner=OWNER)

    logs = b"".join(path.read_bytes() for path in server.folder.glob("worker-*.log"))
    assert b"computation failed" in logs
    assert b"debug" in logs
    assert len(list(server.folder.rglob("*.aof"))) >= 1
    assert all_of_it.finds() == []


def test_the_search_would_have_found_them(own_server: RedisServer, tmp_path: Path) -> None:
    client = own_server.client()
    client.set("careless", PROMPT)
    client.delete("careless")
    (tmp_path / "spilled").write_bytes(os.urandom(100) + CANARY.tobytes())
    finds = " ".join(Everything(own_server, tmp_path).finds())
    assert "prompt in appendonlydir" in finds
    assert "face in spilled" in finds
