"""`ddsr eval`: the tables of the evaluation, each alone or all in one run folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from evaluation.bench import Bench
    from evaluation.clip import Scorer
    from evaluation.features import Features
    from shared.diffusion.model import DiffusionModel

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
    typer.Option("--recogniser", help="Name, or NAME=PATH of an ONNX or TorchScript file; may be repeated."),
]
Clip = Annotated[Path | None, typer.Option("--clip", help="Folder of a CLIP model that judges the stego pictures.")]
Inception = Annotated[Path | None, typer.Option("--inception", help="TorchScript file of the FID's Inception.")]
Without = Annotated[str | None, typer.Option("--without", help="Pipeline folder of the weights trained without PCR.")]


def register(root: typer.Typer) -> None:
    """Add the group `eval` to the command."""
    root.add_typer(app, name="eval")


@app.command()
def instruments(data: Data = None, out: Out = Path("runs/eval"), recogniser: Recognisers = None) -> None:
    """The face detector and the recognisers on real pictures: rates and thresholds, no model needed."""
    from evaluation import recognisers
    from evaluation.setup import instruments as measure

    measure(out, data=data, names=recognisers.DEFAULT if recogniser is None else recogniser)
    _report(out)


@app.command()
def reversibility(
    data: Data = None, model: Model = None, scheme: SchemeName = "keyed", limit: Limit = 40, seed: Seed = 0,
    out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu", steps: Steps = None,
    solver: SolverName = None, recogniser: Recognisers = None, clip: Clip = None,
) -> None:  # fmt: skip
    """Table 1 and Fig. 7: the recovered face, verification, attacks, the channels of Table 4."""
    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    _reversibility(bench, scheme, solver, steps, _scorer(clip, model))
    _report(out)


@app.command()
def security(
    data: Data = None, model: Model = None, scheme: SchemeName = "keyed", limit: Limit = 40, seed: Seed = 0,
    out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu", steps: Steps = None,
    solver: SolverName = None, recogniser: Recognisers = None, inception: Inception = None,
    epochs: Annotated[int, typer.Option(help="Of the trained detector; 0 leaves it out.")] = 30,
) -> None:  # fmt: skip
    """Fig. 8, Tables 2 and 3: steganalysis, a trained detector, the recognition attack."""
    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    _security(bench, scheme, solver, steps, epochs, inception)
    _report(out)


@app.command()
def robustness(
    data: Data = None, model: Model = None, scheme: Annotated[list[str] | None, typer.Option("--scheme")] = None,
    limit: Limit = 20, seed: Seed = 0, out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu",
) -> None:  # fmt: skip
    """Table 4 and Fig. 9: every degradation, one curve a scheme."""
    from evaluation import robustness as table

    bench = _bench(data, model, limit, seed, out, batch, device, [])
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
    _ablation(bench, without, scheme, _scorer(clip, model), inception)
    _report(out)


@app.command()
def keys(
    data: Data = None, model: Model = None, scheme: Annotated[list[str] | None, typer.Option("--scheme")] = None,
    limit: Limit = 20, seed: Seed = 0, out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu",
    recogniser: Recognisers = None,
) -> None:  # fmt: skip
    """Ours: what one gets without the key, linkage to a gallery, known pairs, other machines."""
    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    _keys(bench, model, scheme)
    _report(out)


@app.command()
def peers(
    data: Data = None, model: Model = None, way: Annotated[list[str] | None, typer.Option("--way")] = None,
    limit: Limit = 20, seed: Seed = 0, out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu",
    recogniser: Recognisers = None,
) -> None:  # fmt: skip
    """Ours: the published ways and ours on one model."""
    from evaluation import peers as table

    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    table.run(bench, way or tuple(table.PEERS))
    _report(out)


@app.command(name="all")
def everything(
    data: Data = None, model: Model = None, scheme: SchemeName = "keyed", limit: Limit = 24, seed: Seed = 0,
    out: Out = Path("runs/eval"), batch: Batch = 8, device: Device = "cpu", recogniser: Recognisers = None,
    clip: Clip = None, inception: Inception = None, without: Without = None,
) -> None:  # fmt: skip
    """Every table into one report. The slower ones (robustness, keys, peers) take half of --limit."""
    from evaluation import peers as peers_table
    from evaluation import robustness as robustness_table

    scorer = _scorer(clip, model)
    bench = _bench(data, model, limit, seed, out, batch, device, recogniser)
    _reversibility(bench, scheme, None, None, scorer)
    _security(bench, scheme, None, None, 30, inception)
    small = _fewer(bench, max(2, limit // 2))
    robustness_table.run(small)
    _keys(small, model, None)
    peers_table.run(small)
    if without is not None:
        _ablation(bench, without, scheme, scorer, inception)
    _report(out)


def _bench(
    data: str | None, model: str | None, limit: int, seed: int, out: Path, batch: int, device: str,
    names: list[str] | None,
) -> "Bench":  # fmt: skip
    from evaluation import recognisers
    from evaluation.setup import make_bench

    chosen = recognisers.DEFAULT if names is None else names
    loaded = _model(model, device)
    return make_bench(loaded, out, data=data, limit=limit, seed=seed, batch=batch, names=chosen, progress=_Progress())


def _model(source: str | None, device: str) -> "DiffusionModel":
    from shared.diffusion.model import DiffusionModel

    return DiffusionModel.load(source, device=device)


def _fewer(bench: "Bench", count: int) -> "Bench":
    from dataclasses import replace

    return replace(bench, faces=bench.faces[:count])


def _reversibility(bench: "Bench", scheme: str, solver: str | None, steps: int | None, scorer: "Scorer | None") -> None:
    from evaluation import reversibility as table
    from shared.diffusion.pipeline import HideOptions

    table.run(bench, table.ReversibilityOptions(HideOptions(scheme, solver, steps)), scorer)


def _security(
    bench: "Bench", scheme: str, solver: str | None, steps: int | None, epochs: int, inception: Path | None
) -> None:
    from evaluation import security as table
    from evaluation.data import load_set, pick, stack
    from evaluation.errors import MaterialMissing
    from evaluation.setup import SCENES
    from shared.diffusion.pipeline import HideOptions

    try:
        scenes = load_set(None, SCENES, size=bench.model.image_size)
        photographs = stack(pick(scenes, 2 * len(bench.faces), bench.seed))
    except MaterialMissing as error:
        typer.echo(f"Table 3 goes without photographs: {error.detail}", err=True)
        photographs = None
    options = table.SecurityOptions(HideOptions(scheme, solver, steps), epochs, photographs)
    table.run(bench, options, _features(inception))


def _ablation(bench: "Bench", without: str, scheme: str, scorer: "Scorer | None", inception: Path | None) -> None:
    from evaluation import ablation as table
    from evaluation.lpips import Lpips
    from shared.diffusion.pipeline import HideOptions

    models = {"with": bench.model, "without": _model(without, bench.device)}
    features = _features(inception)
    lpips = None if features is None else Lpips()
    table.run(bench, models, HideOptions(scheme), scorer=scorer, features=features, lpips=lpips)


def _keys(bench: "Bench", model: str | None, schemes: list[str] | None) -> None:
    import torch

    from evaluation import keys as table
    from shared.diffusion.model import DiffusionModel

    half = DiffusionModel.load(model, device=bench.device, dtype=torch.bfloat16)
    table.run(bench, schemes or table.COMPARED, half)


def _features(inception: Path | None) -> "Features | None":
    from evaluation.errors import MaterialMissing
    from evaluation.features import load_features

    try:
        return load_features(inception)
    except MaterialMissing as error:
        typer.echo(f"no Frechet distance and no LPIPS: {error.detail}", err=True)
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
    """One bar for the table under way, on a terminal only."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns: list[Any] = [TextColumn("{task.description}"), BarColumn()]
        self._bar = Progress(*columns, MofNCompleteColumn(), TimeRemainingColumn())
        self._shown = self._bar.console.is_terminal
        self._tasks: dict[str, Any] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self._shown:
            return
        if not self._bar.live.is_started:
            self._bar.start()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[what], completed=done, total=total)
        if done >= total and all(task.finished for task in self._bar.tasks):
            self._bar.stop()
