"""`python -m importer`; the same as `aurelian import`."""

from importer.command import import_app


def main() -> None:
    """Run the command line; ends the process."""
    import_app(prog_name="aurelian import")


if __name__ == "__main__":
    main()
