"""The real worker with a real, tiny Stable Diffusion: torch, diffusers and the method behind the queue."""

from pathlib import Path

import pytest

from shared.errors import PromptTooLong
from shared.recipe import Recipe
from stack.redis_server import RedisServer
from tests.worker.support import (
    OWNER,
    ended,
    face,
    hide_request,
    make_store,
    pixels,
    recover_request,
    until,
    worker_process,
)

pytestmark = pytest.mark.timeout(300)


def test_hide_and_recover_with_torch(server: RedisServer, tmp_path: Path) -> None:
    from shared.diffusion.tiny import build_tiny

    model = build_tiny(tmp_path / "tiny")
    store = make_store(server)
    with worker_process(server, module="worker", DDSR_MODEL=str(model)) as process:
        until(lambda: store.health().trouble is None or process.poll() is not None, seconds=240)
        assert store.workers()[0].image_size == 32
        requests = [hide_request("a photo of a cat", prompt=f"prompt {i}", seed=i, steps=3) for i in range(3)]
        jobs = [store.submit("hide", request, owner=OWNER) for request in requests]
        jobs.append(store.submit("hide", hide_request("x " * 128, steps=3), owner=OWNER))
        ends = [ended(store, job.id, 240) for job in jobs]
        assert [view.state for view in ends] == ["done", "done", "done", "failed"]
        with pytest.raises(PromptTooLong):
            store.result(jobs[3].id, owner=OWNER)
        hidden = store.result(jobs[0].id, owner=OWNER)
        recipe = Recipe.from_text(hidden.recipe or "")
        assert recipe.model == store.health().models[0]
        assert recipe.steps == 3
        back = store.submit("recover", recover_request(hidden.picture, hidden.recipe, prompt="prompt 0"), owner=OWNER)
        assert ended(store, back.id, 240).state == "done"
        assert pixels(store.result(back.id, owner=OWNER).picture).shape == face().shape
