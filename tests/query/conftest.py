"""One small world as two models see it, and the upgrade between them."""

import pytest
from two_models import make_world


@pytest.fixture(scope="session")
def world():
    return make_world()


@pytest.fixture(scope="session")
def worlds():
    return make_world
