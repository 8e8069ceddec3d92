"""Owns what was spent of an allowance, over restarts."""

import json

from onboard_bot.domain.allowance import Allowance, Spent
from onboard_bot.store.transaction import Transaction


async def spend(tx: Transaction, name: str, allowance: Allowance, who: str, what: str) -> bool:
    """Whether it may be done now; then it counts as done."""
    key = f"spent on {name}"
    spent = [Spent(*one) for one in json.loads(await tx.meta.get(key) or "[]")]
    now_spent = allowance.spend(spent, who, what, now=tx.now)
    if now_spent is None:
        return False
    await tx.meta.set(key, json.dumps([[one.at, one.who, one.what] for one in now_spent]))
    return True
