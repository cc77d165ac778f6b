"""Texts for GitHub."""

import pytest

from doks_gitops import markdown


def details(name: str, lines: int) -> str:
    body = "\n".join([f"+ {name} {number}" for number in range(lines)])
    fence = markdown.fenced("diff", f"{body}\n```\n</details>")
    inner = f"<details><summary>app</summary>\n\n{fence}\n\n</details>"
    return f"<details><summary>{name}</summary>\n\n{inner}\n\n</details>\n"


def test_several_texts_make_one_with_their_tables_first() -> None:
    texts = [markdown.fit(f"### {name}", [details(name, 2)]) for name in ("one", "two")]
    text = markdown.together(texts)
    assert text.startswith("### one\n\n### two\n")
    assert [line for line in text.splitlines() if "<summary>" in line and "app" not in line] == [
        "<details><summary>one</summary>",
        "<details><summary>two</summary>",
    ]
    assert text.count("</details>") == 6


def test_text_that_is_too_long_loses_its_longest_details_as_a_whole() -> None:
    texts = [
        markdown.fit("### one", [details("dev", 3), details("staging", 4000)]),
        markdown.fit("### two", [details("prod", 3500)]),
    ]
    text = markdown.together(texts)
    assert len(text) <= markdown.LONGEST
    assert "staging" not in text
    assert "+ prod 3499" in text
    assert "1 more are left out" in text


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        ("see https://git.test/a", "://"),
        ("see WWW.git.test", "WWW."),
        ("ask @org/team", "@org"),
        ("like #12", "#12"),
        ("like GH-12", "GH-12"),
        ("![x][y]", "!["),
        ("[x](y)", "]("),
        ("<img>", "<"),
        ("`code`", "`"),
    ],
)
def test_nothing_in_a_text_links_shows_or_notifies(text: str, linked: str) -> None:
    assert linked not in markdown.prose(text)


def test_text_that_links_nothing_stays_as_it_is() -> None:
    text = "**Namespace shop is deleted**, with its data: a/b #a ! [x] www :1/2"
    assert markdown.prose(text) == text
