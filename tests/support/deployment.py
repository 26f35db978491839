"""A deployment's settings, as tests give them: by the environment, which is how a deployment has them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from confidential_spark.settings import ENV_PREFIX, forget_settings

if TYPE_CHECKING:
    from collections.abc import Iterator


def set_settings(patch: pytest.MonkeyPatch, **values: object) -> None:
    """Set variables: ``aks_epc="1GB"`` is ``CONFIDENTIAL_SPARK_AKS_EPC``, and None takes one away."""
    for name, value in values.items():
        variable = ENV_PREFIX + name.upper()
        if value is None:
            patch.delenv(variable, raising=False)
        else:
            patch.setenv(variable, json.dumps(value) if isinstance(value, (bool, dict, list)) else str(value))
    forget_settings()


@contextmanager
def deployed(**values: object) -> Iterator[None]:
    """Give the deployment these settings for the time of the block."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            set_settings(patch, **values)
            yield
    finally:
        forget_settings()
