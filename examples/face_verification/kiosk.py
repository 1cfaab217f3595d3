"""The kiosk: captures a face, hides it through the sender, and sends the stego, and nothing else, to the backend.

    python -m examples.face_verification.kiosk eileen --picture face.jpg --prompts prompts.json --key-file backend.key

The identity prompt comes from `--prompts` (the kiosk's copy of the file that the backend has) and goes to the sender
only. The sender is the kiosk's own, on its own machine or behind TLS: `DDSR_SENDER_URL`. Prints the backend's answer.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import httpx

from ddsr_client import Client, ClientError, Picture, Secret
from examples.face_verification.register import RegisterError, image_id, read_prompts

DISGUISE = "a glacier under a blue sky"
ALIKE = 0.5  # the similarity that the backend gives at its threshold
NO_FACE = 28  # CompreFace's code of a picture without one
PATIENCE = 600.0  # seconds for the sender, and again for the backend, which waits for the receiver


class KioskError(Exception):
    """No capture, or no answer."""


def capture(picture: Path | None, camera: int) -> bytes:
    """A file's bytes, or one frame of a camera as PNG in memory. Raises KioskError."""
    if picture is not None:
        try:
            return picture.read_bytes()
        except OSError as error:
            raise KioskError(f"the picture cannot be read: {error.strerror}") from None
    try:
        import cv2
    except ImportError:
        raise KioskError("no camera without OpenCV: install it, or use --picture") from None
    device = cv2.VideoCapture(camera)
    try:
        seen, frame = device.read()
    finally:
        device.release()
    if not seen:
        raise KioskError(f"camera {camera} gives no picture")
    return bytes(cv2.imencode(".png", frame)[1])


def hide(face: bytes, identity_prompt: Secret, disguise: str, steps: int | None = None) -> Picture:
    """The stego of the one face in a capture. Raises ClientError."""
    with Client(timeout=PATIENCE) as client:
        return client.hide(face, identity_prompt, disguise, crop="face", steps=steps)


def send(stego: Picture, subject: str, backend: str, key: Secret) -> dict[str, Any]:
    """Over an ordinary channel: a form with the stego, as to CompreFace, at the address of the enrolled photograph.

    The answer is CompreFace's: `result`, or `message` and `code` where the recovered picture shows no face. Raises
    KioskError.
    """
    try:
        answer = httpx.post(
            f"{backend}/api/v1/recognition/faces/{image_id(subject)}/verify",
            files={"file": ("picture.png", stego.data, stego.media_type)},
            params={"limit": 1},
            headers={"x-api-key": key.reveal()},
            timeout=PATIENCE,
        )
        found: dict[str, Any] = answer.json()
    except httpx.RequestError as error:
        raise KioskError(f"the backend does not answer ({type(error).__name__})") from None
    except ValueError:
        raise KioskError(f"the backend answered {answer.status_code} without JSON") from None
    if answer.status_code != 200 and found.get("code") != NO_FACE:
        raise KioskError(f"the backend answered {answer.status_code}: {answer.text[:200]}")
    return found


def verified(answer: dict[str, Any]) -> bool:
    """Whether the answer's face is that of the subject."""
    return any(match["similarity"] >= ALIKE for match in answer.get("result", ()))


def main(arguments: list[str] | None = None) -> int:
    """0 verified, 1 not verified, 3 something failed."""
    parser = argparse.ArgumentParser(prog="kiosk", description="Verify a face without showing it to the channel.")
    parser.add_argument("subject", help="who is said to stand before the kiosk")
    parser.add_argument("--picture", type=Path, help="a photograph; default: the camera")
    parser.add_argument("--camera", type=int, default=0, help="number of the camera (needs OpenCV)")
    parser.add_argument("--prompts", type=Path, required=True, help="the kiosk's file of identity prompts")
    parser.add_argument("--key-file", type=Path, required=True, help="key for the backend")
    parser.add_argument("--backend", default="http://127.0.0.1:8003")
    parser.add_argument("--disguise", default=DISGUISE, help="what the stego shall show")
    parser.add_argument("--steps", type=int, help="diffusion steps; default: the model's")
    parser.add_argument("--keep-stego", type=Path, help="write what is sent to a file, to look at")
    given = parser.parse_args(arguments)
    try:
        prompt = read_prompts(given.prompts)[given.subject]
        stego = hide(capture(given.picture, given.camera), prompt, given.disguise, given.steps)
        if given.keep_stego:
            stego.save(given.keep_stego)
        answer = send(stego, given.subject, given.backend, Secret.from_file(given.key_file))
    except KeyError:
        sys.stderr.write(f"there is no prompt for {given.subject}\n")
        return 3
    except (ClientError, KioskError, RegisterError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    return 0 if verified(answer) else 1


if __name__ == "__main__":
    sys.exit(main())
