"""From the parts of a form to what a job is made of: checked pixels and checked prompts."""

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import UploadFile

from services.common.context import Context
from services.common.settings import ServiceSettings
from shared.errors import (
    BrokenPicture,
    DdsrError,
    InvalidOption,
    RecipeMismatch,
)
from shared.imaging import Limits, Pixels, decode_photograph, fit_square
from shared.jobs import Picture
from shared.prompts import canonical_prompt
from shared.recipe import VERSION, Recipe
from shared.recipe_files import choose_recipe


@dataclass(frozen=True)
class Fleet:
    """What the live workers want: the edge of a picture in pixels, and which models a recipe may name."""

    size: int
    models: tuple[str, ...]


async def fleet_of(context: Context) -> Fleet:
    """Ask the queue for its workers.

    Raises:
        QueueUnavailable: Redis does not answer.
        KeyFileError: the file of the workers' public keys cannot be used.
        NoWorker: there is no live worker, hence nobody to seal to and no size to fit to.
    """
    workers = await context.run_redis(context.store.workers)
    return Fleet(workers[0].image_size, tuple(sorted({worker.model for worker in workers})))


async def take_upload(context: Context, upload: UploadFile) -> bytes:
    """The bytes of a file part. Closing it at once frees its buffer, which never was a file on disk."""
    data = await upload.read()
    await upload.close()
    context.metrics.upload_bytes.observe(len(data))
    return data


async def take_picture(context: Context, data: bytes, size: int, *, scaled: bool = False) -> Picture:
    """Decode and check a picture of the model's size in a thread; see `shared.imaging` for the errors.

    `scaled`: bring a square of another size to the model's.
    """
    if not scaled:
        return Picture.from_array(await context.run_decoding(upright_picture, context, data, size))
    pixels = await context.run_decoding(upright_picture, context, data)
    return Picture.from_array(await context.run_decoding(fit_square, pixels, size))


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


def is_sealed(given: str | None, stego: bytes) -> bool:
    """Whether a stego is of the scheme `sealed`, as far as its recipe can be read: such a one may have any size."""
    try:
        return choose_recipe(stego, given).scheme == "sealed"
    except DdsrError:
        return False


def take_recipe(given: str | None, stego: bytes, models: Container[str], most_steps: int) -> Recipe:
    """The recipe of the form, else the one inside the stego, checked against the workers' models.

    Raises:
        MissingRecipe: there is none.
        RecipeError: it cannot be read.
        RecipeMismatch: it belongs to another model or version, or is not the one inside the stego.
        InvalidOption: it asks for more steps than this service computes.
    """
    recipe = choose_recipe(stego, given)
    if recipe.model not in models:
        raise RecipeMismatch("no worker holds the model that the recipe names; recover where its model is served")
    check_steps(recipe.steps, most_steps)
    return recipe
