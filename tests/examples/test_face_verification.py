"""The example as its README has it: the embedded model, every process real, nothing but stegos on the channel."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddsr_client import Secret
from evaluation.data import Sample, load_set, material_folder
from evaluation.errors import MaterialMissing
from examples.face_verification.__main__ import NOBODY, PORTRAIT, SUBJECT, sheet
from examples.face_verification.kiosk import ALIKE
from examples.face_verification.recogniser import THRESHOLD, NoPicture, Recogniser, Seen, distance, similarity
from examples.face_verification.story import PROMPT, WRONG_PROMPT, StoryError, Visit, readable
from tests.examples.conftest import Played, play
from tests.pictures import encoded

pytestmark = pytest.mark.timeout(400)


def test_only_the_same_person_with_the_right_prompt_is_verified(played: Played) -> None:
    assert [outcome.verified for outcome in played.outcomes] == [True, False, False]
    same, other, wrong = played.outcomes
    assert same.similarity is not None
    assert same.similarity >= ALIKE
    for outcome in (other, wrong):
        assert outcome.similarity is None or outcome.similarity < ALIKE


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
    known = re.compile(r"INFO (verification: (ready, \d+ enrolled|looked in [\d.]+ s)|uvicorn.error: .*)")
    assert len([line for line in said if "looked in" in line]) >= len(played.outcomes)
    assert [line for line in said if not known.fullmatch(line)] == []
    assert SUBJECT not in "".join(said)
    with played.scene.stack.redis() as connection:  # a stego may wait for its minute there, a face does not
        records = [key for key in connection.scan_iter("ddsr:job:*") if key.count(b":") == 2]
        faces = [key for key in records if connection.hget(key, "kind") == b"recover"]
        assert len(faces) >= len(played.outcomes)
        assert not any(connection.exists(key + b":result") for key in faces)
    left = [path.name for path in (played.folder / "tmp").rglob("*") if path.is_file()]
    assert left == []


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
        face = recogniser.look(encoded(sample.picture))
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
    with Image.open(PORTRAIT) as image:
        again = recogniser.look(encoded(image.resize((928, 928))))
    assert again is not None
    assert np.allclose(again.box, np.array(portrait.box) * 4, atol=24)
    assert distance(portrait, again) < 0.3
    assert recogniser.look(encoded(Image.new("RGB", (128, 128), "grey"))) is None
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
