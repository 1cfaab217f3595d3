"""The LDPC codes of 5G (3GPP TS 38.212, sections 5.2.2, 5.3.2 and 5.4.2) for any number of bits, with soft decisions.

The decoder is that of the library `ldpc` (MIT, C++): sum-product belief propagation, flooding, one thread, ended as
soon as every parity check holds. It takes a syndrome and the probability that each bit is wrong, which says the same as
log-likelihood ratios. Here are the standard's choice of a graph, its lifting, encoding by back substitution, rate
matching, and the cutting of long words. A code word of another implementation (sionna 2.2.0) pins each in the tests.

Looked at for it: `sionna-no-rt` decodes as well, but needs matplotlib and h5py, takes 3 s to import beside torch, and
has no end before its 60 iterations; `commpy` has no code of 5G and matplotlib; `galois` and `pyldpc` are not for this.
"""

import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Bits = NDArray[np.uint8]
Floats = NDArray[np.float64]

ITERATIONS = 60
SMALLEST = 8  # information bits
_GRAPHS = Path(__file__).parent / "ldpc5g.csv"
_INFORMATION, _COLUMNS, _LARGEST = {1: 22, 2: 10}, {1: 68, 2: 52}, {1: 8448, 2: 3840}
_CORE = 4  # rows, and as many columns, that are solved together
# Table 5.3.2-1: (lifting size, set).
_LIFTINGS = sorted((a << j, i) for i, a in enumerate((2, 3, 5, 7, 9, 11, 13, 15)) for j in range(8) if a << j <= 384)
_SURE = 30.0  # log-likelihood ratio beyond which a bit counts as known


class Block:
    """One code word: k information bits as n bits sent, SMALLEST <= k < n.

    Attributes:
        checks: parity checks on the bits of the word, sparse (checks, bits); those that no bit sent depends on are
            left out.
        sent: (n,), the places in the word of the bits sent. The first two columns of the graph and the zeros that fill
            up the information are never sent; past the end of the word it is sent again from its start.
    """

    def __init__(self, k: int, n: int) -> None:
        if not SMALLEST <= k < n:
            raise ValueError(f"no code has {k} information bits among {n}")
        graph = _graph_of(k, n)
        used = 22 if graph == 1 else 10 if k > 640 else 9 if k > 560 else 8 if k > 192 else 6
        self.k, self.lifting = k, next(z for z, _ in _LIFTINGS if used * z >= k)
        z = self.lifting
        self.filled = _INFORMATION[graph] * z
        parities = min(max(-(-(n + 2 * z - k) // z), _CORE), _COLUMNS[graph] - _INFORMATION[graph])
        self.checks, self._core = _lifted(graph, z, parities)
        buffer = np.r_[2 * z : k, self.filled : self.filled + parities * z]
        self.sent = np.resize(buffer, n)

    def encode(self, bits: Bits) -> Bits:
        """uint8 (k,) -> (n,), 0 or 1."""
        sent: Bits = self._word(bits)[self.sent]
        return sent

    def _word(self, bits: Bits) -> Bits:
        z, core = self.lifting, _CORE * self.lifting
        word = np.zeros(self.checks.shape[1], np.uint8)
        word[: self.k] = bits
        sums = (self.checks[:core] @ word % 2).reshape(_CORE, z)
        parity = np.zeros((_CORE, z), np.uint8)
        # The four rows add up to one shift of the first parity column: the others cancel.
        shifts = [shift for (_, column), shift in self._core.items() if column == 0]
        parity[0] = np.roll(sums.sum(0) % 2, next(s for s in shifts if shifts.count(s) % 2))
        for row in range(_CORE - 1):  # each row brings in the next column
            known = [np.roll(parity[j], -s) for (i, j), s in self._core.items() if i == row and j <= row]
            parity[row + 1] = (sums[row] + sum(known)) % 2
        word[self.filled : self.filled + core] = parity.ravel()
        word[self.filled + core :] = self.checks[core:] @ word % 2
        return word

    def decode(self, llr: Floats) -> tuple[Bits, Bits, bool]:
        """Soft values -> information bits (k,), the bits sent (n,), and whether every parity check holds.

        Args:
            llr: (n,), log P(0) / P(1); 0 where nothing is known.
        """
        soft = np.bincount(self.sent, llr, self.checks.shape[1])
        soft[self.k : self.filled] = _SURE
        hard = (soft < 0).astype(np.uint8)
        wrong = 1 / (1 + np.exp(np.minimum(np.abs(soft), _SURE)))
        decoder = _decoder_class()(
            self.checks,
            error_channel=wrong,
            max_iter=ITERATIONS,
            bp_method="product_sum",
            schedule="parallel",
            input_vector_type="syndrome",
            omp_thread_count=1,
        )
        word = hard ^ decoder.decode((self.checks @ hard % 2).astype(np.uint8))
        return word[: self.k], word[self.sent], bool(decoder.converge)


class Code:
    """k information bits as n bits sent, in as few code words of about equal length as the standard allows."""

    def __init__(self, k: int, n: int) -> None:
        count = -(-k // _LARGEST[_graph_of(k, n)])
        self._k, self._n = (_cuts(length, count) for length in (k, n))
        self.blocks = [_block(int(a), int(b)) for a, b in zip(np.diff(self._k), np.diff(self._n), strict=True)]

    def encode(self, bits: Bits) -> Bits:
        """uint8 (k,) -> (n,), 0 or 1."""
        parts = np.split(bits, self._k[1:-1])
        return np.concatenate([block.encode(part) for block, part in zip(self.blocks, parts, strict=True)])

    def decode(self, llr: Floats) -> tuple[Bits, Bits, bool]:
        """As `Block.decode`."""
        parts = np.split(llr, self._n[1:-1])
        found = [block.decode(part) for block, part in zip(self.blocks, parts, strict=True)]
        bits, sent, held = zip(*found, strict=True)
        return np.concatenate(bits), np.concatenate(sent), all(held)


@lru_cache(maxsize=64)
def _block(k: int, n: int) -> Block:
    return Block(k, n)


def _cuts(length: int, count: int) -> NDArray[np.int64]:
    return np.arange(count + 1) * length // count


def _graph_of(k: int, n: int) -> int:
    """Section 6.2.2: the graph for k information bits among n sent."""
    return 2 if k <= 292 or (k <= 3824 and 100 * k <= 67 * n) or 4 * k <= n else 1


@lru_cache
def _tables() -> NDArray[np.int64]:
    table: NDArray[np.int64] = np.loadtxt(_GRAPHS, delimiter=",", dtype=np.int64)
    return table


def _lifted(graph: int, z: int, rows: int) -> tuple[Any, dict[tuple[int, int], int]]:
    """The parity checks of the first rows of a graph, and (row, parity column) -> shift of its core."""
    information, lifting_set = _INFORMATION[graph], dict(_LIFTINGS)[z]
    table = _tables()
    table = table[(table[:, 0] == graph) & (table[:, 1] < rows)]
    row, column, shift = table[:, 1], table[:, 2], table[:, 3 + lifting_set] % z
    place = np.arange(z)
    r = row[:, None] * z + place
    c = column[:, None] * z + (place + shift[:, None]) % z
    shape = (rows * z, (information + rows) * z)
    core = {
        (int(i), int(j) - information): int(s)
        for i, j, s in zip(row, column, shift, strict=True)
        if i < _CORE and information <= j < information + _CORE
    }
    return csr_matrix((np.ones(r.size, np.uint8), (r.ravel(), c.ravel())), shape=shape), core


@lru_cache
def _decoder_class() -> Any:
    """`ldpc.bp_decoder.BpDecoder`, without the rest of `ldpc`.

    The package's own `__init__` imports its decoders of quantum codes, and with them stim, sinter and pymatching.
    """
    spec = importlib.util.find_spec("ldpc")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("the library ldpc is missing")
    package = ModuleType("ldpc")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules.setdefault("ldpc", package)
    return importlib.import_module("ldpc.bp_decoder").BpDecoder
