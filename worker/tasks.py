"""The two functions that a queue entry may name. The work itself is done by `worker.batching` for a whole
batch
before; these only collect that it was, so that the queue's own books are closed for each job."""

_settled: set[tuple[str, str]] = set()


def settle(kind: str, job_id: str) -> None:
    """Called by the batch worker once a job's record needs nothing more."""
    _settled.add((kind, job_id))


def hide(job_id: str) -> None:
    _collect("hide", job_id)


def recover(job_id: str) -> None:
    _collect("recover", job_id)


def _collect(kind: str, job_id: str) -> None:
    try:
        _settled.remove((kind, job_id))
    except KeyError:
        raise RuntimeError("a job of ddsr needs the worker of ddsr") from None
