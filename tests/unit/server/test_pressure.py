from __future__ import annotations

import contextlib

from server.webhooks import Pressure


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_few_deliveries_are_no_pressure() -> None:
    pressure = Pressure(Seconds())
    for _ in range(Pressure.BUSY - 1):
        pressure.arrived()

    assert not pressure.high()


def test_fifty_in_a_tenth_of_a_second_are() -> None:
    pressure = Pressure(Seconds())
    for _ in range(Pressure.BUSY):
        pressure.arrived()

    assert pressure.high()


def test_pressure_lasts_until_a_window_has_passed_quietly() -> None:
    seconds = Seconds()
    pressure = Pressure(seconds)
    for _ in range(Pressure.BUSY):
        pressure.arrived()

    seconds.now += Pressure.WINDOW * 1.5
    assert pressure.high()
    seconds.now += Pressure.WINDOW * 1.5
    assert not pressure.high()


def test_a_crowd_that_waits_for_the_disk_is_pressure_however_slowly_it_came() -> None:
    seconds = Seconds()
    pressure = Pressure(seconds)
    with contextlib.ExitStack() as crowd:
        for _ in range(Pressure.CROWD - 1):
            crowd.enter_context(pressure.storing())
        assert not pressure.high()
        crowd.enter_context(pressure.storing())
        seconds.now += Pressure.WINDOW * 20
        assert pressure.high()


def test_a_crowd_that_has_gone_is_no_pressure_any_more() -> None:
    seconds = Seconds()
    pressure = Pressure(seconds)
    with contextlib.ExitStack() as crowd:
        for _ in range(Pressure.CROWD):
            crowd.enter_context(pressure.storing())

    seconds.now += Pressure.WINDOW * 1.5
    assert pressure.high()
    seconds.now += Pressure.WINDOW * 1.5
    assert not pressure.high()
