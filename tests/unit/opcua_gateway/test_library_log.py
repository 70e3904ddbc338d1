"""What the library says of a fault, which we say in our own words."""

from __future__ import annotations

import pytest
from asyncua import ua
from asyncua.client.ua_client import UASocketProtocol
from asyncua.ua.ua_binary import struct_to_binary

from opcua_gateway.library_log import keep_quiet


def test_a_fault_is_raised_and_not_logged_by_the_library(caplog: pytest.LogCaptureFixture) -> None:
    keep_quiet()
    caplog.set_level("WARNING", "asyncua")  # another test may have made it quiet altogether
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadUserAccessDenied)
    protocol = UASocketProtocol()
    with pytest.raises(ua.uaerrors.BadUserAccessDenied):
        protocol.check_answer(ua.utils.Buffer(struct_to_binary(fault)), "")
    protocol.logger.warning("anything else")
    assert [each.message for each in caplog.records] == ["anything else"]
