"""Whether a text is a code of UCUM, the Unified Code for Units of Measure: its grammar and its
symbols as they are where case counts. Pure; asked by `aurelian plant check`."""

from __future__ import annotations

import re

_OF_PREFIXES = "Q R Y Z E P T G M k h da d c m u n p f a z y r q Ki Mi Gi Ti"
_PREFIXES = tuple(_OF_PREFIXES.split())

_TAKE_A_PREFIX = """
    m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb Cel T H lm lx Bq Gy Sv
    l L ar t bar u eV pc [c] [h] [k] [eps_0] [mu_0] [e] [m_e] [m_p] [G] [g] [ly] gf
    Ky Gal dyn erg P Bi St Mx G Oe Gb sb Lmb ph Ci R RAD REM
    cal_[15] cal_[20] cal_m cal_IT cal_th cal tex m[H2O] m[Hg] eq osm g% kat U [iU] [IU]
    Np B B[SPL] B[V] B[mV] B[uV] B[10.nV] B[W] B[kW] st mho bit By Bd
"""

_TAKE_NONE = """
    10* 10^ [pi] % [ppth] [ppm] [ppb] [pptr] gon deg ' '' min h d a_t a_j a_g a wk
    mo_s mo_j mo_g mo AU [lbf_av] atm att Ao b [psi] circ sph bit_s [car_m] [car_Au] [smoot]
    [m/s2/Hz^0.5] [m/s2/Hz^(1/2)] [NTU] [FNU]
    [degF] [degR] [degRe] [Cal] [HP] [den] %[slope] [mesh_i] [Ch] [drp] [pH] [S]
    [in_i] [ft_i] [yd_i] [mi_i] [fth_i] [nmi_i] [kn_i] [sin_i] [sft_i] [syd_i] [cin_i] [cft_i]
    [cyd_i] [bf_i] [cr_i] [mil_i] [cml_i] [hd_i]
    [ft_us] [yd_us] [in_us] [rd_us] [ch_us] [lk_us] [rch_us] [rlk_us] [fth_us] [fur_us] [mi_us]
    [acr_us] [srd_us] [smi_us] [sct] [twp] [mil_us]
    [in_br] [ft_br] [rd_br] [ch_br] [lk_br] [fth_br] [pc_br] [yd_br] [mi_br] [nmi_br] [kn_br]
    [acr_br]
    [gal_us] [bbl_us] [qt_us] [pt_us] [gil_us] [foz_us] [fdr_us] [min_us] [crd_us] [bu_us]
    [gal_wi] [pk_us] [dqt_us] [dpt_us] [tbs_us] [tsp_us] [cup_us] [foz_m] [cup_m] [tsp_m] [tbs_m]
    [gal_br] [pk_br] [bu_br] [qt_br] [pt_br] [gil_br] [foz_br] [fdr_br] [min_br]
    [gr] [lb_av] [oz_av] [dr_av] [scwt_av] [lcwt_av] [ston_av] [lton_av] [stone_av]
    [pwt_tr] [oz_tr] [lb_tr] [sc_ap] [dr_ap] [oz_ap] [lb_ap] [oz_m]
    [lne] [pnt] [pca] [pnt_pr] [pca_pr] [pied] [pouce] [ligne] [didot] [cicero]
    [Btu_39] [Btu_59] [Btu_60] [Btu_m] [Btu_IT] [Btu_th] [Btu] [in_i'H2O] [in_i'Hg]
    [PRU] [wood'U] [diop] [p'diop] [hnsf'U] [MET] [hp'_X] [hp'_C] [hp'_M] [hp'_Q]
    [hp_X] [hp_C] [hp_M] [hp_Q] [kp_X] [kp_C] [kp_M] [kp_Q] [HPF] [LPF]
    [arb'U] [USP'U] [GPL'U] [MPL'U] [APL'U] [beth'U] [anti'Xa'U] [todd'U] [dye'U] [smgy'U]
    [bdsk'U] [ka'U] [knk'U] [mclg'U] [tb'U] [CCID_50] [TCID_50] [EID_50] [PFU] [FFU] [CFU]
    [IR] [BAU] [AU] [Amb'a'1'U] [PNU] [Lf] [D'ag'U] [FEU] [ELU] [EU]
"""
_METRIC, _OTHERS = frozenset(_TAKE_A_PREFIX.split()), frozenset(_TAKE_NONE.split())

_SYMBOL = re.compile(r"(?:[^\s./(){}\[\]]|\[[^\]\s]*\])+")
_ANNOTATION = re.compile(r"\{[^{}]*\}")
_EXPONENT = re.compile(r"[+-]?[0-9]+$")


def is_ucum(code: str) -> bool:
    """Whether a text is a UCUM code: symbols with prefixes and exponents, `.` and `/` between them,
    in brackets `()` where need be, with annotations such as `{piece}`. Case counts. What stands in
    an annotation is not looked at."""
    at, depth, wants_one = 0, 0, True
    if code.startswith("/"):
        at = 1
    while at < len(code):
        char = code[at]
        if not wants_one:
            if char in "./":
                wants_one = True
            elif char == ")" and depth:
                depth -= 1
            else:
                return False
            at += 1
        elif char == "(":
            depth += 1
            at += 1
        else:
            symbol = _SYMBOL.match(code, at)
            if symbol is not None and not _is_unit(symbol[0]):
                return False
            at = symbol.end() if symbol is not None else at
            note = _ANNOTATION.match(code, at)
            at = note.end() if note is not None else at
            if symbol is None and note is None:
                return False
            wants_one = False
    return not wants_one and depth == 0


def _is_unit(text: str) -> bool:
    """A symbol with its prefix and exponent, or a whole number."""
    if (text.isascii() and text.isdigit()) or _is_symbol(text):
        return True
    exponent = _EXPONENT.search(text)
    return exponent is not None and _is_symbol(text[: exponent.start()])


def _is_symbol(text: str) -> bool:
    if text in _METRIC or text in _OTHERS:
        return True
    return any(text.startswith(each) and text[len(each) :] in _METRIC for each in _PREFIXES)
