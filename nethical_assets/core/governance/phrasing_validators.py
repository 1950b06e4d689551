"""Validators of injection phrasing: whether words are addressed to a model, or are about a thing or about the words.

What belongs here: predicates that ``validators`` registers. A phrase such as "ignore the previous instructions" is an
attack by whom it speaks to; the words beside it tell: "in the recipe", "I was told to", "what does ... mean". What does
not: the phrases themselves (the rule files).
"""

from __future__ import annotations

import re

from nethical_assets.core.governance.words import vocabulary

_SENTENCE_ENDS = ".!?\n;"
_SENTENCE_END = re.compile(f"[{_SENTENCE_ENDS}]")
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
    r"|portuguese|russian|chinese|japanese|korean|arabic|latin|hindi|safety|security|ethics?|moral(?:s|ity)?|law"
    r"|legality|restrictions?|rules|guidelines|polic(?:y|ies)|instructions?|limits|limitations|harm(?:ful)?|illegal"
    r"|confidential\w*|privacy|privileged|secre\w+|passwords?|keys?|refus\w+|answering|responding|disclos\w+|reveal\w*"
    r"|sharing|helping|discussing|telling|giving|following|talking|hiding|keeping|being|staying|topics|letter)\b"
)
"""Words that say of instructions that they are a model's own, or of an answer how it shall look."""

_QUALIFIED = re.compile(
    r"['\")\]]?(?:\s+(?:before|earlier|above|previously|so far|yesterday))?\s+(?:(?:in|from|by)\s+"
    r"(?=(?:the|an?|my|our|this|that|these|his|her|their|page|step|line|\w+'s)\s|[A-Z])"
    r"|(?:on|of|for|about|regarding|concerning|to(?=\s(?:the|my|our|his|her|their)\s)|that came with|that come with"
    r"|given (?:by|to))\s+)"
    r"(?P<thing>(?:[\w'-]+[ ,]*){1,3})"
)
_REPORTED = re.compile(
    r"(?i)(?:\b(?:should|can|could|may|must|shall|do|did|does|would|might) (?:i|we|he|she|they|one|people) "
    r"(?:\w+ )?|\b(?:told|asked|advised|instructed|taught|reminded|ordered) "
    r"(?:(?:me|us|him|her|them|(?:my|our|the) \w+) )?(?:not )?to |\b(?:i|we|he|she|they|people|users|often|usually) "
    r"(?:\w+ )?(?:often|sometimes|never|always|usually|tend to|had to|have to) "
    r"|\b(?:they|we|people|users|students|employees|drivers|children|kids|teenagers) "
    r"|\b(?:if|when(?:ever)?|in case|unless) (?:\w+ ){1,4}(?:says?|said|writes?|types?|sends?|enters?"
    r"|tells? (?:you|it)(?: to)?|asks?(?: (?:you|it))?(?: to)?):? )[\"'\u201c]?\Z"
)
_NEGATED = re.compile(
    r"(?i)\b(?:never|not|don'?t|doesn'?t|didn'?t|won'?t|wouldn'?t|can'?t|cannot|mustn'?t|shouldn'?t|without ever) "
    r"(?:ever |simply |just |blindly )?\Z"
)
_MADE_TO = re.compile(
    r"(?i)\b(?:tell|told|ask|instruct|order|trick|convinc|forc|caus|get|gott?|mak|made|let|coerc|fool|stop|prevent|keep"
    r"|block|train|want)\w* (?:it|(?:(?:an?|the|their|our|my|your|this|that|these|some|any|such) )?(?:\w+ )?"
    r"(?:models?|llms?|ais?|bots?|chatbots?|assistants?|agents?|gpt|chatgpt|systems?)) (?:to |into |from )?\Z"
)
_OF_OTHERS = re.compile(
    r"(?i)^\W*(?:(?:so|and|but|why|how|when|where|hi|hello)\W+)*"
    r"(?:do|does|did|will|would|can|could|should|might|is|are|was|were|has|have)"
    r" (?!(?:you|u|ya)\b)(?:[\w'-]+ ){1,4}\Z"
)
_INTRODUCED = re.compile(
    r"(?i)\b(?:such as|like|e\.g\.,?|for example|called|known as|phrases?|strings?|words) [\"'`\u201c\u2018]?\Z"
)
_PLEASE = re.compile(r"(?i)\b(?:please|pls|kindly)\b")
_THIRD_PERSON = re.compile(r"(?i)\A(?:ignores|disregards|overrides|bypasses|neglects|dismisses|discards)\b")
_WHO_IGNORES = re.compile(
    r"(?i)\b(?:that|who|which|and|ai|bot|chatbot|assistant|model|llm|gpt|chatgpt|dan|stan|persona|character|also|then|always|it"
    r"|completely|fully|simply|thus|therefore|hence)\s+\Z"
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
    r"|gpt)\b|(?:is|are|was|were) (?:an?|the|one of|among|called|known|typical|classic)\b|style\b)"
)
_QUOTES = frozenset("\"'`\u201c\u2018")
_INTRODUCTION_CHARACTERS = 16
_QUOTE_AFTER = re.compile(r"[^\n\"`\u201d]{0,40}[\"'`\u201d\u2019]")


def _is_about_words(value: str, before: str, after: str) -> bool:
    """Whether the words are mentioned and not used: two signs of it (asked about, introduced, quoted, said of)."""
    quoted = before[-2:].rstrip()[-1:] in _QUOTES and _QUOTE_AFTER.match(after) is not None
    said_of = _SAID_OF_WORDS.match(after) is not None
    if quoted and said_of:
        return True
    mentioning = _MENTIONING.match(_sentence(before)) is not None
    if not (quoted or said_of or mentioning):
        return False
    return (mentioning and (quoted or said_of)) or _INTRODUCED.search(before[-_INTRODUCTION_CHARACTERS:]) is not None


def _sentence(before: str) -> str:
    """What ``before`` ends with since the last sentence ended."""
    return before[max(map(before.rfind, _SENTENCE_ENDS)) + 1 :]


def _is_question_of_others(before: str, after: str) -> bool:
    """Whether a question asks if or why somebody else than the reader does it: "can users make it ...?"."""
    sentence = _sentence(before)
    ending = _SENTENCE_END.search(after) if "?" in after else None
    return (
        ending is not None
        and after[ending.start()] == "?"
        and _OF_OTHERS.match(sentence) is not None
        and _PLEASE.search(sentence) is None
    )


def _is_about_thing(after: str) -> bool:
    """Whether what follows says whose instructions, filters or rules are meant, and they are not a model's."""
    qualified = _QUALIFIED.match(after)
    return qualified is not None and _ABOUT_MODELS.search(qualified["thing"]) is None


_RETRACTED = re.compile(
    r"(?i)(?:\s+(?:requests?|questions?|messages?|instructions?|prompts?|e-?mails?|notes?|posts?|comments?))?\W{0,3}\s*"
    r"(?:i (?:have |'ve )?(?:already )?(?:found|fixed|solved|figured|got|sent|forgot|made|misread|meant|mixed)"
    r"|sorry|my mistake|it'?s (?:already )?(?:fixed|solved|resolved|done|sorted)"
    r"|thanks|thank you|never ?mind|resolved|solved)\b"
)
_SORRY = re.compile(r"(?i)\b(?:sorry|oops|apologies|my bad|my mistake)\W{1,3}(?:(?:but|please|just|you can) )*\Z")
_OTHER_RULES = re.compile(
    r"(?i)\b(?:format(?:ting)?|assembly|parking|cooking|baking|install(?:ation)?|shipping|delivery|washing|care|payment|travel"
    r"|driving|login|voting|grammar|spelling|css|firewall|build|style|lint(?:er|ing)?|dosage|wiring|packing|mowing)"
    r"\W+\w+\Z"
)


_SUBJECT_OF_OTHERS = re.compile(
    r"(?i)\b(?:css|firewall|lint(?:er|ing)?|eslint|grammar|build|make|routing|iptables|crontab|style ?sheet)"
    r" (?:rules?|settings|directives?|entries|policies) (?:[\w.-]+ ){0,4}\Z"
)
_LAST_WORD = re.compile(r"\w+(?:'t)?")
_LAST_OF_REPORTS = vocabulary(
    "i we he she they one people to users often usually sometimes never always tend had have students employees drivers"
    " children kids teenagers say says said write writes type types send sends enter enters tell tells ask asks you"
    " it"
)
_LAST_OF_DENIALS = vocabulary(
    "never not don't dont doesn't doesnt didn't didnt won't wont wouldn't wouldnt can't cant cannot mustn't mustnt"
    " shouldn't shouldnt ever"
)
_LAST_OF_CAUSES = vocabulary(
    "to into from it model models llm llms ai ais bot bots chatbot chatbots assistant assistants agent agents gpt"
    " chatgpt system systems"
)
"""Words of which one is among the last two where the patterns of the same name match: looking is cheaper."""


def _is_retracted(value: str, before: str, after: str) -> bool:
    """Whether somebody takes back what they wrote themselves ("..., I found the answer")."""
    if _RETRACTED.match(after) is not None:
        return True
    return re.search(r"(?i)\bmy\b", value) is not None and _SORRY.search(before) is not None


def _last_words(before: str) -> frozenset[str]:
    return frozenset(_LAST_WORD.findall(before.lower())[-2:])


def _is_told(value: str, before: str, after: str) -> bool:
    """Whether somebody tells or asks what others do, what nobody shall do, or takes something back: no demand."""
    if _THIRD_PERSON.match(value) and _WHO_IGNORES.search(before) is None:
        return True
    if _SUBJECT_OF_OTHERS.search(before) is not None:
        return True
    if _OTHER_RULES.search(value) is not None or _is_retracted(value, before, after):
        return True
    last = _last_words(before)
    return (
        (not last.isdisjoint(_LAST_OF_REPORTS) and _REPORTED.search(before) is not None)
        or (not last.isdisjoint(_LAST_OF_DENIALS) and _NEGATED.search(before) is not None)
        or (not last.isdisjoint(_LAST_OF_CAUSES) and _MADE_TO.search(before) is not None)
        or _is_question_of_others(before, after)
    )


_OWN = re.compile(r"(?i)\b(?:my|his|her|the \w+'s) \Z")
_OF_COMPANY = re.compile(r"(?i)\s+(?:compan(?:y|ies)|startups?|practices?|research|labs?|vendors?|use)\b")


_STORY = re.compile(
    r"(?i)\b(?:story|stories|tale|novel|poem|essay|article|song|film|movie|script|plot|book|comic) (?:about|on|of|with)"
    r"(?: an?| the| some| one)? \Z"
)


def switched_off(value: str, before: str, after: str) -> bool:
    """As ``addressed``, if it is not said of the speaker's own things ("my content filter is disabled"), and is no type
    in a program ("content: Optional")."""
    if value.lower().endswith("optional") and ":" in value:
        return False
    return _OWN.search(before) is None and addressed(value, before, after)


def cast(value: str, before: str, after: str) -> bool:
    """As ``addressed``, where the model is cast as somebody: not "an unethical AI company", not a story's subject."""
    if _STORY.search(before) is not None and re.fullmatch(r"\W*", after):
        return False
    return _OF_COMPANY.match(after) is None and addressed(value, before, after)


def addressed(value: str, before: str, after: str) -> bool:
    """A demand that is made of the reader: not reported, denied, mentioned or about the rules of some other thing."""
    return not (_is_about_thing(after) or _is_told(value, before, after) or _is_about_words(value, before, after))


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
        if goes_on is None:
            return False
        after = after[goes_on.end() :]
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
    r"(?i)\s+(?:engineering|response|reply|attention|payment|action|service|delivery|help|assistance|design|templates?"
    r"|library|libraries|editor|field|box|feature|process|workflow|strategy|tips|best practices?|versions?|caching|size"
    r"|length|(?:should|to) (?:look|be)\b)"
)
_TEXT_ALONE = re.compile(r"(?i)\A(?:words|content|text)\b")
_DEMANDED = re.compile(
    r"(?i)\b(?:reveal|show|print|display|repeat|output|tell|give|share|expose|disclose|leak|dump|recite|return|write"
    r"|translate|encode|summari[sz]e|format|describe|provide|what|echo|extract|spell|copy|ignore|forget|disregard)\b"
)
_HOW_SHOULD = re.compile(
    r"(?i)\bhow (?:long |short |much )?(?:should|can i|can we|do i|do we|would you write|to)\b[^.?!\n]{0,40}\Z"
)


_WHETHER = re.compile(
    r"(?i)^\W*(?:(?:so|and|but|hi|hello)\W+)*(?:(?:is|are|was|were|does|did|has|have|do you (?:use|have|keep|version))"
    r"|how (?:long|short|big|large|many|often|do you)\b[^.?!\n]*|where\b[^.?!\n]*|who\b[^.?!\n]*|why\b[^.?!\n]*)\W*\Z"
)


def _is_asked_whether(before: str, after: str) -> bool:
    """Whether a question about the instructions ("is your system prompt long?") ends the text: nothing is demanded."""
    asked, mark, rest = after.partition("?")
    return (
        bool(mark)
        and not rest.strip()
        and _SENTENCE_END.search(asked) is None
        and _WHETHER.match(_sentence(before)) is not None
        and _DEMANDED.search(asked) is None
    )


def extraction(value: str, before: str, after: str) -> bool:
    """A demand for the instructions in force, not a question about what such instructions are."""
    if _CONCEPT.search(value) or _BARE_PLURAL.match(value) or _OTHER_PROMPT.match(after):
        return False
    if _TEXT_ALONE.match(value) and not _DEMANDED.search(before):
        return False
    if value.lower().startswith("your") and (_HOW_SHOULD.search(before) or _is_asked_whether(before, after)):
        return False
    return addressed(value, before, after)


_DEVICE = re.compile(
    r"(?i)\s+(?:on|in|for|by default)\b(?: (?:my|the|this|your|an?|our|his|her|windows|android|ios|chrome"
    r"|firefox|\w+os)\b|\s*\Z|[^a-z])"
)
_SUCH = re.compile(r"(?i)\b(?:such|known|like|called)\s*\Z")


_WORD = re.compile(r"[a-z0-9]+")
_DEVICES = vocabulary(
    "iphone iphones ipad ipads ios phone phones smartphone smartphones kindle kindles android nintendo playstation ps3"
    " ps4 ps5 xbox firestick console consoles cydia tweak tweaks device devices router routers apple samsung usb adb"
    " chromebook chromebooks cable cables firmware bootloader"
)
_MODELS = vocabulary(
    "ai gpt chatgpt llm llms model models bot bots chatbot chatbots assistant assistants prompt prompts dan yourself"
)


def _is_about_device(before: str, after: str) -> bool:
    """Whether the sentence names a device that people unlock, and no model."""
    sentence = _sentence(before) + "|" + _SENTENCE_END.split(after, maxsplit=1)[0]
    words = frozenset(_WORD.findall(sentence.lower()))
    return not words.isdisjoint(_DEVICES) and words.isdisjoint(_MODELS)


def persona(value: str, before: str, after: str) -> bool:
    """A jailbreak persona or mode that is called up: not the developer mode of a device, not a persona spoken of."""
    mode = re.search(r"(?i)\b(?:developer|debug|admin|sudo) mode(?P<on> on)?\Z", value)
    if mode is not None and _DEVICE.match(place := (mode["on"] or "") + after):
        return _ABOUT_MODELS.search(place[:40]) is not None
    if "mode" in value.lower() and _is_about_device(before, after):
        return False
    return not (_SUCH.search(before) or _is_about_words(value, before, after))


def not_mentioned(value: str, before: str, after: str) -> bool:
    """Words that are used: no question or explanation is about them."""
    return not _is_about_words(value, before, after)


_STUDY = re.compile(
    r"(?i)^\W*(?:(?:so|and|but|please|also|can you|could you)\W+)*(?:what (?:is|are|was|were|does|do|makes?)|why"
    r"|explain|describe|define|discuss|compare|(?:the )?(?:history|difference|effect)s? (?:of|between)"
    r"|how (?:to|do|does|can|could|should)\b.*\b(?:work|detect|prevent|defend|protect|mitigate|resist|avoid|stop)\w*)\b"
)


_DECLINED = re.compile(
    r"(?i) (?:an?|the|some|my|your|his|her|their) "
    r"((?!(?:commands?|humans?|demands?|wish|wishes|masters?|inputs?|single|user'?s?)\b)(?:[\w'-]+[ ,]?){1,4})"
)
"""What one may refuse: "a slice of cake" is nothing a model is asked."""


def dictated(value: str, before: str, after: str) -> bool:
    """Words that shall open an answer: not a choice between two ("begin each message with yes or no")."""
    return re.match(r"(?i)start|begin", value) is None or re.match(r"(?i)['\"]?,? or \W?\w+", after) is None


def not_studied(value: str, before: str, after: str) -> bool:
    """A word such as "jailbreak" where nobody asks what it is, how to defend against it, or does it to a telephone."""
    sentence = _sentence(before)
    declined = _DECLINED.match(after) if value.lower().endswith(("refuse", "decline")) else None
    if declined is not None and _ABOUT_MODELS.search(declined[1]) is None:
        return False
    return not (_STUDY.match(sentence) or _is_about_device(before, after) or _is_about_words(value, before, after))


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
