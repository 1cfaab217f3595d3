"""`ddsr eval`: the tables of the evaluation, each alone or all in one run folder."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from evaluation.bench import Bench
    from evaluation.clip import Scorer
    from evaluation.features import Features
    from evaluation.perception import Eyes
    from shared.diffusion.model import DiffusionModel

HALVES = {"half precision (bfloat16)": "bfloat16", "half precision (float16)": "float16"}
app = typer.Typer(no_args_is_help=True, help="Measure a model: the paper's tables, side by side with the paper.")

Data = Annotated[
    str | None, typer.Option("--data", help="Tar or folder of faces; default: eval-faces of DDSR_MATERIAL.")
]
Model = Annotated[str | None, typer.Option("--model", help="Pipeline folder or hub id; default: the embedded model.")]
SchemeName = Annotated[str, typer.Option("--scheme", help="Scheme to measure.")]
Limit = Annotated[int, typer.Option("--limit", min=2, help="Faces, drawn by the seed.")]
Seed = Annotated[int, typer.Option("--seed")]
Out = Annotated[Path, typer.Option("--out", help="Run folder; the same one goes on where it stopped.")]
Batch = Annotated[int, typer.Option("--batch", min=1)]
Device = Annotated[str, typer.Option("--device")]
Steps = Annotated[int | None, typer.Option("--steps", help="Diffusion steps; default: the scheme's.")]
SolverName = Annotated[str | None, typer.Option("--solver", help="Solver; default: the scheme's.")]
Recognisers = Annotated[
    list[str] | None,
    typer.Option("--recogniser", help="Name, or NAME=PATH of an ONNX or TorchScript file, or none; may be repeated."),
]
Clip = Annotated[Path | None, typer.Option("--clip", help="Folder of a CLIP model that judges the stego pictures.")]
Inception = Annotated[Path | None, typer.Option("--inception", help="TorchScript file of the FID's Inception.")]
Schemes = Annotated[list[str] | None, typer.Option("--scheme", help="Scheme; may be repeated.")]
Epochs = Annotated[int, typer.Option("--epochs", min=0, help="Of the trained detector; 0 leaves it out.")]
Without = Annotated[str | None, typer.Option("--without", help="Pipeline folder of the weights trained without PCR.")]


def register(root: typer.Typer) -> None:
    """Add the group `eval` to the command."""
    root.add_typer(app, name="eval")


@app.command()
def instruments(
    data: Data = None, out: Out = Path("runs/eval"), seed: Seed = 0, recogniser: Recognisers = None,
    scenes: Annotated[int | None, typer.Option(min=1, help="Pictures without faces; default: all.")] = None,
) -> None:  # fmt: skip
    """The face detector and the recognisers on real pictures: rates and thresholds, no model needed."""
    _instruments(out, data, recogniser, scenes, seed)
    _report(out)


@app.command()
def reversibility(
    data: Data = None, model: Model = None, scheme: SchemeName = "keyed", limit: Limit = 40, seed: Seed = 0,
    out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu", steps: Steps = None,
    solver: SolverName = None, recogniser: Recognisers = None, clip: Clip = None, inception: Inception = None,
    channels: Annotated[bool, typer.Option(help="Through the channels of Table 4, too (robustness has more).")] = False,
    attacks: Annotated[bool, typer.Option(help="Recover under wrong prompts, too.")] = True,
) -> None:  # fmt: skip
    """Table 1 and Fig. 7: the recovered face, verification, attacks without the prompt."""
    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    _reversibility(bench, scheme, solver, steps, _eyes(clip, model, inception), channels=channels, attacks=attacks)
    _report(out)


@app.command()
def security(
    data: Data = None, model: Model = None, scheme: SchemeName = "keyed", limit: Limit = 40, seed: Seed = 0,
    out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu", steps: Steps = None,
    solver: SolverName = None, recogniser: Recognisers = None, inception: Inception = None, epochs: Epochs = 30,
) -> None:  # fmt: skip
    """Fig. 8, Tables 2 and 3: steganalysis, a trained detector, the recognition attack."""
    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    _security(bench, scheme, solver, steps, epochs, _features(inception))
    _report(out)


@app.command()
def robustness(
    data: Data = None, model: Model = None, scheme: Schemes = None,
    limit: Limit = 20, seed: Seed = 0, out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu",
    recogniser: Recognisers = None,
) -> None:  # fmt: skip
    """Table 4 and Fig. 9: every degradation, one curve a scheme."""
    from evaluation import robustness as table

    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    table.run(bench, scheme or table.SCHEMES)
    _report(out)


@app.command()
def ablation(
    without: Annotated[str, typer.Option("--without", help="Pipeline folder of the weights trained without PCR.")],
    data: Data = None, model: Model = None, scheme: SchemeName = "keyed", limit: Limit = 40, seed: Seed = 0,
    out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu", recogniser: Recognisers = None,
    clip: Clip = None, inception: Inception = None,
) -> None:  # fmt: skip
    """Table 5 and Fig. 10: --model (with PCR) against --without."""
    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    _ablation(bench, without, scheme, _eyes(clip, model, inception))
    _report(out)


@app.command()
def keys(
    data: Data = None, model: Model = None, scheme: Schemes = None,
    limit: Limit = 20, seed: Seed = 0, out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu",
    recogniser: Recognisers = None,
) -> None:  # fmt: skip
    """Ours: what one gets without the key, linkage to a gallery, known pairs, other machines."""
    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    _keys(bench, model, scheme)
    _report(out)


@app.command()
def peers(
    data: Data = None, model: Model = None,
    way: Annotated[list[str] | None, typer.Option("--way", "--scheme", help="Way; may be repeated.")] = None,
    limit: Limit = 20, seed: Seed = 0, out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu",
    recogniser: Recognisers = None,
) -> None:  # fmt: skip
    """Ours: the published ways and ours on one model."""
    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    _peers(bench, way)
    _report(out)


@app.command()
def sealed(
    data: Data = None, model: Model = None,
    channel: Annotated[list[str] | None, typer.Option("--channel", help="Channel; may be repeated.")] = None,
    limit: Limit = 40, seed: Seed = 0, out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu",
    steps: Steps = None, recogniser: Recognisers = None,
) -> None:  # fmt: skip
    """Ours: the scheme `sealed` through its channels: what arrives, how good the face is, what is refused."""
    from evaluation import authenticity
    from shared.limits import CHANNELS

    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    authenticity.run(bench, channel or CHANNELS, steps)
    _report(out)


@app.command()
def stegos(
    model: Model = None, seed: Seed = 0, out: Out = Path("runs/eval"), device: Device = "cpu", steps: Steps = None,
    limit: Annotated[int, typer.Option("--limit", min=26, help="Stegos, over all kinds of scene.")] = 500,
    batch: Annotated[int, typer.Option("--batch", min=1)] = 16,
    epochs: Annotated[int, typer.Option("--epochs", min=0, help="Of the small detector; 0 leaves it out.")] = 8,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Default: torch's own number.")] = None,
) -> None:  # fmt: skip
    """Ours: would one take the stegos for photographs? Distances, grid, right scene, faces, classifiers."""
    import torch

    from evaluation import stegos as table
    from evaluation.alignment import FaceFinder
    from evaluation.features import efficientnet
    from shared.diffusion.walks import HideOptions

    if threads is not None:
        torch.set_num_threads(threads)
    beside = _features(None)
    features = (efficientnet(), *([beside] if beside else []))
    judge = table.Judge(FaceFinder(), features, limit, seed, batch, epochs, HideOptions(steps=steps), _PROGRESS)
    table.run(_model(model, device), out, judge)
    _report(out)


@app.command(name="all")
def everything(
    data: Data = None, model: Model = None, scheme: SchemeName = "keyed", limit: Limit = 24, seed: Seed = 0,
    out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu", recogniser: Recognisers = None,
    clip: Clip = None, inception: Inception = None, without: Without = None, epochs: Epochs = 30,
    compared: Annotated[
        int | None, typer.Option(min=2, help="Faces of the tables that compare schemes; default: a third of --limit.")
    ] = None,
) -> None:  # fmt: skip
    """Every table into one report. Robustness, keys and peers, which also walk the published 60 steps, take --compared
    faces; hidings and recoveries are shared among all tables."""
    from evaluation import robustness as robustness_table

    eyes = _eyes(clip, model, inception)
    _instruments(out, data, recogniser, 200, seed)
    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    few = _fewer(bench, min(limit, compared or max(2, limit // 3)))
    _reversibility(bench, scheme, None, None, eyes)
    _report(out)
    _security(bench, scheme, None, None, epochs, eyes.features)
    robustness_table.run(few)
    _report(out)
    _keys(few, model, None)
    _peers(few, None)
    if without is not None:
        _ablation(bench, without, scheme, eyes)
    _report(out)


@app.command()
def publish(
    out: Out = Path("runs/eval"),
    to: Annotated[Path, typer.Option("--to", help="Folder that keeps the report.")] = Path("docs/results"),
) -> None:
    """Write the report anew and copy it, its pictures and all figures (`tables.json`) to a folder that is kept."""
    from evaluation.report import publish as copy

    typer.echo(str(copy(out, to)))


def _bench(
    data: str | None, model: str | None, limit: int, seed: int, out: Path, batch: int, device: str,
    names: list[str] | None,
) -> "Bench":  # fmt: skip
    from evaluation.setup import make_bench

    chosen = _chosen(names)
    loaded = _model(model, device)
    return make_bench(loaded, out, data=data, limit=limit, seed=seed, batch=batch, names=chosen, progress=_PROGRESS)


def _chosen(names: list[str] | None) -> Sequence[str]:
    from evaluation import recognisers

    return recognisers.DEFAULT if names is None else [name for name in names if name != "none"]


def _model(source: str | None, device: str, dtype: str = "float32") -> "DiffusionModel":
    import torch

    from shared.diffusion.model import DiffusionModel

    return DiffusionModel.load(source, device=device, dtype=getattr(torch, dtype))


def _fewer(bench: "Bench", count: int) -> "Bench":
    from dataclasses import replace

    return replace(bench, faces=bench.faces[:count])


def _instruments(out: Path, data: str | None, names: list[str] | None, scenes: int | None, seed: int) -> None:
    from evaluation.setup import instruments as measure

    measure(out, data=data, names=_chosen(names), scenes=scenes, seed=seed, progress=_PROGRESS)


def _reversibility(
    bench: "Bench", scheme: str, solver: str | None, steps: int | None, eyes: "Eyes", *, channels: bool = False,
    attacks: bool = True,
) -> None:  # fmt: skip
    from evaluation import reversibility as table
    from evaluation.degradations import TABLE_4
    from shared.diffusion.walks import HideOptions

    options = table.ReversibilityOptions(HideOptions(scheme, solver, steps), attacks, TABLE_4 if channels else ())
    table.run(bench, options, eyes)


def _security(
    bench: "Bench", scheme: str, solver: str | None, steps: int | None, epochs: int, features: "Features | None"
) -> None:
    from evaluation import security as table
    from evaluation.data import load_set, pick, stack
    from evaluation.errors import MaterialMissing
    from evaluation.setup import SCENES
    from shared.diffusion.walks import HideOptions

    try:
        scenes = load_set(None, SCENES, size=bench.model.image_size)
        photographs = stack(pick(scenes, 2 * len(bench.faces), bench.seed))
    except MaterialMissing as error:
        typer.echo(f"Table 3 goes without photographs: {error.detail}", err=True)
        photographs = None
    table.run(bench, table.SecurityOptions(HideOptions(scheme, solver, steps), epochs, photographs), features)


def _ablation(bench: "Bench", without: str, scheme: str, eyes: "Eyes") -> None:
    from evaluation import ablation as table
    from shared.diffusion.walks import HideOptions

    models = {"with": bench.model, "without": _model(without, bench.device)}
    table.run(bench, models, HideOptions(scheme), eyes)


def _keys(bench: "Bench", model: str | None, schemes: list[str] | None) -> None:
    from evaluation import keys as table

    halves = {name: _model(model, bench.device, dtype) for name, dtype in HALVES.items()}
    table.run(bench, schemes or table.COMPARED, halves)


def _peers(bench: "Bench", ways: list[str] | None) -> None:
    from evaluation import peers as table

    unknown = set(ways or ()) - set(table.PEERS)
    if unknown:
        raise typer.BadParameter(f"the ways are: {', '.join(table.PEERS)}")
    table.run(bench, ways or tuple(table.PEERS))


def _eyes(clip: Path | None, model: str | None, inception: Path | None) -> "Eyes":
    from evaluation.errors import MaterialMissing
    from evaluation.lpips import Lpips
    from evaluation.perception import Eyes

    try:
        lpips = Lpips()
    except MaterialMissing as error:
        typer.echo(f"no LPIPS: {error.detail}", err=True)
        lpips = None
    return Eyes(_scorer(clip, model), _features(inception), lpips)


def _features(inception: Path | None) -> "Features | None":
    from evaluation.errors import MaterialMissing
    from evaluation.features import load_features

    try:
        return load_features(inception)
    except MaterialMissing as error:
        if inception is not None:
            raise
        typer.echo(f"no Frechet distance: {error.detail}", err=True)
        return None


def _scorer(clip: Path | None, model: str | None) -> "Scorer | None":
    """The CLIP model given, with its own tokenizer or the pipeline's; else the one that the pipeline ships."""
    from evaluation.clip import load_scorer, pipeline_scorer
    from shared.diffusion.model import EMBEDDED

    if clip is None:
        return pipeline_scorer(Path(model or EMBEDDED))
    own = clip / "tokenizer_config.json"
    return load_scorer(clip, clip if own.is_file() else Path(model or EMBEDDED) / "tokenizer")


def _report(out: Path) -> None:
    from evaluation.report import write_report

    typer.echo(str(write_report(out)))


class _Progress:
    """One bar for the table under way; where there is no terminal, a line a table and then one a minute."""

    EVERY = 60.0  # seconds

    def __init__(self) -> None:
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._told: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            self._line(what, done, total)
            return
        bar = self._bar or self._start()
        if what not in self._tasks:
            self._tasks[what] = bar.add_task(what, total=total)
        if not bar.live.is_started:
            bar.start()
        bar.update(self._tasks[what], completed=done, total=total)
        if done >= total:
            bar.stop()  # leaves the finished bar on the screen

    def _line(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what in self._told and now - self._told[what] < self.EVERY and done < total:
            return
        self._told[what] = now
        typer.echo(f"{what}: {done} of {total}", err=True)

    def _start(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns: list[Any] = [TextColumn("{task.description}"), BarColumn()]
        self._bar = Progress(*columns, MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True))
        return self._bar


_PROGRESS = _Progress()


@app.command()
def codecs(data: Data = None, limit: Limit = 40, seed: Seed = 0) -> None:
    """The codecs of scheme `sealed` on faces: PSNR within a budget of bytes, no model needed."""
    from evaluation.codecs import measure
    from evaluation.data import load_set, pick

    faces = [sample.picture for sample in pick(load_set(data, "eval-faces-00.tar", size=128), limit, seed)]
    typer.echo("| codec | budget | fits | PSNR | bytes | encode ms | decode ms |\n|---|---|---|---|---|---|---|")
    for row in measure(faces):
        figures = f"{row.psnr:.2f} | {row.size:.0f} | {row.encode_ms:.0f} | {row.decode_ms:.0f}"
        typer.echo(f"| {row.codec} | {row.budget} | {row.fits} of {row.faces} | {figures} |")
