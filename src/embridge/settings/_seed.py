"""What random draws begin with: a number that numpy and torch both take."""

from typing import Annotated

from pydantic import Field

__all__ = ["Seed"]

Seed = Annotated[int, Field(ge=0, lt=2**63)]
