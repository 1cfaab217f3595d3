"""What is promised of the containers, in the order in which one state follows from the other."""

import base64
import io
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cli.leaks import search
from shared.imaging import decode_upload, fit_square
from shared.recipe_files import recipes_in
from tests.containers.conftest import Say
from tests.containers.trial import DISGUISE, PORTRAIT, PROMPT, ROOT, WRONG, Trial, outside, until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]
OURS = ("worker", "sender", "receiver")
MEGABYTE = 1e6


def psnr(one: Any, other: Any) -> float:
    """In dB, of pictures in uint8."""
    return float(10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)))


def schemes(trial: Trial) -> list[str]:
    """Those that the form of `POST /hide` offers."""
    text = json.dumps(trial.get("hide", "/openapi.json").json()["components"]["schemas"])
    found = re.search(r'"scheme": \{[^}]*"enum": (\[[^\]]*\])', text)
    assert found
    return list(json.loads(found[1]))


def peak(trial: Trial, service: str) -> int:
    """The most memory that a container ever used, in bytes."""
    places = "/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes"
    return int(trial.inside(service, "sh", "-c", f"cat {places[0]} 2>/dev/null || cat {places[1]}"))


def rules(trial: Trial) -> list[dict[str, Any]]:
    """Of Prometheus, with their state."""
    return [rule for group in trial.prometheus("rules")["groups"] for rule in group["rules"]]


def test_all_services_become_healthy_from_empty_volumes(trial: Trial, say: Say) -> None:
    start = time.monotonic()
    trial.up()
    for name in trial.services:
        assert trial.inspect(name)["State"]["Health"]["Status"] == "healthy"
    assert trial.inspect("keys")["State"]["ExitCode"] == 0
    trial.key = trial.compose("run", "--rm", "-T", "keys", "show").strip()
    say(f"{len(trial.services)} containers healthy after {time.monotonic() - start:.0f} s")


def test_a_face_is_hidden_and_recovered_in_every_scheme(trial: Trial, say: Say) -> None:
    offered = schemes(trial)
    assert {"paper", "keyed", "sealed"} <= set(offered)
    for scheme in offered:
        hidden = trial.send("hide", scheme=scheme, crop="centre")
        assert hidden.status_code == 200, hidden.text
        stego = decode_upload(hidden.content)
        face = fit_square(decode_upload(PORTRAIT), stego.shape[0])
        answers = [trial.send("recover", stego=hidden.content, identity_prompt=prompt) for prompt in (PROMPT, WRONG)]
        right = answers[0]
        assert right.status_code == 200, right.text
        recovered = decode_upload(right.content)
        assert psnr(face, recovered) > 20
        assert psnr(face, stego) < psnr(face, recovered) - 5
        trial.faces += [face[len(face) // 2].tobytes()[:96], recovered[len(face) // 2].tobytes()[:96]]
        text = f"{scheme}: {psnr(face, recovered):.1f} dB with the right prompt"
        if answers[1].status_code == 200:  # some schemes answer a stranger, others an error
            wrong = decode_upload(answers[1].content)
            assert scheme == "paper" or psnr(face, wrong) < psnr(face, recovered) - 5, "only `paper` has no key"
            text += f", {psnr(face, wrong):.1f} dB with a wrong one"
        else:
            assert 400 <= answers[1].status_code < 500, answers[1].text
            text += f", {answers[1].json()['code']} with a wrong one"
        say(text)


@pytest.mark.parametrize("kind", ["hide", "recover"])
def test_nobody_is_served_without_a_key(trial: Trial, kind: str) -> None:
    for key in ("", "not-a-key"):
        assert trial.send(kind, key=key).status_code == 401


def test_roots_are_read_only_and_nobody_is_root_or_capable(trial: Trial) -> None:
    for name in trial.services:
        status = dict(re.findall(r"(\w+):\s*(.*)", trial.inside(name, "cat", "/proc/1/status")))
        assert int(status["Uid"].split()[0]) > 0, name
        assert {status[kind] for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {"0" * 16}, name
        assert status["NoNewPrivs"] == "1", name
        for folder in ("/", "/etc", "/usr"):
            assert "ead-only" in trial.inside(name, "sh", "-c", f"echo > {folder}/x", fails=True), name


def test_secrets_are_read_by_their_reader_only(trial: Trial) -> None:
    show = ("-c", "find /var/lib/ddsr -type f -exec stat -c '%a %n' {} +")
    lines = trial.once("keys", "--entrypoint", "sh", command=show).split("\n")
    for name in OURS:
        lines += trial.inside(name, "sh", *show).split("\n")
    modes = dict(reversed(line.split(" ", 1)) for line in lines if line)
    public = modes.pop("/var/lib/ddsr/worker-public/worker.pub")
    assert modes.pop("/var/lib/ddsr/api/api.keys") == "640", "hashes; callers are added to it"
    shared = {path for path, mode in modes.items() if mode == "440"}
    assert public == "644"
    assert {path.split("/")[4] for path in shared} == {"redis", "prometheus", "grafana"}, "read by a group"
    assert {modes[path] for path in modes.keys() - shared} == {"400"}
    assert len(modes) == 11


def test_only_sender_receiver_and_grafana_publish_a_port(trial: Trial) -> None:
    ports = {name: trial.inspect(name)["HostConfig"]["PortBindings"] or {} for name in trial.services}
    assert {name for name, bound in ports.items() if bound} == {"sender", "receiver", "grafana"}
    entries = [entry for bound in ports.values() for entries in bound.values() for entry in entries]
    assert {entry["HostIp"] for entry in entries} == {"127.0.0.1"}


def test_no_installer_is_left_in_our_images(trial: Trial) -> None:
    for name in OURS:
        look = "import importlib.util as u; print([n for n in ('pip', 'setuptools') if u.find_spec(n)])"
        assert trial.python(name, look).strip() == "[]", name


def test_outside_hosts_are_reached_by_the_worker_only(trial: Trial, say: Say) -> None:
    ask = f"import urllib.request as r; print(r.urlopen('http://{outside()}/', timeout=5).status)"
    try:
        assert trial.python("worker", ask).strip() == "200"
    except AssertionError as error:
        pytest.skip(f"the worker does not reach {outside()} either, so nothing is shown: {str(error)[-200:]}")
    for name in ("sender", "receiver"):
        assert re.search("timed out|unreachable", trial.python(name, ask, fails=True)), name
    for name in ("grafana", "prometheus"):
        trial.inside(name, "wget", "-T", "5", "-q", "-O", "-", f"http://{outside()}/", fails=True)
    trial.inside("redis", "sh", "-c", f"exec 3<>/dev/tcp/{outside().replace(':', '/')}", fails=True)
    say("the worker is answered (its control); sender, receiver, Grafana, Prometheus and Redis are not")


def test_prometheus_sees_every_target_and_the_rules(trial: Trial, say: Say) -> None:
    def up() -> set[str]:
        targets = trial.prometheus("targets")["activeTargets"]
        return {target["labels"]["job"] for target in targets if target["health"] == "up"}

    took = until(lambda: up() == {"ddsr-worker", "ddsr-sender", "ddsr-receiver"}, 90)
    until(lambda: not [rule for rule in rules(trial) if rule["health"] == "unknown"], 60)
    found = rules(trial)
    alerts = [rule for rule in found if rule["type"] == "alerting"]
    assert len(alerts) > 10
    assert [rule for rule in found if rule["health"] == "err"] == []
    assert [rule["name"] for rule in alerts if rule["state"] == "firing"] == []
    say(f"3 jobs up after {took:.0f} s, {len(found)} rules, {len(alerts)} of them alerts, none firing")


def test_the_looks_of_the_runbook_answer_as_its_page_says(trial: Trial) -> None:
    """Every word of an answer on the page, but numbers and comments, is in the answer here."""
    until(lambda: trial.prometheus("alerts")["alerts"] == [], 180)
    page = (ROOT / "docs/operations.md").read_text().partition("### It is three in the morning")[2]
    shorthand = re.search("`redis` stands for `(.*) -`", page)
    assert shorthand
    block = re.search("^```\n(1  .*?)^```", page, re.DOTALL | re.MULTILINE)
    assert block
    looks = re.findall(r"^\d  (.*?)\n((?: {7}.*\n)*)", re.sub(r" +# .*", "", block[1]), re.MULTILINE)
    assert len(looks) == 9
    for command, answer in looks:
        said = trial.shell(f'redis() {{ {shorthand[1]} - "$@"; }}; {command}')
        for word in answer.split():
            assert "..." in word or re.search(r"\d|^(seconds|minutes)$", word) or word in said, (command, word, said)


def test_memory_limits_hold_with_49_megapixels(trial: Trial, say: Say) -> None:
    rows = np.linspace(0, 255, 7000).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.broadcast_to(rows[:, None, None], (7000, 7000, 3)).copy()).save(stream, "JPEG")
    large = stream.getvalue()
    (recipe,) = recipes_in(trial.send("hide", scheme="sealed").content)
    with ThreadPoolExecutor(16) as pool:
        hidden = [pool.submit(trial.send, "hide", image=large) for _ in range(8)]
        recovered = [pool.submit(trial.send, "recover", stego=large, recipe=recipe) for _ in range(8)]
    assert {answer.result().status_code for answer in hidden} <= {200, 503}
    assert {answer.result().json()["code"] for answer in recovered} <= {"not-authentic", "queue-full"}
    assert any(answer.result().status_code == 200 for answer in hidden)
    for name in OURS:
        found = trial.inspect(name)
        most, limit = peak(trial, name), found["HostConfig"]["Memory"]
        assert not found["State"]["OOMKilled"]
        assert found["RestartCount"] == 0
        assert most < limit
        say(f"{name}: {most / MEGABYTE:.0f} MB at most, of {limit / MEGABYTE:.0f} MB")


def test_three_workers_share_the_work(trial: Trial, say: Say) -> None:
    trial.up("--no-recreate", "--scale", "worker=3")

    def workers(count: int) -> bool:
        return f"ddsr_workers {count}.0" in trial.get("hide", "/metrics").text

    until(lambda: workers(3), 60)
    jobs = [trial.begin(50) for _ in range(6)]
    assert {trial.state(job, 120) for job in jobs} == {"done"}
    logs = [trial.docker("logs", name, both=True) for name in trial.ids("worker")]
    busy = [text for text in logs if '"event": "batch"' in text]
    assert len(busy) > 1
    say(f"{len(busy)} of {len(logs)} took some of {len(jobs)} jobs")
    trial.up("--no-recreate", "--scale", "worker=1")
    until(lambda: workers(1), 60)


def test_a_busy_worker_that_is_stopped_finishes_its_job(trial: Trial, say: Say) -> None:
    job = trial.begin()
    until(lambda: trial.state(job) == "running", 60)
    start = time.monotonic()
    trial.compose("stop", "worker")
    assert trial.state(job) == "done"
    assert trial.inspect("worker")["State"]["ExitCode"] == 0
    say(f"it went on for {time.monotonic() - start:.0f} s and exited with 0")


def test_an_alert_fires_when_no_worker_runs(trial: Trial, say: Say) -> None:
    trial.compose("stop", "worker")
    assert trial.send("hide").json()["code"] == "no-worker"

    def firing() -> bool:
        return any(rule["name"] == "DdsrNoWorker" and rule["state"] == "firing" for rule in rules(trial))

    took = until(firing, 180, 2)
    trial.up("--no-recreate")
    until(lambda: not firing(), 120, 2)
    say(f"DdsrNoWorker fires after {took:.0f} s and is quiet again once the worker is back")


@pytest.mark.parametrize("part", ["redis", "worker"])
def test_nothing_acknowledged_is_lost_when_a_part_is_killed(trial: Trial, part: str) -> None:
    jobs = [trial.begin(), trial.begin(20)]
    until(lambda: trial.state(jobs[0]) == "running", 60)
    trial.docker("kill", "--signal", "KILL", trial.ids(part)[0])
    trial.compose("start", part)
    until(lambda: trial.get("hide", "/readyz").status_code == 200, 120)
    for job in jobs:
        until(lambda job=job: trial.get("hide", f"{job}?wait=60").json().get("state") == "done", 240)


def test_keys_and_jobs_survive_down_and_up(trial: Trial) -> None:
    unread, waiting = trial.begin(5), trial.begin()
    assert trial.state(unread, 60) == "done"
    trial.down()
    trial.up()
    assert trial.compose("run", "--rm", "-T", "keys", "show").strip() == trial.key
    assert trial.get("hide", f"{unread}/result").status_code == 200
    assert trial.state(waiting, 120) == "done"


def test_keys_are_rotated_as_the_pages_say(trial: Trial) -> None:
    keys = "from pathlib import Path; from shared.envelope import Keyring; "
    keys += "k = Keyring.load_or_create(Path('/var/lib/ddsr/worker-keys'))"
    show = f"{keys}; print(*(key.id for key in k.public_keys))"
    (old,) = trial.python("worker", show).split()
    trial.python("worker", f"{keys}; print(k.rotate().id)")
    trial.compose("restart", "worker")
    trial.up("--no-recreate")
    assert trial.python("worker", show).split()[0] == old
    assert trial.send("hide").status_code == 200
    trial.python("worker", f"{keys}; k.destroy({old!r})")
    trial.compose("restart", "worker")
    trial.up("--no-recreate")
    assert trial.send("hide").status_code == 200
    line = trial.once("keys", "--entrypoint", "python", command=("-m", "services.common.keys", "ALICE")).split()
    (stored,) = (word for word in line if word.startswith("ALICE:"))
    (key,) = (word for word in line if word.startswith("ddsr_"))
    assert trial.send("hide", key=key).status_code == 401
    trial.once("keys", "--entrypoint", "sh", command=("-c", f'echo "{stored}" >> /var/lib/ddsr/api/api.keys'))
    trial.compose("restart", "sender", "receiver")
    trial.up("--no-recreate")
    assert trial.send("hide", key=key).status_code == 200
    trial.once("keys", "--entrypoint", "sh", command=("-c", "rm /var/lib/ddsr/redis-worker/password"))
    trial.seen += trial.logs()
    trial.up("--force-recreate")
    assert trial.send("hide").status_code == 200


def test_sigterm_ends_everything_with_0_within_the_grace_period(trial: Trial, say: Say) -> None:
    seconds = {}
    for name in sorted(trial.services, key="redis".__eq__):  # it goes last
        if name not in OURS and not trial.official(name):
            continue  # a stand-in's end says nothing of the image's
        start = time.monotonic()
        trial.compose("stop", name)
        seconds[name] = time.monotonic() - start
        assert trial.inspect(name)["State"]["ExitCode"] == 0, name
        assert seconds[name] < 30, "nobody works, so nobody waits"
    trial.up("--no-recreate")
    say(", ".join(f"{name}: {took:.1f} s" for name, took in seconds.items()))


@pytest.mark.parametrize(
    ("service", "variable", "words"),
    [
        ("sender", "DDSR_REDIS_PASSWORD_FILE=/var/lib/ddsr/nothing", "refusing to start: nothing cannot be read"),
        ("receiver", "DDSR_API_KEYS_FILE=/var/lib/ddsr/nothing", "refusing to start: .*/var/lib/ddsr/nothing"),
        ("worker", "REDIS_URL=redis://service@redis:6379/0", "Redis refuses the user or the password: compare"),
    ],
)
def test_a_bad_setting_ends_in_one_line_that_names_the_remedy(
    trial: Trial, service: str, variable: str, words: str
) -> None:
    said = trial.once(service, "--env", variable, fails=True)
    assert len([line for line in said.splitlines() if re.search(words, line)]) == 1, said
    assert "Traceback" not in said


def test_a_worker_of_another_model_refuses_to_join(trial: Trial) -> None:
    make = "from pathlib import Path; from shared.diffusion.tiny import build_tiny; build_tiny(Path('/tmp/tiny'))"
    script = f'python -c "{make}" && DDSR_MODEL=/tmp/tiny exec python -m worker'
    said = trial.once("worker", "--entrypoint", "sh", command=("-c", script), fails=True)
    assert "one Redis database holds one model; give this worker their DDSR_MODEL" in said
    assert trial.send("hide").status_code == 200


def test_a_worker_whose_key_is_not_pinned_is_told_of(trial: Trial) -> None:
    own = {
        "DDSR_WORKER_KEYS": "/tmp/keys",
        "DDSR_WEBHOOK_SECRET_FILE": "/tmp/keys/webhook.secret",
        "DDSR_PUBLIC_KEYS_FILE": "/tmp/worker.pub",
    }
    options = [word for name, value in own.items() for word in ("--env", f"{name}={value}")]
    stranger = trial.compose("run", "--detach", "--no-deps", *options, "worker").split()[-1]
    try:
        words = "a live worker's key is not trusted; if it is yours, add it to DDSR_WORKER_KEYS_FILE"
        until(lambda: words in trial.docker("logs", trial.ids("sender")[0], both=True), 120)
        assert "ddsr_workers_untrusted 1.0" in trial.get("hide", "/metrics").text
        assert trial.send("hide").status_code == 200
    finally:
        trial.docker("rm", "--force", stranger)


def test_no_secret_is_readable_in_logs_and_volumes(trial: Trial, say: Say) -> None:
    logs = trial.seen + trial.logs()
    files = [entry for volume in trial.volumes() for entry in trial.files(volume)]
    secrets = {"identity prompt": PROMPT.encode(), "wrong prompt": WRONG.encode(), "disguise prompt": DISGUISE.encode()}
    secrets |= {"upload": PORTRAIT[len(PORTRAIT) // 2 :][:48]}
    secrets |= {f"face {number}": piece for number, piece in enumerate(trial.faces)}
    assert any("appendonly" in name for name, _ in files), "the search reads Redis' file"
    assert search([*logs, *files], secrets) == []
    assert search(logs, {"a line of the worker": b'"event": "batch"'}), "the search reads the logs"
    keys = {"key of the caller": trial.key.encode(), "base64 of it": base64.b64encode(trial.key.encode())}
    assert search(logs, keys) == []
    assert [name for name, data in files if trial.key.encode() in data] == [
        next(name for name, _ in files if name.endswith("caller-key ./api.key"))
    ]
    say(f"{len(logs)} logs and {len(files)} files of {len(trial.volumes())} volumes searched")
