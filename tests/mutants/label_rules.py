"""Every rule by which a session gets its labels and keeps them, each with a change that takes it away and the tests that then fail.

`make mutants` makes each change in a copy of the sources and runs its tests there: every one has to fail. The places are looked for by
`tests/unit/router/test_label_rules.py` in every run, so that no rule is moved or reworded without being proved again.
"""

from __future__ import annotations

from typing import NamedTuple

LAUNDERING = "tests/security/test_laundering.py"
LABELS = "tests/e2e/test_sessions_labels.py"
LINKS = "tests/e2e/test_session_links.py"
SESSIONS = "tests/contracts/test_redis_sessions.py"
RELEASE = "tests/contracts/test_redis_release.py"
BUDGET = "tests/contracts/test_redis_budget.py"
JUDGE = "tests/unit/routing_rules/test_judge.py"
JUDGED = "tests/e2e/test_calls_judged.py"
KEPT = "tests/e2e/test_kept_responses.py"
STATE = "tests/e2e/test_state_at_providers.py"
CARRIED = "tests/unit/router/test_carried_labels.py"

OPEN = "router/stages/open_session.py"
LINE = "router/pipeline.py"
REDIS = "router/storage/redis_sessions.py"
LUA = "router/storage/lua/"
RULES = "routing_rules/judge.py"


class LabelRule(NamedTuple):
    """`says` what holds; where `now` stands in `file`, `then` takes the rule away; `tests` (a file, and words of their names) fail then."""

    id: str
    says: str
    file: str
    now: str
    then: str
    tests: tuple[str, str]


LABEL_RULES = (
    # What a request brings
    LabelRule(
        "sent",
        "what is sent raises the confidentiality to what is found in it",
        OPEN,
        "confidentiality = assessment.sensitivity if task.declared is None else max(assessment.sensitivity, task.declared)",
        "confidentiality = task.declared or Sensitivity.PUBLIC",
        (LAUNDERING, "sent_once and card"),
    ),
    LabelRule(
        "declared",
        "a declared label raises the confidentiality",
        OPEN,
        "else max(assessment.sensitivity, task.declared)",
        "else assessment.sensitivity",
        (LAUNDERING, "sent_once and declared"),
    ),
    LabelRule(
        "declared_only_raises",
        "a declared label never lowers what was found",
        OPEN,
        "else max(assessment.sensitivity, task.declared)",
        "else task.declared",
        (LABELS, "declared_label_only_raises"),
    ),
    LabelRule(
        "attachments",
        "an attachment is untrusted",
        OPEN,
        "if part.provenance is Provenance.ATTACHMENT:\n            untrusted = True",
        "if part.provenance is Provenance.ATTACHMENT:\n            untrusted = untrusted",
        (LAUNDERING, "sent_once and picture"),
    ),
    LabelRule(
        "injection",
        "what tells the model what to do is untrusted",
        OPEN,
        'untrusted = "injection" in assessment.categories',
        "untrusted = False",
        (LAUNDERING, "sent_once and injection"),
    ),
    LabelRule(
        "strange_result_untrusted",
        "a result of a call that was never issued is untrusted",
        OPEN,
        "untrusted, confidentiality = True, max(confidentiality, Sensitivity.CONFIDENTIAL)",
        "confidentiality = max(confidentiality, Sensitivity.CONFIDENTIAL)",
        (CARRIED, "never_issued_is_untrusted"),
    ),
    LabelRule(
        "strange_result_private",
        "a result of a call that was never issued is private",
        OPEN,
        "untrusted, confidentiality = True, max(confidentiality, Sensitivity.CONFIDENTIAL)",
        "untrusted = True",
        (CARRIED, "never_issued_is_untrusted"),
    ),
    LabelRule(
        "strange_id",
        "an id that this app was not given is no issued one",
        OPEN,
        "(part.call_id is None or part.call_id in unknown)",
        "part.call_id is None",
        (LAUNDERING, "sent_once and nobody"),
    ),
    # What a session holds
    LabelRule(
        "held",
        "a session keeps its labels, whatever is sent later",
        OPEN,
        "labels = session.labels.join(linked.labels).join(own)",
        "labels = linked.labels.join(own)",
        (LINKS, "carries_to_its_end"),
    ),
    LabelRule(
        "recomputed",
        "what is sent now counts beside what was held",
        OPEN,
        "labels = session.labels.join(linked.labels).join(own)",
        "labels = session.labels.join(linked.labels)",
        (LABELS, "declared_label_only_raises or confidential_turn"),
    ),
    LabelRule(
        "floor",
        "turns that are known carry their labels into whatever session they are sent in",
        OPEN,
        "labels = session.labels.join(linked.labels).join(own)",
        "labels = session.labels.join(own)",
        (LAUNDERING, "no_way_lowers and (grafted or alone or only)"),
    ),
    LabelRule(
        "integrity_only_falls",
        "a request that was decided as trusted is decided anew where the session is not",
        LUA + "reserve.lua",
        "if number(2) > integrity or number(3)",
        "if number(3)",
        (BUDGET, "each_label_that_rose"),
    ),
    LabelRule(
        "confidentiality_only_rises",
        "a request that was decided by a lower sensitivity than the session holds is decided anew",
        LUA + "reserve.lua",
        "or number(3) > confidentiality or",
        "or",
        (BUDGET, "each_label_that_rose"),
    ),
    LabelRule(
        "left_us_only_rises",
        "a request that was decided by less than has left us meanwhile is decided anew",
        LUA + "reserve.lua",
        " or forwarded_before > forwarded then",
        " then",
        (BUDGET, "each_label_that_rose"),
    ),
    LabelRule(
        "said_to_be",
        "the session that an app says it is in counts beside the one that its ids name",
        OPEN,
        "labels, left_before = labels.join(said_to_be.labels), max(left_before, said_to_be.forwarded)",
        "pass",
        (LAUNDERING, "no_way_lowers and own and header and clean"),
    ),
    LabelRule(
        "left_us",
        "what has left us unmasked counts after masking too",
        OPEN,
        "max(opened.left_before, own.confidentiality))",
        "own.confidentiality)",
        (CARRIED, "has_left_a_session"),
    ),
    # Which session it is
    LabelRule(
        "ids",
        "issued ids lead back to their session",
        REDIS,
        "sessions = list(dict.fromkeys(session for session, _ in by_id))",
        "sessions = []",
        (LAUNDERING, "no_way_lowers and (result or renamed)"),
    ),
    LabelRule(
        "several_ids",
        "ids of several sessions have the highest labels of them",
        REDIS,
        "floor, forwarded = floor.join(_labels(i, c)), max(forwarded, _level(f or c))",
        "pass",
        (SESSIONS, "ids_of_several"),
    ),
    LabelRule(
        "chain",
        "the conversation so far leads back to its session",
        REDIS,
        "held_by, followed = held, True",
        "followed = True",
        (LINKS, "growing_conversation"),
    ),
    LabelRule(
        "several_holders",
        "a turn that several sessions hold has the highest labels of them",
        LUA + "remember.lua",
        "integrity, confidentiality, sessions = math.max(integrity, tonumber(i)), math.max(confidentiality, tonumber(c)), names",
        "sessions = names",
        (SESSIONS, "keeps_the_highest"),
    ),
    LabelRule(
        "own_app",
        "a link is its app's alone",
        "router/storage/redis_keys.py",
        'blake2b(f"{app}\\0{name}".encode(), digest_size=16, person=kind)',
        'blake2b(f"{name}".encode(), digest_size=16, person=kind)',
        (LAUNDERING, "references_to_responses"),
    ),
    LabelRule(
        "state_at_providers",
        "a container or file that an answer made leads back to its session",
        "router/stages/held_state.py",
        "issued_ids=(*task.issued_ids, *named)",
        "issued_ids=task.issued_ids",
        (STATE, "carries_the_labels"),
    ),
    LabelRule(
        "under_way",
        "of a response under way nothing is told before its calls are judged and its words are known",
        "router/stages/keep_responses.py",
        'shown = {**body, "output": []}',
        "shown = dict(body)",
        (KEPT, "nothing_of_it_is_told"),
    ),
    # How a turn is known again
    LabelRule(
        "turn_before",
        "an answer is known with the message before it",
        OPEN,
        "found.append(self._known_by(app, messages[index - 1], bare))",
        "pass",
        (LAUNDERING, "short_answer_is_known_again_with"),
    ),
    LabelRule(
        "users_turn_before",
        "an answer is known with the user's message before it",
        OPEN,
        "found.append(self._known_by(app, messages[asked], bare))",
        "pass",
        (LAUNDERING, "short_answer_is_known_again_with"),
    ),
    LabelRule(
        "alone",
        "a long answer is known by itself",
        OPEN,
        "            if len(bare) >= shortest and (known",
        "            if False and (known",
        (LAUNDERING, "no_way_lowers and alone"),
    ),
    LabelRule(
        "beginning",
        "a long answer is known by its beginning",
        OPEN,
        "beginning = bare[start : end if end >= 0 else start + BEGINNING]",
        "beginning = bare[start:]",
        (LAUNDERING, "no_way_lowers and (added or cut)"),
    ),
    LabelRule(
        "blanks",
        "white space does not make another answer",
        OPEN,
        'turn = turn.replace(b"\\\\n", b"").replace(b"\\\\r", b"").replace(b"\\\\t", b"")',
        "pass",
        (LAUNDERING, "joined and short"),
    ),
    LabelRule(
        "joined",
        "an answer of several items is known when they are joined",
        LINE,
        "found += chains.said(app, (*before, whole), (len(before),), shortest=shortest)",
        "pass",
        (LAUNDERING, "joined and responses"),
    ),
    LabelRule(
        "in_pieces",
        "an answer that is sent in several turns is known",
        OPEN,
        "if whole is not None and (known := self.alone(app, whole)) is not None:",
        "if False:",
        (LAUNDERING, "no_way_lowers and (pieces or halves)"),
    ),
    LabelRule(
        "any_role",
        "a long answer is known in whatever role it is sent",
        OPEN,
        "        if task.tools:\n            spoken",
        "        if False:\n            spoken",
        (LAUNDERING, "no_way_lowers and words and (user or system)"),
    ),
    LabelRule(
        "far_back",
        "answers are looked for in all of the history",
        OPEN,
        "if len(prefixes) > MOST_PREFIXES and not linked.followed:",
        "if False:",
        (LAUNDERING, "no_way_lowers and invented"),
    ),
    LabelRule(
        "passed_on",
        "what was passed on of a stream is known before the app has it",
        LINE,
        "new = {digest for digest in found if digest is not None} - self._known",
        "new: set[str] = set()",
        (LAUNDERING, "passed_on and goes"),
    ),
    LabelRule(
        "broken_off",
        "what was passed on of an answer that came to no proper end is known",
        LINE,
        "            await self._remember_part(forwarded.deployment.id)",
        "            pass",
        (LAUNDERING, "short_words_before_a_held_call"),
    ),
    LabelRule(
        "all_answers",
        "every answer of a session with labels is remembered with them",
        LINE,
        "prefixes += said_after(chains, app, admission.task, enforced.assistant, shortest)",
        "pass",
        (LAUNDERING, "no_way_lowers and only"),
    ),
    # What calls bring
    LabelRule(
        "call_private",
        "a call that reads private data makes the session as confidential as that data",
        RULES,
        "        tool.highest_read\n        if can &",
        "        Sensitivity.PUBLIC\n        if can &",
        (LAUNDERING, "no_way_lowers and unchanged"),
    ),
    LabelRule(
        "call_restricted",
        "a call that reads restricted data makes the session restricted",
        RULES,
        "        level = Sensitivity.RESTRICTED\n    return",
        "        pass\n    return",
        (JUDGE, "results_raise"),
    ),
    LabelRule(
        "call_untrusted",
        "a call that brings others' words makes the session untrusted",
        RULES,
        "Integrity.UNTRUSTED if can & _CARRIES_WORDS else Integrity.TRUSTED",
        "Integrity.TRUSTED",
        (LAUNDERING, "words_of_others_trusted and alone"),
    ),
    LabelRule(
        "call_unknown",
        "a call of a tool that nobody registered makes the session untrusted and private",
        RULES,
        "return labels.join(Labels(Integrity.UNTRUSTED, Sensitivity.CONFIDENTIAL))",
        "return labels",
        (JUDGE, "results_raise"),
    ),
    LabelRule(
        "hosted",
        "what a provider may run by itself labels the session before it is asked",
        "routing_rules/offered.py",
        "labels, used, used_tools = labels_after(labels, tool), used | judgement.adds, used_tools | {tool.id}",
        "pass",
        (JUDGED, "provider_runs_is_offered"),
    ),
    LabelRule(
        "release",
        "a call is released only into the session that it was judged by",
        LUA + "release.lua",
        "if (s[2] or '0') ~= ARGV[1] or (s[3] or '0') ~= ARGV[2] or (s[4] or '0') ~= ARGV[3] or (s[5] or '') ~= ARGV[4] then",
        "if false then",
        (RELEASE, "thousand or changes_nothing"),
    ),
    LabelRule(
        "released",
        "what a released call brings is in the session at once",
        LUA + "release.lua",
        "'i', ARGV[5], 'c', ARGV[6], 'u', ARGV[7]",
        "'u', ARGV[7]",
        (RELEASE, "at_once_with_its_labels"),
    ),
    LabelRule(
        "answer_carries_its_calls",
        "an answer carries the labels of the calls that were released in it",
        LINE,
        "return admission.judge.labels, max(leaves, admission.judge.labels.confidentiality)",
        "return labels, leaves",
        (LAUNDERING, "carries_the_labels_of_its_calls"),
    ),
    LabelRule(
        "counts_as_used",
        "a confidential session counts as one that has read private data",
        RULES,
        "if facts.labels.confidentiality >= Sensitivity.CONFIDENTIAL:\n        held.add(_C.READS_PRIVATE)",
        "if False:\n        held.add(_C.READS_PRIVATE)",
        (LAUNDERING, "no_way_lowers and alone"),
    ),
    LabelRule(
        "counts_as_untrusted",
        "an untrusted session counts as one that has read others' words",
        RULES,
        "return facts.labels.integrity is Integrity.UNTRUSTED or _C.READS_UNTRUSTED in facts.used",
        "return _C.READS_UNTRUSTED in facts.used",
        (LAUNDERING, "words_of_others_trusted and alone"),
    ),
)
