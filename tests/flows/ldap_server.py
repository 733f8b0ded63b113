"""A real OpenLDAP server (Debian: slapd) in a temporary folder, on free ports, with a certificate that the test makes."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.flows.servers import _folder, _known_user, as_user, free_port

SUFFIX = "dc=acme,dc=example"
READER, READER_PASSWORD = f"cn=lode,{SUFFIX}", "r3ader"
_SCHEMA = Path("/etc/ldap/schema")
_ENTRIES = f"""dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
o: Acme
dc: acme

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: lode
userPassword: {READER_PASSWORD}

dn: ou=people,{SUFFIX}
objectClass: organizationalUnit
ou: people

dn: ou=groups,{SUFFIX}
objectClass: organizationalUnit
ou: groups

"""


@dataclass
class LdapServer:
    """plain, secure: its two addresses. folder: holds ca.pem, other-ca.pem and the log."""

    folder: Path
    plain_port: int
    secure_port: int
    process: subprocess.Popen[bytes]

    @property
    def plain(self) -> str:
        return f"ldap://localhost:{self.plain_port}"

    @property
    def secure(self) -> str:
        return f"ldaps://localhost:{self.secure_port}"

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def person(name: str, password: str, **values: str) -> str:
    """LDIF of somebody."""
    more = "".join(f"{key}: {value}\n" for key, value in values.items())
    names = f"uid: {name}\nsn: {name}\ncn: {name}\n"
    return f"dn: uid={name},ou=people,{SUFFIX}\nobjectClass: inetOrgPerson\n{names}userPassword: {password}\n{more}\n"


def group(name: str, *members: str) -> str:
    """LDIF of a group."""
    listed = "".join(f"member: uid={member},ou=people,{SUFFIX}\n" for member in members)
    return f"dn: cn={name},ou=groups,{SUFFIX}\nobjectClass: groupOfNames\ncn: {name}\n{listed}\n"


def slapd(entries: str) -> LdapServer:
    """The server with these entries, or a skip that says what is missing. A name and a password are taken only when encrypted."""
    program = shutil.which("slapd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/openldap")
    if program is None or not _SCHEMA.is_dir():
        pytest.skip("no OpenLDAP server here; Debian: apt-get install slapd")
    user = "openldap" if _known_user("openldap") else "nobody"
    folder, prefix = _folder("slapd", user), as_user(user)
    (folder / "db").mkdir()
    certificates(folder)
    (folder / "slapd.conf").write_text(_configuration(folder))
    (folder / "entries.ldif").write_text(_ENTRIES + entries)
    if os.getuid() == 0:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user)
    config = ["-f", str(folder / "slapd.conf")]
    added = subprocess.run(
        [*prefix, program, "-Ta", *config, "-l", str(folder / "entries.ldif")], capture_output=True, text=True, check=False
    )
    assert added.returncode == 0, added.stderr
    server = LdapServer(folder, free_port(), free_port(), subprocess.Popen(["true"]))
    listen = f"ldap://127.0.0.1:{server.plain_port} ldaps://127.0.0.1:{server.secure_port}"
    log = (folder / "log").open("wb")
    command = [*prefix, program, *config, "-h", listen, "-d", "0"]
    server.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    _wait(server)
    return server


def _wait(server: LdapServer) -> None:
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        try:
            socket.create_connection(("127.0.0.1", server.secure_port), 1).close()
        except OSError:
            assert server.process.poll() is None, (server.folder / "log").read_text(errors="replace")
            time.sleep(0.02)
        else:
            return
    raise AssertionError("slapd did not start")


def _configuration(folder: Path) -> str:
    return "\n".join(
        (
            *(f"include {_SCHEMA}/{name}.schema" for name in ("core", "cosine", "inetorgperson")),
            "modulepath /usr/lib/ldap",
            "moduleload back_mdb",
            f"pidfile {folder}/pid",
            f"TLSCACertificateFile {folder}/ca.pem",
            f"TLSCertificateFile {folder}/server.pem",
            f"TLSCertificateKeyFile {folder}/server.key",
            "security simple_bind=64",  # a name without encryption is refused by the server itself
            "database mdb",
            f'suffix "{SUFFIX}"',
            f"directory {folder}/db",
            "access to attrs=userPassword by anonymous auth by * none",
            f'access to * by dn.exact="{READER}" read by * none',
            "",
        )
    )


def certificates(folder: Path) -> None:
    """ca.pem, server.pem (for localhost, not for 127.0.0.1) and other-ca.pem, which signed nothing."""
    names = {word: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, word)]) for word in ("test ca", "other ca", "server")}
    keys = {word: ec.generate_private_key(ec.SECP256R1()) for word in names}
    for word, file in (("test ca", "ca.pem"), ("other ca", "other-ca.pem"), ("server", "server.pem")):
        issuer = "test ca" if word == "server" else word
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(names[word])
            .issuer_name(names[issuer])
            .public_key(keys[word].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=word != "server", path_length=None), critical=True)
        )
        if word == "server":
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        (folder / file).write_bytes(made.sign(keys[issuer], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = keys["server"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.key").write_bytes(private)
    (folder / "server.key").chmod(0o600)
