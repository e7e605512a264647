"""Recipes without scripts: templates, their parameters, and the Dockerfile that they become.

A template is a folder: `template.toml` says what it takes, `Dockerfile.j2` is the text,
`README.md` tells people. `catalogue` finds them, `looking` says which files of the commit matter,
`building` renders a definition's builds.
"""

from pipelines.recipes.building import Rendered, render_builds
from pipelines.recipes.catalogue import Catalogue, TemplateError, built_in, catalogue
from pipelines.recipes.looking import Files, Look, Sought, sought
from pipelines.recipes.rendering import BuilderFeatures
from pipelines.recipes.schema import json_schema

__all__ = [
    "BuilderFeatures",
    "Catalogue",
    "Files",
    "Look",
    "Rendered",
    "Sought",
    "TemplateError",
    "built_in",
    "catalogue",
    "json_schema",
    "render_builds",
    "sought",
]
