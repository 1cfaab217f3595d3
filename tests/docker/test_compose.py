"""The compose files against the code: settings, ports, secrets and hardening. No engine is needed."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.common.serve import GRACE
from services.receiver.app import ReceiverSettings
from services.sender.app import SenderSettings
from shared.settings import QueueSettings, WorkerSettings

ROOT = Path(__file__).parents[2]
GPU = ROOT / "docker/compose.gpu.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
LINT = ROOT / "docker/compose-lint.yml"
OBSERVERS = {"prometheus", "grafana"}
NETWORKS = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["networks"]
PORTS = {"sender": 8001, "receiver": 8002}
BUILT = {"keys", "worker"}
OURS = {"keys", "worker", "sender", "receiver"}
every_service = pytest.mark.parametrize("name", SERVICES)
either = pytest.mark.parametrize("name", PORTS)


def seconds(text: str) -> int:
    found = re.fullmatch(r"(\d+)s", text)
    assert found
    return int(found[1])


def mounts(name: str) -> dict[str, tuple[str, str]]:
    """Volume, or path in the repository, to (folder in the container, `rw` or `ro`)."""
    parts = [(*volume.split(":"), "rw")[:3] for volume in SERVICES[name]["volumes"]]
    return {source: (target, mode) for source, target, mode in parts}


@every_service
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ulimits"] == {"core": 0}
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not service.get("privileged")
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert [path.partition(":")[0] for path in service["tmpfs"]] == ["/tmp"]


@every_service
def test_every_image_is_pinned_to_a_version(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", SERVICES[name]["image"])
    assert ("build" in SERVICES[name]) == (name in BUILT)
    if name in BUILT:
        assert (ROOT / SERVICES[name]["build"]["dockerfile"]).exists()
    if name in OURS:
        (built,) = (other for other in BUILT if SERVICES[other]["image"] == SERVICES[name]["image"])
        assert built in {name, *SERVICES[name].get("depends_on", {})}, (
            "an image is built once, for whoever starts first"
        )


@every_service
def test_what_runs_on_has_a_health_check_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    if name == "keys":
        assert service["healthcheck"] == {"disable": True}
        assert service["restart"] == "no"
    else:
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["restart"] == "unless-stopped"


def test_things_start_in_order() -> None:
    def awaited(name: str) -> dict[str, str]:
        return {on: how["condition"] for on, how in SERVICES[name].get("depends_on", {}).items()}

    made = {"keys": "service_completed_successfully"}
    assert awaited("keys") == {}
    assert awaited("redis") == made
    assert awaited("worker") == {**made, "redis": "service_healthy"}
    for name in PORTS:
        assert awaited(name) == {**made, "redis": "service_healthy", "worker": "service_healthy"}


def test_only_services_and_grafana_publish_ports_and_on_this_machine_alone() -> None:
    assert {name for name, service in SERVICES.items() if "ports" in service} == {*PORTS, "grafana"}
    assert SERVICES["grafana"]["ports"] == ["127.0.0.1:3000:3000"], "not opened by DDSR_PUBLISH"
    for name, port in PORTS.items():
        assert SERVICES[name]["ports"] == [f"${{DDSR_PUBLISH:-127.0.0.1}}:{port}:{port}"]


def test_redis_and_the_maker_of_secrets_reach_nobody_outside() -> None:
    assert SERVICES["redis"]["networks"] == ["queue"]
    assert SERVICES["redis"]["working_dir"] == mounts("redis")["redis-data"][0], "its append-only file is kept"
    assert NETWORKS["queue"] == {"internal": True}
    assert SERVICES["keys"]["network_mode"] == "none"
    assert set(SERVICES["worker"]["networks"]).isdisjoint({"front"})
    assert SERVICES["prometheus"]["networks"] == ["metrics"]
    assert NETWORKS["metrics"] == {"internal": True}
    assert set(SERVICES["grafana"]["networks"]).isdisjoint({"queue", "front", "out"})


def test_outside_hosts_answer_the_worker_only() -> None:
    """A network without masquerading: packets to the outside bear a private sender. tests/containers tries it."""
    for network, how in NETWORKS.items():
        if network != "out" and not how.get("internal"):
            assert how["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}, network
    assert {name for name in SERVICES if "out" in SERVICES[name].get("networks", [])} == {"worker"}


def test_the_observers_are_a_profile_and_nothing_waits_for_them() -> None:
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["observability"]} == OBSERVERS
    assert not [name for name in SERVICES if "profiles" in SERVICES[name] and name not in OBSERVERS]
    for name in SERVICES.keys() - OBSERVERS:
        assert OBSERVERS.isdisjoint(SERVICES[name].get("depends_on", {}))


def test_every_mounted_file_is_in_the_repository_and_read_only() -> None:
    found = [(source, mode) for name in SERVICES for source, (_, mode) in mounts(name).items() if source[0] == "."]
    assert len(found) == 4
    for source, mode in found:
        assert (ROOT / source).exists(), source
        assert mode == "ro"


def test_no_password_or_key_is_in_an_environment() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEYS", key):
                assert str(value).startswith("/var/lib/ddsr/"), (name, key)
        assert ":" not in service.get("environment", {}).get("REDIS_URL", "").partition("//")[2].rpartition("@")[0]


@either
def test_the_services_settings_are_the_ones_that_the_code_reads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES[name]["environment"]
    for key, value in environment.items():
        monkeypatch.setenv(key, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))
    own = (SenderSettings if name == "sender" else ReceiverSettings)()
    queue = QueueSettings()
    assert (own.host, own.port) == ("0.0.0.0", PORTS[name])
    assert queue.redis_url.get_secret_value() == "redis://service@redis:6379/0"
    if isinstance(own, SenderSettings):
        assert own.receiver_url == f"http://127.0.0.1:{PORTS['receiver']}"
    else:
        assert own.allow_origins[0] == f"http://127.0.0.1:{PORTS['sender']}"
    where = mounts(name)
    assert str(own.api_keys_file) == where["api-keys"][0] + "/api.keys"
    assert str(queue.redis_password_file) == where["redis-service"][0] + "/password"
    assert str(queue.service_keys) == where[f"{name}-keys"][0]
    assert str(queue.worker_keys_file) == where["worker-public"][0] + "/worker.pub"
    known = type(own).model_fields.keys() | QueueSettings.model_fields.keys() | {f"{name}_port"}
    assert {key.removeprefix("DDSR_").lower() for key in environment} <= known


def test_the_workers_settings_are_the_ones_that_the_code_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = SERVICES["worker"]["environment"]
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    own, queue, where = WorkerSettings(), QueueSettings(), mounts("worker")
    assert own.device == "cpu"
    assert own.model is None
    assert queue.redis_url.get_secret_value() == "redis://worker@redis:6379/0"
    assert str(queue.redis_password_file) == where["redis-worker"][0] + "/password"
    assert str(own.worker_keys) == where["worker-keys"][0]
    assert own.webhook_secret_file.parent == own.worker_keys
    assert own.public_keys_file == Path(where["worker-public"][0]) / "worker.pub"
    assert str(own.public_keys_file) == SERVICES["sender"]["environment"]["DDSR_WORKER_KEYS_FILE"]
    known = WorkerSettings.model_fields.keys() | QueueSettings.model_fields.keys() | {"hf_hub_offline"}
    assert {key.removeprefix("DDSR_").lower() for key in environment} <= known


def test_each_private_thing_is_mounted_only_where_it_is_needed() -> None:
    holders: dict[str, dict[str, str]] = {}
    for name in SERVICES:
        for volume, (_, mode) in mounts(name).items():
            if volume[0] == ".":
                continue
            holders.setdefault(volume, {})[name] = mode
    assert holders == {
        "redis-data": {"redis": "rw"},
        "redis-users": {"keys": "rw", "redis": "ro"},
        "redis-service": {"keys": "rw", "sender": "ro", "receiver": "ro"},
        "redis-worker": {"keys": "rw", "worker": "ro"},
        "api-keys": {"keys": "rw", "sender": "ro", "receiver": "ro"},
        "caller-key": {"keys": "rw"},
        "prometheus-key": {"keys": "rw", "prometheus": "ro"},
        "prometheus-data": {"prometheus": "rw"},
        "grafana-password": {"keys": "rw", "grafana": "ro"},
        "grafana-data": {"grafana": "rw"},
        "sender-keys": {"sender": "rw"},
        "receiver-keys": {"receiver": "rw"},
        "worker-keys": {"worker": "rw"},
        "worker-public": {"worker": "rw", "sender": "ro", "receiver": "ro"},
    }


@pytest.mark.parametrize("name", sorted(OURS - {"keys"}))
def test_entry_points_are_modules_and_volumes_have_a_folder_in_the_image(name: str) -> None:
    text = (ROOT / SERVICES["worker" if name == "worker" else "keys"]["build"]["dockerfile"]).read_text()
    for folder, _ in mounts(name).values():
        assert re.search(rf"install .*{folder}\b", text), folder
    command = SERVICES[name].get("command") or ["python", "-m", "worker"]
    assert command[:2] == ["python", "-m"]
    assert importlib.util.find_spec(f"{command[2]}.__main__")
    assert '"worker"' in text or name != "worker"


def test_checks_of_health_ask_where_the_code_listens() -> None:
    for name, port in PORTS.items():
        assert f"http://127.0.0.1:{port}/readyz" in SERVICES[name]["healthcheck"]["test"][-1]
    port = WorkerSettings().metrics_port
    assert f"http://127.0.0.1:{port}/metrics" in SERVICES["worker"]["healthcheck"]["test"][-1]


def test_nothing_is_cut_off_while_it_ends() -> None:
    assert seconds(SERVICES["worker"]["stop_grace_period"]) > QueueSettings().job_timeout
    for name in PORTS:
        assert seconds(SERVICES[name]["stop_grace_period"]) > GRACE


def test_only_the_worker_gets_the_gpu() -> None:
    assert "nvidia" not in (ROOT / "docker-compose.yml").read_text()
    services = yaml.safe_load(GPU.read_text())["services"]
    assert list(services) == ["worker"]
    (device,) = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    environment = services["worker"]["environment"]
    assert environment["DDSR_DEVICE"] == "cuda"
    known = {f"DDSR_{field.upper()}" for field in WorkerSettings.model_fields} | {"HF_HOME", "HF_HUB_OFFLINE"}
    assert environment.keys() <= known
    assert environment["HF_HOME"] in services["worker"]["volumes"][0]
    assert environment["HF_HOME"] in (ROOT / "docker/worker.Dockerfile").read_text()


def test_the_makers_folders_are_in_the_image() -> None:
    text = (ROOT / "docker/services.Dockerfile").read_text().replace("\\\n", "")
    for folder, _ in mounts("keys").values():
        assert re.search(rf"install .*{folder}\b", text), folder


@pytest.mark.parametrize("profile", [[], ["--profile", "observability"]], ids=["plain", "observability"])
@pytest.mark.parametrize("more", [[], ["-f", str(GPU)]], ids=["cpu", "gpu"])
def test_a_client_of_compose_accepts_the_files(more: list[str], profile: list[str]) -> None:
    services = yaml.safe_load(merged(more, profile))["services"]
    assert services.keys() == (SERVICES.keys() if profile else SERVICES.keys() - OBSERVERS)
    gpu = services["worker"].get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
    assert bool(gpu) == bool(more)


def test_compose_lint_at_medium(tmp_path: Path) -> None:
    """On what Compose makes of both files, as one alone shows half of a service."""
    path = tmp_path / "merged.yml"
    path.write_text(merged(["-f", str(GPU)], ["--profile", "observability"]))
    command = [sys.executable, "-m", "compose_lint", "--fail-on", "medium", "--strict-config", "--config", str(LINT)]
    for file in (path, ROOT / "docker-compose.yml"):
        ended = subprocess.run([*command, str(file)], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def merged(more: list[str], profile: list[str]) -> str:
    """The whole configuration as Compose understands it; skips without Compose."""
    client = _client()
    if client is None:
        pytest.skip("no `docker compose` or `docker-compose` of version 2 or later here")
    command = [*client, "-f", str(ROOT / "docker-compose.yml"), *more, *profile, "config"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert "warning" not in ended.stderr.lower()
    return ended.stdout


def _client() -> list[str] | None:
    beside = shutil.which("docker-compose", path=str(Path(sys.executable).parent))
    for command in ([beside or "docker-compose"], ["docker", "compose"]):
        if shutil.which(command[0]) is None:
            continue
        ended = subprocess.run([*command, "version", "--short"], capture_output=True, text=True, timeout=60)
        if ended.returncode == 0 and re.match(r"v?([2-9]|\d\d)\.", ended.stdout):
            return command
    return None
