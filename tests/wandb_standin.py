"""A W&B server for tests, on the loopback address: what wandb 0.31 asks while it logs, syncs, reads, uploads
artifacts and saves dashboards, kept in memory. What it does not know gets a GraphQL error at once, since a
dropped connection would start long retries.

    with serving() as server:
        environment = server.environment     # for a subprocess, or monkeypatch.setenv
        server.runs["gru-none-s0"].history   # the rows that arrived
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

ENTITY = "tester"
NOW = "2026-01-01T00:00:00Z"
Json = dict[str, Any]


class Unknown(Exception):
    """Asked for what the stand-in does not have."""


def project(name: str) -> Json:
    return {"id": "p1", "name": name, "entity": {"id": "e1", "name": ENTITY}}


def page(edges: list[Json], after: str | None = None) -> Json:
    return {"edges": edges, "pageInfo": {"endCursor": after, "hasNextPage": after is not None}}


@dataclass
class StoredRun:
    """A run as it arrived; `history` and `files` as text and bytes, `state` as W&B names it."""

    name: str
    project: str
    config: Json = field(default_factory=dict)
    summary: str = "{}"
    history: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    state: str = "running"
    exit_code: int | None = None
    beats: int = 0

    def node(self) -> Json:
        return {
            "id": f"id-{self.name}", "name": self.name, "displayName": self.name, "projectId": "1",
            "state": self.state, "tags": self.tags, "group": self.group, "jobType": self.job_type,
            "config": json.dumps(self.config), "summaryMetrics": self.summary, "systemMetrics": "{}",
            "sweepName": None, "commit": None, "readOnly": False, "createdAt": NOW, "description": None,
            "heartbeatAt": f"{NOW[:-1]}.{self.beats:03d}Z", "notes": self.notes,
            "historyLineCount": len(self.history), "user": {"name": ENTITY, "username": ENTITY},
            "historyKeys": self.history_keys(), "project": project(self.project),
        }  # fmt: skip

    def history_keys(self) -> Json:
        return {"keys": {}, "lastStep": max((json.loads(row)["_step"] for row in self.history), default=-1)}


@dataclass
class StandIn:
    """The server's memory. `operations` lists what was asked, in order; `failures` makes the next so many
    requests fail with HTTP 500."""

    url: str = ""
    runs: dict[str, StoredRun] = field(default_factory=dict)
    artifacts: dict[str, Json] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    views: dict[str, Json] = field(default_factory=dict)
    projects: set[str] = field(default_factory=set)
    operations: list[str] = field(default_factory=list)
    failures: int = 0
    lock: Lock = field(default_factory=Lock)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": "a" * 40,
            "WANDB_ENTITY": ENTITY,
            "WANDB_ERROR_REPORTING": "false",
            "NO_PROXY": "127.0.0.1",
        }

    def graphql(self, query: str, variables: Json) -> Json:
        name = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = name[1] if name else "?"
        self.operations.append(operation)
        answer = getattr(self, f"op_{operation}", None)
        if answer is None:
            raise Unknown(f"the stand-in does not know {operation}")
        result: Json = answer(variables)
        return result

    def run(self, v: Json) -> StoredRun:
        name = v.get("name") or v.get("run") or v.get("runName")
        if name not in self.runs:
            raise Unknown(f"run {name} not found")
        return self.runs[name]

    def op_Viewer(self, v: Json) -> Json:
        names = dict.fromkeys(("entity", "username", "name"), ENTITY)
        viewer = {"id": "u1", "email": None, "flags": "{}", "teams": {"edges": []}, "admin": False}
        return {"viewer": viewer | names}

    op_GetViewer = op_GetDefaultEntity = op_Viewer

    def op_ServerFeaturesQuery(self, v: Json) -> Json:
        return {"serverInfo": {"features": []}}

    def op_UpsertBucket(self, v: Json) -> Json:
        name = v.get("name") or str(v["id"]).removeprefix("id-")
        inserted = name not in self.runs
        run = self.runs.setdefault(name, StoredRun(name, v.get("project") or ""))
        self.projects.add(run.project)
        run.config |= json.loads(v.get("config") or "{}")
        run.summary = v.get("summaryMetrics") or run.summary
        run.group, run.job_type = v.get("groupName") or run.group, v.get("jobType") or run.job_type
        run.tags = v.get("tags") or run.tags
        run.notes = v.get("notes") or run.notes
        return {"upsertBucket": {"bucket": run.node(), "inserted": inserted}}

    def op_RunResumeStatus(self, v: Json) -> Json:
        run = self.runs.get(v["name"])
        bucket = run and run.node() | {
            "logLineCount": 0, "eventsLineCount": 0, "historyTail": json.dumps(run.history[-1:]),
            "eventsTail": "[]", "wandbConfig": json.dumps({"t": 1}),
        }  # fmt: skip
        return {"model": project(v["project"]) | {"bucket": bucket}}

    def op_CreateRunFiles(self, v: Json) -> Json:
        at = f"{self.url}/storage/{v['run']}"
        files = [{"name": name, "uploadUrl": f"{at}/{name}"} for name in v["files"]]
        created = {"runID": f"id-{v['run']}", "uploadHeaders": [], "files": files}
        return {"createRunFiles": created}

    def op_MarkRunFilesUploaded(self, v: Json) -> Json:
        return {"markRunFilesUploaded": {"success": True}}

    def op_Runs(self, v: Json) -> Json:
        if v["project"] not in self.projects:
            return {"project": None}
        group = json.loads(v.get("filters") or "{}").get("group")
        mine = [run for run in self.runs.values() if run.project == v["project"]]
        found = [run for run in mine if group is None or run.group == group]
        start = int(v.get("cursor") or 0)
        end = start + v["perPage"]
        edges = [{"node": run.node(), "cursor": str(end)} for run in found[start:end]]
        shown = page(edges, str(end) if end < len(found) else None)
        return {"project": {"internalId": "1", "runCount": len(found), "readOnly": False, "runs": shown}}

    def op_Run(self, v: Json) -> Json:
        return {"project": {"internalId": "1", "run": self.run(v).node()}}

    op_RunHistoryKeys = op_Run

    def op_RunParquetHistory(self, v: Json) -> Json:
        return {"project": {"run": {"parquetHistory": {"liveData": None, "parquetUrls": []}}}}

    def op_HistoryPage(self, v: Json) -> Json:
        rows = [r for r in self.run(v).history if v["minStep"] <= json.loads(r)["_step"] < v["maxStep"]]
        return {"project": {"run": {"history": rows[: v["pageSize"]]}}}

    def op_RunFiles(self, v: Json) -> Json:
        run = self.run(v)
        names = [name for name in v.get("fileNames") or sorted(run.files) if name in run.files]
        edges = [{"node": self.file_node(run, name), "cursor": name} for name in names]
        return {"project": {"internalId": "1", "run": {"fileCount": len(edges), "files": page(edges)}}}

    def file_node(self, run: StoredRun, name: str) -> Json:
        url = f"{self.url}/storage/{run.name}/{name}"
        size = len(run.files[name])
        return {
            "id": name, "name": name, "url": url, "directUrl": url, "sizeBytes": size, "mimetype": "",
            "updatedAt": NOW, "md5": "",
        }  # fmt: skip

    def op_OrganizationCoreWeaveOrganizationID(self, v: Json) -> Json:
        return {"entity": {"organization": None}}

    def op_ArtifactType(self, v: Json) -> Json:
        found = [a for a in self.artifacts.values() if a["artifactCollectionName"] == v["name"].split(":")[0]]
        kind = found and {"artifactType": {"name": found[0]["artifactTypeName"]}}
        return {"project": {"artifact": kind or None}}

    def op_CreateArtifact(self, v: Json) -> Json:
        artifact_id = f"artifact{len(self.artifacts)}"
        self.artifacts[artifact_id] = v["input"] | {"state": "PENDING", "files": {}}
        sequence = {"id": f"sequence-{artifact_id}", "latestArtifact": None}
        made = {"id": artifact_id, "state": "PENDING", "artifactSequence": sequence}
        return {"createArtifact": {"artifact": made}}

    def upload(self, artifact: str, name: str) -> Json:
        return {
            "id": name, "name": name, "displayName": name, "storagePath": name, "uploadHeaders": [],
            "uploadUrl": f"{self.url}/uploads/{artifact}/{name}", "uploadMultipartUrls": None,
            "artifact": {"id": artifact},
        }  # fmt: skip

    def op_CreateArtifactManifest(self, v: Json) -> Json:
        file = self.upload(v["artifactID"], v["name"])
        return {"createArtifactManifest": {"artifactManifest": {"id": "m1", "file": file}}}

    def op_CreateArtifactFiles(self, v: Json) -> Json:
        files = v["input"]["artifactFiles"]
        edges = [{"node": self.upload(file["artifactID"], file["name"])} for file in files]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def op_CommitArtifact(self, v: Json) -> Json:
        self.artifacts[v["artifactID"]]["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": "d"}}}

    def op_ArtifactByID(self, v: Json) -> Json:
        stored = self.artifacts[v["id"]]
        sequence = {
            "__typename": "ArtifactSequence",
            "id": f"sequence-{v['id']}",
            "name": stored["artifactCollectionName"],
        }
        return {"artifact": {
            "__typename": "Artifact", "id": v["id"], "versionIndex": 0, "description": None, "metadata": "{}",
            "artifactSequence": sequence | {"project": project(stored["projectName"]) | {"internalId": "1"}},
            "artifactType": {"name": stored["artifactTypeName"]}, "state": stored["state"], "tags": [],
            "ttlDurationSeconds": -1, "ttlIsInherited": True, "historyStep": None, "size": 1, "digest": "d",
            "commitHash": None, "fileCount": 1, "createdAt": NOW, "updatedAt": None,
        }}  # fmt: skip

    def op_ProjectInternalId(self, v: Json) -> Json:
        return {"project": {"internalId": base64.b64encode(b"Project:1").decode()}}

    def op_GetProjects(self, v: Json) -> Json:
        nodes = [{"id": "p1", "name": name, "entityName": ENTITY, "createdAt": NOW} for name in self.projects]
        nodes = [node | {"isBenchmark": False, "user": None} for node in nodes]
        return {"models": page([{"node": node} for node in nodes])}

    def op_upsertView(self, v: Json) -> Json:
        inserted = not v.get("id")
        if not inserted and v["id"] not in self.views:
            raise Unknown(f"view {v['id']} not found")
        view_id = v.get("id") or base64.b64encode(f"View:{len(self.views) + 1}".encode()).decode()
        project = {"id": "p1", "name": v["projectName"], "entityName": v["entityName"]}
        view = self.views.get(view_id, {}) | {key: value for key, value in v.items() if value is not None}
        self.views[view_id] = view | {"id": view_id, "project": project, "createdAt": NOW, "updatedAt": NOW}
        return {"upsertView": {"view": self.views[view_id], "inserted": inserted}}

    op_UpsertView2 = op_upsertView

    def op_SpecificReport(self, v: Json) -> Json:
        return {"view": self.views.get(v["reportId"])}

    def op_View(self, v: Json) -> Json:
        edges = [{"node": view} for view in self.views.values() if view["name"] == v["viewName"]]
        return {"project": {"allViews": {"edges": edges}}}

    def stream(self, name: str, body: Json) -> Json:
        run = self.runs[name]
        run.beats += 1
        for file, chunk in (body.get("files") or {}).items():
            if file == "wandb-history.jsonl":
                at = chunk["offset"]
                run.history[at : at + len(chunk["content"])] = chunk["content"]
            elif file == "wandb-summary.json":
                run.summary = chunk["content"][-1]
        if body.get("complete"):
            run.exit_code = body.get("exitcode")
            run.state = "finished" if run.exit_code == 0 else "failed"
        return {"limits": {}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    standin: StandIn

    def log_message(self, format: str, *args: object) -> None: ...

    def reply(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def do_POST(self) -> None:
        data = self.body()
        with self.standin.lock:
            if self.standin.failures:
                self.standin.failures -= 1
                return self.reply(b"{}", 500)
            if self.path == "/graphql":
                asked = json.loads(data)
                answer: Json
                try:
                    answer = {"data": self.standin.graphql(asked["query"], asked.get("variables") or {})}
                except Unknown as error:
                    answer = {"errors": [{"message": str(error)}]}
            elif match := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
                answer = self.standin.stream(unquote(match[1]), json.loads(data))
            else:
                return self.reply(b"{}", 404)
        self.reply(json.dumps(answer).encode())

    def do_PUT(self) -> None:
        data = self.body()
        _, kind, owner, name = unquote(urlsplit(self.path).path).split("/", 3)
        with self.standin.lock:
            if kind == "storage":
                self.standin.runs[owner].files[name] = data
            else:
                self.standin.uploads[f"{owner}/{name}"] = data
        self.reply(b"")

    def do_GET(self) -> None:
        _, kind, owner, name = [*unquote(urlsplit(self.path).path).split("/", 3), "", "", ""][:4]
        run = self.standin.runs.get(owner)
        if kind == "storage" and run and name in run.files:
            return self.reply(run.files[name])
        if kind == "uploads" and f"{owner}/{name}" in self.standin.uploads:
            return self.reply(self.standin.uploads[f"{owner}/{name}"])
        self.reply(b"{}", 404)


@contextmanager
def serving() -> Iterator[StandIn]:
    """A stand-in that answers at `url` until the block ends."""
    standin = StandIn()
    handler = type("BoundHandler", (Handler,), {"standin": standin})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    standin.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
