from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ValueType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VALUE_TYPE_NULL: _ClassVar[ValueType]
    VALUE_TYPE_DOUBLE: _ClassVar[ValueType]
    VALUE_TYPE_INT64: _ClassVar[ValueType]
    VALUE_TYPE_UINT64: _ClassVar[ValueType]
    VALUE_TYPE_BOOL: _ClassVar[ValueType]
    VALUE_TYPE_TEXT: _ClassVar[ValueType]
    VALUE_TYPE_BYTES: _ClassVar[ValueType]
    VALUE_TYPE_JSON: _ClassVar[ValueType]

class Flag(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FLAG_NONE: _ClassVar[Flag]
    FLAG_HISTORICAL: _ClassVar[Flag]
    FLAG_TRANSIENT: _ClassVar[Flag]
    FLAG_RETAINED: _ClassVar[Flag]
    FLAG_INITIAL: _ClassVar[Flag]
    FLAG_HEARTBEAT: _ClassVar[Flag]
    FLAG_TIME_REPLACED: _ClassVar[Flag]
    FLAG_TIME_UNCERTAIN: _ClassVar[Flag]
    FLAG_OUT_OF_RANGE: _ClassVar[Flag]
    FLAG_TIME_SHARED: _ClassVar[Flag]
    FLAG_TIME_AMBIGUOUS: _ClassVar[Flag]
    FLAG_WAS_UNCERTAIN: _ClassVar[Flag]
    FLAG_WAS_BAD: _ClassVar[Flag]
    FLAG_AT_SERVER_TIME: _ClassVar[Flag]
    FLAG_AT_GATEWAY_TIME: _ClassVar[Flag]
VALUE_TYPE_NULL: ValueType
VALUE_TYPE_DOUBLE: ValueType
VALUE_TYPE_INT64: ValueType
VALUE_TYPE_UINT64: ValueType
VALUE_TYPE_BOOL: ValueType
VALUE_TYPE_TEXT: ValueType
VALUE_TYPE_BYTES: ValueType
VALUE_TYPE_JSON: ValueType
FLAG_NONE: Flag
FLAG_HISTORICAL: Flag
FLAG_TRANSIENT: Flag
FLAG_RETAINED: Flag
FLAG_INITIAL: Flag
FLAG_HEARTBEAT: Flag
FLAG_TIME_REPLACED: Flag
FLAG_TIME_UNCERTAIN: Flag
FLAG_OUT_OF_RANGE: Flag
FLAG_TIME_SHARED: Flag
FLAG_TIME_AMBIGUOUS: Flag
FLAG_WAS_UNCERTAIN: Flag
FLAG_WAS_BAD: Flag
FLAG_AT_SERVER_TIME: Flag
FLAG_AT_GATEWAY_TIME: Flag

class Signal(_message.Message):
    __slots__ = ("id", "asset", "path", "type", "unit", "source", "discovered")
    ID_FIELD_NUMBER: _ClassVar[int]
    ASSET_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DISCOVERED_FIELD_NUMBER: _ClassVar[int]
    id: str
    asset: str
    path: str
    type: ValueType
    unit: str
    source: str
    discovered: bool
    def __init__(self, id: _Optional[str] = ..., asset: _Optional[str] = ..., path: _Optional[str] = ..., type: _Optional[_Union[ValueType, str]] = ..., unit: _Optional[str] = ..., source: _Optional[str] = ..., discovered: _Optional[bool] = ...) -> None: ...

class Dictionary(_message.Message):
    __slots__ = ("signals",)
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    signals: _containers.RepeatedCompositeFieldContainer[Signal]
    def __init__(self, signals: _Optional[_Iterable[_Union[Signal, _Mapping]]] = ...) -> None: ...

class SampleBatch(_message.Message):
    __slots__ = ("schema_version", "owner", "gateway", "boot", "sequence", "line", "dictionary", "count", "dictionary_keys", "signal", "type", "source_time", "server_time", "gateway_time", "status", "flags", "sub", "doubles", "ints", "uints", "bools", "texts", "blobs", "jsons")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    DICTIONARY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DICTIONARY_KEYS_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TIME_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_TIME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    SUB_FIELD_NUMBER: _ClassVar[int]
    DOUBLES_FIELD_NUMBER: _ClassVar[int]
    INTS_FIELD_NUMBER: _ClassVar[int]
    UINTS_FIELD_NUMBER: _ClassVar[int]
    BOOLS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    JSONS_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    owner: str
    gateway: str
    boot: int
    sequence: int
    line: str
    dictionary: bytes
    count: int
    dictionary_keys: _containers.RepeatedScalarFieldContainer[int]
    signal: _containers.RepeatedScalarFieldContainer[int]
    type: bytes
    source_time: _containers.RepeatedScalarFieldContainer[int]
    server_time: _containers.RepeatedScalarFieldContainer[int]
    gateway_time: _containers.RepeatedScalarFieldContainer[int]
    status: _containers.RepeatedScalarFieldContainer[int]
    flags: _containers.RepeatedScalarFieldContainer[int]
    sub: _containers.RepeatedScalarFieldContainer[int]
    doubles: _containers.RepeatedScalarFieldContainer[float]
    ints: _containers.RepeatedScalarFieldContainer[int]
    uints: _containers.RepeatedScalarFieldContainer[int]
    bools: _containers.RepeatedScalarFieldContainer[bool]
    texts: _containers.RepeatedScalarFieldContainer[str]
    blobs: _containers.RepeatedScalarFieldContainer[bytes]
    jsons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, schema_version: _Optional[int] = ..., owner: _Optional[str] = ..., gateway: _Optional[str] = ..., boot: _Optional[int] = ..., sequence: _Optional[int] = ..., line: _Optional[str] = ..., dictionary: _Optional[bytes] = ..., count: _Optional[int] = ..., dictionary_keys: _Optional[_Iterable[int]] = ..., signal: _Optional[_Iterable[int]] = ..., type: _Optional[bytes] = ..., source_time: _Optional[_Iterable[int]] = ..., server_time: _Optional[_Iterable[int]] = ..., gateway_time: _Optional[_Iterable[int]] = ..., status: _Optional[_Iterable[int]] = ..., flags: _Optional[_Iterable[int]] = ..., sub: _Optional[_Iterable[int]] = ..., doubles: _Optional[_Iterable[float]] = ..., ints: _Optional[_Iterable[int]] = ..., uints: _Optional[_Iterable[int]] = ..., bools: _Optional[_Iterable[bool]] = ..., texts: _Optional[_Iterable[str]] = ..., blobs: _Optional[_Iterable[bytes]] = ..., jsons: _Optional[_Iterable[str]] = ...) -> None: ...

class SourceEvent(_message.Message):
    __slots__ = ("schema_version", "owner", "gateway", "boot", "source", "time", "line", "birth", "death", "heartbeat", "gap", "received", "alarm", "refused", "connection", "command_result")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    BIRTH_FIELD_NUMBER: _ClassVar[int]
    DEATH_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    ALARM_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_RESULT_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    owner: str
    gateway: str
    boot: int
    source: str
    time: int
    line: str
    birth: Birth
    death: Death
    heartbeat: Heartbeat
    gap: Gap
    received: Received
    alarm: MachineAlarm
    refused: Refused
    connection: Connection
    command_result: CommandResult
    def __init__(self, schema_version: _Optional[int] = ..., owner: _Optional[str] = ..., gateway: _Optional[str] = ..., boot: _Optional[int] = ..., source: _Optional[str] = ..., time: _Optional[int] = ..., line: _Optional[str] = ..., birth: _Optional[_Union[Birth, _Mapping]] = ..., death: _Optional[_Union[Death, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ..., received: _Optional[_Union[Received, _Mapping]] = ..., alarm: _Optional[_Union[MachineAlarm, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ..., connection: _Optional[_Union[Connection, _Mapping]] = ..., command_result: _Optional[_Union[CommandResult, _Mapping]] = ...) -> None: ...

class Birth(_message.Message):
    __slots__ = ("assets", "detail")
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    assets: _containers.RepeatedScalarFieldContainer[str]
    detail: str
    def __init__(self, assets: _Optional[_Iterable[str]] = ..., detail: _Optional[str] = ...) -> None: ...

class Death(_message.Message):
    __slots__ = ("assets", "reason")
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    assets: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, assets: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("heard_at", "assets")
    HEARD_AT_FIELD_NUMBER: _ClassVar[int]
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    heard_at: int
    assets: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, heard_at: _Optional[int] = ..., assets: _Optional[_Iterable[str]] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("from_time", "to_time", "count", "reason", "recovered")
    FROM_TIME_FIELD_NUMBER: _ClassVar[int]
    TO_TIME_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECOVERED_FIELD_NUMBER: _ClassVar[int]
    from_time: int
    to_time: int
    count: int
    reason: str
    recovered: bool
    def __init__(self, from_time: _Optional[int] = ..., to_time: _Optional[int] = ..., count: _Optional[int] = ..., reason: _Optional[str] = ..., recovered: _Optional[bool] = ...) -> None: ...

class Received(_message.Message):
    __slots__ = ("hour", "received", "dropped", "skipped", "rejected")
    HOUR_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    hour: int
    received: int
    dropped: int
    skipped: int
    rejected: int
    def __init__(self, hour: _Optional[int] = ..., received: _Optional[int] = ..., dropped: _Optional[int] = ..., skipped: _Optional[int] = ..., rejected: _Optional[int] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("asset", "signal", "reason", "source_time")
    ASSET_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TIME_FIELD_NUMBER: _ClassVar[int]
    asset: str
    signal: str
    reason: str
    source_time: int
    def __init__(self, asset: _Optional[str] = ..., signal: _Optional[str] = ..., reason: _Optional[str] = ..., source_time: _Optional[int] = ...) -> None: ...

class Connection(_message.Message):
    __slots__ = ("state", "since", "reason", "next_step", "address", "away", "own", "refused", "plant_refused")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNKNOWN: _ClassVar[Connection.State]
        STATE_LIVE: _ClassVar[Connection.State]
        STATE_BACKFILL: _ClassVar[Connection.State]
        STATE_DEGRADED: _ClassVar[Connection.State]
        STATE_STALE: _ClassVar[Connection.State]
        STATE_CONNECTING: _ClassVar[Connection.State]
        STATE_AUTH_FAILED: _ClassVar[Connection.State]
        STATE_CERT_REJECTED: _ClassVar[Connection.State]
        STATE_REMOVED: _ClassVar[Connection.State]
    STATE_UNKNOWN: Connection.State
    STATE_LIVE: Connection.State
    STATE_BACKFILL: Connection.State
    STATE_DEGRADED: Connection.State
    STATE_STALE: Connection.State
    STATE_CONNECTING: Connection.State
    STATE_AUTH_FAILED: Connection.State
    STATE_CERT_REJECTED: Connection.State
    STATE_REMOVED: Connection.State
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    AWAY_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PLANT_REFUSED_FIELD_NUMBER: _ClassVar[int]
    state: Connection.State
    since: int
    reason: str
    next_step: str
    address: str
    away: _containers.RepeatedCompositeFieldContainer[ServerAway]
    own: Certificate
    refused: Certificate
    plant_refused: str
    def __init__(self, state: _Optional[_Union[Connection.State, str]] = ..., since: _Optional[int] = ..., reason: _Optional[str] = ..., next_step: _Optional[str] = ..., address: _Optional[str] = ..., away: _Optional[_Iterable[_Union[ServerAway, _Mapping]]] = ..., own: _Optional[_Union[Certificate, _Mapping]] = ..., refused: _Optional[_Union[Certificate, _Mapping]] = ..., plant_refused: _Optional[str] = ...) -> None: ...

class ServerAway(_message.Message):
    __slots__ = ("address", "reason", "next_step", "since", "refused")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    address: str
    reason: str
    next_step: str
    since: int
    refused: Certificate
    def __init__(self, address: _Optional[str] = ..., reason: _Optional[str] = ..., next_step: _Optional[str] = ..., since: _Optional[int] = ..., refused: _Optional[_Union[Certificate, _Mapping]] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("sha256", "subject", "ends")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    subject: str
    ends: int
    def __init__(self, sha256: _Optional[str] = ..., subject: _Optional[str] = ..., ends: _Optional[int] = ...) -> None: ...

class CommandResult(_message.Message):
    __slots__ = ("id", "outcome", "said")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNKNOWN: _ClassVar[CommandResult.Outcome]
        OUTCOME_DONE: _ClassVar[CommandResult.Outcome]
        OUTCOME_REFUSED: _ClassVar[CommandResult.Outcome]
        OUTCOME_FAILED: _ClassVar[CommandResult.Outcome]
    OUTCOME_UNKNOWN: CommandResult.Outcome
    OUTCOME_DONE: CommandResult.Outcome
    OUTCOME_REFUSED: CommandResult.Outcome
    OUTCOME_FAILED: CommandResult.Outcome
    ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    SAID_FIELD_NUMBER: _ClassVar[int]
    id: str
    outcome: CommandResult.Outcome
    said: str
    def __init__(self, id: _Optional[str] = ..., outcome: _Optional[_Union[CommandResult.Outcome, str]] = ..., said: _Optional[str] = ...) -> None: ...

class MachineAlarm(_message.Message):
    __slots__ = ("asset", "code", "message", "severity", "active", "source_time", "event_id", "condition", "branch", "event_type", "source_node", "source_name", "retain", "enabled", "acked", "confirmed", "suppressed", "out_of_service", "shelved", "quality", "comment", "fields", "reason")
    ASSET_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_NODE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_NAME_FIELD_NUMBER: _ClassVar[int]
    RETAIN_FIELD_NUMBER: _ClassVar[int]
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_SERVICE_FIELD_NUMBER: _ClassVar[int]
    SHELVED_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    asset: str
    code: str
    message: str
    severity: int
    active: bool
    source_time: int
    event_id: bytes
    condition: str
    branch: str
    event_type: str
    source_node: str
    source_name: str
    retain: bool
    enabled: bool
    acked: bool
    confirmed: bool
    suppressed: bool
    out_of_service: bool
    shelved: bool
    quality: int
    comment: str
    fields: str
    reason: str
    def __init__(self, asset: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., severity: _Optional[int] = ..., active: _Optional[bool] = ..., source_time: _Optional[int] = ..., event_id: _Optional[bytes] = ..., condition: _Optional[str] = ..., branch: _Optional[str] = ..., event_type: _Optional[str] = ..., source_node: _Optional[str] = ..., source_name: _Optional[str] = ..., retain: _Optional[bool] = ..., enabled: _Optional[bool] = ..., acked: _Optional[bool] = ..., confirmed: _Optional[bool] = ..., suppressed: _Optional[bool] = ..., out_of_service: _Optional[bool] = ..., shelved: _Optional[bool] = ..., quality: _Optional[int] = ..., comment: _Optional[str] = ..., fields: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Rejected(_message.Message):
    __slots__ = ("schema_version", "owner", "gateway", "boot", "source", "time", "reason", "error_class", "origin", "payload", "payload_size", "payload_sha256", "samples")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    BOOT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_CLASS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_SHA256_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    owner: str
    gateway: str
    boot: int
    source: str
    time: int
    reason: str
    error_class: str
    origin: str
    payload: bytes
    payload_size: int
    payload_sha256: str
    samples: int
    def __init__(self, schema_version: _Optional[int] = ..., owner: _Optional[str] = ..., gateway: _Optional[str] = ..., boot: _Optional[int] = ..., source: _Optional[str] = ..., time: _Optional[int] = ..., reason: _Optional[str] = ..., error_class: _Optional[str] = ..., origin: _Optional[str] = ..., payload: _Optional[bytes] = ..., payload_size: _Optional[int] = ..., payload_sha256: _Optional[str] = ..., samples: _Optional[int] = ...) -> None: ...
