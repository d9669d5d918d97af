"""Where items come from: what is there is read, what is not is recorded with its reason, and nothing else is touched."""

import base64
import threading
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError
from embridge.items import ItemSource, read_items
from embridge.items._fetching import fetched
from embridge.space import Space
from embridge.stores import MemoryStore

SPACE = Space("toy", "1", 2)


def png(colour, size=(4, 3)):
    file = BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def huge_png():
    """A file of a few kilobytes that says it has 121 million pixels."""

    def chunk(name, content):
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    side = (11_000).to_bytes(4, "big")
    head = side + side + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


class Rows:
    """Columns by name, as a store gives them; bytes and lists too."""

    def __init__(self, **columns):
        self.columns = columns

    def column(self, space, ids, name):
        return [self.columns[name].get(one) for one in ids]


def colour(picture):
    return picture.convert("RGB").getpixel((0, 0))


def test_texts_come_from_a_column():
    store = MemoryStore(SPACE)
    rows = Embeddings.of(np.eye(2, dtype=np.float32)[[0, 1, 0]], SPACE, ["a", "b", "c"])
    store.upsert(rows, {"title": ["a cat", None, " \n"]})
    items = read_items(ItemSource("text", "title"), store, SPACE, ["c", "a", "b", "nobody"])
    assert (items.ids, items.items) == (("a",), ["a cat"])
    assert items.missing == {
        "c": "its text is empty",
        "b": "there is nothing in the column title",
        "nobody": "there is nothing in the column title",
    }
    with pytest.raises(InvalidInput, match="no column 'name'"):
        read_items(ItemSource("text", "name"), store, SPACE, ["a"])
    with pytest.raises(SettingsError, match="pass the store that has the column"):
        read_items(ItemSource("text", "title"), None, SPACE, ["a"])


def test_images_come_as_bytes_paths_and_data_urls(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "red.png").write_bytes(png("red"))
    values = {
        "bytes": png("blue"),
        "view": memoryview(png("blue")),
        "path": "in/red.png",
        "whole path": str(tmp_path / "in" / "red.png"),
        "hf": {"bytes": png("lime"), "path": None},
        "data": "data:image/png;base64," + base64.b64encode(png("white")).decode(),
    }
    items = read_items(ItemSource("image", "photo", str(tmp_path)), Rows(photo=values), SPACE, list(values))
    assert items.missing == {}
    assert [colour(one) for one in items.items] == [
        *[(0, 0, 255)] * 2,
        *[(255, 0, 0)] * 2,
        (0, 255, 0),
        (255, 255, 255),
    ]


def test_an_image_that_cannot_be_had_is_recorded_with_its_reason(tmp_path):
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png("red"))
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "text.png").write_text("no image")
    (root / "empty.png").touch()
    values = {
        "above": ("../secret.png", "leads out of the folder"),
        "hidden": ("folder/../../secret.png", "leads out of the folder"),
        "absolute": (str(tmp_path / "secret.png"), "leads out of the folder"),
        "link": ("link.png", "leads out of the folder"),
        "device": ("/dev/zero", "leads out of the folder"),
        "gone": ("none.png", "is gone"),
        "folder": ("folder", "is no file"),
        "text": ("text.png", "no image of a kind"),
        "empty": ("empty.png", "it is empty"),
        "nul": ("a\0b", "cannot be read"),
        "long": ("x" * 5_000, "cannot be read"),
        "script": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a kind"),
        "cut off": (png("red", (99, 99))[:60], "cannot be read"),
        "bomb": (huge_png(), "11000 × 11000 pixels"),
        "number": (7, "int, neither a path nor the bytes"),
        "null": (None, "nothing in the column photo"),
        "no text": ("data:image/png;base64,§", "data URL cannot be read"),
    }
    rows = Rows(photo={name: value for name, (value, _) in values.items()})
    items = read_items(ItemSource("image", "photo", str(root)), rows, SPACE, list(values))
    assert items.items == []
    for name, (_, reason) in values.items():
        assert reason in items.missing[name], name


def test_a_folder_has_a_file_for_each_id(tmp_path):
    for name in ("a.png", "b", "c.JPG", "two.png", "two.jpg", "sub/d.png"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(png("red"))
    (tmp_path / "out.png").write_bytes(png("red"))
    source = ItemSource.of(folder=tmp_path / "root")
    items = read_items(source, None, SPACE, ["a", "b", "c", "sub/d", "two", "../out", "none", "a\0"])
    assert items.ids == ("a", "b", "c", "sub/d")
    assert "several files" in items.missing["two"]
    assert "leads out of the folder" in items.missing["../out"]
    assert "is gone" in items.missing["none"]
    assert "cannot be read" in items.missing["a\0"]


def test_a_function_gives_items_and_may_fail(tmp_path):
    (tmp_path / "a.png").write_bytes(png("red"))
    pixels = np.zeros((2, 2, 3), np.uint8)
    given = {"path": tmp_path / "a.png", "bytes": png("blue"), "array": pixels}
    items = read_items(ItemSource("image", function=given.__getitem__), None, SPACE, [*given, "none"])
    assert items.ids == tuple(given)
    assert items.items[2] is pixels
    assert items.missing == {"none": "the function failed: KeyError: 'none'"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": "title", "image": "photo"}, "of a text or of an image"),
        ({"folder": "a", "url": "https://h/{id}"}, "items come from"),
        ({}, "came nothing"),
        ({"column": "title"}, "items are written with text, image, folder, url"),
        ({"url": "ftp://h/{id}"}, "is http:// or https://"),
        ({"url": "https://me:secret@h/{id}"}, "without user, password"),
        ({"url": "https://{id}/x"}, "a host and a path"),
        ({"url": "https://h/x.jpg"}, "does not say where the id stands"),
        ({"url": "https://h/{id}", "image": "photo"}, "and so does the column"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(fields, message):
    with pytest.raises(SettingsError, match=message) as refusal:
        ItemSource.from_dict(fields)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "title"},
        {"image": "photo", "folder": "/photos"},
        {"folder": "/photos"},
        {"url": "https://h/{id}.jpg"},
        {"image": "photo", "url": "https://h/photos/"},
    ],
)
def test_a_source_is_written_and_read(fields):
    assert ItemSource.from_dict(fields).to_dict() == fields


def test_a_function_cannot_be_written():
    with pytest.raises(SettingsError, match="cannot be written down"):
        ItemSource("text", function=str).to_dict()


class Pictures(BaseHTTPRequestHandler):
    def do_GET(self):
        seen, name = self.server.seen, self.path.rpartition("/")[2]
        seen.append(self.path)
        if name == "slow.png":
            self.server.ended.wait(20)
            return
        status, headers, content = 200, {}, png("red")
        if name == "here.png":
            status, headers = 302, {"Location": "/photos/a.png"}
        elif name == "elsewhere.png":
            status, headers = 302, {"Location": "http://127.0.0.2:9/a.png"}
        elif name == "circle.png":
            status, headers = 302, {"Location": self.path}
        elif name == "long.png":
            content = bytes(200_000)
        elif name == "busy.png":
            status = 503 if seen.count(self.path) == 1 else 200
        elif name == "zipped.png":
            headers = {"Content-Encoding": "gzip"}
        elif name not in ("a.png", "it%27s%2Fb.png"):
            status, content = 404, b""
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *parts):
        pass


@contextmanager
def picture_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pictures)
    server.daemon_threads, server.seen, server.ended = True, [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_images_come_from_addresses_of_one_host():
    with picture_server() as (server, host):
        source = ItemSource.of(url=f"{host}/photos/{{id}}.png")
        names = ["a", "it's/b", "here", "elsewhere", "circle", "none", "busy", "zipped", ".."]
        items = read_items(source, None, SPACE, names)
        assert items.ids == ("a", "it's/b", "here", "busy")
        assert items.missing == {
            "elsewhere": "it is redirected to another host, which is not followed",
            "circle": "it is redirected more than 5 times",
            "none": "status 404",
            "zipped": "an answer that is compressed, which was not asked for",
            "..": "'..' is no name that can stand in an address",
        }
        assert all(path.startswith("/photos/") for path in server.seen)


def test_paths_in_a_column_count_from_an_address_and_do_not_leave_it():
    with picture_server() as (server, host):
        paths = {
            "a": "a.png",
            "b": f"{host}/photos/a.png",
            "above": "../a.png",
            "hidden": "x/%2e%2e/%2e%2e/a.png",
            "elsewhere": "http://127.0.0.2:9/photos/a.png",
            "other": "//127.0.0.2:9/photos/a.png",
            "bytes": png("blue"),
        }
        source = ItemSource.of(image="photo", url=f"{host}/photos")
        items = read_items(source, Rows(photo=paths), SPACE, list(paths))
        assert items.ids == ("a", "b", "bytes")
        assert all("leads elsewhere" in reason for reason in items.missing.values())
        assert set(server.seen) == {"/photos/a.png"}


def test_an_answer_is_bounded_in_bytes_and_seconds():
    with picture_server() as (_, host):
        urls = [f"{host}/{name}.png" for name in ("slow", "a", "long")]
        slow, right, long = fetched(urls, seconds=0.5, limit_bytes=100_000)
        assert str(slow) == "no whole answer within 0.5 s" or "Timeout" in str(slow)
        assert right == png("red")
        assert str(long) == "an answer of more than 0.1 MB"
    (unreachable,) = fetched([f"{host}/a.png"])
    assert "ConnectError" in str(unreachable)
