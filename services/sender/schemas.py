"""The form of `POST /hide`."""

from typing import Annotated

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from services.common.openapi import EXAMPLE_PROMPT
from services.common.submit import PROMPT_LENGTHS, Webhook
from shared.faces import FaceCrop
from shared.imaging import PictureFormat
from shared.limits import DEFAULT_FACE_SIZE, FACE_SIZES, MAX_PROMPT, MAX_STEPS, Channel, Scheme


class HideForm(BaseModel):
    """What `POST /hide` takes. An unknown field is refused: it may be a misspelt option."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    image: Annotated[
        UploadFile,
        Field(
            description="The face: JPEG, PNG, WebP, AVIF or HEIC, by content. Turned by its EXIF, "
            "converted to sRGB; all metadata is dropped"
        ),
    ]
    identity_prompt: Annotated[
        SecretStr,
        Field(
            description="The secret under which the face is hidden: a description and five random words, since whoever "
            "has the stego can try prompts without end. Kept for this request only",
            json_schema_extra=PROMPT_LENGTHS,
            examples=[EXAMPLE_PROMPT],
        ),
    ]
    disguise_prompt: Annotated[
        str,
        Field(
            description=f"Public: what the picture shall show, 1 to {MAX_PROMPT} characters; it travels in the recipe",
            json_schema_extra=PROMPT_LENGTHS,
            examples=["a glacier under a blue sky"],
        ),
    ]
    steps: Annotated[
        int | None,
        Field(
            default=None,
            ge=1,
            description="diffusion steps; default: the model's",
            json_schema_extra={"maximum": MAX_STEPS},
            examples=[9],
        ),
    ]
    scheme: Annotated[
        Scheme | None,
        Field(
            default=None,
            description="`sealed`: the face as authenticated bits, which the right prompt opens and no other; "
            "`keyed`: the paper's inversion with a real key, any prompt gives a face; "
            "`paper`: as published, without a key, for comparison only. Default: the deployment's",
        ),
    ]
    channel: Annotated[
        Channel | None,
        Field(
            default=None,
            description="of `sealed`: what the stego shall survive. `lossless` (the default): bit for bit; "
            "`jpeg`: JPEG 80, WebP 80; `messenger`: JPEG 40, scaling to three quarters, noise; "
            "`degraded`: JPEG 20, strong noise. The rougher, the coarser the face",
        ),
    ]
    face_size: Annotated[
        int | None,
        Field(
            default=None,
            description="of `sealed`: edge in pixels of the face that comes back; default: "
            f"{DEFAULT_FACE_SIZE}. The larger, the less each pixel gets",
            json_schema_extra={"enum": list(FACE_SIZES)},
            examples=[DEFAULT_FACE_SIZE],
        ),
    ]
    format: Annotated[
        PictureFormat | None,
        Field(
            default=None,
            description="of the answer; default: PNG, unless `Accept` excludes it. A lossy one costs fidelity",
            examples=["png"],
        ),
    ]
    crop: Annotated[
        FaceCrop,
        Field(
            default="auto",
            description="`auto` cuts the square around the face if exactly one is found, else as `centre`; "
            "`centre` cuts the largest centred square and resizes it to the model's size; "
            "`face` finds the one face, or says that there is none, or several; "
            "`none` demands a picture of exactly the model's size",
            examples=["auto"],
        ),
    ]
    webhook: Webhook
