"""A talk with an SMTP server on the loopback address: at each step it fails in each way, and what is told of it is exact."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header
from email.policy import compat32, default
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from examples.mailer.backends import Backend, Backends, NoBackends, parse
from examples.mailer.emails import LONGEST_SUBJECT, NewEmail
from examples.mailer.policy import Meaning, Stage
from examples.mailer.smtp import Ended, Talk, message

HANG, CLOSE = "hang", "close"
GOOD = {
    Stage.CONNECT: "220 here", Stage.EHLO: "250-here\r\n250 AUTH PLAIN", Stage.AUTH: "235 you are", Stage.MAIL: "250 ok",
    Stage.RCPT: "250 ok", Stage.DATA: "354 go on", Stage.DOT: "250 mine",
}  # fmt: skip
VERBS = {"EHLO": Stage.EHLO, "AUTH": Stage.AUTH, "MAIL": Stage.MAIL, "RCPT": Stage.RCPT, "DATA": Stage.DATA}
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MAIL = message("m@example.com", ["a@example.com"], "Hello", ".\n..two\nend", "<1@example.com>", AT)


class Scripted:
    """A server that answers each step as it should, but those that a script has: with its line, by silence or by going away."""

    def __init__(self, script: dict[object, str]) -> None:
        self._script, self.mails, self.commands = script, list[bytes](), list[str]()

    async def _answer(self, writer: asyncio.StreamWriter, *steps: object) -> None:
        line = next((self._script[step] for step in steps if step in self._script), GOOD[steps[-1]])  # type: ignore[index]
        if line == HANG:
            await asyncio.Event().wait()
        if line == CLOSE:
            raise ConnectionResetError
        writer.write(line.encode(errors="surrogateescape") + b"\r\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(writer, Stage.CONNECT)
            while line := (await reader.readline()).decode().strip():
                self.commands.append(line)
                verb = line[:4].upper()
                if verb not in VERBS:
                    return
                await self._answer(writer, line, VERBS[verb])
                if verb == "DATA" and self._script.get(Stage.DATA, "354")[:3] == "354":
                    self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                    await self._answer(writer, Stage.DOT)
        except (ConnectionResetError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def scripted(script: dict[object, str]) -> AsyncIterator[tuple[Scripted, int]]:
    server = Scripted(script)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(server.serve(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server, listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def talk(port: int, *recipients: str, last: bool = False, password: str | None = None) -> tuple[Ended, Stage]:
    user = "me" if password else None
    backend = Backend(name="one", host="127.0.0.1", port=port, tls="none", user=user, password=password)  # type: ignore[arg-type]
    going = Talk(backend, 0.2)
    try:
        ended = await going.begin("m@example.com", list(recipients or ["a@example.com"]), last=last)
        return ended or await going.hand_over(MAIL), going.stage
    finally:
        going.close()


WRONG = [
    *((stage, CLOSE, Meaning.DOWN) for stage in GOOD if stage is not Stage.DOT),
    (Stage.DOT, CLOSE, Meaning.DOUBT), (Stage.DOT, HANG, Meaning.DOUBT), (Stage.DATA, HANG, Meaning.DOWN),
    (Stage.DOT, "nonsense", Meaning.DOUBT), (Stage.EHLO, "nonsense", Meaning.DOWN),
    *((stage, "421 4.3.2 closing", Meaning.DOWN) for stage in GOOD),
    (Stage.CONNECT, "554 no", Meaning.DOWN), (Stage.EHLO, "502 no", Meaning.DOWN), (Stage.AUTH, "535 no", Meaning.DOWN),
    (Stage.MAIL, "550 no", Meaning.DOWN), (Stage.MAIL, "452 full", Meaning.LATER),
    (Stage.RCPT, "451 later", Meaning.LATER), (Stage.RCPT, "550 no", Meaning.REFUSED), (Stage.RCPT, "530 log in", Meaning.DOWN),
    (Stage.DATA, "451 later", Meaning.LATER), (Stage.DATA, "554 no", Meaning.REFUSED),
    (Stage.DOT, "451 later", Meaning.LATER), (Stage.DOT, "554 spam", Meaning.REFUSED), (Stage.DOT, "250 mine", Meaning.SENT),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "line", "means"), WRONG, ids=[f"{stage}: {line}" for stage, line, _ in WRONG])
async def test_what_happens_at_a_step_is_told_exactly(stage: Stage, line: str, means: Meaning) -> None:
    async with scripted({stage: line}) as (server, port):
        ended, came = await talk(port, password="secret")
    assert (ended.meaning, came) == (means, stage)
    assert len(server.mails) == (stage is Stage.DOT)
    assert means is Meaning.SENT or str(stage) in (ended.said or "") or "refused" in (ended.said or "")
    assert "secret" not in (ended.said or "")


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DOT])
async def test_what_a_server_says_is_told_as_a_database_and_json_can_hold_it(stage: Stage) -> None:
    async with scripted({stage: "550 a\0b\udcffc" + "x" * 400}) as (_, port):
        ended, _ = await talk(port)
    assert "550 ab?cxxx" in (ended.said or "")
    assert len(ended.said or "") < 400


async def test_where_nobody_listens_nothing_is_in_doubt(unused_tcp_port_factory: Callable[[], int]) -> None:
    ended, came = await talk(unused_tcp_port_factory())
    assert (ended.meaning, came) == (Meaning.DOWN, Stage.CONNECT)


ONE, TWO, THREE = (f"{name}@example.com" for name in ("a", "b", "c"))


@pytest.mark.parametrize(
    ("answers", "last", "means", "said"),
    [
        pytest.param({TWO: "550 unknown"}, False, Meaning.SENT, "one refused b@example.com: 550 unknown", id="one is refused"),
        pytest.param({ONE: "550 x", TWO: "551 x", THREE: "553 x"}, False, Meaning.REFUSED, "a@example.com: 550 x; b@", id="all"),
        pytest.param({TWO: "451 later"}, False, Meaning.LATER, "b@example.com: 451", id="one is for later: nobody gets it now"),
        pytest.param({TWO: "451 later"}, True, Meaning.SENT, "b@example.com: 451", id="one is for later, and there is none"),
        pytest.param({ONE: "550 x", TWO: "451 x", THREE: "550 x"}, True, Meaning.LATER, "451", id="nobody, one for later"),
        pytest.param({TWO: "421 bye"}, True, Meaning.DOWN, "421", id="it goes away in the middle"),
    ],
)  # fmt: skip
async def test_some_of_the_recipients(answers: dict[str, str], last: bool, means: Meaning, said: str) -> None:
    async with scripted({f"RCPT TO:<{address}>": line for address, line in answers.items()}) as (server, port):
        ended, _ = await talk(port, ONE, TWO, THREE, last=last)
    assert ended.meaning is means
    assert said in (ended.said or "")
    assert len(server.mails) == (means is Meaning.SENT)


async def test_a_mail_is_whole_at_the_other_end_and_good_bye_is_said() -> None:
    async with scripted({}) as (server, port):
        ended, _ = await talk(port)
        async with asyncio.timeout(30):
            while "QUIT" not in server.commands:  # noqa: ASYNC110 - it is the server who hears it
                await asyncio.sleep(0)
    assert ended == Ended(Meaning.SENT, None)
    assert server.mails == [MAIL.replace(b"\r\n.", b"\r\n..") + b".\r\n"], "dots are doubled, and the end is one"


@pytest.mark.parametrize(
    "body", ["a", "ä € 🎈\n", "x" * 5_000, ".\r\n.\r\n", "From here\rto there\n\nFrom", "\t" * 90, " \n \n"]
)
def test_a_mail_is_ascii_with_short_lines_and_says_what_was_sent(body: str) -> None:
    made = message(
        "m@example.com", [f"n{n}@xn--exmple-cua.com" for n in range(50)], "Größe: 日本 " * 20, body, "<1@x>", AT
    )
    assert made.isascii()
    assert max(map(len, made.split(b"\r\n"))) <= 998
    assert b"\n" not in made.replace(b"\r\n", b"")
    assert b"\r" not in made.replace(b"\r\n", b"")
    read = message_from_bytes(made, policy=default)
    assert (read["Message-ID"], read["Date"].datetime, read["From"]) == ("<1@x>", AT, "m@example.com")
    assert read["Subject"] == "Größe: 日本 " * 20
    assert len(read["To"].addresses) == 50
    assert read.get_content().replace("\r\n", "\n").rstrip("\n") == "\n".join(body.splitlines()).rstrip("\n")


ENCODED = [
    "=?utf-8?q?Hello=0D=0ABcc:_b@example.com?=", "=?utf-8?b?SGkNCkJjYzogYkBleGFtcGxlLmNvbQ==?=", "=?utf-8?q?a=0D=0A=0D=0Ab?=",
    "=?iso-8859-1?q?=85Bcc:_b?=", "=?undefined?q?a?=", "=?utf-8?q?=ED=A0=80?=", "=?utf-8?q?a?= b", "=?",
]  # fmt: skip
SUBJECTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=LONGEST_SUBJECT)


@given(SUBJECTS | st.lists(st.sampled_from([*ENCODED, " ", "a", "ä", ":"]), min_size=1, max_size=5).map("".join))
@example(" ")
@example("x" * LONGEST_SUBJECT)
@example("a  b " * 50)
@pytest.mark.parametrize(
    "to", ["a@example.com", "=?utf-8?q?a=0D=0ABcc=3Ab?=@example.com", "=?undefined?q?a?=@example.com"]
)
def test_whatever_a_subject_or_an_address_looks_like_it_is_read_as_it_was_sent_and_nothing_else_begins(
    to: str, subject: str
) -> None:
    assert NewEmail(to=[to], subject=subject, body="b").to == [to]
    made = message("m@example.com", [to], subject, "b", "<1@x>", AT)
    read = message_from_bytes(made, policy=compat32)
    assert read.keys() == [
        "From", "To", "Subject", "Date", "Message-ID", "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    ]  # fmt: skip
    parts = decode_header(read["Subject"])
    assert "".join(part if isinstance(part, str) else part.decode(code or "ascii") for part, code in parts) == subject
    assert (read["To"], read.get_payload()) == (to, "b\r\n")


ENTRY = '{"name": "one", "host": "smtp.example.com", "port": 587}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "EOF"), ("{}", "valid array"), ("[]", "at least 1"), (f"[{ENTRY}, {ENTRY}]", "same name"), ("[1]", "/0"),
        (f"[{ENTRY[:-1]}, \"rate\": 0}}]", "/0/rate"), (f"[{ENTRY[:-1]}, \"rate\": NaN}}]", "/0/rate"),
        (f"[{ENTRY[:-1]}, \"tls\": \"ssl\"}}]", "/0/tls"), (f"[{ENTRY[:-1]}, \"password\": \"hidden\"}}]", "come together"),
        (f"[{ENTRY[:-1]}, \"ca\": \"hidden\"}}]", "no certificate"), (f"[{ENTRY[:-1]}, \"pasword\": \"hidden\"}}]", "/0/pasword"),
    ],
)  # fmt: skip
def test_a_list_of_servers_that_can_not_be_used_says_why_and_no_password(text: str, said: str) -> None:
    with pytest.raises(NoBackends, match=said) as raised:
        parse(text.encode())
    assert "hidden" not in str(raised.value)


def test_a_list_is_read_again_when_it_changes_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    backends = Backends(tmp_path / "backends.json")
    with pytest.raises(NoBackends, match="No such file"):
        backends.now()

    def write(text: str) -> None:  # as a Secret's files change: another file under the same name
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(tmp_path / "backends.json")

    write("[]")
    with pytest.raises(NoBackends, match="at least 1"):
        backends.now()
    write(f"[{ENTRY}]")
    assert [one.name for one in backends.now()] == ["one"]
    write(f"[{ENTRY}, {ENTRY.replace('one', 'two')}]")
    assert [one.name for one in backends.now()] == ["one", "two"]
    for bad in ("[", "[1]"):
        write(bad)
        assert [one.name for one in backends.now()] == ["one", "two"]
    (tmp_path / "backends.json").unlink()
    assert len(backends.now()) == 2
