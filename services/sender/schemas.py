"""The form of `POST /hide`."""

from typing import Annotated

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from services.common.submit import Webhook
from shared.faces import FaceCrop
from shared.imaging import PictureFormat


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
            description="The secret under which the face is hidden; kept for this request only",
            json_schema_extra={"minLength": 1, "maxLength": 256},
            examples=["the red kite over Ullapool, 1987"],
        ),
    ]
    disguise_prompt: Annotated[
        str,
        Field(
            description="Public: what the picture shall show, 1 to 256 characters; it travels in the recipe",
            json_schema_extra={"minLength": 1, "maxLength": 256},
            examples=["a photo of an old man with a beard"],
        ),
    ]
    steps: Annotated[
        int | None,
        Field(default=None, ge=1, le=1000, description="diffusion steps; default: the model's", examples=[50]),
    ]
    format: Annotated[
        PictureFormat | None,
        Field(
            default=None,
            description="of the answer; default: what `Accept` likes best. A lossy one costs fidelity",
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
