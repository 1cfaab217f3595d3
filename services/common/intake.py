"""From the parts of a form to what a job is made of: checked pixels and checked prompts."""

import unicodedata
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
    InvalidPrompt,
    MissingRecipe,
    NoWorker,
    PromptTooLong,
    QueueUnavailable,
    RecipeMismatch,
)
from shared.imaging import Limits, Pixels, decode_photograph, read_recipe
from shared.jobs import Picture
from shared.recipe import Recipe


@dataclass(frozen=True)
class Fleet:
    """What the live workers want: the edge of a picture in pixels, and which models a recipe may name."""

    size: int
    models: tuple[str, ...]


async def fleet_of(context: Context) -> Fleet:
    """Ask the queue for its workers.

    Raises:
        QueueUnavailable: Redis does not answer.
        NoWorker: there is no live worker, hence nobody to seal to and no size to fit to.
    """
    health = await context.ask(context.store.health)
    if not health.redis:
        raise QueueUnavailable("Redis does not answer")
    if health.image_size is None:
        raise NoWorker("no live worker with a trusted key")
    return Fleet(health.image_size, health.models)


async def take_upload(context: Context, upload: UploadFile) -> bytes:
    """The bytes of a file part. Closing it at once frees its buffer, which never was a file on disk."""
    data = await upload.read()
    await upload.close()
    context.metrics.upload_bytes.observe(len(data))
    return data


async def take_picture(context: Context, data: bytes, size: int) -> Picture:
    """Decode and check a picture of the model's size in a thread; see `shared.imaging` for the errors."""
    return Picture.from_array(await context.compute(upright_picture, context, data, size))


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


def check_prompt(text: str, name: str, longest: int) -> str:
    """The prompt as it is.

    Raises:
        InvalidPrompt: it is empty, blank, or holds control characters.
        PromptTooLong: more than `longest` characters. The worker counts the tokens.
    """
    if len(text) > longest:
        raise PromptTooLong(f"{name} has at most {longest} characters")
    if not text.strip():
        raise InvalidPrompt(f"{name} is empty")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise InvalidPrompt(f"{name} holds a control character")
    return text


def check_steps(steps: int | None, most: int) -> int | None:
    """The number of steps as it is; InvalidOption for more than this service computes."""
    if steps is not None and steps > most:
        raise InvalidOption(f"steps is at most {most} here")
    return steps


def take_recipe(given: str | None, stego: bytes, models: Container[str], most_steps: int) -> str:
    """The recipe of the form, else the one inside the stego, checked against the workers' models.

    Raises:
        MissingRecipe: there is none.
        RecipeError: it cannot be read. RecipeMismatch: it belongs to another model or version.
        InvalidOption: it asks for more steps than this service computes.
    """
    with decoding():
        text = given or read_recipe(stego)
    if not text:
        raise MissingRecipe("the stego carries no recipe; send the field `recipe`")
    recipe = Recipe.from_text(text)
    if recipe.model not in models:
        raise RecipeMismatch("no worker holds the model that the recipe names")
    check_steps(recipe.steps, most_steps)
    return text
