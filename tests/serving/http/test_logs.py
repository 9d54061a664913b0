"""JSON lines: one a request, and nothing of patients in them."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from lungvae_core.errors import UserError
from lungvae_core.serving.http.logs import AccessLog, JsonLines, writes_json


def logged(name: str, message: str, *arguments: object, failing: bool = False) -> dict:
    """The line that a logger of that name writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger(name)
    logger.addHandler(handler)
    if failing:
        try:
            raise ValueError("LIDC-IDRI-0001 in scan.dcm")
        except ValueError:
            logger.exception(message, *arguments)
    else:
        logger.warning(message, *arguments)
    text = stream.getvalue()
    assert text.count("\n") == 1
    return json.loads(text)


def test_words_are_those_of_the_source_without_what_was_filled_in():
    line = logged("lungvae_core.data.dicom", "cannot read %s\nof %s", "scan.dcm", "LIDC-IDRI-0001")
    assert line["message"] == "cannot read %s\nof %s"
    assert line["level"] == "warning"
    assert "LIDC" not in json.dumps(line)


def test_exceptions_have_their_kind_and_place_but_not_their_words():
    line = logged("lungvae_core.x", "failed", failing=True)
    assert line["error"] == "ValueError"
    assert "logged" in line["trace"][-1]
    assert "LIDC" not in json.dumps(line)


def test_foreign_libraries_are_heard_but_not_quoted():
    line = logged("pydicom", "Invalid value for Patient's Name: DOE^JOHN")
    assert line["logger"] == "pydicom"
    assert "DOE" not in json.dumps(line)


def test_a_request_is_a_line_with_its_route(caplog):
    routes = [Route("/api/models/{name}/slices/{row:int}.png", lambda _: PlainTextResponse("x"))]
    app = Starlette(routes=routes, middleware=[Middleware(AccessLog, routes=routes, pages=["map"])])
    client = TestClient(app)
    with caplog.at_level(logging.INFO, logger="lungvae_core.requests"):
        answer = client.get("/api/models/Jane-Doe/slices/7.png?patient=Jane")
        for path in (
            "/map?x=Jane",
            "/Jane",
            "/_stcore/Jane",
            "/media/Jane.png",
            "/_stcore/upload_file/Jane.dcm",
        ):
            client.get(path)
    fields = [record.fields for record in caplog.records if hasattr(record, "fields")]
    assert [one["route"] for one in fields] == [
        "/api/models/{name}/slices/{row:int}.png",
        "/map",
        "(other)",
        "/_stcore",
        "/media",
        "/_stcore/upload_file",
    ]
    assert (fields[0]["status"], fields[0]["method"]) == (200, "GET")
    assert answer.headers["x-request-id"] == fields[0]["id"]
    assert "Jane" not in json.dumps(fields)


def test_everything_a_process_says_is_json():
    code = (
        "import logging, warnings\n"
        "early = logging.getLogger('streamlit.x'); early.addHandler(logging.StreamHandler())\n"
        "early.propagate = False\n"
        "from lungvae_core.serving.http.logs import log_json\n"
        "log_json()\n"
        "early.warning('one %s', 'LIDC-IDRI-0001')\n"
        "logging.getLogger('lungvae_core.y').error('two')\n"
        "warnings.warn('three LIDC-IDRI-0001')\n"
        "raise RuntimeError('four LIDC-IDRI-0001')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert [line["logger"] for line in lines] == ["streamlit.x", "lungvae_core.y", "py.warnings", "root"]
    assert "LIDC" not in done.stderr


def test_only_json_or_text_can_be_asked_for():
    assert writes_json({"LUNGVAE_LOG": "json"})
    assert not writes_json({})
    with pytest.raises(UserError, match="text or json"):
        writes_json({"LUNGVAE_LOG": "xml"})
