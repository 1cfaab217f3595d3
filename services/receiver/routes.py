"""`POST /recover`."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Header, Request, Response

from services.common.auth import AuthenticatedRoute
from services.common.context import Context, context_of
from services.common.openapi import EXAMPLE_PROMPT, submission_docs
from services.common.preferences import Preference
from services.common.submit import Submission, SubmitHeaders, picture_format, preference_of, submit
from services.common.uploads import check_prompt, read_stego, take_upload
from services.receiver.schemas import RecoverForm
from shared.errors import MissingRecipe, NotAuthentic, RecipeError, RecipeMismatch
from shared.jobs import RecoverRequest

router = APIRouter(tags=["recover"], route_class=AuthenticatedRoute)
EXAMPLE: dict[str, Any] = {
    "stego": "@stego.png",
    "identity_prompt": EXAMPLE_PROMPT,
}


@router.post(
    "/recover",
    operation_id="recover",
    summary="Recover a hidden face",
    response_class=Response,
    **submission_docs(
        EXAMPLE,
        MissingRecipe,
        RecipeError,
        RecipeMismatch,
        NotAuthentic,
        headers=("DDSR-Authentic",),
        file_field="stego",
    ),
)
async def recover(
    request: Request,
    form: Annotated[RecoverForm, Form(media_type="multipart/form-data")],
    headers: Annotated[SubmitHeaders, Header()],
) -> Response:
    """The answer is a face.

    Of the scheme `sealed` it is the sender's, bit for bit, and `DDSR-Authentic` is `true`; with a wrong prompt, or a
    stego changed beyond repair, the answer is 422 `not-authentic`, or with `decoy=true` a stranger and `false`.

    Of `keyed` and `paper` a wrong prompt is no error: it gives 200 and a stranger's picture. Whether the face is the
    right one, only its holder's own verification decides.
    """
    context = context_of(request)
    submission = await _read(request, context, form, preference_of(request, context))
    return await submit(request, context, submission, headers, form.webhook)


async def _read(request: Request, context: Context, form: RecoverForm, preference: Preference) -> Submission:
    """The checked request. A function of its own, so that the upload's bytes are gone before the waiting."""
    chosen = picture_format(request, None, preference)
    workers = await context.run_redis(context.store.workers)
    data = await take_upload(context, form.stego)
    picture, recipe = await context.run_decoding(read_stego, context, data, form.recipe, workers)
    prompt = form.identity_prompt
    check_prompt(prompt.get_secret_value(), "identity_prompt", context.settings.max_prompt, recipe.version)
    return Submission(RecoverRequest(picture, prompt, recipe, chosen, form.decoy), workers)
