"""`POST /hide`."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Header, Request, Response

from services.common.auth import AuthenticatedRoute
from services.common.context import Context, context_of
from services.common.openapi import EXAMPLE_PROMPT, submission_docs
from services.common.preferences import Preference
from services.common.schemas import SubmittedJob
from services.common.submit import Submission, SubmitHeaders, picture_format, preference_of, submit
from services.common.uploads import check_prompt, check_steps, decoding, limits_of, take_upload
from services.sender.schemas import HideForm
from shared.errors import ChannelTooPoor, NoFace, SeveralFaces
from shared.faces import Box, FaceCrop, decode_and_fit
from shared.jobs import HideRequest, Picture
from shared.limits import channel_and_size

router = APIRouter(tags=["hide"], route_class=AuthenticatedRoute)
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
    submission = await _read(request, context, form, preference_of(request, context))
    return await submit(request, context, submission, headers, form.webhook)


async def _read(request: Request, context: Context, form: HideForm, preference: Preference) -> Submission:
    """The checked request. A function of its own, so that the upload's bytes are gone before the waiting."""
    longest = context.settings.max_prompt
    check_prompt(form.identity_prompt.get_secret_value(), "identity_prompt", longest)
    check_prompt(form.disguise_prompt, "disguise_prompt", longest)
    steps = check_steps(form.steps, context.settings.max_steps)
    chosen = picture_format(request, form.format, preference)
    scheme = form.scheme or context.settings.scheme
    channel, size = channel_and_size(scheme, form.channel, form.face_size, chosen)
    workers = await context.run_redis(context.store.workers)
    data = await take_upload(context, form.image)
    picture, box = await context.run_decoding(_fitted, context, data, size or workers[0].image_size, form.crop)
    job = HideRequest(
        picture, form.identity_prompt, form.disguise_prompt, scheme, steps=steps, channel=channel, format=chosen
    )
    return Submission(job, workers, box)


def _fitted(context: Context, data: bytes, size: int, crop: FaceCrop) -> tuple[Picture, Box | None]:
    with decoding():
        rgb, box = decode_and_fit(data, size, crop, limits_of(context.settings))
    return Picture.from_array(rgb), box
