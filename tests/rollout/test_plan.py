"""Plans that somebody edited."""

import json

import pytest

from embridge.errors import InvalidInput
from embridge.rollout.plan import Plan, read_plan, write_plan
from embridge.space import Space

PLAN = Plan(
    "r.yaml", "c", "memory:", "u", "a", Space("m", "1", 2), Space("m", "2", 2), {}, "prepared", 4, 4, 1, {}, 1.0, 0.5
)


def test_a_plan_with_values_of_other_kinds_is_refused_and_each_value_is_named(tmp_path):
    path = tmp_path / "plan.json"
    write_plan(PLAN, path)
    assert read_plan(path) == PLAN
    document = json.loads(path.read_text())
    for name in ("settings", "store", "layout", "rows", "missing", "price", "gates", "steps", "assumed", "unreadable"):
        for value in (None, [1, 2] if not isinstance(document[name], list) else 5):
            path.write_text(json.dumps(document | {name: value}))
            with pytest.raises(
                InvalidInput, match=rf"expected a plan .*; its {name} is .*; make a new one with embridge plan"
            ):
                read_plan(path)
        path.write_text(json.dumps({key: value for key, value in document.items() if key != name}))
        with pytest.raises(InvalidInput, match=f"it lacks '{name}'"):
            read_plan(path)
