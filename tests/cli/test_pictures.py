"""`ddsr hide` and `ddsr recover` on files, with a pipeline of random weights."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cli.main import app, main
from shared.diffusion.tiny import build_tiny
from shared.errors import InvalidPrompt
from shared.recipe_files import recipes_in
from tests.shared.test_faces import photograph

SECRET = "canary-prompt 4711"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def face(tmp_path: Path) -> Path:
    path = tmp_path / "face.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(path)
    return path


def ddsr(*arguments: object, code: int = 0, secret: str | None = SECRET) -> str:
    environment = {"DDSR_IDENTITY_PROMPT": secret} if secret is not None else {"DDSR_IDENTITY_PROMPT": None}
    done = CliRunner(env=environment).invoke(app, [str(a) for a in arguments])
    assert done.exit_code == code, done.output
    return done.output


def hide(model: Path, *arguments: object, code: int = 0) -> str:
    return ddsr("hide", *arguments, "--disguise", "the sea", "--model", model, "--steps", 1, code=code)


def test_one_file_there_and_back(model: Path, face: Path, tmp_path: Path) -> None:
    hide(model, face, "-o", tmp_path / "s.png")
    recipe = (tmp_path / "s.png.recipe").read_text().strip()
    assert recipes_in((tmp_path / "s.png").read_bytes()) == [recipe]
    ddsr("recover", tmp_path / "s.png", "-o", tmp_path / "back.png", "--model", model)
    with Image.open(tmp_path / "back.png") as back:
        assert back.size == (32, 32)


def test_a_stripped_recipe_is_found_beside_the_file_or_given(model: Path, face: Path, tmp_path: Path) -> None:
    hide(model, face, "-o", tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as stego:
        stego.convert("RGB").save(tmp_path / "bare.png", pnginfo=None)
    assert "recipe" in ddsr("recover", tmp_path / "bare.png", "-o", tmp_path / "b.png", "--model", model, code=1)
    given = ["--recipe", tmp_path / "s.png.recipe"]
    ddsr("recover", tmp_path / "bare.png", "-o", tmp_path / "b.png", "--model", model, *given)
    (tmp_path / "bare.png.recipe").write_text((tmp_path / "s.png.recipe").read_text())
    ddsr("recover", tmp_path / "bare.png", "-o", tmp_path / "c.png", "--model", model)


def test_good_files_are_written_beside_bad_ones(model: Path, face: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    output = hide(model, face, tmp_path / "text.png", tmp_path / "none.png", "--out-dir", tmp_path / "out", code=1)
    assert (tmp_path / "out" / "face.stego.png").is_file()
    lines = [line for line in output.splitlines() if line.startswith("ddsr:")]
    assert len(lines) == 2
    assert "text.png" in lines[0]
    assert "none.png" in lines[1]


def test_json_says_one_object_a_picture(model: Path, face: Path, tmp_path: Path) -> None:
    said = json.loads(hide(model, face, "--out-dir", tmp_path, "--json"))
    assert set(said) == {"input", "output", "seconds", "evaluations", "recipe", "crop"}
    assert SECRET not in json.dumps(said)


def test_the_names_that_results_get(model: Path, face: Path, tmp_path: Path) -> None:
    hide(model, face)
    hide(model, face, "--format", "jpeg")
    ddsr("recover", tmp_path / "face.stego.png", "--model", model)
    written = {"face.stego.png", "face.stego.png.recipe", "face.stego.jpg", "face.stego.jpg.recipe", "face.face.png"}
    assert {path.name for path in tmp_path.iterdir()} == {"face.jpg", *written}
    hide(model, face, face.with_name("other.jpg"), "-o", tmp_path / "s.png", code=2)


def test_what_exists_is_kept_unless_force_is_given(model: Path, face: Path, tmp_path: Path) -> None:
    for name in ("s.png", "s.png.recipe"):
        (tmp_path / name).write_text("dear")
        assert f"{name} exists" in hide(model, face, "-o", tmp_path / "s.png", code=1)
        assert (tmp_path / name).read_text() == "dear"
        hide(model, face, "-o", tmp_path / "s.png", "--force")
        assert (tmp_path / name).read_bytes()[:4] != b"dear"
        for path in tmp_path.glob("s.png*"):
            path.unlink()
    hide(model, face, "-o", tmp_path / "s.png")
    (tmp_path / "s.face.png").write_text("dear")
    assert "--force" in ddsr("recover", tmp_path / "s.png", "--model", model, code=1)
    ddsr("recover", tmp_path / "s.png", "--model", model, "--force")
    assert (tmp_path / "s.face.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "kind"), [("s.jpg", "JPEG"), ("s.JPEG", "JPEG"), ("s.webp", "WEBP"), ("s", "PNG")])
def test_the_suffix_is_the_format(model: Path, face: Path, tmp_path: Path, name: str, kind: str) -> None:
    hide(model, face, "-o", tmp_path / name)
    ddsr("recover", tmp_path / name, "-o", tmp_path / f"back-{name}", "--model", model)
    for path in (tmp_path / name, tmp_path / f"back-{name}"):
        with Image.open(path) as image:
            assert image.format == kind


@pytest.mark.parametrize("more", [["s.bmp"], ["s.png", "--format", "jpeg"], ["s.recipe"]])
def test_a_suffix_of_no_format_is_refused(face: Path, tmp_path: Path, more: list[str]) -> None:
    assert "suffix" in ddsr("hide", face, "--disguise", "x", "-o", tmp_path / more[0], *more[1:], code=2)
    assert not (tmp_path / more[0]).exists()


def test_standard_input_and_output(model: Path, face: Path, tmp_path: Path) -> None:
    runner = CliRunner(env={"DDSR_IDENTITY_PROMPT": SECRET})
    words = ["--model", str(model)]
    hidden = runner.invoke(
        app, ["hide", "-", "--disguise", "the sea", "--steps", "1", "--json", *words], input=face.read_bytes()
    )
    assert hidden.exit_code == 0, hidden.stderr
    stego = hidden.stdout_bytes
    assert [json.loads(hidden.stderr)["recipe"]] == recipes_in(stego)
    back = runner.invoke(app, ["recover", "-", "-o", str(tmp_path / "back.png"), *words], input=stego)
    assert back.exit_code == 0, back.stderr
    with Image.open(tmp_path / "back.png") as image:
        assert image.size == (32, 32)
    piped = runner.invoke(app, ["recover", "-", *words], input=stego)
    assert piped.stdout_bytes == (tmp_path / "back.png").read_bytes()
    twice = runner.invoke(app, ["recover", "-", "-", *words], input=stego)
    assert twice.exit_code == 2


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_lossy_formats_carry_the_recipe_too(model: Path, face: Path, tmp_path: Path, format: str) -> None:
    hide(model, face, "-o", tmp_path / "s", "--format", format)
    assert recipes_in((tmp_path / "s").read_bytes()) == [(tmp_path / "s.recipe").read_text().strip()]


def test_a_prompt_file_goes_before_the_environment(model: Path, face: Path, tmp_path: Path) -> None:
    (tmp_path / "p").write_text("from the file\n")
    hide(model, face, "-o", tmp_path / "s.png", "--identity-prompt-file", tmp_path / "p")
    recover = ["recover", tmp_path / "s.png", "--model", model]
    ddsr(*recover, "-o", tmp_path / "a.png", secret="from the file")
    ddsr(*recover, "-o", tmp_path / "b.png", "--identity-prompt-file", tmp_path / "p")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_same_words_of_another_file_are_the_same_secret(model: Path, face: Path, tmp_path: Path) -> None:
    files = {"a": b"Caf\xc3\xa9 kiosk\n", "b": b"\xef\xbb\xbfcaf\xc3\xa9 kiosk\r\n"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    hide(model, face, "-o", tmp_path / "s.png", "--identity-prompt-file", tmp_path / "a")
    for name in files:
        ddsr(
            "recover",
            tmp_path / "s.png",
            "-o",
            tmp_path / f"{name}.png",
            "--model",
            model,
            "--identity-prompt-file",
            tmp_path / name,
            secret=None,
        )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_prompt_file_that_is_no_utf_8_is_refused(model: Path, face: Path, tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes("café".encode("utf-16"))
    output = CliRunner().invoke(
        app,
        [
            "hide",
            str(face),
            "-o",
            str(tmp_path / "s.png"),
            "--disguise",
            "a",
            "--identity-prompt-file",
            str(tmp_path / "p"),
        ],
    )
    assert isinstance(output.exception, InvalidPrompt)
    assert "UTF-8" in str(output.exception)


def test_a_recipe_that_contradicts_the_file_is_refused(model: Path, face: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        hide(model, face, "-o", tmp_path / f"{name}.png")
    recover = ["recover", tmp_path / "one.png", "-o", tmp_path / "b.png", "--model", model, "--recipe"]
    assert "not the one inside" in ddsr(*recover, tmp_path / "two.png.recipe", code=1)
    (tmp_path / "wrapped").write_text("DDSR-Recipe: " + (tmp_path / "one.png.recipe").read_text())
    ddsr(*recover, tmp_path / "wrapped")


def said_by_main(
    arguments: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["ddsr", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("secret", "more", "code", "word"),
    [
        ("  ", [], 1, "empty"),
        (None, [], 1, "identity prompt"),
        (SECRET, ["--scheme", "none"], 1, "scheme"),
        (SECRET, ["--steps", "0"], 1, "steps"),
        (SECRET, ["--scheme", "sealed", "--face-size", "100"], 1, "face_size"),
        (SECRET, ["--scheme", "keyed", "--channel", "jpeg"], 1, "sealed"),
        (SECRET, ["--model", "/nowhere"], 3, "pipeline"),
        (SECRET, ["--model", "nobody/nothing"], 3, "pipeline"),
        (SECRET, ["--device", "cuda:99"], 3, "cuda:99"),
        (SECRET, ["--device", "quantum"], 3, "quantum"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_code(
    secret: str | None,
    more: list[str],
    code: int,
    word: str,
    face: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if secret is None:
        monkeypatch.delenv("DDSR_IDENTITY_PROMPT", raising=False)
    else:
        monkeypatch.setenv("DDSR_IDENTITY_PROMPT", secret)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    arguments = ["hide", face, "-o", tmp_path / "s.png", "--disguise", "the sea", *more]
    found, error = said_by_main(arguments, monkeypatch, capsys)
    assert found == code
    assert len(error.strip().splitlines()) == 1
    assert word in error
    assert SECRET not in error


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stego of the scheme `sealed` by the embedded model, sent as JPEG."""
    folder = tmp_path_factory.mktemp("sealed")
    portrait = Path(__file__).parents[2] / "examples" / "portrait.jpg"
    options = ["--scheme", "sealed", "--channel", "jpeg", "--face-size", 160, "--format", "jpeg"]
    ddsr("hide", portrait, "--disguise", "a dark forest", "-o", folder / "s.jpg", *options)
    return folder / "s.jpg"


def test_a_sealed_face_is_authentic(sealed: Path, tmp_path: Path) -> None:
    assert "s), authentic\n" in ddsr("recover", sealed, "-o", tmp_path / "face.png")
    with Image.open(tmp_path / "face.png") as face:
        assert face.size == (160, 160)
    with Image.open(sealed) as stego:
        stego.resize((256, 256)).save(tmp_path / "larger.png")
    given = ["--recipe", f"{sealed}.recipe", "--json"]
    said = json.loads(ddsr("recover", tmp_path / "larger.png", "-o", tmp_path / "other.png", *given))
    assert said["authentic"] is True
    assert (tmp_path / "other.png").read_bytes() == (tmp_path / "face.png").read_bytes()


def test_a_wrong_prompt_is_refused_with_a_code_of_its_own(sealed: Path, tmp_path: Path) -> None:
    recover = ["recover", sealed, "--out-dir", tmp_path]
    said = ddsr(*recover, code=5, secret="wrong")
    assert f"{sealed}: the prompt is wrong, or the picture was changed beyond repair" in said
    assert list(tmp_path.iterdir()) == []
    ddsr(*recover, tmp_path / "nothing.png", code=1, secret="wrong")
    assert "a decoy: the prompt is wrong" in ddsr(*recover, "--decoy", secret="wrong")
    assert json.loads(ddsr(*recover, "--decoy", "--json", "--force", secret="wrong"))["authentic"] is False


def test_two_inputs_never_share_an_output(model: Path, face: Path, tmp_path: Path) -> None:
    other = tmp_path / "face.png"
    other.write_bytes(face.read_bytes())
    hide(model, face, other, "--out-dir", tmp_path / "out", code=2)


def test_the_prompt_is_no_argument() -> None:
    assert "--identity-prompt " not in ddsr("hide", "--help")


def test_the_face_is_found_and_json_says_where(model: Path, tmp_path: Path) -> None:
    Image.fromarray(photograph(900, 600, (600, 180, 232))).save(tmp_path / "room.png")
    Image.fromarray(photograph(900, 600)).save(tmp_path / "empty.png")
    said = json.loads(hide(model, tmp_path / "room.png", "-o", tmp_path / "s.png", "--crop", "face", "--json"))
    assert 500 < said["crop"]["left"] < 750
    assert "face" in hide(model, tmp_path / "empty.png", "-o", tmp_path / "e.png", "--crop", "face", code=1)
    hide(model, tmp_path / "room.png", "-o", tmp_path / "s.png", "--crop", "round", code=2)
    hide(model, tmp_path / "room.png", "-o", tmp_path / "s.png", "--channel", "radio", code=2)


def test_a_jpeg_is_no_lossless_channel(
    face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDSR_IDENTITY_PROMPT", SECRET)
    arguments = ["hide", face, "-o", tmp_path / "s.jpg", "--disguise", "the sea", "--scheme", "sealed"]
    code, error = said_by_main(arguments, monkeypatch, capsys)
    assert code == 1
    assert "a jpeg file is no lossless channel" in error
