"""The four services of `ddsr eval services`: how each is asked about two pictures, and what it answers.

Sources, each service's public documentation:
    CompreFace  docs/Rest-API-description.md of github.com/exadel-inc/CompreFace
    Face++      https://console.faceplusplus.com/documents/5679308 (Compare API 3.0); key and secret travel in the form
    Tencent     https://www.tencentcloud.com/document/product/1059/36981 (CompareFace 2020-03-03), signature TC3
    Aliyun      CompareFace of facebody 2019-12-30 (Alibaba Cloud Vision Intelligence), signature ACS3

A picture is PNG. Of several faces in one, each service takes the largest.
"""

import json
import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx
from pydantic import SecretStr

from evaluation.errors import ServiceRefused, ServiceUnavailable
from evaluation.services.credentials import KeyPair, address_of, key_pair, secret_of
from evaluation.services.signing import acs3_authorization, tc3_authorization

Now = Callable[[], datetime]


@dataclass(frozen=True)
class Answer:
    """What a service said of two pictures.

    Attributes:
        score: on the service's own scale; None: it found no face in one of them.
        threshold: of this answer on that scale, where the service puts a false accept rate of 1 in 1000; None: it names
            none.
        code: the service's code where there is no score.
    """

    score: float | None
    threshold: float | None = None
    code: str = ""


class Busy(Exception):
    """Not now; perhaps after so many seconds."""

    def __init__(self, code: str, seconds: float | None = None) -> None:
        super().__init__(code)
        self.code, self.seconds = code, seconds


class Service(Protocol):
    """What the table asks of a service. `top` ends its scale, which begins at 0."""

    name: str
    top: float
    address: httpx.URL

    def request(self, first: bytes, second: bytes) -> httpx.Request:
        """The question about two PNG pictures."""
        ...

    def answer(self, response: httpx.Response) -> Answer:
        """What the response says.

        Raises:
            Busy: it may be asked again later.
            ServiceRefused: it will not answer: key, quota, or a request that it does not take.
            ServiceUnavailable: the response is no answer of this service.
        """
        ...


class CompreFace:
    """CompreFace's verification service, or whatever speaks its interface. Its documentation names no threshold."""

    name, top = "compreface", 1.0
    _NO_FACE = 28

    def __init__(self, address: httpx.URL, key: SecretStr) -> None:
        self.address, self._key = address, key

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "CompreFace":
        return cls(address_of(variables, "COMPREFACE_URL"), secret_of(variables, "COMPREFACE_API_KEY"))

    def request(self, first: bytes, second: bytes) -> httpx.Request:
        return httpx.Request(
            "POST",
            f"{self.address}/api/v1/verification/verify",
            params={"limit": 1},
            headers={"x-api-key": self._key.get_secret_value()},
            files={"source_image": _part(first), "target_image": _part(second)},
        )

    def answer(self, response: httpx.Response) -> Answer:
        body = _body(self.name, response)
        if response.status_code == 200:
            (pair,) = body["result"]
            return Answer(float(pair["face_matches"][0]["similarity"]))
        if body.get("code") == self._NO_FACE:
            return Answer(None, code=str(self._NO_FACE))
        raise _refusal(self.name, response, str(body.get("code", "")))


class FacePlusPlus:
    """Face++ Compare. An answer without a confidence says that no face was found."""

    name, top = "faceplusplus", 100.0

    def __init__(self, address: httpx.URL, keys: KeyPair) -> None:
        self.address, self._keys = address, keys

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "FacePlusPlus":
        address = address_of(variables, "FACEPP_URL", "https://api-us.faceplusplus.com")
        return cls(address, key_pair(variables, "FACEPP_API_KEY", "FACEPP_API_SECRET"))

    def request(self, first: bytes, second: bytes) -> httpx.Request:
        return httpx.Request(
            "POST",
            f"{self.address}/facepp/v3/compare",
            data={"api_key": self._keys.id, "api_secret": self._keys.secret.get_secret_value()},
            files={"image_file1": _part(first), "image_file2": _part(second)},
        )

    def answer(self, response: httpx.Response) -> Answer:
        body = _body(self.name, response)
        said = str(body.get("error_message", ""))
        if response.status_code != 200 or said:
            raise _refusal(self.name, response, said, busy=said == "CONCURRENCY_LIMIT_EXCEEDED")
        if "confidence" not in body:
            if body["faces1"] and body["faces2"]:
                raise ServiceUnavailable(f"{self.name} found both faces and gave no confidence")
            return Answer(None, code="no face")
        return Answer(float(body["confidence"]), float(body["thresholds"]["1e-3"]))


class TencentCloud:
    """Tencent Cloud CompareFace with the face model 3.0, whose score of 40 its documentation puts at 1 in 1000."""

    name, top = "tencent", 100.0
    _ACTION, _VERSION, _MODEL, _THRESHOLD = "CompareFace", "2020-03-03", "3.0", 40.0
    _NO_FACE = frozenset({"InvalidParameterValue.NoFaceInPhoto", "FailedOperation.ImageFacedetectFailed"})

    def __init__(self, address: httpx.URL, keys: KeyPair, now: Now = lambda: datetime.now(UTC)) -> None:
        self.address, self._keys, self._now = address, keys, now

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "TencentCloud":
        address = address_of(variables, "TENCENTCLOUD_IAI_URL", "https://iai.tencentcloudapi.com")
        return cls(address, key_pair(variables, "TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"))

    def request(self, first: bytes, second: bytes) -> httpx.Request:
        fields = {"ImageA": _text(first), "ImageB": _text(second), "FaceModelVersion": self._MODEL}
        body = json.dumps({**fields, "QualityControl": 0, "NeedRotateDetection": 0}).encode()
        timestamp = int(self._now().timestamp())
        signed = {
            "content-type": "application/json; charset=utf-8",
            "host": _host(self.address),
            "x-tc-action": self._ACTION,
        }
        headers = {
            **signed,
            "x-tc-version": self._VERSION,
            "x-tc-timestamp": str(timestamp),
            "authorization": tc3_authorization(self._keys, "iai", signed, body, timestamp),
        }
        return httpx.Request("POST", f"{self.address}/", headers=headers, content=body)

    def answer(self, response: httpx.Response) -> Answer:
        body = _body(self.name, response)["Response"]
        if "Error" not in body:
            if body["FaceModelVersion"] != self._MODEL:
                raise ServiceUnavailable(f"{self.name} answered with another face model than it was asked for")
            return Answer(float(body["Score"]), self._THRESHOLD)
        code = str(body["Error"]["Code"])
        if code in self._NO_FACE:
            return Answer(None, code=code)
        raise _refusal(self.name, response, code, busy=code.startswith(("RequestLimitExceeded", "InternalError")))


class Aliyun:
    """Alibaba Cloud CompareFace (facebody), signed by signature V3 (ACS3), which needs no SDK.

    Its documentation says that a picture without a face is an error and names no code for it, so a code or a message
    that speaks of a missing face is taken for one. Any other error ends the run.
    """

    name, top = "aliyun", 100.0
    _ACTION, _VERSION = "CompareFace", "2019-12-30"
    _NO_FACE = re.compile(r"\bno\s?face|face.{0,20}not\s?(?:be\s)?(?:found|detected)|not\s?found\s?face", re.IGNORECASE)
    _BUSY = ("Throttling", "ServiceUnavailable", "InternalError")

    def __init__(self, address: httpx.URL, keys: KeyPair, now: Now = lambda: datetime.now(UTC)) -> None:
        self.address, self._keys, self._now = address, keys, now

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "Aliyun":
        address = address_of(variables, "ALIBABA_CLOUD_FACEBODY_URL", "https://facebody.cn-shanghai.aliyuncs.com")
        return cls(address, key_pair(variables, "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"))

    def request(self, first: bytes, second: bytes) -> httpx.Request:
        body = urlencode({"ImageDataA": _text(first), "ImageDataB": _text(second)}).encode()
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "host": _host(self.address),
            "x-acs-action": self._ACTION,
            "x-acs-version": self._VERSION,
            "x-acs-date": self._now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x-acs-signature-nonce": secrets.token_hex(16),
            "x-acs-content-sha256": sha256(body).hexdigest(),
        }
        authorization = acs3_authorization(self._keys, {}, headers, body)
        signed = {**headers, "accept": "application/json", "authorization": authorization}
        return httpx.Request("POST", f"{self.address}/", headers=signed, content=body)

    def answer(self, response: httpx.Response) -> Answer:
        body = _body(self.name, response)
        if response.status_code == 200:
            return Answer(float(body["Data"]["Confidence"]), float(min(body["Data"]["Thresholds"])))
        code = str(body.get("Code", ""))
        if any(self._NO_FACE.search(text) for text in (code, str(body.get("Message", "")))):
            return Answer(None, code=code)
        raise _refusal(self.name, response, code, busy=code.startswith(self._BUSY))


SERVICES: dict[str, Callable[[Mapping[str, str]], Service]] = {
    one.name: one.from_environment for one in (CompreFace, FacePlusPlus, TencentCloud, Aliyun)
}


def _part(picture: bytes) -> tuple[str, bytes, str]:
    return ("picture.png", picture, "image/png")


def _text(picture: bytes) -> str:
    return b64encode(picture).decode()


def _host(address: httpx.URL) -> str:
    return address.netloc.decode()


def _body(name: str, response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    if response.status_code == 429 or response.status_code >= 500:
        raise Busy(f"status {response.status_code}", _wait(response))
    raise ServiceUnavailable(f"{name} answered {response.status_code} without a JSON object")


def _refusal(name: str, response: httpx.Response, code: str, *, busy: bool = False) -> Exception:
    """By status and code alone: messages of some services repeat what was sent."""
    if busy or response.status_code == 429 or response.status_code >= 500:
        return Busy(code or f"status {response.status_code}", _wait(response))
    return ServiceRefused(f"{name} answers {response.status_code}, code {code[:80] or 'none'}")


def _wait(response: httpx.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None
