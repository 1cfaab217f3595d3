import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.diffusion.ldpc5g import Block, Code

VECTORS = json.loads((Path(__file__).parent / "vectors" / "ldpc5g.json").read_text())["vectors"]


def bits_of(k: int, n: int) -> NDArray[np.uint8]:
    digest = hashlib.shake_256(f"{k},{n}".encode()).digest(k // 8 + 1)
    return np.unpackbits(np.frombuffer(digest, np.uint8))[:k]


def soft(sent: NDArray[np.uint8], deviation: float, seed: int = 0) -> NDArray[np.float64]:
    """Log-likelihood ratios of +-1 in normal noise."""
    y = 1.0 - 2.0 * sent + deviation * np.random.default_rng(seed).standard_normal(len(sent))
    return 2 * y / deviation**2


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['k']} of {v['n']}")
def test_code_words_are_those_of_another_implementation(vector: dict[str, int | str]) -> None:
    k, n = int(vector["k"]), int(vector["n"])
    sent = Block(k, n).encode(bits_of(k, n))
    assert np.packbits(sent[:64]).tobytes().hex() == vector["head"]
    assert hashlib.sha256(np.packbits(sent).tobytes()).hexdigest() == vector["sha256"]


@pytest.mark.parametrize(("k", "n"), [(8, 9), (64, 2000), (193, 4000), (700, 1000), (5000, 5400), (8448, 9600)])
def test_every_word_passes_its_checks(k: int, n: int) -> None:
    block = Block(k, n)
    word = block._word(bits_of(k, n))
    assert not (block.checks @ word % 2).any()
    assert len(block.encode(bits_of(k, n))) == n


@pytest.mark.parametrize(
    ("k", "n", "deviation"),
    [(64, 2000, 3.0), (500, 9600, 2.8), (4000, 9600, 1.0), (8800, 9600, 0.4), (9000, 20000, 0.9)],
)
def test_a_noisy_word_is_decoded(k: int, n: int, deviation: float) -> None:
    code, bits = Code(k, n), bits_of(k, n)
    sent = code.encode(bits)
    found, again, held = code.decode(soft(sent, deviation))
    assert held
    assert np.array_equal(found, bits)
    assert np.array_equal(again, sent)


def test_lost_bits_are_filled_in() -> None:
    code, bits = Code(2000, 6000), bits_of(2000, 6000)
    llr = soft(code.encode(bits), 0.5)
    llr[np.random.default_rng(1).permutation(6000)[:3000]] = 0
    assert np.array_equal(code.decode(llr)[0], bits)


def test_too_much_noise_is_told() -> None:
    code = Code(4000, 9600)
    assert not code.decode(soft(code.encode(bits_of(4000, 9600)), 3.0))[2]


@pytest.mark.parametrize(("k", "n"), [(7, 100), (100, 100), (100, 50)])
def test_impossible_codes_are_refused(k: int, n: int) -> None:
    with pytest.raises(ValueError, match="no code"):
        Block(k, n)


def test_the_decoder_comes_without_the_rest_of_its_library() -> None:
    lines = (
        "import sys; from shared.diffusion.ldpc5g import Code; import numpy as np",
        "Code(100, 200).decode(np.ones(200))",
        "print([m for m in ('stim', 'sinter', 'pymatching', 'matplotlib', 'torch', 'ldpc.mod2') if m in sys.modules])",
    )
    out = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.strip() == "[]"
