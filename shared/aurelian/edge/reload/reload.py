"""A gateway's plant while it runs: the files are followed, and a change touches only the sources
that it changes. Run by `gateway.run_gateway`.

Files that cannot be used are refused with line and reason, and what was accepted before stays, also
over a restart. A source that was connected and is not with its change is taken back by itself.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from prometheus_client import Counter, Gauge

from aurelian.edge.forward import Source
from aurelian.edge.reload.gone_assets import GoneAssets
from aurelian.edge.reload.kept_plant import Before, KeptPlant, read_kept, write_kept
from aurelian.edge.reload.plant_folder import PlantFolder
from aurelian.edge.reload.refusal import Refusal
from aurelian.edge.reload.running_sources import RunningSources
from aurelian.edge.source_state import CONNECTED, Condition, Notice, Observable, SourceState
from aurelian.model.plant import Plant
from aurelian.model.plant_file import PlantError, Problem, parse_plant
from aurelian.model.source_terms import terms_of
from aurelian.model.time import SECOND_US, now_us

log = logging.getLogger(__name__)

POLL_S = 0.2
_TRY_AGAIN = (
    "correct the source in the plant file; to try the same change once more, take it out, save, "
    "and put it in again"
)

RELOADS = Counter(
    "gateway_plant_reloads_total",
    "Changes of the plant files that were accepted, or refused because a file cannot be used; "
    "refused: the log and /sources of this port name file and line.",
    ["outcome"],
)
REFUSED = Gauge(
    "gateway_plant_refused",
    "1 while the plant files cannot be used and the gateway runs by those before; /sources of this "
    "port says why.",
)
TAKEN_BACK = Gauge(
    "gateway_plant_changes_taken_back",
    "Sources that run as before a change, because they did not connect with it; /sources of this "
    "port says which and why.",
)

MakeSome = Callable[[Sequence[Plant], Container[str]], Sequence[Source]]
"""Makes a gateway's sources of its own kind, out of all plants, those of the keys given."""


class Reload:
    """Follows one folder of plant files.

    Attributes:
        changed: what is called with the plants of the files, and the plant of each source that
            runs as before a change, after each change of either.
    """

    def __init__(
        self,
        folder: Path,
        kept: Path,
        make: MakeSome,
        trial_s: float,
        changed: Callable[[Sequence[Plant], Mapping[str, Plant]], None] = lambda plants, held: None,
    ) -> None:
        self._folder, self._path, self._make, self._trial_s = (
            PlantFolder(folder),
            kept,
            make,
            trial_s,
        )
        self.changed = changed
        self._files: dict[Path, bytes] = {}
        self._plants: dict[Path, Plant] = {}
        self._before: dict[str, Before] = {}
        self._plant_before: dict[str, Plant] = {}
        self._trying: dict[str, float] = {}
        self._runs: dict[str, str] = {}
        self._left: dict[str, list[Source]] = {}
        self._terms: dict[str, str] = {}
        self._first: list[Source] = []
        self._refusal = Refusal()
        self._at = 0
        self._is_dirty = False
        self._gone = GoneAssets()

    @property
    def plants(self) -> list[Plant]:
        """Those of the files that were accepted last."""
        return list(self._plants.values())

    @property
    def waits_for(self) -> str | None:
        """What is missing so that there is work; None: there is a plant."""
        if self._plants:
            return None
        return f"no plant-model file is in {self._folder.folder} yet; the README shows one"

    def notice(self, key: str) -> Notice | None:
        """What is to be said of a source beside its condition."""
        before = self._before.get(key)
        return Notice(before.cause, before.step) if before is not None and before.is_held else None

    def refusal(self, key: str) -> str:
        """Why the files cannot be used, as its owner may know; empty: they can."""
        return self._refusal.said_to(key, self._plants)

    def shown(self) -> dict[str, object]:
        """For `/sources`, JSON-ready; `changed`: seconds since 1970."""
        return {
            "files": [str(path) for path in self._files],
            "changed": self._at / SECOND_US or None,
            "refused": self._refusal.reason or None,
            "taken_back": {key: each.cause for key, each in self._before.items() if each.is_held},
        }

    async def begin(self) -> None:
        """Read what the gateway starts with. Where the files cannot be used, those that were
        accepted before count; an empty folder is waited for.

        Raises:
            PlantError: the files cannot be used, and none were accepted before.
        """
        kept = await asyncio.to_thread(read_kept, self._path)
        try:
            await asyncio.to_thread(self._begin_with_files, kept)
            self._first = self._make_all()
        except PlantError as error:
            if kept is None or not kept.files:
                if self._folder.is_empty:
                    return
                raise
            await asyncio.to_thread(self._begin_with_kept, kept)
            self._first = self._make_all()
            self._refuse(str(error), error.problems)
        self._gone.is_now(self.plants, self._held())
        await asyncio.to_thread(self._write)

    def _make_all(self) -> list[Source]:
        """All sources, those held as they were before their change."""
        held = {key for key, each in self._before.items() if each.is_held}
        made = list(self._make(self.plants, self._terms.keys() - held))
        return made + [source for key in held for source in self._make_before(key)]

    def start(self, running: RunningSources) -> None:
        """Start all sources."""
        for source in self._first:
            key = source.model.key
            self._runs.setdefault(key, self._terms.get(key, ""))
            running.start(source)
            if key in self._before and not self._before[key].is_held:
                self._trying[key] = time.monotonic() + self._trial_s
        self._first = []
        self._tell()

    async def follow(self, running: RunningSources) -> None:
        """Follow the files until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            if await asyncio.to_thread(self._folder.is_news):
                await self._take(running)
            await self._judge(running)
            if self._is_dirty:
                await asyncio.to_thread(self._write)

    async def _take(self, running: RunningSources) -> None:
        began = time.monotonic()
        try:
            files, plants, terms = await asyncio.to_thread(self._read)
            await self._apply(files, plants, terms, running)
        except PlantError as error:
            self._refuse(str(error), error.problems)
            return
        except Exception as error:
            # A file that finds a bug of ours shall not end what runs well.
            log.exception("plant files cannot be taken up")
            self._refuse(f"a fault in reading them: {type(error).__name__}: {error}")
            return
        if self._refusal.reason:
            log.info("plant files can be used again")
        self._refusal = Refusal()
        REFUSED.set(0)
        RELOADS.labels("accepted").inc()
        fields = {"seconds": round(time.monotonic() - began, 3), "sources": len(self._runs)}
        log.info("plant files were taken up", extra={"fields": fields})

    def _refuse(self, reason: str, problems: Sequence[Problem] = ()) -> None:
        RELOADS.labels("refused").inc()
        REFUSED.set(1)
        self._refusal = Refusal(reason, problems)
        log.error("plant files are refused, those before stay", extra={"fields": {"error": reason}})

    def _read(self) -> tuple[dict[Path, bytes], dict[Path, Plant], dict[str, str]]:
        files = self._folder.read()
        plants = self._folder.parse(files)
        return files, plants, terms_of(list(plants.values()))

    async def _apply(
        self,
        files: dict[Path, bytes],
        plants: dict[Path, Plant],
        terms: dict[str, str],
        running: RunningSources,
    ) -> None:
        # Of those that wait for a person to correct them the same change is not tried again.
        before = {key: each for key, each in self._before.items() if terms.get(key) == each.terms}
        held = {key for key, each in before.items() if each.is_held}
        changed = [
            key
            for key, runs in self._runs.items()
            if key not in held and key in terms and terms[key] != runs
        ]
        new = {key for key in terms if key not in self._runs}
        made = {
            source.model.key: source
            for source in self._make(list(plants.values()), new | set(changed))
        }
        # A source may have become one of another gateway's kind.
        went = [key for key in self._runs if key not in terms]
        went += [key for key in changed if key not in made]
        for key in made:
            if key in self._before or _is_connected(running.get(key)):
                before[key] = self._before_change(key, terms[key])
        left = {
            key: old
            for key, source in made.items()
            if (old := running.get(key)) is not None and old.model.url != source.model.url
        }
        await self._keep(files, plants, before)
        await running.stop([*went, *(key for key in changed if key in made)], retired=went)
        for key in went:
            del self._runs[key]
        for key, source in made.items():
            running.start(source)
            self._runs[key] = terms[key]
            if key in before:
                self._trying[key] = time.monotonic() + self._trial_s
                # What is kept for us at the place before is needed for the way back.
                if key in left:
                    self._left.setdefault(key, []).append(left[key])
            elif key in left:
                running.retire(left[key], is_replaced=True)
        self._tell()

    def _before_change(self, key: str, terms: str) -> Before:
        """What a source goes back to: what it ran by when it was connected last."""
        if (known := self._before.get(key)) is not None:
            return replace(known, terms=terms, at=now_us(), cause="", step="")
        site = key.rpartition("/")[0]
        path = next(path for path, each in self._plants.items() if each.path == site)
        return Before(terms, str(path), self._files[path].decode(), now_us())

    async def _judge(self, running: RunningSources) -> None:
        """Let those go that connected with their change, and take the others back in time."""
        for key, until in list(self._trying.items()):
            source = running.get(key)
            condition = _condition(source)
            if condition is None or condition.state in CONNECTED:
                del self._trying[key]
                # On the disk too: a restart shall not take back what was good.
                self._is_dirty |= self._before.pop(key, None) is not None
                for left in self._left.pop(key, []):
                    # An address that is corrected to the one of before has come back to what was
                    # left there.
                    if source is None or left.model.url != source.model.url:
                        running.retire(left, is_replaced=True)
            elif condition.state is not SourceState.CONNECTING or time.monotonic() > until:
                await self._take_back(key, condition.reason or "no connection", running)

    async def _take_back(self, key: str, cause: str, running: RunningSources) -> None:
        del self._trying[key]
        self._left.pop(key, None)
        said = f"the last change of the plant file was taken back, with it: {cause}"
        self._before[key] = replace(self._before[key], cause=said, step=_TRY_AGAIN)
        sources = self._make_before(key)
        if not sources:
            return
        fields = {"source": key, "cause": cause}
        log.error("a change did not connect and was taken back", extra={"fields": fields})
        self._gone.is_now(self.plants, self._held())
        await asyncio.to_thread(self._write)
        await running.stop([key])
        for source in sources:
            running.start(source)
        self._tell()

    def _make_before(self, key: str) -> Sequence[Source]:
        """The source as it was before its change; none where that cannot be had any more."""
        before = self._before[key]
        try:
            plant = parse_plant(Path(before.file), before.text.encode())
            plants = [plant if each.path == plant.path else each for each in self.plants]
            sources = self._make(plants, {key})
        except PlantError as error:
            del self._before[key]
            self._is_dirty = True
            fields = {"source": key, "error": str(error)}
            log.error("a source cannot run as before its change", extra={"fields": fields})
            return self._make(self.plants, {key}) if key not in self._runs else ()
        self._plant_before[key] = plant
        self._runs[key] = terms_of(plants)[key]
        return sources

    def _tell(self) -> None:
        self._plant_before = self._held()
        TAKEN_BACK.set(len(self._plant_before))
        self.changed(self.plants, self._plant_before)

    def _held(self) -> dict[str, Plant]:
        """The plant of each source that runs as before its change."""
        held = {key for key, each in self._before.items() if each.is_held}
        return {key: each for key, each in self._plant_before.items() if key in held}

    async def _keep(
        self, files: dict[Path, bytes], plants: dict[Path, Plant], before: dict[str, Before]
    ) -> None:
        """Accept files: from now on a restart begins with them."""
        self._at = now_us()
        self._files, self._plants, self._before = files, plants, before
        self._gone.is_now(self.plants, self._held())
        await asyncio.to_thread(self._write)

    def gone_now(self) -> Collection[str]:
        """Ids of assets that the files have no more, and of which readers were not told yet."""
        return self._gone.ids

    def forget_gone(self, told: Iterable[str]) -> None:
        """Note that readers know of assets that are there no more."""
        self._gone.told(told)
        self._is_dirty = True

    def _write(self) -> None:
        self._is_dirty = False
        files = {str(path): data.decode() for path, data in self._files.items()}
        kept = KeptPlant(files, self._before, sorted(self._gone.ids), self._at)
        try:
            write_kept(self._path, kept)
        except OSError as error:
            # What runs goes on; only a restart on a file made bad meanwhile would miss it.
            fields = {"file": str(self._path), "error": str(error)}
            log.warning("accepted plant is not on the disk", extra={"fields": fields})

    def _begin_with_files(self, kept: KeptPlant | None) -> None:
        self._files, self._plants, self._terms = self._read()
        self._at = now_us()
        if kept is None:
            return
        if _bytes_of(kept) == self._files:
            self._at = kept.at
        self._take_over(kept)

    def _begin_with_kept(self, kept: KeptPlant) -> None:
        self._files = _bytes_of(kept)
        self._plants = self._folder.parse(self._files)
        self._terms = terms_of(self.plants)
        self._at = kept.at
        self._take_over(kept)

    def _take_over(self, kept: KeptPlant) -> None:
        changes = kept.before.items()
        self._before = {k: each for k, each in changes if self._terms.get(k) == each.terms}
        texts = {(Path(name), text) for name, text in kept.files.items()}
        texts |= {(Path(each.file), each.text) for each in kept.before.values() if each.is_held}
        there: list[Plant] = []
        for path, text in texts:
            with suppress(PlantError):
                there.append(parse_plant(path, text.encode()))
        self._gone = GoneAssets(kept.gone, there)


def _bytes_of(kept: KeptPlant) -> dict[Path, bytes]:
    return {Path(name): text.encode() for name, text in kept.files.items()}


def _condition(source: Source | None) -> Condition | None:
    return source.condition() if isinstance(source, Observable) else None


def _is_connected(source: Source | None) -> bool:
    condition = _condition(source)
    return condition is not None and condition.state in CONNECTED
