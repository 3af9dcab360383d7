"""Encoders of transformers for texts, pictures and sounds, by name on the hub or as a folder, with its classifier.

`hf:bert-base-uncased`, `hf:FOLDER`. Features are what the last linear layer of `AutoModelForSequenceClassification`
reads (for tagging, of `AutoModelForTokenClassification`; for pictures, of `AutoModelForImageClassification`; for
sounds, of `AutoModelForAudioClassification`), so a fitted model opens and answers there. A layer before it that no
pretraining has seen starts as the identity.
When not to use: for texts with few labels, `sentence:NAME` gives better features; those were trained to be compared.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
)

from sterna import chains, files, hub, network, sequences, shells, tokens
from sterna.encoders import _hf_clip, _hf_head, _hf_pictures, _hf_sounds
from sterna.errors import EncoderError
from sterna.network import Network
from sterna.preparation import ImagePreparation
from sterna.records import Encoder, Fitted
from sterna.tokens import TextPreparation

PROBLEMS = {
    "classify": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regress": "regression",
}
AUTOS = {
    "text": AutoModelForSequenceClassification,
    "words": AutoModelForTokenClassification,
    "image": AutoModelForImageClassification,
    "audio": AutoModelForAudioClassification,
}
KINDS: dict[str, Mapping[str, Any]] = {
    "text": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    "words": MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    "image": MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    "audio": MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
}
USES = {"text": "", "words": "tag words", "image": "classify texts, pictures or sounds", "audio": ""}
SAMPLES = {
    "text": ("What was learned on one language", "holds on others; sometimes."),
    "words": (("What", "was", "learned", "on", "one", "language"), ("holds", "on", "others")),
}
OF_THE_RUN = (
    "id2label",
    "label2id",
    "problem_type",
    "sterna",
    "transformers_version",
    "architectures",
    "_name_or_path",
)

Modality = Literal["text", "words", "image", "audio"]
SENTENCES = "this is a sentence encoder, whose own pooling is used by sentence: in place of hf:."
PICTURES = "preprocessor_config.json"
TOKENS = "tokenizer_config.json"


@dataclass(frozen=True)
class _Form:
    """How a model is built, called and written."""

    modality: Modality
    settings: Any  # the configuration
    preparation: TextPreparation | ImagePreparation | _hf_sounds.Preparation
    stated: Mapping[str, Any]  # tokenizer_config.json or preprocessor_config.json
    reader: shells.Tokens | shells.Pixels | _hf_sounds.Waves
    head: str = ""  # where the classifier sits
    layers: str = ""
    norm: str = ""  # for a classifier without a bias, the norm that it reads
    heard: _hf_sounds.Hearing | None = None  # for sounds

    def sample(self) -> Tensor:
        """Real input of two lengths; noise for pictures and sounds."""
        if isinstance(self.preparation, TextPreparation):
            return tokens.stacked(self.preparation, SAMPLES[self.modality])
        if isinstance(self.preparation, ImagePreparation):
            return chains.noise(self.preparation.size)
        return _hf_sounds.sample(self.reader)

    def chained(self, model: nn.Module) -> Network:
        """The model as a chain."""
        ending, sample = _word_logits if self.modality == "words" else shells.logits, self.sample()
        cut = partial(_cut, model, self.head, self.reader, ending, sample)
        if isinstance(self.reader, _hf_sounds.Waves):
            _hf_sounds.lend_positions(model.get_submodule(self.layers))
            return _hf_sounds.apart(cut, self.layers, self.reader, sample)
        return cut(self.layers)


def _word_logits(output: Any, packed: Tensor) -> Tensor:
    """What the model gives for the first token of each word: packed (b, w, d + 1)."""
    return sequences.words(sequences.pack(output.logits, packed[..., -1]))


def _cut(
    model: nn.Module, head: str, reader: shells.Reader, ending: shells.Ending, sample: Tensor, layers: str
) -> Network:
    return shells.chain(model, layers, head, reader, ending, sample)


def load(name: str, origin: str = "hf") -> Encoder:
    """The encoder of a folder, or of a name on the hub. Raises `EncoderError` when it cannot be had."""
    return _load(hub.folder(name, origin), f"{origin}:{name}", "text")


def words(name: str, origin: str = "hf") -> Encoder:
    """The same with features for each word, for tagging."""
    return _load(hub.folder(name, origin), f"{origin}:{name}", "words")


@shells.one_thread()
def _load(place: Path, reference: str, modality: Modality) -> Encoder:
    settings = hub.config(place)
    if modality == "text" and _hf_clip.serves(settings):
        return _hf_clip.load(place, reference, settings, AutoModel, _hf_pictures.stated)
    if modality == "text" and settings.model_type not in KINDS["text"]:
        modality = "audio" if settings.model_type in KINDS["audio"] else "image"
    if settings.model_type not in KINDS[modality]:
        raise EncoderError(
            f"transformers has no model of type '{settings.model_type}' ({place}) that can {USES[modality]}; choose "
            "another, such as hf:bert-base-uncased."
        )
    form = _form(place, settings, modality)
    opened = hub.pretrained(AUTOS[modality], place, settings)
    if form.heard is not None:
        opened = _hf_sounds.adapted(opened, settings, form.heard, place)
    model = opened.model
    form = _located(form, model)
    filled = (*_filled(opened, form), *(form.heard.notes if form.heard is not None else ()))
    chain = form.chained(model)
    if chain.head.bias is None:
        form = replace(form, norm=_hf_head.norm_of(model, _features(chain, form.sample())))
    notes = (*shells.notes(chain), f"features are {_pooling(chain, form)}.", *filled, *_better(place, modality))
    kind = type(model).__name__
    known = kind in (settings.architectures or [kind]) and f"{form.head}.weight" not in opened.missing
    names = tuple(str(name) for _, name in sorted(settings.id2label.items()))
    settings.architectures = [kind]
    if not known:
        shells.without_rows(chain)
    prepare = form.preparation
    return Encoder(
        reference=reference,
        network=chain,
        preparation=prepare,
        source_classes=names if len(names) == chain.classes else (),
        digest=network.digest(json.dumps([kind, _lasting(settings)], sort_keys=True), model.state_dict()),
        config={"library": "transformers", "architecture": kind, "model_type": settings.model_type},
        fresh=partial(_fresh, form),
        notes=notes,
        words=partial(_load, place, reference, "words") if modality == "text" else None,
        describe=tokens.Embedding(partial(_features, chain), prepare) if isinstance(prepare, TextPreparation) else None,
        write=partial(_write, form),
        pace=shells.pace(chain),
    )


def _form(place: Path, settings: Any, modality: Modality) -> _Form:
    if modality == "image":
        return _pictures(place, settings)
    if modality != "audio":
        return _texts(place, settings, modality)
    heard = _hf_sounds.hearing(place, settings)
    return _Form("audio", settings, heard.preparation, heard.stated, heard.reader, heard=heard)


def _texts(place: Path, settings: Any, modality: Modality) -> _Form:
    special, data = hub.read(place / TOKENS), tokens.plain(hub.tokenizer(place))
    settings.pad_token_id = pad = tokens.padding(settings.pad_token_id, special, data)
    if modality == "words":
        data = tokens.for_words(data)
    prepare = TextPreparation(data, sequences.ENDLESS, "words" if modality == "words" else "text")
    return _Form(modality, settings, prepare, special, shells.Tokens(pad, 0 if pad else 1, False))


def _pictures(place: Path, settings: Any) -> _Form:
    stated = hub.read(place / PICTURES)
    channels = int(getattr(settings, "num_channels", 3))
    prepare = _hf_pictures.stated(stated, channels, str(place / PICTURES))
    return _Form("image", settings, prepare, stated, shells.Pixels(prepare.size))


def _located(form: _Form, model: nn.Module) -> _Form:
    """What only the model itself tells: where its parts are, and how long texts may be."""
    linear = [path for path, part in model.named_modules() if isinstance(part, nn.Linear)]
    settings = form.settings
    count = getattr(settings, "num_hidden_layers", None) or len(getattr(settings, "depths", ()))
    form = replace(form, head=linear[-1], layers=shells.layers_of(model, count))
    if not isinstance(form.preparation, TextPreparation) or not isinstance(form.reader, shells.Tokens):
        return form
    accepted = inspect.signature(model.forward).parameters
    segments = "token_type_ids" in accepted and (getattr(settings, "type_vocab_size", 0) or 0) > 1
    prepare = replace(form.preparation, longest=sequences.longest(model, form.stated))
    return replace(form, preparation=prepare, reader=replace(form.reader, segments=segments))


def _filled(opened: hub.Opened, form: _Form) -> tuple[str, ...]:
    """Layers before the classifier that no pretraining has seen, made to pass features on; what was done with each."""
    model = opened.model
    weights = {path for path, part in model.named_modules() if isinstance(part, nn.Linear) and path != form.head}
    lost = [path for path in sorted(weights) if f"{path}.weight" in opened.missing]
    sample = form.sample()
    return tuple(
        _hf_head.pass_through(model, path, partial(shells.before_head, model, form.head, form.reader, sample))
        for path in lost
    )


def _better(place: Path, modality: Modality) -> tuple[str, ...]:
    return (SENTENCES,) if modality == "text" and (place / "modules.json").is_file() else ()


@torch.no_grad()
def _features(chain: Network, inputs: Tensor) -> Tensor:
    return chain.eval()(inputs).features


def _pooling(chain: Network, form: _Form) -> str:
    """In words: which of the last hidden states the features depend on."""
    if form.modality == "words":
        return "the last hidden states of the first token of each word"
    if form.modality == "audio":
        return _hf_sounds.pooling(chain)
    if chain.depth == 1 or form.modality == "image":
        return "those that the library pools"
    sample = form.sample()[:1]
    hidden = chain.prefix(chain.depth - 1)(sample).detach().requires_grad_(True)
    with torch.enable_grad():
        features = chain.suffix(chain.depth - 1)(hidden).features
        slope = torch.linspace(1, 2, features.shape[1])
        (gradient,) = torch.autograd.grad((features * slope).sum(), hidden)
    reached = tuple(gradient[0, :, :-1].abs().amax(dim=1).gt(0).nonzero().flatten().tolist())
    last = int(sequences.lengths(sample)) - 1
    through = [path for path, part in list(chain.stages.values())[-1].named_modules() if isinstance(part, nn.Linear)]
    words = {(0,): "the last hidden state of the first token", (last,): "the last hidden state of the last token"}
    said = words.get(reached, "the mean of the last hidden states of all tokens")
    return f"{said}, through {through[-1].rpartition('parts.0.')[2]}" if through else said


def _lasting(settings: Any) -> dict[str, Any]:
    """The configuration without what a new head makes untrue."""
    return {key: value for key, value in settings.to_dict().items() if key not in OF_THE_RUN}


def _fresh(form: _Form) -> Network:
    return shells.without_rows(form.chained(hub.fresh(AUTOS[form.modality], copy.deepcopy(form.settings))))


def _write(form: _Form, fitted: Fitted, place: Path, facts: Mapping[str, Any]) -> None:
    """The folder that `from_pretrained` opens: config.json, model.safetensors and the tokenizer's files."""
    whole: Any = copy.deepcopy(fitted.network.whole)
    model = whole.model.cpu()
    settings = copy.deepcopy(form.settings)
    settings.id2label = dict(enumerate(fitted.classes))
    settings.label2id = {name: number for number, name in enumerate(fitted.classes)}
    settings.problem_type = PROBLEMS.get(str(facts.get("task", "classify")))
    settings.architectures = [type(model).__name__]
    settings.sterna = dict(facts)
    settings.save_pretrained(place)
    head = model.get_submodule(form.head)
    if form.norm:
        head.weight.data = _hf_head.fold(model, form.norm, head.weight.data, head.bias.data)
        head.bias = None
    hub.write_weights(model, place / "model.safetensors")
    if not isinstance(form.preparation, TextPreparation) or not isinstance(form.reader, shells.Tokens):
        files.write_json(place / PICTURES, form.stated)
        return
    files.write_bytes(place / "tokenizer.json", form.preparation.tokenizer)
    files.write_json(place / TOKENS, _special(form.stated, form.preparation, form.reader.pad))


def _special(stated: Mapping[str, Any], preparation: TextPreparation, pad: int) -> dict[str, Any]:
    """The tokenizer's configuration, with the limit and the padding that the model was fitted with."""
    kept = {key: value for key, value in stated.items() if key not in ("name_or_path", "auto_map")}
    kept.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    if not tokens.special(kept, "pad_token"):
        kept["pad_token"] = tokens.token(preparation.tokenizer, pad)
    if preparation.modality == "words":
        kept["add_prefix_space"] = True
    return {**kept, "model_max_length": preparation.longest, "padding_side": "right", "truncation_side": "right"}
