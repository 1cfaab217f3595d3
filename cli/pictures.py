"""`ddsr hide` and `ddsr recover`: files in, files out, no service needed."""

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, TypeVar, cast, get_args

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from shared.errors import InputError, InvalidPrompt, MissingRecipe, NotAuthentic, RecipeError
from shared.faces import Box, FaceCrop, decode_and_fit
from shared.imaging import (
    MEDIA_TYPES,
    PictureFormat,
    Pixels,
    decode_upload,
    encode_picture,
    fit_square,
)
from shared.limits import CHANNELS, DEFAULT_SCHEME, FACE_SIZES, Channel, channel_and_size
from shared.process import no_core_dumps
from shared.recipe import Recipe
from shared.recipe_files import choose_recipe, recipes_in

T = TypeVar("T")
R = TypeVar("R")
OnStep = Callable[[int, int], None] | None
Asked = tuple[Pixels, Recipe]

ENVIRONMENT = "DDSR_IDENTITY_PROMPT"
BATCH = 8
STANDARD = Path("-")  # standard input as a source, standard output as a target
SUFFIXES: dict[str, PictureFormat] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
REFUSED = 5  # exit code: a stego does not open under this prompt, and nothing else went wrong
_WORDS: dict[object, str] = {True: ", authentic", False: f", a decoy: {NotAuthentic().detail}"}

Files = Annotated[
    list[Path],
    typer.Argument(help="Picture files: JPEG, PNG or WebP; - is standard input.", show_default=False),
]
OutDir = Annotated[
    Path | None, typer.Option("--out-dir", help="Folder for the results, made if missing; else beside each picture.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="The result's file, for a single picture; its suffix is the format; - is standard out.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
PromptFile = Annotated[
    Path | None,
    typer.Option(
        "--identity-prompt-file",
        help=f"File with the secret identity prompt, in UTF-8; else ${ENVIRONMENT}, else asked.",
    ),
]
SchemeName = Annotated[str, typer.Option(help="sealed; keyed; paper: the published method without a key.")]
ChannelName = Annotated[
    str | None, typer.Option(help=f"Of sealed, what the stego shall survive: {', '.join(CHANNELS)}.")
]
FaceSize = Annotated[
    int | None,
    typer.Option(help=f"Of sealed, the edge of the face that comes back: {', '.join(map(str, FACE_SIZES))}."),
]
Solver = Annotated[
    str | None, typer.Option(help="ddim, heun, heun-whitened, adams-whitened, ddim-matched, heun-matched.")
]
CropName = Annotated[
    str, typer.Option(help="auto: the one face, else the centre; centre; face; none: it has the model's size.")
]
RecipeFile = Annotated[Path | None, typer.Option(help="Recipe file, where the channel stripped it from the stego.")]
Decoy = Annotated[bool, typer.Option("--decoy", help="Of sealed: a stranger's face where the sender's does not open.")]
Model = Annotated[str | None, typer.Option(help="Pipeline folder or hub id; the embedded model by default.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a picture on standard output.")]


def register(app: typer.Typer) -> None:
    app.command()(hide)
    app.command()(recover)


def hide(
    faces: Files,
    disguise: Annotated[str, typer.Option(help="The public disguise prompt, e.g. 'a glacier under a blue sky'.")],
    out_dir: OutDir = None,
    output: Out = None,
    identity_prompt_file: PromptFile = None,
    scheme: SchemeName = DEFAULT_SCHEME,
    channel: ChannelName = None,
    face_size: FaceSize = None,
    solver: Solver = None,
    steps: Annotated[int | None, typer.Option(help="Diffusion steps of one walk.")] = None,
    format: Annotated[str | None, typer.Option(help="png, jpeg or webp; else the suffix of -o, else png.")] = None,
    crop: CropName = "auto",
    model: Model = None,
    device: Device = "cpu",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Hide faces under a secret identity prompt: portrait.jpg becomes portrait.stego.png.

    Each stego's recipe (public, needed to recover) is written into the file and beside it as FILE.recipe.
    """
    kind = _format(format, output)
    paths = _targets(faces, out_dir, output, f".stego.{_suffix(kind)}")
    prompt = _identity_prompt(identity_prompt_file)
    from shared.diffusion.model import DiffusionModel
    from shared.diffusion.pipeline import Hidden, hide_each
    from shared.diffusion.walks import HideOptions

    chosen, (way, size) = _crop(crop), channel_and_size(scheme, _channel(channel), face_size, kind)
    options = HideOptions(scheme, solver, steps, way)
    loaded, report = DiffusionModel.load(model, device=device), _Report(as_json)
    boxes: dict[Path, Box | None] = {}

    def read(path: Path) -> Pixels:
        _check_free([paths[path], _sidecar(paths[path])], force)
        pixels, boxes[path] = decode_and_fit(_read(path), size or loaded.image_size, chosen)
        return pixels

    def compute(batch: list[tuple[Path, Pixels]], on_step: OnStep) -> Sequence[Hidden | InputError]:
        count = len(batch)
        return hide_each(loaded, _stack(batch), [prompt] * count, [disguise] * count, options, on_step=on_step)

    def keep(path: Path, one: Hidden, seconds: float) -> None:
        recipe, target = one.recipe.to_text(), paths[path]
        _write_stego(target, encode_picture(one.stego, kind, recipe=recipe), recipe, force)
        report.done(path, target, seconds, evaluations=one.evaluations, recipe=recipe, **_cut(boxes[path]))

    good = report.readable(faces, read)
    report.work(_batches(good), len(good), compute, keep)


def recover(
    stegos: Files,
    out_dir: OutDir = None,
    output: Out = None,
    identity_prompt_file: PromptFile = None,
    recipe: RecipeFile = None,
    decoy: Decoy = False,
    model: Model = None,
    device: Device = "cpu",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Recover faces with the identity prompt: portrait.stego.png becomes portrait.face.png.

    Of the scheme sealed, a wrong prompt is an error. Of the others it gives a stranger's picture.
    """
    kind = _format(None, output)
    paths = _targets(stegos, out_dir, output, ".face.png")
    prompt = _identity_prompt(identity_prompt_file)
    from shared.diffusion.model import DiffusionModel
    from shared.diffusion.pipeline import Recovered, check_recipes, recover_each

    loaded, report = DiffusionModel.load(model, device=device), _Report(as_json)

    def read(path: Path) -> Asked:
        _check_free([paths[path]], force)
        data = _read(path)
        found = _recipe_of(path, data, recipe)
        check_recipes(loaded, [found])
        pixels = fit_square(decode_upload(data), loaded.image_size, "centre" if found.scheme == "sealed" else "none")
        return pixels, found

    def compute(batch: list[tuple[Path, Asked]], on_step: OnStep) -> Sequence[Recovered | InputError]:
        pixels, recipes = np.stack([one for _, (one, _) in batch]), [found for _, (_, found) in batch]
        count = len(batch)
        return recover_each(loaded, pixels, [prompt] * count, recipes, decoys=[decoy] * count, on_step=on_step)

    def keep(path: Path, one: Recovered, seconds: float) -> None:
        target = _write(paths[path], encode_picture(one.face, kind), force)
        report.done(path, target, seconds, authentic=one.authentic)

    good = sorted(report.readable(stegos, read), key=lambda item: item[1][1].batch_key)
    alike = groupby(good, key=lambda item: item[1][1].batch_key)
    report.work((batch for _, group in alike for batch in _batches(list(group))), len(good), compute, keep)


@dataclass
class _Report:
    """Says what happened to each file, and remembers the exit code."""

    as_json: bool
    code: int = 0

    def readable(self, paths: list[Path], read: Callable[[Path], T]) -> list[tuple[Path, T]]:
        good = []
        for path in paths:
            with self.failing([path]):
                good.append((path, read(path)))
        return good

    @contextmanager
    def failing(self, paths: list[Path]) -> Iterator[None]:
        """An error on these files becomes a line each; the others go on."""
        try:
            yield
        except NotAuthentic as error:
            self._fail(paths, error.detail, self.code or REFUSED)
        except InputError as error:
            self._fail(paths, error.detail)
        except OSError as error:
            self._fail(paths, error.strerror or "cannot be read or written")

    def work(
        self,
        batches: Iterable[list[tuple[Path, T]]],
        count: int,
        compute: Callable[[list[tuple[Path, T]], OnStep], Sequence[R | InputError]],
        keep: Callable[[Path, R, float], None],
    ) -> None:
        """Compute batch after batch of `count` pictures and keep what is good, with the seconds that each took.

        Raises:
            typer.Exit: something failed.
        """
        with _progress(count) as on_step:
            for batch in batches:
                started = time.perf_counter()
                with self.failing([path for path, _ in batch]):
                    found = compute(batch, on_step)
                    seconds = (time.perf_counter() - started) / len(batch)
                    for path, one in self.results(batch, found):
                        keep(path, one, seconds)
        if self.code:
            raise typer.Exit(self.code)

    def results(self, batch: list[tuple[Path, T]], found: Sequence[R | InputError]) -> Iterator[tuple[Path, R]]:
        """The good results of a batch with their files; an error becomes a line."""
        for (path, _), one in zip(batch, found, strict=True):
            if isinstance(one, InputError):
                with self.failing([path]):
                    raise one
            else:
                yield path, one

    def _fail(self, paths: list[Path], reason: str, code: int = 1) -> None:
        self.code = code
        for path in paths:
            Console(stderr=True, highlight=False).print(f"ddsr: {path}: {reason}", markup=False, soft_wrap=True)

    def done(self, source: Path, target: Path, seconds: float, **more: object) -> None:
        if self.as_json:
            fields = {"input": str(source), "output": str(target), "seconds": round(seconds, 3), **more}
            typer.echo(json.dumps(fields), err=target == STANDARD)
        else:
            words = _WORDS.get(more.get("authentic"), "")
            typer.echo(f"{source} -> {target} ({seconds:.1f} s){words}", err=target == STANDARD)


def _identity_prompt(file: Path | None) -> str:
    """From the file, the environment, or whoever sits there. From here on the process leaves no core dump."""
    no_core_dumps()
    if file is not None:
        try:
            prompt = file.read_text(encoding="utf-8-sig").removesuffix("\n")
        except (OSError, UnicodeError):
            raise InvalidPrompt("the identity prompt file cannot be read as UTF-8 text") from None
    elif ENVIRONMENT in os.environ:
        prompt = os.environ[ENVIRONMENT]
    elif sys.stdin.isatty():
        prompt = typer.prompt("Identity prompt", hide_input=True, err=True)
    else:
        raise InvalidPrompt(f"no identity prompt: give --identity-prompt-file or set {ENVIRONMENT}")
    if not prompt.strip():
        raise InvalidPrompt("the identity prompt is empty")
    return prompt


def _targets(sources: list[Path], out_dir: Path | None, output: Path | None, suffix: str) -> dict[Path, Path]:
    if output is None and STANDARD in sources:
        output = STANDARD
    if output is not None:
        if len(sources) != 1 or out_dir is not None:
            raise typer.BadParameter("-o and - are for a single picture, without --out-dir")
        if output == STANDARD and sys.stdout.isatty():
            raise typer.BadParameter("a picture does not go to a terminal: give -o, or redirect standard output")
        return {sources[0]: output}
    targets = {source: (out_dir or source.parent) / (_stem(source, suffix) + suffix) for source in sources}
    if len(set(targets.values())) != len(set(sources)):
        raise typer.BadParameter("two inputs would be written to one file; rename one")
    return targets


def _stem(source: Path, suffix: str) -> str:
    """The name without its suffix; what was hidden in portrait.stego.png is that of portrait."""
    stem = source.name.removesuffix(source.suffix)
    return stem.removesuffix(".stego") if suffix.startswith(".face") else stem


def _suffix(format: PictureFormat) -> str:
    return "jpg" if format == "jpeg" else format


def _format(given: str | None, output: Path | None) -> PictureFormat:
    """The format that was asked for, or that the suffix of the output names; they must agree."""
    if given is not None and given not in MEDIA_TYPES:
        raise typer.BadParameter(f"one of {', '.join(MEDIA_TYPES)}", param_hint="--format")
    named = given
    if output is None or output == STANDARD or not output.suffix:
        return named or "png"
    found = SUFFIXES.get(output.suffix.lower())
    if found is None:
        raise typer.BadParameter(f"the suffix is one of {', '.join(SUFFIXES)}", param_hint="-o")
    if named not in (None, found):
        raise typer.BadParameter(f"--format {named} contradicts the suffix {output.suffix}", param_hint="-o")
    return found


def _crop(crop: str) -> FaceCrop:
    if crop not in get_args(FaceCrop):
        raise typer.BadParameter(f"one of {', '.join(get_args(FaceCrop))}", param_hint="--crop")
    return cast(FaceCrop, crop)


def _channel(channel: str | None) -> Channel | None:
    if channel not in (None, *CHANNELS):
        raise typer.BadParameter(f"one of {', '.join(CHANNELS)}", param_hint="--channel")
    return channel


def _cut(box: Box | None) -> dict[str, object]:
    """For --json: what was cut from the upright picture."""
    if box is None:
        return {}
    return {"crop": {"left": box.left, "top": box.top, "width": box.side, "height": box.side, "of": box.of}}


def _sidecar(target: Path) -> Path:
    return target.with_name(target.name + ".recipe")


def _recipe_of(path: Path, data: bytes, given: Path | None) -> Recipe:
    """Of --recipe, else inside the file, else beside it. What is given must not contradict what is inside."""
    beside = _sidecar(path) if given is None and not recipes_in(data) and _sidecar(path).is_file() else given
    try:
        return choose_recipe(data, None if beside is None else beside.read_text(encoding="utf-8-sig"))
    except UnicodeError:
        raise RecipeError("the recipe file is no text") from None
    except MissingRecipe:
        raise MissingRecipe("no recipe in the file or beside it; give --recipe") from None


def _read(source: Path) -> bytes:
    return sys.stdin.buffer.read() if source == STANDARD else source.read_bytes()


def _check_free(targets: list[Path], force: bool) -> None:
    """Before the work, not after it. Raises FileExistsError."""
    for target in targets:
        if not force and target != STANDARD and target.exists():
            raise FileExistsError(errno.EEXIST, f"{target} exists; --force overwrites it")


def _write(target: Path, data: bytes, force: bool) -> Path:
    if target == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "wb" if force else "xb") as file:
        file.write(data)
    return target


def _write_stego(target: Path, data: bytes, recipe: str, force: bool) -> None:
    """The file, and the recipe beside it unless it goes to standard output."""
    _write(target, data, force)
    if target != STANDARD:
        _write(_sidecar(target), recipe.encode() + b"\n", force)


def _stack(batch: list[tuple[Path, Pixels]]) -> Pixels:
    return np.stack([pixels for _, pixels in batch])


def _batches(items: list[T]) -> Iterator[list[T]]:
    for i in range(0, len(items), BATCH):
        yield items[i : i + BATCH]


@contextmanager
def _progress(count: int) -> Iterator[OnStep]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty() or not count:
        yield None
        return
    batches = -(-count // BATCH)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task, begun = bar.add_task("diffusion", total=batches), 0

        def on_step(k: int, n: int) -> None:
            nonlocal begun
            begun += k == 0
            bar.update(task, completed=begun - 1 + min(k / n, 1))

        yield on_step
