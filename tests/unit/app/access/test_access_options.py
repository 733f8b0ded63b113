"""access.toml: a closed file; every problem in one report; secrets in files of their own, for their owner only."""

from __future__ import annotations

from pathlib import Path

import pytest

from lode.app.access.options import is_safe_address, read_access
from lode.app.access.setup import access_of, set_up, tried
from lode.core.errors import ServeError
from tests.flows.ldap_server import certificates
from tests.unit.app.access.world import World

GOOD = """
[oidc]
issuer = "https://id.example/realms/lode"
client_id = "lode"
redirect = "https://lode.example/admin/callback"
client_secret_file = "oidc.secret"
roles_claim = "groups"
[oidc.roles]
"acme-devs" = "acme:developer"
"ops" = "operator"
[session]
hours = 4
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "access.toml"
    path.write_text(text)
    secret = folder / "oidc.secret"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    return path


def report(folder: Path, text: str) -> str:
    with pytest.raises(ServeError) as caught:
        read_access(written(folder, text))
    return str(caught.value)


def test_a_good_file_is_read_and_its_secret_stays_out_of_sight(tmp_path: Path) -> None:
    access = read_access(written(tmp_path, GOOD))
    assert access.oidc is not None and access.oidc.roles["ops"] == "operator" and access.session.hours == 4
    assert access.client_secret == "correct horse" and "horse" not in repr(access)
    assert access_of(tmp_path) == access


def test_all_problems_come_in_one_report(tmp_path: Path) -> None:
    text = report(tmp_path, '[oidc]\nisuer = "x"\nclient_id = 3\nalgorithms = ["HS256"]\n[ldp]\n[session]\nhours = 0\n')
    assert 'oidc.isuer: found "isuer", allowed: issuer' in text and 'Did you mean "issuer"?' in text
    assert "oidc.client_id: found 3" in text and 'oidc.algorithms[0]: found "HS256"' in text
    assert "oidc.issuer: found nothing" in text and 'ldp: found "ldp", allowed: oidc, ldap, session' in text
    assert "session.hours: found 0" in text and all(line.startswith(str(tmp_path)) for line in text.splitlines())


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("https://id.example/", "http://id.example/", "oidc.issuer: found"),
        ("https://lode.example/", "http://lode.example/", "oidc.redirect: found"),
        ('"https://id.example/realms/lode"', '"https://user:pw@id.example"', "oidc.issuer: found"),
        ("acme:developer", "acme:root", "oidc.roles.acme-devs: role: found"),
        ("acme:developer", "root", "role on the platform: found"),
        ("acme:developer", "Acme Inc:viewer", "organisation: found"),
        ("oidc.secret", "none.secret", "oidc.client_secret_file"),
        ("roles_claim", "audience = 'lode'\nroles_claim", "oidc.audience: found the client_id"),
        ("[session]", "[session", "no TOML"),
        ("roles_claim", "ca_file = 'oidc.secret'\nroles_claim", "oidc.ca_file"),
    ],
)
def test_what_the_file_may_not_say(tmp_path: Path, old: str, new: str, text: str) -> None:
    assert old in GOOD
    assert text in report(tmp_path, GOOD.replace(old, new))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('address = "http://x"', "ldap.address: found"),
        ('filter = "(uid=jo)"', "ldap.filter: found"),
        ("timeout_s = 0", "ldap.timeout_s: found 0"),
        ('ca_file = "none.pem"', "ldap.ca_file"),
    ],
)
def test_what_the_ldap_section_may_not_say(tmp_path: Path, line: str, text: str) -> None:
    lines = {
        "address": 'address = "ldaps://ldap.example"', "base": 'base = "dc=example"', "ca_file": 'ca_file = "ca.pem"',
        "bind_dn": 'bind_dn = "cn=lode"', "bind_password_file": 'bind_password_file = "oidc.secret"', line.split()[0]: line,
    }  # fmt: skip
    assert text in report(tmp_path, "\n".join(("[ldap]", *lines.values())))


def test_secrets_that_others_may_read_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    (tmp_path / "oidc.secret").chmod(0o644)
    with pytest.raises(ServeError, match="chmod 600"):
        read_access(path)


def test_without_a_file_there_are_keys_only(world: World, tmp_path: Path) -> None:
    access = access_of(tmp_path / "nowhere")
    authenticator, routes = set_up(access, world.store, world.directory, world.pepper, now_us=world.now_us)
    assert routes == () and authenticator.cookie == "__Host-lode_session"
    with pytest.raises(ServeError, match="no section oidc or ldap"):
        tried(access)
    with pytest.raises(ServeError, match="cannot be read"):
        access_of(tmp_path, tmp_path / "none.toml")


def test_addresses_that_could_lead_elsewhere_are_not_safe() -> None:
    assert (
        is_safe_address("https://id.example/a?b=c")
        and is_safe_address("http://127.0.0.1:80/x")
        and is_safe_address("http://[::1]/")
    )
    for address in (
        "",
        "http://id.example",
        "https://",
        "https://a@b",
        "https://a/#x",
        "https://a b",
        "ftp://a",
        "https://[",
        "javascript:1",
    ):
        assert not is_safe_address(address), address


def test_the_file_of_the_how_to_page_is_right(tmp_path: Path) -> None:
    page = Path(__file__).parents[4] / "docs" / "how-to" / "log-in-with-oidc-or-ldap.md"
    text = page.read_text().split("```toml\n")[1].split("```")[0]
    certificates(tmp_path)
    (tmp_path / "secrets").mkdir()
    for name in ("oidc", "ldap"):
        (tmp_path / "secrets" / name).write_text("x")
        (tmp_path / "secrets" / name).chmod(0o600)
    access = read_access(written(tmp_path, text))
    assert access.oidc is not None and access.ldap is not None and access.ldap.ca_file == str(tmp_path / "ca.pem")
