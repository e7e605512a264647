"""Which SQLite may be trusted, and where a file lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.store.soundness import (
    NetworkFileSystemError,
    file_system,
    has_wal_reset_bug,
    refuse_network,
)

MOUNTS = r"""22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
23 22 0:40 / /srv rw,relatime shared:1 - nfs4 filer:/srv rw
24 23 8:2 / /srv/local rw,relatime - xfs /dev/sdb1 rw
25 22 0:41 / /my\040disk rw,relatime - cifs //nas/disk rw
26 22 0:42 / /twice rw,relatime - nfs filer:/twice rw
27 22 8:3 / /twice rw,relatime - ext4 /dev/sdc1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/lading", "ext4"),
        ("/srv/lading", "nfs4"),
        ("/srv/local/lading", "xfs"),
        ("/srvother", "ext4"),
        ("/my disk/lading", "cifs"),
        ("/twice/lading", "ext4"),
    ],
)
def test_the_deepest_and_newest_mount_tells_the_file_system(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_a_database_on_a_network_file_system_is_refused_with_its_kind(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    refuse_network(Path("/var/lib/lading/lading.db"), mounts)
    with pytest.raises(NetworkFileSystemError, match=r"\(nfs4\).*server\.data"):
        refuse_network(Path("/srv/lading.db"), mounts)


@pytest.mark.parametrize(
    ("version", "buggy"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)
def test_the_versions_with_the_wal_reset_bug_are_known(
    version: tuple[int, ...], buggy: bool
) -> None:
    assert has_wal_reset_bug(version) is buggy
