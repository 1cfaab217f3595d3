"""Verification services as judges: vendors' own examples of signatures, and servers that check what they are sent."""

import hashlib
import hmac
import json
import re
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from evaluation.bench import Bench
from evaluation.data import Picture
from evaluation.errors import ServiceRefused, ServiceUnavailable
from evaluation.report import publish, write_report
from evaluation.services import asking
from evaluation.services.asking import TRIES, Bounds, Judge
from evaluation.services.credentials import KeyPair, address_of, secret_of
from evaluation.services.providers import SERVICES, Aliyun, CompreFace, FacePlusPlus, Service, TencentCloud
from evaluation.services.signing import acs3_authorization, tc3_authorization
from evaluation.services.table import ServiceOptions, run
from shared.diffusion.walks import HideOptions

QUICK = HideOptions("matched", steps=2)
KEYS = KeyPair("an-id", SecretStr("a-secret"))
PLENTY = Bounds(1000, 1000.0)


def test_tencents_published_example() -> None:
    """Signature v3, documentation of the CVM API: DescribeInstances."""
    body = rb'{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}'
    headers = {"content-type": "application/json; charset=utf-8", "host": "cvm.tencentcloudapi.com"}
    keys = KeyPair("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE", SecretStr("Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"))
    assert tc3_authorization(keys, "cvm", headers, body, 1551113065) == (
        "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, "
        "SignedHeaders=content-type;host, "
        "Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
    )


def test_alibabas_published_example() -> None:
    """Request syntax and signature method V3, "fixed parameter values": RunInstances."""
    query = {"ImageId": "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd", "RegionId": "cn-shanghai"}
    headers = {
        "host": "ecs.cn-shanghai.aliyuncs.com",
        "x-acs-action": "RunInstances",
        "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
        "x-acs-date": "2023-10-26T10:22:32Z",
        "x-acs-signature-nonce": "3156853299f313e23d1673dc12e1703d",
        "x-acs-version": "2014-05-26",
    }
    keys = KeyPair("YourAccessKeyId", SecretStr("YourAccessKeySecret"))
    assert acs3_authorization(keys, query, headers, b"") == (
        "ACS3-HMAC-SHA256 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;"
        "x-acs-signature-nonce;x-acs-version,Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
    )


# Servers. They know the protocols from the vendors' documentation, and nothing of `signing` or `providers`.


class Asked(Exception):
    """An answer that is none of a score: status, body, headers."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


Question = tuple[str, Message, bytes]  # path with its query, headers, body
Protocol = Callable[[Question, "Server"], tuple[bytes, bytes]]


class Server:
    """A service on loopback. `judge` says how alike two pictures are, 0..1, or None for no face."""

    def __init__(self, protocol: Protocol, answer: Callable[[float | None], Asked]) -> None:
        self.protocol, self.answer, self.asked, self.first = protocol, answer, 0, [0]
        self.scheduled: list[Asked] = []

    def reply(self, question: Question) -> Asked:
        self.asked += 1
        if self.scheduled:
            return self.scheduled.pop(0)
        try:
            first, second = (pixels(picture) for picture in self.protocol(question, self))
        except Asked as refused:
            return refused
        alike = 1 - float(np.abs(first - second).mean()) / 255
        return self.answer(None if min(first.std(), second.std()) < 1 else alike)


def pixels(png: bytes) -> np.ndarray:
    with Image.open(BytesIO(png)) as image:
        assert image.format == "PNG"
        assert min(image.size) >= asking.EDGE
        return np.asarray(image.convert("RGB"), np.float64)


@contextmanager
def serving(server: Server) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            said = server.reply((self.path, self.headers, body))
            data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.status)
            for name, value in {"content-length": str(len(data)), **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{found.server_port}"
        finally:
            found.shutdown()
            thread.join()


def form(question: Question) -> dict[str, bytes]:
    _, headers, body = question
    whole = BytesParser().parsebytes(b"content-type: " + headers["content-type"].encode() + b"\r\n\r\n" + body)
    parts = whole.get_payload()
    assert isinstance(parts, list)
    named = {part.get_param("name", header="content-disposition"): part for part in parts}
    return {str(name): bytes(part.get_payload(decode=True)) for name, part in named.items()}  # type: ignore[arg-type]


def compreface(question: Question, server: Server) -> tuple[bytes, bytes]:
    path, headers, _ = question
    assert urlsplit(path).path == "/api/v1/verification/verify"
    if headers["x-api-key"] != "a-key":
        raise Asked(401, {"message": "no such key", "code": 10})
    fields = form(question)
    return fields["source_image"], fields["target_image"]


def faceplusplus(question: Question, server: Server) -> tuple[bytes, bytes]:
    assert question[0] == "/facepp/v3/compare"
    fields = form(question)
    if (fields["api_key"], fields["api_secret"]) != (b"an-id", b"a-secret"):
        raise Asked(401, {"error_message": "AUTHENTICATION_ERROR"})
    return fields["image_file1"], fields["image_file2"]


def tencent(question: Question, server: Server) -> tuple[bytes, bytes]:
    path, headers, body = question
    assert (path, headers["x-tc-action"], headers["x-tc-version"]) == ("/", "CompareFace", "2020-03-03")
    found = re.fullmatch(
        r"TC3-HMAC-SHA256 Credential=(\S+)/(\d{4}-\d\d-\d\d)/iai/tc3_request, SignedHeaders=(\S+), Signature=(\w{64})",
        headers["authorization"],
    )
    assert found is not None
    account, day, names, signature = found.groups()
    assert {"content-type", "host", "x-tc-action"} <= set(names.split(";"))
    lines = "".join(f"{name}:{headers[name].strip().lower()}\n" for name in names.split(";"))
    request = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    stamp = headers["x-tc-timestamp"]
    assert abs(int(stamp) - time.time()) < 300
    text = f"TC3-HMAC-SHA256\n{stamp}\n{day}/iai/tc3_request\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"TC3a-secret"
    for part in (day.encode(), b"iai", b"tc3_request", text.encode()):
        key = hmac.digest(key, part, "sha256")
    if (account, signature) != ("an-id", key.hex()):
        raise Asked(200, {"Response": {"Error": {"Code": "AuthFailure.SignatureFailure", "Message": "a-secret"}}})
    fields = json.loads(body)
    assert fields["FaceModelVersion"] == "3.0"
    return b64decode(fields["ImageA"]), b64decode(fields["ImageB"])


def aliyun(question: Question, server: Server) -> tuple[bytes, bytes]:
    path, headers, body = question
    assert (path, headers["x-acs-action"], headers["x-acs-version"]) == ("/", "CompareFace", "2019-12-30")
    assert headers["x-acs-content-sha256"] == hashlib.sha256(body).hexdigest()
    sent = datetime.strptime(headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - sent).total_seconds()) < 300
    assert len(headers["x-acs-signature-nonce"]) >= 16
    algorithm, _, rest = headers["authorization"].partition(" ")
    given = dict(item.split("=", 1) for item in rest.split(","))
    names = given["SignedHeaders"].split(";")
    assert names == sorted(names)
    assert {"host", *(name.lower() for name in headers if name.lower().startswith("x-acs-"))} <= set(names)
    lines = [f"{name}:{headers[name].strip()}" for name in names]
    request = "\n".join(["POST", "/", "", *lines, "", given["SignedHeaders"], headers["x-acs-content-sha256"]])
    text = f"{algorithm}\n{hashlib.sha256(request.encode()).hexdigest()}"
    right = hmac.new(b"a-secret", text.encode(), "sha256").hexdigest()
    if (given["Credential"], given["Signature"]) != ("an-id", right):
        raise Asked(400, {"Code": "SignatureDoesNotMatch", "Message": "a-secret"})
    fields = {name: value[0] for name, value in parse_qs(body.decode(), strict_parsing=True).items()}
    return b64decode(fields["ImageDataA"]), b64decode(fields["ImageDataB"])


def of_compreface(alike: float | None) -> Asked:
    if alike is None:
        return Asked(400, {"message": "No face is found in the given image", "code": 28})
    return Asked(200, {"result": [{"source_image_face": {}, "face_matches": [{"similarity": alike}]}]})


def of_faceplusplus(alike: float | None) -> Asked:
    if alike is None:
        return Asked(200, {"faces1": [{}], "faces2": [], "time_used": 1})
    thresholds = {"1e-3": 62.327, "1e-4": 69.101, "1e-5": 73.975}
    return Asked(200, {"faces1": [{}], "faces2": [{}], "confidence": 100 * alike, "thresholds": thresholds})


def of_tencent(alike: float | None) -> Asked:
    if alike is None:
        return Asked(200, {"Response": {"Error": {"Code": "InvalidParameterValue.NoFaceInPhoto", "Message": ""}}})
    return Asked(200, {"Response": {"Score": 100 * alike, "FaceModelVersion": "3.0", "RequestId": "x"}})


def of_aliyun(alike: float | None) -> Asked:
    if alike is None:
        return Asked(400, {"Code": "InvalidImage.NoFace", "Message": "no face in the picture"})
    return Asked(200, {"Data": {"Confidence": 100 * alike, "Thresholds": [61.0, 69.0, 75.0]}, "RequestId": "x"})


MAKERS: dict[str, tuple[Protocol, Callable[[float | None], Asked], Callable[[httpx.URL, KeyPair], Service]]] = {
    "compreface": (
        compreface,
        of_compreface,
        lambda url, keys: CompreFace(url, SecretStr("a-key" if keys is KEYS else "no")),
    ),
    "faceplusplus": (faceplusplus, of_faceplusplus, FacePlusPlus),
    "tencent": (tencent, of_tencent, TencentCloud),
    "aliyun": (aliyun, of_aliyun, Aliyun),
}
THRESHOLDS = {"compreface": None, "faceplusplus": 62.327, "tencent": 40.0, "aliyun": 61.0}


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of the real size takes seconds to encode."""
    monkeypatch.setattr(asking, "EDGE", 48)


@pytest.fixture(params=list(MAKERS))
def played(request: pytest.FixtureRequest) -> Iterator[tuple[Server, Callable[[KeyPair], Service]]]:
    protocol, answer, make = MAKERS[request.param]
    server = Server(protocol, answer)
    with serving(server) as address:
        yield server, lambda keys: make(httpx.URL(address), keys)


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20) as found:
        yield found


def picture(seed: int, size: int = 32) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def test_a_signed_question_is_answered_on_the_services_scale(
    played: tuple[Server, Callable[[KeyPair], Service]], client: httpx.Client, tmp_path: Path
) -> None:
    _, make = played
    service = make(KEYS)
    judge = Judge(service, tmp_path, PLENTY, client)
    same, apart = judge.ask(picture(1), picture(1)), judge.ask(picture(1), picture(2))
    assert (same.score, same.threshold) == (service.top, THRESHOLDS[service.name])
    assert apart.score is not None
    assert 0 < apart.score < service.top
    blank = judge.ask(picture(1), np.zeros((32, 32, 3), np.uint8))
    assert blank.score is None
    assert blank.code


def test_each_pair_is_sent_once_and_no_picture_is_kept(
    played: tuple[Server, Callable[[KeyPair], Service]], client: httpx.Client, tmp_path: Path
) -> None:
    server, make = played
    first = Judge(make(KEYS), tmp_path, PLENTY, client).ask(picture(1), picture(2))
    again = Judge(make(KEYS), tmp_path, Bounds(1, 1000.0), client)
    assert again.ask(picture(1), picture(2)) == first
    assert (server.asked, again.sent) == (1, 0)
    again.ask(picture(2), picture(1))
    with pytest.raises(ServiceRefused, match="bound of 1 requests"):
        again.ask(picture(1), picture(3))
    assert server.asked == 2
    assert {path.name for path in tmp_path.rglob("*")} == {"setup.json", "rows.jsonl"}
    kept = (tmp_path / "rows.jsonl").read_bytes()
    assert len(kept) < 600
    for secret in (b"a-secret", b"a-key", b"PNG"):
        assert secret not in kept + (tmp_path / "setup.json").read_bytes()


def test_a_wrong_key_ends_the_run_and_is_not_repeated(
    played: tuple[Server, Callable[[KeyPair], Service]], client: httpx.Client, tmp_path: Path
) -> None:
    server, make = played
    judge = Judge(make(KeyPair("an-id", SecretStr("another"))), tmp_path, PLENTY, client)
    with pytest.raises(ServiceRefused) as caught:
        judge.ask(picture(1), picture(2))
    assert server.asked == 1
    assert "a-secret" not in str(caught.value)
    assert "another" not in str(caught.value)


BUSY = {
    "compreface": Asked(503, {"message": "later", "code": 41}, {"Retry-After": "7"}),
    "faceplusplus": Asked(403, {"error_message": "CONCURRENCY_LIMIT_EXCEEDED"}, {"Retry-After": "7"}),
    "tencent": Asked(
        200, {"Response": {"Error": {"Code": "RequestLimitExceeded", "Message": ""}}}, {"Retry-After": "7"}
    ),
    "aliyun": Asked(400, {"Code": "Throttling.User", "Message": ""}, {"Retry-After": "7"}),
}


def test_a_busy_service_is_asked_again_within_the_bounds(
    played: tuple[Server, Callable[[KeyPair], Service]], client: httpx.Client, tmp_path: Path
) -> None:
    server, make = played
    slept: list[float] = []
    service = make(KEYS)
    judge = Judge(service, tmp_path, PLENTY, client, sleep=slept.append)
    server.scheduled = [BUSY[service.name]]
    assert judge.ask(picture(1), picture(1)).score == service.top
    assert judge.sent == 2
    assert max(slept) == 7
    server.scheduled = [Asked(502, b"<html>")] * TRIES
    with pytest.raises(ServiceUnavailable, match=f"{TRIES} attempts"):
        judge.ask(picture(1), picture(2))
    assert judge.sent == 2 + TRIES


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"Response": {}, "Data": {}, "result": [], "faces1": [1], "faces2": [1]}']
)
def test_an_answer_in_another_form_is_no_score(
    played: tuple[Server, Callable[[KeyPair], Service]], client: httpx.Client, tmp_path: Path, body: bytes
) -> None:
    server, make = played
    server.scheduled = [Asked(200, body)]
    with pytest.raises(ServiceUnavailable):
        Judge(make(KEYS), tmp_path, PLENTY, client).ask(picture(1), picture(2))


def test_no_faster_than_allowed(client: httpx.Client, tmp_path: Path) -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    server = Server(compreface, of_compreface)
    with serving(server) as address:
        service = CompreFace(httpx.URL(address), SecretStr("a-key"))
        judge = Judge(service, tmp_path, Bounds(9, 0.5), client, clock=lambda: now[0], sleep=sleep)
        for seed in (2, 3, 4):
            judge.ask(picture(1), picture(seed))
    assert slept == [2.0, 2.0]


def test_keys_come_from_the_environment_or_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a-key\n")
    assert secret_of({"A": "x"}, "A").get_secret_value() == "x"
    assert secret_of({"A_FILE": str(tmp_path / "key")}, "A").get_secret_value() == "a-key"
    for variables in ({}, {"A": "x", "A_FILE": "y"}, {"A_FILE": str(tmp_path / "none")}):
        with pytest.raises(ServiceRefused):
            secret_of(variables, "A")
    for make in SERVICES.values():
        with pytest.raises(ServiceRefused, match="set "):
            make({})


@pytest.mark.parametrize(
    "address",
    [
        "",
        "http://192.0.2.1",
        "http://example.org",
        "ftp://127.0.0.1",
        "https://user:word@example.org",
        "https://a/?b=c",
        "x",
    ],
)
def test_faces_go_nowhere_in_the_clear(address: str) -> None:
    with pytest.raises(ServiceRefused, match="A_URL"):
        address_of({"A_URL": address}, "A_URL")


def test_table_and_report(bench: Bench) -> None:
    server = Server(faceplusplus, of_faceplusplus)
    options = ServiceOptions(QUICK, pairs=8)
    with serving(server) as address:
        service = FacePlusPlus(httpx.URL(address), KEYS)
        with pytest.raises(ServiceRefused, match="bound of 5"):
            run(bench, [service], options, Bounds(5, 1000.0))
        run(bench, [service], options, PLENTY)
    questions = options.questions(len(bench.faces))
    assert server.asked <= questions == 8 * 3 + 8 + 4
    table = json.loads((bench.out / "services" / "faceplusplus" / "table.json").read_text())
    found = table["asked"]["recovered"]
    assert found["score"]["count"] == 8
    assert 0 <= found["score"]["value"] <= 100
    threshold = table["calibration"]["threshold"]
    assert 0 < threshold < 1
    rows = [json.loads(line) for line in (bench.out / "services/faceplusplus/rows.jsonl").read_text().splitlines()]
    assert len(rows) == server.asked
    assert all(row["threshold"] == 62.327 for row in rows)
    assert table["controls"]["same"]["score"]["value"] > table["controls"]["strangers"]["score"]["value"]
    text = write_report(bench.out).read_text()
    assert "## Verification services (Fig. 7)" in text
    assert "| recovered with a wrong prompt |" in text
    assert f"{found['score']['value']:.3f}" in text
    assert publish(bench.out, bench.out / "kept").is_file()


def test_confidence_is_calibrated_by_the_services_own_strangers(bench: Bench) -> None:
    """A service that finds everybody alike, only the same picture more so: its high scores are worth nothing."""
    server = Server(faceplusplus, lambda alike: of_faceplusplus(None if alike is None else 0.9 + alike / 10))
    with serving(server) as address:
        run(bench, [FacePlusPlus(httpx.URL(address), KEYS)], ServiceOptions(QUICK, pairs=8), PLENTY)
    table = json.loads((bench.out / "services" / "faceplusplus" / "table.json").read_text())
    stego = table["asked"]["stego"]
    assert stego["own_verified"]["value"] == 1
    assert stego["score"]["value"] > 90
    assert stego["confidence"]["value"] < 60
