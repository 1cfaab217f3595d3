"""A codec trained on faces of 128 px, for codes of some hundred bytes (`training/codec.py` trains and describes it).

    first byte: rounding step (index of `steps`); then one stream of a range coder, which zeros follow

Patches of 16 px become components on a grid of 8x8, which are rounded. They are coded slice by slice, each in phases of
positions; from all that was coded before, a small network gives mean and scale of each. Sender and receiver must agree
on these to the bit, so that network knows integers alone: they are kept in float64, where sums of products below 2^53
are exact in any order. The range coder's tables are integers too. What draws the picture from components is float32.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Array = NDArray[np.float64]
Floats = NDArray[np.float32]

SIZE, PATCH, GRID = 128, 16, 8
WEIGHTS = Path(__file__).parents[2] / "weights" / "codec" / "learned.npz"
ONE = 256.0  # fixed point of components and activations: 8 bits
SHIFT = 2.0**-12  # weights of the integer network: 12 bits
MOST = 2.0**20  # bound of an activation
BINS_OCTAVE, LOWEST = 4, -4  # scales in quarters of an octave of the step, from 2^-4; below, nothing is coded
RATE_WEIGHT = 9.0  # bits that one squared step of rounding error is worth; .1 dB better than training's 6.5
LEVELS_PER_FOLD = 33.0  # rounding steps, about, from one length of code to its e-th part


@dataclass(frozen=True)
class Model:
    """The file of weights, ready to use.

    Attributes:
        steps, log_steps, log2_steps: (L,) rounding steps, and their logarithms, in fixed point.
        slices, phases: ends of the slices of components; number of phases of each.
        contexts: of each slice, the integer layers (matrix (9 C, O), offset (O,) or (O, 8, 8)).
        counts: of each bin of scales, how often each symbol -K ... K comes, of 65,536.
        basis: (M, 768) orthonormal; arrays: the layers of the float networks by their names in training.
    """

    steps: Array
    log_steps: Array
    log2_steps: Array
    slices: tuple[int, ...]
    phases: tuple[int, ...]
    contexts: list[list[tuple[Array, Array]]]
    counts: list[Array]
    basis: Floats
    arrays: dict[str, Floats]
    unit: float

    @classmethod
    def of(cls, file: dict[str, NDArray[Any]]) -> "Model":
        """From the arrays of the file (`training.codec.export`)."""
        slices = tuple(int(end) for end in file["slices"])
        names = ("first", "second", "third")
        contexts = [[_integer_layer(file, f"contexts.{i}.{name}") for name in names] for i in range(len(slices))]
        counts = np.split(file["counts"].astype(np.float64), np.cumsum(file["widths"])[:-1])
        steps, log_steps, log2_steps = (file[n].astype(np.float64) for n in ("steps", "log_steps", "log2_steps"))
        arrays = {name: _restored(file, name) for name in file if name.startswith("float.")}
        floats = {name.removeprefix("float."): array for name, array in arrays.items()}
        phases = tuple(int(count) for count in file["phases"])
        basis, unit = floats.pop("basis"), float(file["unit"])
        return cls(steps, log_steps, log2_steps, slices, phases, contexts, counts, basis, floats, unit)

    @cached_property
    def bits(self) -> list[Array]:
        """Of each bin, the bits of each symbol."""
        return [16 - np.log2(count) for count in self.counts]

    @cached_property
    def models(self) -> list[Any]:
        """Of each bin, the coder's model. Whole numbers of sum 2^16 are exact in its float32, in any order."""
        family = constriction.stream.model.Categorical
        return [family(count.astype(np.float32), perfect=False) for count in self.counts]


@cache
def model() -> Model:
    with np.load(WEIGHTS, allow_pickle=False) as file:
        return Model.of(dict(file))


def encode(face: Pixels, budget: int, net: Model | None = None) -> bytes | None:
    """The finest code of a face, uint8 (128, 128, 3), in at most `budget` bytes; None where the coarsest has more."""
    net, best = net or model(), None
    components = analyse(net, face)
    low, high = 0, len(net.steps)  # steps rise, codes shrink: the first whose code fits is sought
    level = high // 2
    while low < high:
        code = _coded(net, components, level)
        if len(code) <= budget:
            best, high = code, level
        else:
            low = level + 1
        guess = level + math.ceil(LEVELS_PER_FOLD * math.log(len(code) / max(budget, 1)))
        level = min(max(guess, low), high - 1)
    return best


def decode(code: bytes, net: Model | None = None) -> Pixels | None:
    """The face of a code, uint8 (128, 128, 3), or None where it is damaged."""
    net = net or model()
    components = read(code, net)
    return None if components is None else synthesise(net, components, code[0])


def read(code: bytes, net: Model) -> Array | None:
    """The components that a code says, whole numbers in fixed point, (M, 8, 8); the same on every machine."""
    if not code or code[0] >= len(net.steps):
        return None
    try:
        return _walk(net, code[0], _reader(_decoder(code[1:]), net))
    except AssertionError:  # how the range coder reports a stream that it cannot have written
        return None


def analyse(net: Model, face: Pixels) -> Array:
    """Components of a face in fixed point, (M, 8, 8), not rounded."""
    x = face.transpose(2, 0, 1).astype(np.float32) - 128
    linear = _patches(x, PATCH, PATCH) @ net.basis.T / net.unit
    seen = _patches(np.pad(x / 64, ((0, 0), (4, 4), (4, 4))), PATCH + 8, PATCH)
    h = np.maximum(seen @ _matrix(net, "seen") + net.arrays["seen.bias"], 0)
    h = np.maximum(_blocks(net, "encoder", h, GRID), 0)
    y = linear + h @ _matrix(net, "added") + net.arrays["added.bias"]
    return np.asarray(ONE * y.T.reshape(-1, GRID, GRID), np.float64)


def synthesise(net: Model, components: Array, level: int) -> Pixels:
    """The face of rounded components, uint8 (128, 128, 3)."""
    y = (components / ONE).astype(np.float32).reshape(len(components), -1).T
    step = np.full((len(y), 1), np.log(net.steps[level] / ONE), np.float32)
    place = net.arrays["place"].reshape(-1, GRID * GRID).T
    h = np.maximum(np.hstack([y, step]) @ _matrix(net, "heard") + net.arrays["heard.bias"] + place, 0)
    h = np.maximum(_blocks(net, "decoder", h, GRID), 0) @ _matrix(net, "finer") + net.arrays["finer.bias"]
    h = h.reshape(GRID, GRID, -1, 2, 2).transpose(0, 3, 1, 4, 2).reshape(4 * GRID * GRID, -1)
    h = np.maximum(_blocks(net, "smooth", np.maximum(h, 0), 2 * GRID), 0)
    drawn = _overlapped(h @ net.arrays["drawn.weight"].reshape(h.shape[1], -1), 2 * GRID, PATCH)
    edge = PATCH // 4
    more = drawn[:, edge:-edge, edge:-edge] + net.arrays["drawn.bias"][:, None, None]
    plain = (y @ net.basis).reshape(GRID, GRID, 3, PATCH, PATCH).transpose(2, 0, 3, 1, 4).reshape(3, SIZE, SIZE)
    return (plain * net.unit + 64 * more + 128).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def count(net: Model, face: Pixels, level: int, seen: list[Array]) -> None:
    """Add to `seen`, of each bin of scales, how often each symbol comes in the code of a face."""
    _walk(net, level, _writer(lambda bin, found: np.add.at(seen[bin], found, 1), net, analyse(net, face), level))


def _coded(net: Model, components: Array, level: int) -> bytes:
    coder, said = constriction.stream.queue.RangeEncoder(), list[tuple[int, NDArray[np.int32]]]()
    _walk(net, level, _writer(lambda bin, found: said.append((bin, found)), net, components, level))
    for bin, found in said:
        coder.encode(found, net.models[bin])
    return bytes([level]) + _shortest(net, coder.get_compressed().astype(">u4").tobytes(), said)


def _shortest(net: Model, stream: bytes, said: list[tuple[int, NDArray[np.int32]]]) -> bytes:
    """The stream cut where zeros after it decode alike: the coder ends on whole words of 32 bits."""
    for length in range(max(0, len(stream) - 7), len(stream)):
        cut = int.from_bytes(stream[:length])
        for number in (cut, cut + 1):
            if number < 256**length and _says(net, shorter := number.to_bytes(length), said):
                return shorter
    return stream


def _says(net: Model, stream: bytes, said: list[tuple[int, NDArray[np.int32]]]) -> bool:
    coder = _decoder(stream)
    try:
        return all(np.array_equal(coder.decode(net.models[bin], len(found)), found) for bin, found in said)
    except AssertionError:
        return False


def _decoder(stream: bytes) -> Any:
    words = np.frombuffer(stream + bytes(-len(stream) % 4), ">u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)


# What a walk asks at each phase: from slice, positions, means in steps and bins, all (C, n), the symbols (C, n).
Symbols = Callable[[slice, NDArray[np.bool_], Array, NDArray[np.intp]], Array]


def _walk(net: Model, level: int, symbols: Symbols) -> Array:
    """Through slices and phases in the order of coding; the rounded components in fixed point, (M, 8, 8)."""
    known, start, step = np.zeros((net.slices[-1], GRID, GRID)), 0, net.steps[level]
    for index, (end, count) in enumerate(zip(net.slices, net.phases, strict=True)):
        phase_of = phases(GRID, count)
        for phase in range(count):
            planes = np.stack([ONE * (phase_of < phase), np.full((GRID, GRID), net.log_steps[level])])
            here = phase_of == phase
            mean, log_scale = _context(net.contexts[index], np.concatenate([known[:end], planes]), here)
            log_scale = log_scale - net.log2_steps[level] - LOWEST * ONE
            bins = np.floor(log_scale * BINS_OCTAVE / ONE).clip(-1, len(net.counts) - 1)
            found = symbols(slice(start, end), here, mean / step, bins.astype(np.intp))
            known[start:end, here] = mean + step * found
        start = end
    return known


def _context(layers: list[tuple[Array, Array]], x: Array, here: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Mean and binary logarithm of the scale at the positions `here`, (C, n) each, whole numbers in fixed point."""
    for matrix, offset in layers[:-1]:
        x = np.floor((_windows(x) @ matrix + offset) * SHIFT).clip(0, MOST).T.reshape(-1, GRID, GRID)
    matrix, offset = layers[-1]
    out = np.floor(((_windows(x)[here.ravel()] @ matrix).T + offset[:, here]) * SHIFT).clip(-MOST, MOST)
    mean, log_scale = np.split(out, 2)
    return mean, log_scale


def phases(grid: int, count: int) -> NDArray[np.intp]:
    """Which phase codes a position, (grid, grid): a checkerboard, or, of four, its two halves each in two."""
    row, column = np.indices((grid, grid)) % 2
    odd = (row + column) % 2
    return odd if count == 2 else 2 * odd + row


def _writer(emit: Callable[[int, NDArray[np.int32]], None], net: Model, components: Array, level: int) -> Symbols:
    """Rounds `components` where that is worth its bits; `emit` gets the bin and its symbols, from 0 on."""
    wanted, bits = components / net.steps[level], net.bits

    def write(part: slice, here: NDArray[np.bool_], mean: Array, bins: NDArray[np.intp]) -> Array:
        residual, out = wanted[part][:, here] - mean, np.zeros_like(mean)
        for index in np.unique(bins[bins >= 0]):
            chosen = bins == index
            out[chosen] = found = _worth(residual[chosen], bits[index])
            emit(index, (found + len(bits[index]) // 2).astype(np.int32))
        return out

    return write


def _worth(residual: Array, bits: Array) -> Array:
    """Of the nearest whole number, the next one towards zero, and zero, the one of least bits and error."""
    most = len(bits) // 2
    near = residual.round().clip(-most, most)
    choices = np.stack([near, near - np.sign(near), np.zeros_like(near)])
    cost = bits[(choices + most).astype(np.intp)] + RATE_WEIGHT * (residual - choices) ** 2
    best: Array = np.take_along_axis(choices, cost.argmin(0)[None], 0)[0]
    return best


def _reader(coder: Any, net: Model) -> Symbols:
    models = net.models

    def read(part: slice, here: NDArray[np.bool_], mean: Array, bins: NDArray[np.intp]) -> Array:
        out = np.zeros_like(mean)
        for index in np.unique(bins[bins >= 0]):
            chosen = bins == index
            out[chosen] = coder.decode(models[index], int(chosen.sum())) - len(net.counts[index]) // 2
        return out

    return read


def _blocks(net: Model, name: str, h: Floats, grid: int) -> Floats:
    """Residual blocks of two 3x3 convolutions on (grid^2, C)."""
    stems = sorted({key[: -len(".first.weight")] for key in net.arrays if key.startswith(name) and ".first.w" in key})
    for stem in stems:
        more = h
        for layer in ("first", "second"):
            seen = _windows(more.T.reshape(-1, grid, grid))
            more = seen @ _matrix(net, f"{stem}.{layer}") + net.arrays[f"{stem}.{layer}.bias"]
            more = np.maximum(more, 0) if layer == "first" else more
        h = h + more
    return h


def _matrix(net: Model, name: str) -> Floats:
    weight = net.arrays[f"{name}.weight"]
    return weight.reshape(len(weight), -1).T


def _windows(x: NDArray[Any]) -> NDArray[Any]:
    """(C, h, w) -> (h w, 9 C): each 3x3 neighbourhood, zeros outside."""
    return _patches(np.pad(x, ((0, 0), (1, 1), (1, 1))), 3, 1)


def _patches(x: NDArray[Any], side: int, stride: int) -> NDArray[Any]:
    """(C, H, W) -> (positions, C side^2)."""
    every = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))[:, ::stride, ::stride]
    return every.transpose(1, 2, 0, 3, 4).reshape(every.shape[1] * every.shape[2], -1)


def _overlapped(parts: Floats, grid: int, side: int) -> Floats:
    """(grid^2, 3 side^2) -> (3, H, H): squares at a distance of half their side, added where they overlap."""
    half, squares = side // 2, parts.reshape(grid, grid, 3, side, side)
    out = np.zeros((3, grid + 1, half, grid + 1, half), np.float32)
    for down in (0, 1):
        for right in (0, 1):
            quarter = squares[..., down * half : (down + 1) * half, right * half : (right + 1) * half]
            out[:, down : grid + down, :, right : grid + right] += quarter.transpose(2, 0, 3, 1, 4)
    return out.reshape(3, (grid + 1) * half, (grid + 1) * half)


def _integer_layer(file: dict[str, NDArray[Any]], name: str) -> tuple[Array, Array]:
    weight = file[f"{name}.weight"].astype(np.float64)
    return weight.reshape(len(weight), -1).T.copy(), file[f"{name}.offset"].astype(np.float64)


def _restored(file: dict[str, NDArray[Any]], name: str) -> Floats:
    """float16 as it is; int8 with a scale for each row."""
    array = file[name].astype(np.float32)
    scale = file.get(f"scale.{name}")
    return array if scale is None else array * scale.reshape(-1, *(1,) * (array.ndim - 1)).astype(np.float32)
