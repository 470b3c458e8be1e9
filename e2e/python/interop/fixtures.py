"""The servers that all these tests share. Tests use different names, and leave nothing else behind."""

import contextlib

import pytest

from .world import Deployment, opened


@pytest.fixture(scope="session", params=[1, 2], ids=["one-node", "two-nodes"])
def deployment(request):
    with contextlib.ExitStack() as stack:
        yield Deployment(stack, nodes=request.param)


@pytest.fixture
def world(deployment):
    with opened(deployment) as world:
        yield world


@pytest.fixture
def deploy(cleanup):
    """deploy(nodes=1, rooms={...}, ...) starts nodes with that configuration, for one test."""
    return lambda **tables: cleanup.enter_context(opened(Deployment(cleanup, **tables)))
