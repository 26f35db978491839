"""The measurements in a real browser: both themes, narrow, by keyboard, approved in Airflow's frame."""

from __future__ import annotations

import pytest
from confidential_spark.agent.protocol import sha256_hex
from confidential_spark.image_build.inputs import Commit
from confidential_spark.ui.measurements import changes

from tests.browser.test_pages import POOR_CONTRAST, PREFIX, SANDBOX
from tests.support import axe
from tests.unit.ui.measurements.conftest import (
    PROPOSED,
    RUN,
    announce,
    approve,
    ask,
    image_deployment,
    in_use,
)
from tests.unit.ui.measurements.test_decision import answered

__all__ = ["announce", "approve", "ask", "image_deployment", "in_use"]

LEDGERS, DECISION = f"{PREFIX}/measurements", f"{PREFIX}/measurements/{RUN}"


@pytest.fixture
def enter(visit, site):
    """Open a page as a user who may answer."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    page = visit("/api/v2/version")
    token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="user", role="USER"))
    page.context.add_cookies([{"name": "_token", "value": token, "url": site, "httpOnly": True}])
    return visit


@pytest.fixture(params=["ledgers", "broken", "decision"])
def path(request, in_use, approve, ask, image_deployment, monkeypatch) -> str:
    """Each page with everything on it."""
    commit = Commit("11c8e19", "ann", "2026-11-28", "Change how a very long name is split " + "x" * 90)
    monkeypatch.setattr(changes, "commits_between", lambda *_: (commit,))
    approve(PROPOSED, by="grace (7)", requested_by="ann", rebuilt=True)
    ask()
    if request.param == "broken":
        ledger = image_deployment.ledger
        ledger.write_bytes(ledger.read_bytes().replace(b"ada", b"eve"))
    return LEDGERS if request.param in ("ledgers", "broken") else DECISION


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1100])
def test_it_can_be_read(request, visit, enter, path, complaints, keep_screenshot, theme, width) -> None:
    page = visit(path, scheme=theme, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    keep_screenshot(page, f"measurements-{request.node.callspec.params['path']}-{width}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(POOR_CONTRAST) == []
    assert complaints == []
    if not axe.program().is_file():
        pytest.skip("!!! NOT TESTED: no axe-core; `python -m tests.support.axe` installs it")
    page.evaluate(axe.program().read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [
        (each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in found["violations"]
    ] == []


def test_an_approver_answers_by_keyboard_in_airflows_frame(enter, in_use, ask, complaints) -> None:
    """With the browser's own Origin, from the sandbox that Airflow shows pages in."""
    ask()
    page = enter("/api/v2/version")
    page.evaluate(f"""
        new Promise(done => {{
            const frame = document.createElement("iframe");
            frame.sandbox = "{SANDBOX}";
            frame.src = "{DECISION}";
            frame.onload = done;
            document.body.append(frame);
        }})""")
    frame = page.frames[1]
    field = frame.get_by_label("MRENCLAVE of your own build (optional)")
    field.fill(sha256_hex(b"another build"))
    page.keyboard.press("Enter")
    assert answered() is None, "a form is not sent without the review"
    frame.get_by_label("I have reviewed what differs").press("Space")
    field.press("Enter")
    frame.get_by_text("Your own build has measured").wait_for()
    assert answered() is None

    field.fill(PROPOSED.mrenclave)
    frame.get_by_label("I have reviewed what differs").press("Space")
    frame.get_by_role("button", name="Approve 070707070707…").press("Enter")
    frame.get_by_text("Approve by user at").wait_for()
    assert answered() == (["Approve"], {"rebuilt_mrenclave": PROPOSED.mrenclave}, "user")
    assert [each for each in complaints if "409" not in each] == []
