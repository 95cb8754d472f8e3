"""One mail, one talk with one SMTP server; what it ends with tells exactly how far it came.

aiosmtplib has one call for DATA and the mail, whose errors don't tell whether the mail's end was already sent. So the mail
is handed over here, command by command: only once its last dot is out, a lost answer leaves a doubt.
"""

import asyncio
import re
import socket
from dataclasses import dataclass, field
from datetime import datetime
from email.contentmanager import raw_data_manager
from email.header import Header
from email.message import EmailMessage
from email.policy import compat32
from email.utils import format_datetime

from aiosmtplib import SMTP, SMTPException, SMTPRecipientRefused, SMTPResponseException

from examples.fronts.text import plain
from examples.mailer.backends import Backend
from examples.mailer.policy import Meaning, Stage, meaning

COMMANDS_SECONDS = 20.0  # from the connection until all recipients are known
# Any server takes 7 bit. A later policy of Python's would read headers before it writes them, and make of =?utf-8?q?=0D=0A?=
# in a subject or an address the end of a line, behind which another header begins.
_POLICY = compat32.clone(cte_type="7bit", linesep="\r\n")
_PLAIN = re.compile(r"(?!.*=\?)[!-~]([ -~]{0,58}[!-~])?")  # a subject that goes as it is; any other is encoded
_DOTS = re.compile(rb"(?m)^\.")
_LONGEST = 300  # characters of an answer


@dataclass(frozen=True, slots=True)
class Ended:
    meaning: Meaning
    said: str | None  # in words; of a mail that is sent: who does not get it


def message(sender: str, recipients: list[str], subject: str, body: str, id: str, at: datetime) -> bytes:
    """Return a mail as it goes over the line; the same each time."""
    made = EmailMessage(_POLICY)
    made["From"], made["To"] = sender, ", ".join(recipients)
    made["Subject"] = Header(subject, "us-ascii" if _PLAIN.fullmatch(subject) else "utf-8", header_name="Subject")
    made["Date"], made["Message-ID"] = format_datetime(at), id
    made.set_content(body.replace("\r\n", "\n").replace("\r", "\n"), content_manager=raw_data_manager)
    return made.as_bytes()


@dataclass(slots=True)
class Talk:
    backend: Backend
    seconds: float  # for each answer from DATA on
    stage: Stage = Stage.CONNECT
    _refused: list[SMTPRecipientRefused] = field(default_factory=list)
    _line: SMTP = field(init=False)

    async def begin(self, sender: str, recipients: list[str], *, last: bool) -> Ended | None:
        """Come as far as the mail itself; None: it may be handed over. A try that is the `last` leaves nobody for later."""
        try:
            async with asyncio.timeout(COMMANDS_SECONDS):
                await self._introduce()
                self.stage = Stage.MAIL
                await self._line.mail(sender)
                self.stage = Stage.RCPT
                for recipient in recipients:
                    try:
                        await self._line.rcpt(recipient)
                    except SMTPRecipientRefused as problem:
                        self._refused.append(problem)
                        if meaning(self.stage, problem.code) is Meaning.DOWN:
                            raise
        except (SMTPException, OSError, TimeoutError, ValueError) as problem:
            return self._ended(problem)
        later = [one for one in self._refused if meaning(Stage.RCPT, one.code) is Meaning.LATER]
        if len(self._refused) == len(recipients) or (later and not last):
            return Ended(Meaning.LATER if later else Meaning.REFUSED, self._refusals())
        self.stage = Stage.DATA
        return None

    async def hand_over(self, mail: bytes) -> Ended:
        """Send the mail itself; return whose it is now."""
        try:
            go_on = await self._line.execute_command(b"DATA", timeout=self.seconds)
            if go_on.code != 354:
                raise SMTPResponseException(go_on.code, go_on.message)
            protocol = self._line.protocol
            if protocol is None:
                raise ConnectionResetError("the connection was lost")
            protocol.write(_DOTS.sub(b"..", mail))
            self.stage = Stage.DOT
            protocol.write(b".\r\n")
            taken = await protocol.read_response(timeout=self.seconds)
            if meaning(self.stage, taken.code) is not Meaning.SENT:
                raise SMTPResponseException(taken.code, taken.message)
        except (SMTPException, OSError, TimeoutError) as problem:
            return self._ended(problem)
        return Ended(Meaning.SENT, self._refusals() if self._refused else None)

    def close(self) -> None:
        """Say good-bye, and wait for nothing."""
        if self._line.is_connected and self._line.protocol is not None:
            self._line.protocol.write(b"QUIT\r\n")
        self._line.close()

    async def _introduce(self) -> None:
        backend = self.backend
        await self._line.connect()
        self.stage = Stage.EHLO
        await self._line.ehlo()
        if backend.tls == "starttls":
            self.stage = Stage.STARTTLS
            await self._line.starttls()
            self.stage = Stage.EHLO
            await self._line.ehlo()
        if backend.user is not None and backend.password is not None:
            self.stage = Stage.AUTH
            await self._line.login(backend.user, backend.password.get_secret_value())

    def _ended(self, problem: Exception) -> Ended:
        code = problem.code if isinstance(problem, SMTPResponseException) else None
        said = f"{code} {problem.message}" if isinstance(problem, SMTPResponseException) else _words(problem)
        return Ended(meaning(self.stage, code), f"{self.backend.name}, at {self.stage}: {plain(said, _LONGEST)}")

    def _refusals(self) -> str:
        told = (f"{one.recipient}: {one.code} {plain(one.message, _LONGEST)}" for one in self._refused)
        return f"{self.backend.name} refused {'; '.join(told)}"

    def __post_init__(self) -> None:
        backend = self.backend
        self._line = SMTP(
            hostname=backend.host,
            port=backend.port,
            local_hostname=socket.gethostname(),
            timeout=COMMANDS_SECONDS,
            use_tls=backend.tls == "tls",
            start_tls=False,  # it is done here
            tls_context=backend.context(),
        )


def _words(problem: Exception) -> str:
    return str(problem) or (
        "there was no answer in time" if isinstance(problem, TimeoutError) else type(problem).__name__
    )
