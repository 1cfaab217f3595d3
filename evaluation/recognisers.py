"""Face recognisers behind one interface: pictures and landmarks in, embeddings out, similarity between
embeddings.

The recognisers of the material folder (`models/README.md`) and dlib's are known by name; the paper's four
are taken by path, as ONNX or TorchScript, and keep their own names. Every recogniser is reported apart; none
is averaged away.

The three commercial services of the paper (Tencent Cloud, Face++, Aliyun) compare two pictures and give no
embedding; they have a table of their own (`evaluation.services`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation.alignment import Landmarks, align
from evaluation.data import Picture, material_folder
from evaluation.errors import MaterialMissing

Vectors = NDArray[np.float64]
Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (B, ...) -> (B, D)
# Published thresholds at FAR 1 % for the paper's networks (LFW, their own preprocessing); cosine.
PUBLISHED_THRESHOLDS = {"ir152": 0.166788, "irse50": 0.241045, "facenet": 0.409131, "mobileface": 0.301611}
DLIB = "dlib-128"


class Recogniser(Protocol):
    """What every table asks of a recogniser."""

    name: str

    def embed(self, pictures: Picture, landmarks: Sequence[Landmarks]) -> Vectors:
        """(B, D) embeddings of the faces at `landmarks` in (B, H, W, 3) uint8 RGB pictures."""
        ...

    def similarity(self, first: Vectors, second: Vectors) -> Vectors:
        """(N, M) similarities of (N, D) to (M, D); larger is more alike, 1 is identical."""
        ...


@dataclass(frozen=True)
class Preprocessing:
    """How an aligned RGB crop `a` becomes a network's input: (a - mean) / scale, perhaps as BGR, perhaps
    channels first."""

    edge: int = 112
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    scale: float = 127.5
    bgr: bool = False
    channels_first: bool = True

    def __call__(self, crops: Picture) -> NDArray[np.float32]:
        a = crops[..., ::-1] if self.bgr else crops
        x = (a.astype(np.float32) - np.asarray(self.mean, np.float32)) / np.float32(self.scale)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if self.channels_first else x)


class CosineRecogniser:
    """A network on aligned crops, compared by the cosine of its embeddings."""

    def __init__(self, name: str, network: Network, preprocessing: Preprocessing) -> None:
        self.name = name
        self._network, self._preprocessing = network, preprocessing

    def embed(self, pictures: Picture, landmarks: Sequence[Landmarks]) -> Vectors:
        edge = self._preprocessing.edge
        crops = [align(picture, points, edge) for picture, points in zip(pictures, landmarks, strict=True)]
        vectors = self._network(self._preprocessing(np.stack(crops))).astype(np.float64)
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def similarity(self, first: Vectors, second: Vectors) -> Vectors:
        return first @ second.T


class DlibRecogniser:
    """dlib's 128-d ResNet (King, 2017), compared by distance; similarity is 1 - distance.

    dlib aligns by its own five landmarks. They are placed from a box about the landmarks handed in: its
    centre midway between eyes and mouth, its edge 2.29 times the mean of eye distance and eye-mouth
    distance, as measured of dlib's own detector on CelebA.
    """

    name = DLIB
    _EDGE = 2.29

    def __init__(self) -> None:
        folder = _package_folder("face_recognition_models", "face-recognition-models") / "models"
        try:
            import dlib
        except ImportError:
            raise MaterialMissing("dlib's recogniser needs the package dlib-bin") from None
        self._dlib: Any = dlib
        self._points = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self._net = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))

    def embed(self, pictures: Picture, landmarks: Sequence[Landmarks]) -> Vectors:
        crops = [self._crop(picture, points) for picture, points in zip(pictures, landmarks, strict=True)]
        return np.array([self._net.compute_face_descriptor(crop) for crop in crops], dtype=np.float64)

    def _crop(self, picture: Picture, points: Landmarks) -> Picture:
        eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
        edge = self._EDGE * float(np.linalg.norm(points[1] - points[0]) + np.linalg.norm(mouth - eyes)) / 2
        left, top = ((eyes + mouth) / 2 - edge / 2).round().astype(int).tolist()
        box = self._dlib.rectangle(left, top, left + round(edge), top + round(edge))
        picture = np.ascontiguousarray(picture)
        crop: Picture = self._dlib.get_face_chip(picture, self._points(picture, box), size=150, padding=0.25)
        return crop

    def similarity(self, first: Vectors, second: Vectors) -> Vectors:
        squared = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
        distances: Vectors = np.sqrt(np.maximum(squared, 0))
        return 1 - distances


def onnx_network(path: Path) -> Network:
    """A network of one input and one output in an ONNX file, run picture by picture (batch sizes are often
    fixed)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.concatenate([session.run(None, {name: one[None]})[0] for one in x])


def torchscript_network(path: Path) -> Network:
    """A network saved by `torch.jit.save`. Bare state dicts need their authors' code: export them first."""
    import torch

    net = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            vectors: NDArray[np.float32] = net(torch.from_numpy(x)).float().numpy()
        return vectors

    return run


def litert_network(path: Path) -> Network:
    """A TensorFlow Lite network, run at the batch size that its file fixes; the last batch is filled up."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    batch = int(given["shape"][0])

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(x), batch):
            part = x[start : start + batch]
            filled = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
            interpreter.set_tensor(given["index"], filled)
            interpreter.invoke()
            parts.append(interpreter.get_tensor(wanted["index"])[: len(part)].copy())
        return np.concatenate(parts)

    return run


_CAFFE_MEAN = (103.939, 116.779, 123.68)
_MATERIAL: dict[str, tuple[str, Callable[[Path], Network], Preprocessing]] = {
    "faceplugin-512": (
        "faceplugin-512.onnx",
        onnx_network,
        Preprocessing(mean=(127.0, 127.0, 127.0), scale=128.0),
    ),
    "mobilefacenet-192": (
        "mobilefacenet-192.tflite",
        litert_network,
        Preprocessing(scale=128.0, channels_first=False),
    ),
    "faceres-deep-1024": (
        "faceres-deep-1024.onnx",
        onnx_network,
        Preprocessing(edge=224, mean=_CAFFE_MEAN, scale=1.0, bgr=True),
    ),
}
DEFAULT = (*_MATERIAL, DLIB)
_BY_PATH = {"facenet": Preprocessing(edge=160)}  # the others of the paper take 112 pixels


def load(names: Sequence[str] = DEFAULT) -> list[Recogniser]:
    """Recognisers by name, or as NAME=PATH for a file of one's own (`.onnx`, else TorchScript).

    A network by path is fed RGB (a - 127.5) / 127.5 at 112 pixels (`facenet`: 160), channels first.

    Raises:
        MaterialMissing: an unknown name, or a file or package that is not there.
    """
    return [_by_path(*name.split("=", 1)) if "=" in name else _by_name(name) for name in names]


def _by_name(name: str) -> Recogniser:
    if name == DLIB:
        return DlibRecogniser()
    if name not in _MATERIAL:
        raise MaterialMissing(f"unknown recogniser; known: {', '.join(DEFAULT)}, or NAME=PATH")
    file, reader, preprocessing = _MATERIAL[name]
    path = material_folder() / "models" / file
    if not path.is_file():
        raise MaterialMissing(f"the material lacks models/{file}")
    return CosineRecogniser(name, reader(path), preprocessing)


def _by_path(name: str, file: str) -> Recogniser:
    path = Path(file)
    if not path.is_file():
        raise MaterialMissing(f"no weights for the recogniser {name} at the given path")
    reader = onnx_network if path.suffix == ".onnx" else torchscript_network
    return CosineRecogniser(name, reader(path), _BY_PATH.get(name, Preprocessing()))


def _package_folder(module: str, distribution: str) -> Path:
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise MaterialMissing(f"the package {distribution} is not installed")
    return Path(spec.submodule_search_locations[0])
