"""A provider of files and batches on the loopback address, with the paths of OpenAI and of both forms of Azure."""

import email
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from radtune.engines.guard import Endpoint
from scripts.simulated_teacher import serving

# Gets a request's method and its path behind the base URL; a response it gives is sent instead.
Fault = Callable[[str, str], Response | None]
# What a request of a batch gets: status and body, or None if it is not run.
Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]] | None]

PAGE = 2


def refusal(status: int, code: str = "some_error", message: str = "no") -> Response:
    """An error that the openai package does not try again."""
    error = {"error": {"message": message, "type": "invalid_request_error", "code": code}}
    return JSONResponse(error, status, {"x-should-retry": "false"})


class BatchServer:
    """A running provider: what it holds, what it was asked, how it fails."""

    url = ""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forgets all that it held and was asked."""
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, Request]] = []
        # Asked before a request is looked at, and when it has been carried out but not answered.
        self.before: Fault = lambda method, path: None
        self.after: Fault = lambda method, path: None
        self.file_statuses: list[str] = []
        self._made = 0

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(f"{self.url}/v1", "127.0.0.1")

    def requests(self, batch_id: str) -> list[dict[str, Any]]:
        """What a batch asks for."""
        return [json.loads(line) for line in self.batches[batch_id]["asked"].splitlines()]

    def asked(self) -> list[str]:
        """The custom ids of every batch that was ever made."""
        return [request["custom_id"] for batch_id in self.batches for request in self.requests(batch_id)]

    def end(self, batch_id: str, answer: Answer, status: str = "completed") -> None:
        """Runs a batch."""
        batch = self.batches[batch_id]
        lines: dict[str, list[str]] = {"output_file_id": [], "error_file_id": []}
        for request in self.requests(batch_id):
            answered = answer(request)
            row: dict[str, Any] = {"id": "x", "custom_id": request["custom_id"], "response": None, "error": None}
            if answered is None:
                row["error"] = {"code": "batch_expired", "message": "This request could not be executed."}
            else:
                row["response"] = {"status_code": answered[0], "request_id": "x", "body": answered[1]}
            good = answered is not None and answered[0] == 200
            lines["output_file_id" if good else "error_file_id"].append(json.dumps(row))
        for name, rows in lines.items():
            if rows:
                batch[name] = self._keep("results.jsonl", "batch_output", "\n".join(rows).encode())["id"]
        counts = {"total": len(self.requests(batch_id)), "completed": len(lines["output_file_id"])}
        batch |= {"status": status, "request_counts": {**counts, "failed": len(lines["error_file_id"])}}

    async def handle(self, request: Request) -> Response:
        path = request.path_params["path"]
        self.calls.append((request.method, path, request))
        body = await request.body()
        if instead := self.before(request.method, path):
            return instead
        answer = self._route(request.method, path.split("/"), request, body)
        return self.after(request.method, path) or answer

    def _route(self, method: str, path: list[str], request: Request, body: bytes) -> Response:
        match method, path:
            case "POST", ["files"]:
                return JSONResponse(self._upload(request.headers["content-type"], body))
            case "GET", ["files"]:
                return self._page(request, [f for f in self.files.values() if f["purpose"] == "batch"])
            case "POST", ["batches"]:
                return self._create(json.loads(body))
            case "GET", ["batches"]:
                return self._page(request, list(self.batches.values())[::-1])
            case "GET", ["batches", batch_id] if batch_id in self.batches:
                return JSONResponse({k: v for k, v in self.batches[batch_id].items() if k != "asked"})
            case "GET", ["files", file_id] if file_id in self.files:
                return JSONResponse(self.files[file_id] | {"status": (self.file_statuses or ["processed"]).pop(0)})
            case "GET", ["files", file_id, "content"] if file_id in self.files:
                return Response(self.contents[file_id], media_type="application/jsonl")
            case "DELETE", ["files", file_id] if file_id in self.files:
                del self.files[file_id], self.contents[file_id]
                return JSONResponse({"id": file_id, "object": "file", "deleted": True})
        return refusal(404, "not_found")

    def _keep(self, name: str, purpose: str, content: bytes) -> dict[str, Any]:
        self._made += 1
        file = {"id": f"file-{self._made}", "object": "file", "filename": name, "purpose": purpose}
        self.files[file["id"]] = file | {"bytes": len(content), "created_at": 0, "status": "processed"}
        self.contents[file["id"]] = content
        return self.files[file["id"]]

    def _upload(self, content_type: str, body: bytes) -> dict[str, Any]:
        parts = email.message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body).get_payload()
        fields = {part.get_param("name", header="content-disposition"): part for part in parts}
        self.fields = {name: part.get_payload() for name, part in fields.items() if name != "file"}
        content = fields["file"].get_payload(decode=True)
        file = self._keep(fields["file"].get_filename(), self.fields["purpose"], content)
        return file | {"status": (self.file_statuses or ["processed"]).pop(0)}

    def _create(self, asked: dict[str, Any]) -> Response:
        content = self.contents.get(asked["input_file_id"])
        if content is None or any(json.loads(line)["url"] != asked["endpoint"] for line in content.splitlines()):
            return refusal(400, "invalid_request")
        self._made += 1
        batch = {"id": f"batch_{self._made}", "object": "batch", "status": "validating", "created_at": 0}
        self.batches[batch["id"]] = batch | asked | {"asked": content, "output_file_id": None, "error_file_id": None}
        return JSONResponse(batch | asked)

    def _page(self, request: Request, items: list[dict[str, Any]]) -> Response:
        ids = [item["id"] for item in items]
        start = ids.index(request.query_params["after"]) + 1 if "after" in request.query_params else 0
        data = [{k: v for k, v in item.items() if k != "asked"} for item in items[start : start + PAGE]]
        return JSONResponse({"object": "list", "data": data, "has_more": start + PAGE < len(items)})


@contextmanager
def running_batches() -> Iterator[BatchServer]:
    """Serves as long as the block lasts."""
    server = BatchServer()
    methods = ["GET", "POST", "DELETE"]
    prefixes = ("/v1/{path:path}", "/openai/v1/{path:path}", "/openai/{path:path}")
    with serving(Starlette(routes=[Route(prefix, server.handle, methods=methods) for prefix in prefixes])) as url:
        server.url = url.removesuffix("/v1")
        yield server
