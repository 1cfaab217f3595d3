"""The two functions that a queue entry may name. They are never called: `worker.batching` computes a whole batch at
once, and takes from an entry no more than the job's id. Any other RQ worker that meets one fails here."""


def hide(job_id: str) -> None:
    _refuse()


def recover(job_id: str) -> None:
    _refuse()


def _refuse() -> None:
    raise RuntimeError("a job of ddsr needs the worker of ddsr")
