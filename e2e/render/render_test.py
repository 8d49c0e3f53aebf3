# SPDX-License-Identifier: Apache-2.0
"""`flotilla render` over the exercise repository, and over Fleet's own examples
where they lie beside the checkout.

Fleet's examples are checked as data: for each expected output the directory is
rendered for a cluster with that environment's label and gives the same objects;
where its chart lies on the Internet and that cannot be reached, it says so.
"""

import json
import pathlib
import subprocess
import tempfile
import unittest

from e2e.testing import binaries, junit

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples" / "gitops-fleet"
CORPUS = ROOT.parent / "shared" / "corpus" / "fleet-examples"
# Put in by Fleet's agent and by Helm's releases, not by the repository.
FOREIGN_MARK = "objectset.rio.cattle.io/"


def run(*arguments):
    return subprocess.run(
        [binaries.find("tools/ctl/flotilla"), "render", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )


def render(*arguments):
    done = run(*arguments, "-o", "json")
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


def identity(obj):
    metadata = obj.get("metadata", {})
    return (
        obj["kind"], metadata.get("namespace", ""), metadata.get("name", ""),
    )


def without_marks(obj):
    metadata = obj.get("metadata", {})
    for name in ("labels", "annotations"):
        entries = {
            key: value for key, value in (metadata.get(name) or {}).items()
            if not key.startswith(FOREIGN_MARK)
        }
        metadata.pop(name, None)
        if entries:
            metadata[name] = entries
    return obj


class RenderTest(unittest.TestCase):
    def test_a_prod_cluster_gets_more_replicas_of_the_chart(self):
        objects = render(EXAMPLES / "helm", "--labels", "env=prod")
        by_id = {identity(obj): obj for obj in objects}
        namespace = "fleet-sample-helm"
        frontend = by_id[("Deployment", namespace, "guestbook-frontend")]
        self.assertEqual(3, frontend["spec"]["replicas"])
        settings = by_id[("ConfigMap", namespace, "guestbook-settings")]
        self.assertEqual("hello from the fleet", settings["data"]["greeting"])

        objects = render(EXAMPLES / "helm", "--labels", "env=staging")
        by_id = {identity(obj): obj for obj in objects}
        frontend = by_id[("Deployment", namespace, "guestbook-frontend")]
        self.assertEqual(1, frontend["spec"]["replicas"])

    def test_documents_are_in_order_and_twice_the_same(self):
        first = run(EXAMPLES / "helm", "--labels", "env=prod").stdout
        self.assertEqual(
            first, run(EXAMPLES / "helm", "--labels", "env=prod").stdout
        )
        objects = render(EXAMPLES / "helm", "--labels", "env=prod")
        self.assertEqual(
            sorted(map(identity, objects)), list(map(identity, objects))
        )

    def test_no_ownership_marks_are_printed(self):
        self.assertNotIn("flotilla.dev/", run(EXAMPLES / "helm").stdout)

    def test_an_error_names_file_and_line_and_prints_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / "broken.yaml").write_text("a: 1\nb: [\n")
            done = run(path)
            self.assertEqual(1, done.returncode)
            self.assertEqual("", done.stdout)
            self.assertRegex(done.stderr, r"broken\.yaml:\d+: ")

    def test_an_unknown_key_is_a_warning_with_the_nearest_known_one(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / "fleet.yaml").write_text("namespase: x\n")
            (path / "c.yaml").write_text(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"
            )
            done = run(path)
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertIn("fleet.yaml:1", done.stderr)
            self.assertIn("namespace", done.stderr)


@unittest.skipUnless(
    CORPUS.is_dir(),
    "Fleet's examples are not on this machine: they are no part of this "
    "project; the cases above cover the same behaviour",
)
class FleetExamplesTest(unittest.TestCase):
    def test_every_example_gives_the_objects_that_fleet_gives(self):
        expected_root = CORPUS / "tests" / "expected"
        outputs = sorted(expected_root.rglob("*-output.yaml"))
        self.assertGreater(len(outputs), 0)
        equal = 0
        for output in outputs:
            example = output.parent.relative_to(expected_root)
            environment = output.name[: -len("-output.yaml")]
            with self.subTest(example=str(example), env=environment):
                done = run(
                    CORPUS / example, "--labels", f"env={environment}",
                    "--name", "test", "-o", "json",
                )
                if done.returncode != 0:
                    self.assertIn("fetching https://", done.stderr)
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    # The same reader for both sides.
                    copy = pathlib.Path(folder) / "expected.yaml"
                    copy.write_text(output.read_text())
                    wanted = render(copy.parent)
                self.assertEqual(
                    sorted(map(without_marks, wanted), key=identity),
                    sorted(
                        map(without_marks, json.loads(done.stdout)),
                        key=identity,
                    ),
                )
                equal += 1
        self.assertGreater(equal, 0)


if __name__ == "__main__":
    junit.main()
