"""What names of signals say of their role, in English, German, Norwegian, Swedish, Danish and
Finnish. Pure; called by proposal.py."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from aurelian.model.plant_parts import Role

# Phrases whose words all have to be in the name, in any order; `?` before one: it says little
# alone; `-` before a word: it counts as the end of a compound too, `Öltemperatur`.
_PHRASES = {
    Role.STATE: (
        "machine state, state current, statecurrent, unit state, execute state, run state, "
        "machine status, maschinenzustand, betriebszustand, maschinenstatus, anlagenzustand, "
        "anlagenstatus, driftstilstand, maskintilstand, driftstatus, maskinstatus, "
        "maskintillstand, drifttillstand, driftlage, koneen tila, koneentila, kayntitila, "
        "toimintatila, ?state, ?status, ?zustand, ?tilstand, ?tillstand, ?tila, "
        "?laufstatus, ?execution, ?running, "
        "?lauft, ?kaynnissa, ?kjorer"
    ),
    Role.GOOD_COUNT: (
        "good count, good parts, good pieces, parts good, count good, good counter, goodcount, "
        "ok parts, parts ok, ok count, count ok, good units, good total, total good, passed parts, "
        "-gutteile, gutmenge, gutzahler, gutstuck, gut teile, io teile, teile io, gut anzahl, "
        "gut zahler, gode deler, godkjente, godkjent antall, antall gode, antall godkjente, "
        "godkanda, goda delar, goda detaljer, antal goda, antal godkanda, godkendte, gode emner, "
        "antal gode, hyvaksytyt, hyvat kappaleet, hyvat, hyvia, ?produced count, ?parts produced, "
        "?part count, ?piece count, ?parts made, ?prod processed count, ?product count, "
        "?processed count, ?production count, ?total count, ?stuckzahl, ?teilezahler, "
        "?stuckzahler, ?teile gesamt, ?antall, ?antal, ?stykktall, ?styktal, ?kappalemaara, "
        "?kappalelaskuri, ?tuotantomaara, ?pieces, ?parts"
    ),
    Role.SCRAP_COUNT: (
        "scrap, scrap count, reject count, rejects, rejected, rejected parts, bad parts, "
        "bad count, nok parts, nok count, parts nok, defects, defective count, "
        "prod defective count, defect count, waste count, failed parts, "
        "-ausschuss, ausschussmenge, schlechtteile, "
        "schlecht teile, nio teile, teile nio, ausschuss zahler, vrak, vrakede, kassert, kasserte, "
        "vrakdeler, kassation, kasserade, kassationer, skrot, kasserede, vrag, hylky, hylatyt, "
        "hylkyt, romutetut, susikappaleet, ?reject, ?nok, ?bad"
    ),
    Role.CYCLE_TIME: (
        "cycle time, cycletime, last cycle time, takt time, takttime, -zykluszeit, -taktzeit, "
        "-syklustid, -taktid, -cykeltid, -takttid, -cyklustid, -jaksoaika, -tahtiaika, -sykliaika, "
        "?last cycle, ?zyklus zeit"
    ),
    Role.STOP_REASON: (
        "stop reason, stop code, stop cause, stopreason, downtime reason, downtime code, "
        "-stillstandsgrund, -stoppgrund, -storgrund, -storungsgrund, -stillstandsursache, "
        "-stopparsak, -stoppkode, -stopporsak, -stopporsak, -stoppkod, -stoparsag, -stopkode, "
        "-pysahdyssyy, -pysaytyssyy, -seisokkisyy, -pysaytyksen syy, -pysahdyksen syy, "
        "-hairiokoodi, ?fault code, ?error code, ?storcode, ?fehlercode, ?alarm code, ?feilkode, "
        "?felkod, ?fejlkode, ?vikakoodi"
    ),
    Role.ORDER: (
        "order number, order id, order no, work order, workorder, job number, job id, "
        "production order, -auftragsnummer, -fertigungsauftrag, -auftrag nr, -ordrenummer, "
        "-produksjonsordre, -ordernummer, -tillverkningsorder, -produktionsordre, -tyomaarain, "
        "-tyonumero, -tilausnumero, ?order, ?job, ?auftrag, ?ordre, ?tilaus"
    ),
    Role.PRODUCT: (
        "product id, product number, product code, product name, part number, article number, "
        "material number, sku, -artikelnummer, -teilenummer, -materialnummer, -produktnummer, "
        "-varenummer, -produktkode, -produktkod, -tuotenumero, -tuotekoodi, -nimikenumero, "
        "?product, ?article, ?recipe, ?recipe name, ?produkt, ?artikel, ?rezept, ?oppskrift, "
        "?recept, ?opskrift, ?tuote, ?resepti, ?program name"
    ),
    Role.POWER: (
        "active power, actual power, power consumption, power, -wirkleistung, -leistungsaufnahme, "
        "-leistung, -aktiv effekt, -aktiveffekt, -effektforbruk, -effekt, -patoteho, -teho, "
        "-tehonkulutus"
    ),
    Role.ENERGY: (
        "energy, energy consumption, active energy, energy total, electricity meter, -energie, "
        "-energieverbrauch, -stromverbrauch, -stromzahler, -energi, -energiforbruk, -energimaler, "
        "-stromforbruk, -energiforbrukning, -elforbrukning, -energiforbrug, -elforbrug, -energia, "
        "-energiankulutus, -sahkonkulutus, ?consumption, ?verbrauch, ?forbruk, ?kulutus"
    ),
    Role.TEMPERATURE: (
        "temperature, temp, tmp, -temperatur, -temperaturen, -lampotila, -lampo"
    ),
    Role.VIBRATION: (
        "vibration, vibrations, vib, vibration rms, velocity rms, acceleration rms, -schwingung, "
        "-vibration, -schwingungen, -schwinggeschwindigkeit, -vibrasjon, -vibrasjoner, -svingning, "
        "-vibrationer, -vibrationen, -varahtely, -tarina"
    ),
    Role.CURRENT: (
        "motor current, spindle current, drive current, phase current, current rms, current l1, "
        "current l2, current l3, load current, actual current, amps, amperage, -motorstrom, "
        "-stromaufnahme, -strom, -strommen, -motorvirta, -virta, ?current"
    ),
    Role.PRESSURE: "pressure, -druck, -trykk, -tryck, -tryk, -paine",
    Role.BUFFER: (
        "buffer level, buffer count, buffer fill, wip, parts waiting, queue length, queue count, "
        "infeed count, -pufferstand, -pufferfullstand, -puffer, -bufferniva, -mellomlager, "
        "-mellanlager, -mellemlager, -buffert, -puskuri, -valivarasto, ?buffer, ?queue"
    ),
}  # fmt: skip

_NOT_MEASURED = {
    "a set point": (
        "setpoint sp set target soll sollwert vorgabe settpunkt borverdi borvarde satpunkt "
        "stillpunkt asetusarvo asetus tavoite ohjearvo setp nominal reference command cmd "
        "skalverdi malverdi malvarde onskevaerdi"
    ),
    "a limit or a setting": (
        "limit limits threshold max min high low hihi lolo hysteresis deadband grenzwert grenze "
        "schwelle grense grans graense raja alarmlimit config configuration parameter param "
        "warnlimit"
    ),
    "a message or an alarm": (
        "alarm alarms warning fault error stoerung storung fehler feil fel fejl halytys vika "
        "message meldung"
    ),
    "a flow": (
        "flow volumenstrom massenstrom luftstrom forderstrom durchfluss virtaus tilavuusvirta "
        "massavirta flode gjennomstromning"
    ),
    "a performance, not a power": "stuckleistung performance effectiveness oee rated",
    "a sign of life": "heartbeat lifebit life watchdog lebensbit alive livebit toggle livstegn",
    "hours of operation": (
        "hours runtime uptime betriebsstunden betriebszeit driftstimer drifttimmar kayttotunnit "
        "operatinghours runhours"
    ),
    "a time or a date": "timestamp datetime date zeitstempel tidsstempel aikaleima",
    "a controller's own part": "pid kp ki kd gain regler controller output ausgang output",
    "something about a program or the controller": "version firmware serial license",
}
_ANYWAY = frozenset({Role.STOP_REASON})
"""Roles whose own names have such words in them, `fault code`."""

_GENERIC_WORDS = (
    "value val actual act current cur curr ist istwert pv processvalue measured measurement "
    "number data accumulated accumulatedvalue count counter total sum avg average mean rms wert "
    "verdi varde vaerdi arvo mittaus malt id name numeric present presentvalue now reading "
    "signal state status raw scaled out item sensor analog ai di tag"
)
_GENERIC = frozenset(_GENERIC_WORDS.split())
"""Last levels of a path that say nothing without the one above them."""

_JOINED = re.compile(
    r"[A-ZÄÖÜÅÆØ]+(?![a-zäöüåæøß])|[A-ZÄÖÜÅÆØ]?[a-zäöüåæøß]+|[A-ZÄÖÜÅÆØ]+|\d+|[^\W\d_]+"
)
_SPELT = str.maketrans({"ß": "ss", "æ": "ae", "ø": "o", "å": "a", "Æ": "Ae", "Ø": "O", "Å": "A",
                        "ł": "l"})  # fmt: skip
_COUNTERS = ("zahler", "zaehler", "anzahl", "teller", "raknare", "taeller", "laskuri")
_PAIRS = (("ae", "a"), ("oe", "o"), ("ue", "u"), ("aa", "a"))


@dataclass(frozen=True, slots=True)
class Named:
    """What a name says.

    Attributes:
        role: OTHER: it is known that it is none of the roles.
        is_clear: the words mean that and nothing else.
        why: in plain words.
    """

    role: Role
    is_clear: bool
    why: str


@dataclass(frozen=True, slots=True)
class _Phrase:
    role: Role
    words: tuple[str, ...]
    is_clear: bool
    is_head: bool


def role_of_name(path: Sequence[str]) -> Named | None:
    """The role that the levels of a path speak of; the last one counts, with the one above it where
    it says little. None: nothing is known."""
    shown = path[-1] if path else ""
    words = words_of(path[-1]) if path else ()
    found = _best(words)
    if (found is None or not found.is_clear) and len(path) > 1:
        own = [each for each in words if not each.isdigit()]
        if all(each in _GENERIC or len(each) == 1 for each in own):
            above = _best((*words_of(path[-2]), *words))
            if above is not None and (found is None or above.is_clear):
                found, shown = above, f"{path[-2]}/{path[-1]}"
                words = (*words_of(path[-2]), *words)
    other = _not_measured(words)
    if other and (found is None or found.role not in _ANYWAY):
        return Named(Role.OTHER, True, f"its name {shown!r} is that of {other}")
    if found is None:
        return None
    text = " ".join(found.words)
    said = f"its name {shown!r} says {text!r}"
    if found.role is Role.GOOD_COUNT and not found.is_clear:
        said += ", which may count bad pieces too"
    return Named(found.role, found.is_clear, said)


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name, small, without accents: `GutteileZähler_2` is gutteile, zahler, 2."""
    composed = unicodedata.normalize("NFC", name)
    words: list[str] = []
    for part in re.split(r"[^\w]+|_+", composed):
        pieces = [each for each in _JOINED.findall(part) if each]
        words += map(_plain, pieces)
        whole = _plain(part)
        if len(pieces) > 1 and whole in _WHOLE:
            words.append(whole)
    return tuple(words)


_WHOLE = frozenset({"kwh", "mwh", "degc", "nio", "io", "setpoint", "kw", "lifebit"})


def _plain(text: str) -> str:
    spelt = unicodedata.normalize("NFKD", text.translate(_SPELT))
    return "".join(char for char in spelt if not unicodedata.combining(char)).casefold()


def _spellings(word: str) -> Iterable[str]:
    """As it stands, and with `ae` for a where somebody had no umlauts."""
    yield word
    for count in _COUNTERS:
        if word.endswith(count) and len(word) > len(count) + 3:
            yield word.removesuffix(count)  # Gutteilezähler: of good pieces
    for pair, one in _PAIRS:
        if pair in word:
            yield word.replace(pair, one)
    changed = word
    for pair, one in _PAIRS:
        changed = changed.replace(pair, one)
    yield changed


def _best(words: Iterable[str]) -> _Phrase | None:
    """Of the phrases that a name has the clearest, then the longest."""
    return _best_of(tuple(each for each in words if not each.isdigit()))


@lru_cache(4096)
def _best_of(words: tuple[str, ...]) -> _Phrase | None:
    # Machines are many, and the names of their signals few: a number is no word of a phrase.
    spelt = {each for word in words for each in _spellings(word)}
    found = [each for each in _ALL if _has(spelt, each)]
    if not found:
        return None
    # "current" is an adjective in most names: any other role is the better guess.
    found = [each for each in found if each.is_clear or each.role is not Role.CURRENT] or found
    clear = [each for each in found if each.is_clear]
    return max(clear or found, key=lambda each: (len(each.words), sum(map(len, each.words))))


def _has(spelt: set[str], phrase: _Phrase) -> bool:
    if all(word in spelt for word in phrase.words):
        return True
    if not phrase.is_head or len(phrase.words) != 1:
        return False
    head = phrase.words[0]
    return len(head) >= 4 and any(
        word.endswith(head) and len(word) > len(head) + 1 for word in spelt
    )


@lru_cache(4096)
def _not_measured(words: tuple[str, ...]) -> str:
    spelt = {each for word in words for each in _spellings(word)}
    for what, texts in _NOT.items():
        if not texts.isdisjoint(spelt):
            return what
    for what, texts in _NOT.items():
        if any(len(t) >= 6 and w.endswith(t) for t in texts for w in spelt):
            return what
    if any(w.startswith(("soll", "asetus", "borvard")) for w in spelt):
        return "a set point"
    return ""


def _read() -> tuple[_Phrase, ...]:
    phrases = []
    for role, text in _PHRASES.items():
        for each in text.split(","):
            phrase = each.strip()
            is_clear = not phrase.startswith("?")
            phrase = phrase.removeprefix("?")
            is_head = phrase.startswith("-")
            words = tuple(phrase.removeprefix("-").split())
            phrases.append(_Phrase(role, words, is_clear, is_head))
    return tuple(phrases)


_ALL = _read()
_NOT = {what: frozenset(texts.split()) for what, texts in _NOT_MEASURED.items()}
