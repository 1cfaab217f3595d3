"""The form of `POST /recover`."""

from typing import Annotated

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from services.common.openapi import EXAMPLE_PROMPT
from services.common.submit import PROMPT_LENGTHS, Webhook
from shared.recipe import MAX_TEXT


class RecoverForm(BaseModel):
    """What `POST /recover` takes. An unknown field is refused: it may be a misspelt option."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    stego: Annotated[
        UploadFile,
        Field(
            description="The picture that hides the face: PNG, JPEG or WebP, by content; in the sender's size, "
            "unless it is of `sealed`"
        ),
    ]
    identity_prompt: Annotated[
        SecretStr,
        Field(
            description="The secret under which the face was hidden; a wrong one gives an error or a stranger",
            json_schema_extra=PROMPT_LENGTHS,
            examples=[EXAMPLE_PROMPT],
        ),
    ]
    recipe: Annotated[
        str | None,
        Field(
            default=None,
            max_length=MAX_TEXT,
            description="The sender's `DDSR-Recipe`; needed where the channel took it out of the picture. It must not "
            "contradict the one inside",
        ),
    ]
    decoy: Annotated[
        bool,
        Field(
            default=False,
            description="of `sealed`: where the prompt is wrong or the stego beyond repair, a stranger drawn by the "
            "model in place of the error `not-authentic`; `DDSR-Authentic` says which it is",
        ),
    ]
    webhook: Webhook
