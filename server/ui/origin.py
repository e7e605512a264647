"""Whether a form was sent from one of our own pages."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from pipelines.problems import LadingError

FORM_LIMIT = 16 * 1024  # bytes


class ForeignOriginError(LadingError):
    """A form that did not come from our own pages."""


class FormError(LadingError):
    """A form that cannot be read."""


def check_origin(request: Request, *, base_url: str) -> None:
    """Refuse a change that another site's page asks a browser for.

    Browsers name the page's origin in every POST, and its relation in `Sec-Fetch-Site`
    (https://www.w3.org/TR/fetch-metadata/); what names none is no browser, and has the API.

    Raises:
        ForeignOriginError: Another origin, or none.
    """
    origin = urlsplit(request.headers.get("origin", ""))
    site = request.headers.get("sec-fetch-site", "same-origin")
    ours = {urlsplit(base_url).netloc, request.headers.get("host", "")}
    if origin.scheme in {"http", "https"} and origin.netloc in ours and site == "same-origin":
        return
    raise ForeignOriginError(
        "the form did not come from this server's own pages: open the page here and try again; "
        "programs use the API under /api/v1"
    )


async def read_form(request: Request) -> dict[str, str]:
    """A form's fields; of a field that stands twice the last one.

    Raises:
        FormError: Too large, or no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > FORM_LIMIT:
            raise FormError(f"the form is larger than {FORM_LIMIT // 1024} KiB")
    if kind != "application/x-www-form-urlencoded":
        if data:
            raise FormError("the form is not sent as application/x-www-form-urlencoded")
        return {}
    try:
        return dict(parse_qsl(data.decode("ascii"), keep_blank_values=True, max_num_fields=20))
    except ValueError as error:
        raise FormError("the form cannot be read: open the page again and resend it") from error
