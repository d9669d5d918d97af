"""What checks the library's calls in the tests: types by beartype, taking an int where a float is said, and shapes by jaxtyping.

jaxtyping binds the arguments of every call, to know one size by one name. Where no shape is stated, beartype checks alone.
"""

import dataclasses
import functools
import inspect
import typing
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, config, install_import_hook, jaxtyped

check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check_calls():
    """From now on, of each module that states shapes and is imported."""
    jaxtyping.jaxtyped = _checked  # what the hook puts before each function and class
    install_import_hook(modules_with_shapes(), "shape_checker.check")


def modules_with_shapes() -> list[str]:
    """The modules that state shapes; in the others there is nothing to check that mypy does not check."""
    source = Path(find_spec("embridge").submodule_search_locations[0])
    files = [file for file in sorted(source.rglob("*.py")) if "from embridge.shapes import" in file.read_text("utf-8")]
    return [".".join(("embridge", *file.relative_to(source).with_suffix("").parts)) for file in files]


def _checked(*, typechecker):
    def decorate(made):
        if inspect.isclass(made):
            if dataclasses.is_dataclass(made) and not hasattr(made.__init__, "__wrapped__"):
                made.__init__ = decorate(made.__init__)
            return made
        hints = {name: _hint(stated, made.__globals__) for name, stated in made.__annotations__.items()}
        if inspect.isgeneratorfunction(made) or any(map(_states_shape, hints.values())):
            return jaxtyped(made, typechecker=typechecker)
        return _types_alone(made, hints, typechecker) if hints else made

    return decorate


def _hint(stated, names):
    """A stated type, as jaxtyping reads it: anything where its name is not known at run time."""

    def holder():
        pass

    holder.__annotations__ = {"it": stated}
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["it"]
    except Exception:  # whatever a name can raise
        return typing.Any


def _states_shape(hint):
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or any(
        map(_states_shape, typing.get_args(hint))
    )


def _types_alone(made, hints, typechecker):
    copy = FunctionType(made.__code__, made.__globals__, made.__name__, made.__defaults__, made.__closure__)
    functools.update_wrapper(copy, made)
    copy.__kwdefaults__, copy.__annotations__ = made.__kwdefaults__, hints
    del copy.__wrapped__
    of_checked_types = typechecker(copy)

    @functools.wraps(made)
    def call(*args, **kwargs):
        return (made if config.jaxtyping_disable else of_checked_types)(*args, **kwargs)

    return call
