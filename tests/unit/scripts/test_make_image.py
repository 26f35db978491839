"""`make image` has one user, so it approves nothing where a second person has to."""

from __future__ import annotations

import pytest
from confidential_spark.core.errors import ConfigurationError

from scripts.make_image import require_approver


@pytest.mark.parametrize(
    ("approve", "second_person"),
    [
        pytest.param(True, "false", id="one-person"),
        pytest.param(False, "true", id="a-question-can-be-rejected"),
    ],
)
def test_it_builds_where_its_user_may_answer(deploy, approve: bool, second_person: str) -> None:
    deploy(image_second_person=second_person)
    require_approver(approve=approve)


def test_it_refuses_before_it_builds_what_nobody_here_may_approve(deploy) -> None:
    deploy(image_second_person="true")
    with pytest.raises(ConfigurationError, match="second-person-needed"):
        require_approver(approve=True)
