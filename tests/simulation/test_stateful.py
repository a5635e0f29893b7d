"""What hypothesis makes of the front door of `booking`, in ever new orders, is what the model says."""

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.box_office import STEPS, BoxOffice

pytestmark = pytest.mark.slow


def test_the_front_door_does_what_the_model_says(box_office: type[BoxOffice]) -> None:
    run_state_machine_as_test(box_office, settings=STEPS)
