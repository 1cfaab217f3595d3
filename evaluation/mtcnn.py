"""Face boxes and five landmarks by MTCNN (Zhang et al., IEEE SPL 23, 2016).

Three networks in a cascade: P slides over an image pyramid and proposes boxes, R rejects most of them, O
refines the rest and places five landmarks (eyes, nose, mouth corners). The weights are the ones inside the
package `facenet-pytorch` (MIT); its own code is not imported, since it needs torchvision.

Every box is (left, top, right, bottom) in pixels; every landmark is (x, y).
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from evaluation.errors import MaterialMissing

Float = NDArray[np.float64]
PYRAMID_FACTOR = 0.709
THRESHOLDS = (0.6, 0.7, 0.7)  # of P, R, O; the values of the paper's code
_CELL, _STRIDE = 12, 2  # field of view and stride of P
_CHUNK = 512  # candidates a forward pass of R and O


@dataclass(frozen=True)
class Face:
    """One detected face: box (4,), five landmarks (5, 2) in pixels, and the confidence of the last network,
    0..1."""

    box: Float
    landmarks: Float
    confidence: float


def _block(cin: int, cout: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(cin, cout, kernel), nn.PReLU(cout)]


class _Proposal(nn.Module):
    """(N, 3, H, W) -> face probability (N, h, w) and box offsets (N, 4, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = _block(3, 10, 3)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2, self.prelu2 = _block(10, 16, 3)
        self.conv3, self.prelu3 = _block(16, 32, 3)
        self.conv4_1 = nn.Conv2d(32, 2, 1)
        self.conv4_2 = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_1(x).softmax(1)[:, 1], self.conv4_2(x)


class _Refine(nn.Module):
    """(M, 3, 24, 24) -> face probability (M,) and box offsets (M, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = _block(3, 28, 3)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = _block(28, 48, 3)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = _block(48, 64, 2)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.prelu3(self.conv3(self.pool2(self.prelu2(self.conv2(x)))))
        x = self.prelu4(self.dense4(_flatten(x)))
        return self.dense5_1(x).softmax(1)[:, 1], self.dense5_2(x)


class _Output(nn.Module):
    """(M, 3, 48, 48) -> face probability (M,), box offsets (M, 4), landmarks (M, 10) as five x then five
    y."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = _block(3, 32, 3)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.prelu2 = _block(32, 64, 3)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3, self.prelu3 = _block(64, 64, 3)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4, self.prelu4 = _block(64, 128, 2)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.pool1(self.prelu1(self.conv1(x)))
        x = self.pool3(self.prelu3(self.conv3(self.pool2(self.prelu2(self.conv2(x))))))
        x = self.prelu5(self.dense5(_flatten(self.prelu4(self.conv4(x)))))
        return self.dense6_1(x).softmax(1)[:, 1], self.dense6_2(x), self.dense6_3(x)


def _flatten(x: Tensor) -> Tensor:
    # The weights were converted from Caffe, which runs over width before height.
    return x.permute(0, 3, 2, 1).flatten(1)


def weights_folder() -> Path:
    """Folder of pnet.pt, rnet.pt and onet.pt inside the installed `facenet-pytorch`.

    Raises:
        MaterialMissing: the package is not installed.
    """
    spec = find_spec("facenet_pytorch")
    if spec is None or not spec.submodule_search_locations:
        raise MaterialMissing("the face detector needs: pip install --no-deps facenet-pytorch==2.6.0")
    return Path(spec.submodule_search_locations[0]) / "data"


def non_maximum_suppression(boxes: Float, scores: Float, threshold: float, *, by_smaller: bool = False) -> list[int]:
    """Indices of the boxes kept, best first: a box goes when it overlaps a better one by more than
    `threshold`.

    Args:
        boxes: (M, 4); scores: (M,).
        by_smaller: measure the overlap against the smaller of the two boxes instead of their union.
    """
    area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(high - low + 1, 0), axis=1)
        whole = np.minimum(area[best], area[rest]) if by_smaller else area[best] + area[rest] - shared
        order = rest[shared / whole <= threshold]
    return kept


class Mtcnn:
    """The cascade. One instance holds the three networks; `detect` is a pure function of the pictures."""

    def __init__(self, folder: Path | None = None, *, smallest_face: int = 20) -> None:
        """Args: smallest_face: edge in pixels of the smallest face looked for, at least 12."""
        folder = folder or weights_folder()
        self.smallest_face = smallest_face
        self._p, self._r, self._o = _Proposal(), _Refine(), _Output()
        for net, name in ((self._p, "pnet"), (self._r, "rnet"), (self._o, "onet")):
            net.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True, map_location="cpu"))
            net.eval().requires_grad_(False)

    @torch.no_grad()
    def detect(self, pictures: NDArray[np.uint8]) -> list[list[Face]]:
        """Faces in each of (B, H, W, 3) uint8 RGB pictures, most confident first."""
        x = torch.from_numpy(pictures.astype(np.float32)).permute(0, 3, 1, 2)
        proposals = self._propose(x)
        refined = self._refine(x, proposals)
        return [self._place(picture, boxes) for picture, boxes in zip(x, refined, strict=True)]

    def _propose(self, x: Tensor) -> list[Float]:
        """Square candidate boxes (M, 4) of each picture, from P over the pyramid."""
        found: list[list[Float]] = [[] for _ in range(len(x))]
        height, width = x.shape[2:]
        scale = _CELL / self.smallest_face
        while min(height, width) * scale >= _CELL:
            small = interpolate(x, (int(height * scale + 1), int(width * scale + 1)), mode="area")
            probability, offset = self._p((small - 127.5) / 128)
            for i in range(len(x)):
                found[i].append(_cells(probability[i].numpy(), offset[i].numpy(), scale))
            scale *= PYRAMID_FACTOR
        return [_merge(np.concatenate(levels)) for levels in found]

    def _refine(self, x: Tensor, proposals: list[Float]) -> list[Float]:
        refined = []
        for picture, boxes in zip(x, proposals, strict=True):
            crops, boxes = _crops(picture, boxes, 24)
            if not len(boxes):
                refined.append(boxes)
                continue
            scores, offsets = (_numpy(part) for part in _in_chunks(self._r, crops))
            good = scores > THRESHOLDS[1]
            boxes, scores, offsets = boxes[good], scores[good], offsets[good]
            kept = non_maximum_suppression(boxes, scores, 0.7)
            refined.append(_square(_shift(boxes[kept], offsets[kept])))
        return refined

    def _place(self, picture: Tensor, boxes: Float) -> list[Face]:
        crops, boxes = _crops(picture, boxes, 48)
        if not len(boxes):
            return []
        scores, offsets, points = (_numpy(part) for part in _in_chunks(self._o, crops))
        good = scores > THRESHOLDS[2]
        boxes, scores, offsets, points = boxes[good], scores[good], offsets[good], points[good]
        edge = boxes[:, 2:] - boxes[:, :2] + 1  # (M, 2)
        places = points.reshape(-1, 2, 5).transpose(0, 2, 1) * edge[:, None] + boxes[:, None, :2] - 1
        boxes = _shift(boxes, offsets)
        kept = non_maximum_suppression(boxes, scores, 0.7, by_smaller=True)
        return [Face(boxes[i], places[i], float(scores[i])) for i in kept]


def _numpy(part: Tensor) -> Float:
    return part.numpy().astype(np.float64)


def _in_chunks(net: nn.Module, crops: Tensor) -> tuple[Tensor, ...]:
    parts = [net((chunk - 127.5) / 128) for chunk in torch.split(crops, _CHUNK)]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _cells(probability: NDArray[np.float32], offset: NDArray[np.float32], scale: float) -> Float:
    """Rows (left, top, right, bottom, score, four offsets) of the cells of one level that P takes for
    faces."""
    rows, columns = np.nonzero(probability >= THRESHOLDS[0])
    corner = np.stack([columns, rows], 1).astype(np.float64) * _STRIDE
    low, high = np.floor((corner + 1) / scale), np.floor((corner + _CELL) / scale)
    score = probability[rows, columns].astype(np.float64)[:, None]
    cells = np.concatenate([low, high, score, offset[:, rows, columns].T.astype(np.float64)], 1)
    return cells[non_maximum_suppression(cells[:, :4], cells[:, 4], 0.5)]


def _merge(cells: Float) -> Float:
    cells = cells[non_maximum_suppression(cells[:, :4], cells[:, 4], 0.7)]
    edge = np.tile(cells[:, 2:4] - cells[:, :2], 2)
    return _square(cells[:, :4] + cells[:, 5:9] * edge)


def _shift(boxes: Float, offsets: Float) -> Float:
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def _square(boxes: Float) -> Float:
    """The smallest square around each box, about its centre."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], 1)


def _crops(picture: Tensor, boxes: Float, edge: int) -> tuple[Tensor, Float]:
    """Crops (M, 3, edge, edge) of a (3, H, W) picture, and the boxes they belong to (those not wholly
    outside)."""
    height, width = picture.shape[1:]
    whole = np.trunc(boxes).astype(int)
    low = np.maximum(whole[:, :2], 1) - 1
    high = np.minimum(whole[:, 2:], (width, height))
    inside = (high > low).all(axis=1)
    crops = [
        interpolate(picture[None, :, y0:y1, x0:x1], (edge, edge), mode="area")
        for (x0, y0), (x1, y1) in zip(low[inside], high[inside], strict=True)
    ]
    return (torch.cat(crops) if crops else torch.empty(0, 3, edge, edge)), boxes[inside]
