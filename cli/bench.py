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
Clients = Annotated[int, typer.Option("--clients", min=1)]
Rounds = Annotated[int, typer.Option("--rounds", min=1)]
BatchSize = Annotated[int, typer.Option("--batch", min=1, help="Batch size of the worker and of the bare core.")]
OUT = Path("runs/bench")
BATCHES, ROUNDS, GPU_BATCHES = [1, 8], [5, 2], [1, 4, 16]


def register(root: typer.Typer) -> None:
    """Add the group `bench` to the command."""
    root.add_typer(app, name="bench")


@app.command()
def core(
    model: Model = None,
    out: Out = OUT,
    note: Note = "",
    threads: Threads = None,
    batch: Annotated[list[int], typer.Option("--batch", min=1, help="May be repeated.")] = BATCHES,
    rounds: Annotated[list[int], typer.Option("--rounds", min=1, help="One for each --batch.")] = ROUNDS,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each walk of the baseline.")] = 60,
    curve: Annotated[bool, typer.Option(help="Also the time-accuracy curve of every solver.")] = True,
    limit: Annotated[int, typer.Option(help="Most evaluations of a point of the curve.")] = 160,
    precision: Annotated[bool, typer.Option(help="Also what a bfloat16 network costs.")] = True,
) -> None:
    """Hide and recover against diffusers' own parts, in turn; evaluations against PSNR; number formats."""
    if len(batch) != len(rounds):
        raise typer.BadParameter("as many --rounds as --batch")
    import torch

    from bench import core as measure
    from bench import curve as curves
    from bench import precision as formats
    from bench import results
    from shared.diffusion.model import DiffusionModel

    count = _threads(threads)
    ratios = measure.run(model, measure.CoreOptions(batch, rounds, steps), typer.echo)
    result: dict[str, Any] = {"ratios": ratios}
    if curve:
        result["curve"] = curves.run(DiffusionModel.load(model), curves.CurveOptions(limit=limit), typer.echo)
        results.curve_plot(result["curve"], out / "curve.png")
    results.write(out / "core.json", _made(count, note), result)  # what follows may take long
    if precision:
        result["precision"] = formats.run(model, [torch.float32, torch.bfloat16], count=8, folder=out, say=typer.echo)
    made = _made(count, note)
    results.write(out / "core.json", made, result)
    goals = {"hide": 5.0, "recover": 10.0}
    results.bar_plot(results.core_bars(ratios), "times as fast as the baseline", out / "core.png", goals)
    results.show("hide and recover", results.CORE_HEAD, results.core_rows(ratios), results.caption(made))
    if precision:
        results.show("number formats", results.PRECISION_HEAD, results.precision_rows(result["precision"]))
    typer.echo(f"{out / 'core.json'}")


def _threads(asked: int | None) -> int:
    """Set torch's threads, and give their number."""
    import torch

    count = asked or int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    torch.set_num_threads(count)
    return count


def _made(threads: int, note: str) -> dict[str, Any]:
    from figures.provenance import provenance

    return provenance(threads=threads, note=note)


@app.command()
def service(
    model: Model = None,
    out: Out = OUT,
    note: Note = "",
    threads: Threads = None,
    clients: Clients = 16,
    batch: BatchSize = 4,
    pictures: Annotated[int, typer.Option(min=1, help="A round of the throughput.")] = 48,
    rounds: Rounds = 3,
    requests: Annotated[int, typer.Option(min=5, help="Of the added latency.")] = 60,
    in_flight: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 500,
    waves: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """The stack against the bare core; latency that it adds; requests in flight; memory; start."""
    from bench import results
    from bench import service as measure

    count = _threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    options = measure.ServiceOptions(
        clients, batch, pictures, rounds, requests, in_flight, waves, threads=count, log=out / "service.log"
    )
    result = measure.run(model, options, typer.echo)
    made = _made(count, note)
    results.write(out / "service.json", made, result)
    results.bar_plot(results.service_bars(result), "share of the bare core", out / "service.png", {"0.9": 0.9})
    results.show("service", ("", "measured", "goal"), results.service_rows(result), results.caption(made))


@app.command()
def workers(
    model: Model = None,
    out: Out = OUT,
    note: Note = "",
    clients: Clients = 16,
    batch: BatchSize = 4,
    pictures: Annotated[int, typer.Option(min=1, help="A round and number of workers.")] = 24,
    rounds: Rounds = 2,
    jobs: Annotated[int, typer.Option(min=1, help="Of the costs of a job.")] = 400,
) -> None:
    """One and two workers of one thread each, and what a job costs each process."""
    from bench import results
    from bench import workers as measure

    out.mkdir(parents=True, exist_ok=True)
    options = measure.WorkersOptions((1, 2), clients, batch, pictures, rounds, jobs, out / "workers.log")
    result = measure.run(model, options, typer.echo)
    made = _made(1, note)
    results.write(out / "workers.json", made, result)
    results.bar_plot(results.workers_bars(result), "pictures a second", out / "workers.png")
    results.show("workers", ("", "measured"), results.workers_rows(result), results.caption(made))


@app.command()
def gpu(
    out: Out = OUT,
    note: Note = "",
    model: Model = None,
    batch: Annotated[list[int], typer.Option("--batch", min=1, help="May be repeated.")] = GPU_BATCHES,
    repeats: Annotated[int, typer.Option(min=1)] = 10,
    device: Annotated[str, typer.Option(help="cpu with --toy checks the program, not a GPU.")] = "cuda",
    toy: Annotated[bool, typer.Option("--toy", help="A network of toy size, plain and bfloat16 only.")] = False,
) -> None:
    """A network of Stable Diffusion 1.5's size at 512 px on a GPU; number formats across GPU and CPU. Needs CUDA."""
    import torch

    from bench import gpu as measure
    from bench import precision as formats
    from bench import results

    ways = [measure.Way("float32"), measure.Way("bfloat16", channels_last=True)] if toy else measure.WAYS
    options = measure.GpuOptions(device, batch, ways, repeats, toy, 256 if toy else 8192)
    speed = measure.run(options, typer.echo)
    devices = list(dict.fromkeys((device, "cpu")))
    dtypes = [torch.float32, torch.bfloat16] if toy else [torch.float32, torch.float16, torch.bfloat16]
    found = formats.run(model, dtypes, devices=devices, count=2 if toy else 8, folder=out, say=typer.echo)
    made = _made(torch.get_num_threads(), note)
    results.write(out / "gpu.json", made, {"speed": speed, "precision": found})
    results.bar_plot(results.gpu_bars(speed), "milliseconds an evaluation", out / "gpu.png")
    results.show("one evaluation", results.GPU_HEAD, results.gpu_rows(speed), results.caption(made))
    results.show("number formats", results.PRECISION_HEAD, results.precision_rows(found))
