"""Every sentence of the OPC UA connection ladder by its code: what is wrong and what to do. Data;
said by saying.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aurelian.edge.ladder import Verdict

_WARNING = Verdict.WARNING


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said of one fault, and what to do; `{names}` are filled in. `title`: for a list."""

    title: str
    said: str
    fix: str
    verdict: Verdict = Verdict.FAILED


_KEPT_AT = (
    "Servers keep what they refuse in a list named Rejected, Untrusted or Quarantined: Kepware "
    "under "
    "OPC UA Configuration Manager > Trusted Clients, CODESYS in the Security Screen under "
    "Quarantined "
    "Certificates, S7-1500 in TIA Portal under Trusted clients of its OPC UA server, others in a "
    "folder pki/rejected"
)

SENTENCES: Mapping[str, Sentence] = {
    "E1301": Sentence(
        "Something else than OPC UA is at that port",
        "{who} answers at port {port} of {host}, and no OPC UA server",
        "is that the port of the OPC UA server (often 4840)? The OPC UA page of the controller "
        "shows "
        "it; write it into the url",
    ),
    "E1302": Sentence(
        "The port takes connections and says nothing",
        "something takes the connection at port {port} of {host} and says nothing",
        "does the OPC UA server hang? Restart it. Or the port is that of something else: OPC UA "
        "often "
        "has 4840, Modbus 502, an S7 controller's own protocol 102",
    ),
    "E1303": Sentence(
        "The connection is ended at once",
        "{host} takes the connection at port {port} and ends it before a word is said",
        "is the port that of the OPC UA server (often 4840)? If it is: does a firewall or the "
        "server "
        "let this machine's address in, and has the server room for another connection?",
    ),
    "E1304": Sentence(
        "The server is full",
        "the OPC UA server takes no further connection: it is busy or full ({status})",
        "end a connection there that nobody needs, let the server allow more, or restart it; then "
        "the same again",
    ),
    "E1305": Sentence(
        "The server does not know the address",
        "the OPC UA server at port {port} does not know the address {url}",
        "what stands behind the port in the url has to be as the server has it: "
        "`aurelian browse {url} --endpoints` shows it",
    ),
    "E1306": Sentence(
        "The server names itself by a host that is not known here",
        "the server says that its address is {advertised}, which does not answer from here; {host} "
        "is used, which does",
        "nothing has to be done for Aurelian. Other programs may follow that address and fail: set "
        "the host name in the server, or have the name entered in the network",
        _WARNING,
    ),
    "E1307": Sentence(
        "The server offers no security",
        "the server offers no encryption and no signatures at all, only {offered}, and nothing is "
        "sent in the clear unless somebody says so",
        "switch on the policy Basic256Sha256 with SignAndEncrypt in the server. Only if the "
        "network "
        "between is closed to others: write `security: {{policy: None}}` for this source, and, "
        "unless it is on this machine, name the host in AURELIAN_OPCUA_INSECURE_HOSTS",
    ),
    "E1308": Sentence(
        "The server does not speak in the clear",
        "the server does not speak without security; it offers {offered}",
        "write `security: {{policy: best}}` for this source (with the commands: `--policy best`)",
    ),
    "E1309": Sentence(
        "The security that was named is not offered",
        "the server does not offer {wanted}; it offers {offered}",
        "name one of them for this source as `policy` and `mode` under `security`, or write "
        "`policy: best` for the strongest of today; or switch {wanted} on in the server",
    ),
    "E1310": Sentence(
        "Nothing is sent in the clear to that host",
        "this source says `policy: None`, and {host} is not on this machine: everybody on the way "
        "could read and change the values",
        "take `policy: None` out for a secured connection. Only if the network between is closed: "
        "name the host in AURELIAN_OPCUA_INSECURE_HOSTS, say {host}",
    ),
    "E1311": Sentence(
        "What the server offers changed on the way",
        "on the secured connection the server says otherwise than before it: {detail}",
        "try once more; a server that was set up anew meanwhile is right then. If it stays: "
        "somebody "
        "between changes what the server offers, look at the network",
    ),
    "E1312": Sentence(
        "The server answers with an error",
        "an OPC UA server is there, and it answers with an error: {detail}",
        "look at the server's own messages and at its state; after a change of its program it may "
        "need a minute or a restart",
    ),
    "E1313": Sentence(
        "The server does not answer what it offers",
        "an OPC UA server is there, and it does not say what it offers: {detail}",
        "is it overloaded, or still starting? Wait a minute; if it stays, restart the server",
    ),
    "E1401": Sentence(
        "The server's certificate is not known here",
        "nobody here has accepted this server's certificate yet ({theirs}); that is so with every "
        "server the first time",
        "compare the fingerprint with the one that the server shows for its own certificate. If "
        "they are the same: `{command}`",
    ),
    "E1402": Sentence(
        "The server shows another certificate than before",
        "the server shows another certificate ({theirs}) than the one that was accepted before "
        "({before})",
        "was it renewed, or the server set up anew? Compare the fingerprint at the server; if it "
        "is the same: `{command}`, then `{remove}`. If nothing was changed there, ask before you "
        "accept it: another machine may answer in its place",
    ),
    "E1403": Sentence(
        "The server's certificate has ended, or does not count yet",
        "the server's certificate ({theirs}) does not count today: {detail}",
        "is the clock of the server right, and this machine's? If both are: have a new certificate "
        "made in the server. If it cannot: `waive: [validity]` under `security` of this source",
    ),
    "E1404": Sentence(
        "The server's certificate is for another host",
        "the server's certificate ({theirs}) is for {hosts}, and you connect to {host}",
        "write one of these names into the url, if it is known here. Or have a certificate made in "
        "the server that names {host}; or `waive: [host_name]` under `security` of this source",
    ),
    "E1405": Sentence(
        "The server's certificate is of another application",
        "the server's certificate ({theirs}) names another application than the server itself: "
        "{detail}",
        "have a new certificate made in the server: it was renamed after the old one was made. Or "
        "write the right one as `server_uri`, or `waive: [application_uri]`, under `security`",
    ),
    "E1406": Sentence(
        "The server's certificate was revoked",
        "the server's certificate ({theirs}) was called back by who issued it: {detail}",
        "do not connect: its key may be in other hands. Ask who issues the certificates of your "
        "plant; the server needs a new one",
    ),
    "E1407": Sentence(
        "A revocation list is missing or too old",
        "whether the server's certificate ({theirs}) was called back cannot be known: {detail}",
        "get the list from who issues the certificates of your plant and put it into {folder}/crl. "
        "Or `waive: [revocation]` under `security` of this source",
    ),
    "E1408": Sentence(
        "The server's certificate is too weak, or not for a server",
        "the server's certificate ({theirs}) does not suffice: {detail}",
        "have a new one made in the server: RSA with 2048 bits or more, SHA-256, for a server. If "
        "it "
        "cannot: `waive: [{waive}]` under `security` of this source",
    ),
    "E1409": Sentence(
        "The server's certificate cannot be read",
        "the server shows something that is no certificate: {detail}",
        "have a new certificate made in the server, and restart it",
    ),
    "E1410": Sentence(
        "It is not the certificate that this source names",
        "the server's certificate ({theirs}) is not the one that `server_sha256` of this source "
        "names",
        "was it renewed? Compare the fingerprint at the server, and write the new one into the "
        "plant "
        "file as `server_sha256: {sha256}`",
    ),
    "E1411": Sentence(
        "The server refuses our certificate",
        "the server refuses our certificate ({ours}): {detail}",
        "trust it in the server: it lies in {file}, and its fingerprint is {ours}. " + _KEPT_AT,
    ),
    "E1412": Sentence(
        "The server hangs up when it sees our certificate",
        "the server ends the connection without a word when it sees our certificate ({ours}); most "
        "do so while they do not trust it",
        "trust it in the server: it lies in {file}, and its fingerprint is {ours}. " + _KEPT_AT,
    ),
    "E1413": Sentence(
        "We have no certificate, or no list of trusted ones",
        "on this machine something is wrong with our own certificates: {detail}",
        "is the folder {folder} there, may this user read and write it, and is the disk not full?",
    ),
    "E1414": Sentence(
        "The server does not prove who it is",
        "the server shows a certificate ({theirs}) and does not prove that it has its key",
        "another machine may answer in its place, with a copy of the certificate: do not connect "
        "before it is known which machine answers there",
    ),
    "E1501": Sentence(
        "Our password or user's certificate is not there",
        "we cannot sign in: {detail}",
        "put it there, or correct the name under this source: `password_file`, `password_env`, or "
        "`user_certificate` with `user_key`",
    ),
    "E1502": Sentence(
        "The server wants a user",
        "the server lets nobody in without a user; it takes {tokens}",
        "ask who runs the server for a user that may read, then write `user` and `password_file` "
        "for "
        "this source (with the commands: `--user NAME --password-file FILE`)",
    ),
    "E1503": Sentence(
        "The server does not take such a user",
        "the server does not let {who} sign in; it takes {tokens}",
        "sign in in a way that it takes, or switch this one on in the server's settings for users",
    ),
    "E1504": Sentence(
        "The password would be sent in the clear",
        "the server would have the password sent so that others on the network can read it",
        "switch on Basic256Sha256 with SignAndEncrypt in the server. Only if the network between "
        "is "
        "closed: `waive: [clear_password]` under `security` of this source",
    ),
    "E1505": Sentence(
        "The server's way to protect users does not suffice",
        "the server protects its users only in ways that are too weak or not known here: {detail}",
        "switch on Basic256Sha256 for users in the server",
    ),
    "E1506": Sentence(
        "The server refuses the user",
        "the server refuses {who}: the password is wrong, or it has no such user, or that user may "
        "not sign in ({status})",
        "try name and password{origin} in another program, such as UaExpert, or ask who runs the "
        "server; it does not say which of the three it is",
    ),
    "E1507": Sentence(
        "The server refuses the user's certificate",
        "the server refuses {who} ({status})",
        "trust that certificate in the server as a user's; most have a list of their own for users",
    ),
    "E1508": Sentence(
        "The server does not take its own policy for passwords",
        "the server does not take the password as it asks for it itself ({status})",
        "let the server name a policy of today, say Basic256Sha256, for user names",
    ),
    "E1509": Sentence(
        "The server has no room for another session",
        "the server has as many sessions as it allows and takes no further one",
        "end a session there that nobody needs (another program, an engineering tool), or let the "
        "server allow more. One that a program left behind ends by itself after some minutes",
    ),
    "E1510": Sentence(
        "The connection ends while we sign in",
        "the server ends the connection while {who} signs in: {detail}",
        "look at the server's own messages; restart it if it does so each time",
    ),
    "E1601": Sentence(
        "The server gives no subscription",
        "the server gives no further subscription: it has as many as it allows",
        "end one there that nobody needs, or let the server allow more; small controllers often "
        "allow only one or two",
    ),
    "E1602": Sentence(
        "The server has no room for all nodes",
        "the server has room for {given} of the {count} nodes that were chosen; the first that has "
        "none is {first}",
        "choose fewer nodes, or let the server allow more monitored items",
    ),
    "E1603": Sentence(
        "Nodes that the server does not have",
        "the server does not have {those}: {first}",
        "{near}`aurelian browse {url}` shows what it has. After a new program in the controller "
        "nodes may have other names",
    ),
    "E1604": Sentence(
        "Nodes that we may not read",
        "we may not read {those}: {first} ({status})",
        "sign in as a user who may, or release these nodes for reading in the controller's program "
        "or in the server",
    ),
    "E1605": Sentence(
        "Nodes that the server refuses",
        "the server refuses {those}: {first} ({status})",
        "look at that node in the server; leave it out if nobody needs it",
    ),
    "E1606": Sentence(
        "The server says that it is not at work",
        "{detail}",
        "set the controller to RUN, or wait until the server is at work again: what it gives "
        "meanwhile counts for nothing",
        _WARNING,
    ),
    "E1607": Sentence(
        "The server ends the session, or does not answer in it",
        "we are signed in, and the server does not go on: {detail}",
        "is it overloaded? Look at the server's own messages; restart it if it does so each time",
    ),
    "E1701": Sentence(
        "No value comes",
        "no value of {those} came within {seconds} s, though the server took them",
        "does the controller run (RUN, not STOP), and is it connected to the server? Look at the "
        "same node in another program, such as UaExpert",
    ),
    "E1702": Sentence(
        "Some nodes give no value",
        "{missing} of the {count} nodes gave no value within {seconds} s, first {first}",
        "wait longer, if they are slow. Else look at these nodes in the server: is their device "
        "on?",
        _WARNING,
    ),
    "E1703": Sentence(
        "Values of bad quality",
        "the server itself calls the values of {those} bad: {first} ({status})",
        "{meaning}",
        _WARNING,
    ),
    "E1704": Sentence(
        "The connection breaks while values are waited for",
        "the connection ends while we wait for values: {detail}",
        "look at the network between, and at the server's own messages",
    ),
    "E1801": Sentence(
        "The server's clock is off",
        "the server's clock is {offset} {side} ours",
        "let both machines take their time from the same time server (NTP). Values keep the time "
        "that the server gives them",
        _WARNING,
    ),
    "E1802": Sentence(
        "The server's clock is far off",
        "the server's clock is {offset} {side} ours: values stand in the wrong shift, and "
        "certificates and sessions may fail{hint}",
        "set the server's clock (in UTC, with its time zone) and have it take its time from a time "
        "server (NTP). Until then `event_time: gateway` for this source lets values count when "
        "they "
        "arrive here",
        _WARNING,
    ),
    "E1803": Sentence(
        "Values without a time",
        "the values of {those} have no time: {first}",
        "nothing has to be done: they count when the server has them, or when they arrive here. "
        "`event_time: server` for this source says so",
        _WARNING,
    ),
    "E1804": Sentence(
        "Values with a time that cannot be",
        "the values of {those} have a time that cannot be ({time}): {first}",
        "set the controller's clock. Until then these values count when they arrive here, and are "
        "marked; `event_time: server` for this source takes the server's time",
        _WARNING,
    ),
    "E1805": Sentence(
        "A time that stands still",
        "the values of {those} change, and their time does not: {first}",
        "the controller's program does not write the time along: let the server set it, or write "
        "`event_time: server` for this source",
        _WARNING,
    ),
    "E1806": Sentence(
        "Times in local time",
        "the values of {those} have times that are {offset} {side} now: {first}. That looks like "
        "local time where UTC belongs, as a clock in {zone} shows it",
        "set the controller's clock to UTC with its time zone beside it. Until then "
        "`event_time: server` for this source takes the server's time, which is right",
        _WARNING,
    ),
    "E1807": Sentence(
        "The server does not say its time",
        "the server does not say what time it has",
        "look at its clock by hand: values keep the time that it gives them",
        _WARNING,
    ),
}
"""By code. `E1x98` and `E1x99` are said at each rung, `OF_ANY`."""

OF_ANY: Mapping[str, Sentence] = {
    "98": Sentence(
        "Something that was not foreseen",
        "something went wrong that was not foreseen: {detail}",
        "try once more; if it stays, send this line with the log to whoever looks after Aurelian",
    ),
    "99": Sentence(
        "The time is over",
        "{seconds} s are over, and this step did not end",
        "the server or the network is slow: try once more, with a larger bound if you can give one",
    ),
}
