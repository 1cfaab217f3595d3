"""`ddsr demo`: the whole service once, on a real face, in a folder that is thrown away.

Starts the stack, hides the portrait of the repository through `POST /hide`, recovers it through `POST
/recover` with the right and with a wrong identity prompt, looks for secrets in everything that Redis ever
held, draws the four pictures side by side and prints a table.
"""

import io
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TextIO

import numpy as np
import redis
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cli.leaks import file_items, redis_items, search
from cli.stack import Stack, free_ports
from cli.supervisor import StartError
from shared.imaging import decode_upload, fit_square
from shared.settings import StackSettings

PORTRAIT = Path(__file__).resolve().parents[1] / "examples" / "portrait.jpg"
# A description, and five random words.
IDENTITY_PROMPT = "a smiling woman with short hair, lived outage flanked humorous afar"
WRONG_PROMPT = "a smiling woman with short hair, lived outage flanked humorous ajar"
DISGUISE_PROMPT = "a glacier under a blue sky"
WAIT = 300  # seconds for one request

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One line of the table: similarity and PSNR (dB) to the original face, and the seconds of the request."""

    name: str
    similarity: float | None
    psnr: float | None
    seconds: float | None


@dataclass(frozen=True)
class Demo:
    """What one run found. `leaks` lists secrets that were readable; `values` counts what was searched."""

    rows: list[Row]
    pictures: dict[str, Pixels]
    leaks: list[str]
    values: int
    recipe: str
    similarity_name: str


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
    """Run the demo with a stack in `state`. Raises StartError, and RuntimeError for an answer that is not
    200.
    """
    sender, receiver = free_ports(2)
    settings = StackSettings(state=state, sender_port=sender, receiver_port=receiver, metrics_port=0)
    stack = Stack(settings, log, **stack_options)
    try:
        stack.start()
        sampler = Sampler(stack.redis)
        with sampler.running():
            found = _requests(stack, portrait)
    finally:
        stack.stop()
    secrets = _secrets(portrait, found.face, found.recovered)
    items = [(place, value) for value, place in sampler.seen.items()]
    leaks = search([*items, *file_items(state)], secrets)
    pictures = {
        "original": found.face,
        "stego (what is sent)": found.stego,
        "recovered": found.recovered,
        "wrong prompt": found.stranger,
    }
    name, similar = _similarity(pictures)
    rows = [
        Row(title, similar.get(title), _psnr(found.face, picture), found.seconds.get(title))
        for title, picture in pictures.items()
        if title != "original"
    ]
    return Demo(rows, pictures, leaks, len(items), found.recipe, name)


@dataclass(frozen=True)
class _Found:
    face: Pixels
    stego: Pixels
    recovered: Pixels
    stranger: Pixels
    recipe: str
    seconds: dict[str, float]


def _requests(stack: Stack, portrait: Path) -> _Found:
    data = portrait.read_bytes()
    form = {"identity_prompt": IDENTITY_PROMPT, "disguise_prompt": DISGUISE_PROMPT}
    url = f"{stack.sender_url}/hide"
    hidden, recipe, hide_seconds = _post(url, {"image": (portrait.name, data)}, form)
    url = f"{stack.receiver_url}/recover"
    files = {"stego": ("stego.png", hidden)}
    back, _, seconds = _post(url, files, {"identity_prompt": IDENTITY_PROMPT})
    stranger, _, wrong_seconds = _post(url, files, {"identity_prompt": WRONG_PROMPT})
    stego = decode_upload(hidden)
    return _Found(
        face=fit_square(decode_upload(data), stego.shape[0]),
        stego=stego,
        recovered=decode_upload(back),
        stranger=decode_upload(stranger),
        recipe=recipe,
        seconds={"stego (what is sent)": hide_seconds, "recovered": seconds, "wrong prompt": wrong_seconds},
    )


def _post(url: str, files: dict[str, tuple[str, bytes]], form: dict[str, str]) -> tuple[bytes, str, float]:
    import httpx

    start = time.perf_counter()
    headers, patience = {"Prefer": f"wait={WAIT}"}, WAIT + 30
    answer = httpx.post(url, files=files, data=form, headers=headers, timeout=patience, trust_env=False)  # no proxy
    if answer.status_code != 200:
        raise RuntimeError(f"{url} answered {answer.status_code}: {answer.text[:500]}")
    return answer.content, answer.headers.get("DDSR-Recipe", ""), time.perf_counter() - start


def _secrets(portrait: Path, face: Pixels, recovered: Pixels) -> dict[str, bytes]:
    """What must not be readable anywhere: prompts, and pieces of the pictures in each form that they take."""
    upload = portrait.read_bytes()
    middle = face.shape[0] // 2
    png = io.BytesIO()
    Image.fromarray(recovered).save(png, "PNG")
    return {
        "identity prompt": IDENTITY_PROMPT.encode(),
        "wrong identity prompt": WRONG_PROMPT.encode(),
        "upload": upload[len(upload) // 2 :][:48],
        "face": face[middle].tobytes()[:96],
        "recovered face": recovered[middle].tobytes()[:96],
    }


def _psnr(reference: Pixels, picture: Pixels) -> float | None:
    if reference.shape != picture.shape:
        return None
    error = float(np.mean((reference.astype(np.float64) - picture.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def _similarity(pictures: dict[str, Pixels]) -> tuple[str, dict[str, float]]:
    """Of every picture to the original: by dlib's face recogniser where it is installed, else SSIM."""
    original = pictures["original"]
    try:
        from evaluation.alignment import FaceFinder
        from evaluation.errors import MaterialMissing
        from evaluation.metrics import ssim
        from evaluation.recognisers import DlibRecogniser
    except ImportError:
        return "similarity", {}
    same = {name: picture for name, picture in pictures.items() if picture.shape == original.shape}
    try:
        finder, recogniser = FaceFinder(), DlibRecogniser()
        places = finder.find(original[None])[0].landmarks
        if places is not None:
            vectors = recogniser.embed(np.stack(list(same.values())), [places] * len(same))
            alike = recogniser.similarity(vectors[:1], vectors)[0]
            return "similarity (dlib)", dict(zip(same, map(float, alike), strict=True))
    except MaterialMissing:
        pass
    return "similarity (SSIM)", {name: float(ssim(original, picture)) for name, picture in same.items()}


def side_by_side(pictures: dict[str, Pixels], edge: int = 256) -> Image.Image:
    """The pictures in a row, each `edge` pixels wide, with its name under it."""
    margin, caption = 8, 22
    width = len(pictures) * (edge + margin) + margin
    sheet = Image.new("RGB", (width, edge + caption + 2 * margin), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (name, rgb) in enumerate(pictures.items()):
        left = margin + number * (edge + margin)
        sheet.paste(Image.fromarray(rgb).resize((edge, edge), Image.Resampling.BICUBIC), (left, margin))
        draw.text((left + 2, edge + margin + 5), name, fill="black")
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
    """`ddsr demo` itself: 3 when something does not start or answer, or a secret was readable, 1 without a picture."""
    if not image.is_file():
        print(f"there is no picture {image}")
        return 1
    out.mkdir(parents=True, exist_ok=True)
    log_file = out / "stack.log"
    print("starting Redis, worker, sender and receiver ...", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="ddsr-demo-") as folder, open(log_file, "w") as log:
            found = perform(image, Path(folder), log, **stack_options)
    except (StartError, RuntimeError) as error:
        print(f"the demo failed: {error}\nlog: {log_file}")
        return 3
    log_items = [(log_file.name, log_file.read_bytes())]
    leaks = found.leaks + search(log_items, {"identity prompt": IDENTITY_PROMPT.encode()})
    picture = out / "side-by-side.png"
    side_by_side(found.pictures).save(picture)
    _show(found, leaks, picture)
    return 3 if leaks else 0


def _show(found: Demo, leaks: list[str], picture: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="compared with the original face")
    for title in ("picture", found.similarity_name, "PSNR", "seconds"):
        table.add_column(title, justify="left" if title == "picture" else "right")
    for row in found.rows:
        psnr = "" if row.psnr is None else f"{row.psnr:.1f} dB"
        table.add_row(row.name, _number(row.similarity), psnr, _number(row.seconds))
    console = Console()
    console.print(table)
    console.print(f"recipe (public): {found.recipe}", soft_wrap=True)
    console.print(f"pictures: {picture}")
    searched = f"{found.values} keys and values of Redis, its append-only file, the logs"
    console.print(f"searched for prompts and faces, also inside base64 and zlib: {searched}")
    console.print("\n".join(["READABLE:", *leaks]) if leaks else "nothing readable", markup=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
