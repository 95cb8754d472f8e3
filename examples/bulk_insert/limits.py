"""How many rows an insert may have: the front refuses what its handler would."""

from typing import Annotated

from pydantic import Field

DEFAULT, MOST = 100_000, 1_000_000

Rows = Annotated[int, Field(ge=1, le=MOST)]
