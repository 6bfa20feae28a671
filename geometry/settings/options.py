"""How options are declared: frozen dataclasses whose fields are typed, bounded and documented beside the field.

    @options
    class FittingOptions:
        identity_modes: int = Field(default=100, ge=1)
        \"\"\"At most so many identity modes.\"\"\"

Values are checked wherever such an object is made, by pydantic. A section is a field whose type is another such class.
"""

import dataclasses
import json
from collections.abc import Collection
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

T = TypeVar("T")
CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def options(cls: type[T]) -> type[T]:
    """Makes a class of annotated fields an options class: frozen, hashable, checked, unknown names refused."""
    made: Any = dataclass(frozen=True, config=CONFIG)(cls)
    for name, field in made.__pydantic_fields__.items():  # pydantic reads the docstrings of a class, and not of its bases
        inherited = (base.__pydantic_fields__.get(name) for base in made.__mro__[1:] if hasattr(base, "__pydantic_fields__"))
        field.description = field.description or next((base.description for base in inherited if base), None)
    return made


@dataclasses.dataclass(frozen=True)
class OneOf:
    """`Annotated[str, OneOf(known)]`: a text among `known`, which may be a registry that grows."""

    known: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: str) -> str:
        if value not in self.known:
            raise PydanticCustomError("literal_error", "is not one of them")
        return value


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise PydanticCustomError("less_than", "the first number is the larger one")
    return pair


def _whole(shares: tuple[float, ...]) -> tuple[float, ...]:
    if abs(sum(shares) - 1) > 1e-6:
        raise PydanticCustomError("less_than", "they do not make 1")
    return shares


Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy and Keras take
Share = Annotated[float, Field(ge=0, le=1)]
AtLeast0 = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Range = Annotated[tuple[AtLeast0, AtLeast0], AfterValidator(_rising)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_rising)]
CountRange = Annotated[tuple[Count, Count], AfterValidator(_rising)]
Shares = Annotated[tuple[Share, Share, Share], AfterValidator(_whole)]
RULES: dict[Any, str] = {_rising: ", the lower first", _whole: ", together 1"}  # of tuples, in words


def _texts(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
"""A list of texts; one text stands for a list of one."""


def to_dict(values: Any) -> dict[str, Any]:
    """Options as plain nested dictionaries and lists, as JSON and YAML hold them."""
    return json.loads(json.dumps(dataclasses.asdict(values)))


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key → value of every field that is no section."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(values):
        value = getattr(values, field.name)
        found |= flatten(value, f"{prefix}{field.name}.") if dataclasses.is_dataclass(value) else {prefix + field.name: value}
    return found
