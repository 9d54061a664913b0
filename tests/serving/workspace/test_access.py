"""Sign-in settings, cookies, roles; a whole sign-in is in tests/access and tests/browser."""

from __future__ import annotations

import json
import time

import pytest
from itsdangerous import URLSafeTimedSerializer

from lungvae_core.errors import UserError
from lungvae_core.serving.workspace.access import (
    COOKIE,
    OPEN_WORDS,
    Access,
    Role,
    Rules,
    host_name,
    is_loopback,
    read_access,
)

ORIGIN = "https://lungs.example.org"
SECRET = "s" * 40
GOOD = {
    "redirect_uri": f'"{ORIGIN}/oauth2callback"',
    "cookie_secret": f'"{SECRET}"',
    "client_id": '"id"',
    "client_secret": '"secret"',
    "server_metadata_url": '"https://id.example.org/.well-known/openid-configuration"',
}


def write(folder, rules="", **changes):
    """The environment of a server with these settings in a file."""
    path = folder / "sign-in.toml"
    lines = [f"{name} = {value}" for name, value in (GOOD | changes).items() if value is not None]
    path.write_text("\n".join(["[auth]", *lines, "[lungvae]", rules]))
    return {"LUNGVAE_SIGN_IN": str(path)}


def cookies(*, parts=0, secret=SECRET, **claims):
    text = json.dumps({"origin": ORIGIN, "is_logged_in": True, "sub": "number 7"} | claims)
    if not parts:
        return {COOKIE: URLSafeTimedSerializer(secret, salt=COOKIE).dumps(text)}
    size = -(-len(text) // parts)
    pieces = {COOKIE: f"chunks-{parts}"} | {
        f"{COOKIE}_{at + 1}": text[at * size : (at + 1) * size] for at in range(parts)
    }
    return {name: URLSafeTimedSerializer(secret, salt=name).dumps(value) for name, value in pieces.items()}


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_settings_this_machine_is_a_researcher_and_nobody_else_comes_in():
    access = read_access({})
    assert access.local_only
    assert access.person({}).role is Role.RESEARCHER
    assert access.secrets() is None


def test_the_words_decide_what_everybody_may_do():
    for words, role in OPEN_WORDS.items():
        access = read_access({"LUNGVAE_NO_SIGN_IN": words})
        assert not access.local_only
        assert access.person({}).role is role
    for words in ("yes", "Anyone on this network may use it", "anyone on this network may use it."):
        with pytest.raises(UserError, match="exactly these words"):
            read_access({"LUNGVAE_NO_SIGN_IN": words})


def test_streamlits_own_file_is_found_and_the_environment_wins(tmp_path):
    settings = write(tmp_path, 'researchers = ["A@b.org"]\nsession_hours = 3')
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / "sign-in.toml").rename(tmp_path / ".streamlit" / "secrets.toml")
    access = read_access({})
    assert access.sign_in.origin == ORIGIN
    assert access.rules.researchers == ("a@b.org",)
    assert access.secrets()["auth"]["client_secret"] == "secret"
    access = read_access({"LUNGVAE_RESEARCHERS": "c@d.org, @e.org ", "LUNGVAE_SESSION_HOURS": "0.5"})
    assert access.rules.researchers == ("c@d.org", "@e.org")
    assert access.rules.session_hours == 0.5
    with pytest.raises(UserError, match="cannot be read"):
        read_access(settings)  # the file that is named is gone: not another one instead


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"redirect_uri": '"http://lungs.example.org/oauth2callback"'}, "https"),
        ({"redirect_uri": '"https://lungs.example.org/"'}, "oauth2callback"),
        ({"redirect_uri": '"javascript:alert(1)//oauth2callback"'}, "https"),
        ({"cookie_secret": '"short"'}, "cookie_secret"),
        ({"client_id": None}, "client_id"),
        ({"server_metadata_url": '"http://id.example.org/x"'}, "https"),
        ({"surprise": "1"}, "surprise"),
        ({"client_id": '"'}, "not TOML"),
    ],
)
def test_bad_sign_ins_are_sentences_without_secrets(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence) as failed:
        read_access(write(tmp_path, **changes))
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize(
    "variable",
    [
        {"LUNGVAE_RESEARCHERS": "somebody"},
        {"LUNGVAE_RESEARCHERS": "*"},
        {"LUNGVAE_SESSION_HOURS": "0"},
        {"LUNGVAE_SESSION_HOURS": "nan"},
        {"LUNGVAE_SESSION_HOURS": "1e9"},
        {"LUNGVAE_HOSTS": "https://a.org"},
        {"LUNGVAE_TRUST_EMAIL": "perhaps"},
    ],
)
def test_bad_rules_are_sentences(variable):
    with pytest.raises(UserError, match="cannot be used"):
        read_access(variable)


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"email": "A@lab.org", "email_verified": True}, Role.RESEARCHER),
        ({"email": "a@lab.org", "email_verified": False}, Role.VIEWER),
        ({"email": "a@lab.org", "email_verified": "true"}, Role.VIEWER),
        ({"email": "a@lab.org"}, Role.VIEWER),
        ({"email": "x@deep.example", "email_verified": True}, Role.RESEARCHER),
        ({"email": "x@notdeep.example", "email_verified": True}, Role.VIEWER),
        ({"email": "@deep.example.org", "email_verified": True}, Role.VIEWER),
        ({"groups": ["other", "lung"]}, Role.RESEARCHER),
        ({"groups": "lung"}, Role.RESEARCHER),
        ({"groups": ["lungs"]}, Role.VIEWER),
        ({"groups": 7}, Role.VIEWER),
        ({"groups": {"lung": 1}}, Role.VIEWER),
        ({"groups": [["lung"]]}, Role.VIEWER),
        ({}, Role.VIEWER),
    ],
)
def test_roles(tmp_path, claims, role):
    rules = 'researchers = ["a@lab.org", "@deep.example"]\nresearcher_groups = ["lung"]'
    assert read_access(write(tmp_path, rules)).person(cookies(**claims)).role is role


def test_trusted_addresses_need_not_be_verified_and_viewers_may_be_few(tmp_path):
    access = read_access(
        write(tmp_path, 'researchers = ["a@lab.org"]\nviewers = ["@lab.org"]\ntrust_email = true')
    )
    assert access.person(cookies(email="a@lab.org")).role is Role.RESEARCHER
    assert access.person(cookies(email="b@lab.org")).role is Role.VIEWER
    stranger = access.person(cookies(email="b@elsewhere.org"))
    assert stranger.role is None
    assert "may not use this server" in stranger.reason


def test_a_session_ends(tmp_path):
    access = read_access(write(tmp_path, "session_hours = 2"))
    signed = cookies(email="a@b.org")
    person = access.person(signed)
    assert person.until == pytest.approx(time.time() + 7200, abs=3)
    late = access.person(signed, now=time.time() + 7201)
    assert late.role is None
    assert "end after 2 hours" in late.reason


def test_a_long_cookie_comes_in_parts_and_none_may_be_missing(tmp_path):
    access = read_access(write(tmp_path))
    signed = cookies(parts=3, email="a@b.org", more="x" * 300)
    assert access.person(signed).name == "a@b.org"
    for name in list(signed):
        assert access.person({other: value for other, value in signed.items() if other != name}).role is None
    swapped = signed | {f"{COOKIE}_1": signed[f"{COOKIE}_2"], f"{COOKIE}_2": signed[f"{COOKIE}_1"]}
    assert access.person(swapped).role is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "7",
        '{"origin": 1}',
        "{" * 5000,
        "chunks-2",
        "chunks-99",
        "chunks-0",
        '{"email": {}}',
    ],
)
def test_whatever_is_signed_is_no_crash(tmp_path, text):
    access = read_access(write(tmp_path))
    assert access.person({COOKIE: URLSafeTimedSerializer(SECRET, salt=COOKIE).dumps(text)}).role is None
    assert access.person({COOKIE: text}).role is None


def test_a_cookie_of_another_name_secret_or_origin_is_nobodys(tmp_path):
    access = read_access(write(tmp_path))
    other = URLSafeTimedSerializer(SECRET, salt="_streamlit_user_tokens").dumps("{}")
    for wrong in (
        {COOKIE: other},
        cookies(secret="t" * 40),
        cookies(origin="https://lungs.example.org.evil.example"),
        cookies(is_logged_in=False),
        cookies(is_logged_in="yes"),
        cookies(sub="", email=""),
    ):
        assert access.person(wrong).role is None


def test_hosts(tmp_path):
    local, signed = read_access({}), read_access(write(tmp_path, 'hosts = ["inner.example"]'))
    anyone = read_access({"LUNGVAE_NO_SIGN_IN": next(iter(OPEN_WORDS))})
    for host in ("localhost:8501", "127.0.0.1:8501", "[::1]:8501", "LOCALHOST"):
        assert local.host_allowed(host), host
    for host in (
        "evil.example",
        "10.0.0.1",
        "",
        None,
        "localhost.evil.example",
        "localhost@evil.example",
        "a b",
    ):
        assert not local.host_allowed(host), host
    assert signed.host_allowed("lungs.example.org")
    assert signed.host_allowed("Inner.example:443")
    assert not signed.host_allowed("10.0.0.1")
    assert anyone.host_allowed("10.0.0.1:8501")
    assert not anyone.host_allowed("evil.example")


def test_names_and_addresses():
    assert host_name("A.b.") == "a.b"
    for bad in ("", "a/b", "a:b", "a@b", "a b", "[::1", "a:99999", "é"):
        assert host_name(bad) == "", bad
    for own in (None, "localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert is_loopback(own), own
    for other in ("10.0.0.1", "0.0.0.0", "::", "127.0.0.1.evil", "testclient"):
        assert not is_loopback(other), other


def test_rules_are_closed():
    with pytest.raises(UserError):
        Access(open_words="whatever")
    with pytest.raises(ValueError, match="extra"):
        Rules.model_validate({"surprise": 1})
