"""The receiver's application."""

from fastapi import FastAPI
from pydantic import Field

from services.common.app import build_app
from services.common.settings import ServiceSettings
from services.receiver.routes import router
from services.receiver.schemas import RecoverForm
from shared.settings import QueueSettings

DESCRIPTION = """
Recovers a face from the picture that hides it. Of the scheme `sealed` the face is authentic, or the answer is 422
`not-authentic`. Of `keyed` and `paper` a wrong identity prompt is answered with 200 and a stranger's picture: only the
holder's own verification of the face decides.
"""


class ReceiverSettings(ServiceSettings):
    """As `ServiceSettings`; the port is `DDSR_RECEIVER_PORT`."""

    port: int = Field(default=8002, ge=0, le=65535, validation_alias="DDSR_RECEIVER_PORT")


def create_app(settings: ReceiverSettings | None = None, queue: QueueSettings | None = None) -> FastAPI:
    """The ASGI application; settings that are not given come from the environment."""
    return build_app(
        kind="recover",
        service="receiver",
        summary="Recover a face",
        description=DESCRIPTION,
        router=router,
        fields=RecoverForm.model_fields,
        settings=settings or ReceiverSettings(),
        queue=queue or QueueSettings(),
    )
