"""What the client is for, against real services: pictures in and out, jobs, progress, problems."""

import asyncio
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ddsr_client
from ddsr_client import (
    AsyncClient,
    ChannelTooPoor,
    Client,
    Job,
    JobCancelled,
    JobFailed,
    JobGone,
    JobNotFound,
    NotAuthentic,
    Picture,
    PictureRefused,
    Problem,
    PromptRefused,
    RecipeRefused,
    Retry,
    Secret,
    Unauthenticated,
    WaitTimeout,
)
from ddsr_client.errors import problem_from
from services.common.keys import new_key
from services.sender.app import SenderSettings, create_app
from shared.settings import QueueSettings
from tests.client.conftest import EAGER, Addresses
from tests.pictures import encoded, pixels
from tests.services.conftest import face
from tests.services.live import live
from tests.services.problem_table import problem_classes

SECRET = Secret("the red kite over Ullapool")
QUICK = "a photo of an old man"
SLOW = "a photo of an old man pause:0.2"
LONG: dict[str, Any] = {
    "disguise_prompt": "a photo of an old man pause:0.2",
    "steps": 100,
}  # a job to be cancelled, at any step


def test_hide_and_recover(client: Client) -> None:
    stego = client.hide(encoded(face()), SECRET, QUICK, crop="none")
    assert stego.media_type == "image/png"
    assert stego.recipe is not None
    assert stego.seconds is not None
    assert not np.array_equal(pixels(stego.data), face())
    assert np.array_equal(pixels(client.recover(stego, SECRET).data), face())
    stranger = client.recover(stego.data, "the red kite over Ullapoo1")
    assert not np.array_equal(pixels(stranger.data), face())


def test_sealed_says_whether_it_is_the_senders_face(client: Client) -> None:
    stego = client.hide(encoded(face(128)), SECRET, QUICK, scheme="sealed", channel="jpeg", face_size=160)
    assert stego.authentic is None
    assert client.recover(stego, SECRET).authentic is True
    handle = client.submit_recover(stego, SECRET)
    assert handle.result().authentic is True
    with pytest.raises(NotAuthentic, match="wrong, or the picture was changed beyond repair"):
        client.recover(stego, "wrong")
    stranger = client.recover(stego, "wrong", decoy=True)
    assert stranger.authentic is False
    assert client.submit_recover(stego, "wrong", decoy=True).result().authentic is False
    keyed = client.submit_hide(encoded(face()), SECRET, QUICK, scheme="keyed").result()
    assert client.recover(keyed, "wrong").authentic is None
    with pytest.raises(ddsr_client.InvalidInput, match="face_size"):
        client.hide(encoded(face()), SECRET, QUICK, scheme="keyed", face_size=160)
    with pytest.raises(ddsr_client.InvalidInput, match="lossless channel"):
        client.submit_hide(encoded(face()), SECRET, QUICK, scheme="sealed", format="jpeg")


def test_the_blocking_client_is_made_from_the_awaited_one() -> None:
    script = Path(ddsr_client.__file__).parents[1] / "make_sync.py"
    ended = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_pictures_as_bytes_path_pillow_and_picture(client: Client, tmp_path: Path) -> None:
    data = encoded(face())
    path = tmp_path / "face.png"
    path.write_bytes(data)
    sources = (data, bytearray(data), memoryview(data), path, str(path), Image.open(path), Picture(data, "image/png"))
    stegos = [client.hide(source, SECRET, QUICK) for source in sources]
    saved = [stego.save(tmp_path / f"stego{number}.png") for number, stego in enumerate(stegos)]
    sent = (stegos[0], stegos[1].data, saved[2], str(saved[3]), Image.open(saved[4]), stegos[5].image(), stegos[6])
    for stego in sent:
        assert np.array_equal(np.asarray(client.recover(stego, SECRET).image()), face())
    with pytest.raises(TypeError, match="not int"):
        client.hide(7, SECRET, QUICK)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        client.hide(tmp_path / "nothing.png", SECRET, QUICK)


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_a_pillow_image_of_another_format_keeps_its_recipe(client: Client, form: Any) -> None:
    stego = client.hide(encoded(face()), SECRET, QUICK, format=form)
    assert stego.media_type == f"image/{form}"
    back = client.recover(stego.image(), SECRET, format=form)
    assert back.media_type == f"image/{form}"


def test_a_recipe_beside_a_bare_picture(client: Client) -> None:
    stego = client.hide(encoded(face()), SECRET, QUICK)
    bare = encoded(pixels(stego.data))
    with pytest.raises(RecipeRefused, match="missing-recipe"):
        client.recover(bare, SECRET)
    back = client.recover(bare, SECRET, recipe=stego.recipe)
    assert np.array_equal(pixels(back.data), face())


def test_a_pillow_image_is_turned_and_loses_its_metadata(client: Client) -> None:
    turned = Image.fromarray(face())
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    stream = io.BytesIO()
    turned.save(stream, "PNG", exif=exif)
    stego = client.hide(Image.open(stream), SECRET, QUICK)
    assert np.array_equal(pixels(client.recover(stego, SECRET).data), np.rot90(face(), -1))


def test_progress_tells_every_change_once(client: Client) -> None:
    seen: list[Job] = []
    stego = client.hide(encoded(face()), SECRET, SLOW, progress=seen.append)
    assert len(set(seen)) == len(seen)
    assert seen[-1].state == "done"
    assert seen[-1].fraction == 1
    steps = [job.step for job in seen if job.step is not None]
    assert steps == sorted(steps)
    assert len(set(steps)) > 2
    assert {job.id for job in seen} == {stego.job_id}


def test_a_handle_tells_waits_and_gives(client: Client) -> None:
    handle = client.submit_hide(encoded(face()), SECRET, SLOW)
    assert handle.status().ended is False
    with pytest.raises(WaitTimeout, match=handle.id) as caught:
        handle.wait(timeout=0.1)
    assert isinstance(caught.value, TimeoutError)
    states = [job.state for job in handle.events()]
    assert states[-1] == "done"
    assert "running" in states
    assert [job.state for job in handle.events()] == ["done"]
    again = client.job("hide", handle.id)
    assert again.result().data == handle.result().data
    assert handle.wait().state == "done"


def test_the_jobs_of_a_caller(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddsr_client.core.PAGE", 2)
    ids = [client.submit_hide(encoded(face()), SECRET, QUICK).id for _ in range(5)]
    listed = client.jobs("hide")
    assert [next(listed).id for _ in ids] == ids[::-1], "newest first, over the borders of pages"
    stego = client.job("hide", ids[0]).result()
    done = [job.id for job in client.jobs("hide", states=["done"])]
    assert ids[0] in done
    assert all(job.kind == "hide" for job in client.jobs("hide", states=["done", "running"]))
    recovery = client.submit_recover(stego, SECRET)
    assert next(client.jobs("recover")).id == recovery.id

    async def first() -> Job:
        async with AsyncClient(client.settings.sender.url, client.settings.receiver.url) as other:
            return await anext(other.jobs("hide"))

    assert asyncio.run(first()).id == ids[-1]


def test_events_can_be_left(client: Client) -> None:
    handle = client.submit_hide(encoded(face()), SECRET, **LONG)
    for job in handle.events():
        if job.state == "running":
            break
    assert handle.cancel().state == "cancelled"
    with pytest.raises(JobCancelled):
        handle.result()


def test_events_end_in_time(client: Client) -> None:
    handle = client.submit_hide(encoded(face()), SECRET, **LONG)
    with pytest.raises(WaitTimeout):
        list(handle.events(timeout=2))
    assert handle.cancel().state == "cancelled"


def test_a_time_out_cancels_the_job_of_hide(client: Client) -> None:
    with pytest.raises(WaitTimeout) as caught:
        client.hide(encoded(face()), SECRET, **LONG, timeout=0.5)
    assert client.job("hide", caught.value.job_id).status().state == "cancelled"


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_error_in_progress_cancels_the_job(client: Client, kind: type[BaseException]) -> None:
    seen: list[Job] = []

    def progress(job: Job) -> None:
        seen.append(job)
        raise kind("enough")

    with pytest.raises(kind, match="enough"):
        client.hide(encoded(face()), SECRET, **LONG, progress=progress)
    assert len(seen) == 1
    assert client.job("hide", seen[0].id).status().state == "cancelled"


def test_async(services: Addresses) -> None:
    async def run() -> None:
        async with AsyncClient(services.sender, services.receiver, retry=EAGER) as client:
            assert await client.ready()
            seen: list[str] = []

            async def progress(job: Job) -> None:
                await asyncio.sleep(0)
                seen.append(job.state)

            stego, other = await asyncio.gather(
                client.hide(encoded(face()), SECRET, SLOW, progress=progress),
                client.hide(encoded(face(seed=1)), SECRET, QUICK),
            )
            assert seen[-1] == "done"
            handle = await client.submit_recover(stego, SECRET)
            assert [job.state async for job in handle.events()][-1] == "done"
            assert np.array_equal(pixels((await handle.result()).data), face())
            assert np.array_equal(pixels((await client.recover(other, SECRET)).data), face(seed=1))
            sealed = await client.hide(encoded(face()), SECRET, QUICK, scheme="sealed", channel="degraded")
            assert (await client.recover(sealed, SECRET)).authentic is True
            assert (await (await client.submit_recover(sealed, "wrong", decoy=True)).result()).authentic is False
            assert (await handle.wait(progress=lambda job: seen.append(job.state))).state == "done"
            endless = await client.submit_hide(encoded(face()), SECRET, **LONG)
            assert not (await endless.status()).ended
            assert (await endless.cancel()).state == "cancelled"

    asyncio.run(run())


def test_a_cancelled_task_cancels_its_job(services: Addresses) -> None:
    async def run() -> str:
        async with AsyncClient(services.sender, services.receiver, retry=EAGER) as client:
            ids: asyncio.Queue[str] = asyncio.Queue()
            task = asyncio.create_task(
                client.hide(encoded(face()), SECRET, **LONG, progress=lambda job: ids.put_nowait(job.id))
            )
            job_id = await ids.get()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await client.job("hide", job_id).status()).state

    assert asyncio.run(run()) == "cancelled"


def test_problems_have_classes(client: Client) -> None:
    data = encoded(face())
    with pytest.raises(PictureRefused) as caught:
        client.hide(b"no picture", SECRET, QUICK)
    assert (caught.value.status, caught.value.code) == (415, "unsupported-picture")
    assert (caught.value.instance or "").startswith("urn:uuid:")
    with pytest.raises(PromptRefused, match="invalid-prompt"):
        client.hide(data, " ", QUICK)
    with pytest.raises(PromptRefused, match="prompt-too-long") as late:  # the worker's own finding
        client.hide(data, SECRET, "too long")
    assert late.value.job_id is not None
    with pytest.raises(JobFailed, match="computation-failed"):
        client.hide(data, SECRET, "poison")
    with pytest.raises(RecipeRefused, match="invalid-recipe"):
        client.recover(data, SECRET, recipe="nonsense")
    with pytest.raises(JobNotFound):
        client.job("hide", "0" * 32).result()
    with pytest.raises(Problem) as invalid:
        client.hide(data, SECRET, QUICK, steps=0)
    assert [issue.loc for issue in invalid.value.issues] == [("body", "steps")]


def test_a_result_can_be_dropped(client: Client) -> None:
    handle = client.submit_hide(encoded(face()), SECRET, QUICK)
    assert handle.result().recipe
    assert handle.cancel().state == "expired"
    with pytest.raises(JobGone):
        handle.result()


def test_every_code_of_the_services_has_its_class() -> None:
    bare = {Problem, ddsr_client.InvalidInput, ddsr_client.JobProblem}
    for code, kind in problem_classes().items():
        found = problem_class(kind.status, code)
        assert code in found.codes, code
        assert found is not Problem
        assert found not in bare or found is ddsr_client.InvalidInput
    known = {code for kind in _problems(Problem) for code in kind.codes}
    assert known == set(problem_classes())
    assert problem_class(503, "of-tomorrow") is ddsr_client.Unavailable
    assert problem_class(418, "of-tomorrow") is ddsr_client.InvalidInput
    assert problem_class(422, "not-authentic") is NotAuthentic
    assert problem_class(422, "channel-too-poor") is ChannelTooPoor


def problem_class(status: int, code: str) -> type[Problem]:
    return type(problem_from(status, json.dumps({"code": code}).encode(), None))


def _problems(root: type[Problem]) -> list[type[Problem]]:
    return [root, *(found for child in root.__subclasses__() for found in _problems(child))]


def test_keys(queue: QueueSettings, worker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, line = new_key("alice")
    file = tmp_path / "key"
    file.write_text(f"{key}\n")
    file.chmod(0o600)
    with live(create_app(SenderSettings(api_keys=(line,)), queue)) as url:
        with Client(url, url, api_key=key) as client:
            assert client.hide(encoded(face()), SECRET, QUICK).recipe
        with Client(url, url, api_key="ddsr_wrong") as client, pytest.raises(Unauthenticated):
            client.hide(encoded(face()), SECRET, QUICK)
        monkeypatch.setenv("DDSR_API_KEY_FILE", str(file))
        with Client(url, url) as client:
            assert client.hide(encoded(face()), SECRET, QUICK).recipe


def test_ready(client: Client, services: Addresses) -> None:
    assert client.ready()
    with Client(services.sender, "http://127.0.0.1:9", retry=Retry(tries=0)) as half:
        assert not half.ready()
