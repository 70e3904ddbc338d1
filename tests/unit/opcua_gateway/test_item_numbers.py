"""Monitored items whose numbers a server gives anew: which of them are deleted when others are made
in their place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from asyncua import ua

from opcua_gateway.items.asked import Asked
from opcua_gateway.items.create import Item, ItemMaker
from opcua_gateway.session import Session, Terms

TERMS = Terms(7, 0.25, 2.0)
GONE = 0x80340000


class Server:
    """Gives the numbers that `next_numbers` says, and 0 with a Bad status for those that are
    None; `items` are those that live, by number with the handle."""

    def __init__(self) -> None:
        self.request_bytes = 0
        self.next_numbers: list[int | None] = []
        self.revised_ms = 250.0
        self.items: dict[int, int] = {}

    @property
    def services(self) -> Server:
        return self

    async def create_monitored_items(
        self, request: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        answers = []
        for each in request.ItemsToCreate:
            number = self.next_numbers.pop(0)
            answer = ua.MonitoredItemCreateResult()
            answer.StatusCode = ua.StatusCode(GONE if number is None else 0)
            answer.MonitoredItemId = number or 0
            answer.RevisedSamplingInterval = self.revised_ms
            answer.RevisedQueueSize = each.RequestedParameters.QueueSize
            answers.append(answer)
            if number is not None:
                self.items[number] = each.RequestedParameters.ClientHandle
        return answers

    async def delete_monitored_items(self, request: ua.DeleteMonitoredItemsParameters) -> None:
        for number in request.MonitoredItemIds:
            self.items.pop(number, None)


def items(*handles: int) -> list[Item]:
    return [Item(handle, f"ns=2;s=v{handle}", 0.25, 10) for handle in handles]


def make(server: Server, rounds: Sequence[tuple[tuple[int, ...], list[int | None]]]) -> ItemMaker:
    maker = ItemMaker(cast(Session, server), [Asked()] * 4, 60.0)
    for handles, numbers in rounds:
        server.next_numbers = list(numbers)
        asyncio.run(maker.create(TERMS, items(*handles), 100))
    return maker


def test_an_item_that_is_made_anew_replaces_the_one_before() -> None:
    server = Server()
    make(server, [((0, 1), [5, 6]), ((0,), [8])])
    assert server.items == {6: 1, 8: 0}


def test_a_number_that_went_to_another_node_is_not_deleted_for_the_one_before() -> None:
    """The item of a node goes with the node, its number to the next item."""
    server = Server()
    # Node 0 goes with item 5; item 5 is then that of node 2, and node 0 comes back as item 9.
    make(server, [((0, 1), [5, 6]), ((0,), [None]), ((2,), [5]), ((0,), [9])])
    assert server.items == {5: 2, 6: 1, 9: 0}


def test_numbers_that_change_places_in_one_call_all_stay() -> None:
    server = Server()
    make(server, [((0, 1), [5, 6]), ((0, 1), [6, 5])])
    assert server.items == {5: 1, 6: 0}


def test_a_server_that_gives_the_same_item_again_keeps_it() -> None:
    server = Server()
    make(server, [((0, 1), [5, 6]), ((0, 1), [5, 6])])
    assert server.items == {5: 0, 6: 1}


def test_a_queue_that_is_made_wider_in_the_same_item_keeps_it() -> None:
    server = Server()
    server.revised_ms = 50.0
    server.next_numbers = [5, 5]
    maker = ItemMaker(cast(Session, server), [Asked()], 60.0)
    asyncio.run(maker.watch(TERMS, [(0, "ns=2;s=v0")], 100, lambda _: False))
    assert server.items == {5: 0}
