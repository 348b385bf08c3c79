"""Keys that S3 allows and that signing, listing or naming a file gets wrong."""

from __future__ import annotations

PLAIN_KEYS = (
    "plain.bin",
    "with space/and  two",
    "pl+us",
    "per%cent",
    "per%20cent",
    "per%2Fcent",
    "equals=sign",
    "am&per",
    "quo'te",
    'double"quote',
    "til~de",
    "st*r",
    "who?",
    "ha#sh",
    "exclaim!",
    "(parens)",
    "co:lon",
    "a@t",
    "com,ma",
    "semi;colon",
    "dol$lar",
    "[square]{curly}|pipe^caret`tick<less>more",
    "umlaut-ä",
    "decomposed-a\u0308",
    "euro-€/日本語",
    "emoji-😀",
    "trailing.",
    "...",
    "..hidden/x",
    "UPPER/Lower",
    "upper/lower",
    "a=1/b=2/part-0000.parquet",
)
"""Fit for a file name on Linux."""

BACKSLASH_KEYS = ("back\\slash", "tab\there")
"""Legal on Linux, and not printable."""

DOT_KEYS = ("dots/./here", "dots/../there", "./first", "../up", "up/..")
"""With segments that libcurl, and most of the world, takes out of a path."""

SLASH_KEYS = ("/leading", "double//slash", "//twice", "trailing/")

HOSTILE_KEYS = (*PLAIN_KEYS, *BACKSLASH_KEYS, *DOT_KEYS, *SLASH_KEYS)
