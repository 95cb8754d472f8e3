"""An SMTP server to try mailer with: it takes mails, writes down each, and does wrong what it is told to.

It is the witness, too: a mail is in its log, a file, before it says so, and stays there when it is killed. Told and read over
HTTP, inside the cluster only:

    PUT /mode {"mode": "greylist", "times": 3}     for so many mails or talks; without times until it is told otherwise
    GET /mode                                      what it does now
    GET /log                                       {"counts": {Message-ID: how often}, "recipients": {Message-ID: [address]}}

Recipients that begin with `refused` it does not know, whatever it is told. Run with `python -m examples.mailer.smtp_server`.
"""

import argparse
import asyncio
import json
import os
import ssl
from collections import Counter
from collections.abc import Callable
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

LARGEST = 4 * 1024 * 1024


class Mode(BaseModel):
    model_config = ConfigDict(extra="forbid")
    mode: Literal["ok", "fail", "greylist", "hang", "refuse", "drop", "drop-untaken", "silent"]
    # ok: take it. fail: 421 to EHLO. hang: no answer to EHLO. greylist: 451 to RCPT TO. refuse: 550 to RCPT TO. Behind the mail's end:
    # drop: take it and lose the line. drop-untaken: lose the line. silent: take it and say nothing.
    times: Annotated[int, Field(ge=1)] | None = None


class Witness:
    """aiosmtpd's hooks: what is answered, and what is written down."""

    def __init__(self, log: Path) -> None:
        self.mode = Mode(mode="ok")
        self._log = log
        log.touch()

    def _told(self, *modes: str) -> str:
        """Return which of these modes it is in, and count it; "" for none."""
        found = self.mode
        if found.mode not in modes:
            return ""
        if found.times is not None:
            self.mode = Mode(mode=found.mode, times=found.times - 1) if found.times > 1 else Mode(mode="ok")
        return found.mode

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        match self._told("fail", "hang"):
            case "fail":
                return ["421 4.3.2 told to fail"]
            case "hang":
                await asyncio.sleep(3_600)
        return responses

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("refused"):
            return "550 5.1.1 no such mailbox"
        if told := self._told("greylist", "refuse"):
            return "451 4.7.1 greylisted, come again" if told == "greylist" else "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        told = self._told("drop", "drop-untaken", "silent")
        if told != "drop-untaken":
            mail = BytesHeaderParser().parsebytes(envelope.original_content or b"")
            taken = {"message_id": mail["Message-ID"], "recipients": envelope.rcpt_tos, "subject": mail["Subject"]}
            with self._log.open("ab", buffering=0) as log:
                log.write(json.dumps(taken).encode() + b"\n")
        if told == "silent":
            await asyncio.sleep(3_600)
        elif told:
            assert server.transport is not None
            server.transport.abort()  # type: ignore[attr-defined]
        return "250 OK"

    def taken(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_bytes().splitlines()]


def create_app(witness: Witness) -> FastAPI:
    app = FastAPI(title="mailer-smtp", docs_url=None, redoc_url=None)

    @app.get("/mode")
    async def mode() -> Mode:
        return witness.mode

    @app.put("/mode")
    async def tell(mode: Mode) -> Mode:
        witness.mode = mode
        return mode

    @app.get("/log")
    async def log() -> dict[str, Any]:
        taken = witness.taken()
        recipients = {one["message_id"]: one["recipients"] for one in taken}
        return {"counts": Counter(one["message_id"] for one in taken), "recipients": recipients}

    @app.get("/healthz")
    async def healthz() -> str:
        return "ok"

    return app


def protocols(
    witness: Witness, context: ssl.SSLContext | None = None, password: str = "", *, implicit: bool = False
) -> Callable[[], SMTP]:
    """Return what makes a protocol for each connection; with a context STARTTLS must come first, unless TLS is `implicit`.

    With a password it takes mails from the user `mailer` only.
    """

    def authenticate(*words: Any) -> AuthResult:
        login = words[-1]
        known = isinstance(login, LoginPassword) and (login.login, login.password) == (b"mailer", password.encode())
        return AuthResult(success=known, handled=False)

    starttls = context is not None and not implicit
    return lambda: SMTP(
        witness, hostname="mailer-smtp", data_size_limit=LARGEST, loop=asyncio.get_running_loop(),
        tls_context=context if starttls else None, require_starttls=starttls,
        auth_required=bool(password), auth_require_tls=starttls, authenticator=authenticate,
    )  # fmt: skip


async def serve(given: argparse.Namespace) -> None:
    witness, context = Witness(given.log), None
    if given.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(given.certificate, given.key)
    server = await asyncio.get_running_loop().create_server(
        protocols(witness, context, os.environ.get("SMTP_PASSWORD", ""), implicit=given.tls),
        given.host,
        given.port,
        ssl=context if given.tls else None,
    )
    config = uvicorn.Config(
        create_app(witness), host=given.host, port=given.http_port, access_log=False, log_level="warning"
    )
    async with server:
        await uvicorn.Server(config).serve()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.mailer.smtp_server", description="Take mails.")
    parser.add_argument("--host", default="0.0.0.0", help="listen here (default: %(default)s)")  # noqa: S104 - in a pod
    parser.add_argument("--port", type=int, default=8025, help="of SMTP (default: %(default)s)")
    parser.add_argument("--http-port", type=int, default=8080, help="what tells it and reads it (default: %(default)s)")
    parser.add_argument("--log", type=Path, default=Path("mails.jsonl"), help="append here (default: %(default)s)")
    parser.add_argument("--certificate", type=Path, help="PEM: offer STARTTLS, and take nothing without it")
    parser.add_argument("--key", type=Path, help="of the certificate")
    parser.add_argument("--tls", action="store_true", help="TLS from the first byte in place of STARTTLS")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
