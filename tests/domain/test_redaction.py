"""Texts for people hold no signature, token or password."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.domain.redaction import without_secrets

AWS = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260601&X-Amz-Signature=5eCreT"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"404 Client Error: Not Found for url: https://b.s3.amazonaws.com/a/1.jpg?{AWS}",
         "404 Client Error: Not Found for url: https://b.s3.amazonaws.com/a/1.jpg?…"),
        (f"HTTPSConnectionPool(host='b.org', port=443): Max retries exceeded with url: /a.jpg?{AWS} (Caused by x)",
         "HTTPSConnectionPool(host='b.org', port=443): Max retries exceeded with url: /a.jpg?… (Caused by x)"),
        (f"cannot open 'https://b.org/a.jpg?{AWS}': no", "cannot open 'https://b.org/a.jpg?…': no"),
        ("https://ada:5eCreT@b.org:8080/a.jpg refused", "https://b.org:8080/a.jpg refused"),
        ("https://ada:5eC/reT@b.org/a.jpg refused", "https://b.org/a.jpg refused"),
        ("https://5eCreT@b.org/a.jpg", "https://b.org/a.jpg"),
        ("postgresql://antenna:5eCreT@db:5432/catalog?sslmode=require", "postgresql://db:5432/catalog?…"),
        ("https://acc.blob.core.windows.net/c/a.jpg?sv=2022&se=2026&sig=5eCreT%3D",
         "https://acc.blob.core.windows.net/c/a.jpg?…"),
        ("https://b.org/cb#access_token=5eCreT", "https://b.org/cb#…"),
        ("next=https%3A%2F%2Fb.org%2Fa.jpg%3FX-Amz-Signature%3D5eCreT", "next=https%3A%2F%2Fb.org%2Fa.jpg%3F…"),
        ("https%3A%2F%2Fada%3A5eCreT%40b.org%2Fa.jpg", "https%3A%2F%2Fb.org%2Fa.jpg"),
        ("refused: X-Amz-Signature=5eCreT, try again", "refused: X-Amz-Signature=…, try again"),
        ("{'Authorization': 'Bearer 5eCreT.5eCreT'}", "{'Authorization': 'Bearer …'}"),
        ("Authorization: Token 5eCreT5eCreT5eCreT", "Authorization: Token …"),
        ("sent Bearer 5eCreT.5eCreT.5eCreT", "sent Bearer …"),
        ('{"password": "5eCreT", "user": "ada"}', '{"password": "…", "user": "ada"}'),
        ("api_key=5eCreT&id=3", "api_key=…&id=3"),
        ("AWS_SECRET_ACCESS_KEY=5eCreT", "AWS_SECRET_ACCESS_KEY=…"),
        ("the key AKIAIOSFODNN7EXAMPLE is unknown", "the key … is unknown"),
        (f"the token ant_{'5eCreT' * 7}5 is revoked", "the token … is revoked"),
        ("Authorization: Bearer SeCreTSeCreTSeCreT", "Authorization: Bearer …"),
        ("Authorization: Basic SeCreT", "Authorization: Basic …"),
        ("{'Authorization': b'Bearer 5eCreT'}", "{'Authorization': b'Bearer …'}"),
        ("password: SeCreT", "password: …"), ("x-api-key: SeCreT", "x-api-key: …"),
        ("X-Goog-Signature: 5eCreTabc", "X-Goog-Signature: …"),
        ("sent Bearer SeCreTSeCreTSeCreTSeCreT", "sent Bearer …"),
        ("AccountName=traps;AccountKey=5eCreT==;x", "AccountName=traps;AccountKey=…;x"),
        ("https%253A%252F%252Fb.org%252Fa.jpg%253Fsig%253D5eCreT", "https%253A%252F%252Fb.org%252Fa.jpg%253F…"),
        ("https%253A%252F%252Fada%253A5eCreT%2540b.org", "https%253A%252F%252Fb.org"),
        ("<Error><Signature>5eC+reT/=</Signature></Error>", "<Error><Signature>…</Signature></Error>"),
        ("&lt;SignatureProvided&gt;5eCreT&lt;/", "&lt;SignatureProvided&gt;…&lt;/"),
        (f"remote: ghp_{'5eCreT' * 6} is invalid", "remote: … is invalid"),
        (f"401 for hf_{'5eCreT' * 5}", "401 for …"), ("got eyJhbGci.eyJ5eCreT.5eC-reT_x", "got …"),
        ("Cookie: session=5eCreT; csrf=5eCreT", "Cookie: …"),
        ("{'set-cookie': 's=5eCreT; Path=/'}", "{'set-cookie': '…'}"),
        ("https://b.org/a.jpg?5eCreT: refused", "https://b.org/a.jpg?…: refused"),
        ("Max retries exceeded with url: /a.jpg?5eCreT (Caused by x)",
         "Max retries exceeded with url: /a.jpg?… (Caused by x)"),
        ('{"url":"https://b.org/a?sig=5eCreT","why":"no"}', '{"url":"https://b.org/a?…","why":"no"}'),
        ('{\\"url\\":\\"https://b.org/a?sig=5eCreT\\",\\"why\\":\\"no\\"}', '{\\"url\\":\\"https://b.org/a?…\\",\\"why\\":\\"no\\"}'),
        ('{"password": "5eC reT, 5eC&reT"}', '{"password": "…"}'), ("access_token=5eCreT", "access_token=…"),
        ('{"token": "5eCreT"}', '{"token": "…"}'), ("?token=5eCreT&file=a.jpg", "?…"),
    ],
)  # fmt: skip
def test_a_text_keeps_what_it_says_without_the_secret(text: str, left: str) -> None:
    assert without_secrets(text) == left == without_secrets(left)
    assert "eCreT" not in left and "reT" not in left and "AKIA" not in left


@pytest.mark.parametrize(
    "text",
    [
        "", "no such file", "truncated JPEG (12 of 40 kB)", "HTTP 404 Not Found from b.org",
        "https://b.org:8080/a/1.jpg: connection refused", "s3://traps/meadow/#3 (2).jpg", "why? size=3", "a@b.org",
        "https://b.org/@ada/photo.jpg", "http://localhost:8000/x@2x.png", "file:///cards/2026-06-01/IMG_0001.JPG",
        "bucket traps: the security token included in the request is invalid", "9x9 pixels, over MAX_PIXELS (1)",
        "2 detections with the same token", "basic information missing", "is it a photograph?",
        "/data/ant_colony_photographs_2023/IMG_0001.JPG", "/data/ant_mandible_and_wings_2022.jpg: damaged JPEG",
        "ASIA20220601TRAP1: 3 images", "a basic classification-of-insects", "ASIAPACIFICTRAP01",
        "/data/what?token=abc.jpg", "cannot open '/data/what?token=abc.jpg'", "unexpected token: 'foo'",
        "Unexpected token: '<', \"<html>\" is not valid JSON", "max_tokens=512", "max_token=512", "tokenizer=wordpiece",
        "secret: the file is missing", "signature of the function", "/data/task-sk-1/a.jpg", "a cookie: none",
        "eyJ.jpg",
        "https://b.org/docs#limits", "https://b.org/really?", "/cards/#1=2/IMG_0001.JPG", "<token>", "x == y",
        "hf_hub_download",
        '["http://a.org:80","x@b.org"]', "(see https://b.org/a.jpg), or ada@b.org", "{'a':'http://a.org','b':'ada@b.org'}",
    ],
)  # fmt: skip
def test_a_text_without_secrets_stays(text: str) -> None:
    assert without_secrets(text) == text


_AROUND = st.text(alphabet="ab/:@?#=&%3Dft'\"()|, \n")


@given(
    _AROUND,
    st.sampled_from(["https://ada:5eCreT@b.org/", "https://b.org/a?x=1&sig=5eCreT", "/a.jpg?X-Amz-Signature=5eCreT"]),
    _AROUND,
)
def test_no_secret_survives_in_any_text(before: str, url: str, after: str) -> None:
    made = without_secrets(f"{before} {url} {after}")
    assert "5eCreT" not in made
    assert without_secrets(made) == made


_SECRET = st.from_regex(r"\A5eCreT(['\"`<>|(){}\[\]!$*+.~^-]?5eCreT){0,3}\Z")
_PLACES = [
    "https://ada:%s@b.org/a.jpg", "https://b.org/a.jpg?x=1&sig=%s&y=2", "https://b.org/a.jpg?%s",
    "/a.jpg?X-Amz-Signature=%s",
    "s3://b/a.jpg?X-Amz-Security-Token=%s", "X-Amz-Signature=%s", "password=%s",
    "https%%253A%%252F%%252Fb.org%%253Fsig%%253D%s",
    "Authorization: Bearer %s", "api_key: %s", "refresh_token=%s",
]  # fmt: skip
_SENTENCES = [
    "%s",
    "cannot open '%s': no",
    '{"url": "%s", "why": "no"}',
    "<%s>",
    "Max retries (url: %s)",
    "open(%s)",
    "see %s.",
]


@given(_SECRET, st.sampled_from(_PLACES), st.sampled_from(_SENTENCES))
def test_a_secret_of_any_characters_goes_and_the_sentence_stays(secret: str, place: str, sentence: str) -> None:
    text = sentence % (place % secret)
    made = without_secrets(text)
    assert "eCreT" not in made and without_secrets(made) == made
    assert made.startswith(sentence.partition("%s")[0])
    assert made.endswith(sentence.partition("%s")[2]) or sentence == "see %s."


_WORDS = (
    "token tokens secret password signature basic bearer cookie key https://b.org/a.jpg s3://traps/a#1.jpg "
    "/data/a?b.jpg why? (see x=1 n=512 <token> 'foo' \"bar\" failed: 404 is a@b.org IMG_0001.JPG max_tokens=512 not of "
    "http://localhost:80/x@2x.png [3] |"
)


@given(st.lists(st.sampled_from(_WORDS.split()), max_size=12))
def test_sentences_about_secrets_stay_as_they_are(words: list[str]) -> None:
    # A colon after the name of a secret is followed by one.
    assert without_secrets(" ".join(words)) == " ".join(words)


@pytest.mark.parametrize("piece", ["?", "#", "=", "://", "a:", "token ", "x-amz-", "@", "%3F", "://a:b/", "password",
    "://a:b@", "?'a", "sk-", "%253A%252F%252F", "password='", "<token "])  # fmt: skip
def test_long_texts_take_no_longer_than_their_length(piece: str) -> None:
    # With the square of it, each would take minutes.
    assert without_secrets(piece * (60_000 // len(piece)))
