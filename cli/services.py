"""`ddsr eval services`: verification services as judges. Faces go to nobody who is not named by --send-faces-to."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli import evaluate


def register(root: typer.Typer) -> None:
    """Add the command to the group `eval`."""
    evaluate.app.command()(services)


def services(
    send_faces_to: Annotated[
        list[str] | None,
        typer.Option(help="Service that gets the faces: compreface, faceplusplus, tencent, aliyun; may be repeated."),
    ] = None,
    data: evaluate.Data = None,
    model: evaluate.Model = None,
    scheme: evaluate.SchemeName = "keyed",
    limit: evaluate.Limit = 20,
    seed: evaluate.Seed = 0,
    out: evaluate.Out = Path("runs/eval"),
    batch: evaluate.Batch = 8,
    device: evaluate.Device = "cpu",
    pairs: Annotated[int, typer.Option(min=4, help="Pairs of strangers; half as many of one person.")] = 100,
    most_requests: Annotated[
        int, typer.Option(min=1, help="Requests to a service in this run, failed ones too.")
    ] = 300,
    per_second: Annotated[float, typer.Option(min=0.01, help="Requests to a service in a second.")] = 1.0,
) -> None:
    """Fig. 7: CompreFace, Face++, Tencent Cloud and Aliyun compare recovered faces with their originals.

    Sends photographs of people to the services that --send-faces-to names; without it, says what would be sent.
    Addresses and keys come from the environment: docs/results/README.md.
    """
    from evaluation.services import table
    from evaluation.services.asking import Bounds
    from evaluation.services.providers import SERVICES
    from shared.diffusion.walks import HideOptions

    options = table.ServiceOptions(HideOptions(scheme), pairs)
    if not send_faces_to:
        count = options.questions(limit)
        typer.echo(f"nothing was sent. --send-faces-to NAME sends {count} pairs of faces to: {', '.join(SERVICES)}")
        return
    if unknown := [name for name in send_faces_to if name not in SERVICES]:
        raise typer.BadParameter(f"unknown service {unknown[0]}; there are: {', '.join(SERVICES)}")
    asked = [SERVICES[name](os.environ) for name in dict.fromkeys(send_faces_to)]
    bench = evaluate.bench_of(data, model, limit, seed, out, batch, device, ["none"])
    table.run(bench, asked, options, Bounds(most_requests, per_second))
    evaluate.report(out)
