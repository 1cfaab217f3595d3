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
Seed = Annotated[int, typer.Option(help="Seed of all randomness.")]
Tiny = Annotated[bool, typer.Option("--tiny", help="The size of the tests: seconds on a CPU.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE for a field of the stage's configuration.")]

stages = typer.Typer(
    help="Train a model: vae, clip, diffusion, pack, plan, rates; pcr in between, if wanted; codec. Training resumes."
)


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


@stages.command()
def vae(material: Material, runs: Runs = Path("runs"), seed: Seed = 0, tiny: Tiny = False, set: Set = None) -> None:
    """The autoencoder: closed form, then its learned residual."""
    from training import vae as stage

    typer.echo(
        stage.train(material, runs / "vae", configured(stage.TINY if tiny else stage.VaeConfig(), set), seed=seed)
    )


@stages.command()
def clip(material: Material, runs: Runs = Path("runs"), seed: Seed = 0, tiny: Tiny = False, set: Set = None) -> None:
    """The small image-text model."""
    from training import clip as stage

    config = configured(stage.TINY if tiny else stage.ClipConfig(), set)
    typer.echo(stage.train(material, runs / "clip", config, seed=seed))


@stages.command()
def diffusion(
    material: Material, runs: Runs = Path("runs"), seed: Seed = 0, tiny: Tiny = False, set: Set = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    name: Annotated[str, typer.Option(help="Name of the run folder.")] = "diffusion",
) -> None:  # fmt: skip
    """The diffusion network on the latents of `vae`, under the text tower of `clip`."""
    from training import diffusion as stage

    config = configured(stage.TINY if tiny else stage.DiffusionConfig(), set)
    parts = runs / "vae" / "vae", runs / "clip" / "clip"
    typer.echo(stage.train(material, runs / name, *parts, config, seed=seed, device=device))


@stages.command()
def pcr(
    material: Material, runs: Runs = Path("runs"), seed: Seed = 0, tiny: Tiny = False, set: Set = None,
    pipeline: Annotated[Path | None, typer.Option(help="Pipeline to start from; RUNS/model by default.")] = None,
    name: Annotated[str, typer.Option(help="Name of the run folder.")] = "pcr",
) -> None:  # fmt: skip
    """Prompt consistency regularisation (equation 11). `--set weight=0` trains the ablation."""
    from training import pcr as stage

    config = configured(stage.TINY if tiny else stage.PcrConfig(), set)
    start = pipeline or runs / "model"
    typer.echo(stage.train(material, runs / name, start, runs / "clip" / "clip", config, seed=seed))


@stages.command()
def codec(material: Material, runs: Runs = Path("runs"), seed: Seed = 0, tiny: Tiny = False, set: Set = None) -> None:
    """The codec of small faces, for scheme `sealed`."""
    from training import codec as stage

    config = configured(stage.TINY if tiny else stage.CodecConfig(), set)
    typer.echo(stage.train(material, runs / "codec", config, seed=seed))


@stages.command()
def pack(
    runs: Runs = Path("runs"),
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
    material: Material, pipeline: Annotated[Path, typer.Argument(help="Pipeline folder; gets its ddsr.json.")],
    seed: Seed = 0, tiny: Tiny = False, set: Set = None,
) -> None:  # fmt: skip
    """Measure what the keyed mixing needs to know about the trained model."""
    from training import plan as stage

    typer.echo(
        stage.measure(material, pipeline, configured(stage.TINY if tiny else stage.PlanConfig(), set), seed=seed)
    )


@stages.command()
def rates(
    material: Material, pipeline: Annotated[Path, typer.Argument(help="Pipeline folder with its ddsr.json.")],
    seed: Seed = 0, tiny: Tiny = False, set: Set = None,
) -> None:  # fmt: skip
    """Measure how many bits the stegos of the trained model carry through each channel."""
    from training import rates as stage

    config = configured(stage.TINY if tiny else stage.RatesConfig(), set)
    typer.echo(stage.measure(material, pipeline, config, seed=seed))
