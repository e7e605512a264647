from __future__ import annotations

from pipelines.images.labels import label_instruction


def test_labels_stand_in_one_instruction_in_order() -> None:
    assert label_instruction({"b": "2", "a": "1"}) == 'LABEL "a"="1" "b"="2"'


def test_nothing_in_a_value_can_end_it_or_stand_for_something_else() -> None:
    hostile = 'x" "y"="z\\ $HOME\nRUN touch pwned'

    assert label_instruction({"title": hostile}) == (
        'LABEL "title"="x\\" \\"y\\"=\\"z\\\\ \\$HOME RUN touch pwned"'
    )
