# SPDX-License-Identifier: Apache-2.0
"""Our reader of YAML against Kubernetes' own (sigs.k8s.io/yaml, in Go): the same
text must give the same JSON, or be an error for both, but for what is listed
here with its reason.

The texts are those of this tree, those of the corpus where it lies beside the
checkout, and generated ones.
"""

import base64
import json
import pathlib
import re
import subprocess
import unittest

from e2e.testing import binaries, junit
from e2e.yaml import generator

ROOT = pathlib.Path(__file__).resolve().parents[2]
CORPUS = ROOT.parent / "shared" / "corpus"

# Errors of ours alone.
STRICTER = [
    # Types that JSON does not have; Go takes the value for a text.
    r"its tag, the word that begins with `!`, is not supported",
    # Go compares keys before they become texts: 1 and 1.0, true and yes.
    r"the key .* is there twice in the same map",
    # Go drops such a value when the same key comes once more.
    r"\.inf and \.nan cannot be written in JSON",
    r"null cannot be a key",
]

# Errors of Kubernetes alone.
LENIENT = [
    # A text that begins with a tab, in a block; a line of tabs.
    r"found a tab character where an indentation space is expected",
    r"found character that cannot start any token",
    # ":a" in brackets.
    r"did not find expected node content",
    # What no date is stays the text that it is.
    r"as a !!timestamp",
    # "\/" is JSON.
    r"found unknown escape character",
    # An empty list for a merge key.
    r"map merge requires map or sequence of maps",
    # Empty documents are passed over.
    r"there is a second document",
    # "..." in a block, and at the end of an open bracket.
    r"could not find expected ':'",
    r"found unexpected end of stream",
    # A percent sign inside of a document.
    r"found unknown directive name",
]

# Where the two readers split tokens in other ways, and none is of use: anchors
# and tags with marks in them, a colon before a comma in brackets, keys that are
# negative zero or too large for a float, a last line of spaces that never ends.
ODD = re.compile(
    r"[&!*?%]|:\s*[,\]}]|-0\.0|\d{3}:|e\d{3}|\d:$|\n +\Z", re.MULTILINE)


def plain(value):
    """Without the ways to write a number that is too large for an integer."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**64 else float(value)
    return value


def same(left, right):
    """Equal, and a boolean is no number."""
    return plain(left) == plain(right) and (
        json.dumps(plain(left), sort_keys=True).count("true")
        == json.dumps(plain(right), sort_keys=True).count("true")
    )


def ask(program, texts):
    lines = "\n".join(
        base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()
        for text in texts
    )
    done = subprocess.run(
        [binaries.find(program)], input=lines + "\n", capture_output=True,
        text=True, timeout=300, check=True,
    )
    answers = [json.loads(line) for line in done.stdout.split("\n") if line]
    if len(answers) != len(texts):
        raise AssertionError(
            f"{program} gave {len(answers)} answers to {len(texts)} texts")
    return answers


def documents(text):
    """The documents of a file, each a text of its own."""
    parts = [[]]
    for line in text.splitlines(keepends=True):
        if re.match(rb"---(\s|$)", line):
            parts.append([])
            line = line[3:].lstrip(b" \t")
        parts[-1].append(line)
    return [b"".join(part) for part in parts]


class DifferentialTest(unittest.TestCase):
    def compare(self, texts, mutated=False):
        """Gives how many texts both readers took."""
        kubernetes = ask("manager/render/worker/yamljson", texts)
        ours = ask("e2e/yaml/yaml_to_json", texts)
        taken = 0
        wrong = []
        for text, want, got in zip(texts, kubernetes, ours):
            if "error" in want and "error" in got:
                continue
            if "error" not in want and "error" not in got:
                taken += 1
                if same(want.get("json"), got.get("json")):
                    continue
            elif mutated:
                continue
            elif "error" in got:
                if any(re.search(words, got["error"]) for words in STRICTER):
                    continue
            elif any(re.search(words, want["error"]) for words in LENIENT):
                continue
            wrong.append(f"{text!r}\n  Kubernetes: {want}\n  ours:       {got}")
        self.assertFalse(wrong, f"{len(wrong)} differ:\n" + "\n".join(wrong[:10]))
        return taken

    def test_generated_documents_give_the_same_json(self):
        for seed in range(1, 5):
            stream = generator.Generator(seed)
            texts = [stream.document() for _ in range(5000)]
            self.assertGreater(self.compare(texts), 2500)

    def test_damaged_documents_that_both_take_give_the_same_json(self):
        stream = generator.Generator(7)
        texts = []
        while len(texts) < 8000:
            text = stream.mutated(stream.document())
            if not ODD.search(text):
                texts.append(text)
        self.assertGreater(self.compare(texts, mutated=True), 2000)

    def test_documents_of_this_tree_give_the_same_json(self):
        self.compare_files(ROOT / "docs")

    def test_documents_of_the_corpus_give_the_same_json(self):
        if not CORPUS.is_dir():
            print(f"{CORPUS} is not on this machine: nothing to compare")
            return
        self.compare_files(CORPUS)

    def compare_files(self, folder):
        texts = []
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".yaml", ".yml", ".json") and path.is_file():
                # Templates of charts are no YAML before they are rendered.
                if path.stat().st_size < 1 << 20 and "templates" not in path.parts:
                    texts += documents(path.read_bytes())
        self.assertGreater(len(texts), 0)
        self.assertGreater(self.compare(texts), 0)


if __name__ == "__main__":
    junit.main()
