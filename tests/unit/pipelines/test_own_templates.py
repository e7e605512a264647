from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.parsing import parse
from pipelines.problems import DefinitionInvalidError
from pipelines.recipes import Files, TemplateError, catalogue, render_builds
from pipelines.recipes.catalogue import BUILT_IN
from tests.unit.docs import pages
from tests.unit.pipelines.rendering import parsed, rendered

ROOT = Path(__file__).parents[3]
ABOUT = """
summary = "A program of ours"
base = "registry.example.com/php:{version}"
version_like = "8.4"
takes = ["packages", "run"]

[parameters.mode]
type = "choice"
options = ["fast", "small"]
default = "fast"
description = "How it is built."

[parameters.say]
type = "line"
description = "What it says."
"""
TEXT = """FROM {{ base }}
{{ install(base, packages) }}
WORKDIR {{ workdir }}
COPY . .
RUN ["build", "{{ mode }}"]
{% if say %}
RUN {{ say | shell }}
{% endif %}
{{ end }}
"""


def made(folder: Path, about: str = ABOUT, text: str = TEXT, name: str = "php") -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "template.toml").write_text(about)
    (folder / name / "Dockerfile.j2").write_text(text)
    return folder


def test_a_folder_of_ones_own_stands_beside_the_shipped_ones(tmp_path: Path) -> None:
    known = catalogue(made(tmp_path))
    build = {"template": "php", "version": "8.4", "mode": "small", "say": "echo hi"}
    assert rendered(build, catalogue=known) == (
        "# Written by Lading from the template php.\n"
        "FROM registry.example.com/php:8.4\n"
        "WORKDIR /app\n"
        "COPY . .\n"
        'RUN ["build", "small"]\n'
        "RUN echo hi\n"
        "USER 10001:10001\n"
    )
    assert "python" in known.names


def test_its_parameters_are_checked_like_the_shipped_ones(tmp_path: Path) -> None:
    build = {"template": "php", "version": "8.4", "mode": "slow", "steps": ["a"]}
    told = [(each.code, each.message) for each in parsed(build, catalogue(made(tmp_path))).problems]
    assert told == [
        ("P072", "`slow` is none of fast, small"),
        ("P010", "unknown key `steps`"),
    ]


def test_one_of_a_shipped_name_takes_its_place(tmp_path: Path) -> None:
    known = catalogue(made(tmp_path, name="python"))
    assert known.template("python").summary == "A program of ours"


def test_every_shipped_template_can_be_copied_and_is_the_same(tmp_path: Path) -> None:
    for place in BUILT_IN.iterdir():
        made(
            tmp_path,
            (place / "template.toml").read_text(),
            (place / "Dockerfile.j2").read_text(),
            f"our-{place.name}",
        )
        assert (place / "README.md").read_text().startswith("# ")
    build: dict[str, object] = {"template": "our-static", "site": "dist"}
    copied = rendered(build, catalogue=catalogue(tmp_path))
    assert copied.replace("our-", "") == rendered({**build, "template": "static"})


@pytest.mark.parametrize(
    "text",
    [
        "FROM {{ base }}\nRUN {{ say }}\n",
        "FROM {{ base }}\nRUN {{ 'a' ~ mode }}\n",
        "FROM {{ base }}\nRUN {{ mode.upper() }}\n",
        "FROM {{ base }}\nRUN {{ [say] | joined }}\n",
        "FROM {{ base }}\nRUN {{ ''.__class__ }}\n",
        "FROM {{ base }}\nRUN {{ nothing }}\n",
        "FROM {{ base }}\n{% include '/etc/passwd' %}\n",
    ],
)
def test_a_template_cannot_put_a_text_where_it_was_not_spelled(tmp_path: Path, text: str) -> None:
    known = catalogue(made(tmp_path, text=text))
    build = {"template": "php", "version": "8.4", "say": "a; b"}
    with pytest.raises(DefinitionInvalidError, match=r"template php: Dockerfile\.j2"):
        rendered(build, catalogue=known)


@pytest.mark.parametrize(
    ("about", "text", "told"),
    [
        ("summary = ", TEXT, "template.toml is no TOML"),
        ('base = "x"', TEXT, "template.toml: summary: Field required"),
        ('summary = "x"\nbase = "UPPER"', TEXT, "base: UPPER names no image"),
        ('summary = "x"\nstages = 1', TEXT, "template.toml: stages: Extra inputs"),
        (
            'summary = "x"\n[parameters.run]\ntype = "line"\ndescription = ""',
            TEXT,
            "`run` means the same in every template",
        ),
        (
            'summary = "x"\n[parameters.a]\ntype = "choice"\ndescription = ""',
            TEXT,
            "`options` and the type `choice` go together",
        ),
        ('summary = "x"', "FROM {{ base", "Dockerfile.j2 line 1"),
    ],
)
def test_a_broken_template_is_told_by_its_folder_before_anybody_uses_it(
    tmp_path: Path, about: str, text: str, told: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        catalogue(made(tmp_path, about, text))
    assert str(caught.value).startswith(str(tmp_path / "php"))
    assert told in str(caught.value)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="cannot be read"):
        catalogue(tmp_path / "nothing")


def test_the_example_of_the_documentation_becomes_what_its_page_shows(tmp_path: Path) -> None:
    page = pages.read(ROOT, ROOT / "docs" / "how-to" / "own-templates.md")
    about, text, pipeline = (block.text for block in page.blocks if block.info == "")
    known = catalogue(made(tmp_path, about, text))
    read = parse(pipeline, ".lading.yml", known)
    assert read.definition is not None, read.problems
    files = Files(paths=frozenset({"composer.json", "composer.lock"}))
    (shown,) = page.of("dockerfile")
    assert render_builds(read.definition, known, files)["web"].text == shown.text


@pytest.mark.parametrize("place", sorted(BUILT_IN.iterdir()), ids=lambda place: place.name)
def test_the_example_of_a_shipped_template_has_no_problems(place: Path) -> None:
    (block,) = pages.parse(place.name, (place / "README.md").read_text()).of("yaml")
    read = parse(block.text, ".lading.yml")
    assert read.problems == ()
    assert f"template: {place.name}\n" in block.text
