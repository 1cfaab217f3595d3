"""The example as its README has it: the embedded model, every process real, nothing but stegos on the channel."""

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from ddsr_client import Secret
from evaluation.data import Sample, load_set, material_folder
from evaluation.errors import MaterialMissing
from examples.face_verification.__main__ import NOBODY, PORTRAIT, SUBJECT, second_take, sheet
from examples.face_verification.recogniser import THRESHOLD, NoPicture, Recogniser, Seen, distance, similarity
from examples.face_verification.story import PROMPT, WRONG_PROMPT, Outcome, Scene, StoryError, Visit, readable

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Played:
    """A scene that still runs, what came of its visits, and its log."""

    scene: Scene
    outcomes: list[Outcome]
    log: io.StringIO
    folder: Path


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser()


def play(folder: Path, enrolled: Path, again: Path, other: Path) -> Iterator[Played]:
    log = io.StringIO()
    scene = Scene(folder, log, SUBJECT, enrolled)
    visits = [
        Visit("the same person", again, PROMPT, True),
        Visit("another person", other, PROMPT, False),
        Visit("a wrong prompt", again, WRONG_PROMPT, False),
    ]
    try:
        scene.start()
        yield Played(scene, [scene.receive(visit, number) for number, visit in enumerate(visits)], log, folder)
    finally:
        scene.stop()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("scene")
    temporary = folder / "tmp"
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        yield from play(folder, PORTRAIT, second_take(PORTRAIT, folder / "take.jpg"), NOBODY)


def test_only_the_same_person_with_the_right_prompt_is_verified(played: Played) -> None:
    assert [outcome.verified for outcome in played.outcomes] == [True, False, False]
    same, other, wrong = played.outcomes
    assert same.distance is not None
    assert same.distance <= THRESHOLD
    for outcome in (other, wrong):
        assert outcome.distance is None or outcome.distance > THRESHOLD


def test_the_answer_has_the_shape_of_compreface(played: Played) -> None:
    answer = played.outcomes[0].answer
    assert set(answer) == {"result"}
    pair = answer["result"][0]
    assert set(pair["source_image_face"]["box"]) == {"probability", "x_max", "y_max", "x_min", "y_min"}
    match = pair["face_matches"][0]
    assert match["similarity"] == pytest.approx(similarity(match["distance"], THRESHOLD))
    assert 0.5 <= match["similarity"] <= 1
    assert (match["subject"], match["verified"], match["threshold"]) == (SUBJECT, True, THRESHOLD)


def test_the_same_in_the_shape_of_deepface(played: Played) -> None:
    outcome = played.outcomes[0]
    text = "data:image/png;base64," + base64.b64encode(outcome.stego.read_bytes()).decode()
    answer = httpx.post(
        f"{played.scene.backend_url}/verify",
        json={"img1": text, "subject": SUBJECT},
        headers={"x-api-key": played.scene.key},
        timeout=300,
    ).json()
    names = {
        "verified",
        "distance",
        "threshold",
        "model",
        "detector_backend",
        "similarity_metric",
        "facial_areas",
        "time",
    }
    assert set(answer) == names
    assert answer["verified"] is True
    assert answer["distance"] == outcome.distance  # the same stego gives the same face
    assert (answer["model"], answer["similarity_metric"]) == ("Dlib", "euclidean")
    assert set(answer["facial_areas"]["img1"]) == {"x", "y", "w", "h"}


def test_what_travels_shows_no_face_and_no_prompt(played: Played, recogniser: Recogniser) -> None:
    for outcome in played.outcomes:
        found = recogniser.look(outcome.stego.read_bytes())
        enrolled = recogniser.look(PORTRAIT.read_bytes())
        assert enrolled is not None
        assert found is None or distance(found, enrolled) > THRESHOLD
    assert readable(played.log.getvalue(), played.outcomes, [PROMPT, WRONG_PROMPT]) == []
    assert readable(f"so {PROMPT}", [], [PROMPT]) == ["prompt 1 in the log"]


def test_the_backend_keeps_nothing(played: Played) -> None:
    said = [line.split("| ", 1)[1] for line in played.log.getvalue().splitlines() if line.startswith("backend")]
    known = re.compile(r"INFO (verification: (ready, \d+ enrolled|verification in [\d.]+ s)|uvicorn.error: .*)")
    assert len([line for line in said if "verification in" in line]) >= len(played.outcomes)
    assert [line for line in said if not known.fullmatch(line)] == []
    assert SUBJECT not in "".join(said)
    with played.scene.stack.redis() as connection:  # a stego may wait for its minute there, a face does not
        records = [key for key in connection.scan_iter("ddsr:job:*") if key.count(b":") == 2]
        faces = [key for key in records if connection.hget(key, "kind") == b"recover"]
        assert len(faces) >= len(played.outcomes)
        assert not any(connection.exists(key + b":result") for key in faces)
    left = [path.name for path in (played.folder / "tmp").rglob("*") if path.is_file()]
    assert left == []


def test_requests_that_are_refused(played: Played) -> None:
    url, key = f"{played.scene.backend_url}/api/v1/verification/verify", {"x-api-key": played.scene.key}
    stego = played.outcomes[0].stego.read_bytes()

    def post(picture: bytes, subject: str | None, headers: dict[str, str]) -> tuple[int, str]:
        data = {} if subject is None else {"subject": subject}
        answer = httpx.post(url, files={"source_image": picture}, data=data, headers=headers, timeout=60)
        return answer.status_code, answer.json()["message"]

    assert post(stego, SUBJECT, {})[0] == 401
    assert post(stego, SUBJECT, {"x-api-key": "wrong"})[0] == 401
    assert post(stego, "nobody", key)[0] == 404
    status, message = post(b"no picture", SUBJECT, key)
    assert (status, "picture format" in message) == (400, True)
    assert post(stego, None, key) == (400, "missing or malformed: body.subject")
    other = {"img1": "!", "subject": SUBJECT}
    deepface = f"{played.scene.backend_url}/verify"
    assert httpx.post(deepface, json=other, headers=key).json() == {"message": "img1 is not base64", "code": 26}
    self_made = {"img1": "", "img2": "", "subject": SUBJECT}  # a reference of the caller's own is no reference
    assert httpx.post(deepface, json=self_made, headers=key).status_code == 400
    large = httpx.post(url, files={"source_image": bytes(9 * 2**20)}, data={"subject": SUBJECT}, headers=key)
    assert large.status_code == 413


def test_a_kiosk_says_what_is_wrong(played: Played, tmp_path: Path) -> None:
    scenery = tmp_path / "scenery.png"
    Image.fromarray(np.full((256, 256, 3), 128, np.uint8)).save(scenery)
    with pytest.raises(StoryError, match="no-face"):
        played.scene.receive(Visit("nobody there", scenery, PROMPT, False), 10)
    with pytest.raises(StoryError, match="cannot be read"):
        played.scene.receive(Visit("no file", tmp_path / "none.png", PROMPT, False), 11)


def test_the_sheet_has_a_column_for_every_visit(played: Played) -> None:
    assert sheet(played.outcomes).width == 3 * 242 + 10


def test_two_photographs_of_one_person(tmp_path_factory: pytest.TempPathFactory, recogniser: Recogniser) -> None:
    """Real people of the evaluation set; chosen by what the recogniser says of the originals."""
    try:
        material_folder()
    except MaterialMissing as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("people")
    paths = [folder / f"{name}.png" for name in ("enrolled", "again", "other")]
    for path, sample in zip(paths, choose(load_set(None, "eval-faces-00.tar"), recogniser), strict=True):
        Image.fromarray(sample.picture).save(path)
    for found in play(tmp_path_factory.mktemp("scene"), *paths):
        assert [outcome.verified for outcome in found.outcomes] == [True, False, False]


def choose(samples: list[Sample], recogniser: Recogniser) -> tuple[Sample, Sample, Sample]:
    """Two photographs of one person that the recogniser finds alike, and one of another person."""
    seen: list[tuple[Sample, Seen]] = []
    for sample in samples[:60]:
        stream = io.BytesIO()
        Image.fromarray(sample.picture).save(stream, "PNG")
        face = recogniser.look(stream.getvalue())
        if face is None or face.score < 0.5:
            continue
        for earlier, known in seen:
            if earlier.identity == sample.identity and distance(known, face) < 0.45:
                others = [one for one, its in seen if one.identity != sample.identity and distance(its, known) > 0.7]
                if others:
                    return earlier, sample, others[0]
        seen.append((sample, face))
    raise AssertionError("no such people among the first sixty photographs")


def test_the_recogniser(recogniser: Recogniser) -> None:
    portrait, nobody = (recogniser.look(path.read_bytes()) for path in (PORTRAIT, NOBODY))
    assert portrait is not None
    assert nobody is not None
    assert distance(portrait, portrait) == 0
    assert distance(portrait, nobody) > THRESHOLD
    left, top, right, bottom = portrait.box
    assert 0 < left < right < 232
    assert 0 < top < bottom < 232
    large = io.BytesIO()
    with Image.open(PORTRAIT) as image:
        image.resize((928, 928)).save(large, "PNG")
    again = recogniser.look(large.getvalue())
    assert again is not None
    assert np.allclose(again.box, np.array(portrait.box) * 4, atol=24)
    assert distance(portrait, again) < 0.3
    flat = io.BytesIO()
    Image.new("RGB", (128, 128), "grey").save(flat, "PNG")
    assert recogniser.look(flat.getvalue()) is None
    with pytest.raises(NoPicture):
        recogniser.look(b"no picture")
    assert similarity(THRESHOLD, THRESHOLD) == 0.5


def test_the_file_of_prompts(tmp_path: Path) -> None:
    from examples.face_verification.register import RegisterError, enrol, read_prompts, write_prompts

    path = tmp_path / "prompts.json"
    write_prompts(path, {SUBJECT: Secret(PROMPT)})
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_prompts(path)[SUBJECT].reveal() == PROMPT
    assert PROMPT not in repr(read_prompts(path))
    with pytest.raises(FileExistsError):
        write_prompts(path, {})
    with pytest.raises(RegisterError, match="no photograph of eileen"):
        enrol(Recogniser(), tmp_path, read_prompts(path))
    path.chmod(0o644)
    with pytest.raises(RegisterError, match="chmod 600"):
        read_prompts(path)
    path.chmod(0o600)
    for text in ("[]", "{", '{"a": 1}', '{"a": ""}'):
        path.write_text(text)
        with pytest.raises(RegisterError) as caught:
            read_prompts(path)
        assert text not in str(caught.value)


def test_a_kiosk_without_camera_or_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from examples.face_verification import kiosk
    from examples.face_verification.register import write_prompts

    prompts = tmp_path / "prompts.json"
    write_prompts(prompts, {SUBJECT: Secret(PROMPT)})
    options = ["--prompts", str(prompts), "--key-file", str(prompts)]
    assert kiosk.main(["somebody", *options]) == 3
    assert "no prompt for somebody" in capsys.readouterr().err
    assert kiosk.main([SUBJECT, "--camera", "77", *options]) == 3
    assert re.search("no camera without OpenCV|camera 77 gives no picture", capsys.readouterr().err)
