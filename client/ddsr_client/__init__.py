"""Client of the DDSR services: hide a face in an innocent picture and get it back.

from ddsr_client import Client, Secret

secret = Secret.from_file("prompt.txt")
with Client() as client:
    stego = client.hide("face.jpg", secret, "a glacier under a blue sky")
    face = client.recover(stego, secret)
    face.save("face.png")
"""

from ddsr_client.aio import AsyncClient, AsyncJobHandle
from ddsr_client.errors import (
    ChannelTooPoor,
    ClientError,
    ConfigurationError,
    ConnectionFailed,
    IdempotencyConflict,
    IdempotencyMismatch,
    InvalidInput,
    JobCancelled,
    JobFailed,
    JobGone,
    JobNotFound,
    JobNotReady,
    JobProblem,
    NotAuthentic,
    PictureRefused,
    Problem,
    PromptRefused,
    RateLimited,
    RecipeRefused,
    ServiceError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    WaitTimeout,
)
from ddsr_client.models import Box, Channel, Crop, Failure, Job, Kind, PictureFormat, Scheme, State
from ddsr_client.pictures import Picture, PictureSource
from ddsr_client.retry import Retry
from ddsr_client.secret import Secret
from ddsr_client.sync import Client, JobHandle

__all__ = [
    "AsyncClient",
    "AsyncJobHandle",
    "Box",
    "Channel",
    "ChannelTooPoor",
    "Client",
    "ClientError",
    "ConfigurationError",
    "ConnectionFailed",
    "Crop",
    "Failure",
    "IdempotencyConflict",
    "IdempotencyMismatch",
    "InvalidInput",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobGone",
    "JobHandle",
    "JobNotFound",
    "JobNotReady",
    "JobProblem",
    "Kind",
    "NotAuthentic",
    "Picture",
    "PictureFormat",
    "PictureRefused",
    "PictureSource",
    "Problem",
    "PromptRefused",
    "RateLimited",
    "RecipeRefused",
    "Retry",
    "Scheme",
    "Secret",
    "ServiceError",
    "State",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "WaitTimeout",
]
