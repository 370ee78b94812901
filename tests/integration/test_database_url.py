"""TLS to the database is demanded by its URL, for the pool and the writer alike (issue 11, finding 11)."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aether.domain.errors import DatabaseUnavailableError, InvalidValueError
from aether.store.database import Database, Role, goes_in_the_clear, parse_url

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """Write a certificate for a host that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    cert_file, key_file = folder / "ca.crt", folder / "ca.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


class TlsFront:
    """Ends TLS before a PostgreSQL that has none, as the protocol wants it; counts who came without."""

    def __init__(self, socket_path: str, cert_file: Path, key_file: Path) -> None:
        self._socket_path = socket_path
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(cert_file, key_file)
        self.secured, self.bare = 0, 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(8)
        if first != SSL_REQUEST:
            self.bare += 1
            writer.close()
            return
        writer.write(b"S")
        await writer.drain()
        try:
            await writer.start_tls(self._context)
        except (OSError, ssl.SSLError):
            return
        self.secured += 1
        theirs, ours = await asyncio.open_unix_connection(self._socket_path)
        pumps = {asyncio.create_task(pump(reader, ours)), asyncio.create_task(pump(theirs, writer))}
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in pumps:
            task.cancel()
        ours.close()
        writer.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass


def socket_in(folder: Path) -> str:
    return next(str(p) for p in folder.glob(".s.PGSQL.*") if not p.name.endswith(".lock"))


@pytest.fixture
async def front(database: Database, url: str, tmp_path: Path) -> AsyncIterator[tuple[TlsFront, str, Path]]:
    """The test's database behind TLS: the front, a URL without a query, and the certificate's file."""
    parts = urlsplit(url)
    folder = parse_url(url).normalized_query["host"][0]
    path = socket_in(Path(folder))
    cert_file, key_file = certificate(tmp_path / "right", "localhost")
    made = TlsFront(path, cert_file, key_file)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield made, f"postgresql://postgres@localhost:{port}{parts.path}", cert_file
    server.close()


async def test_the_pool_and_the_writer_verify_who_answers(front: tuple[TlsFront, str, Path], tmp_path: Path) -> None:
    served, bare, cert_file = front
    found = Database(f"{bare}?sslmode=verify-full&sslrootcert={quote(str(cert_file))}")
    await found.ping()
    writer = await found.connect(Role.NODE)
    assert await writer.fetchval("SELECT current_user") == "aether_node"
    await writer.close()
    await found.close()
    assert (served.secured, served.bare) == (2, 0)


async def test_a_certificate_of_somebody_else_is_refused(front: tuple[TlsFront, str, Path], tmp_path: Path) -> None:
    _, bare, _ = front
    other, _ = certificate(tmp_path / "other", "localhost")
    for query in (f"sslmode=verify-full&sslrootcert={quote(str(other))}", "sslmode=verify-full&sslrootcert=/none"):
        found = Database(f"{bare}?{query}")
        with pytest.raises(DatabaseUnavailableError, match=r"certificate|No such file"):
            await found.ping()
        with pytest.raises(DatabaseUnavailableError, match=r"certificate|No such file"):
            await found.connect(Role.NODE)
        await found.close()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("db.example", "cannot be read"),
        ("mysql://root@db/x", "begins with 'mysql'"),
        ("postgresql://u:p@db:port/x", "cannot be read"),
        ("postgresql://u:p@db/x?ssl=true", "'ssl'"),
    ],
)
def test_a_url_that_is_none_is_told_as_such(url: str, told: str) -> None:
    with pytest.raises(InvalidValueError, match=told) as refused:
        Database(url)
    assert "p@db" not in refused.value.message


def test_what_leaves_the_machine_is_verified_or_told_of() -> None:
    assert not goes_in_the_clear("postgresql://u@/x?host=/run/postgresql")
    assert not goes_in_the_clear("postgresql://u@127.0.0.1/x")
    assert goes_in_the_clear("postgresql://u@db.example/x")
    assert goes_in_the_clear("postgresql://u@/x?host=db.example")
    assert goes_in_the_clear("postgresql://u@db.example/x?sslmode=require"), "nobody is verified"
    assert not goes_in_the_clear("postgresql://u@db.example/x?sslmode=verify-full")
