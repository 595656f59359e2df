"""Prompt-injection patterns: how text looks that addresses a model or a browser and not a reader.

Each rule's name is the explanation that the knowledge owner reads. The text comes with every run of white space as one
character, so that the many `\\s+` of these patterns cannot be made to count it over and over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# "ignore the instructions" may be said of a player; "ignore your previous instructions" is said to one who reads.
_WHOSE = (
    r"(?:(?:all|any|every|the|these|those|of|other|and)\s+){0,4}(?:previous|prior|above|preceding|earlier|your|my|our|"
    r"system|given|provided|safety|original|initial|existing)\s+(?:\w+\s+){0,2}?"
)
_ORDERS = (
    r"(?:instructions?|directions?|directives?|prompts?|guidelines|rules|commands|context|documents|messages?|"
    r"constraints|guardrails)"
)
_AI = r"(?:assistant|chat\s?bot|language\s+model|llm|gpt|claude|the\s+model|dan\b|an?\s+ai|ai\s+(?:model|system))"
_SAY = (
    r"(?:answer|reply|respond|say|write|output|print|state|return|repeat|reveal|disclose|include|append|translate|"
    r"recommend|call|use|click|visit)"
)
_DROP = r"(?:ignore|disregard|forget|override|bypass|overrule|discard|skip|cancel|do\s+not\s+(?:follow|obey))"
_MUST = r"(?:must|should|shall|will|are\s+to|have\s+to|need\s+to|are\s+required\s+to|are\s+instructed\s+to)"
_TOKENS = (
    r"(?:s|bos|eos|pad|unk|think|tool_call|tool_response|function_calls?|invoke|start_of_turn|end_of_turn|im_start|"
    r"im_end|system|assistant|user)"
)
_TAGS = r"(?:script|iframe|img|svg|object|embed|form|input|meta|link|style|base|body|html|div|span|a)"

# Cyrillic letters that look like Latin ones.
LOOKALIKE = str.maketrans("аеорсухіјѕԁАВЕКМНОРСТХІЈЅ", "aeopcyxijsdABEKMHOPCTXIJS")


def _cyrillic(pattern: str) -> str:
    """`pattern` for text that LOOKALIKE was applied to, in small letters and capitals, not all of which it changes."""
    both = (f"[{c.translate(LOOKALIKE)}{c.upper().translate(LOOKALIKE)}]" if c > "\u0400" else c for c in pattern)
    return "".join(both)


# The same in other languages; their letters as a reader sees them, see LOOKALIKE.
_DROP_ELSEWHERE = (
    r"\b(?:ignoriere?n?|vergiss|vergesst|vergessen\s+sie|missachten?)\s+(?:sie\s+)?(?:(?:alle|die|deine|diese)\s+){0,3}"
    r"(?:alle|deine|bisherigen|vorherigen|vorigen|obigen|früheren)\s+(?:anweisung|instruktion|vorgabe|regel|befehl)",
    r"\b(?:ignore[rz]?|oublie[rz]?)\s+(?:toutes|tous|tes|vos)\s+(?:les\s+|tes\s+|vos\s+)?(?:instructions|consignes|règles)",
    r"\b(?:ignor[ae]r?|olvida|olvide|esqueça|esquece|ignori|dimentica)\s+(?:todas|todos|tus|sus|suas|tutte)\s+"
    r"(?:(?:las|los|tus|sus|as|os|suas|le|anteriores|precedenti)\s+){0,3}"
    r"(?:instrucciones|instruções|istruzioni|reglas|regras|regole)",
    _cyrillic(r"\b(?:игнорируй(?:те)?|забудь(?:те)?)\s+(?:\w{1,20}\s+){0,3}?(?:инструкци|указани|команд)"),
    r"(?<![不别])(?:忽略|无视|無視|忘记|忘掉|不要理会)[^。！？\n]{0,6}(?:之前|以上|上述|前面|先前|所有|系统|你的)[^。！？\n]{0,6}"
    r"(?:指令|指示|提示|规则|規則)",
    r"(?:以前|前|上記|これまで|すべて|全て)の?[^。！？\n]{0,6}(?:指示|命令|プロンプト|ルール)[^。！？\n]{0,8}(?:無視し[てろ]|無視せよ|忘れ[てろ])",
    r"(?:이전|모든|위의?)\s*(?:지시|명령|지침)\S{0,4}\s*(?:모두\s*)?(?:무시|잊)",
    r"(?:تجاهل|انس)\s+(?:\w{1,20}\s+){0,3}?(?:التعليمات|الأوامر|الإرشادات)",
    r"(?:निर्देश|आदेश)\S{0,6}\s+(?:\S{1,12}\s+){0,3}?अनदेख",
)

LINK = "carries markup or a link that loads or sends something"
_RULES: dict[str, tuple[str, ...]] = {
    "asks to drop earlier instructions": (
        rf"\b{_DROP}\s+{_WHOSE}{_ORDERS}\b",
        rf"\b{_DROP}\s+(?:all|any|every|these|those)\s+(?:of\s+)?(?:the\s+|other\s+)*(?:instructions?|prompts?)\b",
        r"\b(?:ignore|disregard|forget)\s+(?:everything|anything|all|what)\s+(?:that\s+)?"
        r"(?:(?:was|is|were|has\s+been|you\s+were|you\s+have\s+been)\s+)?"
        r"(?:above|before|previously|said|told|written|you|so\s+far|stated)\b",
        r"\b(?:new|updated|real|actual|following|hidden|secret)\s+(?:system\s+)?(?:instructions?|prompt|directive)\s*:",
        r"\b(?:system|developer|hidden|initial)\s+prompt\b",
        rf"\b(?:instead\s+of|rather\s+than)\s+(?:answering|following|using)\s+(?:the|your|these|any)\s+(?:question|{_ORDERS})",
        *_DROP_ELSEWHERE,
    ),
    "tells a model what to answer": (
        rf"\byou\s+{_MUST}\s+(?:(?:now|always|only|never|not|first|immediately)\s+)*{_SAY}\b",
        r"(?:^|[.!?:;]\s+|\b(?:please|always|instead,?|now|only|simply|just)\s+)(?:answer|reply|respond)\s+"
        r"(?:(?:only|always|instead|simply|just|exactly)\s+)*"
        r"(?:with|in|as|by|that|to\s+(?:the|this|every|all|any)|[\"'“:])",
        r"\bthe\s+(?:only\s+)?(?:correct|right|final|true|expected)\s+answer\s+"
        r"(?:to\s+(?:this|the|every|any|all)\s+[\w\s]{0,30})?(?:is|must\s+be)\b",
        r"\b(?:answer|reply|respond)\s+(?:to\s+)?(?:this|every|all|any|the)\s+(?:questions?|users?|quer(?:y|ies))\s+"
        r"(?:with|by|as)\b",
        r"\bwhen(?:ever)?\s+(?:(?:you\s+are|anyone|the\s+user|a\s+user|someone|users)\s+)?(?:asked|asks?)\b"
        rf"[^.]{{0,60}}?,?\s*(?:(?:you|always|please)\s+)*{_SAY}\b",
        r"\b(?:do\s+not|don[’']t|never)\s+(?:mention|reveal|disclose|tell|cite|use)\s+(?:to\s+)?"
        r"(?:(?:the|any|this|these|your)\s+)*(?:users?|documents?|instructions?|prompt|sources?)\b",
    ),
    "gives a model a role": (
        rf"\byou\s+are\s+(?:(?:now|no\s+longer|actually|really)\s+)*(?:(?:an?|the|my)\s+)?(?:\w+\s+){{0,2}}{_AI}",
        r"\byou\s+are\s+(?:now|no\s+longer)\s+(?:in\s+)?(?:an?\s+|the\s+)?\w+",
        r"\b(?:pretend|act|behave|role-?play)\s+(?:that\s+you|as\s+(?:if|though)\s+you|like\s+you)\b",
        rf"\b(?:pretend|act|behave|role-?play)\s+(?:as|to\s+be)\s+(?:an?\s+)?(?:\w+\s+){{0,2}}{_AI}",
        rf"\b(?:dear|attention|hey|hello|note\s+to|message\s+(?:to|for)|instructions?\s+(?:to|for))[,:]?\s+"
        rf"(?:(?:the|any|all)\s+)?(?:ai\b|{_AI})",
        r"\b(?:enter|enable|activate|switch\s+to)\s+(?:the\s+)?"
        r"(?:developer|debug|admin|god|jailbreak|maintenance|dan|unrestricted)\s+mode\b",
    ),
    "marks a turn of a dialogue": (
        r"(?:^|[\n.!?\]\)>]\s*)(?:\#{1,4}\s*)?(?:system|assistant|user|human|ai|instruction|response)\s*:\s",
        r"(?:^|\n)\s*\#{2,4}\s*(?:system|assistant|user|human|instruction|response|input)s?\b",
        r"\b[\"']?role[\"']?\s*[:=]\s*[\"'](?:system|assistant|user|tool|developer)[\"']",
        r"\bquestion:\s.{0,200}?\b(?:short\s+)?answer:\s",
        r"\bdoc\s*\d+\s*\(\s*title\s*:",
    ),
    "holds a chat template's token": (
        r"<\s*[|｜][^<>\n]{1,40}?[|｜]\s*>",
        r"\[/?\s*(?:inst|sys|system_prompt|available_tools|tool_calls|tool_results|img)\s*\]",
        r"<<\s*/?\s*sys\s*>>",
        rf"<\s*/?\s*{_TOKENS}\s*>",
    ),
    "calls a tool": (
        r"\{\s*[\"'](?:name|function|tool|tool_calls|arguments|action)[\"']\s*:\s*[\"'\[{]",
        r"\b(?:call|invoke|run|execute|use)\s+the\s+[\w.]{1,40}\s+(?:tool|function|plugin|api|command)\s+(?:with|and|to)\b",
        r"(?:^|\n)\s*(?:action|tool|function)(?:\s+input)?\s*:\s*\S",
        r"\b(?:rm\s+-rf|curl\s+-|wget\s+http|sudo\s+\w+|powershell\s+-|eval\(|exec\(|os\.system|subprocess\.)",
    ),
    LINK: (
        rf"<\s*/?\s*{_TAGS}\b[^>]{{0,400}}>?",
        r"\b(?:javascript|data|vbscript)\s*:\s*(?:text/|image/|application/|[\w.]+\()",
        r"\bon(?:error|load|click|mouseover)\s*=",
        r"!?\[[^\]\n]{0,200}\]\(\s*(?:https?:|//|data:|javascript:)[^)\s]*",
        r"https?://[^\s/]*@",
        r"\b(?:visit|click|go\s+to|log\s?in\s+at|sign\s+in\s+at|download|fetch|open|send\b[^.]{0,60}\bto)\s+"
        r"(?:(?:the\s+link|it\s+at|from|here:?)\s+)?(?:https?://|www\.)",
    ),
    "holds a long encoded block": (
        r"(?<![\w/+.:-])(?=[\w/+-]*\d)(?-i:(?=[\w/+-]*[A-Z])(?=[\w/+-]*[a-z]))[A-Za-z0-9+/_-]{48,}={0,2}(?![\w/+-])",
        r"(?:\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|%[0-9a-f]{2}){6,}",
    ),
}
_WORD, _URL, _FIELD, _BLANK = (re.compile(p, re.IGNORECASE) for p in (r"\S+", r"https?://", r"[?&=]", r"\{|%7b|\$"))
RULES = tuple((name, re.compile("|".join(parts), re.IGNORECASE)) for name, parts in _RULES.items())

# Stray joiners, byte order marks and direction marks stand in any text from the web, so they are only taken out. What
# hides something: characters of no width inside a word or in a row, overrides of direction, tags, control characters.
_NO_WIDTH = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
_CONTROL = r"\U000e0000-\U000e007f\x00-\x08\x0e-\x1f\x7f"
INVISIBLE = re.compile(rf"[{_NO_WIDTH}{_CONTROL}]")
HIDING = re.compile(
    rf"[{_NO_WIDTH}]{{3,}}|(?<=[A-Za-z])[\u200b\u2060-\u2064\ufeff]+(?=[A-Za-z])|[\u202d\u202e{_CONTROL}]+"
)


def filled_links(text: str) -> Iterator[tuple[int, int]]:
    """Where a link has a blank to fill in, `https://x.example/?q={question}`; one pattern for it would be cubic."""
    for word in _WORD.finditer(text):
        url = _URL.search(text, word.start(), word.end())
        field = _FIELD.search(text, url.end(), word.end()) if url else None
        blank = _BLANK.search(text, field.end(), word.end()) if field else None
        if url and blank:
            yield url.start(), blank.end()
