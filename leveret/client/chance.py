"""What the world does by itself: sleep, time and the draw of a wait. A test makes its own."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Slept = TypeVar("Slept")


@dataclass(frozen=True, slots=True)
class Chance(Generic[Slept]):
    sleep: Callable[[float], Slept]  # s
    now: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
