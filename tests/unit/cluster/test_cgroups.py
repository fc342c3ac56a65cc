"""Finding the cgroup hierarchies."""

from pathlib import Path

from cluster.cgroups import hierarchies


def test_version_1_and_2_are_told_apart() -> None:
    """Each mounted hierarchy is found with its version; other mounts are not."""
    mountinfo = (
        "24 1 0:22 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
        "30 24 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"
        "31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    assert hierarchies(mountinfo) == [
        (Path("/sys/fs/cgroup/memory"), False),
        (Path("/sys/fs/cgroup/unified"), True),
    ]
