# SPDX-License-Identifier: Apache-2.0
"""No file of the manager or of an agent holds a secret in the clear."""

import base64
import contextlib
import os
import pathlib
import shutil
import sqlite3
import unittest

from e2e.story.documents import bundle, git_repo, secret, text
from e2e.story.scene import Scene
from e2e.testing import junit
from e2e.testing.flotilla import Manager
from e2e.testing.processes import ProcessError, wait_until

OLD_STORE = pathlib.Path("manager/store/testdata/store_v1.sql")

CANARY = "canary-5d41"
# Plain, and in base64 whatever comes before it.
FORMS = [CANARY.encode()] + [
    base64.b64encode(b"x" * shift + CANARY.encode())[4:-4]
    for shift in range(3)
]

FLEET_YAML = text({
    "defaultNamespace": "default",
    "helm": {
        "releaseName": "app",
        "values": {"password": f"{CANARY}-values"},
    },
    "targetCustomizations": [{
        "name": "dev", "clusterSelector": {},
        "helm": {
            "values": {"target": f"{CANARY}-target"},
            "valuesFiles": ["more.yaml"],
        },
    }],
})


def secret_object(name, **data):
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "stringData": data,
    }


def setUpModule():
    global scene
    scene = Scene({"dev": {"env": "dev"}})
    unittest.addModuleCleanup(scene.stop)
    scene.start()


def files_with_canary(directory):
    """(number of files, those that hold a canary) under a directory."""
    count, found = 0, []
    for file in directory.rglob("*"):
        if not file.is_file():
            continue
        count += 1
        content = file.read_bytes()
        if any(form in content for form in FORMS):
            found.append(str(file.relative_to(directory)))
    return count, found


class AtRestTest(unittest.TestCase):

    def test_secrets_lie_nowhere_in_the_clear(self):
        scene.apply(secret(
            "login", "kubernetes.io/basic-auth", username="jane",
            password=f"{CANARY}-password",
        ))
        commit = scene.repo("fleet").commit({
            "chart/fleet.yaml": FLEET_YAML,
            "chart/Chart.yaml": text({
                "apiVersion": "v2", "name": "app", "version": "1.0.0",
            }),
            "chart/values.yaml": text({"own": f"{CANARY}-own"}),
            "chart/more.yaml": text({"more": f"{CANARY}-more"}),
            "chart/templates/all.yaml":
                "apiVersion: v1\nkind: ConfigMap\n"
                "metadata: {name: all}\ndata:\n"
                "  values: {{ .Values | toJson | quote }}\n",
            "raw/secret.yaml": text(
                secret_object("raw", key=f"{CANARY}-raw")
            ),
        })
        scene.apply(
            git_repo(
                "fleet", scene.url("fleet"), ["chart", "raw"],
                clientSecretName="login",
            ),
            bundle("own", [secret_object("own", key=f"{CANARY}-bundle")]),
        )
        scene.sync("fleet")
        scene.wait_ready(git_repo="fleet", count=2, commit=commit)
        scene.wait_ready(bundle="own", count=1)
        values = scene.admin("dev").get("ConfigMap", "all", "default")[
            "data"]["values"]
        for what in ("values", "target", "own", "more"):
            self.assertIn(f"{CANARY}-{what}", values)

        places = [scene.manager.directory, scene.agents["dev"].directory]
        for place in places:
            with self.subTest(place=place.name, running=True):
                count, found = files_with_canary(place)
                self.assertGreater(count, 10)
                self.assertEqual(found, [])
        scene.manager.restart()
        scene.wait_online()
        for place in places:
            with self.subTest(place=place.name, running="again"):
                self.assertEqual(files_with_canary(place)[1], [])
        (scene.manager.directory / "planted").write_text(f"x{CANARY}x")
        self.assertEqual(
            files_with_canary(scene.manager.directory)[1], ["planted"]
        )

    def test_a_key_file_that_is_not_right_is_said_and_left_alone(self):
        manager = Manager(scene.directory / "other-manager")
        self.addCleanup(manager.kill)
        manager.start()
        manager.kill()
        key = next(manager.directory.rglob("key"))
        good = key.read_bytes()

        def refused(*words):
            with self.assertRaises(ProcessError) as ended:
                manager.start()
            for word in (str(key), *words):
                self.assertIn(word, str(ended.exception))

        os.chmod(key, 0o644)
        refused("can be read by others", "chmod 600")
        os.chmod(key, 0o600)
        key.write_bytes(b"short")
        refused("not a key", "restore it from its backup")
        key.write_bytes(bytes(32))
        refused("sealed with another key", "restore the key file")
        self.assertEqual(key.read_bytes(), bytes(32))
        key.unlink()
        refused("is missing", "restore it from its backup")
        self.assertFalse(key.exists())
        key.write_bytes(good)
        os.chmod(key, 0o600)
        manager.start()

    def test_blobs_of_another_store_are_said(self):
        manager, other = (
            Manager(scene.directory / name) for name in ("one", "two")
        )
        for each in (manager, other):
            self.addCleanup(each.kill)
            each.start()
            wait_until(
                (each.data_dir / "blobs" / "owner").exists, 10, "owner"
            )
            self.assertNotIn("warning", each.cli("version"))
            each.stop()
        shutil.copy(other.data_dir / "key", manager.data_dir / "key")
        for part in ("ca", "blobs"):
            shutil.rmtree(manager.data_dir / part)
            shutil.copytree(other.data_dir / part, manager.data_dir / part)
        for file in manager.data_dir.glob("store.db*"):
            file.unlink()
        manager.start()
        wait_until(
            lambda: "from one backup" in manager.cli("version"), 10,
            "warning of blobs of another store",
        )

    def test_an_old_store_is_not_sealed_with_a_wrong_key(self):
        manager = Manager(scene.directory / "old-manager")
        self.addCleanup(manager.kill)
        manager.start()
        manager.kill()
        for file in manager.data_dir.glob("store.db*"):
            file.unlink()
        store = manager.data_dir / "store.db"
        with contextlib.closing(sqlite3.connect(store)) as database:
            database.executescript(OLD_STORE.read_text())
        before = store.read_bytes()
        key = manager.data_dir / "key"
        good = key.read_bytes()
        key.write_bytes(bytes(32))

        with self.assertRaisesRegex(ProcessError, "sealed with another key"):
            manager.start()

        self.assertEqual(store.read_bytes(), before)
        key.write_bytes(good)
        manager.start()
        self.assertNotEqual(store.read_bytes(), before)


if __name__ == "__main__":
    junit.main()
