"""The scripts that copy a cache, with what their exit codes mean. They run in the step's image.

`$0` is the most KiB that a cache may have; the arguments are its paths below the workspace. Nothing
is followed that leads out of the workspace, and links are copied as links.
"""

from __future__ import annotations

import re

NOT_WHOLE = 64
OUTSIDE = 65
NOT_COPIED = 66
TOO_LARGE = 67
NOTHING = 68

FAULTS = {
    OUTSIDE: "one of its paths is a link, or leads out of the workspace through one",
    NOT_COPIED: "it could not be copied",
    126: "the step's image has no `cp` to copy with",
    127: "the step's image has no `cp` to copy with",
}

_WITHIN = """\
within() {
  parent=/workspace
  case "$1" in */*) parent=/workspace/${1%/*} ;; esac
  $2 "$parent" || exit 65
  parent=$(cd -P "$parent" && pwd -P) || exit 65
  case "$parent/" in /workspace/*) ;; *) exit 65 ;; esac
  whole=$parent/${1##*/}
  if [ -L "$whole" ]; then exit 65; fi
}
number=0
"""

RESTORE = (
    _WITHIN
    + """\
[ -f /cache/whole ] || exit 64
umask 0
for path; do
  number=$((number + 1))
  [ -e "/cache/$number" ] || continue
  within "$path" "mkdir -p"
  if [ -d "/cache/$number" ]; then
    mkdir -p "$whole" && cp -a "/cache/$number/." "$whole/" || exit 66
  else
    cp -a "/cache/$number" "$whole" || exit 66
  fi
done
du -sk /cache
"""
)

KEEP = (
    _WITHIN
    + """\
total=0
there=
for path; do
  number=$((number + 1))
  [ -e "/workspace/$path" ] || continue
  within "$path" "test -d"
  size=$(du -sk "$whole") || exit 66
  total=$((total + ${size%%[!0-9]*}))
  [ "$total" -le "$0" ] || exit 67
  cp -a "$whole" "/cache/$number" || exit 66
  there=yes
done
[ -n "$there" ] || exit 68
size=$(du -sk /cache) || exit 66
[ "${size%%[!0-9]*}" -le "$0" ] || exit 67
: > /cache/whole
echo "$size"
"""
)

_SIZE = re.compile(rb"^([0-9]{1,15})\s", re.MULTILINE)


def size_in(output: bytes) -> int | None:
    """Bytes, as `du` told them; None where it did not."""
    found = _SIZE.findall(output)
    return int(found[-1]) * 1024 if found else None
