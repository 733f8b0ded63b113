"""Texts as people meant them: without markup, entities, control characters and broken encodings. Vectorised; linear in the text.

Used by the cleaner `text`. Everything here is idempotent: what came out goes in and comes out the same.
"""

from __future__ import annotations

import html

import polars as pl

_MAX_PASSES = 8

_BREAKING = (
    "address|article|aside|blockquote|br|caption|dd|details|div|dl|dt|fieldset|figcaption|figure|footer|form|h[1-6]|"
    "header|hr|li|main|nav|ol|option|p|pre|section|select|summary|table|tbody|td|tfoot|th|thead|title|tr|ul"
)
_INLINE = (
    "a|abbr|acronym|area|audio|b|base|basefont|bdi|bdo|big|body|button|canvas|center|cite|code|col|colgroup|data|"
    "datalist|del|dfn|dialog|em|embed|font|frame|frameset|head|html|i|iframe|img|input|ins|kbd|label|legend|link|"
    "map|mark|marquee|meta|meter|nobr|noscript|object|optgroup|output|param|path|picture|progress|q|rp|rt|ruby|s|"
    "samp|script|small|source|span|strike|strong|style|sub|sup|svg|template|textarea|time|track|tt|u|var|video|wbr"
)
_END = r"(?:[\s/][^<>]*)?>"
# Each pattern stops at the next "<" or matches up to the end, so that no text makes it look at the same characters again and again.
_REMOVED = (
    (r"(?is)<!--.*?(?:-->|\z)", " "),
    (r"(?is)<(?:script|style)\b[^<>]*>.*?(?:</(?:script|style)\s*>|\z)", " "),
    (r"(?i)<(?:!doctype|\?xml)\b[^<>]*>", " "),
    (rf"(?i)</?(?:{_BREAKING}){_END}", " "),
    (rf"(?i)</?(?:{_INLINE}){_END}", ""),
)
_AMPERSANDS = r"&(?:(?:amp|AMP|#0{0,5}38|#[xX]0{0,5}26);)+"

_CONTROL = "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u0084\u0086-\u009f]"
_INVISIBLE = "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
"""Without the two joiners (U+200C, U+200D), which Persian, Indian scripts and emoji need."""

_MOJIBAKE = "[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
"""The first bytes of UTF-8, read as if they were Western European, and what may follow them."""


def without_control(texts: pl.Series) -> pl.Series:
    """Without control characters (tabs and line ends stay) and characters that nobody sees."""
    return texts.str.replace_all(_CONTROL, "").str.replace_all(_INVISIBLE, "")


def without_markup(texts: pl.Series) -> pl.Series:
    """HTML as text: known tags go (scripts and styles with what is in them), entities become what they stand for.

    Words such as `<y and z>` that are no tags stay. Entities are resolved again and again, since a text that was escaped twice is common.
    """
    for _ in range(_MAX_PASSES):
        open_ = texts.str.contains("[<&]").fill_null(False)
        if not open_.any():
            return texts
        before = texts.filter(open_)
        after = _one_pass(before)
        changed = before.ne_missing(after)
        if not changed.any():
            return texts
        texts = texts.clone().scatter(open_.arg_true().filter(changed), after.filter(changed))
    # Nothing that people write is nested so deeply: take away what could go on opening.
    again = texts.ne_missing(_one_pass(texts))
    return texts.zip_with(~again, texts.str.replace_all("[<&]", " "))


def _one_pass(texts: pl.Series) -> pl.Series:
    for pattern, instead in _REMOVED:
        texts = texts.str.replace_all(pattern, instead)
    texts = texts.str.replace_all(_AMPERSANDS, "&")
    escaped = texts.str.contains("&").fill_null(False)
    if not escaped.any():
        return texts
    return texts.clone().scatter(escaped.arg_true(), [html.unescape(text) for text in texts.filter(escaped).to_list()])


_PARAGRAPHS = rf"(?i:</?(?:{_BREAKING}){_END})"
_LINE_BREAK = r"(?i:<br(?:[\s/][^<>]*)?>)"


def text_of_pages(texts: pl.Series) -> pl.Series:
    """Whole HTML pages as text: as `without_markup`, but what a browser puts on lines of its own stands on lines of its own."""
    laid_out = texts.str.contains(r"(?i)<pre\b")
    for pattern, instead in _REMOVED[:3]:
        texts = texts.str.replace_all(pattern, instead)
    # Line ends of the file are blanks of the page, but where lines are laid out by hand.
    texts = texts.zip_with(laid_out, texts.str.replace_all(r"\s+", " "))
    texts = texts.str.replace_all(rf" ?{_LINE_BREAK} ?", "\n").str.replace_all(rf" ?{_PARAGRAPHS} ?", "\n\n")
    texts = without_markup(texts)
    return texts.str.replace_all(r"[ \t]*\n[ \t]*\n\s*", "\n\n").str.replace_all(r"[ \t]+\n", "\n").str.strip_chars()


def with_encoding_mended(texts: pl.Series) -> pl.Series:
    """UTF-8 that was read as Windows-1252 or Latin-1 and saved so, once or more.

    A text is changed only where all of it makes sense the other way.
    """
    odd = texts.str.contains(_MOJIBAKE).fill_null(False)
    if not odd.any():
        return texts
    return texts.clone().scatter(odd.arg_true(), [_mended(text) for text in texts.filter(odd).to_list()])


def _mended(text: str) -> str:
    """Each step makes the text shorter, so this ends."""
    while True:
        better = _decoded(text)
        if better is None:
            return text
        text = better


def _decoded(text: str) -> str | None:
    for encoding in ("cp1252", "latin-1"):
        try:
            better = text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        if len(better) < len(text):
            return better
    return None
