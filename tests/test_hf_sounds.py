"""Audio models of transformers: cut, prepared as their own extractor does it, saved so that the library answers."""

import copy
import json
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from sterna import artifact, hub, sequences
from sterna.encoders import _hf_bands, _hf_sounds, hf
from sterna.errors import EncoderError
from sterna.network import in_training
from sterna.records import Fitted, Sound

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
FILTERS = {"conv_dim": (8, 8, 8), "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2), "num_feat_extract_layers": 3}
POSITIONS = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
WAVE = {**SMALL, **FILTERS, **POSITIONS, "classifier_proj_size": 12}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
STACKED = {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 5}
NAMES = {"id2label": {0: "yes", 1: "no", 2: "stop"}, "label2id": {"yes": 0, "no": 1, "stop": 2}}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 24,
    "max_source_positions": 50,
    "num_mel_bins": 20,
    "classifier_proj_size": 12,
    "attention_dropout": 0.1,
    **{"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
}
AST = {**SMALL, "max_length": 40, "num_mel_bins": 32, "hidden_dropout_prob": 0.1}
CONFIGS = {
    "wav2vec2": lambda **more: transformers.Wav2Vec2Config(**WAVE, **more),
    "wav2vec2-stable": lambda **more: transformers.Wav2Vec2Config(**WAVE, **STABLE, **more),
    "hubert": lambda **more: transformers.HubertConfig(**WAVE, **more),
    "hubert-stable": lambda **more: transformers.HubertConfig(**WAVE, **STABLE, **more),
    "data2vec": lambda **more: transformers.Data2VecAudioConfig(**{**WAVE, **STACKED}, **more),
    "ast": lambda **more: transformers.ASTConfig(**AST, **more),
    "wavlm": lambda **more: transformers.WavLMConfig(**WAVE, **more),
    "wavlm-stable": lambda **more: transformers.WavLMConfig(**WAVE, **STABLE, **more),
    "whisper": lambda **more: transformers.WhisperConfig(**WHISPER, **more),
}
EXTRACTORS = {
    "ast": lambda: transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=40),
    "whisper": lambda: transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=1),
}
WAVES = [kind for kind in CONFIGS if kind not in EXTRACTORS]
MASKED = ("wav2vec2-stable", "hubert-stable")  # nothing in them mixes padding in
LAYERS = ["stem", "layer_0", "layer_1", "layer_2", "pool"]
RATE = 16000
SECONDS = (0.21, 0.4, 0.07)


def sounds(seconds=SECONDS, rate=RATE):
    """Noise over tones of their own pitch, off the middle."""
    made, found = np.random.default_rng(3), []
    for place, one in enumerate(seconds):
        time = np.arange(round(one * rate)) / rate
        tone = 0.1 + 0.3 * np.sin(2 * np.pi * (300 + 700 * place) * time)
        found.append(Sound((tone + 0.1 * made.standard_normal(len(time))).clip(-1, 1).astype(np.float32), rate))
    return found


def saved(place, kind, auto=transformers.AutoModelForAudioClassification, **more):
    """A folder of config, random weights and extractor, as the hub has them."""
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(4)
        model = auto.from_config(CONFIGS[kind](**more))
        with torch.no_grad():  # norms of 1 and biases of 0 would hide mistakes
            for weight in model.parameters():
                weight += 0.3 * torch.randn_like(weight)
        model.save_pretrained(place)
        masked = {"return_attention_mask": kind in MASKED}
        EXTRACTORS.get(kind, lambda: transformers.Wav2Vec2FeatureExtractor(**masked))().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = saved(tmp_path_factory.mktemp("models") / kind, kind, **NAMES)
        return made[kind]

    return of


def batch(prepare, items):
    return prepare.tensor(torch.from_numpy(sequences.padded([prepare.frame(item) for item in items])))


@torch.no_grad()
def library(place, items):
    """What the library answers to each recording by itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extractor = transformers.AutoFeatureExtractor.from_pretrained(place)
    model = transformers.AutoModelForAudioClassification.from_pretrained(place).eval()
    given = [extractor(item.samples, sampling_rate=RATE, return_tensors="pt") for item in items]
    return torch.cat([model(**one).logits for one in given]), model


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_the_chain_answers_to_a_batch_as_the_library_to_each(folders, kind):
    encoder, items = hf.load(str(folders(kind))), sounds()
    assert list(encoder.network.stages) == LAYERS
    assert encoder.source_classes == ("yes", "no", "stop")
    assert (encoder.preparation.modality, encoder.words, encoder.describe) == ("audio", None, None)
    assert encoder.preparation.ragged == (kind in WAVES)
    inputs, (wanted, _) = batch(encoder.preparation, items), library(folders(kind), items)
    got = encoder.network(inputs).logits
    assert torch.allclose(got, wanted, atol=1e-4)
    assert wanted.std(dim=0).min() > 1e-2  # recordings differ
    for cut in range(encoder.network.depth + 1):
        assert torch.equal(encoder.network.suffix(cut)(encoder.network.prefix(cut)(inputs)).logits, got)


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_a_saved_classifier_answers_without_sterna(folders, kind, tmp_path):
    encoder, items = hf.load(str(folders(kind))), sounds()
    with torch.random.fork_rng():
        network = encoder.network.with_head(2, {})
    inputs = batch(encoder.preparation, items)
    artifact.save(Fitted(network, encoder, ("a", "b")), tmp_path / "saved", inputs, "", {"task": "classify"})
    again, model = library(tmp_path / "saved", items)
    assert torch.allclose(again, network(inputs).logits, atol=1e-4)
    assert model.config.id2label == {0: "a", 1: "b"}
    opened = artifact.load(tmp_path / "saved")
    assert opened.encoder.preparation == encoder.preparation
    assert opened.classes == ("a", "b")
    assert torch.allclose(opened.network(inputs).logits, network(inputs).logits, atol=1e-5)


@pytest.mark.parametrize("kind", MASKED)
@torch.no_grad()
def test_a_padded_batch_of_the_library_is_the_same(folders, kind):
    encoder, items = hf.load(str(folders(kind))), sounds()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folders(kind))
    given = extractor([one.samples for one in items], sampling_rate=RATE, padding=True, return_tensors="pt")
    wanted = library(folders(kind), items)[1](**given).logits
    assert torch.allclose(encoder.network(batch(encoder.preparation, items)).logits, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", WAVES)
@torch.no_grad()
def test_frames_are_those_that_the_library_counts(folders, kind):
    encoder, items = hf.load(str(folders(kind))), sounds()
    model = library(folders(kind), items[:1])[1]
    inputs = batch(encoder.preparation, items)
    assert encoder.preparation.shortest == 10 + 2 * 5 + 2 * 5 * 1  # kernels 10, 3, 2 and strides 5, 2
    wanted = model._get_feat_extract_output_lengths(sequences.lengths(inputs))
    for cut in range(1, encoder.network.depth):
        packed = encoder.network.prefix(cut)(inputs)
        assert torch.equal(sequences.lengths(packed), wanted)
        assert not packed[~sequences.mask(packed)].any()


@pytest.mark.parametrize("kind", CONFIGS)
def test_training_draws_the_masks_that_the_library_draws(folders, kind):
    network, found = hf.load(str(folders(kind))).network, []
    inputs = batch(hf.load(str(folders(kind))).preparation, sounds((0.2, 0.2)))
    for run, modules in ((network.whole, [network.whole]), (network, [network])):
        with in_training(modules), torch.no_grad():
            found.append(run(inputs))
    assert torch.allclose(found[1].logits, found[0], atol=1e-5)
    assert not torch.allclose(found[0], network.whole(inputs), atol=1e-3)  # dropout did act


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert-stable", "ast", "whisper"])
def test_what_is_frozen_stays_and_what_moves_learns(folders, kind):
    encoder = hf.load(str(folders(kind)))
    network, inputs = encoder.network, batch(encoder.preparation, sounds())
    network.move_from(2)
    network.train()
    network(inputs).logits.square().sum().backward()
    moved = {name for name, stage in network.stages.items() for one in stage.parameters() if one.grad is not None}
    assert {"layer_1", "layer_2"} <= moved <= set(LAYERS[2:])
    with torch.no_grad():
        assert torch.equal(network.prefix(2)(inputs), network.prefix(2)(inputs))


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert-stable", "data2vec"])
def test_gradients_are_those_of_each_recording_by_itself(folders, kind):
    encoder, items = hf.load(str(folders(kind))), sounds()
    network = encoder.network.eval()
    network(batch(encoder.preparation, items)).logits.square().sum().backward()
    got = {name: weight.grad.clone() for name, weight in network.whole.named_parameters() if weight.grad is not None}
    network.whole.zero_grad()
    for item in items:
        network.whole(batch(encoder.preparation, [item])).square().sum().backward()
    reached = {name for name, weight in network.whole.named_parameters() if weight.grad is not None}
    assert any("feature_extractor" in name for name in reached)
    for name, weight in network.whole.named_parameters():
        if name in reached:
            assert torch.allclose(got[name], weight.grad, rtol=1e-3, atol=1e-3), name


def test_layers_do_no_work_of_the_filters(folders):
    encoder = hf.load(str(folders("wav2vec2")))
    inputs, ran = batch(encoder.preparation, sounds()), []
    model = encoder.network.whole.model.wav2vec2
    for part in (model.feature_extractor, model.encoder.pos_conv_embed):
        part.register_forward_hook(lambda part, args, output: ran.append(type(part).__name__))
    hidden = encoder.network.prefix(1)(inputs)
    assert ran == ["Wav2Vec2FeatureEncoder", "Wav2Vec2PositionalConvEmbedding"] * len(inputs)  # each has its length
    ran.clear()
    encoder.network.suffix(1)(hidden)
    assert not ran


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-stable"])
@torch.no_grad()
def test_long_batches_pass_the_filters_in_parts(folders, kind, monkeypatch):
    encoder = hf.load(str(folders(kind)))
    inputs = batch(encoder.preparation, sounds((0.2, 0.1, 0.2, 0.05, 0.2)))
    wanted, sizes = encoder.network(inputs).logits, []
    encoder.network.whole.model.wav2vec2.feature_extractor.register_forward_hook(
        lambda part, args, output: sizes.append(len(output))
    )
    monkeypatch.setattr(_hf_sounds, "SAMPLES", 2 * inputs.shape[1])
    assert torch.allclose(encoder.network(inputs).logits, wanted, atol=1e-5)
    assert sizes == ([2, 1, 1, 1] if kind == "wav2vec2" else [2, 2, 1])


@torch.no_grad()
def test_an_untrained_projection_passes_features_on(tmp_path):
    for kind in ("wav2vec2-stable", "whisper"):
        place, item = saved(tmp_path / kind, kind, transformers.AutoModel), sounds()[1]
        encoder = hf.load(str(place))
        assert encoder.source_classes == ()
        assert any("projector before the classifier" in note and "identity" in note for note in encoder.notes)
        model = transformers.AutoModel.from_pretrained(place).eval()
        given = batch(encoder.preparation, [item])
        hidden = model.encoder(given)[0] if kind == "whisper" else model(given[..., 0])[0]
        assert torch.allclose(encoder.network(given).features, hidden.mean(dim=1), atol=1e-5)
        with torch.random.fork_rng():
            fresh = encoder.fresh()
        assert list(fresh.stages) == LAYERS
        assert fresh.width == encoder.network.width == 16


def test_what_training_would_drop_at_random_is_kept_and_said(folders):
    encoder = hf.load(str(folders("wav2vec2")))
    assert any("(layerdrop, mask_time_prob) are all kept" in note for note in encoder.notes)
    assert not any("all kept" in note for note in hf.load(str(folders("whisper"))).notes)
    inputs = batch(encoder.preparation, sounds((0.2, 0.2)))
    encoder.network.train()
    state = np.random.get_state()[1].copy()
    encoder.network(inputs)
    assert np.array_equal(np.random.get_state()[1], state)  # the library masks with numpy's global generator


def test_a_classifier_of_a_sum_over_layers_is_not_used(tmp_path):
    encoder = hf.load(str(saved(tmp_path / "sum", "wav2vec2", use_weighted_layer_sum=True, **NAMES)))
    assert list(encoder.network.stages) == LAYERS
    assert (encoder.source_classes, encoder.network.width) == ((), 16)
    assert any("use_weighted_layer_sum is off" in note for note in encoder.notes)
    assert any("projector before the classifier" in note for note in encoder.notes)


@torch.no_grad()
def test_a_model_that_cannot_be_cut_still_keeps_padding_apart(tmp_path, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        transformers.AutoModel.from_config(transformers.WavLMConfig(**WAVE)).save_pretrained(tmp_path / "wavlm")
    monkeypatch.setattr(_hf_sounds, "lend_positions", lambda layers: None)
    encoder = hf.load(str(tmp_path / "wavlm"))
    assert list(encoder.network.stages) == ["features"]
    items = sounds()
    together = encoder.network(batch(encoder.preparation, items)).features
    alone = torch.cat([encoder.network(batch(encoder.preparation, [item])).features for item in items])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("kind", ["wavlm", "wavlm-stable"])
def test_relative_positions_stay_the_first_layers_own(folders, kind, tmp_path):
    encoder = hf.load(str(folders(kind)))
    network, items = copy.deepcopy(encoder.network), sounds()
    first = network.stages["layer_0"].parts[0].get_submodule("wavlm.encoder.layers.0.entered.attention").rel_attn_embed
    for name in ("layer_1", "layer_2"):
        found = [part.rel_attn_embed for part in network.stages[name].modules() if hasattr(part, "rel_attn_embed")]
        assert len(found) == 1
        assert found[0] is first  # also in a copy
    owners = [name for name, _ in network.stages.named_parameters() if "rel_attn_embed" in name]
    assert len(owners) == 1
    assert owners[0].startswith("layer_0.")
    inputs = batch(encoder.preparation, items)
    network.move_from(2)
    network(inputs).logits.square().sum().backward()
    assert first.weight.grad is None
    network.move_from(0)
    network(inputs).logits.square().sum().backward()
    got, whole = first.weight.grad.clone(), network.whole
    whole.zero_grad()
    for item in items:
        whole(batch(encoder.preparation, [item])).square().sum().backward()
    assert torch.allclose(got, first.weight.grad, rtol=1e-3, atol=1e-3)
    with torch.no_grad():  # what moves in the first layer is heard in all
        before = network.suffix(2)(network.prefix(2)(inputs)).logits
        hidden = network.prefix(2)(inputs)
        first.weight *= -3  # a constant would change no softmax
        assert not torch.allclose(network.suffix(2)(hidden).logits, before, atol=1e-3)


def sinusoids(place):
    """Whisper's positions as its authors made them, in a folder of weights."""
    file = place / "model.safetensors"
    state = load_file(file)
    name = next(name for name in state if name.endswith("encoder.embed_positions.weight"))
    count, width = state[name].shape
    angles = torch.arange(count)[:, None] * torch.exp(-np.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
    state[name] = torch.cat([angles.sin(), angles.cos()], dim=1).float()
    save_file(state, file, metadata={"format": "pt"})
    return name, state[name]


@pytest.mark.parametrize("random", [False, True])
def test_positions_that_the_library_holds_fixed_never_move(tmp_path, random):
    place = saved(tmp_path / "whisper", "whisper", **NAMES)
    name, wanted = sinusoids(place)
    encoder = hf.load(str(place))
    with torch.random.fork_rng():
        network = (encoder.fresh() if random else encoder.network).with_head(2, {})
    network.move_from(0)
    network.train()
    weights = dict(network.named_parameters())
    assert not any("embed_positions" in one for one in weights)
    assert any("embed_positions" in one for one in network.stages["stem"].state_dict())
    moved = network.stages["stem"].parts[0].encoder.conv1.weight
    before, inputs = moved.detach().clone(), batch(encoder.preparation, sounds())
    optimizer = torch.optim.SGD(weights.values(), lr=0.1)
    network(inputs).logits.square().sum().backward()
    optimizer.step()
    assert not torch.equal(moved, before)
    artifact.save(Fitted(network, encoder, ("a", "b")), tmp_path / "saved", inputs, "", {"task": "classify"})
    assert torch.allclose(load_file(tmp_path / "saved" / "model.safetensors")[name], wanted, atol=1e-6)
    again = artifact.load(tmp_path / "saved").network
    assert torch.allclose(dict(again.named_buffers())["stages.stem.parts.0." + name], wanted, atol=1e-6)


def test_stand_ins_are_searched_for_once_and_in_one_thread(tmp_path, monkeypatch):
    kind, passes = transformers.models.wav2vec2.modeling_wav2vec2.Wav2Vec2FeatureEncoder, {}
    run, threads = kind.forward, torch.get_num_threads()
    for count in (3, 9):
        monkeypatch.setitem(WAVE, "num_hidden_layers", count)
        place = saved(tmp_path / str(count), "wav2vec2")
        passes[count] = []

        def noted(self, values, count=count):
            passes[count].append(torch.get_num_threads())
            return run(self, values)

        monkeypatch.setattr(kind, "forward", noted)
        hf.load(str(place))
    assert len(passes[3]) == len(passes[9])
    assert {*passes[3], *passes[9]} == {1}
    assert torch.get_num_threads() == threads


RECORDINGS = {
    "short": lambda: sounds((0.3,))[0],
    "long": lambda: sounds((3.0,))[0],
    "a breath": lambda: sounds((0.01,))[0],
    "silent": lambda: Sound(np.zeros(9000, dtype=np.float32), RATE),
    "nearly full": lambda: sounds((0.999,))[0],
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_whisper_hears_what_its_extractor_makes(name):
    item = RECORDINGS[name]()
    for mels, chunk in ((80, 1), (128, 2)):
        made = transformers.WhisperFeatureExtractor(feature_size=mels, chunk_length=chunk)
        wanted = made(item.samples, sampling_rate=RATE, return_tensors="np")["input_features"][0]
        got = _hf_bands.WhisperBands(mels=mels, length=chunk * RATE).frame(item)
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() < 1e-4


@pytest.mark.parametrize("name", [name for name in RECORDINGS if name != "a breath"])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_ast_sees_what_its_extractor_makes(name, normalise):
    item = RECORDINGS[name]()
    made = transformers.ASTFeatureExtractor(max_length=96, do_normalize=normalise)
    wanted = made(item.samples, sampling_rate=RATE, return_tensors="np")["input_values"][0]
    got = _hf_bands.KaldiBands(frames=96, normalise=normalise).frame(item)
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 1e-4


def test_less_than_a_window_is_silence_for_the_rest():
    got = _hf_bands.KaldiBands(frames=4, normalise=False).frame(RECORDINGS["a breath"]())
    assert np.isfinite(got).all()
    assert got[0].any()
    assert not got[1:].any()


def test_waveforms_are_normalised_as_stated(folders, tmp_path):
    item = sounds((0.3,))[0]
    for normal in (True, False):
        place = saved(tmp_path / str(normal), "wav2vec2")
        made = transformers.Wav2Vec2FeatureExtractor(do_normalize=normal, sampling_rate=RATE)
        made.save_pretrained(place)
        wanted = made(item.samples, sampling_rate=RATE, return_tensors="np")["input_values"][0]
        got = hf.load(str(place)).preparation.frame(item)
        assert np.allclose(got[:, 0], wanted, atol=1e-5)
        assert (got[:, 1] == 1).all()


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_preparation_is_what_its_words_say(folders, kind):
    prepare = hf.load(str(folders(kind))).preparation
    assert pickle.loads(pickle.dumps(prepare)) == prepare
    assert repr(prepare) == repr(hf.load(str(folders(kind))).preparation)
    assert repr(replace(prepare, rate=8000)) != repr(prepare)
    item = sounds((0.3,), rate=8000)[0]
    assert prepare.hint == 0
    assert len(batch(prepare, [item])) == 1


@pytest.mark.parametrize("kind", ["wav2vec2", "ast", "whisper"])
def test_without_a_statement_the_usual_is_assumed(folders, kind, tmp_path):
    place = saved(tmp_path / kind, kind, **NAMES)
    stated = json.loads((place / "preprocessor_config.json").read_text())
    (place / "preprocessor_config.json").unlink()
    encoder = hf.load(str(place))
    assert encoder.preparation == hf.load(str(folders(kind))).preparation
    assert any("has no preprocessor_config.json" in note for note in encoder.notes)
    (place / "processor_config.json").write_text(json.dumps({"feature_extractor": {**stated, "sampling_rate": 8000}}))
    if kind != "whisper":  # whose length in samples would follow
        assert hf.load(str(place)).preparation.rate == 8000


def changed(place, **changes):
    file = place / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_model_whose_input_cannot_be_made_is_named(tmp_path):
    config = transformers.Wav2Vec2BertConfig(**SMALL)
    transformers.AutoModel.from_config(config).save_pretrained(tmp_path / "other")
    with pytest.raises(EncoderError, match=r"models of type 'wav2vec2-bert' .* cannot be prepared; choose a wav2vec"):
        hf.load(str(tmp_path / "other"))
    changed(saved(tmp_path / "wrong", "wav2vec2"), feature_extractor_type="ASTFeatureExtractor")
    with pytest.raises(EncoderError, match="cannot be prepared"):
        hf.load(str(tmp_path / "wrong"))


@pytest.mark.parametrize(
    ("kind", "changes", "sizes"),
    [("ast", {"max_length": 50}, "50 x 32, .* 40 x 32"), ("whisper", {"feature_size": 30}, "30 x 100, .* 20 x 100")],
)
def test_a_spectrogram_of_another_size_is_refused(kind, changes, sizes, tmp_path):
    changed(saved(tmp_path / kind, kind), **changes)
    with pytest.raises(EncoderError, match=f"makes spectrograms of {sizes}; take both files"):
        hf.load(str(tmp_path / kind))


def test_missing_weights_are_named(tmp_path):
    file = saved(tmp_path / "whisper", "whisper", transformers.AutoModel) / "model.safetensors"
    save_file({name: value for name, value in load_file(file).items() if "layers.1" not in name}, file)
    with pytest.raises(EncoderError, match=r"the weights in .* do not fit its config.json: they lack encoder\.layers"):
        hf.load(str(tmp_path / "whisper"))


def test_audio_models_cannot_tag(folders):
    with pytest.raises(EncoderError, match="that can tag words"):
        hf.words(str(folders("ast")))


@torch.no_grad()
def test_real_sizes_have_the_usual_frames():
    reader = hf._hf_sounds.hearing(hub.Path("none"), transformers.Wav2Vec2Config()).reader
    assert (reader.frames(RATE), reader.samples(1), reader.frames(reader.samples(49))) == (49, 400, 49)
    heard = _hf_sounds.hearing(hub.Path("none"), transformers.WhisperConfig(max_source_positions=1500))
    assert heard.preparation == _hf_bands.WhisperBands()
    assert _hf_sounds.hearing(hub.Path("none"), transformers.ASTConfig()).preparation == _hf_bands.KaldiBands()
