"""What stops a producer at a database, and what it only warns of. What a real one answers is tried on a real one."""

from dataclasses import replace

import pytest

from leveret_producer.store.rights import Standing, Table, stops, warns

RIGHT = Standing("app", "jobs", "public", '"$user", public', False, False, "UTF8", True, None, ())
TABLES = (
    Table("alembic_version", "app", True, False, ()),
    Table("jobs", "app", True, False, ()),
    Table("jobs_20261129", "app", True, True, ()),
)
MADE = replace(RIGHT, tables=TABLES)


def _but(name: str, **changed: object) -> Standing:
    return replace(MADE, tables=tuple(replace(one, **changed) if one.name == name else one for one in TABLES))


@pytest.mark.parametrize(
    ("found", "pending", "says"),
    [
        pytest.param(RIGHT, True, None, id="all is right"),
        pytest.param(MADE, False, None, id="made already"),
        pytest.param(replace(MADE, standby=True), False, "read-only replica: name its primary", id="a standby"),
        pytest.param(replace(RIGHT, encoding="SQL_ASCII"), True, "ENCODING 'UTF8'", id="to be made in no encoding"),
        pytest.param(replace(MADE, encoding="LATIN1"), False, None, id="made in another encoding: it served before"),
        pytest.param(replace(MADE, may_create=False), False, None, id="nothing to make today"),
        pytest.param(
            replace(MADE, may_create=False), True, "GRANT USAGE, CREATE ON SCHEMA public TO app", id="something to make"
        ),
        pytest.param(
            _but("jobs", owned=False, owner="boss"), True, "GRANT boss TO app", id="somebody else's to change"
        ),
        pytest.param(_but("jobs", lacking=("UPDATE",)), False, "GRANT UPDATE ON jobs TO app", id="not to be written"),
        pytest.param(_but("jobs_20261129", lacking=("SELECT",)), False, None, id="a partition"),
    ],
)
def test_what_stops(found: Standing, pending: bool, says: str | None) -> None:
    told = stops(found, pending=pending)
    assert (told is None) if says is None else (told is not None and says in told and "\n" not in told)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        pytest.param(MADE, [], id="all is right"),
        pytest.param(
            replace(MADE, may_create=False), ["GRANT USAGE, CREATE ON SCHEMA public TO app"], id="no right to create"
        ),
        pytest.param(_but("jobs", owned=False, owner="boss"), ["GRANT boss TO app"], id="somebody else's"),
        pytest.param(
            _but("jobs_20261129", lacking=("SELECT", "DELETE")),
            ["GRANT SELECT, DELETE ON jobs_20261129 TO app"],
            id="a partition",
        ),
        pytest.param(replace(MADE, encoding="LATIN1"), ["has the encoding LATIN1"], id="another encoding"),
    ],
)
def test_what_is_warned_of(found: Standing, says: list[str]) -> None:
    told = warns(found)
    assert len(told) == len(says)
    assert all(one in sentence and "\n" not in sentence for one, sentence in zip(says, told, strict=True))
