"""T9 where others answer: keys of providers, and logins at an identity provider that really runs. Used by `canaries`.

What others are sent over the wire is theirs; it is searched for in all that our side leaves, its answers included.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.applications import Starlette

from lode.app.access.options import Access, OidcOptions
from lode.app.contracts import Gate
from lode.app.options import UpstreamServeOptions
from lode.app.upstream.service import create_upstream_app
from lode.pipeline.run import run
from lode.pipeline.upstream import UpstreamModel
from lode.testing.provider import Provider
from tests.unit.app.access import provider as identity
from tests.unit.app.admin.world import AdminWorld

NAME, CHAT = "resold", "/v1/chat/completions"
SPEC = """name: resold
model:
  type: upstream
  address: http://127.0.0.1:{first}/v1
  model: small-4
  prices: prices.toml
  key: {{file: {secret}, name: first}}
  fallback:
    - {{address: "http://127.0.0.1:{second}/v1", model: small-4, prices: prices.toml, key: {{file: {secret}, name: second}}}}
  timeout_s: 2
  retries: 1
"""
PRICES = 'provider = "example"\nversion = "1"\ncurrency = "EUR"\n[models.small-4]\ninput = "0.15"\noutput = "0.60"\n'
SITE = "http://127.0.0.1:8000"
MODES = ("ok", "401", "400", "500", "garbage", "cut", "drop", "redirect", "no_usage")

Word = Callable[[str], str]


@dataclass
class Elsewhere:
    """folder: ours, which is searched. secret: the file of the providers' keys, which is not. words: known so far, by what they are."""

    folder: Path
    secret: Path
    words: dict[str, str]
    word: Word
    world: AdminWorld
    providers: tuple[Provider, Provider]
    people: identity.Provider
    model: UpstreamModel

    def resold(self, gate: Gate) -> Starlette:
        """Somebody else's model, with new keys of its providers."""
        first, second = self.word("a provider's key"), self.word("a second provider's key")
        self.secret.write_text(f'{{"first": "{first}", "second": "{second}"}}')
        self.secret.chmod(0o600)
        return create_upstream_app(self.model, UpstreamServeOptions(), gate, ())

    async def talk(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        """Good answers, and every way in which providers fail; what they refuse they quote."""
        first, second = self.providers
        for mode, stream in itertools.product(MODES, (False, True)):
            first.script, second.script = [mode], ["ok" if mode == "500" else mode]
            messages = [{"role": "user", "content": self.word("a prompt for a provider")}]
            body = {"model": NAME, "messages": messages, "max_tokens": 4, "stream": stream}
            again = {**headers, "idempotency-key": secrets.token_hex(8)}
            answers = [await client.post(CHAT, json=body, headers=again) for _ in range(2 if mode == "ok" else 1)]
            assert mode != "ok" or {answer.status_code for answer in answers} == {200}, answers[0].text
            for answer in answers:
                self.keep(f"{mode} {stream}", answer)

    async def login(self) -> None:
        """A whole login and its end; one that somebody tampers with; a machine's token."""
        people = self.people
        people.new_day(lambda: self.world.time_us // 1_000_000)
        people.secret = self.word("the secret of a client at a live identity provider")
        options = OidcOptions(
            issuer=people.issuer, client_id=identity.CLIENT, redirect=f"{SITE}/admin/callback", audience=identity.AUDIENCE
        )
        app = self.world.app(access=Access(oidc=options, client_secret=people.secret))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=SITE) as ours, httpx.AsyncClient() as theirs:
            done = await self._through(ours, theirs)
            assert done.status_code == 303, done.text
            told = {
                "a session": ours.cookies["lode_session"],
                "a word against forgery": (await ours.get("/admin/session")).json()["csrf"],
            }
            assert (await ours.post("/admin/logout", headers={"x-csrf-token": told["a word against forgery"]})).status_code < 400
            for sign in (people.forged, people.unsigned):
                people.sign = sign
                assert (await self._through(ours, theirs)).status_code in (400, 401)
            people.sign = None
            people.secret, right = "another", people.secret
            assert (await self._through(ours, theirs)).status_code >= 400
            people.secret = right
            for token in (people.signed(people.person(aud=identity.AUDIENCE)), people.forged(people.person(aud=identity.AUDIENCE))):
                self.keep("machine", await ours.get("/admin/session", headers={"authorization": f"Bearer {token}"}))
                told[f"a machine's token {token[-4:]}"] = token
        assert {way for way, _ in people.seen} == {"code", "verifier", "nonce", "token"}
        for way, word in (*told.items(), *people.seen):
            self.words[word] = f"{way} of a live login"
        people.seen.clear()

    async def _through(self, ours: httpx.AsyncClient, theirs: httpx.AsyncClient) -> httpx.Response:
        asked = await ours.get("/admin/login", params={"next": "/admin/usage"})
        self.words[next(iter(ours.cookies.values()))] = "a login that is under way"
        back = (await theirs.get(asked.headers["location"])).headers["location"]
        done = await ours.get(back.removeprefix(SITE))
        if done.status_code != 303:  # a good one holds the session's cookie
            self.keep("login", done)
        return done

    def keep(self, what: str, answer: httpx.Response) -> None:
        """An answer, which is searched as well."""
        with (self.folder / "answers.txt").open("a") as file:
            file.write(f"{what} {answer.status_code} {dict(answer.headers)} {answer.text}\n")


@contextmanager
def elsewhere(folder: Path, world: AdminWorld, words: dict[str, str], word: Word) -> Iterator[Elsewhere]:
    """Two providers of models and one of identities, running."""
    with ExitStack() as stack:
        providers = Provider(quotes=True).start(), Provider(quotes=True).start()
        for provider in providers:
            stack.callback(provider.stop)
        people = stack.enter_context(identity.running(identity.Provider()))
        secret, ours = folder.with_name(f"{folder.name}-providers.key"), folder / "resold"
        ours.mkdir()
        (ours / "prices.toml").write_text(PRICES)
        (ours / "lode.yaml").write_text(SPEC.format(first=providers[0].port, second=providers[1].port, secret=secret))
        model = run(ours / "lode.yaml").model
        assert isinstance(model, UpstreamModel)
        yield Elsewhere(folder, secret, words, word, world, providers, people, model)
