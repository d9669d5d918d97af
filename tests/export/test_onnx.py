"""The ONNX files give what the adapters give, in onnxruntime, which shares no code with them."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from embridge import Space, Upgrade
from embridge.adapters import MLP, Adapter, Composed, Identity, Layer, Linear, Prefix, Provenance
from embridge.adapters.composed import KINDS
from embridge.errors import InvalidInput, MissingExtra, SettingsError, WrongDirection
from embridge.export import query_path, to_onnx
from embridge.export.onnx import INPUT, OPSET, OUTPUT
from embridge.testing import check_adapter

NEW, OLD = Space("new", "1", 24, recipe="l2-normalised"), Space("old", "1", 16)


def rows(n, dim=NEW.dim, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def layer(d_in, d_out, seed=1):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(d_in, d_out)) / d_in**0.5
    return Layer(weight.astype(np.float32), rng.normal(size=d_out).astype(np.float32))


def deep(skip):
    layers = [layer(24, 40), layer(40, 32, 2), layer(32, 16, 3)]
    return MLP(NEW, OLD, layers, skip=layer(24, 16, 4) if skip else None)


def composed():
    between, end = Space("between", "1", 24), Space("end", "1", 4)
    affine = Linear(NEW, between, layer(24, 24).weight, layer(24, 24).bias, normalize_input=True)
    mlp = MLP(between, OLD, [layer(24, 16)], skip=layer(24, 16, 2))
    return Composed(
        [affine, Composed([mlp, Identity(OLD, Space("again", "1", 16))]), Prefix(Space("again", "1", 16), end)]
    )


MAPS = {
    "identity": Identity(NEW, Space("old", "1", 24)),
    "linear": Linear(NEW, OLD, layer(24, 16).weight),
    "linear of unit rows": Linear(NEW, OLD, layer(24, 16).weight, normalize_input=True),
    "affine": Linear(NEW, OLD, layer(24, 16).weight, layer(24, 16).bias),
    "affine of unit rows": Linear(NEW, OLD, layer(24, 16).weight, layer(24, 16).bias, normalize_input=True),
    "mlp of one layer": MLP(NEW, OLD, [layer(24, 16)]),
    "deep mlp": deep(skip=False),
    "deep mlp with skip": deep(skip=True),
    "prefix": Prefix(NEW, OLD),
    "composed": composed(),
}


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    return {name: to_onnx(adapter, folder / f"{name}.onnx") for name, adapter in MAPS.items()}


def test_every_kind_is_here():
    assert {type(adapter) for adapter in MAPS.values()} == set(KINDS.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_it_gives_what_the_adapter_gives(files, name):
    run = session(files[name])
    for n in (1, 2, 7, 5_000):
        x = rows(n)
        x[:: max(n, 3)] = 0 if n > 1 else x[0]
        for scale in (1.0, 30.0, 1e-3):
            given = x * np.float32(scale)
            wanted = MAPS[name].apply(given)
            (came,) = run.run([OUTPUT], {INPUT: given})
            assert came.dtype == np.float32
            assert came.shape == wanted.shape
            np.testing.assert_allclose(came, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1e-30, 1e30])
@pytest.mark.parametrize("name", ["linear of unit rows", "mlp of one layer", "prefix"])
def test_it_keeps_directions_at_every_length(files, name, length):
    inputs = rows(5) * np.float32(length)
    (came,) = session(files[name]).run([OUTPUT], {INPUT: inputs})
    np.testing.assert_allclose(came, MAPS[name].apply(inputs), atol=1e-5)
    np.testing.assert_allclose(came, MAPS[name].apply(rows(5)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_zero_rows_and_no_rows(files, name):
    run = session(files[name])
    zeros = np.zeros((3, NEW.dim), np.float32)
    (came,) = run.run([OUTPUT], {INPUT: zeros})
    np.testing.assert_allclose(came, MAPS[name].apply(zeros), atol=1e-6)
    (none,) = run.run([OUTPUT], {INPUT: zeros[:0]})
    assert none.shape == (0, MAPS[name].target.dim)


@pytest.mark.slow
def test_real_dimensions(tmp_path):
    new, old = Space("new", "1", 768), Space("old", "1", 512)
    adapter = MLP(new, old, [layer(768, 1024), layer(1024, 512, 2)], skip=layer(768, 512, 3))
    x = rows(2_000, 768)
    (came,) = session(to_onnx(adapter, tmp_path / "map.onnx")).run(None, {INPUT: x})
    np.testing.assert_allclose(came, adapter.apply(x), atol=1e-5)


@pytest.mark.parametrize("name", MAPS)
def test_the_file_says_what_it_is(files, name):
    model, adapter = onnx.load(files[name]), MAPS[name]
    onnx.checker.check_model(model, full_check=True)
    said = {prop.key: prop.value for prop in model.metadata_props}
    for side, space in (("source", adapter.source), ("target", adapter.target)):
        assert Space.from_dict(json.loads(said[f"embridge.{side}"])) == space
        assert said[f"embridge.{side}_id"] == space.id
    assert said["embridge.kind"] == adapter.kind
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert (model.ir_version, model.producer_name) == (8, "embridge")
    for given, dim in ((model.graph.input, adapter.source.dim), (model.graph.output, adapter.target.dim)):
        (one,) = given
        axes = one.type.tensor_type.shape.dim
        assert (axes[0].dim_param, axes[1].dim_value) == ("batch", dim)
        assert one.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert session(files[name]).get_modelmeta().custom_metadata_map == said


def test_the_same_adapter_gives_the_same_bytes(files, tmp_path):
    assert to_onnx(MAPS["composed"], tmp_path / "again.onnx").read_bytes() == files["composed"].read_bytes()


def test_rows_of_another_dim_are_refused(files):
    with pytest.raises(Exception, match="Got: 23 Expected: 24"):
        session(files["linear"]).run(None, {INPUT: rows(2, 23)})


def test_the_query_path_is_head_then_bridge(tmp_path):
    encoder = Space("encoder", "1", 24)
    head = Linear(encoder, NEW, layer(24, 24, 5).weight)
    upgrade = Upgrade(head, MAPS["deep mlp with skip"], Provenance("xbt"))
    path = query_path(upgrade)
    assert (path.source, path.target) == (encoder, OLD)
    assert check_adapter(path) == []
    x = rows(9)
    (came,) = session(to_onnx(path, tmp_path / "queries.onnx")).run(None, {INPUT: x})
    np.testing.assert_allclose(came, upgrade.bridge.apply(upgrade.head.apply(x)), atol=1e-5)


def test_a_head_that_does_nothing_is_left_out():
    bridge = MAPS["affine"]
    assert query_path(Upgrade(Identity(NEW, NEW), bridge, Provenance("procrustes"))) is bridge
    other = Identity(Space("encoder", "1", 24), NEW)
    assert query_path(Upgrade(other, bridge, Provenance("procrustes"))).source == other.source


def test_a_forward_upgrade_has_no_query_path():
    upgrade = Upgrade(Identity(OLD, OLD), MAPS["linear"], Provenance("fct"), direction="forward")
    with pytest.raises(WrongDirection, match=r"maps the stored gallery, not queries\. Write the bridge itself"):
        query_path(upgrade)


class Doubled(Adapter):
    """A kind of somebody else."""

    kind = "doubled"
    source, target = NEW, NEW

    def apply(self, x):
        return x * 2

    def weights(self):
        return {}

    def config(self):
        return {}

    @classmethod
    def from_parts(cls, source, target, config, weights):
        return cls()


def test_a_foreign_kind_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(SettingsError, match="kind doubled cannot be written as ONNX"):
        to_onnx(Doubled(), tmp_path / "map.onnx")
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_not_overwritten_and_its_own_are(tmp_path):
    for name in ("model.onnx", "upgrade.json"):
        (tmp_path / name).write_text('{"schema": "embridge.upgrade/1"}')
        with pytest.raises(InvalidInput, match=rf"{name} is not an ONNX file of embridge and is not overwritten"):
            to_onnx(MAPS["linear"], tmp_path / name)
    for adapter in (MAPS["linear"], MAPS["prefix"]):
        assert len(to_onnx(adapter, tmp_path / "own.onnx").read_bytes()) > 200


def test_a_file_that_the_checker_refuses_does_not_take_the_name(tmp_path):
    file = tmp_path / "map.onnx"
    to_onnx(MAPS["linear"], file)
    before = file.read_bytes()
    broken = Linear(NEW, OLD, layer(24, 16).weight)
    broken.weight = broken.weight[:-1]
    with pytest.raises(onnx.shape_inference.InferenceError, match="Incompatible dimensions"):
        to_onnx(broken, file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["map.onnx"]


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"pip install 'embridge\[export\]'"):
        to_onnx(MAPS["linear"], tmp_path / "map.onnx")


@pytest.mark.slow
def test_the_package_imports_neither_onnx_nor_torch():
    code = "import sys, embridge.export; print(sorted(m.partition('.')[0] for m in sys.modules))"
    environment = {k: v for k, v in os.environ.items() if k != "EMBRIDGE_CHECK_SHAPES"}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "numpy" in shown.stdout
    assert not {"'onnx'", "'torch'", "'transformers'", "'onnxruntime'"} & set(shown.stdout.strip("[]\n").split(", "))
