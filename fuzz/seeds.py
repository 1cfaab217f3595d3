"""`python -m fuzz.seeds`: writes what was made and not found of the corpus; the names begin with `seed-`."""

import io
import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import SecretStr

from fuzz.targets import CONTEXT, KEYS
from shared.diffusion.codecs import encode_face
from shared.diffusion.payload import seal as seal_payload
from shared.envelope import seal
from shared.imaging import encode_picture
from shared.jobs.model import HideRequest, JobResult, Picture, RecoverRequest
from shared.recipe import Recipe

CORPUS = Path(__file__).with_name("corpus")
RGB = np.random.default_rng(0).integers(0, 256, (17, 18, 3), dtype=np.uint8)
RECIPE = Recipe("0123456789abcdef", "keyed", "heun", 16, "a glacier", bytes(range(16)), b"\x00\xff" * 8)


def pictures() -> dict[str, bytes]:
    found = {form: encode_picture(RGB, form, recipe=RECIPE.to_text()) for form in ("png", "jpeg", "webp")}
    for mode, form in (
        ("RGBA", "png"),
        ("LA", "png"),
        ("P", "png"),
        ("I;16", "png"),
        ("CMYK", "jpeg"),
        ("RGBA", "webp"),
    ):
        file = io.BytesIO()
        Image.new(mode, (16, 20)).save(file, form, **({"exif": _turned()} if form != "png" else {}))
        found[f"{mode.replace(';', '').lower()}.{form}"] = file.getvalue()
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for form in ("png", "webp"):
        file = io.BytesIO()
        frames[0].save(file, form, save_all=True, append_images=frames[1:])
        found[f"moving.{form}"] = file.getvalue()
    return found


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def recipes() -> dict[str, bytes]:
    fields = {
        "d": "a",
        "k": 60,
        "l": "",
        "m": "0123456789abcdef",
        "n": "AAAAAAAAAAAAAAAAAAAAAA==",
        "s": "paper",
        "v": "ddim",
    }
    short = {name: value for name, value in fields.items() if value != ""}
    return {
        "text": b"t" + RECIPE.to_text().encode(),
        "old": b"o" + json.dumps(fields).encode(),
        "json": b"j" + json.dumps({**short, "r": 3}, sort_keys=True, separators=(",", ":")).encode(),
    }


def messages() -> dict[str, bytes]:
    reply = KEYS.current.public.to_text()
    picture, prompt = Picture.from_array(RGB[:2, :2]), SecretStr("a prompt")
    hide = HideRequest(picture, prompt, "a glacier", steps=3).pack(reply)
    recover = RecoverRequest(picture, prompt, RECIPE).pack(reply)
    result = JobResult(b"png", "image/png", RECIPE.to_text(), 1.5).pack()
    worker = {"name": "w", "public_key": reply, "model": "a" * 16, "image_size": 32, "started": 1.0}
    packed = {"hide": hide, "recover": recover, "result": result}
    heads = {f"{name}.json": b"j" + data[8 : 8 + struct.unpack_from(">I", data)[0]] for name, data in packed.items()}
    heads["hide.json"] += b"\0" + picture.rgb
    heads["recover.json"] += b"\0" + picture.rgb
    return {
        **{name: b"p" + data for name, data in packed.items()},
        **heads,
        "worker": b"p" + json.dumps(worker).encode(),
    }


def face_codes() -> dict[str, bytes]:
    face = np.asarray(Image.fromarray(RGB[:5, :5]).resize((128, 128), Image.Resampling.BICUBIC))
    return {str(budget): encode_face(face, budget) for budget in (200, 2000)}


def main() -> None:
    envelopes = {"one": seal(b"hello", [KEYS.current.public], CONTEXT)}
    for target, seeds in {
        "picture": pictures(),
        "recipe": recipes(),
        "message": messages(),
        "sealed": envelopes,
        "face-code": face_codes(),
        "payload": {"one": seal_payload(b"hello", bytes(32), b"", 32)},
    }.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (folder / f"seed-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
