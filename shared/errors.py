"""Every error that DDSR raises on purpose.

    DdsrError
    |-- InputError (400)              the caller's data is at fault
    |   |-- UnsupportedPicture (415)  not one of the accepted picture formats
    |   |-- BrokenPicture (422)       an accepted format that cannot be decoded
    |   |-- PictureTooLarge (413)     too many bytes or pixels
    |   |-- WrongPictureSize (422)    the picture does not have the size that the model or `crop=none` demands
    |   |-- InvalidPrompt (422)       an empty prompt, or one with control characters
    |   |-- PromptTooLong (422)       more characters or tokens than the text encoder reads
    |   |-- InvalidOption (422)       an unknown scheme, solver, step count or format
    |   |-- RecipeError (422)         a recipe that cannot be read
    |   |-- MissingRecipe (422)       neither the stego nor the request carries a recipe
    |   `-- RecipeMismatch (409)      a recipe of another model or version
    |-- ModelError (500)              the model cannot be loaded or does not fit the method
    `-- SolverError (500)             an implicit step did not reach its tolerance

`code` is stable and meant for programs, `title` for people; `detail` never holds a prompt, a key or a picture.
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
