"""What anybody can write into an address: numbers, texts and lists that no page and no route means.

None is longer than LONGEST once it is percent-encoded: no client sends an address above 65,536 characters.
"""

from __future__ import annotations

LONGEST = 60_000
DIGITS = "9" * 5_000
NUMBERS = [
    *("9" * 400, DIGITS, f"-{DIGITS}", str(2**63), "1" * 10, "-1", "1e400", "-1e400", "inf", "-inf", "nan"),
    *("-0", "+1", "0x10", "1_000", "１２", "²", "٣", " 1", "1 ", "0.5", "1,2", "true", "null", "None"),
]
TEXTS = [
    *("", ".", "..", "%", "%zz", "%ff%fe", "\x00", "a\x00b", "\ud800", "\u2028", "\u202e", "😀" * 20),
    *("n" * 256, "肺" * 100, "x" * 59_000, "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "' OR 1=1 --"),
    *("../../../etc/passwd", "[x](javascript:alert(1))", "![x](http://127.0.0.1/x.png)"),
]
LISTS = [
    *("[]", "{}", '["a"]', "[" * 19_000, "a,b," * 6_000, "0-9999," * 6_000 + "1", "9-3"),
    *("3:" + "9" * 400, "9" * 400 + ":1", "draw:" + "9" * 400, f"row:{DIGITS}", f"dim-{DIGITS}", "dim-00001"),
    *("neighbours:" + "9" * 400, "neighbours:abc", "neighbours:-5", "metric:x", "min_dist:1e400"),
    *("seed:" + "9" * 50, "column-row", "cluster-x", "0" * 16),
]
FILTER = '[{"column":"diameter_mm","from":' + "9" * 400 + "}]"
FILTERS = [
    *(FILTER, '[{"search":"\\ud800"}]', '[{"search":5}]', "[5]", '[{"column":"diameter_mm","from":1e999}]'),
    '[{"column":"malignancy","in":[' + "9" * 3_000 + "]}]",
    *('[{"column":"malignancy","in":[[[]]]}]', '[{"column":"malignancy","in":[null]}]'),
    *('[{"column":["x"],"to":1}]', '[{"column":"z"}]'),
]
VALUES = [*NUMBERS, *TEXTS, *LISTS, *FILTERS]
FEW = [DIGITS, "1e400", "\x00", FILTER]  # one of each sort
# A browser sends no lone surrogate to a page, and Streamlit's AppTest cannot.
FOR_PAGES = [value for value in VALUES if "\ud800" not in value]
