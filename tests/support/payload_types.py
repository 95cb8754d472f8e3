"""Annotations as people give them to handlers, each with JSON values that are near to what it takes."""

import collections
import dataclasses
import decimal
import enum
import fractions
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import InitVar, field, make_dataclass
from datetime import date, datetime, time, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, Required, TypeVar

import pydantic.dataclasses
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    AnyUrl,
    AwareDatetime,
    Base64Str,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    FutureDate,
    HttpUrl,
    ImportString,
    Json,
    PastDate,
    PlainValidator,
    PositiveInt,
    PostgresDsn,
    RootModel,
    Secret,
    SecretStr,
    Strict,
    StringConstraints,
    Tag,
    WrapValidator,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticUseDefault, SchemaError
from typing_extensions import TypedDict

Typed = tuple[Any, SearchStrategy[Any]]  # an annotation, and values for it


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Flag(enum.StrEnum):
    ON = "on"


class Mixed(enum.Enum):
    A = 1
    B = "b"
    C = (1, 2)


class Forgiving(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> "Forgiving":
        return cls.A


class Point(NamedTuple):
    x: int
    y: int = 0


class Own:
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return handler(int) | {"type": "any"}


class Tree(BaseModel):
    value: int
    children: "list[Tree]" = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"] = Field(alias="Kind")
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)


class Snake(BaseModel):
    kind: Literal["dog", "b"]


class Later(BaseModel, defer_build=True):
    n: int
    m: Tree | None = None


class Numbers(RootModel[list[int]]):
    root: list[int] = [1]


T = TypeVar("T")


class Perhaps(BaseModel, Generic[T]):
    n: T
    m: Numbers


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


class AnyCase(enum.EnumMeta):
    def __call__(cls, value: Any, *rest: Any, **more: Any) -> Any:
        return super().__call__(str(value).lower(), *rest, **more)


class Odd(enum.Enum, metaclass=AnyCase):
    A = "a"


class Validated(BaseModel):
    n: int
    m: int = 0
    user_id: str = "u"

    @field_validator("n", mode="before")
    @classmethod
    def _first(cls, value: Any) -> Any:
        return value[0] if isinstance(value, list) and value else value

    @field_validator("m", mode="wrap")
    @classmethod
    def _or_none(cls, value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValueError:
            raise PydanticUseDefault from None

    @field_validator("user_id")
    @classmethod
    def _after(cls, value: str) -> str:
        return value.strip()


class Renamed(BaseModel):
    n: int

    @model_validator(mode="before")
    @classmethod
    def _old(cls, value: Any) -> Any:
        return {"n": value.get("other", 1)} if isinstance(value, dict) else {"n": value}


class Forgetful(BaseModel):
    n: int

    @model_validator(mode="wrap")
    @classmethod
    def _any(cls, value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValueError:
            return cls(n=0)


@pydantic.dataclasses.dataclass(config=ConfigDict(extra="forbid"), kw_only=True)
class Strictly:
    n: Annotated[int, Field(alias="userId")]
    m: InitVar[int] = 1
    other: int = dataclasses.field(default=0, init=False)


class Partly(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="forbid", str_strip_whitespace=True)  # type: ignore[misc]
    n: Required[Annotated[str, Field(max_length=1)]]
    m: NotRequired[int]


class Called(BaseModel):
    n: int

    def __init__(self, n: Any = 1, **more: Any) -> None:
        super().__init__(n=len(str(n)))


TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "5", " 5 ", "5.0", "1_000", "-3", "+2", "٥", "inf", "-Infinity", "NaN", "true", "Yes", "OFF", " on", "x", "é",
         "aé1", "ß", "red", "on", "a", "b", "cat", "dog", "1e5", "2024-01-01", "2024-01-01T00:00:00Z", "12:30", "P1DT2H", "1 day",
         "5kb", "https://a.example/", "[1]", "c9bf9e57-1685-4c89-bafb-ff5af830be8a", "None", "null", "0", "1", "aGk="]
    ),
    st.text(max_size=6),
)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.integers(),
    st.sampled_from([0.0, 1.0, 5.5, -2.0, 1e20, 1e300, 1700000000, 2**53 + 1]),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
)
NAMES = ["n", "m", "userId", "user_id", "other"]
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | TEXTS, inner, max_size=3),
    max_leaves=6,
)
_ANIMALS = st.fixed_dictionaries({}, optional={"kind": TEXTS, "Kind": TEXTS, "lives": SCALARS})
_TREES = st.recursive(
    st.fixed_dictionaries({"value": SCALARS}),
    lambda inner: st.fixed_dictionaries({"value": SCALARS}, optional={"children": st.lists(inner, max_size=2)}),
    max_leaves=5,
)

PLAIN: list[Any] = [
    *(
        bool,
        int,
        float,
        str,
        bytes,
        decimal.Decimal,
        complex,
        type(None),
        date,
        datetime,
        time,
        timedelta,
        uuid.UUID,
        Any,
    ),
    *(Path, HttpUrl, SecretStr, ByteSize, Own, Point, Colour, Level, Flag, Mixed, Forgiving),
    *(Literal[1, 2], Literal["a", "b"], Literal[True, None, "x"], Literal[Colour.RED], Json[int], Json[list[int]]),
    *(list, dict, set, tuple, Sequence[int], Mapping[str, int], dict[int, str], dict[str, bool], Called),
    Annotated[int, Field(ge=1, lt=10)],
    Annotated[int, Field(multiple_of=3)],
    Annotated[float, Field(gt=0.5, le=9007199254740992.0)],
    Annotated[float, Field(allow_inf_nan=False)],
    Annotated[decimal.Decimal, Field(gt=0, max_digits=3)],
    Annotated[decimal.Decimal, Field(allow_inf_nan=True)],
    Annotated[int, Strict()],
    Annotated[str, StringConstraints(min_length=1, max_length=3)],
    Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2, pattern=r"^\d+$")],
    Annotated[str, StringConstraints(to_upper=True, max_length=1)],
    Annotated[str, StringConstraints(to_lower=True, pattern="^[a-z]*$")],
    Annotated[str, StringConstraints(pattern=r"^\w+$")],
    Annotated[str, StringConstraints(pattern=r"^\d+$")],
    Annotated[str, StringConstraints(pattern=r"(?i)^A\b")],
    Annotated[str, StringConstraints(pattern=r"^[\p{L}&&[^x]]$")],
    Annotated[list[int], Field(min_length=1, max_length=2)],
    Annotated[set[int], Field(min_length=1, max_length=2)],
    Annotated[frozenset[str], Field(max_length=1)],
    Annotated[dict[int, int], Field(min_length=1, max_length=1)],
    Annotated[int, BeforeValidator(lambda value: 1)],
    Annotated[int, AfterValidator(lambda value: value + 1)],
    Annotated[int, WrapValidator(lambda value, handler: 7)],
    Annotated[int, PlainValidator(lambda value: 7)],
    Annotated[int, AfterValidator(abs), BeforeValidator(lambda value: value[0] if isinstance(value, list) else value)],
    Annotated[datetime, Field(ge=datetime(2020, 1, 1))],  # noqa: DTZ001
    Annotated[int | None, Field(ge=1)],
    Annotated[int | str, Field(union_mode="left_to_right")],
    Annotated[SecretStr, Field(min_length=1, max_length=2)],
    Annotated[Json[int], Field(ge=1)],
    *(
        collections.deque[int],
        collections.Counter[str],
        collections.OrderedDict[str, int],
        collections.defaultdict[str, int],
    ),
    *(
        fractions.Fraction,
        IPv4Address,
        re.Pattern,
        Iterable[int],
        type[int],
        Secret[int],
        ImportString,
        AwareDatetime,
        PastDate,
    ),
    *(Base64Str, PositiveInt, FutureDate, AnyUrl, PostgresDsn, Later, Numbers, Perhaps[int], Bits, Odd),
]
_FIELDS = st.dictionaries(st.sampled_from(NAMES), SCALARS | st.lists(SCALARS, max_size=2), max_size=3)
MADE: list[Typed] = [
    *(
        (one, _FIELDS | SCALARS)
        for one in (Validated, Renamed, Forgetful, Strictly, Partly, Later, Perhaps[int], Numbers)
    ),
    (Tree, _TREES),
    (Cat, _ANIMALS),
    (Dog, _ANIMALS),
    (Cat | Dog, _ANIMALS),
    (Annotated[Cat | Snake, Field(discriminator="kind")], _ANIMALS),
    (
        Annotated[
            Annotated[Cat, Tag("c")] | Annotated[int, Tag("i")],
            Discriminator(lambda value: "i" if isinstance(value, int | float | str) else "c"),
        ],
        _ANIMALS | SCALARS,
    ),
    (RootModel[list[int]], st.lists(SCALARS, max_size=3)),
]

CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "extra": st.sampled_from(["forbid", "allow", "ignore"]),
        "strict": st.booleans(),
        "populate_by_name": st.booleans(),
        "coerce_numbers_to_str": st.booleans(),
        "str_strip_whitespace": st.booleans(),
        "str_to_lower": st.booleans(),
        "str_max_length": st.just(2),
        "regex_engine": st.sampled_from(["python-re", "rust-regex"]),
        "use_enum_values": st.booleans(),
        "val_json_bytes": st.sampled_from(["utf8", "base64", "hex"]),
    },
)
OPTIONS = st.sampled_from(
    [{}, {}, {}, {"alias": "userId"}, {"validation_alias": "userId"}, {"validation_alias": AliasChoices("user_id", "userId")},
     {"validation_alias": AliasPath("other", 0)}, {"default": None}, {"default": 5, "alias": "userId"}]
)  # fmt: skip


@st.composite
def _record(draw: st.DrawFn, inner: SearchStrategy[Typed]) -> Typed:
    """A model, a dataclass or a TypedDict of some fields."""
    names = draw(st.lists(st.sampled_from(["n", "m", "user_id"]), min_size=1, max_size=3, unique=True))
    fields = {name: draw(inner) for name in names}
    kind = draw(st.sampled_from(["model", "model", "model", "dataclass", "typed dict"]))
    values = {name: value | SCALARS for name, (_, value) in fields.items()}
    near = st.fixed_dictionaries(
        {}, optional={**values, "userId": st.one_of(*values.values()), "other": st.lists(SCALARS, max_size=2)}
    )
    if kind == "dataclass":
        annotated = [(name, annotation) for name, (annotation, _) in fields.items()]
        last = [(name, annotation, field(default=None)) for name, annotation in annotated]
        return make_dataclass("Data", last if draw(st.booleans()) else annotated), near
    if kind == "typed dict":
        return TypedDict("Dict", {n: a for n, (a, _) in fields.items()}, total=draw(st.booleans())), near  # type: ignore[operator]
    made: dict[str, Any] = {name: (annotation, Field(**draw(OPTIONS))) for name, (annotation, _) in fields.items()}
    try:
        return create_model("Model", __config__=ConfigDict(**draw(CONFIGS)), **made), near
    except (PydanticUserError, SchemaError):
        reject()  # no model for pydantic, as with a pattern that the engine does not have


def _containers(inner: SearchStrategy[Typed]) -> SearchStrategy[Typed]:
    lists = st.sampled_from([list, set, frozenset, Sequence])
    return st.one_of(
        _record(inner),
        st.tuples(lists, inner).map(lambda both: (both[0][both[1][0]], st.lists(both[1][1] | SCALARS, max_size=3))),
        inner.map(lambda one: (dict[str, one[0]], st.dictionaries(TEXTS, one[1], max_size=3))),
        inner.map(lambda one: (one[0] | None, st.none() | one[1])),
        st.tuples(inner, inner).map(lambda both: (both[0][0] | both[1][0], both[0][1] | both[1][1])),
        st.tuples(inner, inner).map(
            lambda both: (
                tuple[both[0][0], both[1][0]],
                st.tuples(both[0][1], both[1][1]) | st.lists(SCALARS, max_size=3),
            )
        ),
        inner.map(lambda one: (tuple[one[0], ...], st.lists(one[1] | SCALARS, max_size=3))),
    )


TYPES: SearchStrategy[Typed] = st.recursive(
    st.sampled_from([(one, SCALARS) for one in PLAIN] + MADE), _containers, max_leaves=5
)
