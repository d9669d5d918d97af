import pytest

from embridge._plain_text import one_line
from embridge.errors import SettingsError
from embridge.stores.urls import StoreUrl, parse_url, without_passwords


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop", StoreUrl("lancedb", "shop")),
        ("/data/shop", StoreUrl("lancedb", "/data/shop")),
        (r"C:\shop", StoreUrl("lancedb", r"C:\shop")),
        ("lancedb:shop", StoreUrl("lancedb", "shop")),
        ("lancedb:s3://bucket/shop#items", StoreUrl("lancedb", "s3://bucket/shop", "items")),
        (
            "lancedb:s3+ddb://bucket/shop?ddbTableName=t&x=%20#items",
            StoreUrl("lancedb", "s3+ddb://bucket/shop?ddbTableName=t&x=%20", "items"),
        ),
        ("postgres://me@db/shop?table=items", StoreUrl("postgresql", "postgresql://me@db/shop", "items")),
        (
            "postgresql:///shop?host=/run/pg&table=My%20Items&schema=sales&sslmode=require",
            StoreUrl(
                "postgresql", "postgresql:///shop?host=%2Frun%2Fpg&sslmode=require", "My Items", {"schema": "sales"}
            ),
        ),
        ("qdrant:http://host:6333/items", StoreUrl("qdrant", "http://host:6333", "items")),
        ("qdrant:https://host/behind/a/proxy/items", StoreUrl("qdrant", "https://host/behind/a/proxy", "items")),
        ("qdrant:/data/shop/items", StoreUrl("qdrant", "/data/shop", "items")),
        ("chroma:shop/items", StoreUrl("chroma", "shop", "items")),
        ("faiss:shop.index?ids=shop.txt", StoreUrl("faiss", "shop.index", "", {"ids": "shop.txt"})),
        ("memory:", StoreUrl("memory", "")),
    ],
)
def test_urls_say_where_a_store_is(text, expected):
    assert parse_url(text) == expected
    assert parse_url(str(parse_url(text))) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mysql://me:secret@db/shop", r"mysql://me:\*\*\*@db/shop is no store's URL; the forms are lancedb:FOLDER"),
        ("qdrant:http://host:6333", "names no collection"),
        ("qdrant:items", "names no collection"),
        ("chroma:http://host:8000/", "names no collection"),
        ("faiss:", "does not say where the store is"),
        ("postgresql:", "does not say where the store is"),
    ],
)
def test_what_is_no_url_is_refused_with_the_forms(text, message):
    with pytest.raises(SettingsError, match=message) as refusal:
        parse_url(text)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:secret@db/shop?table=items",
        "postgresql://me:secret@odd:secret@db/shop?table=items",
        "postgresql://db/shop?user=me&password=secret&table=items",
        "qdrant:https://host/items?api_key=secret",
    ],
)
def test_no_password_is_shown(text):
    url = parse_url(text)
    assert "secret" not in f"{url} {url!r} {without_passwords(text)} {without_passwords(f'cannot reach {text}: no')}"
    assert "***" in str(url)


def test_an_account_is_quoted_however_it_was_written():
    url = parse_url("postgres://my name:a@b:c%2Fd%[@db:5432/shop?table=a@b&sslmode=require")
    assert url.location == "postgresql://my%20name:a%40b%3Ac%2Fd%25%5B@db:5432/shop?sslmode=require"
    assert url.table == "a@b"
    assert parse_url("postgresql://[::1]:5432/shop").location == "postgresql://[::1]:5432/shop"
    assert parse_url("postgresql:///shop?host=/run").location == "postgresql:///shop?host=%2Frun"


@pytest.mark.parametrize("password", ["secret/1", "secret?1", "12/secret", "secret#1", "12#secret"])
def test_a_password_that_ends_the_address_is_refused_and_not_shown(password):
    text = f"postgresql://me:{password}@db/shop?table=items"
    with pytest.raises(SettingsError, match="characters that a URL writes otherwise: / as %2F") as refusal:
        parse_url(text)
    assert "secret" not in str(refusal.value)
    assert "secret" not in without_passwords(text)


def test_texts_of_clients_lose_their_passwords():
    assert without_passwords("password='a b' host=db") == "password=*** host=db"
    assert without_passwords("api_key: xyz, again") == "api_key: ***, again"
    assert without_passwords("Key (id)=(3) already exists.") == "Key (id)=(3) already exists."


@pytest.mark.parametrize("part", ["a", "a:", "a://a:", "key='", "a\n "])
def test_a_message_of_any_length_is_cleaned_at_once(part):
    """In time that grows with its length; with its square, this test would not end."""
    assert one_line(without_passwords(part * 100_000)).startswith(part.strip()[:4])
