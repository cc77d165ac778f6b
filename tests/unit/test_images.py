"""Image references by their parts."""

import pytest

from doks_gitops.images import ImageReference, is_tag

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("redis", (None, "redis", None, None)),
        ("redis:7.4-alpine", (None, "redis", "7.4-alpine", None)),
        ("team/cart", (None, "team/cart", None, None)),
        ("localhost/cart", ("localhost", "cart", None, None)),
        ("localhost:5000/a/b:1", ("localhost:5000", "a/b", "1", None)),
        ("host:5000/a", ("host:5000", "a", None, None)),
        ("[::1]:5000/a:1", ("[::1]:5000", "a", "1", None)),
        ("10.0.0.1:5000/a", ("10.0.0.1:5000", "a", None, None)),
        (f"a@{DIGEST}", (None, "a", None, DIGEST)),
        (f"a:1@{DIGEST}", (None, "a", "1", DIGEST)),
        (
            "registry.digitalocean.com/team/shop/cart:v1.0.0",
            ("registry.digitalocean.com", "team/shop/cart", "v1.0.0", None),
        ),
        (
            f"gcr.io/google-samples/microservices-demo/adservice:v0.10.4@{DIGEST}",
            ("gcr.io", "google-samples/microservices-demo/adservice", "v0.10.4", DIGEST),
        ),
        ("a__b/c.d-e---f", (None, "a__b/c.d-e---f", None, None)),
    ],
)
def test_reference_has_its_parts_and_is_written_as_before(
    text: str, parts: tuple[str | None, ...]
) -> None:
    reference = ImageReference.parse(text)
    assert (reference.host, reference.repository, reference.tag, reference.digest) == parts
    assert str(reference) == text
    assert ImageReference.parse(reference.name).name == reference.name


@pytest.mark.parametrize(
    "text",
    [
        "", ":1", "@sha256:0123", "a:", "a@", "a/", "/a", "a//b", "Cart", "a b", "a:v1 ", "a:-1",
        "a:v1:v2", "a:1@sha256:0123", "host:port/a", "host:/a", "https://host/a", "a\n", 'a:"v1"',
        "a___b", "a.b:\u0661/c", f"a:{'x' * 129}",
    ],
)  # fmt: skip
def test_text_that_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an image reference"):
        ImageReference.parse(text)


def test_what_runs_is_the_digest_or_the_tag_or_latest() -> None:
    versions = [ImageReference.parse(text).version for text in ("a", "a:1", f"a:1@{DIGEST}")]
    assert versions == ["latest", "1", DIGEST]


def test_tags_have_the_grammar_of_the_registry() -> None:
    assert all(map(is_tag, ("1", "v1.0.0", "_a", "A-b_c.d")))
    assert not any(map(is_tag, ("", ".a", "-a", "a b", "a\n", 'a"', "a:b", "x" * 129)))
