"""`ddsr bench`: how fast, measured against what a user would write with diffusers' own parts."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Measure speed: ratios to the baseline, the stack, workers, a GPU.")

Out = Annotated[Path, typer.Option("--out", help="Folder of the JSON files and plots.")]
Model = Annotated[Path | None, typer.Option("--model", help="Pipeline folder; default: the embedded model.")]
Note = Annotated[str, typer.Option("--note", help="What else ran at the time; goes into the JSON.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads of torch; default: all cores.")]
OUT = Path("runs/bench")


def register(root: typer.Typer) -> None:
    """Add the group `bench` to the command."""
    root.add_typer(app, name="bench")


@app.command()
def core(
    model: Model = None, out: Out = OUT, note: Note = "", threads: Threads = None,
    batch: Annotated[list[int], typer.Option("--batch", min=1, help="May be repeated.")] = [1, 8],  # noqa: B006
    rounds: Annotated[list[int], typer.Option("--rounds", min=1, help="One for each --batch.")] = [5, 3],  # noqa: B006
    steps: Annotated[int, typer.Option(min=1, help="Steps of each walk of the baseline.")] = 60,
    curve: Annotated[bool, typer.Option(help="Also the time-accuracy curve of every solver.")] = True,
    limit: Annotated[int, typer.Option(help="Most evaluations of a point of the curve.")] = 200,
    precision: Annotated[bool, typer.Option(help="Also what a bfloat16 network costs.")] = True,
) -> None:  # fmt: skip
    """Hide and recover against diffusers' own parts, in turn; evaluations against PSNR; number formats."""
    if len(batch) != len(rounds):
        raise typer.BadParameter("as many --rounds as --batch")
    import torch

    count = _threads(threads)
    torch.set_num_threads(count)
    from bench import core as measure
    from bench import curve as curves
    from bench import machine, report
    from bench import precision as formats
    from shared.diffusion.model import DiffusionModel

    result: dict[str, Any] = {"ratios": measure.run(model, measure.CoreOptions(batch, rounds, steps), typer.echo)}
    if curve:
        result["curve"] = curves.run(DiffusionModel.load(model), curves.CurveOptions(limit=limit), typer.echo)
        report.curve_plot(result["curve"], out / "curve.png")
    if precision:
        result["precision"] = formats.run(model, [torch.float32, torch.bfloat16])
    here = machine.describe(count, note)
    report.write(out / "core.json", here, result)
    report.show("hide and recover", report.CORE_HEAD, report.core_rows(result["ratios"]), machine.line(here))
    if precision:
        head = ("sender's network", "receiver's network", "PSNR, dB", "worst")
        report.show("number formats", head, report.precision_rows(result["precision"]))
    typer.echo(f"{out / 'core.json'}")


def _threads(asked: int | None) -> int:
    return asked or int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
