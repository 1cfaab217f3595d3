"""What docs/operations.md and docs/threat-model.md name exists: settings, keys, files, commands, alerts, times."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cli.main import app
from services.common.settings import ServiceSettings
from services.receiver.app import ReceiverSettings
from services.sender.app import SenderSettings
from shared.diffusion import keying
from shared.jobs import scripts as records
from shared.settings import QueueSettings, StackSettings, WorkerSettings
from worker.outbox import DELAYS

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
MODEL = (ROOT / "docs/threat-model.md").read_text()
POLICY = (ROOT / "SECURITY.md").read_text()
PAGES = {"docs/operations.md": OPERATIONS, "docs/threat-model.md": MODEL, "SECURITY.md": POLICY}
RULES = [
    rule
    for group in yaml.safe_load((ROOT / "docker/observability/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
every_page = pytest.mark.parametrize("page", PAGES)


@every_page
def test_every_setting_exists(page: str) -> None:
    kinds = (ServiceSettings, SenderSettings, ReceiverSettings, QueueSettings, WorkerSettings, StackSettings)
    known = {f"DDSR_{name.upper()}" for kind in kinds for name in kind.model_fields}
    assert set(re.findall(r"\bDDSR_[A-Z_]+\b", PAGES[page])) <= known


@every_page
def test_every_link_and_file_exists(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGES[page]):
        if not target.startswith("https://"):
            assert ((ROOT / page).parent / target).exists(), target
    for path in re.findall(r"`((?:docs|docker|deploy|tests|shared|requirements)/[\w./-]+)`", PAGES[page]):
        assert (ROOT / path).exists() or path == "deploy/kubernetes/base/secrets", path
    for target in re.findall(r"`make ([a-z]+)`", PAGES[page]):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_every_alert_is_explained_and_no_other() -> None:
    alerts = {rule["alert"] for rule in RULES if "alert" in rule}
    assert set(re.findall(r"\bDdsr[A-Za-z]+\b", OPERATIONS)) == alerts


def test_the_keys_of_redis_are_the_codes() -> None:
    named = set(re.findall(r"`(ddsr:[^`]*)`", OPERATIONS))
    assert named == {
        records.record_key("<id>"),
        records.request_key("<id>"),
        records.result_key("<id>"),
        records.list_key("<kind>", "<owner>"),
        records.idempotency_key("<mac>"),
        records.worker_key("<name>"),
        records.WORKERS,
        "ddsr:limits:*",
    }


def test_the_times_are_the_defaults() -> None:
    queue, worker = QueueSettings(), WorkerSettings()
    day = 24 * 3600
    assert f"{queue.envelope_ttl} s at most" in OPERATIONS
    assert queue.envelope_ttl == queue.queue_ttl + (queue.retries + 1) * (queue.job_timeout + 60)
    assert f"{queue.result_ttl} s (`DDSR_RESULT_TTL`)" in OPERATIONS
    assert f"{queue.first_read_ttl} s after the first reading" in OPERATIONS
    assert (queue.tombstone_ttl, queue.idempotency_ttl) == (day, day)
    assert f"{round(4 * worker.heartbeat_interval)} s after the last heartbeat" in OPERATIONS
    assert f"{round(sum(DELAYS) / 60)} minutes after the end" in OPERATIONS
    assert f"requests live {queue.envelope_ttl // 60} minutes" in OPERATIONS
    assert queue.envelope_ttl + sum(DELAYS) < 2 * 3600, "after 2 hours"
    assert f"`DDSR_MAX_WAIT` ({ServiceSettings().max_wait:.0f} s)" in OPERATIONS
    assert f"`DDSR_QUEUE_LIMIT` jobs ({queue.queue_limit})" in OPERATIONS
    assert f"`worker-lost` after {queue.retries + 1} attempts" in OPERATIONS


def test_the_cost_of_a_guess_is_the_codes() -> None:
    text = f"{keying.ARGON2_MEMORY_KIB // 1024} MiB, {keying.ARGON2_PASSES} passes, {keying.ARGON2_LANES} lanes"
    assert text in MODEL


def test_every_command_of_ours_exists() -> None:
    groups = {
        group.name: {command.name for command in group.typer_instance.registered_commands if command.name}
        | {command.callback.__name__ for command in group.typer_instance.registered_commands if command.callback}
        for group in app.registered_groups
        if group.typer_instance
    }
    found = set(re.findall(r"ddsr keys (\w+)", OPERATIONS))
    assert found == {"show", "rotate", "destroy"}
    assert found <= groups["keys"]
    for path in re.findall(r"kubectl apply -k (deploy/\S+?)[`\s]", OPERATIONS):
        assert (ROOT / path / "kustomization.yaml").exists()


def test_the_recipe_for_rotation_works(tmp_path: Path) -> None:
    """The very lines of the page, on a folder of keys."""
    (assignment,) = re.findall(r"^keys='(.*)'$", OPERATIONS, re.MULTILINE)
    prepared = assignment.replace("/var/lib/ddsr/worker-keys", str(tmp_path / "keys"))
    calls = re.findall(r'exec worker python -c "\$keys; ([^"]*)"', OPERATIONS)
    assert len(calls) == 3

    def run(call: str) -> str:
        ended = subprocess.run([sys.executable, "-c", f"{prepared}; {call}"], cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    rotate, show, destroy = calls
    new = run(rotate)
    old, current = run(show).split()
    assert current == new
    run(destroy.replace("0123456789abcdef", old))
    assert run(show) == new


def test_the_licence_of_code_and_weights_are_told_apart() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    notice = (ROOT / "NOTICE").read_text()
    terms = (ROOT / "shared/weights/README.md").read_text().partition("## Terms")[2]
    for source in ("CelebA", "UTKFace", "SUN", "FairFace"):
        assert source in terms
        assert source in notice
    assert "non-commercial" in terms
    assert "no commercial use" in notice
