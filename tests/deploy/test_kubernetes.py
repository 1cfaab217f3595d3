"""The Kubernetes files as kustomize renders them: against the schemas, the code and the restricted standard of pods."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.common.keys import load_keys
from services.common.serve import GRACE
from services.common.settings import ServiceSettings
from services.receiver.app import ReceiverSettings
from services.sender.app import SenderSettings
from shared.envelope import Keyring, PublicKey, read_secret, seal
from shared.jobs.rq import QueueKeys
from shared.settings import QueueSettings, WorkerSettings
from shared.webhooks import load_secret

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "deploy/kubernetes"
RELEASE = "1.37.0"  # of the schemas
PORTS = {"sender": 8001, "receiver": 8002, "worker": 9464, "redis": 6379}
OVERLAYS = ("cpu", "gpu")
Part = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files with secrets made as a person would make them."""
    copy = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("secrets"))
    command = [sys.executable, str(SOURCE / "make_secrets.py"), str(copy / "base/secrets")]
    subprocess.run(command, check=True, cwd=ROOT, timeout=120)
    return copy


@pytest.fixture(scope="module")
def rendered(folder: Path) -> dict[str, list[Part]]:
    """Every object of each overlay."""
    return {overlay: render(folder / "overlays" / overlay) for overlay in OVERLAYS}


def render(path: Path) -> list[Part]:
    """By the kubectl of requirements/all.txt."""
    kubectl = Path(sys.executable).with_name("kubectl")
    ended = subprocess.run([str(kubectl), "kustomize", str(path)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return list(yaml.safe_load_all(ended.stdout))


def of_kind(objects: list[Part], *kinds: str) -> dict[str, Part]:
    return {part["metadata"]["name"]: part for part in objects if part["kind"] in kinds}


def pods(objects: list[Part]) -> dict[str, Part]:
    """Name to the pod's specification."""
    return {name: part["spec"]["template"]["spec"] for name, part in workloads(objects).items()}


def workloads(objects: list[Part]) -> dict[str, Part]:
    return of_kind(objects, "Deployment", "StatefulSet")


def environment(pod: Part) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod["containers"][0].get("env", [])}


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest, rendered: dict[str, list[Part]]) -> list[Part]:
    return rendered[request.param]


def test_every_object_fits_its_schema(objects: list[Part]) -> None:
    """Strictly: a field that Kubernetes does not know is an error."""
    validate = pytest.importorskip("kubernetes_validate").validate
    own = [part for part in objects if part["apiVersion"] != "keda.sh/v1alpha1"]
    assert len(own) == len(objects) - 2
    for part in own:
        validate(part, RELEASE, strict=True)


def test_the_scaler_fits_kedas_schema(objects: list[Part]) -> None:
    """Nothing is left over either: the models drop a field that they do not know."""
    models = pytest.importorskip("cloudcoil.models.keda.v1alpha1")
    for kind in ("ScaledObject", "TriggerAuthentication"):
        (part,) = of_kind(objects, kind).values()
        parsed = getattr(models, kind).model_validate(part)
        assert json.loads(parsed.model_dump_json(by_alias=True, exclude_unset=True)) == part


def test_the_parts_are_there(objects: list[Part]) -> None:
    assert set(workloads(objects)) == {"redis", "worker", "sender", "receiver"}
    assert set(of_kind(objects, "Service")) == {"redis", "sender", "receiver"}
    assert {part["metadata"].get("namespace", "ddsr") for part in objects} == {"ddsr"}


def test_pods_pass_the_restricted_standard(objects: list[Part]) -> None:
    (namespace,) = of_kind(objects, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, pod in pods(objects).items():
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["runAsGroup"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]
            assert re.fullmatch(r"[a-z/-]+:\d+\.\d+\.\d+", container["image"])


def test_no_variable_of_another_service_can_overwrite_a_setting(objects: list[Part]) -> None:
    """Kubernetes would set `DDSR_SENDER_PORT=tcp://...` for a service named ddsr-sender."""
    for pod in pods(objects).values():
        assert pod["enableServiceLinks"] is False


def test_selectors_and_ports_meet(objects: list[Part]) -> None:
    labels = {name: part["spec"]["template"]["metadata"]["labels"] for name, part in workloads(objects).items()}
    for name, part in workloads(objects).items():
        assert part["spec"]["selector"]["matchLabels"].items() <= labels[name].items()
        (port,) = pods(objects)[name]["containers"][0]["ports"]
        assert port["containerPort"] == PORTS[name]
    for name, service in of_kind(objects, "Service").items():
        assert service["spec"]["selector"].items() <= labels[name].items()
        (port,) = service["spec"]["ports"]
        assert port["targetPort"] in {entry["name"] for entry in pods(objects)[name]["containers"][0]["ports"]}
        assert port["port"] == PORTS[name]
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP", "nothing is reachable from outside by itself"


def test_settings_are_the_ones_that_the_code_reads(objects: list[Part], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in (("sender", SenderSettings), ("receiver", ReceiverSettings), ("worker", WorkerSettings)):
        found = environment(pods(objects)[name])
        with monkeypatch.context() as patch:
            for key, value in found.items():
                patch.setenv(key, value)
            own, queue = kind(), QueueSettings()
            user = "worker" if name == "worker" else "service"
            assert queue.redis_url.get_secret_value() == f"redis://{user}@redis:6379/0"
            assert getattr(own, "metrics_port" if name == "worker" else "port") == PORTS[name]
            assert (own.metrics_host if isinstance(own, WorkerSettings) else own.host) == "0.0.0.0"
        known = kind.model_fields.keys() | QueueSettings.model_fields.keys() | {"hf_home", "hf_hub_offline"}
        assert {key.removeprefix("DDSR_").lower() for key in found} <= known | {f"{name}_port"}


def test_probes_ask_what_the_code_answers(objects: list[Part]) -> None:
    for name, pod in pods(objects).items():
        container = pod["containers"][0]
        probes = {key: container[key] for key in container if key.endswith("Probe")}
        assert "livenessProbe" in probes
        for key, probe in probes.items():
            path = probe.get("httpGet", {}).get("path")
            assert path == {"redis": None, "worker": "/metrics"}.get(
                name, "/readyz" if key == "readinessProbe" else "/livez"
            )
        assert ("readinessProbe" in probes) == (name != "worker"), "nobody sends a worker anything"


def test_nothing_is_cut_off_while_it_ends(objects: list[Part]) -> None:
    assert pods(objects)["worker"]["terminationGracePeriodSeconds"] > QueueSettings().job_timeout
    for name in ("sender", "receiver"):
        pause = int(pods(objects)[name]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pods(objects)[name]["terminationGracePeriodSeconds"] > GRACE + pause


def test_each_secret_is_mounted_only_where_it_is_needed(objects: list[Part]) -> None:
    holders: dict[str, set[str]] = {part.rpartition("-")[0]: set() for part in of_kind(objects, "Secret")}
    for name, pod in pods(objects).items():
        for volume in pod["volumes"]:
            if "secret" in volume:
                holders[volume["secret"]["secretName"].rpartition("-")[0]].add(name)
    assert holders == {
        "redis-configuration": {"redis"},
        "redis-admin": set(),
        "redis-service": {"sender", "receiver"},
        "redis-worker": {"worker"},
        "redis-scaler": set(),
        "api-keys": {"sender", "receiver"},
        "caller-key": set(),
        "prometheus-key": set(),
        "sender-keys": {"sender"},
        "receiver-keys": {"receiver"},
        "worker-keys": {"worker"},
    }
    (public,) = (part for part in objects if part["kind"] == "ConfigMap")
    assert set(public["data"]) == {"worker.pub"}
    PublicKey.from_text(public["data"]["worker.pub"])


@pytest.mark.parametrize("name", ["sender", "receiver", "worker"])
def test_the_code_opens_the_secrets_that_the_first_container_lays_out(
    name: str, rendered: dict[str, list[Part]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first container's own script, on files that a group may read, as Kubernetes mounts them."""
    objects = rendered["cpu"]
    pod = pods(objects)[name]
    (first,) = pod["initContainers"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in first["volumeMounts"]:
        inside = tmp_path / mount["mountPath"].lstrip("/")
        inside.mkdir(parents=True)
        if secret := volumes[mount["name"]].get("secret"):
            for key, value in of_kind(objects, "Secret")[secret["secretName"]]["data"].items():
                (inside / key).write_bytes(base64.b64decode(value))
                (inside / key).chmod(0o440)
    script = first["args"][0].replace("/private", f"{tmp_path}/private").replace("/given", f"{tmp_path}/given")
    subprocess.run([*first["command"], script], check=True, timeout=30)
    for key, value in environment(pod).items():
        monkeypatch.setenv(key, value.replace("/private", f"{tmp_path}/private"))
    queue = QueueSettings()
    assert queue.redis_password_file is not None
    assert len(read_secret(queue.redis_password_file)) == 64
    if name != "worker":
        assert Keyring.load_or_create(queue.service_keys).public_keys
        return
    settings = WorkerSettings()
    assert load_secret(settings.webhook_secret_file).startswith("whsec_")
    (public,) = (part["data"]["worker.pub"] for part in objects if part["kind"] == "ConfigMap")
    sealed = seal(b"face", [PublicKey.from_text(public)], "context")
    assert Keyring.load_or_create(settings.worker_keys).open(sealed, "context") == b"face"


def test_passwords_of_the_secrets_are_those_of_the_configuration(rendered: dict[str, list[Part]], folder: Path) -> None:
    secrets = {name.rpartition("-")[0]: part["data"] for name, part in of_kind(rendered["cpu"], "Secret").items()}
    text = base64.b64decode(secrets["redis-configuration"]["redis.conf"]).decode()
    assert "{" not in text, "every user has a password"
    scaler = base64.b64decode(secrets["redis-scaler"]["password"]).decode()
    assert scaler == scaler.strip(), "KEDA takes it as it is"
    assert scaler not in text
    keys = load_keys(ServiceSettings(api_keys_file=folder / "base/secrets/api/api.keys"))
    assert keys.owner(base64.b64decode(secrets["caller-key"]["api.key"]).decode().strip())
    assert keys.scraper(base64.b64decode(secrets["prometheus-key"]["api.key"]).decode().strip())


def test_the_scaler_watches_the_queue_that_the_code_fills(objects: list[Part]) -> None:
    (scaled,) = of_kind(objects, "ScaledObject").values()
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["listName"] == QueueKeys.of(QueueSettings()).waiting
    assert trigger["metadata"]["address"] == f"redis.ddsr.svc:{PORTS['redis']}"
    assert scaled["spec"]["scaleTargetRef"]["name"] in workloads(objects)
    assert "replicas" not in workloads(objects)["worker"]["spec"], "they would be set back with every apply"
    assert scaled["spec"]["minReplicaCount"] >= 1, "without a worker no job is accepted, so that no queue grows"
    (auth,) = of_kind(objects, "TriggerAuthentication").values()
    assert trigger["authenticationRef"]["name"] == auth["metadata"]["name"]
    for reference in auth["spec"]["secretTargetRef"]:
        assert reference["key"] in of_kind(objects, "Secret")[reference["name"]]["data"]


def test_the_network_lets_nobody_in_but_those_who_must(objects: list[Part]) -> None:
    policies = {name: part["spec"] for name, part in of_kind(objects, "NetworkPolicy").items()}
    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (entry,) = policies["redis"]["ingress"]
    assert {port["port"] for port in entry["ports"]} == {PORTS["redis"]}
    callers, scaler = entry["from"]
    assert callers["podSelector"]["matchExpressions"][0]["values"] == ["sender", "receiver", "worker"]
    assert set(scaler) == {"namespaceSelector"}
    assert scaler["namespaceSelector"]["matchLabels"], "an empty selector would be every namespace"
    assert "egress" not in policies["redis"]
    assert policies["names"]["podSelector"]["matchExpressions"][0]["values"] == ["sender", "receiver", "worker"]
    outside = [
        rule for name in ("services", "worker") for rule in policies[name]["egress"] if "ipBlock" in rule["to"][0]
    ]
    assert len(outside) == 1, "only the worker reaches the world"
    assert outside[0] in policies["worker"]["egress"]
    assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(outside[0]["to"][0]["ipBlock"]["except"])
    (metrics,) = policies["worker"]["ingress"]
    assert [port["port"] for port in metrics["ports"]] == [PORTS["worker"]]


def test_only_the_workers_of_one_overlay_ask_for_a_gpu(rendered: dict[str, list[Part]]) -> None:
    asking = {
        (overlay, name)
        for overlay, objects in rendered.items()
        for name, pod in pods(objects).items()
        if any("nvidia.com/gpu" in container["resources"]["limits"] for container in pod["containers"])
    }
    assert asking == {("gpu", "worker")}
    assert environment(pods(rendered["gpu"])["worker"])["DDSR_DEVICE"] == "cuda"
    assert environment(pods(rendered["cpu"])["worker"])["DDSR_DEVICE"] == "cpu"


def test_containers_agree_with_compose(rendered: dict[str, list[Part]]) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name, pod in pods(rendered["cpu"]).items():
        container = pod["containers"][0]
        assert container["image"] == compose[name]["image"]
        if name in ("sender", "receiver"):
            assert container["command"] == compose[name]["command"]


def test_a_second_run_keeps_every_secret(folder: Path) -> None:
    files = [path for path in (folder / "base/secrets").rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    command = [sys.executable, str(SOURCE / "make_secrets.py"), str(folder / "base/secrets")]
    subprocess.run(command, check=True, cwd=folder, timeout=120)
    assert {path: path.read_bytes() for path in files} == before


def test_git_ignores_the_secrets() -> None:
    assert "/deploy/kubernetes/base/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
