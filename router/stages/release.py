"""Let judged calls through: what they add is put into the session in one atomic step, and where that has changed they are judged again."""

from __future__ import annotations

from router.errors import Refused, RouterError
from router.ports import Sessions
from router.stages.judge_calls import CallJudge

MOST_TRIES = 100
"""How often the calls of an answer are judged anew because the session changes."""


async def let_through(sessions: Sessions, judge: CallJudge) -> RouterError | None:
    """Release what the judge has let pass. The error with which the answer ends, where a call may not pass any more."""
    try:
        for _ in range(MOST_TRIES):
            release = judge.release()
            if release is None:
                return None
            changed = await sessions.release(release)
            if changed is None:
                judge.let_through()
                return None
            judge.again(changed)
            if judge.error is not None:
                return judge.error
    except RouterError as error:
        return error
    return Refused("session_changed", "too many requests of the session change it at once: send this one again")
