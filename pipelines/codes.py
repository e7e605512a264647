"""The table of problems: what each code means, and how to mend it."""

from __future__ import annotations

from pipelines.values import Value


class Explanation(Value):
    """What the reference says of one code."""

    title: str
    meaning: str
    remedy: str


def _explain(title: str, meaning: str, remedy: str) -> Explanation:
    return Explanation(title=title, meaning=meaning, remedy=remedy)


CODES: dict[str, Explanation] = {
    "P001": _explain(
        "not YAML",
        "The file cannot be read as YAML: a bracket or quote is open, a line is indented by "
        "another amount than its neighbours, or a tab is used for indenting.",
        "Look at the line named and the one above it. Indent with spaces.",
    ),
    "P002": _explain(
        "file too large",
        "A pipeline file may hold 256 KiB.",
        "Move long commands into a script in the repository, or split the pipeline into several "
        "files in `.lading/`.",
    ),
    "P003": _explain(
        "file too deep or too long",
        "The file nests deeper, or holds more values (each alias counted as all it stands for), "
        "than any pipeline needs.",
        "Write less nesting, fewer aliases, or several files in `.lading/`.",
    ),
    "P004": _explain(
        "unreadable character",
        "The file is not UTF-8 text, or a value holds a character that is not text.",
        "Save the file as UTF-8 and take the character out.",
    ),
    "P005": _explain(
        "YAML that is not used here",
        "A pipeline is one YAML document of plain texts, lists and keys: no tags (`!!int`), no "
        "second document, no lists or maps as keys.",
        "Write the value plainly; every value is read as text first, so `3.10` stays `3.10`.",
    ),
    "P006": _explain(
        "duplicate key",
        "The same key stands twice in one place, so that one of the two would be lost.",
        "Keep one of them, or join the two.",
    ),
    "P010": _explain(
        "unknown key",
        "The key means nothing in this place. The hint names the key that was probably meant, "
        "or the place where the key belongs.",
        "Use the key from the hint.",
    ),
    "P011": _explain(
        "not supported yet",
        "The pipeline language has this, but this version of Lading does not do it yet. It is an "
        "error because leaving it out silently would run something else than you wrote.",
        "Take it out.",
    ),
    "P012": _explain(
        "missing key",
        "A key that this place must have is not there.",
        "Add it.",
    ),
    "P013": _explain(
        "wrong shape",
        "A text stands where a list or keys are wanted, or the other way round.",
        "Write it in the shape that the message names.",
    ),
    "P014": _explain(
        "empty value",
        "A key is there with nothing behind it.",
        "Give it a value, or take the key out.",
    ),
    "P015": _explain(
        "bad name",
        "Names of pipelines and steps are shown on pages, in statuses and in container names: "
        "they start with a letter or digit and go on with letters, digits, `-` and `_` (a "
        "pipeline's also with `.`), 63 at most.",
        "Choose such a name.",
    ),
    "P016": _explain(
        "unknown word",
        "The key takes one of a few words, and this is none of them.",
        "Use one of those that the hint names.",
    ),
    "P020": _explain(
        "bad duration",
        "A duration is written like `90s`, `30m`, `1h30m` or `2d`, from one second to seven days.",
        "Write it so, with its unit.",
    ),
    "P021": _explain(
        "unknown event",
        "`event` takes push, pull_request, tag, schedule and manual.",
        "Use one of these words.",
    ),
    "P022": _explain(
        "bad pattern",
        "Patterns are matched against whole names from their start; paths start at the "
        "repository's root. A leading `/`, `./` or `!` could never match.",
        "Leave the sign out; use `exclude` for what shall not count.",
    ),
    "P023": _explain(
        "bad variable",
        "Names of environment variables and build arguments are letters, digits and `_`, and do "
        "not start with a digit. `CI`, `CI_…` and `LADING_…` are set by Lading.",
        "Choose another name.",
    ),
    "P024": _explain(
        "path outside the repository",
        "`context` and `dockerfile` are paths from the repository's root that stay inside it.",
        "Write a relative path without `..`.",
    ),
    "P025": _explain(
        "bad image name",
        "An image is named like `python:3.12-slim` or `ghcr.io/acme/tools@sha256:…`, in lower "
        "case, or taken from this pipeline with `{from: build.web}`.",
        "Mend the name.",
    ),
    "P026": _explain(
        "bad repository",
        "`to` is a registry and a path in it, in lower case and without a tag: "
        "`ghcr.io/acme/web`. On Docker Hub: `docker.io/acme/web`.",
        "Write the registry's host first; put tags into `tags`.",
    ),
    "P027": _explain(
        "bad tag",
        "A tag is made of letters, digits, `.`, `_` and `-`, does not start with `.` or `-`, and "
        "has 128 characters at most.",
        "Mend the tag.",
    ),
    "P028": _explain(
        "unknown placeholder",
        "Placeholders are looked up in a fixed table; the reference lists it.",
        "Use one from the table. In commands use the environment variables instead.",
    ),
    "P029": _explain(
        "commands too long",
        "The commands of one step may hold 100 KB.",
        "Put them into a script in the repository and call it.",
    ),
    "P030": _explain(
        "empty pipeline",
        "The file has no step in `build`, `test` or `push`, so there is nothing to run.",
        "Add one; the smallest is `build: {web: {}}`.",
    ),
    "P031": _explain(
        "too many steps",
        "A pipeline may have 1000 steps.",
        "Split it into several files in `.lading/`.",
    ),
    "P032": _explain(
        "need of an unknown step",
        "`needs` names steps as `stage.name`, like `build.web`; this one is not in the file.",
        "Name a step of this file.",
    ),
    "P033": _explain(
        "steps in a circle",
        "The steps wait for each other, so none could ever start. A step without `needs` waits "
        "for the whole stage before it.",
        "Take one of the needs out.",
    ),
    "P034": _explain(
        "no such build",
        "`from` names a step of `build` as `build.name`; this one is not in the file. A push "
        "without `image` takes the build of its own name.",
        "Name a build of this file.",
    ),
    "P035": _explain(
        "no image",
        "A test without `image` runs in the image that the file builds, where it builds exactly "
        "one; here it builds none, or several.",
        "Add `image`: a name, or `{from: build.web}`.",
    ),
    "P036": _explain(
        "neither true nor false",
        "The key takes `true` or `false`, and no other word for the same.",
        "Write one of the two.",
    ),
    "P037": _explain(
        "bad group",
        "A group's name is one line of at most 100 characters. `${run}` is different in every run, "
        "so no two runs would ever share the group.",
        "Name what the runs share, like `deploy-${branch}`, or leave `group` out.",
    ),
    "P040": _explain(
        "placeholder without a value",
        "The image's name holds a placeholder that has no value for this event, as `${tag}` for "
        "a push to a branch.",
        "Give the step a `when` with the events that have the value.",
    ),
    "P041": _explain(
        "bad channel",
        "A channel is a tag in the registry that moves: letters, digits, `.`, `_` and `-`, without "
        "placeholders. Tags of commits (`sha-…`) and versions (`v1.2.3`) are never moved.",
        "Choose a name like `production`.",
    ),
    "P042": _explain(
        "channel without a push",
        "A channel is moved to what the pushes before it put into a registry, and this deploy "
        "waits for none.",
        "Add a step of `push`, and name it in `needs` where the deploy has any.",
    ),
    "P043": _explain(
        "channel with two images",
        "Two of the pushes that the deploy waits for put different images into one repository, so "
        "it is not clear which one the channel shall lead to.",
        "Name one of the two pushes in `needs`, or push to two repositories.",
    ),
    "P050": _explain(
        "bad size",
        "A size is written like `512MiB` or `2GiB`; a container needs 6 MiB at least.",
        "Write it so, with its unit.",
    ),
    "P051": _explain(
        "bad number of CPUs",
        "`cpus` is a number above 0, like `2` or `0.5`.",
        "Write such a number.",
    ),
    "P053": _explain(
        "bad matrix",
        "A matrix has up to 3 keys, each with up to 32 different values. Keys are lower case; "
        "values become part of a step's name and are short and plain.",
        "Mend the key or the value named.",
    ),
    "P054": _explain(
        "unknown status",
        "`status` in a step's `when` takes success and failure; both in a list mean always.",
        "Use one of these words.",
    ),
    "P055": _explain(
        "beyond the server's bounds",
        "A step asks for more memory or processors than the server allows any step.",
        "Ask for less, or have the server's `worker.memory` or `worker.cpus` raised.",
    ),
    "P056": _explain(
        "bad schedule",
        "`cron` is a line as crontab writes it, with five fields, whose times come and are five "
        "minutes apart at least.",
        "Mend the line; `0 3 * * *` is 03:00 every day.",
    ),
    "P057": _explain(
        "unknown time zone",
        "Time zones are named as in the IANA database: `Europe/Berlin`, `UTC`.",
        "Write such a name.",
    ),
    "P058": _explain(
        "unknown word",
        "The key takes one of a few words; the hint names them.",
        "Use one of them.",
    ),
    "P059": _explain(
        "bad input",
        "An input's options belong to the type `choice`, and its default must be a value that the "
        "input takes.",
        "Mend the input's type, options or default.",
    ),
    "P060": _explain(
        "keys that do not go together",
        "`cron` stands in an entry with `event: schedule` and nothing else, `inputs` in one with "
        "`event: manual`. In a deploy, `image`, `env` and `resources` go with `commands`.",
        "Give the entry one of its own; take out of the deploy what only commands need.",
    ),
    "P061": _explain(
        "bad secret name",
        "Secrets are named in lower case with letters, digits and `_`, 63 at most.",
        "Use the name that `lading secret list` shows.",
    ),
    "P062": _explain(
        "secret for every step",
        "`env` of the whole pipeline holds texts alone: a secret reaches only the steps that name "
        "it.",
        "Name it in the `env` of the steps that need it.",
    ),
    "P070": _explain(
        "unknown template",
        "`template` names a folder of the templates that come with Lading, or of those that the "
        "server has beside them (`recipes.folder`).",
        "Use one of those that the hint names, or a Dockerfile of your own.",
    ),
    "P071": _explain(
        "two ways to say one thing",
        "A build has a Dockerfile (`dockerfile`, `target`, `args`) or a `template`, which writes "
        "one; its base is said by `version` or in full by `base`.",
        "Take one of the two out.",
    ),
    "P072": _explain(
        "value that a template does not take",
        "What a template is told is put into a Dockerfile, so that names of packages, paths, users "
        "and ports are plain words, and texts stand on one line.",
        "Mend the value as the hint says; commands of any kind go into `steps`.",
    ),
    "P073": _explain(
        "template and files do not fit",
        "The template needs a file that the commit does not have, or the lock file that "
        "`dependencies` names is not there.",
        "Commit the file, or mend its name; paths count from the build's `context`.",
    ),
    "P074": _explain(
        "program that would run as root",
        "Images of templates run their program as a user without rights over the image.",
        "Leave `user` out, or name another; a Dockerfile of your own may do otherwise.",
    ),
    "P075": _explain(
        "secret in an image",
        "The environment of an image is stored in it: whoever can pull it can read it.",
        "Give the secret to the container where the image runs.",
    ),
    "P080": _explain(
        "bad service name",
        "A step reaches its services by their names, so these are hosts' names: lower-case "
        "letters, digits and `-`, 31 at most, with a letter first; `localhost` is the step itself.",
        "Choose such a name.",
    ),
    "P081": _explain(
        "bad readiness",
        "`ready` says when a service may be used: either a TCP `port` from 1 to 65535 that it "
        "listens on, or a `command` of at most 1000 characters that ends with 0.",
        "Write one of the two.",
    ),
    "P082": _explain(
        "bad cache key",
        "A cache's key is one line of at most 100 characters that later runs have, too; `${run}`, "
        "`${sha}` and `${short_sha}` are different each time, so nothing would ever be found.",
        "Name what is kept, like `pip` or `npm-${branch}`.",
    ),
    "P083": _explain(
        "bad cache path",
        "A cache keeps files and folders below the workspace's root; the whole workspace is the "
        "commit's.",
        "Name the folder that the tool keeps its files in, and point the tool there.",
    ),
    "P084": _explain(
        "bad number of tries",
        "`retry` of a build or test says how often it is tried again after a failure: 0 to 5. "
        "What an engine or a registry that is away costs is no try.",
        "Write such a number.",
    ),
    "P085": _explain(
        "too many",
        "A step has at most 8 services, and a cache at most 16 paths.",
        "Take some out, or divide the step.",
    ),
    "P086": _explain(
        "bad expiry",
        "Artifacts are kept between a minute and a year.",
        "Write `expire_in` like `14d` or `12h`.",
    ),
    "P087": _explain(
        "nothing to keep",
        "What is kept of a workspace is named by at most 50 files, folders or patterns of one "
        "list. The whole workspace is no artifact.",
        "Name them from the workspace's root: `htmlcov/`, `dist/*.whl`.",
    ),
    "P090": _explain(
        "name taken",
        "Two pipeline files of the repository have the same name, so their statuses would be one.",
        "Give one of the two another `name`.",
    ),
    "P091": _explain(
        "file not read",
        "The pipeline file is not a plain file (a symbolic link, a submodule), or it is too large.",
        "Make it a plain file of at most 256 KiB.",
    ),
}

REFERENCE = "docs/reference/problems.md"
"""The page that holds this table, from the repository's root."""


def documented(code: str) -> str:
    """Where a code is explained: `docs/reference/problems.md#p010-unknown-key`."""
    title = CODES[code].title if code in CODES else ""
    words = "".join(each for each in title.lower() if each.isalnum() or each in " -")
    return f"{REFERENCE}#{code.lower()}-{words.replace(' ', '-')}".rstrip("-")
