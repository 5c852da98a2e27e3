"""/take-home/RUN/FORMAT: what was prepared to be taken home, as a download of the browser, which
shows how far it is and can be closed without harm.

A file comes as it is, and goes on where it was broken off. A folder is packed on its way: it is on
the disk once, and nobody waits for a copy of it.
"""

from urllib.parse import quote

from anyio import to_thread
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from core.errors import UserError
from core.exports.archive import files_in, packed, packed_size
from core.store import Store
from ui import export_actions
from ui.logins import owner


async def _download(request: Request) -> Response:
    return await to_thread.run_sync(_found, request)


def _found(request: Request) -> Response:
    try:
        run, format = (request.path_params[name] for name in ("run", "format"))
        artefact, name = export_actions.artefact(Store(owner(request)), run, format)
    except UserError as error:
        return PlainTextResponse(f"{error} {error.hint}".strip() + "\n", status_code=404)
    if artefact.is_file():
        return FileResponse(artefact, filename=name, media_type="application/octet-stream")
    files = files_in(artefact)
    headers = {
        "content-length": str(packed_size(files)),
        "content-disposition": f"attachment; filename*=utf-8''{quote(name)}",
    }
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/zip")
    content = iterate_in_threadpool(packed(files))
    return StreamingResponse(content, headers=headers, media_type="application/zip")


ROUTE = Route("/take-home/{run}/{format}", _download, methods=["GET"])
