"""`ddsr jobs`: the caller's jobs at running services, by their HTTP API. Where they are, and the key, are the client's
settings: `DDSR_SENDER_URL`, `DDSR_RECEIVER_URL`, `DDSR_API_KEY_FILE`.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, TypeVar, cast, get_args

import typer

from shared.errors import NotAuthentic

if TYPE_CHECKING:
    from ddsr_client import Client, Job, JobHandle, Kind, State

T = TypeVar("T")
REFUSED = 5  # exit code: a stego does not open under its prompt
FAILED = 3  # exit code: a job or a service failed

JobId = Annotated[str, typer.Argument(help="Id of the job, as `ddsr jobs list` shows it.")]
OfKind = Annotated[str | None, typer.Option("--kind", help="hide (the sender's) or recover (the receiver's).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a job on standard output.")]


def register(app: typer.Typer) -> None:
    """Add `ddsr jobs list | show | cancel | wait`."""
    jobs = typer.Typer(
        help="Your jobs at running services: DDSR_SENDER_URL, DDSR_RECEIVER_URL, with the key of DDSR_API_KEY_FILE.",
        no_args_is_help=True,
    )

    @jobs.command("list")
    def list_jobs(
        kind: OfKind = None,
        state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; may be repeated.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="Jobs of each service at most.")] = 20,
        as_json: AsJson = False,
    ) -> None:
        """List jobs, newest first, those of the sender before those of the receiver."""
        states = _states(state or [])
        with _client() as client:
            for one in _kinds(kind):
                for job in islice(client.jobs(one, states=states), limit):
                    _say(job, as_json)

    @jobs.command()
    def show(
        job_id: JobId,
        kind: OfKind = None,
        as_json: AsJson = False,
    ) -> None:
        """Show a job as it is now."""
        with _client() as client:
            _say(_found(client, kind, job_id, lambda handle: handle.status()), as_json)

    @jobs.command()
    def cancel(
        job_id: JobId,
        kind: OfKind = None,
        as_json: AsJson = False,
    ) -> None:
        """End a job. The picture of one that is done is dropped."""
        with _client() as client:
            _say(_found(client, kind, job_id, lambda handle: handle.cancel()), as_json)

    @jobs.command()
    def wait(
        job_id: JobId,
        timeout: Annotated[float, typer.Option(min=0, help="Seconds.")] = 300.0,
        kind: OfKind = None,
        as_json: AsJson = False,
    ) -> None:
        """Wait for a job's end; exit with 3 (a wrong prompt: 5) where it is not `done`, or the time is over."""
        with _client() as client:
            _found(client, kind, job_id, lambda handle: handle.status())
            job = _found(client, kind, job_id, lambda handle: handle.wait(timeout))
            _say(job, as_json)
        if job.state != "done":
            raise typer.Exit(REFUSED if job.error and job.error.code == NotAuthentic.code else FAILED)

    app.add_typer(jobs, name="jobs")


@contextmanager
def _client() -> "Iterator[Client]":
    """A client; what it cannot do becomes one line and an exit code."""
    try:
        from ddsr_client import Client, ClientError, ConfigurationError, JobNotFound, Problem, Retry, Unauthenticated
    except ImportError:
        typer.echo("ddsr: the client is not installed: pip install ./client", err=True)
        raise typer.Exit(FAILED) from None
    try:
        with Client(retry=Retry(tries=2)) as client:
            yield client
    except ClientError as error:
        usage = isinstance(error, ConfigurationError | JobNotFound | Unauthenticated)
        usage = usage or (isinstance(error, Problem) and 400 <= error.status < 429)
        typer.echo(f"ddsr: {error}", err=True)
        raise typer.Exit(1 if usage else FAILED) from None


def _found(client: "Client", kind: str | None, job_id: str, act: "Callable[[JobHandle], T]") -> T:
    """What `act` gives of the job at the service that has it. Raises JobNotFound."""
    from ddsr_client import JobNotFound

    *first, last = _kinds(kind)
    for one in first:
        try:
            return act(client.job(one, job_id))
        except JobNotFound:
            continue
    return act(client.job(last, job_id))


def _kinds(kind: str | None) -> "tuple[Kind, ...]":
    from ddsr_client.models import KINDS

    if kind is not None and kind not in KINDS:
        raise typer.BadParameter(f"one of {', '.join(KINDS)}", param_hint="--kind")
    return KINDS if kind is None else (kind,)


def _states(states: list[str]) -> "list[State]":
    from ddsr_client import State

    if not set(states) <= set(get_args(State)):
        raise typer.BadParameter(f"one of {', '.join(get_args(State))}", param_hint="--state")
    return cast("list[State]", states)


def _say(job: "Job", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(job)))
        return
    more = ""
    if job.error is not None:
        more = job.error.code
    elif job.state == "queued" and job.position:
        more = f"place {job.position}"
    elif job.state == "running" and job.steps:
        more = f"step {job.step or 0} of {job.steps}"
    typer.echo(f"{job.id}  {job.kind:<7}  {job.state:<9}  {job.created or '':<20.20}  {more}".rstrip())
