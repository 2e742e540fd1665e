"""Certificate files and URLs that cannot be used: told at the start in a line that holds no secret."""

import fcntl
import os
import pty
import subprocess
import termios
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from shoal_common.amqp import Broker, Tls, listener_context, ssl_context
from shoal_common.errors import SettingsError
from testbed.program import command, environment
from tests.security.papers import Authority, Papers, encrypt
from tests.security.parties import SECRET

WITHIN = 20.0


@pytest.fixture
def papers(authority: Authority) -> Papers:
    return authority.issue("localhost")


def run_on_a_terminal(modules: Sequence[str], directory: Path, flags: Sequence[object]) -> tuple[int, str]:
    """Run a program as a person does; returns its exit code and all that the terminal showed."""
    ours, its = pty.openpty()

    def take_the_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command(modules, directory, flags),
        env=environment(),
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=take_the_terminal,  # noqa: PLW1509 - the child only runs another program
    )
    os.close(its)
    try:
        code = process.wait(WITHIN)
    finally:
        process.kill()
        process.wait()
        shown = _drained(ours)
    return code, shown


def _drained(terminal: int) -> str:
    said = b""
    with suppress(OSError):  # EIO: the other side is closed and all is read
        while data := os.read(terminal, 65536):
            said += data
    os.close(terminal)
    return said.decode(errors="replace")


@pytest.mark.parametrize(
    ("module", "scheme"),
    [("shoal_agent.cli", "amqps"), ("shoal_server.cli", "amqps"), ("shoal_server.cli", "embedded+tls")],
)
def test_an_encrypted_key_is_told_and_nobody_is_asked_for_its_password(
    module: str, scheme: str, papers: Papers, tmp_path: Path
) -> None:
    locked = encrypt(papers.key)
    flags = ["--amqp", f"{scheme}://127.0.0.1:1/", "--cert-file", papers.certificate, "--key-file", locked]
    code, shown = run_on_a_terminal([module], tmp_path, flags)
    assert code == 2, shown
    (line,) = (line for line in shown.splitlines() if "TLS: " in line)
    assert line.endswith("the private key is encrypted, and nobody is there to type its password")
    assert str(locked) in line
    assert "pass phrase" not in shown
    assert "Traceback" not in shown


def test_an_encrypted_key_in_the_certificate_file_is_told_too(papers: Papers, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(encrypt(papers.key).read_bytes() + papers.certificate.read_bytes())
    for use in (ssl_context, listener_context):
        with pytest.raises(SettingsError, match=r"both\.pem: the private key is encrypted"):
            use(Tls(None, both))


def test_a_key_of_another_certificate_is_told(papers: Papers, authority: Authority) -> None:
    other = authority.issue("localhost")
    for use in (ssl_context, listener_context):
        with pytest.raises(SettingsError, match="key values mismatch") as caught:
            use(Tls(None, papers.certificate, other.key))
        assert str(other.key) in str(caught.value)


def test_of_several_files_the_one_that_is_missing_is_named(papers: Papers, tmp_path: Path) -> None:
    gone = tmp_path / "gone.key"
    for use in (ssl_context, listener_context):
        with pytest.raises(SettingsError) as caught:
            use(Tls(papers.ca, papers.certificate, gone))
        assert str(caught.value) == f"TLS: cannot read {gone}: No such file or directory"


@pytest.mark.parametrize(
    "login",
    [
        "squid:geheim/1",
        "squid:1234/geheim",
        "squid:geheim?1",
        "squid:geheim#1",
        "squid:[geheim]",
        "squid:geheim[",
        "squid:geheim:geheim@geheim:",
        "D/squid:geheim",
        "squid:geheim\u2100",
    ],
)
def test_nothing_that_is_said_of_a_url_holds_its_password(login: str) -> None:
    try:
        said = repr(Broker.parse(f"amqp://{login}@h:5672/v", Tls()))
    except SettingsError as error:
        said = str(error)
    assert SECRET not in said
    assert "\n" not in said


def test_a_url_whose_password_should_have_been_quoted_is_told_with_the_way_to_do_it() -> None:
    with pytest.raises(SettingsError, match="write / as %2F"):
        Broker.parse("amqp://squid:geheim/1@h/v", Tls())


@pytest.mark.parametrize("module", ["shoal_agent.cli", "shoal_server.cli"])
def test_a_broken_url_on_the_command_line_shows_no_password(module: str, tmp_path: Path) -> None:
    for url in ("amqp://squid:geheim/1@h/", "amqp://squid:geheim@h:x/", "amqp://squid:geheim@h h/"):
        done = subprocess.run(
            command([module], tmp_path, ["--amqp", url]),
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert SECRET not in done.stdout + done.stderr
