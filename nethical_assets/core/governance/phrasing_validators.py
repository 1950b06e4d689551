"""Validators of injection phrasing: whether words are addressed to a model, or are about a thing or about the words.

What belongs here: predicates that ``validators`` registers. A phrase such as "ignore the previous instructions" is an
attack by whom it speaks to; the words beside it tell: "in the recipe", "I was told to", "what does ... mean". What does
not: the phrases themselves (the rule files).
"""

from __future__ import annotations

import re

_SENTENCE_END = re.compile(r"[.!?\n;]")
_ABOUT_MODELS = re.compile(
    r"(?i)\b(?:ai|llm|gpt|chatgpt|bot|assistant|model|system|prompts?|conversation|chat|dialog(?:ue)?|context|session"
    r"|messages?|developers?|openai|anthropic|google|company|creators?|programmers?|operators?|admins?|users?"
    r"|you|yours?|yourself|me|i|us|any|all|every|kind|sort|now|above|below|before|past|beginning|start|here|everyone"
    r"|anyone|text|document|input|memory|training|programming|code ?block|format|form|style|language|full|detail"
    r"|requests?|tasks?|answers?|responses?|replies|reply|questions?|query|queries|base64|reverse|order|json|xml|html"
    r"|markdown|yaml|list|poem|song|rest|moment|while|second|minute|time|once|remainder|purposes?|sake"
    r"|example|next|new"
    r"|current|last|previous|prior|earlier|initial|original|scenarios?|stor(?:y|ies)|games?|role|roleplay|simulation"
    r"|world|hypothetical|experiment|exercise|mode|persona|character|following|english|french|german|spanish|italian"
    r"|portuguese|russian|chinese|japanese|korean|arabic|latin|hindi)\b"
)
"""Words that say of instructions that they are a model's own, or of an answer how it shall look."""

_QUALIFIED = re.compile(
    r"['\")\]]?\s+(?:(?:in|from|by)\s+"
    r"(?=(?:the|an?|my|our|this|that|these|his|her|their|page|step|line|\w+'s)\s|[A-Z])"
    r"|(?:on|of|for|that came with|that come with|given by)\s+)"
    r"(?P<thing>(?:[\w'-]+[ ,]*){1,3})"
)
_REPORTED = re.compile(
    r"(?i)(?:\b(?:should|can|could|may|must|shall|do|did|does|would|might) (?:i|we|he|she|they|one|people) "
    r"(?:\w+ )?|\b(?:told|asked|advised|instructed|taught|reminded|ordered) "
    r"(?:(?:me|us|him|her|them|(?:my|our|the) \w+) )?(?:not )?to |\b(?:i|we|he|she|they|people|users|often|usually) "
    r"(?:\w+ )?(?:often|sometimes|never|always|usually|tend to|had to|have to) )[\"'\u201c]?\Z"
)
_MENTIONING = re.compile(
    r"(?i)^\W*(?:(?:so|and|but|hi|hello|please|also)\W+)?(?:what|how|why|who|when|where|which|explain"
    r"|describe|define|discuss"
    r"|compare|summari[sz]e|is|are|does|do|did|has|have|can (?:you|someone|i)|could (?:you|someone)"
    r"|tell me (?:about|what|how|why)|give (?:me )?(?:an? )?(?:example|overview|summary|definition)s?"
    r"|write an? (?:\w+ )?(?:article|blog|essay|paper|report|post|story|guide|tutorial|lecture|talk|policy)"
    r"|research|papers?|attacks?|an? (?:article|paper|guide))\b"
)
_SAID_OF_WORDS = re.compile(
    r"(?i)['\"\u201d`)\]]{0,2}\s*(?:(?:the |in |as |an? |is |are |do |does )?"
    r"(?:mean(?:s|ing)?|tokens?|tags?|markers?|phrases?|works?|attacks?|prompts?|injections?|jailbreaks?"
    r"|tricks?|templates?|examples?|techniques?|detection|defen[cs]es?|prevention|research|llama"
    r"|gpt)\b)"
)
_QUOTE_BEFORE = re.compile(r"[\"'`\u201c\u2018]\s?\Z")
_QUOTE_AFTER = re.compile(r"[^\n\"`\u201d]{0,40}[\"'`\u201d\u2019]")


def _is_about_words(value: str, before: str, after: str) -> bool:
    """Whether a question or an explanation mentions the words instead of using them."""
    sentence = _SENTENCE_END.split(before)[-1]
    if _MENTIONING.match(sentence) is None:
        return False
    quoted = _QUOTE_BEFORE.search(before) is not None and _QUOTE_AFTER.match(after) is not None
    return quoted or _SAID_OF_WORDS.match(after) is not None


def _is_about_thing(after: str) -> bool:
    """Whether what follows says whose instructions, filters or rules are meant, and they are not a model's."""
    qualified = _QUALIFIED.match(after)
    return qualified is not None and _ABOUT_MODELS.search(qualified["thing"]) is None


def addressed(value: str, before: str, after: str) -> bool:
    """A demand that is made of the reader: not reported, not mentioned, not about the rules of some other thing."""
    return not (_is_about_thing(after) or _REPORTED.search(before) or _is_about_words(value, before, after))


_GOES_ON = re.compile(
    r"(?i)(?:\s*\n|\s+(?:in[a-z]*truct\w*|this|that|line|everything|after|due|except|and|or|but|then|instead"
    r"|to|because|as|so|now|text|prompts?|instructions?|messages?|conversations?|rules?|directions?"
    r"|directives?|guidelines?|commands?|orders?|context|content|input|system|statements?|requests?"
    r"|questions?|tasks?|answers?"
    r"|responses?|sentences?|paragraphs?|said|all|any|everything|user|assistant|prior|previous|above|training"
    r"|programming|settings"
    r"|constraints?|restrictions?|limitations?|policy|policies|information|chat|dialogue|words|lines?|command"
    r"|query|queries)\b|\s*[^\w\s]|\s*\Z)"
)


def addressed_without_object(value: str, before: str, after: str) -> bool:
    """As ``addressed``, where "ignore the previous" is followed by no noun of another kind ("warning", "invoice")."""
    if re.search(r"(?i)(?:ignore|disregard)\W+(?:the\W+)?(?:above|previous|preceding)\Z", value):
        goes_on = _GOES_ON.match(after)
        if goes_on is None or _is_about_thing(after[goes_on.end() :]):
            return False
    return addressed(value, before, after)


_CONCEPT = re.compile(
    r"(?i)\b(?:an?|another|some|any|good|better|best|great|effective|sample|example|every) (?:\w+ )?"
    r"(?:system|initial|hidden|original|secret|internal|developer|pre)[ -](?:prompts?|instructions?|messages?"
    r"|guidelines?|directives?|rules)\Z"
)
_BARE_PLURAL = re.compile(
    r"(?i)\A(?:what|explain|describe|write|give|tell|summari[sz]e|list|provide|show|format|share|translate"
    r"|reveal|extract)\b"
    r"(?!.*\b(?:the|your|its|this|that|these|those|all|my|exact|full|entire|whole)\b).*"
    r"\b(?:prompts|instructions|messages|guidelines|directives|rules)\Z",
    re.DOTALL,
)
_OTHER_PROMPT = re.compile(
    r"(?i)\s+(?:engineering|response|reply|attention|payment|action|service|delivery|help|assistance"
    r"|(?:should|to) (?:look|be)\b)"
)
_HOW_SHOULD = re.compile(
    r"(?i)\bhow (?:long |short |much )?(?:should|can i|can we|do i|do we|would you write|to)\b[^.?!\n]{0,40}\Z"
)


def extraction(value: str, before: str, after: str) -> bool:
    """A demand for the instructions in force, not a question about what such instructions are."""
    if _CONCEPT.search(value) or _BARE_PLURAL.match(value) or _OTHER_PROMPT.match(after):
        return False
    if value.lower().startswith("your") and _HOW_SHOULD.search(before):
        return False
    return addressed(value, before, after)


_DEVICE = re.compile(
    r"(?i)\s+(?:on|in|for|by default)\b(?: (?:my|the|this|your|an?|our|his|her|windows|android|ios|chrome"
    r"|firefox|\w+os)\b|\s*\Z|[^a-z])"
)
_SUCH = re.compile(r"(?i)\b(?:such|known|like|called)\s*\Z")


def persona(value: str, before: str, after: str) -> bool:
    """A jailbreak persona or mode that is called up: not the developer mode of a device, not a persona spoken of."""
    mode = re.search(r"(?i)\b(?:developer|debug|admin|sudo) mode(?P<on> on)?\Z", value)
    if mode is not None and _DEVICE.match(place := (mode["on"] or "") + after):
        return _ABOUT_MODELS.search(place[:40]) is not None
    return not (_SUCH.search(before) or _is_about_words(value, before, after))


def not_mentioned(value: str, before: str, after: str) -> bool:
    """Words that are used: no question or explanation is about them."""
    return not _is_about_words(value, before, after)


_STUDY = re.compile(
    r"(?i)^\W*(?:(?:so|and|but|please|also|can you|could you)\W+)*(?:what (?:is|are|was|were|does|do|makes?)|why"
    r"|explain|describe|define|discuss|compare|(?:the )?(?:history|difference|effect)s? (?:of|between)"
    r"|how (?:to|do|does|can|could|should)\b.*\b(?:work|detect|prevent|defend|protect|mitigate|resist|avoid|stop)\w*)\b"
)


def not_studied(value: str, before: str, after: str) -> bool:
    """A word such as "jailbreak" where nobody asks what it is or how to defend against it."""
    sentence = _SENTENCE_END.split(before)[-1]
    return _STUDY.match(sentence) is None and not _is_about_words(value, before, after)


_SENSITIVE = re.compile(
    r"(?i)[\"']?(?:[@=]*(?:[\w./~$-]*(?:passwd|shadow|\.ssh|id_rsa|id_ed25519|\.env|\.aws|\.kube|credentials?"
    r"|secrets?|tokens?|passwords?"
    r"|private|\.pem|\.key|history|/etc/|/proc/|/var/|/root|wallet|dump|backup|database|\.sql|\.db)))"
)


def uploads_something_private(value: str, before: str, after: str) -> bool:
    """An upload of the output of a command, or of a file whose name says that it is nobody else's business."""
    if not value.endswith("@"):
        return True
    return _SENSITIVE.match(after) is not None
