from pathlib import Path

import pytest

from leveret.settings import Places
from leveret_producer.access.guard import is_page
from leveret_producer.access.login import local_path
from leveret_producer.access.token import Token


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_new_token_replaces_the_old_one_and_ends_its_sessions(tmp_path: Path) -> None:
    (tmp_path / "token").mkdir()
    file = tmp_path / "token" / "token"
    clock = Clock()
    token = Token(Places({}, tmp_path).tokens, clock)
    assert not token.is_right("")  # no Secret yet: nobody gets in
    assert not token.is_right_cookie("")
    assert token.cookie_for("one") is None
    file.write_text("one\n")
    clock.now += 3
    cookie = token.cookie_for("one")
    assert cookie
    assert token.is_right("one")
    assert token.is_right_cookie(cookie)
    assert "one" not in cookie
    assert not token.is_right("two")
    assert not token.is_right("é")
    file.write_text("two")
    clock.now += 3
    assert token.is_right("two")
    assert not token.is_right("one")
    assert not token.is_right_cookie(cookie)
    assert token.is_right_cookie(token.cookie_for("two") or "")
    assert not token.is_right_cookie(cookie + "x")


def test_a_second_token_is_accepted_beside_the_first_as_long_as_it_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "token"
    folder.mkdir()
    clock = Clock()
    token = Token(Places({}, tmp_path).tokens, clock)
    (folder / "second-token").write_text("two")
    assert not token.is_right("two")  # alone it is none
    (folder / "token").write_text("one")
    clock.now += 3
    assert [token.is_right(shown) for shown in ("one", "two", "onetwo", "")] == [True, True, False, False]
    cookie = token.cookie_for("one") or ""
    (folder / "token").write_text("two")
    (folder / "second-token").write_text("one")
    clock.now += 3
    assert [token.is_right(shown) for shown in ("one", "two")] == [True, True]
    cookies = cookie, token.cookie_for("one") or ""  # from before, and of who logs in with it now
    assert [token.is_right_cookie(one) for one in cookies] == [True, True]
    (folder / "second-token").unlink()
    clock.now += 3
    assert [token.is_right_cookie(one) for one in cookies] == [False, False]
    assert [token.is_right(shown) for shown in ("one", "two")] == [False, True]


PATHS = {
    "/docs": "/docs",
    "/": "/",
    "/docs?a=1": "/docs?a=1",
    "//elsewhere.example": "/",
    "https://elsewhere.example": "/",
    "/\\elsewhere.example": "/",
    "\\\\elsewhere.example": "/",
    "/\telsewhere": "/",
    "javascript:alert(1)": "/",
    "": "/",
}


@pytest.mark.parametrize(("asked", "leads_to"), PATHS.items(), ids=map(repr, PATHS))
def test_a_login_leads_nowhere_else(asked: str, leads_to: str) -> None:
    assert local_path(asked) == leads_to


PAGES = {
    "/": True,
    "/docs": True,
    "/docs/swagger-ui.css": True,
    "/static/a.css": True,
    "/openapi.json": True,
    "/v1/jobs": False,
    "/static": False,
    "/docsx": False,
    "/metrics": False,
}


@pytest.mark.parametrize(("path", "page"), PAGES.items(), ids=PAGES.keys())
def test_a_cookie_is_for_pages(path: str, page: bool) -> None:
    assert is_page(path) is page
