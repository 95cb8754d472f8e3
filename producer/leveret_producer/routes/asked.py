"""What the OpenAPI document says of bodies, narrowed to what is surely taken: where a rule has no word in JSON Schema, such
as a length in bytes, the schema allows a little less than the server, never more.
"""

from datetime import UTC, datetime
from typing import Any

from leveret.jobs import FINAL, State
from leveret_producer.submission import DEEPEST, LONGEST_TYPE, MOST_PAYLOAD

# A short string of AMQP has 255 bytes: as many characters of ASCII, or a quarter of it of any.
TYPE = rf"^([\x20-\x7e]{{1,{LONGEST_TYPE}}}|[^\x00-\x1f\x7f]{{1,{LONGEST_TYPE // 4}}})$"
# Up to 366 days.
DELAY = r"^([0-9]{1,3}h|[0-9]{1,5}m|[0-9]{1,7}s|[0-9]{1,10}ms|[0-9]{1,3}\.[0-9]{1,6}(h|m|s|ms))$"
_REST = r"-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_OF_UUID = "[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_ZONE = r"(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])$"


def narrow(schemas: dict[str, Any], year: int) -> None:
    """Change the schemas of what is posted; `year` is the present one."""
    submission = schemas["Submission"]
    job = submission["properties"]
    job["payload"] = {"description": f"Any JSON of at most {MOST_PAYLOAD >> 10} KiB and {DEEPEST} levels"}
    job["type"] |= {"pattern": TYPE, "description": f"At most {LONGEST_TYPE} bytes of UTF-8, no control characters"}
    job["type"].pop("minLength", None)
    job["delay"]["pattern"] = DELAY
    job["run_at"]["pattern"] = f"^({'|'.join(str(one) for one in range(year - 30, year + 1))}){_REST}{_ZONE}"
    end_of_year = int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp() * 1000)
    times = "|".join(f"{one:03x}" for one in range((end_of_year >> 36) + 1))
    job["id"]["pattern"] = f"^({times})[0-9a-f]{{5}}-[0-9a-f]{{4}}-7{_OF_UUID}$"
    submission["anyOf"] = [_absent("run_at"), _absent("delay")]
    going = [str(state) for state in State if state not in FINAL]
    schemas["JobFilter"]["properties"]["state"] = {"type": "string", "nullable": True, "enum": [*going, None]}
    for name in ("DeadLetter", "Job"):
        _narrow_selection(schemas[f"{name}Selection"], schemas[f"{name}Filter"])


def _narrow_selection(selection: dict[str, Any], wanted: dict[str, Any]) -> None:
    filters = wanted["properties"]
    filters["type"] |= {"pattern": "^[^\\x00]+$"}
    for name in ("since", "until"):
        filters[name]["pattern"] = f"^[12][0-9]{{3}}{_REST}{_ZONE}"
    wanted["allOf"] = [
        {"anyOf": [_given(name, filters[name]) for name in filters]},
        {"anyOf": [_absent("since"), _absent("until")]},
    ]
    wanted["description"] = "What is not given is any. since and until may stand together, until being the later one."

    ways = selection["properties"]
    ways["all"]["enum"] = [True, None]
    selection["oneOf"] = [
        {"allOf": [_given(one, ways[one]), *(_absent(other) for other in ways if other != one)]} for one in ways
    ]


def _absent(name: str) -> dict[str, Any]:
    """Not given, or null, which says no more."""
    return {"properties": {name: {"nullable": True, "enum": [None]}}}


def _given(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    asked = {key: value for key, value in schema.items() if key not in ("nullable", "default")}
    if "enum" in asked:
        asked["enum"] = [value for value in asked["enum"] if value is not None]
    return {"required": [name], "properties": {name: asked}}
