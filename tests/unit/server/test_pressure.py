from __future__ import annotations

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
