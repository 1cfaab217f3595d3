"""The sender's application."""

from fastapi import FastAPI
from pydantic import Field

from services.common.app import build_app
from services.common.settings import ServiceSettings
from services.sender.routes import router
from services.sender.schemas import HideForm
from shared.settings import QueueSettings

DESCRIPTION = """
Hides a face in an innocent diffusion picture. Any photograph of a face works: it is turned by its EXIF, cut
to the largest centred square (`crop=face`: to the face) and resized to the model's size, unless `crop=none`.
The receiver needs the picture, the identity prompt and the recipe; the recipe travels in the file and in the
header `DDSR-Recipe`.
"""


class SenderSettings(ServiceSettings):
    """As `ServiceSettings`; the port is `DDSR_SENDER_PORT`."""

    port: int = Field(default=8001, ge=0, le=65535, validation_alias="DDSR_SENDER_PORT")


def create_app(settings: SenderSettings | None = None, queue: QueueSettings | None = None) -> FastAPI:
    """The ASGI application; settings that are not given come from the environment."""
    return build_app(
        kind="hide",
        service="sender",
        summary="Hide a face",
        description=DESCRIPTION,
        router=router,
        fields=HideForm.model_fields,
        settings=settings or SenderSettings(),
        queue=queue or QueueSettings(),
    )
