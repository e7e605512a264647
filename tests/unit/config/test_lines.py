from __future__ import annotations

from server.config.lines import lines


def test_tables_and_keys_are_found_with_every_kind_of_name() -> None:
    text = '[a]\nb = 1\n\n[c."d.e"]\n"f g" = 2\nh.i = 3\n  [j]  # k\n'

    assert lines(text) == {
        ("a",): 1,
        ("a", "b"): 2,
        ("c", "d.e"): 4,
        ("c", "d.e", "f g"): 5,
        ("c", "d.e", "h", "i"): 6,
        ("j",): 7,
    }


def test_what_is_no_statement_is_passed_over() -> None:
    assert lines("# a = 1\n[[b]]\n'''\n= 3\n") == {}
