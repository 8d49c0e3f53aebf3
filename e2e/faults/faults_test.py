# SPDX-License-Identifier: Apache-2.0
"""Each fault of the table, on a real cluster: words, no harm, recovery.

What to see in which case is data, in table.py. Here is how each fault is made
and mended. Every row begins with a commit that is deployed, where there is a
repository, and ends with one.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import unittest

from e2e.cluster.cluster import AGENT, JANE
from e2e.cluster.faults import RefusedWrites, throttled
from e2e.faults import table
from e2e.story.documents import (
    config_map, deployment, git_repo, on, secret, text,
)
from e2e.story.scene import Scene
from e2e.testing import binaries, junit
from e2e.testing.flotilla import Agent, CliError, Manager, cli
from e2e.testing.git_server import GitServer
from e2e.testing.processes import ProcessError, free_port, wait_until
from e2e.testing.repo import Repo
from e2e.testing.ssh_server import SshServer

_PAGE = binaries.ROOT / "docs" / "faults.md"


def setUpModule():
    global scene
    scene = Scene({"dev": {"env": "dev"}})
    unittest.addModuleCleanup(scene.stop)
    scene.start()


class Case:
    """A row while it is tried: a repository of its own and its GitRepo."""

    def __init__(self, row, cleanups):
        self.row = row
        self.name = row.make.replace("_", "-")
        self.cleanups = cleanups
        self.cluster = scene.fleet["dev"]
        self.admin = scene.admin("dev")
        self.directory = scene.directory / f"case-{self.name}"
        self.directory.mkdir()
        self.server = None
        self.repo = None
        self.spec = {}
        # What AGENT, MANAGER and CLI rows show.
        self.said = lambda: ""
        self._commits = 0

    # The good state.

    def deliver(self, url=None, files=None, users=None, **spec):
        """A good first commit, deployed."""
        self.server = GitServer(self.directory / "git", users).start()
        self.cleanups.callback(self.server.stop)
        self.repo = Repo(self.server.root / "fleet.git")
        self.spec = {
            "url": url or self.server.url("fleet.git"), "paths": ["app"],
            "targets": on("dev"), "targetNamespace": self.name, **spec,
        }
        head = self.commit(files or {})
        self.cleanups.callback(self.leave)
        self.document()
        self.ready(head)

    def leave(self):
        scene.delete("gitrepo", self.name, True)
        with contextlib.suppress(TimeoutError):
            scene.wait_gone(git_repo=self.name, timeout=30)

    def commit(self, files):
        """Commits `files` and a settings object that shows which it was."""
        self._commits += 1
        return self.repo.commit({
            "app/settings.yaml": text(
                config_map("settings", {"commit": str(self._commits)})
            ),
            **files,
        }, f"commit {self._commits}")

    def document(self, **change):
        """Applies the GitRepo, with what is different in it."""
        spec = {**self.spec, **change}
        scene.apply(git_repo(self.name, spec.pop("url"), **spec))
        self.sync()

    def sync(self):
        """Polls; that it fails is seen by the user, and here is no error."""
        with contextlib.suppress(CliError):
            scene.sync(self.name)

    def broken(self, files):
        """A commit with something wrong in it."""
        head = self.commit(files)
        self.sync()
        return head

    def next_good_commit(self, files=None):
        """What must go through without help."""
        if self.repo is None:
            return
        head = self.commit(files or {})
        self.sync()
        self.ready(head)
        self.expect_settings()

    def ready(self, head):
        scene.wait_ready(
            git_repo=self.name, count=len(self.spec["paths"]), commit=head
        )

    def expect_settings(self):
        live = self.live("settings")
        if live["data"] != {"commit": str(self._commits)}:
            raise AssertionError(f"settings are {live['data']}")

    def live(self, name, kind="ConfigMap"):
        return self.admin.find(kind, name, self.name)

    # What the user sees.

    def look(self):
        where = self.row.where
        if where == table.GITREPOS:
            return scene.manager.cli("get", "gitrepos", self.name)
        if where == table.DEPLOYMENTS:
            return scene.manager.cli(
                "get", "deployments", "--gitrepo", self.name
            )
        return self.said()

    def apply_file(self, name, *docs):
        """Applies a file; what the command printed is what the row shows."""
        file = self.directory / name
        file.write_text(text(*docs), encoding="utf-8")
        output = _output_of(
            "apply", "-f", file, server=scene.manager.admin_address
        )
        self.said = lambda: output

    # Programs beside the scene's.

    def agent(self, name, manager=None, **options):
        """One more agent; its log is what the row shows."""
        agent = Agent(
            name, self.directory / name, self.cluster.kubeconfig(AGENT),
            manager or scene.manager, **options,
        )
        self.cleanups.callback(agent.kill)
        self.said = lambda: agent.log() if agent.process else ""
        return agent

    def manager(self, name="other"):
        manager = Manager(self.directory / name)
        self.cleanups.callback(manager.kill)
        return manager

    def expect_exit(self, program):
        """Starts what cannot run; it must end by itself with code 1."""
        with contextlib.suppress(ProcessError):
            program.start()
        self.said = program.log
        code = program.process.wait(timeout=20)
        if code != 1:
            raise AssertionError(f"exit code {code}: {program.log()}")


class Faults:
    """How each fault is made; what follows `yield` mends it."""

    def unreachable_repository(self, case):
        case.deliver()
        case.server.stop()
        case.sync()
        yield {"address": f"127.0.0.1:{case.server.port}"}
        case.server.start()

    def wrong_credentials(self, case):
        def credentials(password):
            scene.apply(secret(
                case.name, "kubernetes.io/basic-auth", username="ci",
                password=password,
            ))

        credentials("right")
        case.cleanups.callback(scene.delete, "secret", case.name, True)
        case.deliver(users={"ci": "right"}, clientSecretName=case.name)
        credentials("canary-wrong")
        case.broken({})
        yield {}
        assert "canary-wrong" not in scene.manager.log()
        credentials("right")

    def unknown_host_key(self, case):
        missing = SshServer.missing()
        if missing:
            raise unittest.SkipTest(missing)
        server = case.cleanups.enter_context(SshServer(case.directory / "ssh"))

        def credentials(known_hosts):
            scene.apply(secret(
                case.name, "kubernetes.io/ssh-auth",
                ssh_privatekey=server.key_file.read_text(),
                known_hosts=known_hosts,
            ))

        credentials(server.known_hosts)
        case.cleanups.callback(scene.delete, "secret", case.name, True)
        case.deliver(
            url=server.url(case.directory / "git" / "fleet.git"),
            clientSecretName=case.name,
        )
        other = server.known_hosts.replace("127.0.0.1", "127.0.0.2")
        credentials(other)
        case.broken({})
        yield {}
        credentials(server.known_hosts)

    def missing_branch(self, case):
        case.deliver()
        case.document(branch="nowhere")
        yield {}
        case.document()

    def missing_path(self, case):
        case.deliver()
        case.document(paths=["nowhere"])
        yield {}
        case.document()

    def empty_repository(self, case):
        case.deliver()
        for folder in (case.repo.path, case.repo.work):
            shutil.rmtree(folder)
        case.repo = Repo(case.repo.path)
        case.sync()
        yield {}

    def emptied_repository(self, case):
        case.deliver()
        case.repo.commit({"app": None}, "remove everything")
        case.sync()
        yield {}

    def broken_yaml(self, case):
        case.deliver()
        case.broken({"app/broken.yaml": "a: 1\nb:\n  - [1, 2\nc: 3\n"})
        yield {}
        case.repo.write({"app/broken.yaml": None})

    def wrong_value(self, case):
        case.deliver()
        case.broken({
            "app/fleet.yaml":
                "labels: {}\nrolloutStrategy: 7\n",
        })
        yield {}
        case.repo.write({"app/fleet.yaml": None})

    def unknown_kind(self, case):
        case.deliver()
        case.broken({"app/boat.yaml": text({
            "apiVersion": "deep.sea/v1", "kind": "Submarine",
            "metadata": {"name": "nautilus"},
        })})
        yield {}
        case.expect_settings()
        case.repo.write({"app/boat.yaml": None})

    def template_error(self, case):
        chart = {
            "chart/Chart.yaml": "apiVersion: v2\nname: c\nversion: 0.1.0\n",
            "chart/templates/settings.yaml":
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: chart}\n"
                "data: {a: {{ .Values.a | quote }}}\n",
            "chart/values.yaml": "a: 1\n",
        }
        case.deliver(files=chart, paths=["app", "chart"])
        self_made = case.live("chart")["metadata"]["uid"]
        broken = chart["chart/templates/settings.yaml"].replace(
            ".Values.a ", ".Values.no.such.value "
        )
        case.broken({"chart/templates/settings.yaml": broken})
        yield {}
        assert case.live("chart")["metadata"]["uid"] == self_made
        case.repo.write(chart)

    def immutable_field(self, case):
        files = {"app/web.yaml": text(deployment("web"))}
        case.deliver(files=files)
        case.broken({"app/web.yaml": text({
            **deployment("web"), "spec": deployment("other")["spec"],
        })})
        yield {}
        case.expect_settings()
        case.repo.write(files)

    def foreign_object(self, case):
        case.deliver()
        jane = case.cluster.client(JANE)
        hers = jane.create(
            config_map("taken", {"by": "jane"}, case.name),
            field_manager="janes-editor",
        )
        case.broken({
            "app/taken.yaml": text(config_map("taken", {"by": "us"})),
        })
        yield {}
        case.expect_settings()
        case.repo.write({
            "app/taken.yaml": text(config_map("renamed", {"by": "us"})),
        })
        case.next_good_commit()
        assert case.live("taken")["data"] == {"by": "jane"}
        assert (case.live("taken")["metadata"]["uid"]
                == hers["metadata"]["uid"])
        assert case.live("renamed")["data"] == {"by": "us"}

    def api_server_down(self, case):
        case.deliver()
        case.cluster.kill_api_server()
        try:
            case.broken({})
            yield {}
        finally:
            case.cluster.start_api_server()

    def conflicts(self, case):
        yield from self._refused(case, 409)

    def server_errors(self, case):
        yield from self._refused(case, 503)

    def _refused(self, case, code):
        case.deliver()
        with RefusedWrites(case.cluster, code):
            head = case.broken({})
            yield {}
        # What was refused follows without a new commit.
        case.ready(head)
        case.expect_settings()

    def throttled(self, case):
        case.deliver()
        with throttled(case.cluster):
            head = case.broken({})
            yield {}
        case.ready(head)
        case.expect_settings()

    def failing_pod(self, case):
        good = {"app/web.yaml": text(deployment("web"))}
        case.deliver(files=good)
        case.broken({"app/web.yaml": text(deployment(
            "web", labels={"flotilla.test/fail": "crash"},
            progressDeadlineSeconds=2,
        ))})
        yield {}
        case.repo.write(good)

    def no_cluster_matches(self, case):
        case.deliver()
        scene.apply(git_repo(
            f"{case.name}-2", case.spec["url"], ["app"],
            ({"clusterSelector": {"matchLabels": {"env": "typo"}}},),
            targetNamespace=f"{case.name}-2",
        ))
        case.cleanups.callback(
            scene.delete, "gitrepo", f"{case.name}-2", True
        )
        first, case.name = case.name, f"{case.name}-2"
        case.sync()
        yield {}
        # Labels of the cluster decide from then on.
        case.name = first

    def unwritable_manager(self, case):
        manager = case.manager()
        manager.data_dir.write_text("a file in its place")
        case.expect_exit(manager)
        yield {"directory": str(manager.data_dir)}
        manager.data_dir.unlink()
        manager.process = None
        manager.start()

    def unwritable_agent(self, case):
        agent = case.agent("unwritable")
        agent.data_dir.write_text("a file in its place")
        case.expect_exit(agent)
        yield {"directory": str(agent.data_dir)}
        agent.data_dir.unlink()
        agent.start()
        scene.wait_online(["unwritable"])

    def damaged_agent(self, case):
        agent = case.agent("damaged").start()
        scene.wait_online(["damaged"])
        agent.kill()
        # What lies in the log is good for all pages of the file.
        (agent.data_dir / "agent.db-wal").unlink(missing_ok=True)
        (agent.data_dir / "agent.db").write_bytes(b"x" * 8192)
        agent.start()
        yield {"directory": str(agent.data_dir)}
        scene.wait_online(["damaged"])

    def port_in_use(self, case):
        manager = case.manager()
        with socket.socket() as squatter:
            host, _, port = manager.address.partition(":")
            squatter.bind((host, int(port)))
            squatter.listen()
            case.expect_exit(manager)
            yield {"address": manager.address}
        manager.process = None
        manager.start()

    def foreign_manager(self, case):
        other = case.manager().start()
        agent = case.agent("misled", token=other.token("misled"))
        agent.start()
        yield {"address": scene.manager.address}
        assert not _known("misled")
        agent.kill()
        shutil.rmtree(agent.data_dir)
        agent.token = None
        agent.start()
        scene.wait_online(["misled"])

    def foreign_agent(self, case):
        other = case.manager().start()
        agent = case.agent("stray", other)
        agent.start()
        wait_until(
            lambda: other.cli_json("get", "clusters", "stray")["clusters"][0]
            .get("online"), 30, "connection to the other manager",
        )
        agent.kill()
        agent.manager = scene.manager
        agent.start()
        yield {"address": scene.manager.address}
        assert not _known("stray")
        agent.kill()
        shutil.rmtree(agent.data_dir)
        agent.token = None
        agent.start()
        scene.wait_online(["stray"])

    def used_token(self, case):
        first = case.agent("early")
        first.start()
        scene.wait_online(["early"])
        late = case.agent("late", token=first.token)
        late.start()
        yield {}
        late.kill()
        late.token = None
        late.start()
        scene.wait_online(["late"])

    def wrong_token(self, case):
        other = case.manager().start()
        token = scene.manager.token("wrong")
        # Of the right form and for the right manager, yet not one it made.
        strange = other.token("wrong")
        mixed = _mix(token, strange)
        agent = case.agent("wrong", token=mixed)
        agent.start()
        yield {}
        agent.kill()
        agent.token = token
        agent.start()
        scene.wait_online(["wrong"])

    def no_token(self, case):
        agent = case.agent("garbled", token="not-a-token")
        agent.start()
        yield {}
        agent.kill()
        agent.token = None
        agent.start()
        scene.wait_online(["garbled"])

    def no_manager(self, case):
        address = f"127.0.0.1:{free_port()}"
        case.said = lambda: _output_of("get", "clusters", server=address)
        yield {"address": address}

    def wrong_document(self, case):
        good = git_repo("never-there", "https://example.org/x.git")
        bad = git_repo("wrong", "https://me:canary-url@example.org/x.git")
        case.apply_file("wrong.yaml", good, bad)
        yield {}
        assert "canary" not in case.said() + scene.manager.log()
        assert "never-there" not in scene.manager.cli("get", "gitrepos")

    def misspelt_key(self, case):
        doc = git_repo(
            "misspelt", scene.url("never"), ["app"],
            [{"name": "x", "clusterSelectr": {}}],
        )
        case.cleanups.callback(scene.delete, "gitrepo", "misspelt", True)
        case.apply_file("misspelt.yaml", doc)
        yield {}


class FaultsTest(unittest.TestCase):
    """A test for each row; they are added below."""

    def try_row(self, row):
        with contextlib.ExitStack() as cleanups:
            case = Case(row, cleanups)
            marks = scene.marks()
            steps = getattr(Faults(), row.make)(case)
            try:
                self.look_and_mend(case, steps, marks)
            except unittest.SkipTest:
                raise
            except Exception:
                steps.close()
                print(scene.log_tails(), flush=True)
                raise

    def look_and_mend(self, case, steps, marks):
        fill = next(steps)
        words = [word.format(**fill) for word in case.row.words]
        seen = []

        def told():
            seen[:] = [case.look()]
            return all(word in seen[0] for word in words)

        try:
            wait_until(told, 30, "the words")
        except TimeoutError:
            missing = [w for w in words if not seen or w not in seen[0]]
            steps.close()
            self.fail(
                f"{case.row.where} lacks {missing}:\n{''.join(seen)}\n"
                f"{self.more(case)}"
            )
        print(f"{case.row.fault}:\n{seen[0]}", flush=True)
        next(steps, None)
        case.next_good_commit()
        self.assertEqual(scene.deletes(marks), [], "deleted without Git")

    def more(self, case):
        if case.repo is None:
            return ""
        return scene.manager.cli("describe", "gitrepo", case.name)


def _test_of(row):
    def test(self):
        self.try_row(row)

    return test


for _row in table.ROWS:
    setattr(FaultsTest, f"test_{_row.make}", _test_of(_row))


class PageTest(unittest.TestCase):

    def test_the_page_is_what_the_table_says(self):
        self.assertEqual(
            _PAGE.read_text(encoding="utf-8"), table.page(),
            "run python3 -m e2e.faults.table > docs/faults.md",
        )


class KillTest(unittest.TestCase):
    """Manager and agent die in the middle of things, and start again."""

    OBJECTS = 60

    def setUp(self):
        self.name = "kill-" + self._testMethodName[5:].replace("_", "-")
        self.cluster = scene.fleet["dev"]
        self.admin = scene.admin("dev")
        self.repo = scene.repo(self.name)
        self.repo.commit({"app/kept.yaml": text(config_map("kept"))}, "first")
        scene.apply(git_repo(
            self.name, scene.url(self.name), ["app", "many/*"], on("dev"),
            targetNamespace=self.name,
        ))
        self.addCleanup(scene.delete, "gitrepo", self.name, True)
        scene.wait_ready(git_repo=self.name, count=1)
        self.marks = scene.marks()

    def files(self):
        """Many bundles of three objects each."""
        return {
            f"many/d{i // 3:02}/o{i:02}.yaml": text(
                config_map(f"o{i:02}", {"commit": "1"})
            )
            for i in range(self.OBJECTS)
        }

    def count(self):
        return len([
            o for o in self.admin.list("ConfigMap", self.name)
            if re.fullmatch(r"o\d\d", o["metadata"]["name"])
        ])

    def deliver(self):
        head = self.repo.commit(self.files(), "many")
        scene.sync(self.name)
        self.ready(head)

    def ready(self, head, bundles=1 + OBJECTS // 3, changes=True):
        try:
            scene.wait_ready(
                git_repo=self.name, count=bundles, commit=head,
                changes=changes, timeout=90,
            )
        except TimeoutError as error:
            self.fail(f"{error}\n{scene.log_tails()}")

    @contextlib.contextmanager
    def slow_writes(self):
        """So that there is a middle."""
        with RefusedWrites(
            self.cluster, delay=0.15, matches=lambda request: False
        ):
            yield

    def kill_three_times(self, program, reached):
        """Kills and starts again as soon as each of these is `reached`."""
        for share in (0.05, 0.35, 0.7):
            try:
                wait_until(
                    lambda: reached(share * self.OBJECTS), 60,
                    f"{share:.0%} of the work", every=0.01,
                )
            except TimeoutError as error:
                self.fail(
                    f"{error}\n"
                    + scene.manager.cli("get", "gitrepos", self.name)
                    + scene.manager.cli("get", "clusters")
                    + scene.manager.cli(
                        "get", "deployments", "--gitrepo", self.name
                    ) + scene.log_tails()
                )
            program.restart()

    def deliver_while_killing(self, program):
        with self.slow_writes():
            head = self.repo.commit(self.files(), "many")
            scene.sync(self.name)
            self.kill_three_times(program, lambda n: self.count() >= n)
            self.ready(head)

        self.assertEqual(self.count(), self.OBJECTS)
        self.assertEqual(scene.deletes(self.marks), [])
        self.next_good_commit()

    def delete_while_killing(self, program):
        self.deliver()
        kept = self.admin.get("ConfigMap", "kept", self.name)
        marks = scene.marks()
        with self.slow_writes():
            head = self.repo.commit({"many": None}, "no more")
            scene.sync(self.name)
            self.kill_three_times(
                program, lambda n: self.count() <= self.OBJECTS - n
            )
            self.ready(head, 1, changes=False)
            wait_until(lambda: self.count() == 0, 60, "end of the objects")

        self.assertEqual(
            sorted(set(scene.deletes(marks))), sorted(
                f"dev: delete configmaps {self.name}/o{i:02}"
                for i in range(self.OBJECTS)
            ),
        )
        self.assertEqual(
            self.admin.get("ConfigMap", "kept", self.name)["metadata"]["uid"],
            kept["metadata"]["uid"],
        )
        self.next_good_commit()

    def next_good_commit(self):
        head = self.repo.commit({
            "app/kept.yaml": text(config_map("kept", {"commit": "last"})),
        }, "last")
        scene.sync(self.name)
        bundles = len(scene.deployments(self.name))
        self.ready(head, bundles)
        live = self.admin.get("ConfigMap", "kept", self.name)
        self.assertEqual(live["data"], {"commit": "last"})

    def test_manager_in_delivery(self):
        self.deliver_while_killing(scene.manager)

    def test_agent_in_delivery(self):
        self.deliver_while_killing(scene.agents["dev"])

    def test_manager_in_deletion(self):
        self.delete_while_killing(scene.manager)

    def test_agent_in_deletion(self):
        self.delete_while_killing(scene.agents["dev"])


class StrangerTest(unittest.TestCase):
    """What speaks to the agents' listener without being an agent of ours."""

    def grpcurl(self, *arguments):
        return subprocess.run(
            [binaries.find("e2e/cluster/grpcurl/grpcurl"), "-max-time", "10",
             *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=60,
        )

    def test_a_certificate_of_nobody_opens_no_session(self):
        if not shutil.which("openssl"):
            self.skipTest("no openssl command on this machine")
        folder = scene.directory / "stranger"
        folder.mkdir()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=dev",
             "-addext", "subjectAltName=URI:spiffe://flotilla/cluster/x",
             "-keyout", folder / "key", "-out", folder / "cert"],
            check=True, capture_output=True,
        )

        done = self.grpcurl(
            "-insecure", "-cert", folder / "cert", "-key", folder / "key",
            "-d", '{"hello": {}}', scene.manager.address,
            "flotilla.agent.v1.AgentService/Session",
        )

        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, "Unauthenticated|certificate")

    def test_without_a_certificate_there_is_no_session(self):
        done = self.grpcurl(
            "-insecure", "-d", '{"hello": {}}', scene.manager.address,
            "flotilla.agent.v1.AgentService/Session",
        )

        self.assertNotEqual(done.returncode, 0)
        self.assertIn("Unauthenticated", done.stderr)


def _known(cluster):
    with contextlib.suppress(CliError):
        return bool(scene.cluster(cluster).get("clusterId"))
    return False


def _output_of(*arguments, server):
    """What a command prints; one that fails must have exit code 1."""
    try:
        return cli(*arguments, server=server)
    except CliError as error:
        assert error.code == 1, error
        return error.stderr


def _mix(token, strange):
    """The token with the secret of another one."""
    mine, other = token.split("."), strange.split(".")
    return ".".join(
        theirs if index == 2 else own
        for index, (own, theirs) in enumerate(zip(mine, other))
    )


if __name__ == "__main__":
    junit.main()
