"""The identity prompt and the key: on the wire's body and header, and nowhere else."""

import copy
import logging
import pickle
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import pytest

import ddsr_client
from ddsr_client import (
    AsyncClient,
    Client,
    ClientError,
    Picture,
    PictureRefused,
    Problem,
    PromptRefused,
    Retry,
    Secret,
)
from tests.client.conftest import Addresses
from tests.pictures import encoded
from tests.services.conftest import face

WORDS = "zinnober-77-quokka"
KEY = "ddsr_malachite-4711"


def test_a_secret_shows_itself_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret(WORDS)
    assert WORDS not in f"{secret!r} {secret!s} {secret} {[secret]}"
    for steal in (pickle.dumps, copy.deepcopy, hash):
        with pytest.raises(TypeError):
            steal(secret)
    with pytest.raises(AttributeError):
        secret.text = 1  # type: ignore[attr-defined]
    assert secret == Secret(secret)
    assert secret != Secret("another")
    assert secret != WORDS
    file = tmp_path / "prompt"
    file.write_text(WORDS + "\r\n", newline="")
    monkeypatch.setenv("DDSR_IDENTITY_PROMPT", WORDS)
    assert Secret.from_file(file).reveal() == WORDS == Secret.from_environment("DDSR_IDENTITY_PROMPT").reveal()


@pytest.mark.parametrize("data", [WORDS.encode(), b"\xef\xbb\xbf" + WORDS.encode() + b"\r\n", WORDS.encode() + b"\n"])
def test_a_prompt_file_with_a_mark_and_a_line_end_or_without(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "prompt"
    file.write_bytes(data)
    assert Secret.from_file(file).reveal() == WORDS


def test_a_prompt_file_that_is_no_utf_8_is_refused_and_not_kept_in_the_error(tmp_path: Path) -> None:
    file = tmp_path / "prompt"
    file.write_bytes("caf\u00e9".encode("cp1252"))
    with pytest.raises(UnicodeError) as caught:
        Secret.from_file(file)
    assert type(caught.value) is UnicodeError
    assert caught.value.__suppress_context__


def refused(client: Client, prompt: str | Secret) -> None:
    client.hide(b"no picture", prompt, "a cat")


def too_long(client: Client, prompt: str | Secret) -> None:
    client.hide(encoded(face()), f"{prompt.reveal() if isinstance(prompt, Secret) else prompt}" + "x" * 300, "a cat")


def unread(client: Client, prompt: str | Secret) -> None:
    client.hide("/nowhere/face.png", prompt, "a cat")


def all_of_it(error: BaseException, own_frames: int) -> str:
    """Whatever a log could make of an exception: causes, contexts, the locals of every frame but the test's own."""
    found, waiting = "", [error]
    while waiting:
        one = waiting.pop()
        trace = one.__traceback__
        for _ in range(own_frames):
            trace = trace.tb_next if trace is not None else None
        found += "".join(traceback.TracebackException(type(one), one, trace, capture_locals=True).format(chain=False))
        found += repr(one) + repr(vars(one)) + repr(one.args)
        waiting += [linked for linked in (one.__cause__, one.__context__) if linked is not None]
    return found


@pytest.mark.parametrize("call", [refused, too_long, unread])
def test_errors_logs_and_tracebacks_hold_no_secret(
    services: Addresses, caplog: pytest.LogCaptureFixture, call: Callable[[Client, str | Secret], None]
) -> None:
    caplog.set_level(logging.DEBUG)
    with Client(services.sender, services.receiver, api_key=KEY, retry=Retry(tries=0)) as client:
        with pytest.raises((ClientError, OSError)) as caught:
            call(client, WORDS)
        assert KEY not in repr(client) + repr(client.settings)
    text = all_of_it(caught.value, own_frames=2) + caplog.text
    assert WORDS not in text
    assert KEY not in text


def test_a_failed_connection_holds_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """httpx's error holds the request with its body: it must not hang on ours, not even as the context."""
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    again = Retry(tries=1, first=0.01)
    with Client(url, url, api_key=KEY, retry=again) as client, pytest.raises(ClientError) as caught:
        client.hide(encoded(face()), Secret(WORDS), "a cat", progress=print)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    text = all_of_it(caught.value, 0) + caplog.text
    assert "trying again" in text
    assert WORDS not in text
    assert KEY not in text


@contextmanager
def dummy_proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """The environment's proxy for everything; the list gets what it was sent first."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            with suppress(OSError):
                while True:
                    line, _ = server.accept()
                    with line:
                        heard.append(line.recv(65536))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield heard
        server.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_a_proxy_of_the_environment_hears_nothing_of_http(services: Addresses, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hide() -> Picture:
        async with AsyncClient(services.sender, services.receiver, api_key=KEY) as client:
            return await client.hide(encoded(face()), WORDS, "a cat")

    with dummy_proxy(monkeypatch) as heard:
        with services.client() as client:
            stego = client.hide(encoded(face()), WORDS, "a cat")
            assert client.recover(stego, WORDS).data
        assert anyio.run(hide).data
        assert heard == []


def test_a_proxy_of_the_environment_is_asked_for_https(monkeypatch: pytest.MonkeyPatch) -> None:
    """And hears the name of the host alone."""
    url = "https://ddsr.invalid"
    with dummy_proxy(monkeypatch) as heard:
        with Client(url, url, api_key=KEY, retry=Retry(tries=0)) as client, pytest.raises(ClientError):
            client.hide(encoded(face()), WORDS, "a cat")
        assert [data.split(b"\r\n")[0] for data in heard] == [b"CONNECT ddsr.invalid:443 HTTP/1.1"]
        assert KEY.encode() not in heard[0]


def test_a_wrong_prompt_is_refused_before_it_is_quoted(services: Addresses) -> None:
    with services.client() as client, pytest.raises(PromptRefused) as caught:
        client.hide(encoded(face()), WORDS + "\x07", "a cat")
    assert WORDS not in str(caught.value)


def test_problems_can_be_pickled(services: Addresses) -> None:
    with services.client() as client, pytest.raises(PictureRefused) as caught:
        client.hide(b"no picture", WORDS, "a cat")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is PictureRefused
    assert isinstance(again, Problem)
    assert (again.code, again.status, str(again)) == ("unsupported-picture", 415, str(caught.value))


def test_the_public_names() -> None:
    assert sorted(ddsr_client.__all__) == ddsr_client.__all__
    assert all(hasattr(ddsr_client, name) for name in ddsr_client.__all__)


def test_needs_neither_torch_nor_numpy_nor_pillow() -> None:
    import subprocess

    program = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'PIL', 'pydantic', 'fastapi', 'shared'): sys.modules[name] = None\n"
        "from ddsr_client import Client, AsyncClient, Picture\n"
        "from ddsr_client.pictures import take\n"
        "assert take(b'x').data == b'x'\n"
        "try: Picture(b'x', 'image/png').image()\n"
        "except ImportError: print('fine')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("fine\n", "")
