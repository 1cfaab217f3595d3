"""`POST /hide`."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Header, Request, Response

from services.common.context import Context, context_of
from services.common.guard import GuardedRoute
from services.common.intake import check_prompt, check_steps, decoding, fleet_of, limits_of, take_upload
from services.common.openapi import EXAMPLE_PROMPT, submission_docs
from services.common.preferences import Preference
from services.common.schemas import SubmittedJob
from services.common.submit import SubmitHeaders, picture_format, preference_of, submit
from services.sender.schemas import HideForm
from shared.errors import ChannelTooPoor, InvalidOption, NoFace, SeveralFaces
from shared.faces import Box, FaceCrop, decode_and_fit
from shared.imaging import PictureFormat
from shared.jobs import HideRequest, Picture
from shared.limits import DEFAULT_CHANNEL, DEFAULT_FACE_SIZE, FACE_SIZES, Channel, Scheme

router = APIRouter(tags=["hide"], route_class=GuardedRoute)
EXAMPLE: dict[str, Any] = {
    "image": "@examples/portrait.jpg",
    "identity_prompt": EXAMPLE_PROMPT,
    "disguise_prompt": "a glacier under a blue sky",
    "format": "png",
}


@router.post(
    "/hide",
    operation_id="hide",
    summary="Hide a face in an innocent picture",
    response_class=Response,
    **submission_docs(
        EXAMPLE, NoFace, SeveralFaces, ChannelTooPoor, file_field="image", accepted=SubmittedJob, headers=("DDSR-Crop",)
    ),
)
async def hide(
    request: Request,
    form: Annotated[HideForm, Form(media_type="multipart/form-data")],
    headers: Annotated[SubmitHeaders, Header()],
) -> Response:
    """The answer is the picture, with its recipe in `DDSR-Recipe`; or 202 and a job, as `Prefer` asks.

    `DDSR-Crop` (and `crop` in the job of a 202) says what was cut from the upright picture, and whether it was the
    face or the centre. It is said here only: the queue is not told where in a photograph a face was.
    """
    context = context_of(request)
    job, box = await _read(request, context, form, preference_of(request, context))
    return await submit(request, context, job, headers, form.webhook, crop=box)


async def _read(
    request: Request, context: Context, form: HideForm, preference: Preference
) -> tuple[HideRequest, Box | None]:
    """The checked request. A function of its own, so that the upload's bytes are gone before the waiting."""
    longest = context.settings.max_prompt
    check_prompt(form.identity_prompt.get_secret_value(), "identity_prompt", longest)
    check_prompt(form.disguise_prompt, "disguise_prompt", longest)
    steps = check_steps(form.steps, context.settings.max_steps)
    chosen = picture_format(request, form.format, preference)
    scheme, channel = _way(form, context.settings.scheme, chosen)
    fleet = await fleet_of(context)
    data = await take_upload(context, form.image)
    size = (form.face_size or DEFAULT_FACE_SIZE) if scheme == "sealed" else fleet.size
    picture, box = await context.compute(_fitted, context, data, size, form.crop)
    job = HideRequest(
        picture, form.identity_prompt, form.disguise_prompt, scheme, steps=steps, channel=channel, format=chosen
    )
    return job, box


def _way(form: HideForm, default: Scheme, chosen: PictureFormat) -> tuple[Scheme, Channel]:
    """Scheme and channel of a form.

    Raises:
        InvalidOption: an option of another scheme, or a file that the channel would not let through.
    """
    scheme, channel = form.scheme or default, form.channel or DEFAULT_CHANNEL
    if scheme != "sealed":
        if form.channel is not None or form.face_size is not None:
            raise InvalidOption(f"channel and face_size are of the scheme sealed, not of {scheme}; leave them out")
        return scheme, channel
    if form.face_size not in (None, *FACE_SIZES):
        raise InvalidOption(f"face_size is one of: {', '.join(map(str, FACE_SIZES))}")
    if chosen != "png" and channel == "lossless":
        raise InvalidOption(f"a {chosen} file is no lossless channel; name another one, or take format=png")
    return scheme, channel


def _fitted(context: Context, data: bytes, size: int, crop: FaceCrop) -> tuple[Picture, Box | None]:
    with decoding():
        rgb, box = decode_and_fit(data, size, crop, limits_of(context.settings))
    return Picture.from_array(rgb), box
