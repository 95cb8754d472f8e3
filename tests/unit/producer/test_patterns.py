"""No pattern takes long to be compiled or to be matched, and the ordinary ones are checked."""

from functools import partial

import pytest
from yardstick import milliseconds

from leveret_producer.patterns import HEAVIEST, pattern, weight
from leveret_producer.schemas import MOST_STEPS

ORDINARY = [
    pytest.param(r"^[A-Za-z0-9_-]{1,64}$", "sku-1", "a b", id="a name"),
    pytest.param(r"^\w{3,64}$", "élan", "é", id="a name in any script"),
    pytest.param(
        r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "c9bf9e57-1685-4c89-bafb-ff5af830be8a", "c9", id="a UUID"
    ),
    pytest.param(r"^\+?[1-9]\d{1,14}$", "+4930123", "0", id="a telephone number"),
    pytest.param(r"^[^@\s]+@[^@\s]+\.[a-zA-Z]{2,}$", "a@b.example", "a@b", id="an e-mail address"),
    pytest.param(r"^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.|$)){4}$", "127.0.0.1", "256.0.0.1", id="an IPv4 address"),
    pytest.param(r"^\d{4}-\d{2}-\d{2}$", "2026-01-01", "26-1-1", id="a date"),
    pytest.param(r"^(\w+\s?)*$", "so it is", "no!", id="words"),
    pytest.param(r"^\p{Lu}\p{L}{1,40}$", "Éa", "éa", id="letters by their category"),
]


@pytest.mark.parametrize(("text", "good", "bad"), ORDINARY)
def test_ordinary_patterns_are_checked(text: str, good: str, bad: str) -> None:
    found = pattern(text)
    assert found is not None
    assert (found.matches(good), found.matches(bad)) == (True, False)
    assert found.steps(64) < MOST_STEPS / 2


@pytest.mark.parametrize(
    "text",
    [
        *(r"[ab]*a[ab]{10000}c", r"\w{300}", r"\w{,300}", r"(\w{10}){20}", r"((a{1,10}){1,10}){1,10}{9}", "x" * 2_001),
        *(r"\p{L}{90}", r"[\w-]{90}", "(?=a)b", r"(a)\1", "(", "(?>a)", "a{99999999999}", r"\D{900}"),
    ],
)
def test_others_are_not(text: str) -> None:
    assert pattern(text) is None
    assert milliseconds(partial(pattern.__wrapped__, text), most=50) <= 50


HEAVY = [
    *(
        r"\w{66}",
        r"[^a]{900}",
        r".{900}c",
        r"(?i)[a-zß]{3000}c",
        r"\p{L}{60}c",
        r"[^\W\d]{60}",
        r"[\u0100-\uffff]{3000}c",
    ),
    *(
        r"[ab]*a[ab]{250}c",
        r"[ab]*a[ab]{2000}c",
        r"(([ab]{1,9}){1,9}){1,9}c",
        r"([ab]{0,9}){1,9}c",
        r"(a|b|ab)*" * 20 + "c",
    ),
    *(
        r"\w*" * 60 + "c",
        r"a*" * 900 + "c",
        r"(.*a.*b){20}c",
        "|".join(f"x{i}.*y" for i in range(200)),
        r"(?x) [ a b ] {300} c",
    ),
]


@pytest.mark.parametrize("text", HEAVY)
def test_what_is_allowed_of_a_heavy_pattern_is_quick(text: str) -> None:
    assert weight(text) <= HEAVIEST
    assert milliseconds(partial(pattern.__wrapped__, text), most=100) <= 100  # mostly 30
    found = pattern(text)
    assert found is not None
    for letters in ("ab", "é", "a"):
        characters = 200_000
        while found.steps(characters) > MOST_STEPS:
            characters = characters * 9 // 10
        matched = letters * (characters // len(letters))
        assert milliseconds(partial(found.matches, matched), most=50) <= 50
