from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.images.exact.times import layer_times
from pipelines.images.instructions import read_recipe

TEXT = """\
FROM python:3.12-slim AS wheels
COPY requirements.txt tools/*.txt /x/
RUN pip wheel --wheel-dir /w -r /x/requirements.txt

FROM python:3.12-slim
ENV A=b
RUN echo first
COPY --from=wheels /w /w
COPY --from=nginx:1 /etc/nginx /n
COPY src /app
RUN python -m compileall /app
CMD ["app"]
"""
BASE = {"created_by": "/bin/sh -c #(nop) ADD file:1 in /"}
HISTORY: list[dict[str, Any]] = [
    BASE,
    {"created_by": "/bin/sh -c #(nop)  ENV A=b", "empty_layer": True},
    {"created_by": "/bin/sh -c echo first"},
    {"created_by": "/bin/sh -c #(nop) COPY dir:1 in /w"},
    {"created_by": "/bin/sh -c #(nop) COPY dir:2 in /n"},
    {"created_by": "/bin/sh -c #(nop) COPY dir:3 in /app"},
    {"created_by": "/bin/sh -c python -m compileall /app"},
    {"created_by": '/bin/sh -c #(nop)  CMD ["app"]', "empty_layer": True},
]


def asked(
    text: str, history: list[dict[str, Any]], *, below: int = 1, target: str | None = None
) -> list[tuple[str, ...]]:
    """The paths by which each layer's time is told."""
    known: list[tuple[str, ...]] = []

    def changed(paths: Sequence[str]) -> int:
        known.append(tuple(paths))
        return len(known) - 1

    times = layer_times(
        read_recipe(text, {}),
        target,
        history=history,
        below=below,
        dockerfile="web/Dockerfile",
        folder="web",
        changed=changed,
    )
    return [known[time] for time in times]


def test_a_layer_has_the_time_of_what_was_copied_so_far() -> None:
    wheels = ("web/Dockerfile", "web/requirements.txt", "web/tools")
    whole = ("web/Dockerfile", "web/requirements.txt", "web/src", "web/tools")
    assert asked(TEXT, HISTORY) == [("web/Dockerfile",), wheels, wheels, whole, whole]


def test_a_history_that_does_not_fit_gives_all_layers_the_time_of_the_whole_commit() -> None:
    other = [*HISTORY[:3], *reversed(HISTORY[3:])]
    assert asked(TEXT, other) == [(".",)] * 5


def test_another_target_has_its_own_layers() -> None:
    history = [BASE, {"created_by": "COPY x # buildkit"}, {"created_by": "RUN pip # buildkit"}]
    paths = ("web/Dockerfile", "web/requirements.txt", "web/tools")
    assert asked(TEXT, history, target="wheels") == [paths, paths]


def test_a_copy_of_everything_has_the_time_of_the_folder() -> None:
    text = "FROM scratch\nCOPY . /\n"
    assert asked(text, [{"created_by": "COPY . / # buildkit"}], below=0) == [
        ("web", "web/Dockerfile")
    ]


def test_a_stage_on_a_stage_has_the_layers_of_both() -> None:
    text = "FROM x AS a\nCOPY one /\nFROM a\nCOPY two /\n"
    history = [BASE, {"created_by": "COPY one"}, {"created_by": "COPY two"}]
    assert asked(text, history) == [
        ("web/Dockerfile", "web/one"),
        ("web/Dockerfile", "web/one", "web/two"),
    ]


def test_a_context_that_is_bound_into_a_step_counts_as_copied() -> None:
    text = "FROM x\nRUN --mount=type=bind,target=/s make -C /s\n"
    assert asked(text, [BASE, {"created_by": "RUN make # buildkit"}]) == [("web", "web/Dockerfile")]


def test_stages_that_each_take_from_the_one_before_twice_are_read_in_no_time() -> None:
    lines = ["FROM x AS s0", "COPY a /"]
    for number in range(60):
        lines += [f"FROM x AS s{number + 1}", *[f"COPY --from=s{number} / /"] * 2]
    history = [BASE, {"created_by": "COPY"}, {"created_by": "COPY"}]
    assert asked("\n".join(lines), history) == [("web/Dockerfile", "web/a")] * 2
