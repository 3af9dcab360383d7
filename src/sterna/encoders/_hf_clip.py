"""Models of pictures and texts in one space (CLIP, SigLIP): an encoder of pictures that also embeds descriptions.

Features are the image embeddings that the model compares with those of texts, brought to length 1; `describe` gives the
text embeddings, brought to length 1 too, so `zero_shot` works on photos. Only the image tower is trained.

A saved folder opens without sterna with `AutoModel.from_pretrained(FOLDER)`: it gives both embeddings, and a linear
layer with `weight` (k, d) and `bias` (k,) of `head.safetensors` turns image embeddings of length 1 into the logits.
`AutoModelForImageClassification` would not: it reads the mean of the patches, before the projection.
Papers: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (arXiv
2103.00020); Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training" (arXiv 2303.15343).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sterna import chains, files, hub, network, sequences, shells, tokens
from sterna.errors import EncoderError
from sterna.network import Network
from sterna.preparation import ImagePreparation
from sterna.records import Encoder, Fitted
from sterna.tokens import TextPreparation

Prepared = Callable[[Mapping[str, Any], int, str], ImagePreparation]
KINDS = ("clip", "siglip")
HEAD = "head.safetensors"
PICTURES = "preprocessor_config.json"
TOKENS = "tokenizer_config.json"
COLOURS = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
UNSTATED = {"do_center_crop": True, "crop_size": 224, "resample": 3, **COLOURS}  # as CLIP's own processor has it
NOTE = (
    "features are image embeddings of length 1, in the space of the text embeddings; without sterna, a saved folder "
    f"opens as transformers' {{kind}}, and the linear layer in {HEAD} reads its image embeddings, brought to length 1."
)


class Pictures(nn.Module):
    """The image tower with a classifier of its embeddings; weights are named as in the library's model."""

    def __init__(self, model: Any, head: nn.Linear) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        self.visual_projection = getattr(model, "visual_projection", nn.Identity())  # SigLIP has none
        self.head = head

    def forward(self, pixel_values: Tensor) -> Tensor:
        pooled = self.vision_model(pixel_values=pixel_values).pooler_output
        return self.head(functional.normalize(self.visual_projection(pooled), dim=-1))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Form:
    """How a model is built, called and written."""

    auto: Any  # transformers' `AutoModel`
    settings: Any  # the configuration
    preparation: ImagePreparation
    pictures: Mapping[str, Any]  # preprocessor_config.json
    texts: TextPreparation
    special: Mapping[str, Any]  # tokenizer_config.json
    pad: int

    def chained(self, model: Any, head: nn.Linear) -> Network:
        """The image tower as a chain."""
        whole, size = Pictures(model, head), self.preparation.size
        layers = "vision_model.encoder.layers"
        return shells.chain(whole, layers, "head", shells.Pixels(size), _itself, chains.noise(size))


def serves(settings: Any) -> bool:
    """Whether a configuration is of such a model, and not of a classifier made of one."""
    made = settings.architectures or ()
    return settings.model_type in KINDS and not any(name.endswith("ForImageClassification") for name in made)


def load(place: Path, reference: str, settings: Any, auto: Any, prepared: Prepared) -> Encoder:
    """The encoder of a folder with that configuration, opened by `auto`, transformers' `AutoModel`.

    Raises `EncoderError` when weights, tokenizer or preparation are absent, or do not fit.
    """
    opened = hub.pretrained(auto, place, settings)
    if opened.missing:
        lost = ", ".join(sorted(opened.missing)[:3])
        raise EncoderError(f"the weights in {place} do not fit its config.json: they lack {lost}; fetch them again.")
    model: Any = opened.model
    form = _form(place, settings, model, auto, prepared)
    kind, width = type(model).__name__, _width(model)
    chain = form.chained(model, _head(place, width))
    names = tuple(str(name) for _, name in sorted(settings.id2label.items()))
    if not (place / HEAD).is_file():
        shells.without_rows(chain)
    settings.architectures = [kind]
    towers = [{**one.to_dict(), "transformers_version": ""} for one in (settings.vision_config, settings.text_config)]
    return Encoder(
        reference=reference,
        network=chain,
        preparation=form.preparation,
        source_classes=names if len(names) == chain.classes else (),
        digest=network.digest(json.dumps([kind, *towers], sort_keys=True, default=str), model.state_dict()),
        config={"library": kind, "architecture": kind, "model_type": settings.model_type},
        fresh=partial(_fresh, form),
        notes=(*shells.notes(chain), NOTE.format(kind=kind)),
        describe=tokens.Embedding(partial(_described, form, model), form.texts),
        write=partial(_write, form, model),
        pace=shells.pace(chain),
        head_pace=width**0.25,  # features of length 1 ask for large weights; half of sqrt(d) on the logarithmic scale
    )


def _pictures(place: Path, settings: Any) -> dict[str, Any]:
    """What the folder states about pictures, with what goes without saying."""
    stated = hub.read(place / PICTURES) or hub.read(place / "processor_config.json").get("image_processor", {})
    if not stated or settings.model_type != "clip":
        return dict(stated)
    size = stated.get("size")  # as a number it is the short side here, where other models mean a square
    return {**UNSTATED, **stated, "size": {"shortest_edge": size} if isinstance(size, int) else size}


def _form(place: Path, settings: Any, model: Any, auto: Any, prepared: Prepared) -> _Form:
    stated = _pictures(place, settings)
    prepare = prepared(stated, settings.vision_config.num_channels, str(place / PICTURES))
    edge = settings.vision_config.image_size
    if prepare.size[1:] != (edge, edge):
        raise EncoderError(
            f"{place / PICTURES} must give pictures of {edge} x {edge} px, as config.json says, got "
            f"{prepare.height} x {prepare.width}; fetch it again."
        )
    special, data = hub.read(place / TOKENS), tokens.plain(hub.tokenizer(place))
    texts = TextPreparation(data, sequences.longest(model.text_model, special))
    pad = tokens.padding(None, special, data)  # configs of SigLIP 2 state another number than its tokenizer
    return _Form(auto, settings, prepare, stated, texts, special, pad)


def _width(model: Any) -> int:
    projection = getattr(model, "visual_projection", None)
    return int(projection.out_features if projection is not None else model.config.vision_config.hidden_size)


def _head(place: Path, width: int) -> nn.Linear:
    """The classifier that a saved folder holds; one of a row where there is none, until it is taken off."""
    bare = {"weight": torch.ones(1, width), "bias": torch.zeros(1)}
    state = hub.tensors(place / HEAD) if (place / HEAD).is_file() else bare
    rows = len(state.get("bias", ()))
    if {name: tuple(value.shape) for name, value in state.items()} != {"weight": (rows, width), "bias": (rows,)}:
        raise EncoderError(
            f"{place / HEAD} must hold weight (k, {width}) and bias (k,); take it out of the folder to use the model "
            "without its classifier."
        )
    head: nn.Linear = nn.utils.skip_init(nn.Linear, width, rows)
    head.load_state_dict(state)
    return head


def _itself(output: Tensor, inputs: Tensor) -> Tensor:
    return output


def _described(form: _Form, model: Any, given: Tensor) -> Tensor:
    """Text embeddings (b, d) of length 1."""
    there = sequences.mask(given)
    numbers = torch.where(there, given[..., 0], form.pad)
    inputs = {"input_ids": numbers, "attention_mask": there.long()}
    if form.settings.model_type == "siglip":  # reads the last place, and was trained on texts padded to full length
        inputs = {"input_ids": functional.pad(numbers, (0, form.texts.longest - numbers.shape[1]), value=form.pad)}
    return functional.normalize(model.get_text_features(**inputs).pooler_output, dim=-1)


def _fresh(form: _Form) -> Network:
    model = hub.fresh(form.auto, copy.deepcopy(form.settings))
    return shells.without_rows(form.chained(model, nn.Linear(_width(model), 1)))


def _write(form: _Form, model: nn.Module, fitted: Fitted, place: Path, facts: Mapping[str, Any]) -> None:
    """The library's folder with the trained image tower and the text tower as it was, and the head beside it."""
    trained: Any = fitted.network.whole
    whole = copy.deepcopy(model).cpu()
    whole.load_state_dict(
        trained.model.state_dict(), strict=False
    )  # all but the head, which the library's model does not have
    settings = copy.deepcopy(form.settings)
    settings.id2label = dict(enumerate(fitted.classes))
    settings.label2id = {name: number for number, name in enumerate(fitted.classes)}
    settings.sterna = dict(facts)
    settings.save_pretrained(place)
    hub.write_weights(whole, place / "model.safetensors")
    hub.write_weights(trained.model.head, place / HEAD)
    files.write_json(place / PICTURES, form.pictures)
    files.write_bytes(place / "tokenizer.json", form.texts.tokenizer)
    unstated = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": tokens.token(form.texts.tokenizer, form.pad)}
    kept = {key: value for key, value in form.special.items() if key not in ("name_or_path", "auto_map")}
    files.write_json(place / TOKENS, {**unstated, **kept, "model_max_length": form.texts.longest})
