"""The core's routes, and how it says that it is well."""

from __future__ import annotations

from lungvae_core.serving.http.routes import registry, routes


def test_health(client):
    assert client.get("/api/health").json()["status"] == "ok"


def test_health_says_what_is_broken_and_names_no_folder(client, tmp_path, monkeypatch):
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "workspace.db").write_bytes(b"this is no database, but long enough " * 100)
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.delenv("LUNGVAE_DATABASE", raising=False)
    registry.cache_clear()
    answer = client.get("/api/health")
    assert answer.status_code == 503
    assert (answer.json()["status"], answer.json()["database"]) == ("trouble", "cannot be used")
    assert str(tmp_path) not in answer.text


def test_all_routes_lie_below_api_and_no_two_share_an_address():
    paths = [route.path for route in routes()]
    assert all(path.startswith("/api/") for path in paths)
    assert len(set(paths)) == len(paths)
