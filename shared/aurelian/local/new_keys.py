"""Keys of companies that a plant file names while the stack runs; run by `stack.py`."""

import asyncio
from pathlib import Path

from aurelian.local.options import Options
from aurelian.local.services import page_links

_EVERY_S = 1.0


class NewKeys:
    """Makes them, and says what opens their pages."""

    def __init__(self, options: Options, plant: Path, owner_url: str, url: str) -> None:
        self._options, self._plant = options, plant
        self._owner_url, self._url = owner_url, url
        self._seen: object = None
        self._said = ""

    async def make(self) -> tuple[str, ...]:
        """Make those that are missing; lines that show them."""
        return await asyncio.to_thread(self._make)

    async def keep_making(self) -> None:
        """Do so whenever the files change, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            made = await self.make()
            if not made:
                continue
            companies = {each.split()[0] for each in made}
            for company, link in page_links(self._options.home, self._url):
                if company in companies:
                    self._options.tell(f"pages of {company}: {link}")
            for line in made:
                self._options.tell(f"a key for development, shown once: {line}")

    def _make(self) -> tuple[str, ...]:
        from aurelian.model.plant_file import PlantError, plant_files

        try:
            files = [(path, path.stat().st_mtime_ns) for path in plant_files(self._plant)]
            if files == self._seen:
                return ()
            create_keys = self._options.preparation.create_keys
            made = create_keys(self._owner_url, self._options.home, self._plant)
        except (PlantError, OSError) as error:
            if str(error) != self._said:
                self._options.tell(f"plant files: {error}")
            self._said = str(error)
            return ()
        self._seen, self._said = files, ""
        return made
