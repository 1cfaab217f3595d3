"""What clients do: twice, at once, too much, half, or gone."""

import select
import signal
import socket
import struct
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.cluster import PROMPT, UPLOAD, Cluster
from tests.worker.support import until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
SLOW = {"steps": 190}


def at_once(count: int, call: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """Answers to calls that start together."""
    barrier = threading.Barrier(count)

    def one(number: int) -> httpx.Response:
        barrier.wait(20)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_result_read_by_two_at_once_and_twice(staffed: Cluster) -> None:
    brief = staffed.replica("brief", DDSR_FIRST_READ_TTL="2")
    job = staffed.submit()
    assert staffed.end(job) == "done"
    address = f"{brief}/jobs/{job}/result"
    first = at_once(4, lambda _: httpx.get(address, timeout=30))
    assert {answer.status_code for answer in first} == {200}
    assert len({answer.content for answer in first}) == 1
    with staffed.store() as store:
        assert 0 < store.pttl(f"ddsr:job:{job}:result") <= 2000
    until(lambda: httpx.get(address).status_code == 410, 30)
    assert staffed.state(job) == "expired"


def test_cancelled_while_queued(staffed: Cluster) -> None:
    worker = staffed.staff()
    staffed.pause(worker)
    job = staffed.submit()
    assert staffed.delete(job).json()["state"] == "cancelled"
    assert staffed.delete(job).json()["state"] == "cancelled"
    worker.send_signal(signal.SIGCONT)
    after = staffed.submit()
    assert staffed.end(after) == "done"
    assert staffed.batches(job) == 0
    assert staffed.job(job, "/result").json()["code"] == "job-cancelled"


def test_cancelled_while_running(staffed: Cluster) -> None:
    job = staffed.submit("pause:0.1", **SLOW)
    staffed.running(job)
    assert staffed.delete(job).json()["state"] == "cancelled"
    assert staffed.end(staffed.submit()) == "done"  # long before the 19 s of the other
    assert staffed.job(job, "/result").json()["code"] == "job-cancelled"


def test_a_finished_job_that_is_deleted_is_gone_at_once(staffed: Cluster) -> None:
    job = staffed.submit()
    assert staffed.end(job) == "done"
    with staffed.store() as store:
        assert store.exists(f"ddsr:job:{job}:result")
        assert staffed.delete(job).json()["state"] == "expired"
        assert not store.exists(f"ddsr:job:{job}:result")
    gone = staffed.job(job, "/result")
    assert (gone.status_code, gone.json()["code"]) == (410, "job-gone")
    assert staffed.delete(job).json()["state"] == "expired"


def test_one_idempotency_key_at_once_at_two_replicas(staffed: Cluster) -> None:
    second = staffed.replica("second")
    urls = [staffed.sender, second]
    worker = staffed.staff()
    staffed.pause(worker)  # so that the job is in flight for all of them
    answers = at_once(8, lambda number: staffed.post("pause:0.1", key="one", url=urls[number % 2]))
    worker.send_signal(signal.SIGCONT)
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [202] + [409] * 7
    (job,) = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"idempotency-conflict"}
    assert staffed.end(job) == "done"
    again = at_once(4, lambda number: staffed.post("pause:0.1", key="one", url=urls[number % 2]))
    assert {(answer.status_code, answer.headers["DDSR-Job"]) for answer in again} == {(200, job)}
    assert len({answer.content for answer in again}) == 1
    assert staffed.batches(job) == 1


def parts(image: bytes) -> bytes:
    """The body of a POST /hide whose last part is an image."""
    fields = {"identity_prompt": PROMPT, "disguise_prompt": "a cat"}
    texts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    head = '--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    return ("".join(texts) + head).encode() + image + b"\r\n--x--\r\n"


def endless(cluster: Cluster) -> tuple[str, int]:
    """Send chunks for ever, until an answer comes; gives it and how many MiB it took."""
    lines = ["POST /hide HTTP/1.1", "Host: 127.0.0.1", "Content-Type: multipart/form-data; boundary=x"]
    head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()
    start, more = parts(UPLOAD)[:-10], b"10000\r\n" + bytes(2**16) + b"\r\n"
    with socket.create_connection(("127.0.0.1", httpx.URL(cluster.sender).port or 0)) as line:
        line.sendall(head + f"{len(start):x}\r\n".encode() + start + b"\r\n")
        for sent in range(64 * 16):
            if select.select([line], [], [], 0)[0]:
                line.settimeout(20)
                answer = b""
                while not answer.endswith(b"}"):
                    answer += line.recv(2**16)
                return answer.decode(), sent // 16
            line.sendall(more)
    raise AssertionError("64 MiB went in without an answer")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side: int) -> bytes:
    """A PNG of a megabyte that unpacks to side x side pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(1)
    row = bytes(1 + 3 * side)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def peak(cluster: Cluster) -> int:
    """The most memory that the sender ever had, in KiB."""
    lines = Path(f"/proc/{cluster.sender_process.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def test_bodies_that_are_too_much_or_too_little(staffed: Cluster) -> None:
    def refused(body: bytes) -> tuple[int, str]:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = staffed.client.post(f"{staffed.sender}/hide", content=body, headers=headers)
        return answer.status_code, answer.json()["code"]

    before, jobs = peak(staffed), records(staffed)
    answer, mebibytes = endless(staffed)
    assert answer.startswith("HTTP/1.1 413 ")
    assert "body-too-large" in answer
    assert mebibytes >= 12
    assert refused(parts(bomb(8_100))) == (413, "picture-too-large")
    for length in (1, 20, 60, len(UPLOAD) // 2, len(UPLOAD) - 100):
        assert refused(parts(UPLOAD[:length])) in {(422, "broken-picture"), (415, "unsupported-picture")}
    assert refused(parts(b"")) in {(422, "broken-picture"), (415, "unsupported-picture")}
    assert refused(parts(UPLOAD)[:-200])[0] in (400, 422)
    assert staffed.post(prefer="wait=30").status_code == 200
    assert len(records(staffed) - jobs) == 1
    assert peak(staffed) - before < 8_100 * 8_100 * 3 // 1024


def records(cluster: Cluster) -> set[str]:
    """Ids of all jobs that Redis knows."""
    with cluster.store() as store:
        names = [name.decode().split(":") for name in store.keys("ddsr:job:*")]
    return {name[2] for name in names if len(name) == 3}


def hang_up(cluster: Cluster, disguise: str, key: str = "") -> str:
    """Ask for a hiding, wait until it runs, and leave without a word; gives the job's id."""
    before = records(cluster)
    body = parts(UPLOAD).replace(b"a cat", disguise.encode())
    lines = ["POST /hide HTTP/1.1", "Host: 127.0.0.1", "Content-Type: multipart/form-data; boundary=x"]
    lines += [f"Content-Length: {len(body)}", "Prefer: wait=60", *([f"Idempotency-Key: {key}"] if key else [])]
    with socket.create_connection(("127.0.0.1", httpx.URL(cluster.sender).port or 0)) as line:
        line.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        until(lambda: records(cluster) - before, 20)
        (job,) = records(cluster) - before
        cluster.accepted.append(job)
        cluster.running(job)
    return job


def test_a_client_that_leaves_while_it_waits_cancels_its_job(staffed: Cluster) -> None:
    job = hang_up(staffed, "pause:3")  # seconds a step
    assert staffed.end(job) == "cancelled"


def test_a_client_that_can_come_back_keeps_its_job(staffed: Cluster) -> None:
    job = hang_up(staffed, "pause:0.1", key="come-back")
    assert staffed.end(job) == "done"
    body: dict[str, Any] = {"data": {"identity_prompt": PROMPT, "disguise_prompt": "pause:0.1"}}
    headers = {"Idempotency-Key": "come-back"}
    again = staffed.client.post(f"{staffed.sender}/hide", **body, files={"image": UPLOAD}, headers=headers)
    assert (again.status_code, again.headers["DDSR-Job"]) == (200, job)
