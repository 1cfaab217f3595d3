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
    rounds: Annotated[list[int], typer.Option("--rounds", min=1, help="One for each --batch.")] = [5, 2],  # noqa: B006
    steps: Annotated[int, typer.Option(min=1, help="Steps of each walk of the baseline.")] = 60,
    curve: Annotated[bool, typer.Option(help="Also the time-accuracy curve of every solver.")] = True,
    limit: Annotated[int, typer.Option(help="Most evaluations of a point of the curve.")] = 160,
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
    here = machine.describe(count, note)
    report.write(out / "core.json", here, result)  # what follows may take long
    if precision:
        result["precision"] = formats.run(model, [torch.float32, torch.bfloat16], count=8, folder=out, say=typer.echo)
    here = machine.describe(count, note)
    report.write(out / "core.json", here, result)
    goals = {"hide": 5.0, "recover": 10.0}
    report.bar_plot(report.core_bars(result["ratios"]), "times as fast as the baseline", out / "core.png", goals)
    report.show("hide and recover", report.CORE_HEAD, report.core_rows(result["ratios"]), machine.line(here))
    if precision:
        report.show("number formats", report.PRECISION_HEAD, report.precision_rows(result["precision"]))
    typer.echo(f"{out / 'core.json'}")


def _threads(asked: int | None) -> int:
    return asked or int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


@app.command()
def service(
    model: Model = None, out: Out = OUT, note: Note = "", threads: Threads = None,
    clients: Annotated[int, typer.Option(min=1)] = 16,
    batch: Annotated[int, typer.Option(min=1, help="Batch size of the worker and of the bare core.")] = 4,
    pictures: Annotated[int, typer.Option(min=1, help="A round of the throughput.")] = 48,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    requests: Annotated[int, typer.Option(min=5, help="Of the added latency.")] = 60,
    in_flight: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 500,
    waves: Annotated[int, typer.Option(min=1)] = 3,
) -> None:  # fmt: skip
    """The stack against the bare core; latency that it adds; requests in flight; memory; start."""
    import torch

    count = _threads(threads)
    torch.set_num_threads(count)
    from bench import machine, report
    from bench import service as measure

    out.mkdir(parents=True, exist_ok=True)
    options = measure.ServiceOptions(
        clients, batch, pictures, rounds, requests, in_flight, waves, threads=count, log=out / "service.log"
    )
    result = measure.run(model, options, typer.echo)
    here = machine.describe(count, note)
    report.write(out / "service.json", here, result)
    report.bar_plot(report.service_bars(result), "share of the bare core", out / "service.png", {"0.9": 0.9})
    report.show("service", ("", "measured", "goal"), report.service_rows(result), machine.line(here))


@app.command()
def workers(
    model: Model = None, out: Out = OUT, note: Note = "",
    clients: Annotated[int, typer.Option(min=1)] = 16,
    batch: Annotated[int, typer.Option(min=1)] = 4,
    pictures: Annotated[int, typer.Option(min=1, help="A round and number of workers.")] = 24,
    rounds: Annotated[int, typer.Option(min=1)] = 2,
    jobs: Annotated[int, typer.Option(min=1, help="Of the costs of a job.")] = 400,
) -> None:  # fmt: skip
    """One and two workers of one thread each, and what a job costs each process."""
    from bench import machine, report
    from bench import workers as measure

    out.mkdir(parents=True, exist_ok=True)
    options = measure.WorkersOptions((1, 2), clients, batch, pictures, rounds, jobs, out / "workers.log")
    result = measure.run(model, options, typer.echo)
    here = machine.describe(1, note)
    report.write(out / "workers.json", here, result)
    report.bar_plot(report.workers_bars(result), "pictures a second", out / "workers.png")
    report.show("workers", ("", "measured"), report.workers_rows(result), machine.line(here))


@app.command()
def gpu(
    out: Out = OUT, note: Note = "", model: Model = None,
    batch: Annotated[list[int], typer.Option("--batch", min=1, help="May be repeated.")] = [1, 4, 16],  # noqa: B006
    repeats: Annotated[int, typer.Option(min=1)] = 10,
    device: Annotated[str, typer.Option(help="cpu with --toy checks the program, not a GPU.")] = "cuda",
    toy: Annotated[bool, typer.Option("--toy", help="A network of toy size, plain and bfloat16 only.")] = False,
) -> None:  # fmt: skip
    """A network of Stable Diffusion 1.5's size at 512 px on a GPU; number formats across GPU and CPU. Needs CUDA."""
    import torch

    from bench import gpu as measure
    from bench import machine, report
    from bench import precision as formats

    ways = [measure.Way("float32"), measure.Way("bfloat16", channels_last=True)] if toy else measure.WAYS
    options = measure.GpuOptions(device, batch, ways, repeats, toy, 256 if toy else 8192)
    result: dict[str, Any] = {"speed": measure.run(options, typer.echo)}
    devices = list(dict.fromkeys((device, "cpu")))
    dtypes = [torch.float32, torch.bfloat16] if toy else [torch.float32, torch.float16, torch.bfloat16]
    result["precision"] = formats.run(model, dtypes, devices=devices, count=2 if toy else 8, folder=out, say=typer.echo)
    here = machine.describe(torch.get_num_threads(), note)
    report.write(out / "gpu.json", here, result)
    report.bar_plot(report.gpu_bars(result["speed"]), "milliseconds an evaluation", out / "gpu.png")
    report.show("one evaluation", report.GPU_HEAD, report.gpu_rows(result["speed"]), machine.line(here))
    report.show("number formats", report.PRECISION_HEAD, report.precision_rows(result["precision"]))
