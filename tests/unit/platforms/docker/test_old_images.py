"""Which images of an engine nobody needs any longer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from confidential_spark.platforms.docker.old_images import SIGNED, TRUST, OldImage, old_images, remove_images
from docker.errors import APIError

DAY = 86_400


def image(
    name: str, days: float, *, trust: str = "simulated", tags: tuple[str, ...] = (), **more: Any
) -> Any:
    return {
        "Id": f"sha256:{name}",
        "Created": int(time.time() - days * DAY),
        "Size": 1_000,
        "Labels": {SIGNED: "ab" * 32, TRUST: trust},
        "RepoTags": list(tags) or ["<none>:<none>"],
        "RepoDigests": [],
        **more,
    }


@dataclass
class Engine:
    """The two listings of an engine, and what it is asked to remove; it keeps what is in use."""

    stored: list[Any]
    used: tuple[str, ...] = ()
    removed: list[str] = field(default_factory=list)

    def images(self, filters: Any) -> list[Any]:
        assert filters == {"label": [SIGNED]}
        return self.stored

    def containers(self, *, all: bool) -> list[Any]:
        assert all
        return [{"ImageID": f"sha256:{name}"} for name in self.used]

    def remove_image(self, name: str) -> None:
        if "busy" in name:
            raise APIError("conflict: unable to delete, image is being used by stopped container")
        self.removed.append(name)


def found(engine: Engine, *needed: str, kept: timedelta = timedelta(days=30)) -> list[str]:
    return [each.image_id.removeprefix("sha256:") for each in old_images(engine, needed, kept)]


def test_what_newer_builds_have_replaced_is_old_oldest_first() -> None:
    engine = Engine([image("c", 40), image("now", 31), image("a", 90), image("b", 41)])
    assert found(engine) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("engine", "needed"),
    [
        pytest.param(Engine([image("old", 400)]), (), id="the-newest-however-old"),
        pytest.param(
            Engine([image("s", 400), image("h", 500, trust="hardware")]), (), id="the-newest-of-each-trust"
        ),
        pytest.param(Engine([image("old", 29), image("now", 1)]), (), id="younger-than-it-is-kept"),
        pytest.param(Engine([image("old", 60), image("now", 1)], used=("old",)), (), id="a-container-has-it"),
        pytest.param(Engine([image("old", 60), image("now", 1)]), ("sha256:old",), id="published-by-id"),
        pytest.param(
            Engine([image("old", 60, RepoDigests=["r/e@sha256:1"]), image("now", 1)]),
            ("r/e@sha256:1",),
            id="published-to-a-registry",
        ),
        pytest.param(Engine([]), (), id="no-images"),
    ],
)
def test_what_is_needed_stays(engine, needed) -> None:
    assert found(engine, *needed) == []


def test_every_name_is_removed_so_that_the_last_takes_the_image() -> None:
    engine = Engine([image("old", 60, tags=("e:1", "e:2"), RepoDigests=["r/e@sha256:1"]), image("now", 1)])
    gone = list(remove_images(engine, old_images(engine, ())))
    assert engine.removed == ["e:1", "e:2", "r/e@sha256:1"]
    assert [(each.name, each.bytes) for each in gone] == [("e:1", 1_000)]


def test_what_a_container_has_come_to_use_stays_and_the_rest_goes(caplog) -> None:
    engine = Engine([])
    images = [OldImage("sha256:busy", (), 1), OldImage("sha256:free", (), 2)]
    assert [each.image_id for each in remove_images(engine, images)] == ["sha256:free"]
    assert "The image sha256:busy stays" in caplog.text
