from __future__ import annotations

import pytest

from tests.unit.docs.pages import parse

TEXT = """\
# A page

See [the other](other.md#a-b) and [the web](https://example.com/x.md), not `[this](no.md)`.
Run `lading serve
--config x`, set `server.url`.

```yaml problem
test: {}
```

- a list:

  ```sh
  .venv/bin/lading token create ada   # made once
  echo lading
  ```

## A `b`: and [c](d.md)
## A page
"""


def test_blocks_are_found_with_their_place_their_kind_and_their_text() -> None:
    first, second = parse("a.md", TEXT).blocks

    assert (str(first), first.info, first.text) == ("a.md:8", "yaml problem", "test: {}\n")
    assert second.text.splitlines()[0] == ".venv/bin/lading token create ada   # made once"


def test_blocks_are_chosen_by_the_first_word_of_their_kind() -> None:
    page = parse("a.md", TEXT)

    assert [block.line for block in page.of("yaml")] == [8]
    assert page.of("toml") == []


def test_a_block_that_is_never_closed_is_told() -> None:
    with pytest.raises(ValueError, match=r"a\.md:2 the block is never closed"):
        parse("a.md", "x\n```sh\nls\n")


def test_a_longer_fence_holds_a_shorter_one() -> None:
    (block,) = parse("a.md", "````md\n```sh\nls\n```\n````\n").blocks

    assert block.text == "```sh\nls\n```\n"


def test_links_within_the_repository_are_found_and_code_is_none() -> None:
    assert parse("a.md", TEXT).links == ["other.md#a-b", "d.md"]


def test_code_that_goes_over_a_line_end_is_one_span() -> None:
    assert "lading serve --config x" in parse("a.md", TEXT).spans


def test_anchors_are_made_as_github_makes_them() -> None:
    assert parse("a.md", TEXT).anchors == {"a-page", "a-b-and-c", "a-page-1"}


def test_commands_are_found_in_shell_blocks_and_in_code() -> None:
    assert parse("a.md", TEXT).commands == [
        ["token", "create", "ada"],
        ["serve", "--config", "x"],
    ]
