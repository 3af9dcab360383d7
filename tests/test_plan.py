"""From words to routes: every combination, the floors, and one sentence for each mistake."""

import pytest

from sterna import folder, plan
from sterna.errors import SpecError
from sterna.plan import Subject, Words
from sterna.settings import Settings

PICTURES = Subject("image", "classify")


def words(encoder="builtin:glyphs", tune="probe", loss="", augment="none", optimizer="adamw", schedule="", method=""):
    return Words(encoder, tune, loss, augment, optimizer, schedule, method)


def names(*given, settings=None, modality="image", **changes):
    subject = Subject(modality, "classify")
    return [route.name for route in plan.routes(words(**changes), settings or Settings(), subject)]


def test_routes_are_the_product_and_the_floors_come_last():
    assert names(tune="probe, partial(stages=1)") == ["probe", "partial(stages=1)", "scratch", "hog_colour"]
    assert names(tune="probe", loss="cross_entropy, cross_entropy + l2sp") == [
        "probe / cross_entropy",
        "probe / cross_entropy + l2sp",
        "scratch",
        "hog_colour",
    ]
    assert names(encoder="local:a, local:b", settings=Settings(floors="scratch")) == [
        "local:a / probe",
        "local:b / probe",
        "local:a / scratch",
        "local:b / scratch",
    ]


def test_objects_lists_and_text_mean_the_same():
    probe, full = folder.load("tune", "probe")(), folder.load("tune", "full")(layer_decay=0.5)
    term = folder.load("losses", "l2sp")(weight=0.5)
    loss = ["cross_entropy", term]
    made = plan.routes(words(tune=[probe, full], loss=loss), Settings(), PICTURES)
    same = plan.routes(
        words(tune="probe, full(layer_decay=0.5)", loss="cross_entropy + l2sp(weight=0.5)"), Settings(), PICTURES
    )
    assert made == same


def test_floors_use_no_pretrained_weights_and_no_term_that_needs_them():
    made = plan.routes(words(loss="cross_entropy(smoothing=0.1) + l2sp"), Settings(), PICTURES)
    floors = [route for route in made if route.floor]
    assert [route.written()["loss"] for route in floors] == ["cross_entropy(smoothing=0.1)"] * 2
    assert [route.encoder for route in floors] == ["builtin:glyphs", "classical:hog_colour"]


def test_a_floor_can_be_left_out_but_not_both():
    assert names(settings=Settings(floors="scratch")) == ["probe", "scratch"]
    assert names(settings=Settings(floors="classical")) == ["probe", "hog_colour"]
    with pytest.raises(SpecError, match="floors of settings must be one of all, scratch, classical, got"):
        Settings(floors="none")


def test_what_is_written_reads_back():
    (route, *_) = plan.routes(words(tune="gradual(stages=[0, 2])", schedule="epochs=3"), Settings(), PICTURES)
    again = plan.routes(
        words(**{key: value for key, value in route.written().items() if key != "name"}), Settings(), PICTURES
    )[0]
    assert again == route


def test_the_fingerprint_changes_with_every_part():
    base = plan.fingerprint(plan.routes(words(), Settings(), PICTURES), Settings(), "data")
    others = [
        plan.fingerprint(plan.routes(words(**change), Settings(), PICTURES), Settings(), "data")
        for change in ({"tune": "full"}, {"optimizer": "sgd"}, {"schedule": "epochs=3"}, {"augment": "flip"})
    ]
    others.append(plan.fingerprint(plan.routes(words(), Settings(), PICTURES), Settings(seeds=2), "data"))
    others.append(plan.fingerprint(plan.routes(words(), Settings(), PICTURES), Settings(), "other data"))
    assert len({base, *others}) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tune": "prob"}, "unknown tune method 'prob'. Did you mean 'probe'?"),
        ({"tune": "probe + full"}, "tune takes one method at a time, got 'probe \\+ full'; separate routes by commas"),
        ({"tune": "scratch"}, "tune must name at least one route that transfers, got scratch"),
        ({"loss": "l2sp"}, "the objective 'l2sp' never looks at the labels; .* --loss 'cross_entropy \\+ l2sp'"),
        ({"encoder": " , "}, "an encoder is needed; type --encoder"),
        ({"optimizer": "sgd + adam"}, "optimizer must be one method, got 'sgd \\+ adam'"),
        ({"optimizer": "adam(rate=0)"}, "rate of adam must be in \\(0, inf\\), got 0"),
        ({"augment": "flipp"}, "unknown augment method 'flipp'. Did you mean 'flip'?"),
        ({"schedule": "epochs=0"}, "epochs of schedule must be in \\[1, inf\\), got 0"),
    ],
)
def test_mistakes_are_one_sentence(change, message):
    with pytest.raises(SpecError, match=message):
        plan.routes(words(**change), Settings(), PICTURES)


def of(modality, task="classify", helped=False, **changes):
    return plan.routes(words(**changes), Settings(), Subject(modality, task, helped))


def test_each_kind_of_data_has_its_floors():
    text = of("text", encoder="sentence:x", tune="probe")
    assert [(one.name, one.encoder, one.floor) for one in text] == [
        ("probe", "sentence:x", False),
        ("scratch", "sentence:x", True),
        ("tfidf", "", True),
    ]
    assert [one.encoder for one in of("audio", encoder="hf:x", tune="probe") if one.floor] == [
        "hf:x",
        "spectrogram:log_mel",
    ]
    assert [one.name for one in of("words", "tag", encoder="hf:x", tune="probe")] == ["probe", "scratch", "window"]


def test_the_objective_is_what_the_task_names():
    for task, loss in (
        ("classify", "cross_entropy"),
        ("multilabel", "binary_cross_entropy"),
        ("regress", "squared_error"),
        ("tag", "cross_entropy"),
    ):
        modality = "words" if task == "tag" else "text"
        assert of(modality, task, encoder="hf:x", tune="full")[0].written()["loss"] == loss


def test_methods_on_features_are_routes_without_an_objective():
    made = of("text", encoder="sentence:x, sentence:y", tune="", method="prototypes, zero_shot")
    assert [one.name for one in made if not one.floor] == [
        "sentence:x / prototypes",
        "sentence:y / prototypes",
        "sentence:x / zero_shot",
        "sentence:y / zero_shot",
    ]
    assert all(one.shallow and not one.raw and one.losses == () for one in made if not one.floor)
    assert [one.name for one in of("text", encoder="sentence:x", tune="", method="prototypes")] == [
        "prototypes",
        "scratch",
        "tfidf",
    ]


def test_policies_are_the_default_and_go_beside_methods_when_named():
    assert [one.name for one in of("image", encoder="timm:x", tune="")][:2] == [
        "probe",
        "partial(stages=4, warm_head=false)",
    ]
    assert [one.name for one in of("text", encoder="hf:x", tune="")][:2] == [
        "probe",
        "partial(stages=3, warm_head=false, layer_decay=0.6, rate=3.0)",
    ]
    assert [one.name for one in of("text", encoder="hf:x", tune="full", method="prototypes")][:2] == [
        "full",
        "prototypes",
    ]


def test_tables_transfer_from_a_source_and_are_measured_without_it():
    made = of("row", helped=True, encoder="", tune="")
    assert [(one.name, one.floor) for one in made] == [
        ("boosting with the source", False),
        ("linear with the source", False),
        ("boosting", True),
        ("linear", True),
    ]
    assert all(one.raw for one in made)
    with pytest.raises(
        SpecError, match=r"nothing to transfer from; give --source .* --domain COLUMN and --target-domain"
    ):
        of("row", encoder="", tune="")


@pytest.mark.parametrize(
    ("changes", "task", "sentence"),
    [
        (
            {"loss": "squared_error"},
            "classify",
            "squared_error serves the task regress, and these labels are for classify",
        ),
        ({"method": "prototypes"}, "regress", "prototypes serves the task classify, and these labels are for regress"),
        ({"tune": "contrastive"}, "multilabel", "contrastive serves the task classify"),
    ],
)
def test_a_method_for_other_labels_is_refused(changes, task, sentence):
    with pytest.raises(SpecError, match=sentence):
        of("text", task, encoder="hf:x", **changes)
