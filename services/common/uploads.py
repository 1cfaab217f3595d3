"""From the parts of a form to what a job is made of: checked pixels and checked prompts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fastapi import UploadFile

from services.common.context import Context
from services.common.settings import ServiceSettings
from shared.errors import BrokenPicture, DdsrError, InvalidOption, RecipeMismatch
from shared.imaging import Limits, Pixels, decode_photograph, fit_square
from shared.jobs import Picture, WorkerInfo
from shared.prompts import canonical_prompt
from shared.recipe import VERSION, Recipe
from shared.recipe_files import choose_recipe


async def take_upload(context: Context, upload: UploadFile) -> bytes:
    """The bytes of a file part. Closing it at once frees its buffer, which never was a file on disk."""
    data = await upload.read()
    await upload.close()
    context.metrics.upload_bytes.observe(len(data))
    return data


def read_stego(
    context: Context, data: bytes, given: str | None, workers: Sequence[WorkerInfo]
) -> tuple[Picture, Recipe]:
    """The picture, in the model's size, and the recipe of the form, else the one inside the file; blocking.

    Only a stego of the scheme `sealed` may have another size; it is brought to the model's.

    Raises:
        DdsrError: of the picture, before any of the recipe (`shared.imaging`, `choose_recipe`, `check_recipe`).
    """
    size = workers[0].image_size
    try:
        recipe: Recipe | DdsrError = choose_recipe(data, given)
    except DdsrError as error:
        recipe = error
    if isinstance(recipe, Recipe) and recipe.scheme == "sealed":
        pixels = fit_square(upright_picture(context, data), size)
    else:
        pixels = upright_picture(context, data, size)
    if isinstance(recipe, DdsrError):
        raise recipe
    return Picture.from_array(pixels), check_recipe(recipe, workers, context.settings.max_steps)


def upright_picture(context: Context, data: bytes, size: int | None = None) -> Pixels:
    """The pixels of an upload within this service's limits; blocking. See `shared.imaging` for the errors.

    `size`: the edge that it must have. Whatever has another is not decoded.
    """
    with decoding():
        return decode_photograph(data, limits_of(context.settings), size=size).pixels


def limits_of(settings: ServiceSettings) -> Limits:
    """Which pictures this service decodes."""
    return Limits(settings.max_body_bytes, settings.max_pixels, settings.max_side)


@contextmanager
def decoding() -> Iterator[None]:
    """Decoders raise what they like on a malformed file (`struct.error` for an EXIF), and may quote it."""
    try:
        yield
    except DdsrError:
        raise
    except Exception:
        raise BrokenPicture("the picture is damaged") from None


def check_prompt(text: str, name: str, longest: int, version: int = VERSION) -> str:
    """The prompt as it is, if a recipe of `version` can be made of it.

    Raises:
        InvalidPrompt: see `shared.prompts`.
        PromptTooLong: more than `longest` characters in its canonical form. The worker counts the tokens.
    """
    canonical_prompt(text, version, name=name, longest=longest)
    return text


def check_steps(steps: int | None, most: int) -> int | None:
    """The number of steps as it is; InvalidOption for more than this service computes."""
    if steps is not None and steps > most:
        raise InvalidOption(f"steps is at most {most} here; take fewer")
    return steps


def check_recipe(recipe: Recipe, workers: Sequence[WorkerInfo], most_steps: int) -> Recipe:
    """The recipe as it is, if a worker holds its model.

    Raises:
        RecipeMismatch: it belongs to another model.
        InvalidOption: it asks for more steps than this service computes.
    """
    if recipe.model not in {worker.model for worker in workers}:
        raise RecipeMismatch("no worker holds the model that the recipe names; recover where its model is served")
    check_steps(recipe.steps, most_steps)
    return recipe
