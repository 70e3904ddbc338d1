"""Codes of UCUM: those of the specification are never refused, what people write for them is."""

import pytest

from aurelian.edge.proposals.units_of_measure import _EXACT, _FOLDED
from aurelian.model.ucum import is_ucum
from opcua_gateway.browse.engineering_units import UCUM

VALID = """
m s g rad K C cd 10*3 10^-6 10* [pi] % [ppth] [ppm] [ppb] mol sr Hz N Pa J W A V F Ohm S Wb Cel T H
lm lx Bq Gy Sv gon deg ' '' l L ar min h d a_j a wk mo t u eV AU pc bar atm att [psi] [in_i] [ft_i]
[gal_us] [lb_av] [lbf_av] [oz_av] [degF] [degR] cal [Cal] kcal [Btu_IT] [HP] tex [den] m[H2O] mm[Hg]
[in_i'Hg] cm[H2O] eq osm [pH] g% kat U m[iU] mU [CFU] Np B dB B[SPL] dB[SPL] B[10.nV] mho [g] [c]
bit By kBy MiBy GiBy bit/s Bd [m/s2/Hz^(1/2)] [NTU] [car_Au] [CCID_50] %[slope] [hp'_X]
kW kW.h MW.h GW.h mW W.h kV.A V.A{reactive} V/m A.h mA.h N.m kN.m kN/mm2 N/mm2 MPa hPa mbar m/s m/s2
m.s-2 mm/s mm/min m3/h m3 m2 L/min l/min /min 1/min {rev}/min {piece} {piece}/h {good} [degF]/h
kg/m3 kg.m/s2 g/(m2.d) (kg/s)/(m.K) /(4.[pi].10*-7) 10*6/uL mg{dry}/kg m3{norm}/h W/(m2.K) m2.K/W
uS/cm mS/m cSt mPa.s Pa.s cP rad/s deg/s um nm us ns kHz MHz daN 2.m 1 100 10*-3.mol m-1 s-1 K-1
dag cL mL dm3 m+2 kgf ug/m3 uV mT Wb.m-2 lm/W cd/m2 kWb RAD REM Ci P St G Gb erg dyn [ly] g{total}
kg/(h.{machine}) ((m)) {a}/{b} J/(kg.K) Mibit ft pT U/min
"""

WRONG = """
bars Bar kWh kwh KWh Wh °C ℃ degC Celsius rpm RPM in Nm m/s² m³/h m3/h/ .m m..s m//s m. kw KW hz
pcs piece Stk ton psi ppm mmHg inch VA kVA var Ah volt Volt amps sec hr hour k 10** m^2 m**2 µm
mW·h m( (m m) {a {a}} a{b}c [bar [x] N·m dBA Mpa kpa KPA ppm lb °
"""


@pytest.mark.parametrize("code", VALID.split())
def test_a_code_of_the_specification_is_one(code: str) -> None:
    assert is_ucum(code)


@pytest.mark.parametrize("code", [*WRONG.split(), "", " ", "m s", "m/ s", "/"])
def test_what_is_no_code_is_none(code: str) -> None:
    assert not is_ucum(code)


def test_what_is_proposed_as_a_unit_is_a_code() -> None:
    proposed = {*_EXACT.values(), *_FOLDED.values(), *UCUM.values()}
    assert [each for each in proposed if not is_ucum(each)] == []


def test_a_long_one_is_judged_at_once() -> None:
    assert is_ucum("(" * 100_000 + "m" + ")" * 100_000)
    assert not is_ucum("(" * 100_000) and not is_ucum("m." * 100_000)
