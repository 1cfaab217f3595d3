"""The sender's application."""

from fastapi import FastAPI
from pydantic import Field, field_validator

from services.common.app import build_app
from services.common.settings import ORIGIN, ServiceSettings
from services.sender.page import page_router
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
    page: bool = Field(default=True, description="the page at /; 0: none")
    receiver_url: str = Field(
        default="",
        description="the receiver's address as browsers reach it, for the page; empty: the page only hides",
    )

    @field_validator("receiver_url")
    @classmethod
    def check_receiver(cls, value: str) -> str:
        """It goes into a security policy, so it is an origin and nothing else."""
        if value and ORIGIN.fullmatch(value) is None:
            raise ValueError("the receiver's address is http://HOST or https://HOST, with a port where it has one")
        return value


def create_app(settings: SenderSettings | None = None, queue: QueueSettings | None = None) -> FastAPI:
    """The ASGI application; settings that are not given come from the environment."""
    settings = settings or SenderSettings()
    app = build_app(
        kind="hide",
        service="sender",
        summary="Hide a face",
        description=DESCRIPTION,
        router=router,
        fields=HideForm.model_fields,
        settings=settings,
        queue=queue or QueueSettings(),
    )
    if settings.page:
        app.include_router(page_router(settings.receiver_url))
    return app
