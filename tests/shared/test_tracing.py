"""When traces are on, what a span may say, what a caller's ids may be. tests/e2e/test_traces.py looks at real ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared import tracing
from shared.tracing import OFF, Origin, TracingError, traceparent_of, wanted

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("variables", "exporters"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "x"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp"]),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, []),
    ],
)
def test_the_standard_variables_decide(variables: dict[str, str], exporters: list[str]) -> None:
    assert wanted(variables) == exporters


def test_without_them_nothing_of_opentelemetry_is_loaded() -> None:
    program = (
        "import sys; import redis.asyncio; loaded = set(sys.modules)  # redis looks for it by itself\n"
        "import worker.app; from shared import tracing; tracing.start('x')\n"
        "with tracing.begin('a', parent='x').child('b') as span, tracing.below('c'): span.fail('d')\n"
        "assert span is tracing.OFF and tracing.origin() == tracing.Origin()\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in set(sys.modules) - loaded))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, env={}, timeout=100).returncode == 0


def test_missing_packages_are_no_silent_end_of_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    with pytest.raises(TracingError, match="pigeon"):
        tracing.start("ddsr-test")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(TracingError, match=r"requirements/otel\.txt"):
        tracing.start("ddsr-test")
    assert tracing.begin("x") is OFF


def test_a_span_says_nothing_that_is_not_on_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    tracing.start("ddsr-test")
    try:
        with tracing.begin("x", parent=PARENT) as span:
            assert tracing.trace_fields(span.traceparent)["trace_id"] == TRACE
            assert span.exemplar == {"trace_id": TRACE}
            with pytest.raises(KeyError):
                span.set(prompt="the red kite")
            with pytest.raises(KeyError):
                span.child("y", {"file": "holiday.jpg"})
            assert tracing.begin("x", parent=f"00-{TRACE}-{SPAN}-00").exemplar is None, "its caller does not sample it"
    finally:
        tracing.stop()
    assert tracing.begin("x") is OFF


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (PARENT, PARENT),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", f"cc-{TRACE}-{SPAN}-01"),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (PARENT + "x", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (PARENT.upper(), ""),
        ("", ""),
    ],
)
def test_a_callers_traceparent(header: str, taken: str) -> None:
    assert traceparent_of(header) == taken


@pytest.mark.parametrize("origin", [("a b", ""), ("", "x"), ("x" * 65, ""), (7, ""), ("", [])])
def test_an_origin_is_what_a_service_would_write(origin: tuple[str, str]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Origin(*origin)
    assert Origin("order-17", PARENT).logged() == {"request_id": "order-17", "trace_id": TRACE, "span_id": SPAN}
