"""What an e-mail is, as it is sent to the front and as the front tells of it.

Nothing in it can become a header or a command of its own: an address is one address in ASCII, and a subject one line.
"""

import re
from typing import Annotated, Any, Literal
from uuid import UUID

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MOST_RECIPIENTS, LONGEST_ADDRESS, LONGEST_SUBJECT, LONGEST_BODY = 50, 320, 255, 100_000  # characters

# Behind the end of a header's line another header begins.
_CONTROL = "\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029"
_NOT_IN_SUBJECT = re.compile(f"[{_CONTROL}]")
_NOT_IN_TEXT = "\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f"
_NOT_IN_BODY = re.compile(f"[{_NOT_IN_TEXT}]")


def _address(text: str) -> str:
    """Return an address as it goes over the line: in ASCII, an international domain in its encoded form."""
    try:
        found = validate_email(text, check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError as problem:
        raise ValueError(str(problem)[:300]) from None
    return found.ascii_email or found.normalized


def _subject(text: str) -> str:
    if _NOT_IN_SUBJECT.search(text):
        raise ValueError("a subject has no control characters and no line ends")
    return text


def _body(text: str) -> str:
    if _NOT_IN_BODY.search(text):
        raise ValueError("a body has no control characters but tabs and line ends")
    return text


Address = Annotated[str, Field(max_length=LONGEST_ADDRESS), AfterValidator(_address)]
Recipients = Annotated[
    list[Address],
    BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
    Field(min_length=1, max_length=MOST_RECIPIENTS),
]


class NewEmail(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    to: Recipients
    subject: Annotated[str, Field(min_length=1, max_length=LONGEST_SUBJECT), AfterValidator(_subject)]
    body: Annotated[str, Field(min_length=1, max_length=LONGEST_BODY), AfterValidator(_body)]


class Accepted(BaseModel):
    id: UUID
    state: Literal["queued"]


class Email(BaseModel):
    id: UUID
    state: Literal["queued", "sent", "failed", "maybe-sent"]
    backend: str | None
    attempts: int
    message_id: str
    error: str | None


SCHEMA: dict[str, Any] = NewEmail.model_json_schema()
_ONE = {"type": "string", "format": "email", "maxLength": LONGEST_ADDRESS}
_MANY = {"type": "array", "items": _ONE, "minItems": 1, "maxItems": MOST_RECIPIENTS}
SCHEMA["properties"]["to"] = {"anyOf": [_ONE, _MANY]}
SCHEMA["properties"]["subject"]["pattern"] = f"^[^{_CONTROL}]*$(?!\\n)"  # Python's $ is also before a last line's end
SCHEMA["properties"]["body"]["pattern"] = f"^[^{_NOT_IN_TEXT}]*$"
