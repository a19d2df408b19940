"""The page at / on both databases: its figures, who may see what, and that foreign text stays
text.
"""

from __future__ import annotations

import pytest

from markbook.contract import ErrorCode
from markbook.scoring.api.auth import SESSION_COOKIE, SESSION_S, Authenticator
from markbook.scoring.dashboard import rendering, routes
from markbook.scoring.errors import StoreUnavailableError, UnauthorizedError
from markbook.scoring.teachers.static import StaticTeacher
from markbook.scoring.types import ScoringFailure
from tests.unit.scoring.api.test_keys import api_key, at_once, store
from tests.unit.scoring.reading import Page

__all__ = ["at_once", "store"]

TASK = "Write add(a, b) that returns the sum."
CODE = "def add(a, b):\n    return a + b\n"
HOSTILE = (
    '</pre><script>alert(1)</script><img src=x onerror="alert(2)"><a '
    'href="javascript:alert(3)">x</a>'
)


async def score(
    http, *codes: str, run: str = "demo", task: str = TASK, headers=None, language: str = "python"
):
    samples = [{"prompt": task, "language": language, "code": code} for code in codes]
    answer = await http.post("/score", json={"run": run, "samples": samples}, headers=headers or {})
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def named(name: str) -> str:
    return CODE.replace("add", name)


async def shown(http, **params: str) -> Page:
    answer = await http.get("/", params=params)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def cards(page: Page) -> dict[str, list[str]]:
    block = page.one("dl", "figures")
    names = [each.words for each in page.all("dt")[: block.text.count("\n\n") or None]]
    values = [each.words for each in page.all("dd", "value")]
    return dict(zip(names, values, strict=False))


def listed_marks(page: Page) -> list[str]:
    """Paths of the latest marks; those in the first line of the page lead to `#why`."""
    found = [each.attributes["href"] for each in page.all("a")]
    return [href for href in found if href.startswith("samples/") and not href.endswith("#why")]


async def test_an_empty_book_says_how_to_begin(service, database_url):
    async with service(database_url=database_url) as http:
        page = await shown(http)
    assert page.all("h2")[0].words == "No requests yet"
    assert any("curl -sS http://markbook/score" in each.text for each in page.all("pre"))
    assert page.all("svg") == []
    assert page.all("p", "banner") == []


async def test_the_figures_are_those_of_the_ledger(service, teacher, database_url):
    teacher.failures[named("bad").strip()] = ScoringFailure(ErrorCode.REPLY_UNREADABLE, "no")
    async with service(database_url=database_url) as http:
        await score(
            http, named("add"), named("plus"), named("bad").strip()
        )  # one call: 300 in, 30 out, $0.00045
        await score(http, named("add"), "", run="other")  # a hit and a rejected sample
        page, other, hour = (
            await shown(http),
            await shown(http, run="other"),
            await shown(http, since="hour"),
        )
    assert cards(page) == cards(hour)
    assert {name: text for name, text in cards(page).items() if "saved" not in name} == {
        "Tokens": "330",
        "Samples": "5",
        "Hit rate": "25 %",
        "Teacher": "–",
    }
    assert (cards(other)["Samples"], cards(other)["Hit rate"], cards(other)["Tokens"]) == (
        "2",
        "100 %",
        "0",
    )
    [runs] = page.all("table", "runs")
    assert runs.words.startswith(
        "run samples hit rate tokens saved dollars unscored demo 3 0 % 330"
    )
    assert "other 2 100 % 0" in runs.words
    assert "reply_unreadable 1" in " ".join(each.words for each in page.all("ul", "legend"))


async def test_the_saving_is_a_subtraction_that_comes_out(service):
    async with service() as http:
        await score(http, CODE)
        saved = (await http.get("/stats")).json()["totals"]["tokens_saved"]
        page = await shown(http)
    [formula] = [
        each.words
        for each in page.all("dd")
        if "=" in each.words and "one call per sample" in each.words
    ]
    plain, sent, difference = formula.split(":")[0].replace("=", "−").replace(",", "").split("−")
    assert int(plain) - int(sent) == int(difference) == saved
    assert int(sent) == 100
    assert [each.attributes["href"] for each in page.all("a") if each.words == "Tokens saved"] == [
        "#saved"
    ]


async def test_the_stand_in_is_named_on_top(service):
    async with service(by=StaticTeacher()) as http:
        page = await shown(http)
    assert page.one("p", "banner").words.startswith(
        "No real marks. They come from an offline stub, no judge"
    )


@pytest.mark.parametrize(
    "path", ["/", "/?since=week", "/?run=a+b", "/login", "/page.css", "/?before=1-" + "ab" * 30]
)
async def test_every_answer_forbids_scripts_and_frames(service, path):
    async with service() as http:
        answer = await http.get(path)
    policy = answer.headers.get("content-security-policy")
    if answer.status_code == 422:
        assert answer.headers["content-type"] == "application/json"
    else:
        assert policy == rendering.HEADERS["Content-Security-Policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "script" not in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("query", [{}, {"q": "script"}])
async def test_foreign_text_is_text_wherever_it_stands(service, database_url, query):
    code = f"x = 1\n{HOSTILE}\n\N{RIGHT-TO-LEFT OVERRIDE}\0 end"
    async with service(database_url=database_url) as http:
        await score(http, code, task=f"{HOSTILE} task", language=HOSTILE[:40])
        listed = await shown(http, **query)
        [link] = listed_marks(listed)
        answer = await http.get(f"/{link}")
    page = Page(answer.text)
    for each in (listed, page):
        assert {element.tag for element in each.elements}.isdisjoint(
            {"script", "img", "iframe", "object", "style"}
        )
        assert not any(
            name.startswith("on") or name == "style"
            for element in each.elements
            for name in element.attributes
        )
        assert not any(
            "javascript" in (element.attributes.get("href") or "") for element in each.elements
        )
    assert page.one("pre", "code").text.strip() == f"x = 1\n{HOSTILE}\n⟨U+202E⟩⟨U+0000⟩ end"
    assert page.all("pre")[1].text.strip() == f"{HOSTILE} task"


async def test_a_mark_is_read_without_the_page_loading_itself_anew(service):
    async with service() as http:
        await score(http, CODE)
        live = await shown(http)
        [link] = listed_marks(live)
        answers = [await http.get(path) for path in ("/", f"/{link}", "/?q=sum")]
    assert [each.headers.get("refresh") for each in answers] == ["30", None, None]
    opened = Page(answers[1].text).one("article", "opened")
    assert "correctness" in opened.words
    assert "demo" in opened.words


async def test_texts_that_are_not_kept_are_said_to_be(service, database_url):
    async with service({"store": {"store_samples": False}}, database_url=database_url) as http:
        await score(http, CODE)
        page = await shown(http)
        [link] = listed_marks(page)
        opened = Page((await http.get(f"/{link}")).text).one("article", "opened")
    assert "text not stored" in page.one("ol", "marks").words
    assert opened.words.count("The text is not stored.") == 2
    assert "store.store_samples: false" in page.one("section", "notes").words or any(
        "store.store_samples: false" in each.words for each in page.all("p")
    )


async def test_budgets_tell_what_is_left(service):
    budgets = {"total": {"usd": 0.01}, "runs": {"demo": {"tokens": 200}}}
    async with service({"budgets": budgets}) as http:
        await score(http, CODE)  # $0.00015, 110 tokens
        page = await shown(http)
    table = page.one("table", "budgets").words
    assert "all runs $0.00015 of $0.0100 $0.0098 left $0.00015 of $0.0100" in table
    assert "demo 110 of 200 tokens 90 tokens left" in table
    assert [each.attributes["value"] for each in page.all("meter")] == ["0.0150", "0.5500"]


class Times:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def test_a_pass_is_good_for_a_week_for_its_key_and_for_nothing_else(store, at_once):
    wall = Times()
    await store.keys.add(api_key("ann", "mb_ann"))
    await store.keys.add(api_key("bob", "mb_bob"))
    authenticator = Authenticator(store.keys, wall=wall)
    ann = await authenticator.authenticate("Bearer mb_ann")
    given = authenticator.issue_session(ann)
    assert (await authenticator.verify_session(given)).name == "ann"
    assert "mb_ann" not in given
    until, _, signature = given.partition(".")
    forged = [
        None,
        "",
        ".",
        "x",
        f"{int(until) + 1}.{signature}",
        f"{until}.",
        f"{until}.é",
        f"{'9' * 5000}.{signature}",
    ]
    for each in forged:
        with pytest.raises(UnauthorizedError):
            await authenticator.verify_session(each)
    with pytest.raises(UnauthorizedError):
        await authenticator.authenticate(f"Bearer {given}")
    wall.now += SESSION_S - 1
    assert (await authenticator.verify_session(given)).name == "ann"
    wall.now += 1
    with pytest.raises(UnauthorizedError):
        await authenticator.verify_session(given)
    wall.now -= 100
    await store.keys.revoke("ann", 1)
    with pytest.raises(UnauthorizedError, match="was revoked"):
        await authenticator.verify_session(given)


async def test_signing_in_and_out(service, store, at_once, database_url):
    async with service(database_url=database_url) as http:
        assert (await http.get("/login")).headers[
            "location"
        ] == "."  # no keys, nothing to sign in with
        await store.keys.add(api_key("ann", "mb_ann", "a/*"))
        sent_on = await http.get("/")
        form = await http.get("/login")
        wrong = await http.post("/login", data={"key": "mb_wrong"})
        foreign = await http.post(
            "/login", data={"key": "mb_ann"}, headers={"Sec-Fetch-Site": "cross-site"}
        )
        other = await http.post(
            "/login", data={"key": "mb_ann"}, headers={"Origin": "http://evil.example"}
        )
        assert SESSION_COOKIE not in http.cookies
        right = await http.post(
            "/login", data={"key": " mb_ann "}, headers={"Origin": "http://markbook"}
        )
        inside = await http.get("/")
        elsewhere = await http.get("/stats")
        secure = await http.post(
            "/login", data={"key": "mb_ann"}, headers={"X-Forwarded-Proto": "https"}
        )
        left = await http.post("/logout", headers={"Sec-Fetch-Site": "same-origin"})
        again = await http.get("/")
    assert (sent_on.status_code, sent_on.headers["location"]) == (303, "login")
    assert (form.status_code, 'name="key"' in form.text) == (200, True)
    assert (wrong.status_code, "invalid API key" in wrong.text) == (401, True)
    assert (foreign.status_code, other.status_code) == (403, 403)
    assert (right.status_code, right.headers["location"]) == (303, ".")
    cookie = right.headers["set-cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=strict", f"Max-Age={SESSION_S}"} <= set(
        cookie.split("; ")
    )
    assert "Secure" not in cookie
    assert "Secure" in secure.headers["set-cookie"]
    assert "mb_ann" not in cookie
    assert (inside.status_code, "ann" in inside.text, "Sign out" in inside.text) == (
        200,
        True,
        True,
    )
    assert elsewhere.status_code == 401
    assert (left.status_code, again.status_code) == (303, 303)


async def test_a_key_sees_its_runs_and_their_marks_only(service, store, at_once, database_url):
    await store.keys.add(api_key("all", "mb_all"))
    await store.keys.add(api_key("ann", "mb_ann", "a/*", usd=1))
    everything = {"Authorization": "Bearer mb_all"}
    mine = {"Authorization": "Bearer mb_ann"}
    async with service(database_url=database_url) as http:
        await score(http, named("mine"), run="a/1", task="The task of ann", headers=everything)
        await score(http, named("theirs"), run="b/1", task="The task of bob", headers=everything)
        whole = Page((await http.get("/", headers=everything)).text)
        page = Page((await http.get("/", headers=mine)).text)
        theirs = [each.attributes["href"] for each in whole.all("a") if "bob" in each.words]
        peeked = await http.get(f"/{theirs[0].partition('#')[0]}", headers=mine)
        searched = await http.get("/", params={"q": "bob"}, headers=mine)
        forbidden = await http.get("/", params={"run": "b/1"}, headers=mine)
    assert [
        *dict.fromkeys(each.words.split()[0] for each in whole.all("th") if "/" in each.words)
    ] == ["a/1", "b/1"]
    assert cards(page)["Tokens"] == "110"
    for text in (
        " ".join(each.text for each in page.elements),
        peeked.text,
        searched.text.replace("“bob”", ""),
    ):
        assert "b/1" not in text
        assert "of bob" not in text
    assert "The task of ann" in page.one("ol", "marks").words
    assert "no longer stored" in peeked.text
    assert "1 with" not in searched.text
    assert "1 mark searched" in searched.text  # its own
    assert "key" in page.one("table", "budgets").words
    assert (forbidden.status_code, "may use the runs a/*" in forbidden.text) == (403, True)


async def test_a_search_finds_in_texts_whatever_the_case_and_goes_on_where_it_ended(
    service, database_url
):
    async with service(database_url=database_url) as http:
        await score(http, *(named(f"Fold_{number}") for number in range(15)), task="Fold a list.")
        await score(http, named("other"), task="Something else.")
        found = await shown(http, q="fOLD_")
        [older] = [each.attributes["href"] for each in found.all("a") if each.words == "Older"]
        rest = Page((await http.get(f"/{older.partition('#')[0]}")).text)
        nothing = await shown(http, q="nowhere to be found")
        one = await shown(http, q="something ELSE")
    assert (
        len(found.one("ol", "marks").text.split("Fold_")) - 1,
        "13 marks searched" in found.one("p", "pager").words,
    ) == (12, True)
    assert len(rest.one("ol", "marks").text.split("Fold_")) - 1 == 3
    assert "16 marks searched, latest first." in nothing.one("p", "pager").words
    assert "Something else" in one.one("ol", "marks").words


async def test_a_database_that_is_away_is_a_page_that_tries_again(service, monkeypatch):
    async def away(*_: object) -> None:
        raise StoreUnavailableError("the database is away")

    monkeypatch.setattr(routes, "build_context", away)
    async with service() as http:
        answer = await http.get("/")
    page = Page(answer.text)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "the database is unavailable" in page.one("p", "wrong").words
    assert answer.headers["refresh"] == "30"
