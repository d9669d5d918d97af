"""Adapters as ONNX files: the bridge runs wherever ONNX does, without this library and without torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from embridge.adapters.base import Adapter
from embridge.adapters.composed import Composed
from embridge.adapters.linear import Identity, Linear
from embridge.adapters.mlp import MLP, NORM_EPSILON, Layer
from embridge.adapters.prefix import Prefix
from embridge.atomic_write import atomic_file, refuse_foreign_file
from embridge.errors import SettingsError, require

__all__ = ["INPUT", "OPSET", "OUTPUT", "onnx_model", "to_onnx"]

OPSET = 18
INPUT, OUTPUT = "vectors", "mapped"

_PRODUCER = b"\x12\x08embridge"  # as the file's second field, near its beginning
_IR_VERSION = 8  # that of opset 18; onnx would write its newest, which older runtimes refuse


def to_onnx(adapter: Adapter, path: Path | str) -> Path:
    """Write the adapter as an ONNX file, whole or not at all, after onnx's own checker has read it back.

    The file takes ``vectors`` (float32 [batch, d_source]) to ``mapped`` (float32 [batch, d_target]), with any number of rows;
    it maps what the encoder gives, L2-normalised or not, as ``adapter.apply`` does. Its metadata hold both spaces as JSON
    (``embridge.source``, ``embridge.target``) with their ids, since a runtime checks shapes and not spaces.

    Args:
        adapter: Of any kind; for an upgrade `embridge.export.query_path` gives it.
        path: The file.

    Returns:
        The path.

    Raises:
        InvalidInput: A file of another kind has that name.
        MissingExtra: The extra ``export`` is not installed.

    Examples:
        >>> from embridge import Space
        >>> to_onnx(Prefix(Space("new", "1", 3), Space("old", "1", 2)), "bridge.onnx").name
        'bridge.onnx'
    """
    onnx = require("onnx", extra="export")
    refuse_foreign_file(path, marks=(_PRODUCER,), what="an ONNX file of embridge")
    model = onnx_model(adapter)
    with atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(temporary), full_check=True)
    return Path(path)


def onnx_model(adapter: Adapter) -> Any:
    """The adapter as an ``onnx.ModelProto`` of opset 18; see `to_onnx`."""
    helper = require("onnx.helper", extra="export")
    graph = _Graph()
    result = _map(graph, adapter, INPUT)
    graph.nodes.append(helper.make_node("Identity", [result], [OUTPUT]))
    numpy_helper = require("onnx.numpy_helper", extra="export")
    body = helper.make_graph(
        graph.nodes,
        "embridge",
        [_rows(INPUT, adapter.source.dim)],
        [_rows(OUTPUT, adapter.target.dim)],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="embridge",
        producer_version=version("embridge"),
        doc_string=f"{adapter.kind}: from {adapter.source} to {adapter.target}",
    )
    helper.set_model_props(model, _metadata(adapter))
    return model


def _metadata(adapter: Adapter) -> dict[str, str]:
    metadata = {"embridge.kind": adapter.kind}
    for side, space in (("source", adapter.source), ("target", adapter.target)):
        metadata[f"embridge.{side}"] = json.dumps(space.to_dict())
        metadata[f"embridge.{side}_id"] = space.id
    return metadata


def _rows(name: str, dim: int) -> Any:
    helper = require("onnx.helper", extra="export")
    return helper.make_tensor_value_info(name, require("onnx", extra="export").TensorProto.FLOAT, ["batch", dim])


@dataclass(slots=True)
class _Graph:
    """Nodes and constants as they come; a value is named by the string that stands for it."""

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, operator: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        """The name of what the operator gives; an input that is an array becomes a constant."""
        names = [self._constant(value) if isinstance(value, np.ndarray) else value for value in inputs]
        output = f"{operator.lower()}_{len(self.nodes)}"
        node = require("onnx.helper", extra="export").make_node(operator, names, [output], **attributes)
        self.nodes.append(node)
        return output

    def _constant(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = array
        return name


def _float(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def _axis(number: int) -> np.ndarray:
    return np.array([number], np.int64)


def _normalized(graph: _Graph, x: str) -> str:
    """Rows of length one; a row of zeros is divided by one, not by its length.

    Rows whose squares float32 cannot hold are divided by their largest number first.
    """
    squares = graph.add("ReduceSum", graph.add("Mul", x, x), _axis(1), keepdims=1)
    largest = graph.add("ReduceMax", graph.add("Abs", x), _axis(1), keepdims=1)
    outside = graph.add("Or", graph.add("Less", squares, _float(1e-30)), graph.add("Greater", squares, _float(1e38)))
    extreme = graph.add("And", outside, graph.add("Greater", largest, _float(0)))
    x = graph.add("Div", x, graph.add("Where", extreme, largest, _float(1)))
    lengths = graph.add("Sqrt", graph.add("ReduceSum", graph.add("Mul", x, x), _axis(1), keepdims=1))
    safe = graph.add("Where", graph.add("Greater", lengths, _float(0)), lengths, _float(1))
    return graph.add("Div", x, safe)


def _layer_norm(graph: _Graph, x: str) -> str:
    centred = graph.add("Sub", x, graph.add("ReduceMean", x, _axis(1), keepdims=1))
    variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), _axis(1), keepdims=1)
    return graph.add("Div", centred, graph.add("Sqrt", graph.add("Add", variance, _float(NORM_EPSILON))))


def _gelu(graph: _Graph, x: str) -> str:
    """The tanh form in plain operators: ONNX has one of its own only since opset 20."""
    cube = graph.add("Mul", graph.add("Mul", x, x), x)
    inner = graph.add("Add", x, graph.add("Mul", cube, _float(0.044715)))
    tanh = graph.add("Tanh", graph.add("Mul", inner, _float(math.sqrt(2 / math.pi))))
    return graph.add("Mul", graph.add("Mul", x, _float(0.5)), graph.add("Add", tanh, _float(1)))


def _affine(graph: _Graph, x: str, layer: Layer) -> str:
    return graph.add("Add", graph.add("MatMul", x, layer.weight), layer.bias)


def _linear(graph: _Graph, adapter: Linear, x: str) -> str:
    x = _normalized(graph, x) if adapter.normalize_input else x
    y = graph.add("MatMul", x, adapter.weight)
    return y if adapter.bias is None else graph.add("Add", y, adapter.bias)


def _mlp(graph: _Graph, adapter: MLP, x: str) -> str:
    x = _normalized(graph, x)
    hidden = _layer_norm(graph, x)
    for layer in adapter.layers[:-1]:
        hidden = _gelu(graph, _affine(graph, hidden, layer))
    y = _affine(graph, hidden, adapter.layers[-1])
    if adapter.skip is not None:
        y = graph.add("Add", y, _affine(graph, x, adapter.skip))
    return _normalized(graph, y)


def _prefix(graph: _Graph, adapter: Prefix, x: str) -> str:
    return _normalized(graph, graph.add("Slice", x, _axis(0), _axis(adapter.target.dim), _axis(1)))


def _map(graph: _Graph, adapter: Adapter, x: str) -> str:
    """The name of what the adapter makes of ``x``."""
    match adapter:
        case Identity():
            return x
        case Linear():
            return _linear(graph, adapter, x)
        case MLP():
            return _mlp(graph, adapter, x)
        case Prefix():
            return _prefix(graph, adapter, x)
        case Composed():
            for step in adapter.steps:
                x = _map(graph, step, x)
            return x
    raise SettingsError(f"an adapter of the kind {adapter.kind} cannot be written as ONNX; the library's own kinds can")
