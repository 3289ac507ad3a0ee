"""A certificate authority and a server certificate for one run, ECDSA P-256, made at start.

Writes into the run directory: `ca.pem` (give it to clients), `server.pem`, `server.key` (mode 0600).
Good for the loopback names and the venue's host names that the exchange serves (`tunnel` hands those over),
and for no other: the authority's key is never written, and its certificate vouches for these names alone.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipeline.sim.hosts import OFFICIAL

DAYS = 90  # an exchange that runs as a service outlives a demo; each start makes new ones
NAMES = ("localhost", *OFFICIAL)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        os.fchmod(handle.fileno(), 0o600)
        handle.write(data)


def make(directory: Path) -> Path:
    """Write CA, certificate and key into the directory; return the path of `ca.pem`."""
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "local exchange CA")])

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=DAYS))
        )

    names: list[x509.GeneralName] = [x509.DNSName(name) for name in NAMES]
    networks: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_network(text)) for text in ("127.0.0.1/32", "::1/128")
    ]
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    authority = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.NameConstraints([*names, *networks], None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    addresses: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")
    ]
    server = (
        builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([*names, *addresses]), critical=False
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(authority.public_bytes(pem))
    (directory / "server.pem").write_bytes(server.public_bytes(pem) + authority.public_bytes(pem))
    write_private(
        directory / "server.key",
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    return directory / "ca.pem"


def server_context(directory: Path) -> ssl.SSLContext:
    """Return the server's TLS settings for what `make` wrote (TLS 1.2 or newer, HTTP/1.1)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    return context
