"""Patches do what they do on a real API server."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes.kubernetes_api.patches import apply
from tests.support.fakes.kubernetes_api.refusals import Refusal

JSON, MERGE, STRATEGIC = (
    f"application/{kind}+json" for kind in ("json-patch", "merge-patch", "strategic-merge-patch")
)
POD = {
    "metadata": {"labels": {"a": "1", "b": "2"}},
    "spec": {"containers": [{"name": "base", "image": "x:1"}, {"name": "side", "image": "y:1"}]},
}


@pytest.mark.parametrize(
    ("kind", "patch", "path", "expected"),
    [
        pytest.param(
            MERGE, {"metadata": {"labels": {"a": None}}}, ("metadata", "labels"), {"b": "2"}, id="merge-null"
        ),
        pytest.param(
            MERGE, {"spec": {"containers": []}}, ("spec", "containers"), [], id="merge-replaces-lists"
        ),
        pytest.param(
            STRATEGIC,
            {"spec": {"containers": [{"name": "side", "image": "y:2"}]}},
            ("spec", "containers"),
            [{"name": "base", "image": "x:1"}, {"name": "side", "image": "y:2"}],
            id="strategic-by-name",
        ),
        pytest.param(
            STRATEGIC,
            {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}},
            ("spec", "containers"),
            [{"name": "base", "image": "x:1"}],
            id="strategic-delete",
        ),
        pytest.param(
            JSON,
            [{"op": "add", "path": "/metadata/labels/app~1x", "value": "3"}],
            ("metadata", "labels"),
            {"a": "1", "b": "2", "app/x": "3"},
            id="json-escaped-name",
        ),
        pytest.param(
            JSON,
            [
                {"op": "remove", "path": "/spec/containers/0"},
                {"op": "test", "path": "/metadata/labels/a", "value": "1"},
            ],
            ("spec", "containers"),
            [{"name": "side", "image": "y:1"}],
            id="json-list-and-test",
        ),
    ],
)
def test_a_patch(kind, patch, path, expected) -> None:
    assert apply(POD, patch, kind)[path[0]][path[1]] == expected
    assert POD["metadata"] == {"labels": {"a": "1", "b": "2"}}


@pytest.mark.parametrize(
    ("kind", "patch", "code"),
    [
        pytest.param("application/json", {}, 415, id="no-patch-format"),
        pytest.param(MERGE, [], 400, id="list-as-merge"),
        pytest.param(JSON, {}, 400, id="object-as-json-patch"),
        pytest.param(JSON, [{"op": "remove", "path": "/none"}], 422, id="path-not-there"),
        pytest.param(JSON, [{"op": "test", "path": "/spec", "value": 1}], 422, id="test-fails"),
        pytest.param(JSON, [{"op": "move", "path": "/spec"}], 422, id="other-operation"),
    ],
)
def test_a_refused_patch(kind, patch, code) -> None:
    with pytest.raises(Refusal) as refusal:
        apply(POD, patch, kind)
    assert refusal.value.code == code


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), values), values, st.sampled_from([JSON, MERGE, STRATEGIC]))
def test_any_patch_is_applied_or_refused(target, patch, kind) -> None:
    with contextlib.suppress(Refusal):
        assert isinstance(apply(target, patch, kind), dict)


@given(st.dictionaries(st.text(max_size=3), values))
def test_an_empty_patch_changes_nothing(target) -> None:
    assert apply(target, {}, MERGE) == apply(target, {}, STRATEGIC) == apply(target, [], JSON) == target
