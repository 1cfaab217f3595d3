"""The GPU's measurement, run on the CPU at toy size; what it refuses without CUDA."""

from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from bench import gpu, results
from cli import bench as command
from figures.provenance import commit, provenance

WAYS = (gpu.Way("float32"), gpu.Way("bfloat16", channels_last=True, attention="math"), gpu.Way("float32", graph=True))


@pytest.fixture(scope="module")
def result() -> dict[str, object]:
    return gpu.run(gpu.GpuOptions("cpu", (1, 2), WAYS, repeats=1, toy=True, matrix=64, steps=4))


def test_every_way_has_a_time_and_a_floor_or_says_why_not(result: dict[str, list[dict[str, object]]]) -> None:
    assert len(result["rows"]) == 2 * len(WAYS)
    for row in result["rows"]:
        if row["graph"] and not torch.cuda.is_available():
            assert "error" in row  # a CUDA graph without CUDA
        else:
            assert row["share"] == pytest.approx(float(str(row["floor_ms"])) / float(str(row["ms"])))
            assert float(str(row["floor_ms"])) > 0
    assert all(len(row) == len(results.GPU_HEAD) for row in results.gpu_rows(result))


def test_operations_grow_with_the_batch_and_are_those_of_the_convolutions() -> None:
    network = gpu.build(toy=True)
    assert gpu.operations(network, 4) == 4 * gpu.operations(network, 1)
    first = network.conv_in  # one of many
    own = 2 * first.weight.numel() * 16 * 16
    assert gpu.operations(network, 1) > 20 * own


def test_the_network_of_the_measurement_is_stable_diffusions() -> None:
    with torch.device("meta"):
        from diffusers import UNet2DConditionModel

        network = UNet2DConditionModel(**gpu.SD15)
    assert sum(p.numel() for p in network.parameters()) == 859_520_964


def test_the_arithmetic_is_put_back() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    with gpu.arithmetic("tf32"):
        assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32 == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_command_says_so(tmp_path: Path) -> None:
    found = CliRunner().invoke(command.app, ["gpu", "--out", str(tmp_path)])
    assert isinstance(found.exception, gpu.NoGpu)  # cli.main makes it a line and exit code 3
    assert found.exit_code != 0
    assert "CUDA" in found.exception.detail
    assert not list(tmp_path.iterdir())


def test_the_description_names_what_is_needed_to_repeat_it() -> None:
    words = results.caption(provenance(threads=2, note="nothing beside it"))
    for part in (commit(), "2 threads", f"torch {version('torch')}", "nothing beside it"):
        assert part in words
