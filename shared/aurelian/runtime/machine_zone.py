"""The time zone of this machine; asked where nothing says that of a plant."""

from pathlib import Path


def local_time_zone() -> str:
    """The zone of this machine's clock; UTC where it does not say."""
    try:
        target = str(Path("/etc/localtime").resolve(strict=True))
    except OSError:
        return "UTC"
    _, found, zone = target.partition("/zoneinfo/")
    return zone.removeprefix("posix/") if found and "/" in zone else "UTC"
