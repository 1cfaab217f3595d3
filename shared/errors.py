"""Every error that DDSR raises on purpose.

    DdsrError
    |-- InputError (400)              the caller's data is at fault
    |   |-- UnsupportedPicture (415)  not one of the accepted picture formats
    |   |-- BrokenPicture (422)       an accepted format that cannot be decoded
    |   |-- PictureTooLarge (413)     too many bytes or pixels
    |   |-- WrongPictureSize (422)    the picture does not have the size that the model or `crop=none` demands
    |   |-- NoFace (422)              `crop=face`, and no face was found
    |   |-- SeveralFaces (422)        `crop=face`, and more than one face was found
    |   |-- InvalidPrompt (422)       an empty prompt, or one with control characters
    |   |-- PromptTooLong (422)       more characters or tokens than the text encoder reads
    |   |-- InvalidOption (422)       an unknown scheme, solver, step count or format
    |   |-- RecipeError (422)         a recipe that cannot be read
    |   |-- MissingRecipe (422)       neither the stego nor the request carries a recipe
    |   `-- RecipeMismatch (409)      a recipe of another model or version
    |-- QueueError (503)              the queue cannot take or show a job now; see `retry_after`
    |   |-- QueueFull (503)           as many jobs wait as the queue may hold
    |   |-- NoWorker (503)            no live worker with a trusted key
    |   `-- QueueUnavailable (503)    Redis cannot be reached or refuses to write
    |-- JobError                      what a job's own life can end in
    |   |-- JobNotFound (404)         no such job, or one of another owner
    |   |-- JobNotReady (409)         the job is still queued or running
    |   |-- JobCancelled (409)        the job was cancelled
    |   |-- JobGone (410)             the result was read or has expired
    |   |-- JobTimeout (503)          the computation took longer than a job may
    |   |-- WorkerLost (503)          every attempt ended with the loss of its worker, or Redis lost the job
    |   `-- ComputationFailed (500)   the computation failed for this job
    |-- IdempotencyConflict (409)     a job of this idempotency key is still in flight
    |-- IdempotencyMismatch (422)     the idempotency key was used with another request
    |-- EnvelopeError (500)           a sealed message cannot be opened, whatever the reason
    |-- KeyFileError (500)            a key file is missing, damaged or readable by others
    |-- ModelError (500)              the model cannot be loaded or does not fit the method
    `-- SolverError (500)             an implicit step did not reach its tolerance

`code` is stable and meant for programs, `title` for people; `detail` never holds a prompt, a key or a
picture.
"""

from typing import ClassVar


class DdsrError(Exception):
    """Base of all deliberate errors. `detail` is safe to show to the caller and to log."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title


class InputError(DdsrError):
    code, status, title = "bad-input", 400, "The request cannot be used"


class UnsupportedPicture(InputError):
    code, status, title = "unsupported-picture", 415, "The picture format is not supported"


class BrokenPicture(InputError):
    code, status, title = "broken-picture", 422, "The picture cannot be decoded"


class PictureTooLarge(InputError):
    code, status, title = "picture-too-large", 413, "The picture is too large"


class WrongPictureSize(InputError):
    code, status, title = "wrong-picture-size", 422, "The picture has the wrong size"


class NoFace(InputError):
    code, status, title = "no-face", 422, "No face was found"


class SeveralFaces(InputError):
    code, status, title = "several-faces", 422, "More than one face was found"


class InvalidPrompt(InputError):
    code, status, title = "invalid-prompt", 422, "The prompt cannot be used"


class PromptTooLong(InputError):
    code, status, title = "prompt-too-long", 422, "The prompt is too long"


class InvalidOption(InputError):
    code, status, title = "invalid-option", 422, "An option has an unknown value"


class RecipeError(InputError):
    code, status, title = "invalid-recipe", 422, "The recipe cannot be read"


class MissingRecipe(InputError):
    code, status, title = "missing-recipe", 422, "No recipe was found"


class RecipeMismatch(InputError):
    code, status, title = "recipe-mismatch", 409, "The recipe belongs to another model or version"


class ModelError(DdsrError):
    code, status, title = "model-error", 500, "The model cannot be used"


class SolverError(DdsrError):
    code, status, title = "solver-error", 500, "The solver did not converge"


class QueueError(DdsrError):
    code, status, title = "queue-error", 503, "The queue cannot be used now"
    retry_after: ClassVar[int] = 5


class QueueFull(QueueError):
    code, title = "queue-full", "The queue is full"
    retry_after = 10


class NoWorker(QueueError):
    code, title = "no-worker", "No worker is ready"


class QueueUnavailable(QueueError):
    code, title = "queue-unavailable", "The queue cannot be reached"


class JobError(DdsrError):
    code, status, title = "job-error", 500, "The job cannot be served"


class JobNotFound(JobError):
    code, status, title = "job-not-found", 404, "No such job"


class JobNotReady(JobError):
    code, status, title = "job-not-ready", 409, "The job is not finished"


class JobCancelled(JobError):
    code, status, title = "job-cancelled", 409, "The job was cancelled"


class JobGone(JobError):
    code, status, title = "job-gone", 410, "The result is gone"


class JobTimeout(JobError):
    code, status, title = "job-timeout", 503, "The job took too long"


class WorkerLost(JobError):
    code, status, title = "worker-lost", 503, "The job was lost"


class ComputationFailed(JobError):
    code, status, title = "computation-failed", 500, "The computation failed"


class IdempotencyConflict(DdsrError):
    """`job_id` names the job in flight."""

    code, status, title = "idempotency-conflict", 409, "A request with this idempotency key is in flight"

    def __init__(self, detail: str = "", *, job_id: str = "") -> None:
        super().__init__(detail)
        self.job_id = job_id


class IdempotencyMismatch(DdsrError):
    code, status, title = "idempotency-mismatch", 422, "The idempotency key belongs to another request"


class EnvelopeError(DdsrError):
    code, status, title = "envelope-error", 500, "A sealed message cannot be opened"


class KeyFileError(DdsrError):
    code, status, title = "key-file", 500, "A key file cannot be used"


def error_from_code(code: str, detail: str = "") -> DdsrError:
    """The error of a failed job's record, rebuilt from its stable code; unknown: the base class."""
    waiting = [DdsrError]
    while waiting:
        kind = waiting.pop()
        if kind.code == code:
            return kind(detail)
        waiting.extend(kind.__subclasses__())
    return DdsrError(detail)
