"""Layouts of data sets, tars, and which pictures are taken from them."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation import prompts
from evaluation.data import Sample, lfw_pairs, load_set, pick, whole_identities
from evaluation.errors import MaterialMissing
from tests.evaluation.conftest import drawn_samples
from tests.pictures import encoded


def _png(path: Path, value: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 30), (value, 0, 0)).save(path)


def test_layouts(tmp_path: Path) -> None:
    _png(tmp_path / "lfw/Ann_Lee/Ann_Lee_0001.png")
    _png(tmp_path / "lfw/Bo/Bo_0001.png")
    assert [sample.identity for sample in load_set(tmp_path / "lfw", "")] == ["Ann_Lee", "Bo"]
    for plain, painted in (("non-makeup", "makeup"), ("before", "after")):
        _png(tmp_path / plain / "ladn" / plain / "1.png")
        _png(tmp_path / plain / "ladn" / painted / "2.png")
        _png(tmp_path / plain / "ladn" / "blend" / "1_2.png")
        assert [s.fields["makeup"] for s in load_set(tmp_path / plain / "ladn", "")] == [False, True]
    for missing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(MaterialMissing):
            load_set(missing, "")


@pytest.mark.parametrize("inner", ["", "CelebA-HQ-img"])
def test_celeba_hq(tmp_path: Path, inner: str) -> None:
    for number in (0, 10, 2):
        _png(tmp_path / inner / f"{number}.jpg")
    (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text("idx orig_idx orig_file\n0 119613 119614.jpg\n")
    (tmp_path / "identity_CelebA.txt").write_text("119614.jpg 2880\n")
    (tmp_path / "CelebAMask-HQ-attribute-anno.txt").write_text("2\nMale Smiling Young\n0.jpg  -1 1 1\n2.jpg  1 -1 1\n")
    samples = load_set(tmp_path, "", size=16)
    assert [Path(sample.name).name for sample in samples] == ["0.jpg", "2.jpg", "10.jpg"]
    assert (samples[0].identity, samples[1].identity) == ("2880", None)
    assert prompts.identity(samples[0].fields) == "a smiling young woman"
    assert prompts.identity(samples[1].fields) == "a serious young man"
    assert prompts.identity(samples[2].fields) == "a photo of a person"
    assert samples[0].picture.shape == (16, 16, 3)


def _jpeg(value: int) -> bytes:
    return encoded(Image.new("RGB", (8, 8), (value, 2, 3)))


def _tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_tars_of_ours_and_of_lfw_with_its_pairs(tmp_path: Path) -> None:
    described = json.dumps({"file": "000000.webp", "identity": 7}).encode()
    _tar(tmp_path / "set.tar", {"000000.webp": _jpeg(1), "metadata.jsonl": described})
    (sample,) = load_set(tmp_path / "set.tar", "")
    assert (sample.identity, sample.picture[0, 0].tolist()) == ("7", [1, 2, 3])
    assert lfw_pairs(tmp_path / "set.tar") is None
    pairs = b"1\t1\nAnn_Lee\t1\t4\nAnn_Lee\t2\tBo\t1\n"
    names = ("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0004.jpg", "Bo/Bo_0001.jpg")
    _tar(tmp_path / "lfw.tgz", {**{f"lfw/{name}": _jpeg(i) for i, name in enumerate(names)}, "lfw/pairs.txt": pairs})
    samples = load_set(tmp_path / "lfw.tgz", "")
    assert [(s.name, s.identity, int(s.picture[0, 0, 0])) for s in samples] == [
        (names[0], "Ann_Lee", 0),
        (names[1], "Ann_Lee", 1),
        (names[2], "Bo", 2),
    ]
    assert lfw_pairs(tmp_path / "lfw.tgz") == [
        ("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0004.jpg", True),
        ("Ann_Lee/Ann_Lee_0002.jpg", "Bo/Bo_0001.jpg", False),
    ]
    assert lfw_pairs(None) is None


def test_whole_identities_are_never_cut_and_singles_come_last() -> None:
    samples = [Sample(f"{i}", np.zeros((1, 1, 3), np.uint8), who) for i, who in enumerate("abbcccdd")]
    chosen = whole_identities(samples, 5, 0)
    assert len(chosen) in (4, 5)
    assert all(sum(s.identity == who for s in chosen) in (0, "abbcccdd".count(who)) for who in "abcd")
    assert "a" not in {s.identity for s in whole_identities(samples, 7, 0)}
    assert whole_identities(samples, 8, 0) == samples


def test_pick_is_repeatable_and_spreads_over_identities() -> None:
    samples = drawn_samples(20)
    first = pick(samples, 10, 4)
    assert [s.name for s in first] == [s.name for s in pick(samples, 10, 4)]
    assert [s.name for s in first] != [s.name for s in pick(samples, 10, 5)]
    assert len({s.identity for s in first}) == 10
    everything = pick(samples, None, 4)
    assert [s.name for s in everything[:10]] == [s.name for s in first]
    assert sorted(s.name for s in everything) == sorted(s.name for s in samples)
