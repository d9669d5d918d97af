"""What an import costs, measured in a fresh interpreter without the shape checks."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "sentence_transformers", "pyarrow", "lancedb", "pydantic", "rich", "typer", "yaml"}
HEAVY |= {"faiss", "PIL", "matplotlib", "sklearn", "jaxtyping", "beartype", "pytest", "pandas", "scipy", "ray"}
CODE = """
import json, sys, time
began = time.process_time()  # of the processor: the wall clock also tells how busy the machine is
import MODULE
took = time.process_time() - began
print(json.dumps([took, sorted(m.partition(".")[0] for m in sys.modules)]))
"""


def import_in_a_fresh_process(module):
    environment = {k: v for k, v in os.environ.items() if k != "EMBRIDGE_CHECK_SHAPES"}
    code = CODE.replace("MODULE", module)
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    seconds, modules = json.loads(ran.stdout)
    return seconds, set(modules)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        *("embridge.testing", "embridge.stores", "embridge.methods", "embridge.encoders"),
        *("embridge.evaluation", "embridge.query", "embridge.rollout", "embridge.export", "embridge.scale.local"),
    ],
)
def test_nothing_optional_is_imported(module):
    _, modules = import_in_a_fresh_process(module)
    assert "numpy" in modules or module == "embridge.scale.local"
    assert modules.isdisjoint(HEAVY), sorted(modules & HEAVY)


def test_importing_the_package_imports_nothing_else():
    """Not even numpy: so it takes less than twice as long as importing that, whatever the machine."""
    _, before = import_in_a_fresh_process("sys")
    _, after = import_in_a_fresh_process("embridge")
    assert {name for name in after - before if name not in sys.stdlib_module_names} == {"embridge"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Embeddings", "Upgrade", "open_store", "make_method", "load_encoder", "evaluate"])
def test_a_name_brings_nothing_optional(name):
    _, modules = import_in_a_fresh_process(f"embridge; embridge.{name}")
    assert "numpy" in modules
    assert modules.isdisjoint(HEAVY), sorted(modules & HEAVY)


@pytest.mark.slow
def test_the_import_is_quick():
    seconds = min(import_in_a_fresh_process("embridge")[0] for _ in range(5))
    assert seconds < 0.3
