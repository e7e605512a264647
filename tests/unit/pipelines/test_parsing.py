from __future__ import annotations

import pytest

from pipelines.definition import Concurrency, FromBuild
from pipelines.events import EventKind
from pipelines.parsing import default_name, is_pipeline_file, parse
from tests.unit.pipelines.building import defined, said

SMALLEST = "build: {web: {}}\n"


def with_test(body: str) -> str:
    return f"{SMALLEST}test:\n  unit: {body}\n"


def test_the_smallest_useful_file_is_read() -> None:
    definition = defined(
        "build:\n  web: {}\ntest:\n  unit:\n    commands: [pytest -q]\n"
        "push:\n  web:\n    to: ghcr.io/acme/web\n"
    )
    assert definition.build["web"].context == "."
    assert definition.test["unit"].commands == ("pytest -q",)
    assert definition.push["web"].to == "ghcr.io/acme/web"


def test_a_fuller_file_is_read() -> None:
    definition = defined(
        """\
name: web
when:
  - event: push
    branch: [main, release/*]
    path: {include: [src/**, Dockerfile], exclude: ["**/*.md"]}
  - event: tag
    tag: v*
env: {PIP_NO_CACHE_DIR: 1, EMPTY: }
timeout: 1h30m
build:
  docs: {dockerfile: docs/Dockerfile, context: ./docs/, target: site, args: {THEME: "${branch}"}}
test:
  lint: {needs: [], image: "python:3.12-slim", commands: ruff check}
  unit: {image: {from: build.docs}, commands: [a, b], needs: test.lint, timeout: 10m}
push:
  web: {to: ghcr.io/acme/web, image: {from: build.docs}, tags: ["${branch}", "${short_sha}"]}
"""
    )
    assert definition.when[0].event == (EventKind.PUSH,)
    assert definition.env == {"PIP_NO_CACHE_DIR": "1", "EMPTY": ""}
    assert definition.timeout == 5400
    assert definition.build["docs"].context == "docs"
    assert definition.test["lint"].needs == ()
    assert definition.test["unit"].image == FromBuild.model_validate({"from": "build.docs"})
    assert definition.test["unit"].needs == ("test.lint",)


@pytest.mark.parametrize("nothing", ["", "{}", "~", "null"])
def test_a_build_with_nothing_in_it_is_the_dockerfile(nothing: str) -> None:
    assert defined(f"build:\n  web: {nothing}\n").build["web"].dockerfile is None


def test_scalars_stay_texts() -> None:
    env = defined(f"{SMALLEST}env: {{A: on, B: no, C: 3.10, D: 0o7, E: '', F: 'null'}}").env
    assert list(env.values()) == ["on", "no", "3.10", "0o7", "", "null"]


def test_concurrency_is_read_with_and_without_a_group() -> None:
    both = defined(f"{SMALLEST}concurrency: {{group: web, cancel_in_progress: true}}")
    silent = defined(f"{SMALLEST}concurrency: {{cancel_in_progress: false}}")
    assert both.concurrency == Concurrency(group="web", cancel_in_progress=True)
    assert silent.concurrency == Concurrency(group=None, cancel_in_progress=False)


def test_an_alias_stands_for_its_value() -> None:
    text = with_test("{commands: a, env: &e {A: x}}") + "  more: {commands: b, env: *e}\n"
    assert defined(text).test["more"].env == {"A": "x"}


def test_a_definition_survives_json() -> None:
    definition = defined(with_test("{commands: a, timeout: 10m, image: {from: build.web}}"))
    text = definition.model_dump_json(by_alias=True)
    assert type(definition).model_validate_json(text) == definition


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (".lading.yml", "default"),
        (".lading/web.yml", "web"),
        (".lading/my pipe.yml", "my-pipe"),
        (".lading/é.yml", "default"),
    ],
)
def test_a_pipeline_without_a_name_is_called_after_its_file(file: str, name: str) -> None:
    assert default_name(file) == name
    assert defined(SMALLEST, file).name == name


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        (".lading.yml", True),
        (".lading/web.yml", True),
        (".lading/a/b.yml", False),
        (".lading/web.yaml", False),
        ("src/.lading.yml", False),
    ],
)
def test_only_certain_files_are_pipelines(path: str, is_one: bool) -> None:
    assert is_pipeline_file(path) is is_one


def test_every_problem_is_told_at_once_in_order_and_those_between_steps_last() -> None:
    told = said(
        "script: x\nbuild:\n  web: {context: ../.., dockerfile: /etc/passwd}\n"
        "test:\n  unit: {needs: [build.wbe]}\ntimeout: 30\n"
    )
    assert told == [
        "1:1 P010 unknown key `script`: here it is `commands`",
        "3:18 P024 `../..` leaves the repository: a path from the repository's root, without `..`",
        (
            "3:37 P024 `/etc/passwd` leaves the repository: "
            "a path from the repository's root, without `..`"
        ),
        "5:3 P012 `test.unit` has no `commands`: `commands: [pytest -q]`",
        "6:10 P020 '30' is no duration; write one like 90s, 30m or 1h30m: None",
        (
            "5:18 P032 `test.unit` needs `build.wbe`, which is not in this file: "
            "did you mean `build.web`?"
        ),
    ]


def test_a_key_in_another_systems_spelling_is_not_told_as_missing_too() -> None:
    assert said(with_test("{script: a}")) == [
        "3:10 P010 unknown key `script`: here it is `commands`"
    ]


def test_a_key_is_told_as_missing_beside_another_unknown_one() -> None:
    assert len(said(with_test("{zzz: a, uses: b}"))) == 3


def test_a_problem_names_the_file() -> None:
    problem = parse("biuld: {}", ".lading/web.yml").problems[0]
    expected = ".lading/web.yml:1:1 unknown key `biuld` (P010): did you mean `build`?"
    assert str(problem) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("on: push", "1:1 P010 unknown key `on`: here it is `when`"),
        ("variables: {A: b}", "1:1 P010 unknown key `variables`: here it is `env`"),
        (
            "zzz: 1",
            (
                "1:1 P010 unknown key `zzz`: known here: "
                "name, when, env, timeout, concurrency, build, test, push, deploy"
            ),
        ),
        ("commands: [a]", "1:1 P010 unknown key `commands`: `commands` belongs in `test`"),
        ("services: {}", "1:1 P010 unknown key `services`: `services` belongs in `test`"),
        ("when: {branches: a}", "1:8 P010 unknown key `branches`: here it is `branch`"),
        ("when: [{path: {only: a}}]", "1:16 P010 unknown key `only`: here it is `when`"),
        (
            "<<: {a: b}",
            (
                "1:1 P010 unknown key `<<`: merge keys are not read; "
                "an alias may stand for a whole value: `env: *shared`"
            ),
        ),
        (
            "cancel-in-progress: true",
            (
                "1:1 P010 unknown key `cancel-in-progress`: "
                "here it is `concurrency: {cancel_in_progress: true}`"
            ),
        ),
        (
            "interruptible: true",
            (
                "1:1 P010 unknown key `interruptible`: "
                "here it is `concurrency: {cancel_in_progress: true}`"
            ),
        ),
        (
            "resource_group: web",
            "1:1 P010 unknown key `resource_group`: here it is `concurrency: {group: …}`",
        ),
        (
            "concurrency: {cancel-in-progress: true}",
            "1:15 P010 unknown key `cancel-in-progress`: here it is `cancel_in_progress`",
        ),
        (
            "concurrency: {grup: web}",
            "1:15 P010 unknown key `grup`: did you mean `group`?",
        ),
        ("group: web", "1:1 P010 unknown key `group`: `group` belongs in `concurrency`"),
        ("concurrency: web", "1:14 P013 `concurrency` is a text: it wants keys and values"),
        ("concurrency:", "1:1 P014 `concurrency` is empty: it wants keys and values"),
        (
            "concurrency: {cancel_in_progress: yes}",
            "1:35 P036 `yes` is neither `true` nor `false`: write one of the two",
        ),
        (
            "concurrency: {cancel_in_progress: []}",
            "1:15 P013 `concurrency.cancel_in_progress` is a list: it wants `true` or `false`",
        ),
        (
            "concurrency: {group: ''}",
            "1:22 P014 the group is empty: leave it out for one group for each ref",
        ),
        (
            'concurrency: {group: "a\\nb"}',
            "1:22 P037 `a b` cannot be a group: one line of at most 100 characters",
        ),
        (
            "concurrency: {group: 'web-${run}'}",
            (
                "1:22 P037 `${run}` makes each run a group of its own: "
                "name what the runs share, like `deploy-${branch}`"
            ),
        ),
        (
            "concurrency: {group: 'web-${brunch}'}",
            "1:22 P028 unknown placeholder `${brunch}`: did you mean `branch`?",
        ),
        (
            "deploy: {live: {commands: x, channel: live}}",
            (
                "1:39 P042 `deploy.live` moves a channel, and waits for no push: add a step under "
                "`push`, or give `commands`"
            ),
        ),
        (
            "deploy: {live: {commands: x, channel: v1.2.3}}\npush: {w: {to: localhost/w}}",
            (
                "1:39 P041 `v1.2.3` cannot be a channel: tags of commits and versions are never "
                "moved; name one like `production`"
            ),
        ),
        (
            "deploy: {live: {commands: x, channel: '${branch}'}}\npush: {w: {to: localhost/w}}",
            (
                "1:39 P041 `${branch}` is no channel: a channel is fixed; give each place a deploy "
                "of its own, with a `when`"
            ),
        ),
        (
            "deploy: {live: {when: {event: push}}}",
            (
                "1:10 P012 the deploy has no `commands` and no `channel`: `commands: [./deploy]`, "
                "or `channel: production`"
            ),
        ),
        (
            "deploy: {live: {channel: live, image: x}}\npush: {w: {to: localhost/w}}",
            (
                "1:10 P060 `image` goes with `commands`: take it out, or add `commands`; a channel "
                "alone is moved by the server"
            ),
        ),
        (
            "deploy: {live: {commands: x, approval: {}}}",
            '1:30 P012 `deploy.live.approval` has no `prompt`: `{prompt: "Ship it?"}`',
        ),
        (
            "deploy: {live: {commands: x, approval: {prompt: Go, timeout: 8d}}}",
            "1:62 P020 `8d` is not between 1s and 7d: None",
        ),
        (
            "deploy: {live: {commands: x, approval: {question: Go, prompt: Go}}}",
            "1:41 P010 unknown key `question`: known here: prompt, timeout",
        ),
        (
            "when: {event: schedule, cron: x}",
            (
                "1:31 P056 `x` does not have crontab's five fields: minute, hour, day of month, "
                'month, day of week: `"0 3 * * *"` is 03:00 every day'
            ),
        ),
        (
            "when: {event: schedule, cron: '* * * * *'}",
            (
                "1:31 P056 `* * * * *` comes more often than every 5 minutes: minute, hour, day of "
                'month, month, day of week: `"0 3 * * *"` is 03:00 every day'
            ),
        ),
        (
            "when: {event: schedule, cron: '0 0 31 2 *'}",
            (
                "1:31 P056 `0 0 31 2 *`: bad day-of-month: minute, hour, day of month, month, day "
                'of week: `"0 3 * * *"` is 03:00 every day'
            ),
        ),
        (
            "when: {event: schedule}",
            '1:1 P060 `event: schedule` has no `cron`: `cron: "0 3 * * *"`',
        ),
        (
            "when: {cron: '0 3 * * *'}",
            (
                "1:1 P060 `cron` goes with `event: schedule` alone: "
                "give the schedule an entry of its own"
            ),
        ),
        (
            "when: {event: schedule, cron: '0 3 * * *', timezone: Mars}",
            "1:54 P057 `Mars` is no time zone: a name like `Europe/Berlin`",
        ),
        (
            "when: {event: schedule, cron: '0 3 * * *', missed: lates}",
            "1:52 P058 unknown word for missed times `lates`: did you mean `latest`?",
        ),
        (
            "when: {event: push, inputs: {a: {}}}",
            (
                "1:1 P060 `inputs` go with `event: manual`: "
                "give the inputs an entry with `event: manual`"
            ),
        ),
        (
            "when: {event: manual, inputs: {a: {type: bool}}}",
            "1:42 P058 unknown type of an input `bool`: did you mean `boolean`?",
        ),
        (
            "when: {event: manual, inputs: {a: {type: choice}}}",
            (
                "1:32 P059 `options` and the type `choice` go together: "
                "`{type: choice, options: [smoke, full]}`"
            ),
        ),
        (
            "when: {event: manual, inputs: {a: {type: number, default: x}}}",
            "1:32 P059 the default `x` is no number: give one that fits",
        ),
        (
            "test: {a: {image: 'b:${inputs.c}', commands: d}}",
            (
                "1:19 P028 unknown placeholder `${inputs.c}`: "
                "name it in `when: {event: manual, inputs: …}`"
            ),
        ),
        (
            "when: {event: [push, pul_request]}",
            ("1:22 P021 unknown event `pul_request`: did you mean `pull_request`?"),
        ),
        (
            "when: {event: merge_request}",
            ("1:15 P021 unknown event `merge_request`: here it is `pull_request`"),
        ),
        (
            "when: {event: xyz}",
            "1:15 P021 unknown event `xyz`: one of push, pull_request, tag, schedule, manual",
        ),
        ("when: {event: {a: b}}", "1:8 P013 `when.event` is keys: it wants a list"),
        ("when: []", "1:1 P014 `when` is an empty list: add an entry, or take it out"),
        ("when: main", "1:7 P013 `when` is a text: it wants a list"),
        ("when: {branch: []}", "1:8 P014 the list is empty: None"),
        ("when: {branch: ''}", "1:16 P014 the pattern is empty: None"),
        ("when: {path: [/src/**]}", "1:15 P022 pattern `/src/**` can never match: write `src/**`"),
        ("when: {path: '!src'}", "1:14 P022 pattern `!src` cannot start with `!`: use `exclude`"),
        (
            "when: {tag: " + "v" * 201 + "}",
            "1:13 P022 the pattern is longer than 200 characters: None",
        ),
        (
            "env: {CI: x}",
            "1:7 P023 `CI` is set by Lading: names that start with CI_ or LADING_ are Lading's",
        ),
        (
            "env: {LADING_X: x}",
            (
                "1:7 P023 `LADING_X` is set by Lading: "
                "names that start with CI_ or LADING_ are Lading's"
            ),
        ),
        ("env: {1x: x}", "1:7 P023 `1x` cannot be a variable's name: letters, digits, `_`"),
        (
            "env: {A: {from_secret: x}}",
            "1:7 P062 a secret for every step: name it in the `env` of each step that needs it",
        ),
        ("env: {A: [x]}", "1:7 P013 `env.A` is a list: it wants a text"),
        ("env: [A]", "1:1 P013 `env` is a list: it wants keys and values"),
        ("timeout:", "1:1 P014 `timeout` is empty: it wants a duration like `30m`"),
        ("timeout: []", "1:1 P013 `timeout` is a list: it wants a duration like `30m`"),
        ("when:", "1:1 P014 `when` is empty: it wants a list"),
        ("timeout: 8d", "1:10 P020 `8d` is not between 1s and 7d: None"),
        (
            "name: a/b",
            (
                "1:7 P015 `a/b` cannot be a pipeline's name: start with a letter or digit, "
                "go on with letters, digits, `-` and `_`, at most 63"
            ),
        ),
        (
            "test: {'a.b': {commands: x, image: y}}",
            (
                "1:8 P015 `a.b` cannot be a step's name: "
                "start with a letter or digit, go on with letters, digits, `-` and `_`, at most 63"
            ),
        ),
        ("build: {x: {context: ''}}", "1:22 P024 `` is no path: a path from the repository's root"),
        (
            "build: {x: {context: 'a\\b'}}",
            "1:22 P024 `a\\b` is no path: a path from the repository's root",
        ),
        (
            "build: {x: {target: '-x'}}",
            "1:21 P015 `-x` cannot be a target: a stage named in the Dockerfile",
        ),
        (
            "build: {x: }\npush: {x: {to: r.io/x, retry: 3}}",
            (
                "2:31 P016 a push knows no `retry: 3`: "
                "`safe` where pushing it twice does no harm, else `never`"
            ),
        ),
        (
            "build: {x: {platforms: [linux/arm64]}}",
            "1:13 P011 `platforms` is not supported yet: take it out",
        ),
        (
            "build: {x: {args: {A: '${b}'}}}",
            (
                "1:23 P028 unknown placeholder `${b}`: "
                "there are ${branch}, ${tag}, ${sha}, ${short_sha}, ${run}"
            ),
        ),
        (
            "build: {x: {args: {A: '${brnch}'}}}",
            ("1:23 P028 unknown placeholder `${brnch}`: did you mean `branch`?"),
        ),
        (
            "build: {x: {args: {A: '${matrix.b}'}}}",
            (
                "1:23 P028 unknown placeholder `${matrix.b}`: there are ${branch}, ${tag}, ${sha}, "
                "${short_sha}, ${run}"
            ),
        ),
        ("build: {x: [a]}", "1:9 P013 `build.x` is a list: it wants keys and values"),
        ("build:", "1:1 P014 `build` is empty: it wants keys and values"),
        ("- a", "1:1 P013 a pipeline is made of keys: `build: {web: {}}`"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_would_be_right(text: str, told: str) -> None:
    problems = said(text if "build" in text or text == "- a" else f"{text}\nbuild: {{w: }}")
    assert problems == [told]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("{commands: []}", "3:10 P014 the list is empty: None"),
        ("{commands: }", "3:10 P014 `test.unit.commands` is empty: it wants a list"),
        ("{commands: [a, ]}", None),
        ("{commands: [a, ~]}", "3:24 P014 `test.unit.commands` is empty: it wants a text"),
        ("{commands: ['']}", "3:21 P014 the command is empty: None"),
        (
            "{commands: a, matrix: {}}",
            '3:23 P014 the matrix is empty: `matrix: {python: ["3.12", "3.13"]}`',
        ),
        (
            "{commands: a, matrix: {a: [1, 1]}}",
            "3:32 P053 `1` stands twice in one matrix key: take one out",
        ),
        (
            "{commands: a, matrix: {a: 'x y'}}",
            (
                "3:35 P053 `x y` cannot be a matrix value: letters, digits, `.`, `_`, `+` and `-`, "
                "at most 24: it becomes part of a name"
            ),
        ),
        (
            "{commands: a, matrix: {A: [1]}}",
            (
                "3:32 P053 `A` cannot be a key here: lower-case letters, digits and `_`, at most "
                "32, a letter first"
            ),
        ),
        (
            "{commands: a, matrix: {a: [1]}, image: 'b:${matrix.c}'}",
            "3:48 P028 unknown placeholder `${matrix.c}`: there are ${matrix.a}",
        ),
        (
            "{commands: a, image: 'b:${matrix.c}'}",
            "3:30 P028 unknown placeholder `${matrix.c}`: add a `matrix` to the step",
        ),
        (
            "{commands: a, allow_failure: yes}",
            "3:38 P036 `yes` is neither `true` nor `false`: write one of the two",
        ),
        (
            "{commands: a, resources: {memory: 1}}",
            "3:43 P050 '1' is no size; write one like 512MiB or 2GiB: None",
        ),
        (
            "{commands: a, resources: {cpus: none}}",
            "3:41 P051 `none` is no number of CPUs: write it like `2` or `0.5`",
        ),
        (
            "{commands: a, resources: {cpu: 1}}",
            "3:35 P010 unknown key `cpu`: did you mean `cpus`?",
        ),
        (
            "{commands: a, env: {A: {from_secret: Big Name}}}",
            (
                "3:46 P061 `Big Name` cannot be a secret's name: lower-case letters, digits and "
                "`_`, at most 63, a letter first"
            ),
        ),
        (
            "{commands: a, env: {A: {from_secret: b, or: c}}}",
            "3:49 P010 unknown key `or`: known here: from_secret",
        ),
        (
            "{commands: a, when: {status: always}}",
            "3:38 P054 unknown status `always`: `[success, failure]` is both",
        ),
        (
            "{commands: a, privileged: on}",
            ("3:23 P010 unknown key `privileged`: steps never reach the machine they run on"),
        ),
        (
            "{commands: a, image: Foo}",
            ("3:30 P025 `Foo` is no image name: a name in lower case like `python:3.12-slim`"),
        ),
        ("{commands: a, image: 'x:${tag}'}", None),
        (
            "{commands: a, image: {form: build.web}}",
            ("3:23 P012 `test.unit.image` has no `from`: `{from: build.web}`"),
        ),
        (
            "{commands: a, image: {from: build.wbe}}",
            (
                "3:37 P034 `test.unit` takes its image from "
                "`build.wbe`, not built here: did you mean `build.web`?"
            ),
        ),
        (
            "{commands: a, image: {from: zzz}}",
            (
                "3:37 P034 `test.unit` takes its image from "
                "`zzz`, not built here: take one of this file's: `image: {from: build.web}`"
            ),
        ),
        (
            "{commands: a, needs: [zzz]}",
            (
                "3:31 P032 `test.unit` needs `zzz`, which is not in this "
                "file: write it as `stage.name`, like `build.web`"
            ),
        ),
        ("{commands: a, needs: }", "3:23 P014 `test.unit.needs` is empty: it wants a list"),
        (
            "{commands: a, image: }",
            "3:23 P014 `test.unit.image` is empty: it wants a text",
        ),
        (
            "{commands: a, needs: test.unit}",
            (
                "3:3 P033 steps wait for each other: `test.unit` → "
                "`test.unit`: take one of these needs out; a step without `needs` waits for the "
                "stage before it"
            ),
        ),
    ],
)
def test_a_mistake_in_a_step_is_told_with_its_place(body: str, told: str | None) -> None:
    problems = said(with_test(body))
    assert problems[:1] == ([told] if told else [])


def test_commands_may_not_hold_more_than_100_kb() -> None:
    assert said(with_test(f"{{commands: [{'x' * 60_000}, {'x' * 60_000}]}}")) == [
        (
            "3:10 P029 the commands hold more than 100 KB: "
            "put them into a script in the repository and call it"
        )
    ]


@pytest.mark.parametrize(
    ("to", "hint"),
    [
        ("acme/web", "name the registry too: `docker.io/acme/web` is Docker Hub's"),
        ("ghcr.io/acme/web:1", "leave the tag out; tags go into `tags`"),
        ("ghcr.io/acme/${branch}", "`to` is fixed; placeholders go into `tags`"),
        ("https://ghcr.io/a", "a registry and a path in lower case like `ghcr.io/acme/web`"),
    ],
)
def test_a_place_to_push_to_is_a_registry_and_a_path(to: str, hint: str) -> None:
    text = f"{SMALLEST}push: {{web: {{to: '{to}'}}}}"
    assert said(text) == [f"2:18 P026 `{to}` is no repository: {hint}"]


def test_a_push_needs_a_place_and_a_build() -> None:
    assert said(f"{SMALLEST}push: {{wbe: {{}}}}") == [
        "2:8 P012 `push.wbe` has no `to`: `to: ghcr.io/acme/web`",
        "2:8 P034 `push.wbe` has no build `wbe` to push: did you mean `build.web`?",
    ]


def test_a_push_in_a_file_without_builds_is_told_to_add_one() -> None:
    assert said("push: {web: {to: localhost/web}}") == [
        "1:8 P034 `push.web` has no build `web` to push: add it under `build`"
    ]


def test_a_bad_tag_is_told() -> None:
    assert said(f"{SMALLEST}push: {{web: {{to: localhost/web, tags: ['${{sha}}', '-a']}}}}") == [
        "2:50 P027 `-a` is no tag: letters, digits, `.`, `_` and `-`, at most 128"
    ]


@pytest.mark.parametrize(
    ("builds", "count"), [("", "no image"), ("build: {a: , b: }\n", "2 images")]
)
def test_a_test_without_an_image_needs_exactly_one_build(builds: str, count: str) -> None:
    problem = parse(f"{builds}test: {{unit: {{commands: a}}}}", ".lading.yml").problems[0]
    assert problem.code == "P035"
    assert problem.message == f"`test.unit` has no `image`, and this file builds {count}"


def test_a_circle_through_a_whole_stage_is_told_with_its_steps() -> None:
    text = with_test("{commands: a, needs: [push.web]}") + "push: {web: {to: localhost/web}}"
    [told] = said(text)
    assert "P033 steps wait for each other: " in told
    assert told.count("`test.unit`") + told.count("`push.web`") == 3


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "---\n", "name: x", "env: {A: b}"])
def test_a_pipeline_without_steps_is_told(text: str) -> None:
    assert [problem.code for problem in parse(text, ".lading.yml").problems] == ["P030"]


def test_a_file_may_have_1000_steps_and_not_more() -> None:
    def steps(count: int) -> str:
        return SMALLEST + "test:\n" + "".join(f"  t{n}: {{commands: a}}\n" for n in range(count))

    assert parse(steps(999), ".lading.yml").problems == ()
    assert said(steps(1000)) == [
        "1002:3 P031 1001 steps; there may be 1000: split it into several files in `.lading/`"
    ]
