# SPDX-License-Identifier: Apache-2.0
"""The table of faults: what goes wrong, where a user looks, what is there.

One list, ROWS, which faults_test.py makes true on a real cluster and from
which docs/faults.md is written:

    python3 -m e2e.faults.table > docs/faults.md
"""

import dataclasses

GITREPOS = "flotilla get gitrepos"
DESCRIBE = "flotilla describe gitrepo"
DEPLOYMENTS = "flotilla get deployments"
CLUSTERS = "flotilla get clusters"
MANAGER = "the manager's standard error"
AGENT = "the agent's standard error"
CLI = "what the command prints"


@dataclasses.dataclass(frozen=True)
class Row:
    """A fault. `make` names the method of faults_test.py that makes it.

    `words` must all stand in what `where` shows. What is in braces is filled
    in by the test: folders and addresses of that run.
    """

    fault: str
    where: str
    words: tuple
    then: str
    make: str


ROWS = (
    Row(
        "The repository cannot be reached", GITREPOS,
        ("Error", "{address}", "refused"),
        "What runs goes on. The next poll that succeeds goes on from there.",
        "unreachable_repository",
    ),
    Row(
        "The password is wrong", GITREPOS,
        ("Error", "wrong credentials", "Secret"),
        "Apply the Secret again; the next poll uses it.",
        "wrong_credentials",
    ),
    Row(
        "The SSH host key is not known", GITREPOS,
        ("Error", "unknown SSH host key", "known_hosts"),
        "Add the line to known_hosts of the Secret.",
        "unknown_host_key",
    ),
    Row(
        "The branch is not there", GITREPOS,
        ("Error", "branch", "nowhere"),
        "What runs goes on.",
        "missing_branch",
    ),
    Row(
        "The path is not there", GITREPOS,
        ("Error", "nowhere", "no resource found"),
        "What runs goes on: a typo deletes nothing.",
        "missing_path",
    ),
    Row(
        "The repository is empty", GITREPOS,
        ("Error", "is empty", "push a first commit"),
        "What runs goes on: an empty repository deletes nothing.",
        "empty_repository",
    ),
    Row(
        "A commit removes every file", GITREPOS,
        ("Error", "no resource found"),
        "What runs goes on: an empty tree deletes nothing.",
        "emptied_repository",
    ),
    Row(
        "A YAML file is broken", GITREPOS,
        ("app/broken.yaml:3",),
        "The last good commit runs on.",
        "broken_yaml",
    ),
    Row(
        "fleet.yaml has a value that its key cannot have", GITREPOS,
        ("Error", "app/fleet.yaml:2", "rolloutStrategy"),
        "The last good commit runs on.",
        "wrong_value",
    ),
    Row(
        "An object is of a kind that the cluster does not serve", GITREPOS,
        ("Submarine", "deep.sea/v1"),
        "The others are applied; this one follows when its kind is there.",
        "unknown_kind",
    ),
    Row(
        "A chart's template fails", GITREPOS,
        ("ErrApplied", "templates/settings.yaml:4"),
        "The last good commit runs on.",
        "template_error",
    ),
    Row(
        "A field that cannot be changed is changed", GITREPOS,
        ("ErrApplied", "web", "immutable"),
        "The others are applied. Revert, or give the object a new name.",
        "immutable_field",
    ),
    Row(
        "Somebody else has an object of that name", GITREPOS,
        ("ErrApplied", "taken", "janes-editor"),
        "It is not touched. Rename yours, or let Flotilla take it over.",
        "foreign_object",
    ),
    Row(
        "The API server is down", DEPLOYMENTS,
        ("API server",),
        "The agent tries again until it answers.",
        "api_server_down",
    ),
    Row(
        "The API server answers 409 for a while", DEPLOYMENTS,
        ("409", "on purpose"),
        "The agent tries again.",
        "conflicts",
    ),
    Row(
        "The API server throttles", DEPLOYMENTS,
        ("429",),
        "The agent waits as long as it is told to, then goes on.",
        "throttled",
    ),
    Row(
        "The API server has trouble", DEPLOYMENTS,
        ("503", "on purpose"),
        "The agent tries again, less and less often.",
        "server_errors",
    ),
    Row(
        "A pod never becomes ready", GITREPOS,
        ("NotReady", "web", "timed out progressing"),
        "It is never shown as Ready.",
        "failing_pod",
    ),
    Row(
        "No cluster matches the targets", GITREPOS,
        ("NotReady", "0 clusters match", "flotilla get clusters"),
        "Change the targets, or the labels of a cluster.",
        "no_cluster_matches",
    ),
    Row(
        "The manager's data directory cannot be written", MANAGER,
        ("{directory}", "data-dir"),
        "The manager ends with exit code 1.",
        "unwritable_manager",
    ),
    Row(
        "The agent's data directory cannot be written", AGENT,
        ("{directory}", "data-dir"),
        "The agent ends with exit code 1.",
        "unwritable_agent",
    ),
    Row(
        "The agent's database is damaged", AGENT,
        ("{directory}", "agent.db.damaged", "nothing is deleted"),
        "The agent sets it aside; the manager sends everything again.",
        "damaged_agent",
    ),
    Row(
        "The manager's port is in use", MANAGER,
        ("{address}", "in use"),
        "The manager ends with exit code 1.",
        "port_in_use",
    ),
    Row(
        "The manager has a certificate that the agent does not trust", AGENT,
        ("certificate", "{address}"),
        "The agent sends nothing, and tries again.",
        "foreign_manager",
    ),
    Row(
        "The agent has a certificate of another manager", AGENT,
        ("certificate", "{address}"),
        "The manager takes nothing from it.",
        "foreign_agent",
    ),
    Row(
        "The join token has been used", AGENT,
        ("token", "used", "flotilla token create"),
        "Make a new token.",
        "used_token",
    ),
    Row(
        "The join token is not one of this manager", AGENT,
        ("token", "flotilla token create"),
        "Make a new token.",
        "wrong_token",
    ),
    Row(
        "The join token is no token at all", AGENT,
        ("not a whole join token", "flotilla token create"),
        "Copy all of it, or make a new token.",
        "no_token",
    ),
    Row(
        "The manager is not there", CLI,
        ("no manager answers", "{address}", "--server"),
        "The command ends with exit code 1.",
        "no_manager",
    ),
    Row(
        "A document is wrong", CLI,
        ("wrong.yaml:", "password", "clientSecretName"),
        "Nothing of what was applied is taken; exit code 1.",
        "wrong_document",
    ),
    Row(
        "A key of a document is misspelt", CLI,
        ("warning", "misspelt.yaml:", "clusterSelectr", "clusterSelector"),
        "The document is taken without that key.",
        "misspelt_key",
    ),
)


def page():
    """docs/faults.md."""
    lines = [
        "# When something goes wrong",
        "",
        "What a user sees, and where. `e2e/faults/faults_test.py` makes each "
        "of these faults on a real",
        "cluster, looks for the words, checks that nothing was deleted that "
        "Git did not ask for, and that the",
        "next good commit goes through without help.",
        "",
        "| fault | where to look | words that are there | what happens |",
        "|---|---|---|---|",
    ]
    for row in ROWS:
        words = ", ".join(f"`{word}`" for word in row.words)
        where = (
            f"`{row.where}`" if row.where.startswith("flotilla")
            else row.where
        )
        lines.append(f"| {row.fault} | {where} | {words} | {row.then} |")
    lines += [
        "",
        "`flotilla describe gitrepo NAME` lists all problems and warnings of "
        "a repository, `flotilla get",
        "resources` each object's. Words in braces are filled in: addresses "
        "and folders.",
        "",
        "Manager and agent may be killed at any moment, in the middle of a "
        "delivery or of a deletion: once they",
        "run again they finish what was begun.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
