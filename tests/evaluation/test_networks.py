"""Networks by path: recognisers and Inception whose weights somebody brings."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from evaluation.alignment import align
from evaluation.calibration import calibrate
from evaluation.errors import MaterialMissing
from evaluation.identity import embedded
from evaluation.lpips import read_arrays
from evaluation.recognisers import load
from tests.evaluation.conftest import CentreFinder, drawn_samples


def test_weight_file_that_would_run_code_is_refused() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("run",))

    with pytest.raises(pickle.UnpicklingError, match="more than arrays"):
        read_arrays(io.BytesIO(pickle.dumps(Evil())))
    tree = {"a": np.arange(3.0)}
    assert np.array_equal(read_arrays(io.BytesIO(pickle.dumps(tree)))["a"], tree["a"])


def test_unknown_recogniser_and_missing_weights_are_named() -> None:
    with pytest.raises(MaterialMissing, match="unknown recogniser"):
        load(["no-such"])
    with pytest.raises(MaterialMissing, match="irse50"):
        load(["irse50=nowhere.onnx"])


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_network_by_path_keeps_its_name_and_gets_its_published_threshold(tmp_path: Path) -> None:
    import torch

    from evaluation.reversibility import identity_figures

    net = torch.nn.Sequential(torch.nn.AvgPool2d(28), torch.nn.Flatten())  # (B, 3, 112, 112) -> (B, 48)
    torch.jit.script(net).save(str(tmp_path / "net.pt"))
    (recogniser,) = load([f"irse50={tmp_path / 'net.pt'}"])
    samples = drawn_samples(6)
    seen = embedded(samples, CentreFinder(), [recogniser])
    calibrations = calibrate(samples, seen, [recogniser])
    assert np.allclose(np.linalg.norm(seen.vectors["irse50"], axis=1), 1)
    rows = [{"recovered": {"similarity": {"irse50": value}}} for value in (0.24, 0.25)]
    figures = identity_figures(rows, "recovered", calibrations, 0)["irse50"]
    assert figures["verified_at_published_threshold"]["value"] == 0.5  # .241045


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + _varint(value // 128)


def _message(*fields: tuple[int, object]) -> bytes:
    """A protobuf message of (number, int | str | bytes) fields."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(_varint(number * 8) + _varint(value))
        else:
            data = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[arg-type]
            parts.append(_varint(number * 8 + 2) + _varint(len(data)) + data)
    return b"".join(parts)


def onnx_pooling() -> bytes:
    """An ONNX file of mean pooling over 28x28 cells: (1, 3, 112, 112) -> (1, 48). Written by hand, since the package
    that writes such files is large and nothing else needs it; field numbers are those of onnx.proto."""

    def value(name: str, *shape: int) -> bytes:
        dims = _message(*((1, _message((1, size))) for size in shape))
        return _message((1, name), (2, _message((1, _message((1, 1), (2, dims))))))

    def ints(name: str) -> bytes:
        return _message((1, name), (8, 28), (8, 28), (20, 7))

    pool = ((1, "x"), (2, "p"), (4, "AveragePool"), (5, ints("kernel_shape")), (5, ints("strides")))
    flat = _message((1, "p"), (2, "y"), (4, "Flatten"))
    graph = ((1, _message(*pool)), (1, flat), (2, "net"), (11, value("x", 1, 3, 112, 112)), (12, value("y", 1, 48)))
    return _message((1, 8), (7, _message(*graph)), (8, _message((2, 13))))


def test_an_onnx_network_by_path_is_fed_aligned_crops_scaled_to_one(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(onnx_pooling())
    (recogniser,) = load([f"ir152={tmp_path / 'net.onnx'}"])
    samples = drawn_samples(3)
    seen = embedded(samples, CentreFinder(), [recogniser])
    crop = align(samples[0].picture, seen.found[0].landmarks).astype(float)
    expected = ((crop - 127.5) / 127.5).transpose(2, 0, 1).reshape(3, 4, 28, 4, 28).mean((2, 4)).ravel()
    assert np.allclose(seen.vectors["ir152"][0], expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_inception_by_path_alone_is_called_fid(tmp_path: Path) -> None:
    import torch

    from evaluation.features import load_features
    from evaluation.metrics import frechet_distance

    class Means(torch.nn.Module):
        def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
            return x.float().mean([2, 3]) if return_features else x.float()

    torch.jit.script(Means()).save(str(tmp_path / "net.pt"))
    features = load_features(tmp_path / "net.pt")
    assert features.name == "FID"
    first, second = (np.stack([s.picture for s in drawn_samples(12)[part]]) for part in (slice(0, 6), slice(6, 12)))
    found = features.distance(first, second)
    assert found.value == pytest.approx(frechet_distance(first.mean((1, 2)), second.mean((1, 2))), rel=1e-4)
    assert found.low <= found.value <= found.high
    with pytest.raises(MaterialMissing, match="Inception"):
        load_features(tmp_path / "nowhere.pt")
