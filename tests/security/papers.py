"""Certificates of a self-made authority, in files as operators have them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

KEY_PASSWORD = "geheim-key"


@dataclass(frozen=True, slots=True)
class Papers:
    """The three files that one party has."""

    ca: Path
    certificate: Path
    key: Path

    @property
    def flags(self) -> tuple[str, ...]:
        """As a command line names them."""
        return "--ca-file", str(self.ca), "--cert-file", str(self.certificate), "--key-file", str(self.key)

    def become(self, other: "Papers") -> None:
        """Take over what is in the files of `other`, each at once, as a renewal does."""
        for mine, theirs in (
            (self.ca, other.ca),
            (self.certificate, other.certificate),
            (self.key, other.key),
        ):
            new = mine.with_suffix(".new")
            new.write_bytes(theirs.read_bytes())
            new.replace(mine)


class Authority:
    """Issues certificates into a directory."""

    def __init__(self, directory: Path, name: str) -> None:
        self._ca = trustme.CA(organization_name=name)
        self._directory = directory
        self._name = name
        self._issued = 0
        self.file = directory / f"{name}.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, *, expired: bool = False) -> Papers:
        """Papers for the host or agent `name`; `expired` ones ended yesterday."""
        now = datetime.now(UTC)
        leaf = self._ca.issue_cert(
            name,
            not_before=now - timedelta(days=9),
            not_after=now + timedelta(days=-1 if expired else 1),
        )
        self._issued += 1
        stem = f"{self._name}-{self._issued}-{name}"
        ca, certificate, key = (self._directory / f"{stem}.{kind}" for kind in ("ca", "pem", "key"))
        papers = Papers(ca, certificate, key)
        self._ca.cert_pem.write_to_path(str(papers.ca))
        leaf.cert_chain_pems[0].write_to_path(str(papers.certificate))
        leaf.private_key_pem.write_to_path(str(papers.key))
        return papers


def encrypt(key: Path) -> Path:
    """A copy of a private key that only opens with KEY_PASSWORD."""
    plain = load_pem_private_key(key.read_bytes(), None)
    copy = key.with_suffix(".locked")
    copy.write_bytes(
        plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(KEY_PASSWORD.encode()))
    )
    return copy
