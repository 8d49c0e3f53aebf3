# SPDX-License-Identifier: Apache-2.0
"""What a disk can do to the agent: be full, or give back other bytes."""

import os
import pathlib
import unittest

from e2e.cluster.cluster import AGENT
from e2e.options.case import Case
from e2e.story.documents import config_map, deployment, text
from e2e.story.scene import Scene
from e2e.testing import junit
from e2e.testing.flotilla import Agent
from e2e.testing.processes import wait_until

# Into so many parts each file is cut, one of which is damaged.
PARTS = 8


class SmallDiskAgent(Agent):
    """Its data directory is a file system of its own, of few MB.

    It is made in a namespace of the process, so that nobody needs rights for
    it, and is gone with the process.
    """

    def _launch(self, argv):
        self.data_dir.mkdir(parents=True, exist_ok=True)
        super()._launch([
            "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
            'mount -t tmpfs -o size=4m none "$0" && exec "$@"',
            self.data_dir, *argv,
        ])

    def disk(self):
        """The file system as it is seen from here."""
        return pathlib.Path(
            f"/proc/{self.process.pid}/root{self.data_dir}"
        )


def setUpModule():
    Case.share(Scene({"dev": {"env": "dev"}}))


class DiskTest(Case):

    def files(self, step):
        return {"app.yaml": text(
            config_map("x", {"step": step}), config_map("same"),
            deployment("web", labels={"step": step}),
        )}

    def deliver(self, step):
        self.commit(self.files(step), defaultNamespace=self.name)
        self.sync()

    def uids(self):
        return {
            (kind, found["metadata"]["name"]): found["metadata"]["uid"]
            for kind in ("ConfigMap", "Deployment")
            for found in self.dev.list(kind, self.name)
        }

    def settle(self, step):
        self.ready()
        self.assertEqual(self.live("x")["data"], {"step": step})
        self.assertEqual(self.uids(), self.first)
        self.assertEqual(self.scene.deletes({"dev": self.began}), [])

    def begin(self):
        self.commit(self.files("begin"), defaultNamespace=self.name)
        self.follow()
        self.ready()
        self.began = self.mark()
        self.first = self.uids()

    def test_a_full_disk(self):
        scene = self.scene
        scene.agents["dev"].kill()
        agent = SmallDiskAgent(
            "dev", scene.directory / "agent-small",
            scene.fleet["dev"].kubeconfig(AGENT), scene.manager,
        )
        agent.token = scene.manager.token("small")
        self.addCleanup(scene.agents["dev"].start)
        self.addCleanup(agent.kill)
        agent.start()
        wait_until(lambda: scene.cluster("small").get("online"), 30, "small")
        self.commit(self.files("begin"), defaultNamespace=self.name)
        self.follow("small")
        self.ready()
        self.began = self.mark()
        self.first = self.uids()

        filler = agent.disk() / "filler"
        with open(filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        self.deliver("full")
        wait_until(lambda: "disk is full" in agent.log(), 60, "its complaint")
        self.assertTrue(agent.process.running())
        self.assertNotEqual(self.state("small")[0], "Ready")
        self.dev.patch("ConfigMap", "same", {"data": {"key": "drift"}},
                       self.name)
        wait_until(lambda: self.live("same")["data"] == {"key": "value"}, 60,
                   "drift put right with a full disk")
        os.remove(filler)
        self.settle("full")

    def test_other_bytes_in_every_part_of_every_file(self):
        self.begin()
        agent = self.scene.agents["dev"]
        agent.kill()
        names = sorted(
            file.relative_to(agent.data_dir)
            for file in agent.data_dir.rglob("*")
            if file.is_file() and file.stat().st_size
        )
        damaged = [
            name for name in names
            if name.parts[0] == "blobs" or name.name.startswith("agent.db")
        ]
        self.assertTrue(any(name.parts[0] == "blobs" for name in damaged))
        for part in range(PARTS):
            for group in (
                [name for name in damaged if name.parts[0] == "blobs"],
                *([name] for name in damaged if name.parts[0] != "blobs"),
            ):
                step = f"{part}-{group[0].parts[0]}"
                with self.subTest(step):
                    for name in group:
                        spoil(agent.data_dir / name, part)
                    agent.start()
                    self.scene.wait_online()
                    self.deliver(step)
                    self.settle(step)
                    agent.kill()
        agent.start()
        self.scene.wait_online()


def spoil(path, part):
    """Turns the bits of one part of a file around."""
    content = bytearray(path.read_bytes())
    first = len(content) * part // PARTS
    last = max(first + 1, len(content) * (part + 1) // PARTS)
    for at in range(first, min(last, len(content))):
        content[at] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(content)


if __name__ == "__main__":
    junit.main()
