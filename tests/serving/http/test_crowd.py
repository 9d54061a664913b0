"""Strangers' connections: counted by what one customer has, and closed oldest first."""

from __future__ import annotations

import pytest

from lungvae_core.serving.http import crowd
from tests.conftest import run_coroutine


def test_strangers_give_way_the_oldest_first_and_who_was_vouched_for_stays(monkeypatch):
    monkeypatch.setattr(crowd, "STRANGERS", 6)
    monkeypatch.setattr(crowd, "STRANGERS_EACH", 3)

    class Transport:
        aborted = False

        def get_extra_info(self, _name: str) -> None:
            return None

        def abort(self) -> None:
            self.aborted = True

    class One:
        def __init__(self, address: str) -> None:
            self.client, self.transport, self.late = (address, 1), Transport(), False

        def overdue(self, _now: float) -> bool:
            return self.late

    async def scene() -> None:
        everybody = crowd.Crowd(8, proxies="10.0.0.0/8")
        first, known, *others = [One("192.0.2.1") for _ in range(5)]
        everybody.enter(first)
        everybody.enter(known)
        everybody.vouch(known)
        for one in others:
            everybody.enter(one)
        assert first.transport.aborted  # four strangers of one address, and three are allowed
        assert not any(one.transport.aborted for one in (known, *others))
        proxied = [One("10.1.1.1") for _ in range(4)]  # a proxy's connections are not counted by address
        for one in proxied:
            everybody.enter(one)
        assert [one.transport.aborted for one in others] == [True, False, False]
        assert len(everybody) == 7
        for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"):
            everybody.enter(One(address))
        assert [one.transport.aborted for one in others] == [True] * 3
        assert not known.transport.aborted
        proxied[1].late = known.late = True
        everybody.sweep()
        assert known.transport.aborted
        assert proxied[1].transport.aborted
        assert not proxied[-1].transport.aborted

    run_coroutine(scene)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("", ""),
        ("no address " + "x" * 500, ("no address " + "x" * 500)[:64]),
    ],
)
def test_addresses_are_counted_by_what_one_customer_has(address, counted):
    assert crowd.place(address) == counted
