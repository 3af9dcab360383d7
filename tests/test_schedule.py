"""The shape of the learning rate, at points worked out by hand."""

import pytest

from sterna.errors import SpecError
from sterna.schedule import Schedule
from sterna.settings import Settings
from sterna.wording import schedule, settings


def test_cosine_with_warm_up():
    made = Schedule(warmup=0.2)
    assert made.factor(0.0) == 0
    assert made.factor(0.1) == pytest.approx(0.5)
    assert made.factor(0.2) == pytest.approx(1.0)
    assert made.factor(0.6) == pytest.approx(0.5)
    assert made.factor(1.0) == pytest.approx(0.0)


@pytest.mark.parametrize(("shape", "middle", "end"), [("linear", 0.5, 0.0), ("constant", 1.0, 1.0)])
def test_other_shapes(shape, middle, end):
    made = Schedule(shape=shape, warmup=0.0)
    assert made.factor(0.5) == pytest.approx(middle)
    assert made.factor(1.0) == pytest.approx(end)


def test_a_schedule_is_written_with_or_without_its_name():
    assert schedule("epochs=3, clip=0.5") == schedule("schedule(epochs=3, clip=0.5)") == Schedule(epochs=3, clip=0.5)
    assert schedule("") == Schedule()
    assert schedule(repr(Schedule(epochs=3))) == Schedule(epochs=3)


def test_a_misspelt_option_is_named():
    with pytest.raises(SpecError, match="Did you mean 'patience'"):
        schedule("patiens=3")


def test_settings_are_written_alike():
    assert settings("seeds=3, shots=10") == Settings(seeds=3, shots=10) == settings(Settings(seeds=3, shots=10))
    assert settings("") == Settings()


def test_another_name_is_refused():
    with pytest.raises(SpecError, match=r"schedule is written as its options alone, such as schedule\(epochs=20\)"):
        schedule("schedule(epochs=3) + schedule")
    with pytest.raises(SpecError, match="settings is written as its options alone"):
        settings("settingss(seeds=3)")
