"""`ddsr bench gpu`: a network of Stable Diffusion 1.5's size with random weights; speed does not depend on the weights.

Each row is one way of running the network: number format, memory layout, attention kernel, compiled or not, as a CUDA
graph or not. `share` compares it with the floor: the operations of one evaluation, counted, over the rate that a large
matrix product of the same format reaches on this device.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from shared.errors import ModelError

Say = Callable[[str], None]
SD15: dict[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
TOY: dict[str, Any] = SD15 | {
    "sample_size": 16,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
    "attention_head_dim": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
KERNELS = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}
FORMATS = {"float32": torch.float32, "tf32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class NoGpu(ModelError):
    """The command needs a CUDA device."""

    code, title = "no-gpu", "A CUDA device is needed"


@dataclass(frozen=True)
class Way:
    """One way of running the network. `attention`: a key of KERNELS, or "default"."""

    format: str
    channels_last: bool = False
    attention: str = "default"
    compiled: bool = False
    graph: bool = False

    @property
    def name(self) -> str:
        parts = [
            self.format,
            "channels-last" * self.channels_last,
            f"{self.attention} attention",
            "compiled" * self.compiled,
        ]
        return ", ".join(part for part in [*parts, "CUDA graph" * self.graph] if part)


WAYS = (
    Way("float32"),
    Way("tf32"),
    *(Way(name) for name in ("float16", "bfloat16")),
    *(Way("bfloat16", attention=name) for name in KERNELS),
    Way("bfloat16", channels_last=True),
    Way("bfloat16", channels_last=True, graph=True),
    Way("bfloat16", channels_last=True, compiled=True),
    Way("float16", channels_last=True, compiled=True),
    Way("bfloat16", channels_last=True, compiled=True, graph=True),
)


@dataclass(frozen=True)
class GpuOptions:
    """`device` other than cuda is for checking the program itself, at toy size."""

    device: str = "cuda"
    batches: Sequence[int] = (1, 4, 16)
    ways: Sequence[Way] = WAYS
    repeats: int = 10
    toy: bool = False
    matrix: int = 8192
    steps: int = 60


def run(options: GpuOptions, say: Say = lambda text: None) -> dict[str, Any]:
    """The table.

    Raises:
        NoGpu: the device is cuda and there is none.
    """
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise NoGpu("this measurement needs a CUDA device, and torch finds none")
    device = torch.device(options.device)
    network = build(options.toy).to(device)
    names = dict.fromkeys(way.format for way in options.ways)
    peaks = {name: matrix_rate(name, device, options.matrix) for name in names}
    rows = []
    for batch in options.batches:
        work = operations(network, batch)
        for way in options.ways:
            rows.append(_row(network, way, batch, work, peaks[way.format], options.repeats))
            say(f"batch {batch}, {way.name}: {rows[-1].get('ms', rows[-1].get('error'))}")
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cuda": torch.version.cuda,
        "parameters": sum(p.numel() for p in network.parameters()),
        "peaks_tflops": {name: rate / 1e12 for name, rate in peaks.items()},
        "baseline_step_ms": {str(batch): baseline_step(network, batch, options) for batch in options.batches},
        "rows": rows,
    }


def build(toy: bool) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(**(TOY if toy else SD15)).eval().requires_grad_(False)


def operations(network: UNet2DConditionModel, batch: int) -> int:
    """Floating-point operations of one evaluation; a multiplication and its addition are two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*_inputs(network, batch, torch.float32))
    return int(counter.get_total_flops())


def matrix_rate(format: str, device: torch.device, size: int) -> float:
    """Operations a second of a square matrix product: the measured peak of a number format."""
    with arithmetic(format):
        a = torch.randn(size, size, device=device).to(FORMATS[format])
        seconds = _seconds(lambda: a @ a, device, 5)
    return 2 * size**3 / seconds


@contextmanager
def arithmetic(format: str) -> Iterator[None]:
    """TensorFloat-32 on for `tf32`, off for everything else."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = format == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def baseline_step(network: UNet2DConditionModel, batch: int, options: GpuOptions) -> dict[str, float]:
    """One step of inversion and one of sampling through diffusers' schedulers, float32, as the baseline takes them."""
    x, _, text = _inputs(network, batch, torch.float32)
    found = {}
    for name, scheduler in (("invert", DDIMInverseScheduler()), ("sample", DDIMScheduler(clip_sample=False))):
        scheduler.set_timesteps(options.steps)
        t = scheduler.timesteps[options.steps // 2]

        def step(scheduler: Any = scheduler, t: Tensor = t) -> Tensor:
            moved: Tensor = scheduler.step(network(x, t, text).sample, t, x).prev_sample
            return moved

        with torch.no_grad(), arithmetic("float32"):
            found[name] = 1000 * _seconds(step, x.device, options.repeats)
    return found


def _row(network: UNet2DConditionModel, way: Way, batch: int, work: int, peak: float, repeats: int) -> dict[str, Any]:
    row: dict[str, Any] = {"batch": batch, "way": way.name, **asdict(way), "gflop": work / 1e9}
    try:
        seconds = _evaluation(network, way, batch, repeats)
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        return row | {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"}  # a kernel that is absent
    return row | {"ms": 1000 * seconds, "floor_ms": 1000 * work / peak, "share": work / peak / seconds}


def _evaluation(network: UNet2DConditionModel, way: Way, batch: int, repeats: int) -> float:
    """Seconds of one evaluation. The state is float32 or float64 elsewhere: its cast is part of it."""
    dtype = FORMATS[way.format]
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    ready = build_like(network, dtype, layout)
    x, t, text = _inputs(network, batch, torch.float32)
    text = text.to(dtype)
    kernel = nullcontext() if way.attention == "default" else sdpa_kernel(KERNELS[way.attention])
    forward = torch.compile(ready, dynamic=False) if way.compiled else ready

    def call() -> Tensor:
        out: Tensor = forward(x.to(dtype, memory_format=layout), t, text).sample.float()
        return out

    with torch.no_grad(), arithmetic(way.format), kernel:
        return _seconds(graphed(call) if way.graph else call, x.device, repeats)


def build_like(network: UNet2DConditionModel, dtype: torch.dtype, layout: torch.memory_format) -> UNet2DConditionModel:
    copied = UNet2DConditionModel.from_config(network.config).eval().requires_grad_(False)
    copied.load_state_dict(network.state_dict())
    torch.nn.Module.to(copied, network.device, dtype)
    copied.to(memory_format=layout)
    return copied


def graphed(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The call recorded as a CUDA graph, replayed on each call."""
    cuda: Any = torch.cuda  # partly untyped
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(3):
            call()
    cuda.current_stream().wait_stream(side)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        out = call()

    def replay() -> Tensor:
        graph.replay()
        return out

    return replay


def _inputs(network: UNet2DConditionModel, batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    config, device = network.config, network.device
    x = torch.randn(batch, config.in_channels, config.sample_size, config.sample_size, device=device, dtype=dtype)
    text = torch.randn(batch, 77, config.cross_attention_dim, device=device, dtype=dtype)
    return x, torch.full((batch,), 500.0, device=device), text


def _seconds(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median of several calls, after two that warm up; waits for the device each time."""
    cuda: Any = torch.cuda  # partly untyped
    wait = cuda.synchronize if device.type == "cuda" else (lambda: None)
    times = []
    for number in range(repeats + 2):
        wait()
        start = time.perf_counter()
        call()
        wait()
        if number >= 2:
            times.append(time.perf_counter() - start)
    return median(times)
