"""A transformer cut into stages is the library's model: at every cut, in training, padded or not, copied or not."""

import copy

import pytest
import torch
import transformers
from standins_text import KINDS, TEXTS, config_of, folder
from torch import nn

from sterna import sequences, shells, tokens
from sterna.encoders import hf
from sterna.network import in_training

FAMILIES = [kind for kind in KINDS if kind != "albert"]
STAGES = ["stem", "layer_0", "layer_1", "layer_2", "pool"]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Encoders of text and of words by family, made once."""
    made = {}

    def of(kind, modality="text"):
        if (kind, modality) not in made:
            place = tmp_path_factory.mktemp(kind) / kind
            folder(place, kind, transformers.AutoModelForSequenceClassification, id2label={0: "x", 1: "y", 2: "z"})
            made[kind, "text"], made[kind, "words"] = hf.load(str(place)), hf.words(str(place))
        return copy.deepcopy(made[kind, modality].network), made[kind, modality].preparation

    return of


def batch(prepare):
    items = TEXTS if prepare.modality == "text" else [tuple(text.split()) for text in TEXTS]
    return tokens.stacked(prepare, items)


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_the_chain_is_the_model_at_every_cut(encoders, kind):
    network, prepare = encoders(kind)
    inputs = batch(prepare)
    assert list(network.stages) == STAGES
    assert network.classes == 3
    output = network.eval()(inputs)
    assert torch.equal(output.logits, network.whole(inputs))
    for cut in range(network.depth + 1):
        assert torch.equal(network.suffix(cut)(network.prefix(cut)(inputs)).logits, output.logits)


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_hidden_states_are_packed_with_their_kinds(encoders, kind):
    network, prepare = encoders(kind, "words")
    inputs = batch(prepare)
    packed = inputs
    for stage in list(network.stages.values())[:-1]:
        packed = stage(packed)
        assert packed.shape == (*inputs.shape[:2], 17)
        assert torch.equal(sequences.kinds(packed), inputs[..., -1])
        assert not packed[~sequences.mask(inputs)].any()
    words = network.stages["pool"](packed)
    counts = (inputs[..., -1] == sequences.WORD).sum(dim=1)
    assert counts[:2].tolist() == [len(text.split()) for text in TEXTS[:2]]
    assert words.shape == (len(TEXTS), counts.max(), network.width + 1)
    assert torch.equal(network(inputs).mask.sum(dim=1), counts)


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_words_have_the_logits_of_their_first_token(encoders, kind):
    network, prepare = encoders(kind, "words")
    inputs = batch(prepare)
    output, every = network(inputs), network.whole.model(**network.whole.reader.inputs(inputs)).logits
    for row, given in enumerate(inputs):
        wanted = every[row][given[:, 2] == 2]
        assert torch.allclose(output.logits[row][: len(wanted)], wanted, atol=1e-6)


@pytest.mark.parametrize("modality", ["text", "words"])
@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_padding_changes_nothing(encoders, kind, modality):
    network, prepare = encoders(kind, modality)
    inputs = batch(prepare)
    together = network.eval()(inputs).features
    for row, given in enumerate(inputs):
        alone = network(given[given[:, 2] > 0][None]).features[0]
        shape = together[row] if modality == "text" else together[row][: len(alone)]
        assert torch.allclose(alone, shape, atol=1e-5), TEXTS[row]


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_training_draws_the_masks_that_the_library_draws(encoders, kind):
    network, prepare = encoders(kind)
    inputs, found = batch(prepare), []
    for run, modules in ((network.whole, [network.whole]), (network, [network])):
        with in_training(modules):
            found.append(run(inputs))
    got, wanted = found[1].logits, found[0]
    assert torch.allclose(got, wanted, atol=1e-6)
    assert not torch.allclose(wanted, network.whole(inputs), atol=1e-3)  # dropout did act


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_weight_lies_in_one_stage(encoders, kind):
    network, _ = encoders(kind)
    owned = [id(weight) for weight in network.parameters()]
    assert len(owned) == len(set(owned))
    left = {id(weight): name for name, weight in network.whole.named_parameters() if id(weight) not in owned}
    assert not left, left


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_is_frozen_stays_and_what_moves_learns(encoders, kind):
    network, prepare = encoders(kind)
    inputs = batch(prepare)
    network.move_from(2)
    network.train()
    network(inputs).logits.square().sum().backward()
    reached = {
        name for name, stage in network.stages.items() for weight in stage.parameters() if weight.grad is not None
    }
    assert reached <= set(STAGES[2:])
    assert {"layer_1", "layer_2"} <= reached
    with torch.no_grad():  # dropout in frozen stages does not act
        below = network.prefix(2)
        assert torch.equal(below(inputs), below(inputs))


@pytest.mark.parametrize("kind", FAMILIES)
def test_all_weights_get_the_gradient_that_the_library_gives(encoders, kind):
    network, prepare = encoders(kind)
    inputs = batch(prepare)
    network.eval()
    network(inputs).logits.square().sum().backward()
    got = {name: weight.grad.clone() for name, weight in network.whole.named_parameters() if weight.grad is not None}
    network.whole.zero_grad()
    network.whole(inputs).square().sum().backward()
    for name, weight in network.whole.named_parameters():
        if weight.grad is not None and weight.grad.any():
            assert torch.allclose(got[name], weight.grad, rtol=1e-3, atol=1e-4), name


@torch.no_grad()
def test_a_copy_is_one_and_shares_nothing(encoders):
    network, prepare = encoders("deberta-v2")
    inputs = batch(prepare)
    before, twin = network(inputs).logits, copy.deepcopy(network)
    for weight in twin.parameters():
        weight.zero_()
    assert not twin(inputs).features.any()
    assert torch.equal(network(inputs).logits, before)
    # A copy of some stages keeps what they borrow from the stem.
    prefix = copy.deepcopy(network.prefix(3))
    assert torch.equal(prefix(inputs), network.prefix(3)(inputs))


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_a_prefix_works_in_bfloat16(encoders, kind):
    network, prepare = encoders(kind)
    inputs = batch(prepare)
    exact = network.prefix(4)(inputs)
    rough = copy.deepcopy(network.prefix(4)).to(torch.bfloat16)(inputs)
    assert rough.dtype == torch.bfloat16
    assert torch.equal(sequences.kinds(rough), inputs[..., -1])
    assert (rough - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_casts_of_the_network_reach_what_stages_borrow(encoders, kind):
    network, prepare = encoders(kind)
    inputs = batch(prepare)
    wanted = network(inputs).logits
    found = network.to(torch.float64)(inputs).logits
    assert found.dtype == torch.float64
    assert torch.allclose(found.float(), wanted, atol=1e-4)


def test_what_several_layers_read_belongs_to_the_stem(encoders):
    for kind, shared in (("deberta-v2", "rel_embeddings"), ("mpnet", "relative_attention_bias")):
        network, prepare = encoders(kind)
        homes = [name for name, stage in network.stages.items() for path, _ in stage.named_modules() if shared in path]
        assert homes == ["stem"]
        weight = next(value for name, value in network.whole.named_parameters() if shared in name)
        hidden = network.prefix(2)(batch(prepare)).detach()
        network.stages["layer_1"](hidden).square().sum().backward()
        assert weight.grad.any()


@pytest.mark.parametrize("kind", FAMILIES)
@torch.no_grad()
def test_layers_do_no_work_of_the_stem(encoders, kind):
    network, prepare = encoders(kind)
    runs = []
    for part in network.whole.modules():
        if isinstance(part, nn.Embedding) and part.num_embeddings > 100:  # words
            part.register_forward_hook(lambda part, args, output: runs.append(output))
    network(batch(prepare))
    assert len(runs) == 1


@torch.no_grad()
def test_a_model_that_cannot_be_cut_is_one_stage(encoders):
    network, prepare = encoders("albert")  # one layer, run three times
    inputs = batch(prepare)
    assert list(network.stages) == ["features"]
    assert shells.notes(network) == (shells.WHOLE,)
    assert torch.equal(network(inputs).logits, network.whole(inputs))


def test_a_model_whose_passes_differ_is_refused():
    class Restless(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.count = nn.Linear(3, 2), 0

        def forward(self, input_ids, attention_mask):
            self.count += 1
            return type("Output", (), {"logits": self.head(self.count * input_ids.float()[:, :3])})

    inputs = torch.ones(2, 4, 3, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="same twice"):
        shells.chain(Restless(), "", "head", shells.Tokens(0, 1, False), shells.logits, inputs)


def test_segments_go_where_the_model_tells_texts_apart(encoders):
    pair = ("A dull story", "the film")
    for kind, differs in (("bert", True), ("electra", True), ("gpt2", False)):
        network, prepare = encoders(kind)
        first = torch.from_numpy(prepare.frame(pair)).long()[None]
        second = first.clone()
        second[..., 1] = 0
        assert torch.equal(network(first).logits, network(second).logits) != differs


def test_stand_ins_have_the_families_that_are_promised():
    assert {"bert", "roberta", "distilbert", "mpnet", "electra", "deberta-v2", "modernbert", "gpt2"} <= set(FAMILIES)
    assert all(config_of(kind).num_hidden_layers == 3 for kind in FAMILIES)
