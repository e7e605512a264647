from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from pipelines.codes import CODES
from pipelines.definition import words
from pipelines.recipes import json_schema

ROOT = Path(__file__).resolve().parents[3]


def test_the_committed_reference_is_the_generated_one() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "reference"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_code_in_the_source_is_explained_and_every_explained_code_is_used() -> None:
    used = {
        code
        for package in ("pipelines", "server")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "codes.py"
        for code in re.findall(r'"(P0\d\d)"', path.read_text())
    }
    assert used == set(CODES)


def test_every_key_has_a_description() -> None:
    for model in words.PLACES.values():
        assert all(info.description for info in model.model_fields.values())


def test_every_required_key_has_a_hint_for_where_it_is_missing() -> None:
    for model in words.PLACES.values():
        for name, info in model.model_fields.items():
            assert not info.is_required() or words.lacking(info.alias or name)


def test_no_key_is_at_once_known_and_not_supported_yet() -> None:
    for place, later in words.NOT_YET.items():
        assert not later & set(words.keys(place))


def test_the_schema_is_a_schema_and_knows_the_language() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    check = Draft202012Validator(schema)
    good = {
        "when": {"event": "push", "path": ["src/**"]},
        "env": {"A": 1},
        "timeout": "30m",
        "concurrency": {"group": "web", "cancel_in_progress": True},
        "build": {"web": None, "docs": {"context": "docs"}},
        "test": {
            "unit": {
                "image": {"from": "build.web"},
                "commands": "true",
                "needs": [],
                "services": {
                    "db": {
                        "image": "postgres:16",
                        "args": ["-c", 1],
                        "env": {"A": {"from_secret": "a"}, "B": 1},
                        "ready": {"port": 5432, "timeout": "90s"},
                    }
                },
                "cache": {"key": "pip", "paths": ".cache"},
                "retry": 2,
            }
        },
        "push": {"web": {"to": "localhost/web", "tags": ["a"]}},
        "deploy": {"live": {"commands": "true", "approval": {"prompt": "Ship it?"}}},
    }
    assert list(check.iter_errors(json.loads(json.dumps(good)))) == []
    recipe = {"template": "go", "version": "1.25", "run": {"port": 8080}, "env": {"A": 1}}
    assert check.is_valid({"build": {"web": recipe}})
    assert not check.is_valid({"build": {"web": {**recipe, "dockerfile": "Dockerfile"}}})
    assert not check.is_valid({"build": {"web": {**recipe, "template": "goo"}}})
    assert not check.is_valid({"test": {"unit": {"script": "true"}}})
    assert not check.is_valid({"when": {"event": "merge_request"}})
    assert not check.is_valid({"build": {"web": {"retry": 6}}})
    assert not check.is_valid({"concurrency": {"cancel_in_progress": "yes"}})
