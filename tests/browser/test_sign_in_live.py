"""A public server in a browser: signing in at an OpenID provider, roles, and the end of a session."""

from __future__ import annotations

import contextlib
import time

import pytest

from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.access import COOKIE
from lungvae_core.serving.workspace.settings import Settings
from tests.access.provider import running
from tests.access.server import cookie, serving

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def public(chromium, app_folders, tmp_path_factory):
    pytest.importorskip("authlib", reason="needs Authlib: pip install lungvae[server]")
    base = tmp_path_factory.mktemp("public")
    folders = app_folders | {name: base / name for name in ("runs", "workspace")}
    for name in ("runs", "workspace"):
        folders[name].mkdir()
    with running() as provider, serving(base, folders, provider) as server:
        yield server


def sign_in(page, public, account, settled):
    page.goto(public.url)
    page.get_by_role("link", name="Sign in", exact=True).click()
    page.get_by_role("link", name=account, exact=True).click()
    page.wait_for_url(f"{public.url}/**")
    page.locator("[data-testid='stSidebar']").get_by_text("@").first.wait_for()
    settled(page)


def start_training(page, public, settled):
    page.goto(f"{public.url}/train")
    settled(page)
    page.get_by_role("button", name="Start training").click()
    settled(page)


def on_record(public, **asked):
    settings = Settings(workspace=public.folder / "workspace")
    return [(line.what, line.who, line.detail) for line in audit.read(settings, **asked)]


def test_a_viewer_signs_in_looks_around_may_not_train_and_signs_out(page, public, errors, settled_page):
    page.goto(f"{public.url}/")
    page.get_by_text("Sign in to go on.").wait_for()
    assert page.get_by_text("Latent map").count() == 0
    assert errors == []
    sign_in(page, public, "viewer", settled_page)
    assert page.get_by_text("viewer@clinic.example, viewer").count() == 1
    for path in ("/map", "/traversal", "/predict"):
        page.goto(public.url + path)
        settled_page(page)
        page.locator("[data-testid='stSidebar']").get_by_text("viewer@clinic.example").wait_for()
    start_training(page, public, settled_page)
    page.get_by_text("Only researchers may start, stop or resume work").wait_for()
    assert list((public.folder / "runs").iterdir()) == []
    assert on_record(public, what=audit.REFUSED)[0][1] == "viewer@clinic.example"
    assert errors == []
    page.get_by_role("button", name="Sign out").click()
    page.get_by_text("Sign in to go on.").wait_for()


def test_a_researcher_may_train_and_it_is_on_record(page, public, errors, settled_page):
    sign_in(page, public, "researcher", settled_page)
    start_training(page, public, settled_page)
    with contextlib.ExitStack() as after:
        stop = page.get_by_role("button", name="Stop")
        after.callback(lambda: stop.click() if stop.is_enabled() else None)
        stop.wait_for()
        assert on_record(public, what=audit.JOB_START)[0][:2] == (audit.JOB_START, "Researcher@lab.example")
    page.get_by_text("stopped").first.wait_for(timeout=60_000)
    assert on_record(public, what=audit.JOB_STOP)[0][1] == "Researcher@lab.example"
    assert errors == []


@pytest.mark.long
def test_a_session_ends_while_the_page_is_open(page, public, settled_page):
    claims = {"email": "researcher@lab.example", "email_verified": True, "sub": "x"}
    value = cookie(public.url, age=12 * 3600 - 12, **claims)[COOKIE]
    page.context.add_cookies([{"name": COOKIE, "value": value, "url": public.url}])
    page.goto(f"{public.url}/train")
    settled_page(page)
    page.get_by_text("researcher@lab.example, researcher").wait_for()
    page.get_by_text("Sessions end after 12 hours, and yours has.").wait_for()
    assert page.get_by_role("button", name="Start training").count() == 0
    time.sleep(12)  # the connection itself ends now, and no other is given
    page.get_by_role("link", name="Sign in again").click()
    page.get_by_text("Sessions end after 12 hours, and yours has.").wait_for()
    page.get_by_role("link", name="Sign in", exact=True).click()
    page.get_by_role("link", name="viewer", exact=True).click()
    page.get_by_text("viewer@clinic.example, viewer").wait_for()


def test_a_forged_cookie_shows_the_sign_in_page(page, public, errors, settled_page):
    value = cookie(public.url, secret="y" * 40, email="researcher@lab.example", email_verified=True)[COOKIE]
    page.context.add_cookies([{"name": COOKIE, "value": value, "url": public.url}])
    page.goto(f"{public.url}/train")
    page.get_by_text("Sign in to go on.").wait_for()
    assert page.get_by_role("button", name="Start training").count() == 0
