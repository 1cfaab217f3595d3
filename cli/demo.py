"""`ddsr demo`: the whole service once, on a real face, in a folder that is thrown away.

Starts the stack and hides the portrait of the repository by the schemes `keyed` and `sealed`. Each stego goes through
PNG and through JPEG 80 and is recovered with the right and with a wrong identity prompt. Then it looks for secrets in
everything that Redis ever held, draws the pictures side by side and prints a table.
"""

import io
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import numpy as np
import redis
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cli.leaks import file_items, redis_items, search
from ddsr_client import Client, ClientError, NotAuthentic, Picture
from ddsr_client.models import Channel, Scheme
from figures.fidelity import psnr
from shared.faces import decode_and_fit
from shared.imaging import decode_upload
from stack.stack import Stack
from stack.supervisor import StartError
from stack.temporary import free_settings

if TYPE_CHECKING:
    from rich.table import Table

PORTRAIT = Path(__file__).resolve().parents[1] / "examples" / "portrait.jpg"
# A description, and five random words.
IDENTITY_PROMPT = "a smiling woman with short hair, lived outage flanked humorous afar"
WRONG_PROMPT = "a smiling woman with short hair, lived outage flanked humorous ajar"
DISGUISE_PROMPT = "a glacier under a blue sky"
SEALED = {"right": "authentic", "wrong": "refused"}  # what the scheme promises of each prompt
PROMPTS = {"right": IDENTITY_PROMPT, "wrong": WRONG_PROMPT}

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Way:
    """A scheme, the channel for which its stego is made, and the file in which that is sent."""

    scheme: Scheme
    channel: Channel | None
    sent_as: str

    def send(self, stego: Picture) -> bytes:
        """The file that arrives."""
        if self.sent_as == "PNG":
            return stego.data
        file = io.BytesIO()
        stego.image().convert("RGB").save(file, "JPEG", quality=80)
        return file.getvalue()


WAYS = (
    Way("keyed", None, "PNG"),
    Way("keyed", None, "JPEG 80"),
    Way("sealed", "lossless", "PNG"),
    Way("sealed", "jpeg", "JPEG 80"),
)


@dataclass(frozen=True)
class Answer:
    """What a receiver was told: a face with its picture file, or that there is none."""

    way: Way
    prompt: str
    words: str
    file: bytes = field(repr=False)
    seconds: float

    @property
    def picture(self) -> Pixels | None:
        return decode_upload(self.file) if self.file else None


@dataclass(frozen=True)
class Hiding:
    """A stego, and the seconds of its request."""

    way: Way
    stego: Picture
    seconds: float


@dataclass(frozen=True)
class Demo:
    """What one run found. `leaks` lists secrets that were readable; `values` counts what was searched in Redis."""

    face: Pixels
    hidings: list[Hiding]
    answers: list[Answer]
    leaks: list[str]
    values: int

    @property
    def wrong(self) -> list[Answer]:
        """Answers that the scheme `sealed` must not give."""
        return [each for each in self.answers if each.way.scheme == "sealed" and each.words != SEALED[each.prompt]]


class Sampler:
    """Copies everything that Redis holds, again and again, while the requests run."""

    def __init__(self, connect: Callable[[], redis.Redis]) -> None:
        self._connect = connect
        self._stop = threading.Event()
        self.seen: dict[bytes, str] = {}

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self.look()

    def look(self) -> None:
        client = self._connect()
        try:
            for place, value in redis_items(client):
                self.seen.setdefault(value, place)
        finally:
            client.close()

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self.look()


def perform(portrait: Path, state: Path, log: TextIO, **stack_options: Any) -> Demo:
    """Run the demo with a stack in `state`. Raises StartError, and ClientError for an answer that is no picture."""
    stack = Stack(free_settings(state), log, **stack_options)
    try:
        stack.start()
        sampler = Sampler(stack.redis)
        with sampler.running(), Client(stack.sender_url, stack.receiver_url) as client:
            hidings = _hidings(client, portrait)
            answers = [answer for hiding in hidings for answer in _answers(client, hiding)]
    finally:
        stack.stop()
    face = decode_and_fit(portrait.read_bytes(), decode_upload(hidings[0].stego.data).shape[0])[0]
    items = [(place, value) for value, place in sampler.seen.items()]
    log.flush()
    written = [("the log", Path(log.name).read_bytes()), *file_items(state)]
    leaks = search([*items, *written], _secrets(portrait, face, answers))
    return Demo(face, hidings, answers, leaks, len(items))


def _hidings(client: Client, portrait: Path) -> list[Hiding]:
    """A stego for every way; of `keyed`, one for both."""
    made: dict[tuple[Scheme, Channel | None], tuple[Picture, float]] = {}
    for way in WAYS:
        if (way.scheme, way.channel) not in made:
            start = time.perf_counter()
            stego = client.hide(portrait, IDENTITY_PROMPT, DISGUISE_PROMPT, scheme=way.scheme, channel=way.channel)
            made[way.scheme, way.channel] = stego, time.perf_counter() - start
    return [Hiding(way, *made[way.scheme, way.channel]) for way in WAYS]


def _answers(client: Client, hiding: Hiding) -> Iterator[Answer]:
    sent = hiding.way.send(hiding.stego)
    for name, prompt in PROMPTS.items():
        start = time.perf_counter()
        try:
            found = client.recover(sent, prompt, recipe=hiding.stego.recipe)
        except NotAuthentic:
            yield Answer(hiding.way, name, "refused", b"", time.perf_counter() - start)
            continue
        words = {True: "authentic", False: "a decoy", None: "the face" if name == "right" else "a stranger"}
        yield Answer(hiding.way, name, words[found.authentic], found.data, time.perf_counter() - start)


def _secrets(portrait: Path, face: Pixels, answers: list[Answer]) -> dict[str, bytes]:
    """What must not be readable anywhere: prompts, and pieces of the pictures in each form that they take."""
    upload = portrait.read_bytes()
    found = {
        **{f"{name} identity prompt": prompt.encode() for name, prompt in PROMPTS.items()},
        "upload": upload[len(upload) // 2 :][:48],
        "face": face[len(face) // 2].tobytes()[:96],
    }
    for answer in answers:
        if (picture := answer.picture) is not None:
            name = f"recovered face ({answer.way.scheme}, {answer.way.sent_as}, {answer.prompt} prompt)"
            found[name] = picture[len(picture) // 2].tobytes()[:96]
            found[f"file of the {name}"] = answer.file[len(answer.file) // 2 :][:48]
    return found


def _psnr(reference: Pixels, picture: Pixels) -> str:
    """In dB, 100 for the same picture; empty where the sizes differ."""
    return f"{psnr(reference, picture):.1f} dB" if reference.shape == picture.shape else ""


def _similarity(original: Pixels, pictures: list[Pixels | None]) -> tuple[str, list[float | None]]:
    """Of every picture to the original: by dlib's face recogniser where it is installed, else SSIM."""
    try:
        from evaluation.alignment import FaceFinder
        from evaluation.errors import MaterialMissing
        from evaluation.metrics import ssim
        from evaluation.recognisers import DlibRecogniser
    except ImportError:
        return "similarity", [None] * len(pictures)
    same = {n: rgb for n, rgb in enumerate(pictures) if rgb is not None and rgb.shape == original.shape}
    found: dict[int, float] = {}
    name = "similarity (SSIM)"
    try:
        finder, recogniser = FaceFinder(), DlibRecogniser()
        places = finder.find(original[None])[0].landmarks
        if places is not None and same:
            vectors = recogniser.embed(np.stack([original, *same.values()]), [places] * (len(same) + 1))
            alike = recogniser.similarity(vectors[:1], vectors[1:])[0]
            name, found = "similarity (dlib)", dict(zip(same, map(float, alike), strict=True))
    except MaterialMissing:
        pass
    found = found or {n: float(ssim(original, rgb)) for n, rgb in same.items()}
    return name, [found.get(n) for n in range(len(pictures))]


def side_by_side(found: Demo, edge: int = 256) -> Image.Image:
    """A row for each way: the face, what is sent, and what comes back, each `edge` pixels wide with its name."""
    margin, caption = 8, 22
    down, across = edge + caption + margin, edge + margin
    sheet = Image.new("RGB", (4 * across + margin, len(WAYS) * down + margin), "white")
    draw = ImageDraw.Draw(sheet)
    for row, hiding in enumerate(found.hidings):
        title = f"{hiding.way.scheme}, {hiding.way.sent_as}"
        answers = [answer for answer in found.answers if answer.way == hiding.way]
        arrived = decode_upload(hiding.way.send(hiding.stego))
        cells: list[tuple[str, Pixels | None]] = [("original", found.face), (f"{title}: what arrives", arrived)]
        cells += [(f"{answer.prompt} prompt: {answer.words}", answer.picture) for answer in answers]
        for column, (name, rgb) in enumerate(cells):
            left, top = margin + column * across, margin + row * down
            if rgb is None:
                draw.rectangle((left, top, left + edge, top + edge), outline="grey")
                draw.text((left + edge / 2, top + edge / 2), name, fill="grey", anchor="mm")
            else:
                sheet.paste(Image.fromarray(rgb).resize((edge, edge), Image.Resampling.BICUBIC), (left, top))
            draw.text((left + 2, top + edge + 5), name, fill="black")
    return sheet


def register(app: typer.Typer) -> None:
    """Add `ddsr demo`."""

    @app.command()
    def demo(
        image: Annotated[Path, typer.Option(help="A photograph of a face.")] = PORTRAIT,
        out: Annotated[Path, typer.Option(help="Folder of the picture and the log.")] = Path("demo"),
    ) -> None:
        """Hide and recover a real face through both services, and look for leaks."""
        raise typer.Exit(run(image, out))


def run(image: Path, out: Path, **stack_options: Any) -> int:
    """`ddsr demo` itself. 3: something does not start or answer, an answer is wrong, or a secret was readable; 1: no
    picture.
    """
    if not image.is_file():
        print(f"there is no picture {image}")
        return 1
    out.mkdir(parents=True, exist_ok=True)
    log_file = out / "stack.log"
    print("starting Redis, worker, sender and receiver ...", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="ddsr-demo-") as folder, open(log_file, "w") as log:
            found = perform(image, Path(folder), log, **stack_options)
    except (StartError, ClientError) as error:
        print(f"the demo failed: {error}\nlog: {log_file}")
        return 3
    picture = out / "side-by-side.png"
    side_by_side(found).save(picture)
    _show(found, picture)
    return 3 if found.leaks or found.wrong else 0


def _show(found: Demo, picture: Path) -> None:
    from rich.console import Console

    console = Console()
    console.print(_table(found))
    for hiding in {hiding.way.scheme: hiding for hiding in found.hidings}.values():
        console.print(f"recipe (public) of {hiding.way.scheme}: {hiding.stego.recipe}", soft_wrap=True)
    console.print(f"pictures: {picture}")
    searched = f"{found.values} keys and values of Redis, its append-only file, the logs"
    console.print(f"searched for prompts and faces, also inside base64 and zlib: {searched}")
    for answer in found.wrong:
        console.print(f"WRONG: {answer.way.scheme}, {answer.way.sent_as}, {answer.prompt} prompt: {answer.words}")
    console.print("\n".join(["READABLE:", *found.leaks]) if found.leaks else "nothing readable", markup=False)


def _table(found: Demo) -> "Table":
    """Every request with its seconds; of the pictures that came back, similarity and PSNR (dB) to the face."""
    from rich.table import Table

    name, similar = _similarity(found.face, [answer.picture for answer in found.answers])
    caption = "refused: the prompt is wrong, or the picture was changed beyond repair"
    table = Table(title="compared with the original face", caption=caption)
    for title in ("scheme", "sent as", "prompt", "answer"):
        table.add_column(title)
    for title in (name, "PSNR", "seconds"):
        table.add_column(title, justify="right")
    alike, last = iter(similar), None
    for hiding in found.hidings:
        table.add_section()
        if hiding.stego is not last:
            table.add_row(hiding.way.scheme, "", "", "a stego", "", "", _number(hiding.seconds))
            last = hiding.stego
        for answer in found.answers:
            if answer.way == hiding.way:
                fidelity = "" if answer.picture is None else _psnr(found.face, answer.picture)
                cells = (answer.way.scheme, answer.way.sent_as, answer.prompt, answer.words)
                table.add_row(*cells, _number(next(alike)), fidelity, _number(answer.seconds))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
