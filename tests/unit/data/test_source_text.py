"""The source of texts: one file or many, whole or in pieces; pages; what is no text. Folders of classes: test_sources_files.py."""

from __future__ import annotations

import gzip
import lzma
import random
import re
import zipfile
from pathlib import Path

import polars as pl
import pytest

from lode.core.errors import DataError
from lode.core.registry import REGISTRIES
from lode.core.types import Component
from lode.data.contracts import Source
from lode.data.formats import documents
from lode.data.mending import markup
from lode.data.place import Place
from lode.testing.source import check_source

TEXT = b"\xef\xbb\xbfOne\r\ntwo.\r\n\r\n\r\n    three\n\t\nfour\n\n\n"


def make(folder: Path, **options: object) -> Source:
    made: Source = REGISTRIES["source"].create(Component("text", options), Place(folder))
    return made


@pytest.mark.parametrize(
    ("unit", "texts"),
    [
        ("file", [TEXT[3:].decode()]),
        ("paragraph", ["One\r\ntwo.", "    three", "four"]),
        ("line", ["One", "two.", "    three", "four"]),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.txt.gz", "a.txt.xz"])
def test_one_file_is_read_whole_or_in_pieces(unit: str, texts: list[str], name: str, tmp_path: Path) -> None:
    packed = gzip.compress(TEXT) if name.endswith("gz") else lzma.compress(TEXT) if name.endswith("xz") else TEXT
    (tmp_path / name).write_bytes(packed)
    check_source(lambda: make(tmp_path, path=name, documents=unit))
    rows = make(tmp_path, path=name, documents=unit).scan().collect()
    assert rows.columns == ["text", "path"] and rows["text"].to_list() == texts and set(rows["path"]) == {name}


def test_folders_and_archives_are_cut_in_pieces_too(tmp_path: Path) -> None:
    (tmp_path / "code/lib/tests").mkdir(parents=True)
    (tmp_path / "code/a.py").write_text("x = 1\n\ny = 2\n")
    (tmp_path / "code/lib/b.py").write_text("z = 3\n")
    (tmp_path / "code/lib/tests/c.py").write_text("assert z\n")
    (tmp_path / "code/lib/empty.py").write_text("")
    (tmp_path / "code/lib/d.py.gz").write_bytes(gzip.compress(b"packed"))
    (tmp_path / "code/readme.txt").write_text("no code")
    check_source(lambda: make(tmp_path, path="code", suffixes=[".py"], documents="paragraph"))
    found = make(tmp_path, path="code", suffixes=[".py"], documents="paragraph", skip=["tests"]).scan().collect()
    assert found.rows() == [
        ("x = 1", None, "a.py"),
        ("y = 2", None, "a.py"),
        ("z = 3", "lib", "lib/b.py"),
        ("packed", "lib", "lib/d.py.gz"),
    ]
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        for path in sorted((tmp_path / "code").rglob("*.py")):
            archive.write(path, path.relative_to(tmp_path / "code"))
    zipped = make(tmp_path, path="code.zip", suffixes=[".py"], documents="line", skip=["tests"]).scan().collect()
    assert zipped["text"].to_list() == ["x = 1", "y = 2", "z = 3"]


def test_of_pages_the_text_is_taken(tmp_path: Path) -> None:
    page = """<!doctype html><html><head><title>T &amp; t</title><style>p {}</style></head>
    <body><!-- no --><h1>Head</h1>\n<p>One <b>bold</b>\ntext.<br>Next &lt;3</p>
    <ul><li>a</li><li>b</li></ul><script>x()</script></body></html>"""
    (tmp_path / "p.html").write_text(page)
    assert make(tmp_path, path="p.html").scan().collect()["text"].to_list() == [
        "T & t\n\nHead\n\nOne bold text.\nNext <3\n\na\n\nb"
    ]
    assert make(tmp_path, path=".", suffixes=[".html"]).scan().collect()["text"].to_list()[0].startswith("T & t\n\nHead")
    assert markup.text_of_pages(pl.Series(["<pre>a\n  b</pre>c", None])).to_list() == ["a\n  b\n\nc", None]


@pytest.mark.parametrize("unit", ["paragraph", "line"])
def test_where_chunks_end_makes_no_difference(unit: documents.Unit) -> None:
    draw = random.Random(0)
    border = {"paragraph": rb"\n(?:[ \t\r]*\n)+", "line": rb"\n"}[unit]

    def shown(pieces: list[bytes]) -> list[bytes]:
        return [re.sub(rb"\A(?:[ \t\r]*\n)+", b"", piece).rstrip(b"\r\n") for piece in pieces if piece.strip()]

    for _ in range(2000):
        data = bytes(draw.choice(b"ab \t\r\n\n\n") for _ in range(draw.randint(0, 40)))
        edges = sorted(draw.sample(range(len(data) + 1), draw.randint(0, min(6, len(data)))))
        chunks = [data[begin:end] for begin, end in zip([0, *edges], [*edges, len(data)], strict=True)]
        assert shown(list(documents._cut(chunks, unit, "x"))) == shown(re.split(border, data)), (data, chunks)


def test_what_is_no_text_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"good\n\nbad \xff\n\nnul \0\n\nalso good")
    source = make(tmp_path, path="a.txt", documents="paragraph")
    assert source.scan().collect()["text"].to_list() == ["good", "also good"]
    assert list(source.notes) == [
        "a.txt: of 4 paragraphs 1 are not UTF-8 and 1 hold NUL bytes; they were left out. Save them as UTF-8 to keep them."
    ]
    (tmp_path / "more").mkdir()
    (tmp_path / "more/a.txt").write_bytes(b"good\nbad \xff")
    source = make(tmp_path, path="more", documents="line")
    assert source.scan().collect()["text"].to_list() == ["good"]
    assert list(source.notes) == ["more: of 2 lines 1 are not UTF-8; they were left out. Save them as UTF-8 to keep them."]


def test_files_without_text_and_pieces_without_end_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "blank.txt").write_bytes(b" \n\n \n")
    (tmp_path / "nul.txt").write_bytes(b"a\0b")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(TEXT)[:-9])
    for name, said in (
        ("empty.txt", "the file is empty"),
        ("blank.txt", r"blank.txt: no text in it\. Save it as UTF-8"),
        ("nul.txt", r"no text in it \(lines: 1 hold NUL bytes\)"),
        ("cut.txt.gz", "the compressed file is cut short"),
    ):
        with pytest.raises(DataError, match=said):
            make(tmp_path, path=name, documents="line").scan()
    monkeypatch.setattr(documents.files, "MAX_LINE_BYTES", 1 << 20)
    monkeypatch.setattr(documents.archives, "MAX_FILE_BYTES", 1 << 21)
    (tmp_path / "huge.txt").write_bytes(b"x" * (3 << 20))
    with pytest.raises(DataError, match=r"huge\.txt: found a line of more than 1 MiB, which would have to be held in memory whole"):
        make(tmp_path, path="huge.txt", documents="line").scan()
    with pytest.raises(DataError, match=r"found a file of more than 2 MiB, .* Use documents: paragraph, or split it"):
        make(tmp_path, path="huge.txt").scan()
    (tmp_path / "ends.txt").write_bytes(b"\n" * (3 << 20) + b"end")
    assert make(tmp_path, path="ends.txt", documents="paragraph").scan().collect()["text"].to_list() == ["end"]


@pytest.mark.data
def test_shakespeare_by_paragraph_is_shakespeare(lode_data: Path) -> None:
    source = make(lode_data, path="lm-corpus/tinyshakespeare.txt.gz", documents="paragraph")
    with gzip.open(lode_data / "lm-corpus/tinyshakespeare.txt.gz", "rt", encoding="utf-8") as file:
        whole = file.read()
    paragraphs = source.scan().collect()["text"]
    assert len(paragraphs) == 7_222 and "\n\n".join(paragraphs) == re.sub("\n\n\n+", "\n\n", whole.strip("\n"))
