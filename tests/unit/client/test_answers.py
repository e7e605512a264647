"""What the client reads of an answer is what the API gives."""

from __future__ import annotations

import types
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel

from pipelines.problems import Problem
from pipelines.progress import Outcome, State
from server.api import me, models, schedules, secrets
from server.client import answers

PAIRS: tuple[tuple[type[BaseModel], type[BaseModel]], ...] = (
    (answers.Me, me.Me),
    (answers.Runs, models.Page[models.RunBrief]),
    (answers.RunBrief, models.RunBrief),
    (answers.Run, models.Run),
    (answers.Step, models.Step),
    (answers.Steps, models.Steps),
    (answers.Outcome, Outcome),
    (answers.Attempt, models.Attempt),
    (answers.Definition, models.Definition),
    (answers.Problem, Problem),
    (answers.ImageVersion, models.ImageVersion),
    (answers.StartedRun, models.StartedRun),
    (answers.Decision, models.Decision),
    (answers.Queued, models.Queued),
    (answers.Queue, models.Queue),
    (answers.RepositoryName, models.RepositoryName),
    (answers.Secret, secrets.StoredSecret),
    (answers.Secrets, models.Page[secrets.Secret]),
    (answers.Schedule, schedules.Schedule),
    (answers.Schedules, models.Page[schedules.Schedule]),
    (answers.Delivery, models.DeliveryBrief),
    (answers.Deliveries, models.Page[models.DeliveryBrief]),
)


def may_be_nothing(annotation: object) -> bool:
    if get_origin(annotation) is types.UnionType or type(None) in get_args(annotation):
        return type(None) in get_args(annotation)
    return False


@pytest.mark.parametrize(("read", "given"), PAIRS, ids=lambda model: model.__name__)
def test_every_field_that_is_read_is_given(read: type[BaseModel], given: type[BaseModel]) -> None:
    assert set(read.model_fields) - set(given.model_fields) == set()


@pytest.mark.parametrize(("read", "given"), PAIRS, ids=lambda model: model.__name__)
def test_what_may_be_null_may_be_null_for_the_client_too(
    read: type[BaseModel], given: type[BaseModel]
) -> None:
    wrong = [
        name
        for name, field in read.model_fields.items()
        if may_be_nothing(given.model_fields[name].annotation)
        and not may_be_nothing(field.annotation)
    ]
    assert wrong == []


def test_every_model_of_the_client_is_compared() -> None:
    known = {
        one
        for one in vars(answers).values()
        if isinstance(one, type) and issubclass(one, answers.Seen)
    }
    assert known - {pair[0] for pair in PAIRS} == {answers.Seen}


def test_the_client_knows_which_states_have_not_ended() -> None:
    assert {state.value for state in State if not state.ended} == set(answers.ACTIVE)
    assert tuple(State) == answers.STATES


def test_a_field_that_is_new_does_not_disturb_an_older_client() -> None:
    me = answers.Me.model_validate({"name": "ada", "version": "9.0", "roles": ["admin"]})

    assert me == answers.Me(name="ada", version="9.0")
