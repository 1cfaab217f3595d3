"""`ddsr train`: the stages that make a model, from the data to a pipeline folder."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.errors import InvalidOption

Material = Annotated[
    Path, typer.Option("--material", envvar="DDSR_MATERIAL", help="Folder with the data tars, or its parent.")
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of the run folders.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Seed = Annotated[int, typer.Option(help="Seed of all randomness.")]
Tiny = Annotated[bool, typer.Option("--tiny", help="The size of the tests: seconds on a CPU.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE for a field of the stage's configuration.")]

RUNS = Path("runs")
HELP = "Train a model: vae, clip, diffusion, pack, plan, rates; pcr in between, if wanted; codec; or all. It resumes."

stages = typer.Typer(help=HELP)


def register(app: typer.Typer) -> None:
    app.add_typer(stages, name="train")


def configured(config: Any, changes: list[str] | None) -> Any:
    """The dataclass with NAME=VALUE applied, each value read as the type of the field's present value.

    Raises:
        InvalidOption: an unknown field, or a value that cannot be read.
    """
    for change in changes or ():
        name, _, text = change.partition("=")
        present = getattr(config, name, None)
        if not hasattr(config, name):
            raise InvalidOption(f"the stage has no setting '{name}'")
        try:
            value: Any = float(text) if present is None else type(present)(text)
        except (TypeError, ValueError):
            raise InvalidOption(f"'{text}' is no value for '{name}'") from None
        config = dataclasses.replace(config, **{name: value})
    return config


def _run(stage: Any, full: Any, tiny: bool, changes: list[str] | None, *places: Path, **more: Any) -> None:
    """Run a stage of training, whose module has a configuration of test size, and say where its result lies."""
    typer.echo(stage.train(*places, configured(stage.TINY if tiny else full, changes), **more))


@stages.command()
def vae(material: Material, runs: Runs = RUNS, seed: Seed = 0, tiny: Tiny = False, set: Set = None) -> None:
    """The autoencoder: closed form, then its learned residual."""
    from training import vae as stage

    _run(stage, stage.VaeConfig(), tiny, set, material, runs / "vae", seed=seed)


@stages.command()
def clip(
    material: Material, runs: Runs = RUNS, seed: Seed = 0, tiny: Tiny = False, set: Set = None, device: Device = "cpu"
) -> None:
    """The small image-text model."""
    from training import clip as stage

    _run(stage, stage.ClipConfig(), tiny, set, material, runs / "clip", seed=seed, device=device)


@stages.command()
def diffusion(
    material: Material,
    runs: Runs = RUNS,
    seed: Seed = 0,
    tiny: Tiny = False,
    set: Set = None,
    device: Device = "cpu",
    name: Annotated[str, typer.Option(help="Name of the run folder.")] = "diffusion",
) -> None:
    """The diffusion network on the latents of `vae`, under the text tower of `clip`."""
    from training import diffusion as stage

    places = material, runs / name, runs / "vae" / "vae", runs / "clip" / "clip"
    _run(stage, stage.DiffusionConfig(), tiny, set, *places, seed=seed, device=device)


@stages.command()
def pcr(
    material: Material,
    runs: Runs = RUNS,
    seed: Seed = 0,
    tiny: Tiny = False,
    set: Set = None,
    pipeline: Annotated[Path | None, typer.Option(help="Pipeline to start from; RUNS/model by default.")] = None,
    name: Annotated[str, typer.Option(help="Name of the run folder.")] = "pcr",
) -> None:
    """Prompt consistency regularisation (equation 11). `--set weight=0` trains the ablation."""
    from training import pcr as stage

    places = material, runs / name, pipeline or runs / "model", runs / "clip" / "clip"
    _run(stage, stage.PcrConfig(), tiny, set, *places, seed=seed)


@stages.command()
def codec(material: Material, runs: Runs = RUNS, seed: Seed = 0, tiny: Tiny = False, set: Set = None) -> None:
    """The codec of small faces, for scheme `sealed`."""
    from training import codec as stage

    _run(stage, stage.CodecConfig(), tiny, set, material, runs / "codec", seed=seed)


@stages.command()
def pack(
    runs: Runs = RUNS,
    unet: Annotated[Path | None, typer.Option(help="Network folder; RUNS/diffusion/unet by default.")] = None,
    target: Annotated[Path | None, typer.Option(help="Pipeline folder to write; RUNS/model by default.")] = None,
) -> None:
    """Put the parts together as one pipeline folder."""
    from training.pack import pack as write

    network, scheduler = unet or runs / "diffusion" / "unet", runs / "diffusion" / "scheduler"
    parts = {"vae": runs / "vae" / "vae", "clip": runs / "clip" / "clip", "unet": network, "scheduler": scheduler}
    typer.echo(write(target or runs / "model", **parts))


@stages.command()
def plan(
    material: Material,
    pipeline: Annotated[Path, typer.Argument(help="Pipeline folder; gets its ddsr.json.")],
    seed: Seed = 0,
    tiny: Tiny = False,
    set: Set = None,
) -> None:
    """Measure what the keyed mixing needs to know about the trained model."""
    from training import plan as stage

    config = configured(stage.TINY if tiny else stage.PlanConfig(), set)
    typer.echo(stage.measure(material, pipeline, config, seed=seed))


@stages.command()
def rates(
    material: Material,
    pipeline: Annotated[Path, typer.Argument(help="Pipeline folder with its ddsr.json.")],
    seed: Seed = 0,
    tiny: Tiny = False,
    set: Set = None,
) -> None:
    """Measure how many bits the stegos of the trained model carry through each channel."""
    from training import rates as stage

    config = configured(stage.TINY if tiny else stage.RatesConfig(), set)
    typer.echo(stage.measure(material, pipeline, config, seed=seed))


@stages.command(name="all")
def everything(
    material: Material,
    out: Annotated[Path, typer.Option("--out", help="Folder of what is carried away: model, report, sheet.")],
    budget: Annotated[str, typer.Option(help="Time for all of it, such as 90s, 25m or 2h.")] = "25m",
    device: Device = "cuda",
    runs: Runs = RUNS / "all",
    seed: Seed = 0,
    tiny: Tiny = False,
) -> None:
    """Every stage but codec, one after the other, within a budget; the same command goes on after a kill."""
    from training import everything as every

    config = every.TINY if tiny else every.stages(minutes_of(budget), device)
    typer.echo(every.train(material, runs, out, config, seed=seed, device=device, say=typer.echo))


def minutes_of(text: str) -> float:
    """Raises InvalidOption for what is no number with s, m or h behind it."""
    units = {"s": 1 / 60, "m": 1.0, "h": 60.0}
    try:
        return float(text[:-1]) * units[text[-1:]]
    except (KeyError, ValueError):
        raise InvalidOption(f"'{text}' is no time; write 90s, 25m or 2h") from None
