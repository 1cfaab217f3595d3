"""Load a diffusers Stable Diffusion pipeline and wrap it to four functions: encode, decode, embed, predict noise.

The embedded model, a local folder and a hub id load through the same code. Three things may differ between models and
are read from their configurations: what the network predicts (`prediction_type`), whether the autoencoder works on
pixels (3 channels) or on pixel-unshuffled patches (3 p^2 channels), and whether these lap (`lapped`, lapped.py).
"""

import hashlib
import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from shared.diffusion.affine import affine_maps, retraces
from shared.diffusion.lapped import lapped_matrix, postfilter, prefilter
from shared.diffusion.schedule import NoiseSchedule
from shared.errors import ModelError, PromptTooLong, WrongPictureSize

EMBEDDED = Path(__file__).parent.parent / "weights"
EXTRAS = "ddsr.json"
_SAMPLED = 65536  # numbers of one tensor that enter the fingerprint


@dataclass(frozen=True)
class Extras:
    """What our own training measured about a model, `ddsr.json` beside its weights; absent for a foreign model.

    Attributes:
        face_floor, stego_floor: noise levels at which a face, and a stego, count as clean; None: the schedule's lowest.
        contrast: of a stego around middle grey, in (0, 1]; less leaves the generated latent room within 0..255.
        face_depth, stego_depth: noise levels to which the whitened walks climb; None: the schedule's highest.
        face_knee, stego_knee: of the spacing of the whitened walks' levels (schedule.py, asinh_levels); None: 1.
        face_mean, face_deviation, stego_mean, stego_deviation: of the latents of faces, and of scenes, in each
            coordinate of the DCT (frames.py); None: 0 and 1.
        guidance: of the disguise walk, above the noise level `guidance_floor` (Ho and Salimans, 2022): the noise is
            predicted as without + guidance (with - without the prompt), both by sender and receiver. 1: none.
        disguise_prefix: what the model reads before every disguise prompt, so that words that training never had give
            a scene too, and no face.
        guidance_against: the text that stands for no prompt there. What it names, stegos are led away from.
        temperature: of the stego's noise in its least reliable coordinates; it rises in a straight line to 1 at the
            share `temperature_start` of the stego order. Less makes calmer pictures that carry less.
        face_order, stego_order: coordinates of the mixing (keying.py), most valuable and most reliable first.
        radius_mean, radius_deviation: of log r^2 of each group of coordinates over training faces.
        channel_noise: by channel (channels.py), what it leaves of a stego's noise along the stego order: noise over
            signal in decibels, of stretches of equal length (`noise_code.profile_of`).
        channel_start: by channel, how the step of the first draw's rate follows from the disguise prompt (sealed.py): a
            constant, and what is added for each number of the mean hidden state of the prompt.
    """

    face_floor: float | None = None
    stego_floor: float | None = None
    contrast: float = 1.0
    face_depth: float | None = None
    stego_depth: float | None = None
    face_knee: float | None = None
    stego_knee: float | None = None
    guidance: float = 1.0
    guidance_floor: float = 0.0
    disguise_prefix: str = ""
    guidance_against: str = ""
    temperature: float = 1.0
    temperature_start: float = 1.0
    face_mean: list[float] | None = None
    face_deviation: list[float] | None = None
    stego_mean: list[float] | None = None
    stego_deviation: list[float] | None = None
    face_order: list[int] | None = None
    stego_order: list[int] | None = None
    radius_mean: list[float] | None = None
    radius_deviation: list[float] | None = None
    channel_noise: dict[str, list[float]] | None = None
    channel_start: dict[str, list[float]] | None = None


class DiffusionModel:
    """A latent diffusion model with its text encoder, on one device.

    Attributes:
        image_size: pictures are image_size x image_size pixels.
        latent_shape: (C, h, w) of a latent.
        exact: the autoencoder is affine and encode(decode(z)) = z.
        fingerprint: 16 hex digits over configurations and weights; recipes name it.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        schedule: NoiseSchedule,
        prediction_type: str,
        extras: Extras,
    ) -> None:
        if prediction_type not in ("epsilon", "v_prediction", "sample"):
            raise ModelError(f"the prediction type '{prediction_type}' is not known")
        self.vae, self.unet, self.text_encoder, self.tokenizer = vae, unet, text_encoder, tokenizer
        self.schedule, self.prediction_type, self.extras = schedule, prediction_type, extras
        self.patch = round((vae.config.in_channels / 3) ** 0.5)
        factor = self.patch * 2 ** (len(vae.config.block_out_channels) - 1)
        side = int(unet.config.sample_size)
        self.image_size = side * factor
        self.latent_shape = (int(unet.config.in_channels), side, side)
        self._lap: Tensor | None = None
        if vae.config.get("lapped"):
            self._lap = torch.from_numpy(lapped_matrix(self.image_size, self.patch)).float().to(self.device)
        self.fingerprint = self._fingerprint()
        self._encoder, self._decoder = affine_maps(vae, side)  # None: run the network
        self.exact = retraces(self._encoder, self._decoder)

    @classmethod
    def load(
        cls, source: str | Path | None = None, *, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "DiffusionModel":
        """Load a pipeline folder or hub id; None is the embedded model.

        Args:
            dtype: of the network and text encoder; the autoencoder and the state stay in float32 and float64.

        Raises:
            ModelError: no such pipeline, one of another kind, or one whose weights are pickles; a device that is not
                here.
        """
        root = str(EMBEDDED if source is None else source)
        _check_device(device)
        transformers_logging.set_verbosity_error()  # its warnings quote the end of an over-long prompt
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every attempt to reach the hub
        transformers_logging.disable_progress_bar()
        diffusers_logging.disable_progress_bar()
        diffusers_logging.set_verbosity_error()  # its warning of our VAE's `lapped` is no line of JSON in the log
        try:
            warnings.filterwarnings("ignore", "The `local_dir_use_symlinks`")  # diffusers' own call of the hub
            safe: dict[str, Any] = {"use_safetensors": True}  # the other format of weights is a pickle
            vae = AutoencoderKL.from_pretrained(root, subfolder="vae", torch_dtype=torch.float32, **safe)
            unet = UNet2DConditionModel.from_pretrained(root, subfolder="unet", torch_dtype=torch.float32, **safe)
            text = CLIPTextModel.from_pretrained(root, subfolder="text_encoder", dtype=torch.float32, **safe)
            tokenizer = CLIPTokenizer.from_pretrained(root, subfolder="tokenizer")
            config: dict[str, Any] = dict(DDIMScheduler.load_config(root, subfolder="scheduler"))
        except (OSError, ValueError, TypeError) as error:
            why = "a part is missing, or of another kind" if Path(root).is_dir() else "no folder, and no hub gave it"
            raise ModelError(f"no diffusion pipeline could be loaded from '{root}': {why}") from error
        _check(unet, vae, text)
        for part in (vae, unet, text):
            part.to(device).eval().requires_grad_(False)
        unet.to(memory_format=torch.channels_last)
        kind = str(config.get("prediction_type", "epsilon"))
        model = cls(vae, unet, text, tokenizer, NoiseSchedule.from_config(config), kind, _extras(root))
        for part in (unet, text):  # only now: the fingerprint is that of the weights, whatever they are computed in
            nn.Module.to(part, dtype)  # past diffusers' own, which warns of layers that it would keep in float32
        return model

    @property
    def device(self) -> torch.device:
        device: torch.device = self.unet.device
        return device

    def encode(self, pixels: NDArray[np.uint8]) -> Tensor:
        """z_0 = E(x), equations 3 and 7: the posterior's mean, scaled.

        Args:
            pixels: uint8 (B, H, W, 3) at the model's size.

        Returns:
            float64 (B, C, h, w).

        Raises:
            WrongPictureSize: the pictures have another size.
        """
        if pixels.shape[1:] != (self.image_size, self.image_size, 3):
            raise WrongPictureSize(f"the model works on {self.image_size}x{self.image_size} pictures")
        return self.encode_levels(torch.tensor(pixels, device=self.device))

    @torch.no_grad()
    def encode_levels(self, levels: Tensor) -> Tensor:
        """`encode` of grey levels that need not be whole: (B, H, W, 3), any dtype."""
        x = levels.permute(0, 3, 1, 2).float() / 127.5 - 1
        x = F.pixel_unshuffle(x if self._lap is None else prefilter(x, self._lap), self.patch)
        z = self._encoder(x) if self._encoder else self.vae.encode(x).latent_dist.mean.double()
        shift = self.vae.config.shift_factor or 0.0
        scaled: Tensor = (z - shift) * self.vae.config.scaling_factor
        return scaled

    @torch.no_grad()
    def decode_levels(self, latents: Tensor) -> Tensor:
        """x = G(z_0), equations 6 and 10, before rounding: float32 (B, H, W, 3), in grey levels, not clipped."""
        z = latents / self.vae.config.scaling_factor + (self.vae.config.shift_factor or 0.0)
        x = self._decoder(z).float() if self._decoder else self.vae.decode(z.float()).sample
        x = F.pixel_shuffle(x, self.patch)
        x = x if self._lap is None else postfilter(x, self._lap)
        return (x.permute(0, 2, 3, 1) + 1) * 127.5

    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """x = G(z_0), equations 6 and 10: uint8 (B, H, W, 3), rounded and clipped."""
        levels: NDArray[np.uint8] = self.decode_levels(latents).round().clamp(0, 255).byte().cpu().numpy()
        return levels

    @torch.no_grad()
    def embed(self, prompts: Sequence[str], name: str = "the prompt", prefix: str = "") -> Tensor:
        """Hidden states of the text encoder, (B, L, D), for prompts with `prefix` before each.

        Raises:
            PromptTooLong: a prompt has more tokens than the encoder reads. The error says `name` and does not quote it.
        """
        length = int(self.tokenizer.model_max_length)
        ids = self.tokenizer([prefix + one for one in prompts], padding="max_length", max_length=length).input_ids
        if any(len(row) > length for row in ids):
            room = length - len(self.tokenizer(prefix).input_ids)
            raise PromptTooLong(f"{name} has more than {room} tokens of the model; use fewer or plainer words")
        hidden: Tensor = self.text_encoder(torch.tensor(ids, device=self.device)).last_hidden_state
        return hidden

    @torch.no_grad()
    def predict_noise(self, x: Tensor, sigma: float, text: Tensor) -> Tensor:
        """eps_theta of the paper at a noise level.

        Args:
            x: variance-exploding latent, float64 (B, C, h, w): z_t / sqrt(alpha_bar).
            sigma: noise level, within the schedule.
            text: `embed` of the prompts.

        Returns:
            float64, shaped as x.
        """
        alpha = float((1 + sigma**2) ** -0.5)
        z = x * alpha
        network = z.to(self.unet.dtype, memory_format=torch.channels_last)
        t = torch.full((len(x),), self.schedule.timestep(sigma), device=x.device, dtype=torch.float32)
        out: Tensor = self.unet(network, t, text.to(self.unet.dtype)).sample.double()
        if self.prediction_type == "epsilon":
            return out
        if self.prediction_type == "v_prediction":  # v = alpha eps - alpha sigma z_0
            return alpha * out + alpha * sigma * z
        return (z - alpha * out) / (alpha * sigma)

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(b"ddsr model 1")
        measured = {k: v for k, v in vars(self.extras).items() if v != getattr(Extras, k)}  # room for new fields
        kind = [self.prediction_type, self.image_size, measured, *(["lapped"] if self._lap is not None else [])]
        digest.update(json.dumps(kind, sort_keys=True).encode())
        digest.update(self.schedule.alpha_bar.astype("<f4").tobytes())
        digest.update(json.dumps(self.tokenizer.get_vocab(), sort_keys=True).encode())
        for part in (self.vae, self.unet, self.text_encoder):
            for name, value in sorted(part.state_dict().items()):
                stride = max(1, value.numel() // _SAMPLED)
                digest.update(f"{name} {tuple(value.shape)}".encode())
                digest.update(value.flatten()[::stride].half().cpu().numpy().astype("<f2").tobytes())
        return digest.hexdigest()[:16]


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # the latter from a torch without CUDA
        raise ModelError(f"the device '{device}' cannot be used on this machine") from None


def _check(unet: UNet2DConditionModel, vae: AutoencoderKL, text: CLIPTextModel) -> None:
    """Refuse a network that takes more than a latent, a time and one text: SDXL, inpainting, and the like."""
    u = unet.config
    channels = {u.in_channels, u.out_channels, vae.config.latent_channels}
    if u.addition_embed_type or len(channels) > 1 or u.cross_attention_dim != text.config.hidden_size:
        raise ModelError("this is no pipeline of the kind of Stable Diffusion 1 and 2: one text encoder, plain latents")


def _extras(root: str) -> Extras:
    path: Path | None = Path(root) / EXTRAS
    if not Path(root).is_dir():  # a hub id
        try:
            path = Path(hf_hub_download(root, EXTRAS))
        except EntryNotFoundError:
            path = None
    if path is None or not path.is_file():
        return Extras()
    try:
        return Extras(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ModelError(f"{EXTRAS} of the model is damaged") from error
