"""Audio models of transformers: what they are prepared with, how they are called, how unequal lengths are kept apart.

Models of waveforms (wav2vec 2.0, HuBERT, WavLM, data2vec) begin with filters that make one frame of about 320 samples.
Their reader turns a mask of samples into one of frames. Where padding would change what the front of a model computes,
as with statistics over time, recordings go through it only beside others of their own length; behind it, masks do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sterna import hub, sequences
from sterna.encoders._hf_bands import HOP, KaldiBands, WhisperBands
from sterna.errors import EncoderError
from sterna.maths.seeds import derive
from sterna.network import TOLERANCE, Network, deviation
from sterna.shells import Pixels, one_thread
from sterna.sounds import Waveform

FILE = "preprocessor_config.json"
AST, WHISPER, WAVES = "ASTFeatureExtractor", "WhisperFeatureExtractor", "Wav2Vec2FeatureExtractor"
EXTRACTORS = {"audio-spectrogram-transformer": AST, "whisper": WHISPER}
INPUTS = {AST: "input_values", WHISPER: "input_features"}
UNTRAINED = ("projector.", "classifier.", "layer_weights")  # weights that pretraining leaves out
FRAMES = (11, 7)  # of the two recordings on which chains are compared: prime, so that no width is mistaken for them
SAMPLES = 1 << 20  # of a pass through the front, whose first filters give hundreds of numbers for each five samples

OFF = (
    "layers and inputs dropped at random in its pretraining ({names}) are all kept: they would be drawn from a "
    "generator of their own, and short recordings have nothing to spare."
)
WEIGHTED = (
    "use_weighted_layer_sum is off, since a sum over all layers leaves nothing frozen to keep; the classifier that was "
    "trained on that sum is not used, and features are those of the last layer."
)
ABSENT = f"the model has no {FILE}; that of its kind of model is assumed, at {{rate:,}} samples a second."
BEGINNING = "of each recording, the first {seconds:g} s are used."
POOLED = "the mean of the last hidden states of all frames"

Preparation = Waveform | WhisperBands | KaldiBands


@dataclass(frozen=True)
class Waves:
    """The reader of samples: input (b, s, 2) of value and kind; packed frames (b, t, d + 1) in between."""

    kernels: tuple[int, ...]  # of the filters, in samples of the layer before
    strides: tuple[int, ...]

    def inputs(self, given: Tensor) -> dict[str, Any]:
        return {"input_values": given[..., 0].contiguous(), "attention_mask": sequences.mask(given).long()}

    def again(self, packed: Tensor) -> dict[str, Any]:
        # The library adds the mask of samples up and takes nothing else from it, so the sum itself serves.
        sums = self.samples(sequences.lengths(packed)).unsqueeze(1)
        values = packed.new_zeros(1).expand(len(packed), self.samples(packed.shape[1]))
        return {"input_values": values, "attention_mask": sums}

    def pack(self, hidden: Tensor, before: Tensor) -> Tensor:
        there = sequences.mask(before)
        if there.shape[1] != hidden.shape[1]:
            frames = self.frames(sequences.lengths(before))
            there = torch.arange(hidden.shape[1], device=hidden.device) < frames.unsqueeze(1)
        return sequences.pack(hidden, there.long())

    def hidden(self, packed: Tensor) -> Tensor:
        # A copy, because the library writes zeros at padding in place.
        return sequences.values(packed).clone(memory_format=torch.contiguous_format)

    def frames(self, samples: Any) -> Any:
        """How many frames so many samples give."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            samples = (samples - kernel) // stride + 1
        return samples

    def samples(self, frames: Any) -> Any:
        """The fewest samples that give so many frames."""
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            frames = (frames - 1) * stride + kernel
        return frames


@dataclass(frozen=True)
class Hearing:
    """All that is known of an audio model before it is opened."""

    preparation: Preparation
    reader: Waves | Pixels
    stated: Mapping[str, Any]  # the preprocessor_config.json
    notes: tuple[str, ...]
    weighted: bool  # whether its classifier was trained on a sum over layers


def hearing(place: Path, settings: Any) -> Hearing:
    """How the model of a folder hears, with what cannot be cut or repeated switched off in its settings.

    Raises `EncoderError` for a model whose input is not made here.
    """
    kind = EXTRACTORS.get(settings.model_type, WAVES)
    found = _read(place)
    if str(found.get("feature_extractor_type", kind)) != kind or (kind == WAVES and not _filters(settings)):
        raise EncoderError(
            f"the input of models of type '{settings.model_type}' ({place}) cannot be prepared; choose a wav2vec 2.0, "
            "HuBERT, data2vec-audio, AST or Whisper model, such as hf:facebook/wav2vec2-base."
        )
    stated = {**_usual(kind, settings), **found, "feature_extractor_type": kind}
    weighted = bool(getattr(settings, "use_weighted_layer_sum", False))
    masked = ("mask_time_prob", "mask_feature_prob") if getattr(settings, "apply_spec_augment", True) else ()
    dropped = [name for name in ("layerdrop", "encoder_layerdrop", *masked) if getattr(settings, name, 0)]
    for name in dropped:
        setattr(settings, name, 0.0)
    if weighted:
        settings.use_weighted_layer_sum = False
    preparation, reader = _made(kind, stated, settings)
    if isinstance(reader, Pixels):
        _check(place, reader, kind, settings)
    notes = [] if found else [ABSENT.format(rate=preparation.rate)]
    notes += [OFF.format(names=", ".join(dropped))] if dropped else []
    notes += [WEIGHTED] if weighted else []
    if not isinstance(preparation, Waveform):
        notes.append(BEGINNING.format(seconds=round(preparation.seconds, 2)))
    return Hearing(preparation, reader, stated, tuple(notes), weighted)


def _read(place: Path) -> dict[str, Any]:
    """What a folder states of its feature extractor, by itself or with a tokenizer in one file."""
    found: dict[str, Any] = hub.read(place / FILE) or hub.read(place / "processor_config.json").get(
        "feature_extractor", {}
    )
    return {name: value for name, value in found.items() if name not in ("mel_filters", "processor_class")}


def _usual(kind: str, settings: Any) -> dict[str, Any]:
    """The library's defaults, with the sizes that the model takes."""
    both = {"sampling_rate": 16000, "padding_value": 0.0, "padding_side": "right", "return_attention_mask": False}
    if kind == AST:
        usual = KaldiBands()
        sizes = {"num_mel_bins": settings.num_mel_bins, "max_length": settings.max_length}
        return {**both, **sizes, "feature_size": 1, "do_normalize": True, "mean": usual.mean, "std": usual.std}
    if kind == WHISPER:
        chunk = 2 * settings.max_source_positions * HOP // both["sampling_rate"]
        return {**both, "feature_size": settings.num_mel_bins, "chunk_length": chunk, "n_fft": 400, "hop_length": HOP}
    # A mask keeps padding out where the front of a model does not mix it in.
    masked = getattr(settings, "feat_extract_norm", "layer") == "layer"
    return {**both, "feature_size": 1, "do_normalize": True, "return_attention_mask": masked}


def _filters(settings: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    kernels, strides = (getattr(settings, name, None) for name in ("conv_kernel", "conv_stride"))
    return (tuple(kernels), tuple(strides)) if kernels and strides else None


def _made(kind: str, stated: Mapping[str, Any], settings: Any) -> tuple[Preparation, Waves | Pixels]:
    rate = int(stated["sampling_rate"])
    prepared: WhisperBands | KaldiBands
    if kind == WAVES:
        reader = Waves(*(_filters(settings) or ((), ())))
        return Waveform(rate, normalise=bool(stated["do_normalize"]), shortest=reader.samples(1)), reader
    if kind == WHISPER:
        window, hop = int(stated["n_fft"]), int(stated["hop_length"])
        prepared = WhisperBands(rate, int(stated["feature_size"]), window, hop, int(stated["chunk_length"]) * rate)
    else:
        mels, frames = int(stated["num_mel_bins"]), int(stated["max_length"])
        normal = bool(stated["do_normalize"]), float(stated["mean"]), float(stated["std"])
        prepared = KaldiBands(rate, mels, frames, *normal)
    return prepared, Pixels(prepared.size, INPUTS[kind])


def _check(place: Path, reader: Pixels, kind: str, settings: Any) -> None:
    wanted = (
        (settings.max_length, settings.num_mel_bins)
        if kind == AST
        else (settings.num_mel_bins, 2 * settings.max_source_positions)
    )
    if reader.size != wanted:
        raise EncoderError(
            f"{place / FILE} makes spectrograms of {reader.size[0]} x {reader.size[1]}, and the model takes "
            f"{wanted[0]} x {wanted[1]}; take both files from the same model."
        )


def adapted(opened: hub.Opened, settings: Any, heard: Hearing, place: Path) -> hub.Opened:
    """A model whose untrained projection is as wide as its hidden states, so that it can hand them on.

    Raises `EncoderError` when weights are missing that pretraining should have made.
    """
    model: Any = opened.model
    lost = sorted(name for name in opened.missing if not name.startswith(UNTRAINED))
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise EncoderError(f"the weights in {place} do not fit its config.json: they lack {', '.join(lost[:3])}{more}.")
    missing = opened.missing
    if heard.weighted:
        ends = ("projector.weight", "projector.bias", "classifier.weight", "classifier.bias")
        missing = missing | {name for name in ends if name in model.state_dict()}
    projector = getattr(model, "projector", None)
    if isinstance(projector, nn.Linear) and "projector.weight" in missing:
        width = projector.in_features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive("hub"))
            model.projector = nn.Linear(width, width)
            model.classifier = nn.Linear(width, model.classifier.out_features)
        for config in (model.config, settings):
            config.classifier_proj_size = width
    return hub.Opened(model.eval(), missing)


def pooling(chain: Network) -> str:
    """What the features are, in words."""
    model: Any = chain.whole
    return f"{POOLED}, through projector" if hasattr(model.model, "projector") else "those that the library pools"


def sample(reader: Any) -> Tensor:
    """Two inputs of one length on which a chain is compared with its model: noise, the same on every call."""
    size = reader.size if isinstance(reader, Pixels) else (reader.samples(FRAMES[0]) + 1,)
    generator = torch.Generator().manual_seed(derive("chain"))
    values = torch.randn(2, *size, generator=generator)
    return values if isinstance(reader, Pixels) else torch.stack([values, torch.ones_like(values)], dim=-1)


def lend_positions(layers: Any) -> None:
    """WavLM: each layer can make the bias of relative positions that the library makes in the first one for all.

    Chen et al. 2022, arXiv 2110.13900. The others borrow its embedding, unregistered, so it stays the first layer's own
    weight; the library's own forward pass hands the bias on as before.
    """
    first = getattr(getattr(next(iter(layers)), "attention", None), "rel_attn_embed", None)
    for layer in [*layers][1:] if first is not None else ():
        layer.attention.__dict__["rel_attn_embed"] = first


@one_thread()
def apart(chained: Callable[[str], Network], layers: str, reader: Waves, inputs: Tensor) -> Network:
    """A chain in which a recording's answer does not depend on what it is padded with.

    Args:
        chained: makes the chain, given the dotted name of the model's list of layers, or "" for one stage.
        layers: that name.
        reader: how the model is called.
        inputs: (2, s, 2), from `sample`.
    """
    inputs = inputs.clone()
    inputs[1, reader.samples(FRAMES[1]) + 1 :] = 0
    chain = chained(layers)
    for path, alike in ((layers, False), (layers, True), ("", True)):
        if path != layers:
            chain = chained(path)
        first: Any = next(iter(chain.stages.values()))
        call = first.call.args[1] if isinstance(first.call, partial) and first.call.func is _passes else first.call
        first.call = partial(_passes, alike, call)
        if _steady(chain, inputs):
            return chain
    raise RuntimeError("a recording's features change with those beside it")


@torch.no_grad()
def _steady(chain: Network, inputs: Tensor) -> bool:
    """Whether each item of a batch of unequal lengths gets what it gets by itself: the library's answer, at the end."""
    whole: Any = chain.whole
    first = chain.eval().prefix(1)
    alone = [one[None, : int(count)] for one, count in zip(inputs, sequences.lengths(inputs), strict=True)]
    answers = torch.cat([whole(one) for one in alone])
    if deviation(chain(inputs).logits, answers) > TOLERANCE:
        return False
    # Behind the first stage too, where a change shows before it is averaged over the frames.
    pairs = zip(first(inputs), [first(one)[0] for one in alone], strict=True)
    return all(deviation(got[: len(wanted)], wanted) <= TOLERANCE for got, wanted in pairs)


def _passes(alike: bool, call: Callable[..., Tensor], parts: Sequence[nn.Module], inputs: Tensor) -> Tensor:
    """The stage `call`, in passes of bounded size; with `alike`, of recordings of one length."""
    lengths = sequences.lengths(inputs)
    budget = max(1, SAMPLES // inputs.shape[1])
    if len(inputs) <= budget and not (alike and bool((lengths != inputs.shape[1]).any())):
        return call(parts, inputs)
    order = torch.argsort(lengths, descending=True, stable=True)
    counts = torch.unique_consecutive(lengths[order], return_counts=True)[1].tolist() if alike else [len(inputs)]
    passes = [some for places in order.split(counts) for some in places.split(budget)]
    found = [call(parts, inputs[some, : int(lengths[some[0]])]) for some in passes]
    longest = max(part.shape[1] for part in found)
    if found[0].dim() == 3:
        found = [nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in found]
    return torch.cat(found)[torch.argsort(order)]
