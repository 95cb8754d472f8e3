"""The process's clock goes on while the machine sleeps."""

import time
from datetime import timedelta

from leveret_operator.clock import SteadyClock, awake_or_asleep


def test_it_goes_on_as_its_seconds_do() -> None:
    seconds = [100.0]
    clock = SteadyClock(lambda: seconds[0])
    began = clock()
    seconds[0] = 100.0 + 8 * 3600  # a night
    assert clock() - began == timedelta(hours=8)


def test_its_seconds_are_those_since_the_machine_started() -> None:
    booted = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # only Linux has it
    before = time.clock_gettime(booted)
    assert before <= awake_or_asleep() <= time.clock_gettime(booted)
