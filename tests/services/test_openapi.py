"""The OpenAPI documents: complete, with an example for every body, header and problem."""

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.common.problems import MEDIA_TYPE
from services.receiver.app import ReceiverSettings
from services.receiver.app import create_app as create_receiver
from services.sender.app import SenderSettings
from services.sender.app import create_app as create_sender
from shared.settings import QueueSettings
from tests.services.problem_table import problem_classes

Document = dict[str, Any]


@pytest.fixture(scope="module", params=["sender", "receiver"])
def document(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Document:
    """Made without a Redis: the document needs none."""
    queue = QueueSettings(service_keys=tmp_path_factory.mktemp("keys"))
    app: FastAPI = (
        create_sender(SenderSettings(), queue)
        if request.param == "sender"
        else create_receiver(ReceiverSettings(), queue)
    )
    return app.openapi()


def operations(document: Document) -> list[tuple[str, Document]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def resolve(document: Document, schema: Document) -> Document:
    """The schema itself, or what its `$ref` names."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def has_example(document: Document, media: Document) -> bool:
    """In the media type, in the schema, or in every property of the schema."""
    if "example" in media or media.get("examples"):
        return True
    schema = resolve(document, media.get("schema", {}))
    if schema.get("examples"):
        return True
    properties = schema.get("properties", {})
    return bool(properties) and all(
        "examples" in value or "default" in value or "const" in value for value in properties.values()
    )


def test_every_body_and_header_has_an_example(document: Document) -> None:
    for name, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter["schema"].get("examples") or parameter.get("example"), (name, parameter["name"])
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            assert has_example(document, media), (name, kind)
        for status, response in operation["responses"].items():
            assert "X-Request-ID" in response["headers"], (name, status)
            for header in response["headers"].values():
                assert header["example"]
            for kind, media in response.get("content", {}).items():
                assert has_example(document, media), (name, status, kind)


def test_the_document_is_valid(document: Document) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert document["openapi"].startswith("3.1")


def test_operation_ids_are_short(document: Document) -> None:
    first = "hide" if document["info"]["title"] == "DDSR sender" else "recover"
    jobs = {"list_jobs", "get_job", "get_result", "cancel_job", "follow_job"}
    found = [operation["operationId"] for _, operation in operations(document)]
    assert sorted(found) == sorted({first, "livez", "readyz", "get_version", "get_metrics"} | jobs)
    assert document["servers"][0]["url"] == "/"


def test_files_are_binary(document: Document) -> None:
    form = next(schema for name, schema in document["components"]["schemas"].items() if name.endswith("Form"))
    assert [name for name, part in form["properties"].items() if part.get("format") == "binary"] == form["required"][:1]
    pictures = document["paths"]["/jobs/{job_id}/result"]["get"]["responses"]["200"]["content"]
    assert all(picture["schema"] == {"type": "string", "format": "binary"} for picture in pictures.values())


def test_limits_are_those_of_the_service(tmp_path: Path) -> None:
    settings = SenderSettings(max_prompt=40, max_steps=7)
    form = create_sender(settings, QueueSettings(service_keys=tmp_path)).openapi()["components"]["schemas"]["HideForm"]
    limits = [form["properties"][name]["maxLength"] for name in ("identity_prompt", "disguise_prompt")]
    assert (limits, form["properties"]["steps"]["maximum"]) == ([40, 40], 7)


def test_every_problem_is_documented_under_its_status(document: Document) -> None:
    classes = problem_classes()
    for name, operation in operations(document):
        assert "500" in operation["responses"], name
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            assert list(response["content"]) == [MEDIA_TYPE], (name, status)
            for code, shown in response["content"][MEDIA_TYPE]["examples"].items():
                assert classes[code].status == int(status) == shown["value"]["status"]
                assert shown["value"]["code"] == code


def test_the_framework_leaves_no_schema_of_its_own(document: Document) -> None:
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


def test_the_headers_that_http_asks_for(document: Document) -> None:
    for _, operation in operations(document):
        for status, response in operation["responses"].items():
            assert ("Retry-After" in response["headers"]) == (status in ("202", "429", "503"))
            assert ("WWW-Authenticate" in response["headers"]) == (status == "401")


def test_the_secret_is_write_only_and_in_the_body(document: Document) -> None:
    forms = [schema for name, schema in document["components"]["schemas"].items() if name.endswith("Form")]
    assert len(forms) == 1
    secret = forms[0]["properties"]["identity_prompt"]
    assert (secret["format"], secret["writeOnly"]) == ("password", True)
    names = {
        parameter["name"] for _, operation in operations(document) for parameter in operation.get("parameters", [])
    }
    assert "identity_prompt" not in names


def test_keys_are_optional_by_the_document(document: Document) -> None:
    keyed = dict(operations(document))
    assert keyed["get /jobs/{job_id}"]["security"] == [{"ApiKey": []}, {"Bearer": []}, {}]
    assert "security" not in keyed["get /livez"]
