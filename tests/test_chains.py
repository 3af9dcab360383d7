"""Chains of library models: equal to the whole at every cut, sensibly divided, and never wrong.

All models have random weights; statistics, scales, biases and weights are shaken first, because a network as
initialised hides parts that are missing: a norm of mean 0 and variance 1 does nothing, nor does a block under a layer
scale of 1e-6, and signals that shrink from layer to layer leave outputs that no input changes.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812
import torchvision
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from sterna import chains, network
from sterna.errors import EncoderError
from sterna.network import Network, Stage


def shake(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var") or (value.dim() == 1 and name.endswith(("weight", "gamma"))):
                value.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith("running_mean") or (value.dim() == 1 and isinstance(value, nn.Parameter)):
                value.copy_(0.2 * torch.randn(value.shape, generator=generator))
            elif isinstance(value, nn.Parameter):
                small = name.endswith(("_token", "pos_embed", "pos_embedding"))
                scale = 0.5 if small else (2 / value[0].numel()) ** 0.5
                value.copy_(scale * torch.randn(value.shape, generator=generator))
    return model.eval()


def photographs(side: int) -> Tensor:
    """The two photographs that come with scikit-learn: (2, 3, side, side), normalised."""
    stacked = torch.stack([torch.from_numpy(picture.copy()) for picture in load_sample_images().images])
    small = F.interpolate(stacked.permute(0, 3, 1, 2).float() / 255, (side, side), mode="bilinear", antialias=True)
    return (small - 0.45) / 0.225


def cut(model: nn.Module, side: int) -> Network:
    chains.pool_before_scores(model)
    return chains.chain(shake(model), photographs(side), chains.head_of(model))


def vit(**options: float) -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=5, **options
    )


def inception() -> nn.Module:
    return torchvision.models.inception_v3(num_classes=5, aux_logits=False, init_weights=False)


def vgg() -> nn.Module:
    """VGG-11 with narrow linear layers: its own take seconds to fill."""
    with torch.device("meta"):
        model = torchvision.models.vgg11(num_classes=5, init_weights=False)
    for place, (wide, narrow) in {0: (25088, 64), 3: (64, 64), 6: (64, 5)}.items():
        model.classifier[place] = nn.Linear(wide, narrow, device="meta")
    return model.to_empty(device="cpu")


small_timm = partial(timm.create_model, num_classes=5)
small_tv = partial(torchvision.models.get_model, num_classes=5)

# architecture -> (how it is made, side of the input, some of its stages, how many there are)
MODELS: dict[str, tuple[Callable[[], nn.Module], int, tuple[str, ...], int]] = {
    "alexnet": (partial(small_tv, "alexnet"), 64, ("stem", "features_3", "classifier_1", "classifier_4", "pool"), 8),
    "vgg": (vgg, 32, ("features_18", "classifier_0", "classifier_3"), 11),
    "resnet": (partial(small_tv, "resnet18"), 32, ("stem", "layer1", "layer2", "layer3", "layer4", "pool"), 6),
    "resnet of timm": (partial(small_timm, "resnet18", drop_rate=0.3), 32, ("stem", "layer1", "layer4", "pool"), 6),
    "resnext": (partial(small_timm, "resnext50_32x4d"), 32, ("stem", "layer1", "layer4", "pool"), 6),
    "densenet": (partial(small_tv, "densenet121"), 32, ("features_denseblock1", "features_transition1", "pool"), 9),
    "densenet of timm": (partial(small_timm, "densenet121"), 32, ("features_denseblock4", "pool"), 9),
    "inception": (inception, 80, ("stem", "Mixed_5b", "Mixed_6e", "Mixed_7c", "pool"), 17),
    "mobilenetv2": (partial(small_timm, "mobilenetv2_035", drop_rate=0.2), 32, ("blocks_0", "conv_head", "pool"), 10),
    "mobilenetv2 of torchvision": (partial(small_tv, "mobilenet_v2"), 32, ("features_1", "features_18", "pool"), 20),
    "mobilenetv3": (partial(small_timm, "mobilenetv3_small_050", drop_rate=0.2), 32, ("blocks_5", "conv_head"), 9),
    "mobilenetv3 of torchvision": (partial(small_tv, "mobilenet_v3_small"), 32, ("features_12", "classifier_0"), 15),
    "efficientnet": (partial(small_timm, "efficientnet_b0", drop_path_rate=0.2), 32, ("blocks_6", "conv_head"), 10),
    "convnext": (partial(small_timm, "convnext_atto", drop_path_rate=0.2), 32, ("stages_0", "stages_3", "pool"), 6),
    "vit": (
        partial(small_timm, "vit_tiny_patch16_224", img_size=32, drop_rate=0.1, proj_drop_rate=0.1, drop_path_rate=0.1),
        *(32, ("stem", "blocks_0", "blocks_11", "pool"), 14),
    ),
    "vit of torchvision": (partial(vit, dropout=0.1), 32, ("stem", "encoder_layers_encoder_layer_0", "pool"), 5),
    "deit": (partial(small_timm, "deit3_small_patch16_224", img_size=32, depth=3), 32, ("blocks_2", "pool"), 5),
    "swin": (partial(small_timm, "swin_tiny_patch4_window7_224", img_size=56), 56, ("layers_0", "layers_3", "pool"), 6),
    "squeezenet": (partial(small_tv, "squeezenet1_1"), 32, ("features_3", "features_12", "pool"), 10),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_chain_is_the_whole_at_every_cut(name: str) -> None:
    make, side, named, count = MODELS[name]
    made = cut(make(), side)
    assert set(named) <= set(made.stages)
    assert made.depth == count
    inputs = photographs(side).flip(3)
    with torch.no_grad():
        wanted = made.whole(inputs.clone())
        assert (wanted[0] - wanted[1]).abs().max() > 1e-3, "outputs that are all alike would show nothing"
        for place in range(made.depth + 1):
            output = made.suffix(place)(made.prefix(place)(inputs.clone()))
            assert network.deviation(output.logits, wanted) < 1e-5
            assert output.features.shape == (2, made.width)
    assert sum(weight.numel() for weight in made.parameters()) == sum(w.numel() for w in made.whole.parameters())


@pytest.mark.parametrize("name", ["mobilenetv2", "vit", "vit of torchvision", "efficientnet", "squeezenet"])
def test_in_training_mode_the_chain_drops_what_the_whole_drops(name: str) -> None:
    make, side, _, _ = MODELS[name]
    made = cut(make(), side)
    made.batch_norm = False
    made.train()
    outputs = []
    for run in (made.whole, lambda inputs: made(inputs).logits):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            outputs.append(run(photographs(side)))
    assert torch.equal(*outputs)
    made.eval()
    assert not torch.equal(made(photographs(side)).logits, outputs[0])  # something was dropped


@pytest.mark.parametrize(
    ("name", "frozen"), [("mobilenetv2", "blocks_3"), ("densenet", "features_transition2"), ("vit", "blocks_5")]
)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_training_the_top_leaves_everything_below_bit_identical(name: str, frozen: str, batch_norm: bool) -> None:
    make, side, _, _ = MODELS[name]
    made = cut(make(), side)
    low = list(made.stages).index(frozen) + 1
    made.move_from(low, batch_norm=batch_norm)
    made.train()
    before = {key: value.clone() for key, value in made.whole.state_dict().items()}
    below = {id(part) for part in (*made.prefix(low).parameters(), *made.prefix(low).buffers())}
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.01, weight_decay=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(5):
            optimizer.zero_grad()
            F.cross_entropy(made(photographs(side)).logits, torch.tensor([0, 1])).backward()
            optimizer.step()
    after = dict((*made.whole.named_parameters(), *made.whole.named_buffers()))
    for key, value in before.items():
        statistic = "running" in key or "num_batches" in key
        still = id(after[key]) in below or (statistic and not batch_norm)
        assert torch.equal(value, after[key]) == still, key
    for key, weight in made.named_parameters():
        assert (weight.grad is not None) == (id(weight) not in below), key


def test_each_stage_left_out_is_seen() -> None:
    make, side, _, _ = MODELS["vit"]
    made = cut(make(), side)
    model = made.whole
    for name in list(made.stages)[1:]:
        rest = Network({key: stage for key, stage in made.stages.items() if key != name}, made.head, model, "head")
        with pytest.raises((EncoderError, RuntimeError), match=r"do not reproduce|must match|cannot be multiplied"):
            network.verified(rest, model, photographs(side))


@pytest.mark.parametrize("name", ["resnet", "vit", "mobilenetv3"])
def test_a_copy_and_a_pickle_still_share_modules_with_their_whole(name: str) -> None:
    make, side, _, _ = MODELS[name]
    made = cut(make(), side)
    file = io.BytesIO()
    torch.save(made, file)
    file.seek(0)
    for twin in (copy.deepcopy(made), torch.load(file, weights_only=False), made.with_head(3, {0: 1})):
        with torch.no_grad():
            for weight in twin.parameters():
                weight.mul_(1.1)
        output = twin(photographs(side)).logits
        assert torch.equal(output, twin.whole(photographs(side)))
        assert not torch.equal(output[:, :1], made(photographs(side)).logits[:, 1:2])


def test_a_new_head_stands_where_the_library_looks_for_it() -> None:
    make, side, _, _ = MODELS["convnext"]
    made = cut(make(), side).with_head(3, {})
    assert made.head_path == "head.fc"
    assert made.whole.state_dict()["head.fc.weight"].shape == (3, made.width)
    assert torch.equal(made(photographs(side)).logits, made.whole(photographs(side)))


def test_a_model_without_a_classifier_gets_an_empty_head() -> None:
    model = shake(timm.create_model("mobilenetv2_035", num_classes=0))
    inputs = photographs(32)
    wanted = model(inputs)
    made = chains.chain(model, inputs, chains.head_of(model))
    assert made.classes == 0
    assert torch.equal(made(inputs).features, wanted)
    assert made.with_head(4, {}).whole(inputs).shape == (2, 4)


def test_a_convolutional_classifier_becomes_pooling_and_its_own_rows() -> None:
    model = shake(small_tv("squeezenet1_1"))
    inputs = photographs(64)
    original = copy.deepcopy(model)
    maps = original.features(inputs)
    assert chains.pool_before_scores(model)
    made = chains.chain(model, inputs, chains.head_of(model))
    scores = original.classifier[1](maps)  # (b, k, h, w)
    assert torch.allclose(made(inputs).logits, scores.mean((2, 3)), atol=1e-5)
    assert torch.allclose(F.relu(scores).mean((2, 3)), original(inputs), atol=1e-5)
    assert set(model.state_dict()) == set(original.state_dict())
    assert not chains.pool_before_scores(model)


class Reusing(nn.Module):
    """Runs the same block twice, with functions in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 6, 3)
        self.drop, self.flat, self.fc = nn.Dropout(0.3), nn.Flatten(), nn.Linear(6 * 8 * 8, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.again(F.relu(self.again(F.relu(self.first(inputs)))))
        return self.fc(self.drop(self.flat(self.last(maps))))


class Skipping(nn.Module):
    """Adds the output of an early part to that of a later one; the first and the last parts stand alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(a, 4, 3, padding=1) for a in (3, 4, 4))
        self.fourth, self.flat, self.fc = nn.Conv2d(4, 6, 1), nn.Flatten(), nn.Linear(6 * 16 * 16, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        early = self.first(inputs)
        late = self.third(self.second(early))
        late += early
        return self.fc(self.flat(self.fourth(late)))


class Remembering(nn.Module):
    """Carries a number past the chain in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Writing(), Reading()
        self.second.first = [self.first]
        self.flat, self.fc = nn.Flatten(), nn.Linear(4 * 12 * 12, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(self.flat(self.second(self.first(inputs))))


class Writing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen = inputs.abs().mean()
        return self.conv(inputs)


class Reading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.conv(inputs) * self.first[0].seen


class InPlace(nn.Module):
    """Hands on the same tensor, changed in between."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.first(inputs)
        maps += 1
        return self.fc(self.second(maps).mean((2, 3)))


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        (Reusing, ["stem", "again", "last", "pool"]),
        (Skipping, ["stem", "second", "fourth", "pool"]),
        (Remembering, ["features"]),
        (InPlace, ["stem", "second"]),
    ],
)
def test_an_unknown_architecture_falls_back_to_what_is_right(model: type[nn.Module], stages: list[str]) -> None:
    torch.manual_seed(0)
    made = cut(model(), 16)
    inputs = photographs(16)
    with torch.no_grad():
        for place in range(made.depth + 1):
            reached = made.prefix(place)(inputs.clone())
            made(torch.randn(3, 3, 16, 16))  # other data in between
            assert network.deviation(made.suffix(place)(reached).logits, made.whole(inputs.clone())) < 1e-5
    made.train()
    made(inputs).logits.sum().backward()
    assert all(weight.grad is not None for weight in made.whole.parameters())
    assert list(made.stages) == stages


def test_a_single_stage_is_told_and_several_are_not() -> None:
    assert "no inner cuts" in chains.notes(cut(Remembering(), 16))[0]
    assert chains.notes(cut(Skipping(), 16)) == ()


class Scoring(nn.Module):
    """Does more than a linear layer at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(4, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.fc(self.body(inputs)))


class Mapping(nn.Module):
    """Classifies each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(inputs.permute(0, 2, 3, 1))


@pytest.mark.parametrize("model", [Scoring, Mapping, lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())])
def test_a_model_that_is_not_linear_on_features_is_refused(model: Callable[[], nn.Module]) -> None:
    with pytest.raises(EncoderError, match="its classifier must be one linear layer on pooled features"):
        cut(model(), 16)


def test_two_classifiers_are_refused() -> None:
    model = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, depth=1, num_classes=5)
    with pytest.raises(EncoderError, match="choose a model with a single classifier"):
        cut(model, 32)
    with pytest.raises(EncoderError, match="choose a model with a single classifier"):
        chains.chain(model.eval(), photographs(32), "head")


def test_building_a_chain_leaves_weights_hooks_and_the_generator_alone() -> None:
    model = shake(MODELS["mobilenetv2"][0]())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    made = chains.chain(model, photographs(32), chains.head_of(model))
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert not any(part.training for part in (*model.modules(), *made.modules()))
    assert all(weight.grad is None for weight in model.parameters())


def test_noise_is_the_same_each_time() -> None:
    assert torch.equal(chains.noise((3, 4, 5)), chains.noise((3, 4, 5)))
    assert chains.noise((1, 4, 5)).shape == (2, 1, 4, 5)


def test_stages_hold_library_parts_or_the_librarys_own_code() -> None:
    made = cut(MODELS["vit of torchvision"][0](), 32)
    shells = [part for part in made.modules() if isinstance(part, Stage)]
    assert {type(part.parts[0]) for part in shells} == {torchvision.models.VisionTransformer}
