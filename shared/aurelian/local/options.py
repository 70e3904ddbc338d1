"""What one run of the embedded stack is asked for, where it listens, and what it says when it is
up; made by `aurelian up`, read by `stack.py`."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from aurelian.local import kafka_jars
from aurelian.local.ports import any_free, first_free
from aurelian.local.preparation import KIT, Preparation
from aurelian.local.services import SERVICES, Service

FIRST_API_PORT = 8101
FIRST_OPS_PORT = 8121
KAFKA_PORT, MQTT_PORT, OPCUA_PORT = 9092, 1883, 4840


class StackError(Exception):
    """The stack cannot run; the message says what is in the way and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to run, and where."""

    home: Path
    plant: Path | None = None
    """Folder of plant-model files; None: `plant` in `home`, beside the pilot plant's own."""
    pilot: bool = True
    dashboard_port: int = 8080
    fixed_ports: bool = True
    """False: every port is any free one (several stacks on one machine)."""
    services: tuple[Service, ...] = SERVICES
    preparation: Preparation = KIT
    seed: str = "pilot_factory.seed"
    """Module that fills a first start's history; empty: none."""
    new_log: bool = False
    """Declare the Kafka log that is found as the current one, whatever was declared before: an
    operator's act, after Kafka's folder was lost."""
    cache: Path = field(default_factory=kafka_jars.default_cache)
    """Folder of what is fetched or made once per machine."""
    train_kafka: bool = True
    """Make Java's start cache in the background where there is none."""
    start_limit_s: float = 120.0
    """How long the last service may take to be ready."""
    tell: Callable[[str], None] = lambda sentence: None
    """Told each step, for people."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The TCP ports of one run, all on loopback."""

    kafka: int
    kafka_controller: int
    mqtt: int
    pilot_opcua: int
    pilot_control: int
    ops: dict[str, int]
    api: dict[str, int]


@dataclass(frozen=True, slots=True)
class Stack:
    """What `run` tells when everything is up."""

    url: str
    ports: Ports
    database_url: str
    keys: tuple[str, ...]
    """The development keys of companies that had none: they are stored hashed and cannot be shown
    again."""
    seconds: float
    """Time that the start took."""
    has_pilot: bool = False
    """Whether the pilot plant is part of it."""


def choose_ports(options: Options) -> Ports:
    """Choose a free port for each listener: the usual one, or the next free one above it.

    Raises:
        NoFreePortError: a hundred ports in a row are in use.
    """
    taken: set[int] = set()

    def choose(preferred: int) -> int:
        return first_free((options.fixed_ports and preferred) or any_free(), taken)

    # The page's own first: what is asked for must not go to another.
    api = {each.name: choose(options.dashboard_port) for each in options.services[-1:]}
    others = [each for each in options.services[:-1] if each.answers]
    # Gateways last: the APIs keep the ports that they had before gateways had one.
    others.sort(key=lambda each: each.is_gateway)
    api |= {each.name: choose(FIRST_API_PORT) for each in others}
    ops = {each.name: choose(FIRST_OPS_PORT) for each in options.services}
    return Ports(
        choose(KAFKA_PORT),
        choose(9093),
        choose(MQTT_PORT),
        choose(OPCUA_PORT),
        choose(4980),
        ops,
        api,
    )


def own_plant(options: Options) -> Path:
    """Return the folder in which people write plant-model files; gateways follow it."""
    return options.plant or options.home / "plant"


def simulated_plant(options: Options) -> Path | None:
    """Return the folder of what the pilot plant simulates; None: it has nothing to do.

    Raises:
        PlantError: the folder that was named cannot be used.
    """
    from aurelian.model.plant_file import load_plants

    if not options.pilot:
        return None
    if options.plant is None:
        return pilot_plant()
    units = [unit for plant in load_plants(options.plant) for unit in plant.units()]
    return options.plant if any(unit.model.simulate for unit in units) else None


def pilot_plant() -> Path:
    """Return the folder of the plant-model files that the pilot plant ships.

    Raises:
        StackError: there is no pilot plant here.
    """
    spec = importlib.util.find_spec("pilot_factory")
    if spec is None or not spec.submodule_search_locations:
        raise StackError(
            "the pilot plant is not installed: name a folder of plant-model files with "
            "AURELIAN_PLANT or --plant"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "plants"
