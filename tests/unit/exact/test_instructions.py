from __future__ import annotations

from pipelines.images.instructions import read_recipe, renamed


def test_bases_are_named_with_their_arguments_put_in() -> None:
    text = "ARG V=3.11 W='x'\nFROM python:${V}-slim AS a\nFROM ${W:-y}\nFROM q:${Z:-1}\n"
    assert read_recipe(text, {"V": "3.12"}).images() == ("python:3.12-slim", "x", "q:1")


def test_a_base_whose_argument_has_no_value_is_left_out() -> None:
    assert read_recipe("ARG V\nFROM a:$Q\n", {}).images() == ()


def test_images_that_files_are_taken_from_are_named_and_stages_are_not() -> None:
    text = (
        "FROM scratch AS one\nFROM alpine\nCOPY --from=one / /\nCOPY --from=0 / /\n"
        "COPY --from=nginx:1 / /\nRUN --mount=type=bind,from=golang:1,target=/g true\n"
    )
    assert read_recipe(text, {}).images() == ("alpine", "nginx:1", "golang:1")


def test_text_within_an_instruction_is_no_instruction() -> None:
    text = "FROM a\nRUN <<-END cat\n\tFROM b\n\tEND\nRUN x \\\n  # FROM c\n  y\n"
    recipe = read_recipe(text, {})
    assert recipe.images() == ("a",)
    assert [each.word for each in recipe.stages[0].instructions] == ["RUN", "RUN"]


def test_the_base_is_the_lowest_stages() -> None:
    text = "FROM x AS a\nFROM y\nFROM a AS b\n"
    assert [read_recipe(text, {}).base(target) for target in (None, "1", "none")] == ["x", "y", ""]
    assert read_recipe("FROM scratch\n", {}).base(None) == ""


def test_an_argument_counts_as_declared_wherever_it_stands() -> None:
    recipe = read_recipe("ARG A\nFROM x\nARG B=1 C\n", {})
    assert [recipe.declares(name) for name in "ABCD"] == [True, True, True, False]


def test_images_get_other_names_where_they_stand_as_such() -> None:
    text = "FROM --platform=$P a AS b\nCOPY --from=a:1 a /a\nRUN echo a\nFROM b\n"
    assert renamed(text, {"a": "r/a@sha256:1", "a:1": "id"}) == (
        "FROM --platform=$P r/a@sha256:1 AS b\nCOPY --from=id a /a\nRUN echo a\nFROM b\n"
    )
