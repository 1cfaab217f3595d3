"""Prometheus and Grafana of the profile `observability` against the metrics that the running parts export."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import promql_parser as promql
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import services.common.problems
from services.receiver.app import ReceiverSettings
from services.receiver.app import create_app as create_receiver
from services.sender.app import SenderSettings
from services.sender.app import create_app as create_sender
from shared.errors import DdsrError
from shared.jobs import KINDS, JobStore, open_redis
from shared.settings import WorkerSettings
from stack.redis_server import RedisServer
from stack.temporary import free_ports
from tests.services.conftest import PROMPT, hide_form, local_client, wait_until
from tests.worker.conftest import own_server, shared_server
from tests.worker.support import queue_settings, worker_process

__all__ = ["own_server", "shared_server"]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker/observability"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
CONFIG = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
GROUPS = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"] for rule in RULES if "alert" in rule}
RECORDS = {rule["record"] for rule in RULES if "record" in rule}
DASHBOARD = json.loads((FOLDER / "grafana/dashboards/ddsr.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
EXPRESSIONS = [rule["expr"] for rule in RULES] + QUERIES
SCRAPED = {"job", "instance"}  # labels that Prometheus adds
OWN = {"up": SCRAPED, "ALERTS": {"alertname", "alertstate", "severity"}}  # Prometheus' own series
every_expression = pytest.mark.parametrize("expression", EXPRESSIONS)
Labels = dict[str, set[str]]


@pytest.fixture(scope="module")
def exported(shared_server: RedisServer) -> Labels:
    """Every series of a sender, a receiver and a worker that have done some work, with its labels."""
    queue = queue_settings(shared_server)
    (port,) = free_ports(1)
    found: Labels = {}
    with (
        worker_process(shared_server, DDSR_METRICS_PORT=str(port)),
        local_client(create_sender(SenderSettings(), queue)) as sender,
        local_client(create_receiver(ReceiverSettings(), queue)) as receiver,
    ):
        with open_redis(queue) as connection:
            wait_until(JobStore(connection, queue).health, lambda health: health.trouble is None, 120)
        _work(sender, receiver)
        texts = [client.get("/metrics").text for client in (sender, receiver)]
        for text in [*texts, httpx.get(f"http://127.0.0.1:{port}/metrics").text]:
            assert PROMPT not in text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _work(sender: TestClient, receiver: TestClient) -> None:
    hidden = sender.post("/hide", **hide_form())
    assert hidden.status_code == 200
    form = {"data": {"identity_prompt": PROMPT}, "files": {"stego": ("stego.png", hidden.content)}}
    assert receiver.post("/recover", **form).status_code == 200
    assert receiver.get("/jobs/" + "0" * 32).status_code == 404


def nodes(node: Any) -> Iterable[Any]:
    """A parsed expression and everything below it."""
    yield node
    for name in ("lhs", "rhs", "expr", "args", "vector_selector", "param"):
        below = getattr(node, name, None)
        for part in below if isinstance(below, list) else [below]:
            if part is not None:
                yield from nodes(part)


def selectors(node: Any) -> list[Any]:
    return [part for part in nodes(node) if isinstance(part, promql.VectorSelector)]


def known_labels(name: str, exported: Labels) -> set[str]:
    """Labels of a series, whether exported or recorded."""
    if name in RECORDS:
        (rule,) = (rule for rule in RULES if rule.get("record") == name)
        return set().union(*(known_labels(part.name, exported) for part in selectors(promql.parse(rule["expr"]))))
    return OWN.get(name) or exported[name] | SCRAPED


@every_expression
def test_every_series_and_label_is_one_that_the_code_exports(expression: str, exported: Labels) -> None:
    tree = promql.parse(expression)
    assert selectors(tree)
    for part in selectors(tree):
        assert part.name in exported.keys() | RECORDS | OWN.keys(), part.name
        asked = {matcher.name for matcher in part.matchers.matchers}
        assert asked <= known_labels(part.name, exported), part.name
    for part in nodes(tree):
        if isinstance(part, promql.AggregateExpr) and part.modifier is not None:
            below = [known_labels(inner.name, exported) for inner in selectors(part)]
            assert set(part.modifier.labels) <= set().union(*below), part.prettify()


@every_expression
def test_every_value_that_is_asked_for_can_occur(expression: str, exported: Labels) -> None:
    jobs = {scrape["job_name"] for scrape in CONFIG["scrape_configs"]}
    outcomes = {"done", "failed", "dropped", "sent", "given-up"}
    assert services.common.problems, "imported, so that its errors are known"
    values = {"job": jobs, "code": _codes(DdsrError), "outcome": outcomes, "kind": set(KINDS)}
    for part in selectors(promql.parse(expression)):
        for matcher in part.matchers.matchers:
            for value in matcher.value.split("|"):
                found = values.get(matcher.name)
                assert found is None or any(re.fullmatch(value, known) for known in found), value


def _codes(error: type[DdsrError]) -> set[str]:
    return {error.code}.union(*(_codes(below) for below in error.__subclasses__()))


def test_the_first_event_of_an_alert_is_seen(exported: Labels, shared_server: RedisServer) -> None:
    """`increase` misses a series that appears with its first event, so its counters must begin at 0."""
    queue = queue_settings(shared_server)
    with local_client(create_sender(SenderSettings(), queue)) as sender:
        fresh = sender.get("/metrics").text
    for code in ("envelope-error", "key-file", "unauthenticated"):
        assert f'ddsr_http_problems_total{{code="{code}"}} 0.0' in fresh


def test_openmetrics_is_given_to_who_asks_for_it(shared_server: RedisServer) -> None:
    """Only there are exemplars."""
    with local_client(create_sender(SenderSettings(), queue_settings(shared_server))) as sender:
        answer = sender.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family.type for family in openmetrics(answer.text)}
    assert families["ddsr_http_requests"] == "counter"


def test_recorded_names_do_not_clash_and_alerts_are_complete(exported: Labels) -> None:
    assert RECORDS.isdisjoint(exported)
    assert len(RULES) == len(ALERTS) + len(RECORDS)
    for rule in RULES:
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            assert rule["annotations"]["summary"]


def test_the_dashboard_shows_what_it_must() -> None:
    asked = {part.name for query in QUERIES for part in selectors(promql.parse(query))}
    for rule in RULES:
        if rule.get("record") in asked:
            asked |= {part.name for part in selectors(promql.parse(rule["expr"]))}
    assert asked >= {
        "ddsr_queue_length",
        "ddsr_job_wait_seconds_bucket",
        "ddsr_stage_seconds_bucket",
        "ddsr_batch_size_sum",
        "ddsr_http_problems_total",
        "ddsr_worker_heartbeat_timestamp_seconds",
    }


def test_the_dashboard_is_well_formed() -> None:
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/ddsr.yml").read_text())["providers"][0]
    volumes = COMPOSE["grafana"]["volumes"]
    assert f"./docker/observability/grafana/dashboards:{provider['options']['path']}:ro" in volumes
    assert "./docker/observability/grafana/provisioning:/etc/grafana/provisioning:ro" in volumes
    home = COMPOSE["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == provider["options"]["path"] + "/ddsr.json"
    assert source["url"] == "http://prometheus:9090"
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells: set[tuple[int, int]] = set()
    for panel in PANELS:
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
        place = panel["gridPos"]
        own = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
        assert cells.isdisjoint(own), panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= own


def test_prometheus_asks_where_the_parts_listen_with_the_key_that_it_has() -> None:
    ports = {"worker": WorkerSettings().metrics_port, "sender": 8001, "receiver": 8002}
    assert {scrape["job_name"] for scrape in CONFIG["scrape_configs"]} == {f"ddsr-{name}" for name in ports}
    for scrape in CONFIG["scrape_configs"]:
        (where,) = scrape["dns_sd_configs"]
        (name,) = where["names"]
        assert scrape["job_name"] == f"ddsr-{name}"
        assert where["port"] == ports[name]
        assert "metrics" in COMPOSE[name]["networks"]
        if name != "worker":
            assert scrape["authorization"] == {"credentials_file": "/var/lib/ddsr/prometheus/api.key"}
    assert COMPOSE["worker"]["environment"]["DDSR_METRICS_HOST"] == "0.0.0.0"
    assert "ports" not in COMPOSE["worker"]
    volumes = COMPOSE["prometheus"]["volumes"]
    assert "prometheus-key:/var/lib/ddsr/prometheus:ro" in volumes
    assert "./docker/observability/prometheus.yml:/etc/prometheus/prometheus.yml:ro" in volumes
    assert f"./docker/observability/rules.yml:/etc/prometheus/{CONFIG['rule_files'][0]}:ro" in volumes


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    cases = yaml.safe_load((FOLDER / "rules.test.yml").read_text())["tests"]
    fired = {one["alertname"] for case in cases for one in case["alert_rule_test"] if one.get("exp_alerts")}
    assert fired == ALERTS


def test_the_documents_name_every_metric_of_ours_and_no_other(exported: Labels) -> None:
    page = (ROOT / "docs/operations.md").read_text().partition("## Metrics, dashboard")[2].partition("## ")[0]
    named = {name: set(filter(None, labels.split(","))) for name, labels in re.findall(r"`(ddsr_\w+)\{?([\w,]*)", page)}
    ours = {re.sub("_(bucket|sum|count|created)$", "", name) for name in exported if name.startswith("ddsr_")}
    assert named.keys() == {name for name in ours if f"{name}_total" not in exported}
    for name, labels in named.items():
        if labels:
            assert labels == exported.get(name, exported.get(f"{name}_sum")), name


@pytest.mark.parametrize(
    "words",
    ["check rules rules.yml", "test rules rules.test.yml", "check config --syntax-only prometheus.yml"],
)
def test_promtool(words: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here (Debian's package prometheus)")
    ended = subprocess.run([program, *words.split()], cwd=FOLDER, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
