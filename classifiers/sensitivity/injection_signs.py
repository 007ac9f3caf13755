"""The signs by which an order to a model is known, as detectors: one list for English, one for what is alike everywhere, one by language."""

from __future__ import annotations

from classifiers.sensitivity.kinds.rule import Rule

_GAP = r"(?:\S+\s+){0,4}?"
_FEW = r"(?:\S+\s+){0,2}?"
_MODEL = r"(?:a\.?i\.?|llms?|(?:large\s+)?language\s+models?|chat\s?bots?|chatgpt|gpt-?\d[\w.]*|claude|gemini|copilot|(?:ai|virtual|digital|automated|language)[\s\-](?:\S+\s+)?(?:assistant|agent|model|system|bot|tool|reader|summari[sz]er)s?)"
_ORDERS = r"(?:instructions?|prompts?|rules?|directions?|directives?|commands?|guidelines?|orders?|constraints?|polic(?:y|ies)|guardrails?|restrictions?|programming|safeguards?)"
_EARLIER = r"(?:previous|prior|preceding|above|earlier|existing|original|initial|former|foregoing|system|current|past|given)"
_IGNORE = r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget(?:ting)?|overrid(?:e|ing)|bypass(?:ing)?|discard|dismiss|neglect|abandon|(?:do\s+not|don'?t|stop|no\s+longer|never)\s+(?:follow|obey|listen\s+to|comply\s+with)(?:ing)?|pay\s+no\s+attention\s+to)"
_IGNORE_WORDS = (
    "ignor",
    "disregard",
    "forget",
    "overrid",
    "bypass",
    "discard",
    "dismiss",
    "neglect",
    "abandon",
    "follow",
    "obey",
    "listen",
    "comply",
    "attention",
)
_SECRETS = r"(?:(?:conversation|chat|session|message)\s+(?:history|logs?|transcripts?)|system\s+prompt|api[\s_-]?keys?|access\s+tokens?|credentials|passwords?|secrets?|secret\s+keys?|environment\s+variables|cookies|private\s+keys?|(?:security|verification|2fa|one-time)\s+codes?)"
_TARGET = r"(?:https?://|www\.|[\w.+\-]{1,64}@[\w\-]{1,64}\.)"
_TELL = r"(?:tell|telling|inform|informing|mention|mentioning|alert|alerting|notify|notifying|reveal|revealing|disclose|disclosing|warn|warning|say|show|ask|asking|let)"


def _sign(name: str, kind: str, score: float, pattern: str, *keywords: str) -> Rule:
    return Rule(id=f"injection.{name}", category="injection", kind=kind, pattern=f"(?i){pattern}", keywords=keywords, score=score)


_ENGLISH = (
    _sign("ignore_orders", "override", 0.85, rf"\b{_IGNORE}\s+{_GAP}{_EARLIER}\s+{_FEW}{_ORDERS}\b", *_IGNORE_WORDS),
    _sign("ignore_yours", "override", 0.85, rf"\b{_IGNORE}\s+{_FEW}your\s+{_FEW}(?:{_ORDERS}|training|safety|filters?)\b", *_IGNORE_WORDS),
    _sign("ignore_all", "override", 0.6, rf"\b{_IGNORE}\s+(?:(?:all|any|every|the|these|those|of|your|other)\s+){{1,4}}{_ORDERS}\s+(?:\S+\s+){{0,3}}(?:above|before|so\s+far|until\s+now|up\s+to|given|received|you)\b", *_IGNORE_WORDS),
    _sign("ignore_everything", "override", 0.65, rf"\b{_IGNORE}\s+(?:(?:all|absolutely)\s+(?:of\s+)?)?(?:everything|anything|whatever|all)\s+(?:\S+\s+){{0,3}}?(?:above|before|previously|prior|earlier|told|said|written|asked)\b", *_IGNORE_WORDS),
    _sign("ignore_the_above", "override", 0.5, r"\b(?:ignore|disregard|forget)\s+(?:all\s+(?:of\s+)?)?the\s+(?:above|foregoing|preceding)\s*(?:text|content|document|message|and\s|[.,;:!\n])", "ignore", "disregard", "forget"),
    _sign("ignore_request", "override", 0.4, rf"\b{_IGNORE}\s+{_GAP}{_EARLIER}\s+{_FEW}(?:messages?|tasks?|requests?|questions?|conversation|context|e-?mails?)\b", *_IGNORE_WORDS),
    _sign("orders_void", "override", 0.4, rf"\b(?:your|the|those|these|all)\s+{_FEW}{_ORDERS}\s+(?:\S+\s+){{0,8}}?(?:no\s+longer\s+(?:apply|valid|relevant|hold|matter|count|in\s+(?:effect|force))|(?:are|is|were)\s+(?:now\s+|hereby\s+)?(?:void|obsolete|cancel+ed|outdated|invalid|revoked|superseded|overridden|replaced|wrong))\b", "longer", "void", "obsolete", "cancel", "outdated", "invalid", "revoked", "superseded", "overridden", "replaced", "wrong"),
    _sign("your_orders_void", "override", 0.65, rf"\byour\s+{_EARLIER}\s+{_FEW}{_ORDERS}\s+(?:\S+\s+){{0,4}}?(?:no\s+longer|(?:are|is|were)\s+(?:now\s+|hereby\s+)?(?:void|obsolete|cancel+ed|outdated|invalid|revoked|superseded|overridden|replaced))\b", "longer", "void", "obsolete", "cancel", "outdated", "invalid", "revoked", "superseded", "overridden", "replaced"),
    _sign("whatever_the_user", "override", 0.7, r"\b(?:never\s*mind|ignore|forget|disregard|regardless\s+of|no\s+matter|don'?t\s+care|instead\s+of)\s+(?:what|whatever|anything|everything)\s+(?:else\s+)?(?:that\s+)?(?:the|your|this)\s+(?:user|human|person)\b", "user", "human", "person"),
    _sign("leave_the_task", "override", 0.45, r"\b(?:drop|abandon|stop|cancel|suspend|pause|interrupt|leave|halt|skip|set\s+aside|put\s+aside)\s+(?:working\s+on\s+)?(?:the|your|this|that)\s+(?:current|original|present|user'?s?|ongoing|assigned|previous|initial)\s+(?:task|request|job|work|query|question|conversation)\b", "task", "request", "job", "work", "query", "question", "conversation"),
    _sign("follow_them_not", "override", 0.35, r"\b(?:do\s+not|don'?t|stop|never|no\s+longer)\s+(?:obey|follow|apply|honou?r)(?:ing)?\s+(?:them|those|these|any\s+of)\b", "them", "those", "these", "any of"),
    _sign("new_orders", "new_task", 0.4, rf"\b(?:new|updated|revised|real|actual|true|override|additional|mandatory|hidden|secret)\s+{_FEW}(?:instructions?|directives?|objectives?|prompt)\s*(?::|\bfor\s+(?:you|the\s+(?:assistant|model|agent)|{_MODEL}))", "instruction", "directive", "objective", "prompt"),
    _sign("your_task_now", "new_task", 0.5, r"\byour\s+(?:new|real|actual|only|true|sole|primary|updated|next)\s+(?:task|goal|objective|mission|instructions?|purpose|directive|priority|role)\s+(?:is|are|will\s+be|now)\b", "task", "goal", "objective", "mission", "instruction", "purpose", "directive", "priority", "role"),
    _sign("instead_do", "new_task", 0.4, r"\b(?:instead|rather)\s*,?\s+(?:of\s+(?:that|this|answering|summari[sz]ing|translating|responding|doing)|you\s+(?:must|should|will|shall|need)|please\s+(?:do|perform|respond|say|output|send))", "instead", "rather"),
    _sign("do_this_instead", "new_task", 0.4, r"\b(?:do|perform|execute|complete|carry\s+out)\s+(?:this|the\s+following|as\s+follows|these\s+\S+|what\s+follows)\s+(?:instead|first|now|before|immediately)\b", "instead", "first", "now", "before", "immediately"),
    _sign("before_answering", "new_task", 0.4, r"\b(?:before|prior\s+to|after|instead\s+of)\s+(?:you\s+)?(?:can\s+|may\s+|do\s+)?(?:answer(?:ing)?|respond(?:ing)?|reply(?:ing)?|solv(?:e|ing)|continu(?:e|ing)|complet(?:e|ing)|process(?:ing)?|summari[sz](?:e|ing)|finish(?:ing)?|proceed(?:ing)?|returning|doing\s+anything)\b", "before", "prior", "after", "instead"),
    _sign("task_given", "new_task_frame", 0.45, r"\b(?:task|question|request|instructions?|query)\s+(?:that\s+)?(?:i|the\s+user|your\s+user|you\s+were|they)\s+(?:gave|given|asked|assigned|told|requested|provided)\b", "task", "question", "request", "instruction", "query"),
    _sign("users_task", "new_task_frame", 0.4, r"\buser'?s?\s+(?:original|initial|actual|first|current|real|previous|task|query)\s*(?:request|question|task|query|instructions?|prompt)?\b", "user"),
    _sign("in_order_to", "new_task_frame", 0.4, r"\b(?:in\s+order\s+to|to)\s+(?:\S+\s+){0,3}?(?:complete|finish|solve|answer|fulfil+)\s+(?:\S+\s+){0,3}?(?:task|request|query)\b.{0,40}\b(?:you|must|first|need)\b", "task", "request", "query"),
    _sign("to_the_model", "addresses_model", 0.75, rf"\b(?:attention|hey|hi|hello|dear|note|message|memo|notice|instructions?|reminder|warning|important|directive|task|command|request)s?[\s:!,\-]+(?:(?:to|for|all|any|the|every|my|you|that|reads?|this|reading)[\s,]+){{0,5}}{_MODEL}\b", "attention", "hey", "hi", "hello", "dear", "note", "message", "memo", "notice", "instruction", "reminder", "warning", "important", "directive", "task", "command", "request"),
    _sign("model_must", "addresses_model", 0.6, rf"(?:^|[\n.!?:>*\"(\[\-]\s*)(?:(?:any|all|every|the|this)\s+)?{_MODEL}s?\s*(?:[,:;!]\s*(?:please|you|ignore|do|send|add|include|respond|say|answer|reply|always|never|forward|delete|output|rate|recommend|must|when)\b|(?:(?:reading|processing|summari[sz]ing|analy[sz]ing|reviewing|parsing)\s+(?:this|the)\b|(?:must|should|shall|are\s+(?:instructed|required|asked|requested))\b))", "ai", "a.i", "llm", "language", "chat", "gpt", "claude", "gemini", "copilot", "virtual", "digital", "automated"),
    _sign("if_you_are", "addresses_model", 0.8, rf"\bif\s+you(?:'re|\s+are)\s+(?:(?:an?|the|one\s+of|any|some|reading|this|and|,)\s*){{0,4}}{_MODEL}\b", "if"),
    _sign("you_are_model", "addresses_model", 0.6, rf"\byou\s+are\s+(?:now\s+)?(?:(?:an?|the|no\s+longer|only|just|my|our)\s+){{0,2}}(?:(?:\S+\s+){{0,2}}?(?:{_MODEL}|dan)\b|(?:helpful|unrestricted|unfiltered|uncensored|obedient|evil)\s+\S*\s*(?:assistant|agent|model)\b)", "you"),
    _sign("in_a_mode", "addresses_model", 0.55, r"\byou\s+are\s+(?:now\s+)?(?:in|entering|switched\s+to|running\s+in)\s+(?:\S+\s+){0,2}?mode\b|\b(?:enter|switch\s+to)\s+(?:\S+\s+)?(?:developer|unrestricted|god|override)\s+mode\b", "mode"),
    _sign("you_are_now", "addresses_model", 0.45, r"\b(?:you\s+are\s+now\s+(?:an?|the|my|acting|operating|free|no\s+longer|required|instructed)|from\s+now\s+on,?\s+(?:you|always|only|never)|you\s+(?:will|must|shall)\s+(?:now\s+)?(?:act|behave|operate|respond|pretend|role-?play|only\s+(?:respond|answer|reply|speak))|(?:act|behave|pretend|respond)\s+as\s+(?:if\s+you|though\s+you|an?\s+(?:unrestricted|unfiltered|evil|different)))\b", "you", "now", "act", "behave", "pretend", "respond"),
    _sign("to_the_assistant", "addresses_model", 0.5, r"\b(?:notice|message|note|instructions?|update|memo|directive|command|order)s?\s+(?:to|for)\s+(?:the|all|any|every|my)\s+(?:\S+\s+)?(?:assistants?|bots?|models?|summari[sz]ers?)\s*[:,\-\n]", "assistant", "bot", "model", "summari"),
    _sign("assistant_you", "addresses_model", 0.5, r"(?:^|[\n>\"]\s*)(?:assistant|agent|bot|model)\s*[,:!]\s*(?:you|please|ignore|do\s+not|your)\b", "assistant", "agent", "bot", "model"),
    _sign("any_model_must", "addresses_model", 0.45, rf"\b(?:any|all|every|whichever)\s+{_MODEL}\s+(?:\S+\s+){{0,6}}?(?:must|should|shall|(?:is|are)\s+(?:to|required|asked|instructed))\b", "must", "should", "shall", "is", "are"),
    _sign("tools_you_have", "tool_order", 0.4, r"\btools?\s+(?:that\s+)?(?:are\s+)?(?:available\s+to\s+you|you\s+(?:have|can\s+use)|at\s+your\s+disposal|you(?:'ve|\s+were)\s+(?:been\s+)?given)\b", "tool"),
    _sign("must_obey", "tool_order", 0.4, r"\b(?:must|will|shall|should|have\s+to)\s+(?:strictly\s+|now\s+|always\s+)?(?:obey|comply\s+with|adhere\s+to|act\s+on)\s+(?:this|these|the\s+following|it|all|every|any)\b", "obey", "comply", "adhere", "act on"),
    _sign("your_tools", "addresses_model", 0.45, r"\b(?:using|use|invoke|call|with|access\s+to)\s+(?:\S+\s+)?(?:your|available|provided)\s+(?:\S+\s+)?(?:tools?|functions?|plug-?ins?|capabilities|function[\s-]calling|browser\s+tool)\b", "tool", "function", "plug", "capabilities"),
    _sign("as_a_model", "addresses_model", 0.4, rf"\bas\s+an?\s+(?:\S+\s+)?{_MODEL}\b,?\s+(?:you|your)\b", "as"),
    _sign("as_if_nothing", "secrecy", 0.4, r"\bas\s+(?:if|though)\s+(?:nothing|this|none\s+of\s+this)\s+(?:had\s+|has\s+|ever\s+)?(?:happened|occurred|was\s+(?:here|said)|existed)\b", "nothing", "this"),
    _sign("do_not_tell", "secrecy", 0.5, rf"\b(?:do\s+not|don'?t|never|without|avoid|must\s+not|should\s+not|no\s+need\s+to)\s+{_FEW}{_TELL}\s+{_GAP}(?:users?|humans?|end[\s-]users?|operators?)\b", "user", "human", "operator"),
    _sign("do_not_mention", "secrecy", 0.4, r"\b(?:do\s+not|don'?t|never|without)\s+(?:\S+\s+)?(?:mention|mentioning|reveal|revealing|disclose|disclosing|repeat|acknowledge|acknowledging|refer\s+to)\s+(?:\S+\s+){0,3}?(?:this|these|that|the)\s+(?:\S+\s+)?(?:instructions?|message|note|prompt|directives?|text|comment|e-?mail|action|step)\b", "instruction", "message", "note", "prompt", "directive", "text", "comment", "mail", "action", "step"),
    _sign("already_approved", "authority", 0.45, r"\b(?:the\s+)?user\s+(?:has|have|already)\s+(?:already\s+|previously\s+|pre-?)?(?:approved|authori[sz]ed|consented|agreed|confirmed|granted|given\s+(?:\S+\s+)?(?:permission|consent|approval))\b", "user"),
    _sign("no_confirmation", "secrecy", 0.35, r"\b(?:no|without|do\s+not\s+(?:ask|wait)\s+for|don'?t\s+(?:ask|wait)\s+for|skip(?:ping)?)\s+(?:any\s+|further\s+|asking\s+for\s+|user\s+|additional\s+|the\s+)*(?:confirmation|approval|permission|consent|verification)\b", "confirmation", "approval", "permission", "consent", "verification"),
    _sign("send_secrets", "exfiltration", 0.6, rf"\b(?:send|forward|e-?mail|post|upload|submit|transmit|leak|exfiltrate|copy|share|paste|deliver|append|include|encode|relay|give|reveal|extract|print|output)\s+{_GAP}{_SECRETS}\b.{{0,80}}?(?:\bto\b|\bat\b|\bin\b|\binto\b|\bvia\b|\bas\b|=).{{0,30}}?(?:{_TARGET}|\bme\b|\bus\b|the\s+(?:url|link|following|attacker|response|reply))", "history", "log", "transcript", "prompt", "key", "token", "credential", "password", "secret", "variable", "cookie", "code"),
    _sign("send_this_to", "exfiltration", 0.35, rf"\b(?:send|forward|e-?mail|post|upload|submit|transmit|share|relay|transfer|wire|pay)\s+{_GAP}(?:to|at|into|towards?)\s+{_GAP}{_TARGET}", "http", "www.", "@"),
    _sign("visit_this", "exfiltration", 0.3, r"\b(?:visit|open|browse\s+to|navigate\s+to|go\s+to|fetch|make\s+a\s+(?:get|post|http)?\s*request\s+to|curl|wget)\s+(?:\S+\s+){0,3}?https?://", "http"),
    _sign("image_with_data", "exfiltration", 0.75, r"!\[[^\]\n]{0,80}\]\(https?://[^)\s]{1,200}[?&/][\w\-]{0,40}=?(?:\{|\[|<|%7B|\$|DATA\b|BASE64|SECRET|SUMMARY|INSERT)", "]("),
    _sign("reveal_prompt", "prompt_extraction", 0.7, rf"\b(?:reveal|print|output|show|repeat|display|leak|disclose|tell\s+me|write\s+out|dump|return|expose|recite)\s+{_GAP}(?:your|the)\s+{_FEW}(?:system\s+(?:prompt|message|instructions)|initial\s+(?:prompt|instructions)|hidden\s+(?:prompt|instructions)|original\s+(?:prompt|instructions)|instructions\s+(?:verbatim|above)|prompt\s+verbatim)\b", "prompt", "instructions", "system"),
    _sign("call_tool", "tool_order", 0.4, r"\b(?:call|use|invoke|execute|run|trigger)\s+(?:the\s+|your\s+|function\s+|tool\s+)*[`'\"]?[a-z]{2,}(?:_[a-z]{2,})+[`'\"]?\s*(?:\(|tool\b|function\b|with\b|to\b)", "_"),
    _sign("carry_out", "tool_order", 0.35, r"\b(?:execute|carry\s+out|perform|follow|obey|comply\s+with|complete|adhere\s+to|do)\s+(?:\S+\s+){0,3}?(?:following|these|this|below)\s+(?:\S+\s+)?(?:instructions?|commands?|directives?|steps?|actions?|tasks?|first)\b", "instruction", "command", "directive", "step", "action", "task", "following"),
    _sign("must_now", "tool_order", 0.3, r"\b(?:you\s+must|you\s+are\s+(?:required|instructed|ordered)\s+to|it\s+is\s+(?:mandatory|imperative)\s+that\s+you|make\s+sure\s+(?:that\s+)?you|immediately)\s+(?:\S+\s+){0,2}?(?:send|forward|delete|transfer|execute|call|run|reply|respond|output|say|include|add|create|update|share|upload|pay|wire|change|reset|invite|book)\b", "you", "immediately"),
    _sign("unlocked", "addresses_model", 0.4, r"\b(?:jail\s?break(?:ed|ing)?|developer\s+mode\s+(?:enabled|activated|on)|god\s+mode|dan\s+mode|do\s+anything\s+now|unrestricted\s+mode|debug\s+mode\s+(?:enabled|activated)|no\s+(?:ethical|moral|safety)\s+(?:restrictions|guidelines|filters))\b", "jail", "mode", "anything", "ethical", "moral", "safety"),
    _sign("from_user", "addresses_model", 0.45, r"\b(?:this\s+is|i\s+am)\s+(?:\S+\s+){0,4}?(?:message|instruction|request|note|order|command)\s+from\s+(?:\S+\s+){0,5}?to\s+you\b|\b(?:system|admin(?:istrator)?|developer|security)\s+(?:message|notice|override|directive|instruction|alert)\s+(?:to|for)\s+(?:you|the\s+(?:assistant|model|agent|ai|llm))\b", "message", "instruction", "request", "note", "order", "command", "notice", "override", "directive", "alert"),
)  # fmt: skip

_CONCEPTS = (  # what such texts speak of: only several of them close together say anything
    _sign("speaks_of_models", "addresses_model", 0.25, rf"\b(?:{_MODEL}|neural\s+networks?|artificial\s+intelligence|the\s+(?:assistant|model|agent)|this\s+(?:assistant|model|agent|bot)|as\s+the\s+(?:agent|assistant|model))\b", "ai", "a.i", "llm", "language", "chat", "gpt", "claude", "gemini", "copilot", "virtual", "digital", "automated", "neural", "artificial", "assistant", "model", "agent", "bot"),
    _sign("speaks_of_the_user", "user", 0.25, r"\b(?:the|your|this)\s+(?:user|operator|human)\b", "user", "operator", "human"),
    _sign("obliges", "obligation", 0.2, r"\b(?:you\s+(?:must|are\s+(?:obliged|required|ordered|instructed|expected|asked)\s+to|have\s+to|need\s+to)|(?:has|have|are|is)\s+(?:to\s+(?:run|call|execute|send)|required\s+to|obliged\s+to)|asks\s+that\s+you|wants?\s+you\s+to|now\s+you)\b", "you", "to run", "to call", "to execute", "to send", "required", "obliged"),
    _sign("keeps_quiet", "secrecy", 0.3, r"\b(?:keep\s+(?:this|it)\s+(?:between\s+us|secret|quiet|to\s+yourself|hidden)|(?:user|operator|human)s?\s+(?:need\s+not|needn'?t|must\s+not|must\s+never|should\s+not|doesn'?t\s+need\s+to|does\s+not\s+need\s+to|will\s+not|won'?t)\s+(?:know|notice|see|be\s+told|be\s+informed|find\s+out)|leave\s+(?:this|it)\s+(?:\S+\s+){0,2}?out\s+of|silently|secretly|not\s+(?:for|to\s+be)\s+(?:display|displayed|shown)|hide\s+(?:this|it)\s+from)\b", "keep", "know", "notice", "see", "told", "informed", "find out", "out of", "silently", "secretly", "display", "shown", "hide"),
    _sign("turns_elsewhere", "new_task", 0.3, r"\b(?:(?:second|next|new|other|extra|hidden|final|real|actual|true)\s+(?:task|goal|job|question|mission|assignment|step\s+is)\s*(?::|is\b)|real\s+(?:task|question|request|job|goal)|(?:cancel|scrap|forget)\s+(?:that|this|it)\s*[.,;!]|stop\s+(?:reading|summari[sz]ing|what\s+you)|(?:test|exercise|simulation|conversation|session)\s+is\s+(?:now\s+)?over|one\s+(?:extra|more|additional)\s+(?:call|step|action|task|request)|really\s+here\s+for|supersedes?\b|completed?\s+the\s+(?:first|previous|current)\s+task|from\s+here\s+on|from\s+now\s+on)", "task", "goal", "job", "question", "mission", "assignment", "step", "request", "cancel", "scrap", "forget", "stop", "over", "one ", "here for", "supersede", "from"),
    _sign("speaks_of_setup", "setup", 0.3, r"\b(?:setup\s+text|(?:system|initial|starting|hidden|original)\s+(?:prompt|instructions?|configuration|message|text)|your\s+(?:configuration|instructions|guidelines|programming|prompt|context\s+window)|everything\s+above|above\s+this\s+line|very\s+first\s+(?:word|line|message)|final\s+answer|\"?role\"?\s*:\s*\"?system)", "setup", "prompt", "instruction", "configuration", "message", "text", "guidelines", "programming", "context", "above", "first", "final answer", "system"),
)  # fmt: skip

_MARKERS = (
    _sign("bracketed_role", "role_marker", 0.45, r"(?:^|\n|\s)[\[({]\s*/?\s*(?:system|assistant|developer|admin(?:istrator)?)\s*[\])}]", "system", "assistant", "developer", "admin"),
    _sign("headed_role", "role_marker", 0.5, r"(?:^|\n)#{2,6}\s*(?:system|human|assistant|user)\s*:", "system", "human", "assistant", "user"),
    _sign("chat_tokens", "role_marker", 0.8, r"<\|(?:im_start|im_end|im_sep|system|user|assistant|endoftext|start_header_id|end_header_id|eot_id|begin_of_text|channel|message)\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<\|?(?:end_of_)?(?:system|tool)_(?:prompt|result|output|message)\|?>", "|>", "inst]", "sys>>", "_of_turn>", "_prompt", "_result", "_output", "_message"),
    _sign("role_tags", "role_marker", 0.55, r"<\s*/?\s*(?:system|assistant|assistant[_\-\s]?(?:instructions?|note|message)|system[_\-\s]?(?:prompt|message|reminder|instructions?|override|note)|important[_\-\s]?(?:instructions?|message)?|admin(?:istrator)?|developer|instructions?|ai[_\-\s]instructions?|override)\s*>", "system", "assistant", "important", "admin", "developer", "instruction", "override"),
    _sign("role_lines", "role_marker", 0.4, r"(?:^|\n)[ \t>*#\[({\-]{0,6}(?:system|developer|assistant)(?:\s+(?:message|prompt|note|override|instructions?|update|notice))?[*\])}]{0,3}\s*:", "system", "developer", "assistant"),
    _sign("system_override", "role_marker", 0.6, r"\bsystem\s+(?:prompt|override|instructions?)\s*(?::|update|override)|\[\s*(?:system|admin|developer|ai|assistant)\s+(?:note|message|override|instructions?|prompt|directive)\b", "system", "admin", "developer", "assistant", "ai"),
    _sign("end_of_text", "boundary", 0.35, r"[\-=*#<\[]{2,}\s*(?:end|begin|start|stop)\s+(?:of\s+)?(?:\S+\s+){0,2}?(?:document|context|data|instructions?|search\s+results?|retrieved\s+\S+|content|e-?mail|web\s?page)\b", "document", "context", "data", "instruction", "search", "retrieved", "content", "mail", "page"),
    _sign("end_of_context", "boundary", 0.55, r"[\-=*#<\[]{2,}\s*(?:end|begin|start|stop)\s+(?:of\s+)?(?:\S+\s+){0,2}?(?:tool\s+(?:output|result|response|call)|user\s+(?:input|message|query|request)|system\s+(?:prompt|message|instructions)|untrusted\s+\S+|(?:model|assistant|ai)\s+\S+)\b", "tool", "user", "system", "untrusted", "model", "assistant", "ai"),
    _sign("speaker_lines", "speaker", 0.3, r"(?:^|\n)[ \t>*]{0,4}(?:user|human|assistant|ai)\s*:", "user", "human", "assistant", "ai"),
    _sign("information_tag", "role_marker", 0.3, r"<(information|info|urgent|notice|task|todo|attention|context_update|user_request)>", "<info", "<urgent", "<notice", "<task", "<todo", "<attention", "<context", "<user"),
)  # fmt: skip


def _other(language: str, kind: str, score: float, pattern: str, *keywords: str) -> Rule:
    return _sign(f"{kind}_{language}", _KIND.get(kind, kind), score, pattern, *keywords)


_KIND = {"whatever_the_user": "override", "from_now_on": "new_task"}

_OTHER_LANGUAGES = (
    _other("de", "override", 0.8, rf"(?:ignorier\S*|vergi(?:ss|ß|sst)|vergesst|vergessen\s+sie|missachte\S*|überschreib\S*|übergeh\S*|beachte\S*)\s+{_GAP}(?:vorherig|bisherig|obig|vorangegangen|vorangehend|früher|vorig|ursprünglich|all|dein|ihr|system)\S*\s+{_FEW}\S*(?:anweisung|instruktion|befehl|vorgabe|regel|prompt|anleitung|auftr)", "anweisung", "instruktion", "befehl", "vorgabe", "regel", "prompt", "anleitung", "auftr"),
    _other("fr", "override", 0.8, rf"(?:ignor\S+|oubli\S+|néglig\S+|ne\s+(?:tiens|tenez)\s+(?:pas|plus)\s+compte|fais\s+abstraction)\s+{_GAP}(?:instructions?|consignes?|directives?|règles?|ordres?)\s+{_FEW}(?:précédent|ci-dessus|antérieur|initial|système|d'avant|reçu)", "instruction", "consigne", "directive", "règle", "ordre"),
    _other("es", "override", 0.8, rf"(?:ignor\S+|olvid\S+|descart\S+|omit\S+|haz\s+caso\s+omiso|no\s+(?:sigas|hagas\s+caso))\s+{_GAP}(?:instruccion|[óo]rden|indicacion|regla|directri|directiva)\S*\s+{_FEW}(?:anterior|previ|de\s+arriba|inicial|del\s+sistema|recibid)|(?:ignor\S+|olvid\S+)\s+{_FEW}(?:anteriores|previas)\s+(?:instrucciones|órdenes)", "instruccion", "rden", "indicacion", "regla", "directri", "directiva"),
    _other("it", "override", 0.8, rf"(?:ignor\S+|dimentic\S+|trascur\S+|non\s+(?:seguire|considerare))\s+{_GAP}(?:istruzion|regol|direttiv|indicazion|ordin)\S*\s+{_FEW}(?:precedent|di\s+cui\s+sopra|sopra|inizial|del\s+sistema|ricevut)", "istruzion", "regol", "direttiv", "indicazion", "ordin"),
    _other("pt", "override", 0.8, rf"(?:ignor\S+|esque[çc]\S+|desconsider\S+|descart\S+|n[ãa]o\s+siga)\s+{_GAP}(?:instruç|instruc|regra|orden|orientaç|diretriz|comando)\S*\s+{_FEW}(?:anterior|acima|prévi|previ|inicia|do\s+sistema|recebid)", "instru", "regra", "orden", "orienta", "diretriz", "comando"),
    _other("nl", "override", 0.8, rf"(?:negeer|vergeet|sla)\s+{_GAP}(?:vorige|eerdere|bovenstaande|voorgaande|alle|jouw|je)\s+{_FEW}(?:instructie|opdracht|regel|aanwijzing)", "instructie", "opdracht", "regel", "aanwijzing"),
    _other("pl", "override", 0.8, rf"(?:zignoruj|ignoruj|zapomnij|pomi[ńn])\S*\s+{_GAP}(?:poprzedni|wcześniejsz|powyższ|wszystk|dotychczas)\S*\s+{_FEW}(?:instrukcj|poleceni|poleceń|zasad|wytyczn)", "instrukcj", "polece", "zasad", "wytyczn"),
    _other("nordic", "override", 0.8, rf"(?:ignorera?|glöm|glem|bortse|se\s+bort|strunta\s+i)\s+{_GAP}(?:tidigare|tidligere|föregående|foregående|ovanstående|ovenstående|forrige|alla|alle)\s+{_FEW}(?:instruktion|anvisning|instruks|instrukser|regler|regel|beskeder|order)", "instruk", "anvisning", "regler", "regel", "order"),
    _other("ru", "override", 0.8, rf"(?:проигнорируй|игнорируй|забудь|не\s+обращай\S*\s+внимания\s+на|отбрось|ігноруй|проігноруй|забудьте|игнорируйте)\S*\s+{_GAP}(?:предыдущ|прежн|вышеуказан|вышеизложен|все|всі|усі|попередн|свои|системн)\S*\s+{_FEW}(?:инструкци|указани|команд|правил|інструкці|вказівк|распоряжени)", "инструкци", "указани", "команд", "правил", "інструкці", "вказівк", "распоряжени"),
    _other("tr", "override", 0.8, r"(?:önceki|yukarıdaki|tüm|bütün|daha\s+önceki)\s+(?:\S+\s+){0,2}?(?:talimat|komut|yönerge|kural)\S*\s+(?:\S+\s+){0,2}?(?:yok\s*say|görmezden|unut|dikkate\s+alma|göz\s+ardı)", "talimat", "komut", "nerge", "kural"),
    _other("zh", "override", 0.8, r"(?:忽略|无视|忘记|忘掉|不要理会|無視|忽視|不用管|请忽视)[^。\n]{0,12}(?:之前|以上|上述|先前|前面|所有|上面|系统|此前|系統)[^。\n]{0,8}(?:指令|指示|说明|提示|规则|命令|要求|說明|規則|内容)", "忽略", "无视", "忘记", "忘掉", "不要理会", "無視", "忽視", "不用管", "请忽视"),
    _other("ja", "override", 0.8, r"(?:これまで|以前|上記|前の|すべて|全て|先の|今まで|元の)[^。\n]{0,12}(?:指示|命令|指令|ルール|プロンプト|設定|説明)[^。\n]{0,6}(?:無視|忘れ|従わ)", "無視", "忘れ", "従わ"),
    _other("ko", "override", 0.8, r"(?:이전|위의?|앞선|모든|기존|지금까지)[^.\n]{0,12}(?:지시|명령|지침|프롬프트|규칙)[^.\n]{0,8}(?:무시|잊|따르지)", "무시", "잊", "따르지"),
    _other("ar", "override", 0.8, r"(?:تجاهل|انس|أهمل|لا\s+تتبع)[^.\n]{0,24}(?:التعليمات|الأوامر|التوجيهات|القواعد|تعليمات)[^.\n]{0,14}(?:السابقة|أعلاه|الأصلية|السابق)", "تجاهل", "انس", "أهمل", "تتبع"),
    _other("hi", "override", 0.8, r"(?:पिछल|उपरोक्त|पहले|सभी|पूर्व)[^।\n]{0,20}(?:निर्देश|आदेश|नियम|अनुदेश)[^।\n]{0,16}(?:अनदेखा|नज़रअंदाज़|नजरअंदाज|भूल|अनदेखी)", "अनदेखा", "नज़रअंदाज़", "नजरअंदाज", "भूल", "अनदेखी"),
    _other("id", "override", 0.8, rf"(?:abaikan|lupakan)\s+{_GAP}(?:instruksi|perintah|aturan|petunjuk)\S*\s+{_FEW}(?:sebelumnya|di\s+atas|terdahulu|awal)", "abaikan", "lupakan"),
    _other("vi", "override", 0.8, rf"(?:bỏ\s+qua|quên|phớt\s+lờ|không\s+tuân\s+theo)\s+{_GAP}(?:hướng\s+dẫn|chỉ\s+dẫn|chỉ\s+thị|lệnh|yêu\s+cầu|quy\s+tắc)\s+{_FEW}(?:trước|ở\s+trên|phía\s+trên|ban\s+đầu|trên)", "trước", "trên", "đầu"),
    _other("de", "addresses_model", 0.7, r"(?:wenn\s+(?:du|sie)\s+eine?\s+(?:ki|künstliche\s+intelligenz|sprachmodell|chatbot|ki-\S+)|(?:hinweis|nachricht|anweisung|achtung|notiz)\S*\s+(?:\S+\s+){0,2}?(?:an|für)\s+(?:(?:die|den|das|alle|jede|eine?)\s+)?(?:ki|ki-\S+|sprachmodelle?|chatbots?|künstliche\S*\s+intelligenz\S*)|du\s+bist\s+(?:jetzt|nun|ab\s+sofort)\s+(?:eine?\s+)?(?:ki|assistent|sprachmodell|chatbot))\b", "wenn", "hinweis", "nachricht", "anweisung", "achtung", "notiz", "du bist"),
    _other("fr", "addresses_model", 0.7, r"(?:si\s+(?:tu\s+es|vous\s+êtes)\s+(?:une?\s+)?(?:ia|intelligence\s+artificielle|modèle\s+de\s+langage|chatbot|assistant\s+ia)|(?:note|message|instructions?|attention)\s+(?:\S+\s+){0,2}?(?:à|pour|aux?)\s+(?:l'|les\s+|toute\s+)?(?:ia|intelligences?\s+artificielles?|modèles?\s+de\s+langage|assistants?\s+ia)|tu\s+es\s+(?:maintenant|désormais)\s+(?:une?\s+)?(?:ia|assistant|modèle))\b", "ia", "artificielle", "langage", "assistant", "chatbot", "modèle"),
    _other("es", "addresses_model", 0.7, r"(?:si\s+(?:eres|usted\s+es)\s+(?:una?\s+)?(?:ia|inteligencia\s+artificial|modelo\s+de\s+lenguaje|chatbot|asistente\s+de\s+ia)|(?:nota|mensaje|instrucciones|atención|aviso)\s+(?:\S+\s+){0,2}?(?:a|para)\s+(?:la\s+|el\s+|los\s+|cualquier\s+)?(?:ia|inteligencia\s+artificial|modelos?\s+de\s+lenguaje|asistentes?\s+(?:de\s+)?(?:ia|virtual))|ahora\s+eres\s+(?:una?\s+)?(?:ia|asistente|modelo))\b", "ia", "artificial", "lenguaje", "asistente", "chatbot", "modelo"),
    _other("zh", "addresses_model", 0.65, r"(?:如果你是|作为一?个?|你现在是|致)(?:一个|一名|任何|所有)?(?:AI|人工智能|大?语言模型|智能助手|大模型)(?:助手)?[^。\n]{0,10}(?:请|你|必须|应|，|:|：)", "如果你是", "作为", "你现在是", "致"),
    _other("zh", "new_task", 0.6, r"你的(?:新|真正|真实|实际|下一个)(?:的)?(?:任务|目标|指令|工作)(?:是|为|：|:)", "你的"),
    _other("zh", "secrecy", 0.55, r"(?:不要|别|勿|不得)(?:告诉|告知|通知|向)[^。\n]{0,4}用户", "用户"),
    _other("de", "from_now_on", 0.5, r"(?:ab\s+(?:jetzt|sofort|nun)|von\s+nun\s+an)\s+(?:\S+\s+){0,4}?(?:ki|assistent|modell|sprachmodell)\b|(?:deine|ihre)\s+(?:neue|eigentliche|wahre)\s+aufgabe\s+(?:ist|lautet)", "jetzt", "sofort", "nun", "aufgabe"),
    _other("ru", "addresses_model", 0.65, r"(?:если\s+(?:ты|вы)\s+(?:-|–|—)?\s*(?:ии|искусственный\s+интеллект|языковая\s+модель|чат-?бот|нейросеть)|(?:сообщение|инструкция|внимание|указание)\s+(?:\S+\s+){0,2}?для\s+(?:ии|искусственного\s+интеллекта|языковой\s+модели|нейросети|ассистента))", "если", "сообщение", "инструкция", "внимание", "указание"),
    _other("de", "whatever_the_user", 0.65, r"(?:vergi(?:ss|ß)|vergessen\s+sie|ignorier\S*|egal|gleichgültig)\s*,?\s+(?:alles\s*,?\s+)?was\s+(?:der|die|dein|ihr)e?\s+(?:nutzer|benutzer|anwender|user)", "nutzer", "anwender", "user"),
    _other("fr", "whatever_the_user", 0.65, r"(?:oubli\S+|ignor\S+|peu\s+importe)\s+(?:tout\s+)?ce\s+qu[e']\s*l?'?utilisat", "utilisat"),
    _other("es", "whatever_the_user", 0.65, r"(?:olvid\S+|ignor\S+|no\s+importa)\s+(?:todo\s+)?lo\s+que\s+(?:\S+\s+){0,3}?(?:el|la|tu)\s+usuari", "usuari"),
    _other("de", "secrecy", 0.5, r"(?:sag|erwähn|informier|verrat|teil|benachrichtig)\S*\s+(?:\S+\s+){0,4}?(?:nutzer|benutzer|anwender|user)\S*\s+(?:\S+\s+){0,3}?(?:nicht|nichts|davon\s+nichts)|ohne\s+(?:den|die)\s+(?:nutzer|benutzer|anwender)\S*\s+(?:\S+\s+){0,2}?zu\s+(?:informieren|fragen|benachrichtigen)", "nutzer", "anwender", "user"),
    _other("fr", "secrecy", 0.5, r"(?:ne\s+(?:\S+\s+){0,2}?(?:dis|dites|mentionn|inform|préven|révél)\S*|sans\s+(?:en\s+)?(?:inform|préven|demand)\S*)\s+(?:\S+\s+){0,4}?(?:à\s+)?l'utilisat", "utilisat"),
    _other("es", "secrecy", 0.5, r"(?:no\s+(?:\S+\s+){0,2}?(?:digas|diga|menciones|informes|avises|reveles|cuentes)|sin\s+(?:informar|avisar|preguntar|decir))\s+(?:\S+\s+){0,4}?(?:usuario|usuaria)", "usuari"),
)  # fmt: skip

SIGNS = (*_ENGLISH, *_CONCEPTS, *_MARKERS, *_OTHER_LANGUAGES)
"""All signs. `score` is how sure one of them is by itself; below a half it needs others beside it."""
