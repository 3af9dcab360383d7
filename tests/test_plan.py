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
