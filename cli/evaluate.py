"""`ddsr eval`: the tables of the evaluation, each alone or all in one run folder."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.progress import Progress

if TYPE_CHECKING:
    from evaluation.bench import Bench

app = typer.Typer(no_args_is_help=True, help="Measure a model: the paper's tables, side by side with the paper.")
progress = Progress()
OUT = Path("runs/eval")

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


def register(root: typer.Typer) -> None:
    """Add the group `eval` to the command."""
    root.add_typer(app, name="eval")


def bench_of(
    data: Data = None,
    model: Model = None,
    limit: Limit = 40,
    seed: Seed = 0,
    out: Out = OUT,
    batch: Batch = 8,
    device: Device = "cpu",
    recogniser: Recognisers = None,
) -> "Bench":
    """What all tables about faces share; these are the options of each."""
    from evaluation.setup import make_bench
    from shared.diffusion.model import DiffusionModel

    loaded, names = DiffusionModel.load(model, device=device), _chosen(recogniser)
    return make_bench(loaded, out, data=data, limit=limit, seed=seed, batch=batch, names=names, progress=progress)


def table(limit: int, name: str | None = None) -> Callable[[Callable[..., None]], None]:
    """Make a command of a function that takes a bench and options of its own: the command takes those of `bench_of`,
    too, `limit` faces by default, and writes the report at its end."""

    def add(measure: Callable[..., None]) -> None:
        own = {name: option for name, option in signature(measure).parameters.items() if name != "bench"}
        common = dict(signature(bench_of).parameters)
        common["limit"] = common["limit"].replace(default=limit)

        def command(**given: Any) -> None:
            bench = bench_of(**{name: given[name] for name in common})
            measure(bench, **{name: given[name] for name in own})
            report(bench.out)

        options = [option.replace(kind=option.KEYWORD_ONLY) for option in (own | common).values()]
        command.__signature__ = signature(command).replace(parameters=options)  # type: ignore[attr-defined]
        command.__annotations__ = {option.name: option.annotation for option in options}
        command.__name__, command.__doc__ = measure.__name__, measure.__doc__
        app.command(name)(command)

    return add


def _chosen(names: list[str] | None) -> Sequence[str]:
    from evaluation import recognisers

    return recognisers.DEFAULT if names is None else [name for name in names if name != "none"]


def report(out: Path) -> None:
    from evaluation.report import write_report

    typer.echo(str(write_report(out)))


def _say(words: str) -> None:
    typer.echo(words, err=True)


@app.command()
def instruments(
    data: Data = None,
    out: Out = OUT,
    seed: Seed = 0,
    recogniser: Recognisers = None,
    scenes: Annotated[int | None, typer.Option(min=1, help="Pictures without faces; default: all.")] = None,
) -> None:
    """The face detector and the recognisers on real pictures: rates and thresholds, no model needed."""
    from evaluation import setup

    setup.instruments(out, data=data, names=_chosen(recogniser), scenes=scenes, seed=seed, progress=progress)
    report(out)


@table(limit=40)
def reversibility(
    bench: "Bench",
    model: Model = None,
    scheme: SchemeName = "keyed",
    steps: Steps = None,
    solver: SolverName = None,
    clip: Clip = None,
    inception: Inception = None,
    channels: Annotated[bool, typer.Option(help="Through the channels of Table 4, too (robustness has more).")] = False,
    attacks: Annotated[bool, typer.Option(help="Recover under wrong prompts, too.")] = True,
) -> None:
    """Table 1 and Fig. 7: the recovered face, verification, attacks without the prompt."""
    from evaluation import reversibility as measure
    from evaluation.degradations import TABLE_4
    from evaluation.optional import perceptual_metrics
    from shared.diffusion.walks import HideOptions

    hide = HideOptions(scheme, solver, steps)
    options = measure.ReversibilityOptions(hide, attacks, TABLE_4 if channels else ())
    measure.run(bench, options, perceptual_metrics(clip, model, inception, _say))


@table(limit=40)
def security(
    bench: "Bench",
    scheme: SchemeName = "keyed",
    steps: Steps = None,
    solver: SolverName = None,
    inception: Inception = None,
    epochs: Epochs = 30,
) -> None:
    """Fig. 8, Tables 2 and 3: steganalysis, a trained detector, the recognition attack."""
    from evaluation import security as measure
    from evaluation.optional import frechet_features, photographs
    from shared.diffusion.walks import HideOptions

    options = measure.SecurityOptions(HideOptions(scheme, solver, steps), epochs, photographs(bench, _say))
    measure.run(bench, options, frechet_features(inception, _say))


@table(limit=20)
def robustness(bench: "Bench", scheme: Schemes = None) -> None:
    """Table 4 and Fig. 9: every degradation, one curve a scheme."""
    from evaluation import robustness as measure

    measure.run(bench, scheme or measure.SCHEMES)


@table(limit=40)
def ablation(
    bench: "Bench",
    without: Annotated[str, typer.Option("--without", help="Pipeline folder of the weights trained without PCR.")],
    model: Model = None,
    scheme: SchemeName = "keyed",
    clip: Clip = None,
    inception: Inception = None,
) -> None:
    """Table 5 and Fig. 10: --model (with PCR) against --without."""
    from evaluation import ablation as measure
    from evaluation.optional import perceptual_metrics
    from shared.diffusion.walks import HideOptions

    measure.run(bench, without, HideOptions(scheme), perceptual_metrics(clip, model, inception, _say))


@table(limit=20)
def keys(bench: "Bench", model: Model = None, scheme: Schemes = None) -> None:
    """Ours: what one gets without the key, linkage to a gallery, known pairs, other machines."""
    from evaluation import keys as measure
    from evaluation.optional import halves

    measure.run(bench, scheme or measure.COMPARED, halves(model, str(bench.model.device)))


@table(limit=20)
def peers(
    bench: "Bench",
    way: Annotated[list[str] | None, typer.Option("--way", "--scheme", help="Way; may be repeated.")] = None,
) -> None:
    """Ours: the published ways and ours on one model."""
    from evaluation import peers as measure

    if set(way or ()) - set(measure.PEERS):
        raise typer.BadParameter(f"the ways are: {', '.join(measure.PEERS)}")
    measure.run(bench, way or tuple(measure.PEERS))


@table(limit=40)
def sealed(
    bench: "Bench",
    channel: Annotated[list[str] | None, typer.Option("--channel", help="Channel; may be repeated.")] = None,
    steps: Steps = None,
) -> None:
    """Ours: the scheme `sealed` through its channels: what arrives, how good the face is, what is refused."""
    from evaluation import authenticity
    from shared.limits import CHANNELS

    authenticity.run(bench, channel or CHANNELS, steps)


@app.command()
def stegos(
    model: Model = None,
    seed: Seed = 0,
    out: Out = OUT,
    device: Device = "cpu",
    steps: Steps = None,
    limit: Annotated[int, typer.Option("--limit", min=26, help="Stegos, over all kinds of scene.")] = 500,
    batch: Batch = 16,
    epochs: Annotated[int, typer.Option("--epochs", min=0, help="Of the small detector; 0 leaves it out.")] = 8,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Default: torch's own number.")] = None,
) -> None:
    """Ours: would one take the stegos for photographs? Distances, grid, right scene, faces, classifiers."""
    import torch

    from evaluation import stegos as measure
    from evaluation.alignment import FaceFinder
    from evaluation.features import efficientnet
    from evaluation.optional import frechet_features
    from shared.diffusion.model import DiffusionModel
    from shared.diffusion.walks import HideOptions

    if threads is not None:
        torch.set_num_threads(threads)
    beside = frechet_features(None, _say)
    features = (efficientnet(), *([beside] if beside else []))
    judge = measure.Judge(FaceFinder(), features, limit, seed, batch, epochs, HideOptions(steps=steps), progress)
    measure.run(DiffusionModel.load(model, device=device), out, judge)
    report(out)


@table(limit=24, name="all")
def everything(
    bench: "Bench",
    data: Data = None,
    model: Model = None,
    limit: Limit = 24,
    recogniser: Recognisers = None,
    scheme: SchemeName = "keyed",
    clip: Clip = None,
    inception: Inception = None,
    without: Annotated[str | None, typer.Option("--without", help="As of ablation; None leaves that out.")] = None,
    epochs: Epochs = 30,
    compared: Annotated[
        int | None, typer.Option(min=2, help="Faces of the tables that compare schemes; default: a third of --limit.")
    ] = None,
) -> None:
    """Every table into one report. Robustness, keys and peers, which also walk the published 60 steps, take --compared
    faces; hidings and recoveries are shared among all tables."""
    from evaluation import ablation, keys, optional, peers, reversibility, robustness, security, setup
    from shared.diffusion.walks import HideOptions

    hide = HideOptions(scheme)
    few = replace(bench, faces=bench.faces[: min(limit, compared or max(2, limit // 3))])
    metrics = optional.perceptual_metrics(clip, model, inception, _say)
    names = _chosen(recogniser)
    setup.instruments(bench.out, data=data, names=names, scenes=200, seed=bench.seed, progress=progress)
    reversibility.run(bench, reversibility.ReversibilityOptions(hide, degradations=()), metrics)
    report(bench.out)
    photographs = optional.photographs(bench, _say)
    security.run(bench, security.SecurityOptions(hide, epochs, photographs), metrics.features)
    robustness.run(few)
    report(bench.out)
    keys.run(few, halves=optional.halves(model, str(bench.model.device)))
    peers.run(few)
    if without is not None:
        ablation.run(bench, without, hide, metrics)


@app.command()
def publish(
    out: Out = OUT,
    to: Annotated[Path, typer.Option("--to", help="Folder that keeps the report.")] = Path("docs/results"),
) -> None:
    """Write the report anew and copy it, its pictures and all figures (`tables.json`) to a folder that is kept."""
    from evaluation.report import publish as copy

    typer.echo(str(copy(out, to)))


@app.command()
def codecs(data: Data = None, limit: Limit = 40, seed: Seed = 0) -> None:
    """The codecs of scheme `sealed` on faces: PSNR within a budget of bytes, no model needed."""
    from evaluation.codecs import rows_of
    from evaluation.data import load_set, pick
    from evaluation.setup import FACES
    from figures.tables import markdown

    faces = [sample.picture for sample in pick(load_set(data, FACES, size=128), limit, seed)]
    head = ("codec", "budget", "fits", "PSNR", "bytes", "encode ms", "decode ms")
    typer.echo("\n".join(markdown(head, rows_of(faces))[:-1]))
