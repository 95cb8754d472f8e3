"""The mix of URLs that the demo checks: every way a server can behave, and some that the policy refuses.

Each URL is asked for once in a life: the run's key is in it, so that the target servers' own counts (`/seen`) can be compared.
"""

import random
from dataclasses import dataclass

TARGETS = "http://url-check-targets"
HANGING_SHARE = 250  # one URL in so many never answers: four attempts of 9 s are the longest any job takes

# Kind, its share in percent, and what will come of it.
MIX = (
    ("fast", 56, "200 at once"),
    ("slow", 18, "200 after 0.2 to 2 s"),
    ("redirecting", 8, "200 after 1 to 5 redirects"),
    ("not found", 5, "404, which is an answer"),
    ("flaky", 7, "200 after 1 or 2 failures"),
    ("failing", 3, "503 each time: dead at last"),
    ("forbidden", 3, "refused by the policy"),
)
HANGING = ("hanging", "no answer: dead at last")
EXPECTED = {**{kind: said for kind, _, said in MIX}, HANGING[0]: HANGING[1]}

_FORBIDDEN = (
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/admin",
    "http://[::1]:6379/",
    "http://2130706433/",
)


@dataclass(frozen=True, slots=True)
class Url:
    kind: str
    url: str


def mix(jobs: int, run: str) -> list[Url]:
    """Return so many URLs in a mixed order, the hanging ones first, because they take longest."""
    draw = random.Random(run)  # noqa: S311 - the order of a demonstration
    hanging = [Url(HANGING[0], f"{TARGETS}/hang?i={run}-{i}") for i in range(jobs // HANGING_SHARE)]
    kinds = [kind for kind, _, _ in MIX]
    shares = [share for _, share, _ in MIX]
    drawn = draw.choices(kinds, shares, k=jobs - len(hanging))
    return hanging + [Url(kind, _url(kind, f"{run}-{i}", draw)) for i, kind in enumerate(drawn, len(hanging))]


def _url(kind: str, key: str, draw: random.Random) -> str:
    match kind:
        case "fast":
            path = f"/ok?i={key}"
        case "slow":
            path = f"/slow/{draw.randint(2, 20) / 10:g}?i={key}"
        case "redirecting":
            path = f"/redirect/{draw.randint(1, 5)}?i={key}"
        case "not found":
            path = f"/status/404?i={key}"
        case "flaky":
            path = f"/flaky/{key}/{draw.randint(1, 2)}"
        case "failing":
            path = f"/status/503?i={key}"
        case _:
            return f"{draw.choice(_FORBIDDEN)}?i={key}"
    return TARGETS + path
