"""What each form of a frozen network takes, against the plain one: the figures behind the rule in `sterna.fastest`.

    python bench/forms.py [--repeats 5]

Random weights: the time of a form does not depend on them, its deviation does. Seconds are of the thread, the shortest
of the repeats, forms in turns.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator

import timm
import torch
from common import show
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from sterna import fastest
from sterna.fastest import Plan, Prepared
from sterna.network import deviation

PICTURES = (
    *("mobilenetv2_100", "mobilenetv3_small_100", "efficientnet_b0", "regnety_004", "resnet18", "resnet50"),
    *("densenet121", "convnext_tiny", "vit_small_patch16_224", "swin_tiny_patch4_window7_224"),
)
TEXTS = {"MiniLM": (384, 6, 12), "BERT, 4 of 12 layers": (768, 4, 12)}  # width, layers, attention heads
SHAPES = ((32, 12), (8, 128))  # texts, words of each
FORMS = tuple(
    Plan(dtype, *rest) for dtype in ("float32", "bfloat16") for rest in itertools.product((False, True), (False, True))
)


class Texts(nn.Module):
    """A text network behind its embeddings."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        shape = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        self.network = BertModel(BertConfig(**shape, intermediate_size=4 * width))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs_embeds=inputs).last_hidden_state


def networks() -> Iterator[tuple[str, nn.Module, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    for name in PICTURES:
        yield name, timm.create_model(name, num_classes=0), torch.randn(4, 3, 224, 224, generator=draw)
    for (name, shape), (count, words) in itertools.product(TEXTS.items(), SHAPES):
        yield f"{name}, {words} words", Texts(*shape), torch.randn(count, words, shape[0], generator=draw)


def seconds(form: Prepared, inputs: Tensor) -> float:
    begin = time.thread_time()
    form(inputs)
    return time.thread_time() - begin


def row(name: str, network: nn.Module, inputs: Tensor, repeats: int) -> list[str]:
    chain = nn.Sequential(network.eval())
    pictures = inputs.dim() == 4
    plans = [one for one in FORMS if pictures or not (one.channels_last or one.folded)]
    forms = [fastest.prepared(chain, one, inputs) for one in plans]
    wanted = forms[0](inputs)
    runs = [[seconds(form, inputs) for form in forms] for _ in range(repeats + 1)][1:]
    best = [min(turn[place] for turn in runs) for place in range(len(plans))]
    exact = min(took for took, one in zip(best, plans, strict=True) if one.dtype == "float32")
    half = min(took for took, one in zip(best, plans, strict=True) if one.dtype == "bfloat16")
    chosen = fastest.plan(chain, inputs)
    taken = best[[one.form for one in plans].index(chosen.form)]
    far = deviation(forms[-1](inputs), wanted)
    figures = [f"{1000 * best[0]:.0f}", f"{best[0] / exact:.2f}", f"{exact / half:.2f}", f"{best[0] / taken:.2f}"]
    return [name, *figures, chosen.dtype, f"{100 * far:.1f} %"]


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    made.add_argument("--repeats", type=int, default=5)
    repeats = made.parse_args().repeats
    torch.set_num_threads(1)
    head = ("network", "plain, ms", "best float32", "bfloat16 on top", "chosen", "number format", "deviation")
    rows = []
    for one in networks():
        rows.append(row(*one, repeats))
        print(*rows[-1], flush=True)
    show("Forms of a frozen network, times as fast", head, rows)


if __name__ == "__main__":
    main()
