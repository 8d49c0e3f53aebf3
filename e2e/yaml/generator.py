# SPDX-License-Identifier: Apache-2.0
"""Makes YAML documents that readers disagree about: booleans, octal numbers,
floats, dates, anchors, merge keys, duplicate keys, large integers, texts of
several lines, byte order marks, carriage returns and tags.
"""

import base64
import random

WORDS = """
yes no on off y n Y N Yes NO On OFF true false True FALSE tRUE ~ null Null NULL
nULL none 0 -0 +0 00 07 08 017 0o17 0O17 0x1F 0X1f -0x1F 0b101 0B11 -0b101 0x 0b
0o 1_000 1__0 _1 1_ 0_7 12 -12 +12 9223372036854775807 9223372036854775808
-9223372036854775808 -9223372036854775809 18446744073709551615
18446744073709551616 9007199254740993 1.0 1. .5 -.5 +.5 1.5 1e3 1E3 1e+3 1e-3
1E-2 1e 1e+ e3 .e3 1.e3 1e308 1e309 1e999 -1e999 1e-400 0.1 0.30000000000000004
123456789012345678901234567890 1.7976931348623157e308 5e-324 100000000000000000000
1e20 1e21 1e22 123456789.123456789 inf nan Infinity
1:30 12:30:45 190:20:30 2001-12-14 2001-12-14T21:59:43Z 2001-12-14t21:59:43.10-05:00
2001-1-1 20011214 1.2.3 v1.2.3 10Gi 100m 1,000 =  << a-b a_b a.b a/b a:b a#b #a
http://a.b:80/c foo@bar.com -a :a -- -.- ., + [] {} a' a" 'a' "a" "a\\tb" 'it''s' "\\u00e9" "\\x41"
"" '' é 日本 😀 \\n \\ $a ${a} {{a}} ~a null1 true1 0.0.0.0 1-2 +1-555-1234 0777 0o777
0888 08.5 1e5 0e0 -0.0 0.0 1e1_0 1_0.5 0x_1 0b_1 -_1 +_1 ._1 .1_0
""".split()

TEXTS = [
    "a b", "a  b", "a # b", "a #b", "a: b", "a :b", " a", "a ", "it's", "a, b",
    "a\tb", "# a", "- a", "? a", "? ", "- ", "a\\b", "\"", "'", "%a", "!a", "&a",
    "*a", "[a]", "{a: b}", "|", ">", "2001-12-14 21:59:43", "1 2", "", "''",
    "\"\"", "\"a\\nb\"", "\"\\u2028\"", "\"\\N\"", "\"a\\_é\\N b\"", "'a: b'", "\"a #b\"", "a\u00a0b", "*",
    ".inf", "-.inf", "+.Inf", ".nan", ".NaN", "&", "!", "%", "@", "`", "?", ":", "?a", "a:", "---", "...", "[", "]", "{", "}",
    ",", "[a", "{a", "a]", "a}", "'a", "\"a", "\"\\/\"", "\"\\q\"",
]

TAGS = [
    "!!str", "!!int", "!!float", "!!bool", "!!null", "!!binary", "!!timestamp",
    "!!map", "!!seq", "!!set", "!!omap", "!!merge", "!", "!foo",
    "!<tag:yaml.org,2002:str>", "!!python/object:os.system",
]

KEYS = [
    "a", "b", "c", "name", "apiVersion", "1", "0x10", "1.5", "true",
    "n", "2001-12-14", "'q'", "\"d\"", "a b", "a.b/c", "<<", "08",
    "0o7", "1e3", "-1", ".5", "''", "é", "1234567.5", "1e21", "0.1",
    ".inf", "-.INF", ".nan", "'\\N'", "\"\\N\"",
]


class Generator:
    """A stream of documents; the same seed gives the same ones."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.anchors = []

    def document(self):
        self.anchors = []
        pick = self.random.random()
        if pick < 0.08:
            lines = [self.scalar(block=True)]
        elif pick < 0.2:
            lines = [self.flow(3)]
        else:
            lines = self.block(self.random.randint(1, 4))
        text = "\n".join(lines)
        # A tag at the very end means nothing, or an empty text.
        if self.random.random() < 0.9 or "!" in lines[-1]:
            text += "\n"
        if self.random.random() < 0.1:
            text = "---" + self.random.choice(["\n", " ", "\t", " # x\n"]) + text
        if self.random.random() < 0.05:
            text = "# first\n\n" + text
        if self.random.random() < 0.05:
            text += self.random.choice(["...\n", "\n\n", "# last", "  \n", "\t\n"])
        if self.random.random() < 0.03 and not text.startswith("-"):
            text = "%YAML 1.1\n---\n" + text
        if self.random.random() < 0.1:
            text = text.replace("\n", self.random.choice(["\r\n", "\r"]))
        if self.random.random() < 0.05:
            text = "\ufeff" + text
        return text

    def mutated(self, text):
        """`text` with a few characters changed."""
        characters = list(text)
        for _ in range(self.random.randint(1, 3)):
            at = self.random.randrange(len(characters) + 1)
            pick = self.random.random()
            new = self.random.choice("\n \t:-#'\"[]{},&*!|>%@`?\\~ax0\r")
            if pick < 0.4 or at == len(characters):
                characters.insert(at, new)
            elif pick < 0.7:
                characters[at] = new
            else:
                del characters[at : at + self.random.randint(1, 3)]
        return "".join(characters)

    # ---- Parts ----

    def block(self, depth):
        if self.random.random() < 0.65:
            return self.block_map(depth)
        return self.block_list(depth)

    def block_map(self, depth):
        lines = []
        used = set()
        for _ in range(self.random.randint(1, 5)):
            key = self.random.choice(KEYS)
            if key in used and self.random.random() < 0.98:
                continue
            used.add(key)
            if key == "<<":
                if not self.anchors:
                    continue
                value = self.random.choice(
                    ["*" + self.random.choice(self.anchors),
                     "[*" + self.random.choice(self.anchors) + "]", "{a: 9}"])
                lines.append("<<: " + value)
                continue
            if self.random.random() < 0.04:
                key = "? " + key + "\n:" if depth < 2 else key
                lines.append(key.replace("\n:", ""))
                lines.append(": " + self.scalar())
                continue
            lines += self.entry(key + ":", depth)
            if self.random.random() < 0.05:
                lines.append(self.random.choice(["", "# words", "  # words"]))
        return lines or ["a: 1"]

    def block_list(self, depth):
        lines = []
        for _ in range(self.random.randint(1, 4)):
            lines += self.entry("-", depth, is_item=True)
        return lines

    def entry(self, head, depth, is_item=False):
        anchor = self.anchor()
        pick = self.random.random()
        if depth > 1 and pick < 0.35:
            inner = self.block(depth - 1)
            name = self.remember(anchor)
            if is_item and not name and self.random.random() < 0.7:
                return [head + " " + inner[0]] + ["  " + line for line in inner[1:]]
            step = self.random.choice(["  ", "  ", " ", "    "])
            if not is_item and inner[0].startswith("-") and self.random.random() < 0.4:
                step = ""
            return [head + name] + [step + line if line else line for line in inner]
        if pick < 0.5:
            text = self.flow(2)
            return [head + self.remember(anchor) + " " + text]
        if pick < 0.6:
            body = self.block_scalar()
            return [head + self.remember(anchor) + " " + body[0]] + body[1:]
        if pick < 0.66 and self.anchors:
            return [head + " *" + self.random.choice(self.anchors)]
        if pick < 0.7:
            return self.continued(head)
        if pick < 0.76:
            tag = self.random.choice(TAGS)
            return [head + " " + tag + " " + self.tagged(tag)]
        text = self.scalar(block=True)
        comment = self.random.choice([""] * 8 + [" # words", " #", "  "])
        return [head + self.remember(anchor) + " " + text + comment]

    def anchor(self):
        if self.random.random() < 0.15:
            return self.random.choice(["x", "y", "z"]) + str(len(self.anchors))
        return ""

    def remember(self, anchor):
        if not anchor:
            return ""
        self.anchors.append(anchor)
        return " &" + anchor

    def tagged(self, tag):
        if tag == "!!binary":
            return base64.b64encode(
                self.random.choice([b"hello", b"", b"a\nb", "é".encode()])).decode()
        if tag in ("!!map", "!!set", "!!omap"):
            return "{a: 1}"
        if tag == "!!seq":
            return "[a, 1]"
        return self.random.choice(["1", "1.5", "yes", "x", "~", "'1'", "", "2001-12-14"])

    def scalar(self, block=False):
        if self.random.random() < 0.93:
            return self.random.choice(WORDS)
        text = self.random.choice(TEXTS)
        return text if block or not set(text) & set(",[]{}") else "x"

    def flow(self, depth):
        pick = self.random.random()
        if depth == 0 or pick < 0.3:
            return self.flow_scalar()
        items = self.random.randint(0, 4)
        space = self.random.choice(["", " ", " "])
        if pick < 0.6:
            return "[" + space + ("," + space).join(
                self.flow(depth - 1) for _ in range(items)) + space + "]"
        keys = self.random.sample([k for k in KEYS if k != "<<"], items)
        return "{" + space + ("," + " ").join(
            key + ": " + self.flow(depth - 1) for key in keys) + space + "}"

    def flow_scalar(self):
        for _ in range(9):
            text = self.random.choice(WORDS)
            if not set(text) & set(",[]{}\n#") and not text.endswith(":"):
                return text
        return "x"

    def block_scalar(self):
        head = self.random.choice(["|", ">"]) + self.random.choice(["", "", "-", "+"])
        step = "  " * self.random.randint(1, 2) + "    "
        lines = []
        # A comment after nothing is taken for text by one, not by the other.
        for _ in range(self.random.randint(1, 5)):
            lines.append(self.random.choice([
                step + "text", step + "  more", "", step + "# no comment",
                step + "a: b", step + "trailing ", step + "\ttab", "",
                step + "- x", step]))
        if not "".join(lines).strip():
            lines.append(step + "text")
        return [head] + lines

    def continued(self, head):
        quote = self.random.choice(["", "'", '"'])
        lines = [head + " " + quote + "first"]
        for _ in range(self.random.randint(1, 3)):
            lines.append(self.random.choice(["      next", "      more words", ""]))
        lines.append("      last" + quote)
        return lines
