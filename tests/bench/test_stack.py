"""The measurements of the stack, small, on real processes whose core computes nothing. Counts, no times."""

import time
from pathlib import Path

import numpy as np
import pytest

from bench import client, noop_worker, results, service, workers
from bench.measured import running, spent
from ddsr_client.wire import NoReply, Reply

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def result() -> dict[str, object]:
    options = service.ServiceOptions(batch=2, requests=5, in_flight=150, waves=2, pause=0.2)
    return {"latency": service.added_latency(options), "overload": service.overload(options)}


def test_requests_in_flight_are_served_or_refused(result: dict[str, dict[str, list[dict[str, object]]]]) -> None:
    for wave in result["overload"]["waves"]:
        assert wave["sent"] == 150
        assert wave["lost"] == 0, wave["other"]
        assert int(str(wave["served"])) > 0
        assert int(str(wave["refused"])) > 0
        assert set(wave["resident_mib"]) == {"redis", "worker", "sender", "receiver"}  # type: ignore[call-overload]


def test_latency_of_both_phases(result: dict[str, dict[str, dict[str, float]]]) -> None:
    """What the stack adds is the rest of the median, and cannot be nothing: the call passes four processes."""
    for phase in ("hide", "recover"):
        found = result["latency"][phase]
        assert found["added_ms"] == pytest.approx(found["median_ms"] - found["direct_ms"])
        assert found["added_ms"] > 0
        assert found["direct_ms"] > 0


def test_latency_is_median_and_ninth_decile() -> None:
    answers = [client.Answer(Reply(200, {}), seconds / 1000, 0.0) for seconds in (9, 1, 2, 3, 4, 5, 6, 7, 8, 100)]
    found = client.latency(answers)
    assert found["median_ms"] == pytest.approx(5.5)
    assert found["p90_ms"] == pytest.approx(9)


def test_the_table_puts_goals_beside_the_figures(result: dict[str, object]) -> None:
    memory = dict.fromkeys(("redis", "worker", "sender", "receiver"), 100.0)
    found = {"clients": 16, "batch": 4, "share": 0.93, "ready_seconds": 7.5, "resident_mib": {"after load": memory}}
    rows = {row[0]: row[1:] for row in results.service_rows(result | {"throughput": found})}
    assert rows["share of the bare core, 16 clients, batch 4"] == ["93%", ">= 90 %"]
    assert rows["resident, worker"] == ["100 MiB", "<= 1229 MiB"]


def test_costs_of_a_job() -> None:
    found = workers.job_costs(workers.WorkersOptions(clients=4, jobs=12))
    assert found["jobs"] == 12
    assert set(found["cpu_ms"]) == {"redis", "worker", "sender", "receiver"}
    assert found["redis"]["total_commands_processed"] > 10
    assert found["redis"]["total_net_input_bytes"] > 128 * 128 * 3  # at least the sealed picture
    rows = results.workers_rows({"rates": {"1": [1.0, 3.0], "2": [3.0]}, "costs": found})
    assert rows[1] == ["2 workers, pictures a second", "3.00 (1.50 x)"]


@pytest.mark.slow
def test_throughput_against_the_bare_core(tmp_path_factory: pytest.TempPathFactory) -> None:
    from shared.diffusion.tiny import build_tiny

    tiny = build_tiny(tmp_path_factory.mktemp("tiny"))
    options = service.ServiceOptions(clients=4, batch=2, pictures=6, rounds=1, threads=1)
    found = service.throughput(tiny, options)
    (only,) = found["rounds"]
    assert found["share"] == pytest.approx(only["stack"] / only["core"])
    assert 0 < found["share"] < 2, "the stack computes with the same core"
    assert set(found["resident_mib"]) == {"after start", "after load"}


def test_every_benchmark_has_its_bars(tmp_path: Path) -> None:
    phase = {"ratio": {"wall": 3.5}}
    core = results.core_bars(
        {"rows": [{"batch": 8, "name": "keyed, 5 steps", "hide": phase, "recover": {"ratio": {"wall": 5.0}}}]}
    )
    assert core == {"hide, batch 8, keyed, 5 steps": 3.5, "recover, batch 8, keyed, 5 steps": 5.0}
    assert results.service_bars({"throughput": {"rounds": [{"share": 0.9}, {"share": 0.8}]}})["round 2"] == 0.8
    assert results.workers_bars({"rates": {"2": [3.0, 1.0, 5.0]}}) == {"2 workers": 3.0}
    ways = [{"way": "float16", "batch": 4, "ms": 7.0}, {"way": "float16", "batch": 16, "error": "out of memory"}]
    assert results.gpu_bars({"rows": ways}) == {"float16, batch 4": 7.0}
    assert results.bar_plot(core, "times", tmp_path / "new" / "core.png", {"hide": 5.0}).stat().st_size > 5_000


def test_what_is_neither_served_nor_refused_is_lost() -> None:
    served, refused, odd = Reply(200, {}), Reply(503, {"retry-after": "2"}), Reply(503, {})
    outcomes = [(served, 1.0, 11.0), (refused, 0.1, 10.1), (odd, 0.1, 10.1), (NoReply("ReadError"), 0.1, 10.1)]
    answers = [client.Answer(*each) for each in [*outcomes, (served, 2.0, 12.0)]]
    assert client.tally(answers) == {"sent": 5, "served": 2, "refused": 1, "lost": 2, "other": {"ReadError": 1}}
    assert client.rate(answers, 10.0) == pytest.approx(2 / 2.0)


def test_an_address_where_nobody_listens_is_a_lost_request() -> None:
    request = client.Caller("http://127.0.0.1:9", "http://127.0.0.1:9").hide(b"", "a", "b")
    found = client.post_all([request] * 3, 2)
    assert [answer.words for answer in found] == ["ConnectError"] * 3
    assert client.tally(found)["lost"] == 3


def test_cpu_a_job() -> None:
    assert spent({"worker": 1.0, "gone": 1.0}, {"worker": 1.5}, 10) == {"worker": pytest.approx(50)}


def test_an_engine_that_computes_nothing_sleeps_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    core = noop_worker.NoCore(pause=0.25)
    core.recover_each(np.zeros((0, 8, 8, 3), np.uint8), [], [], [], lambda step, steps: None)
    assert slept == [0.25]


def test_a_stack_takes_its_folder_with_it() -> None:
    with running(module="bench.noop_worker") as stack:
        folder = stack.stack.settings.state
        assert stack.ready_seconds > 0
        assert min(stack.resident().values()) > 1
    assert not folder.exists()
