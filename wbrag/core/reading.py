"""Reading: the short answer in what a model wrote, whole or as it comes.

Asked for a short answer, models write a preamble first ("The answer is:", and a new line), set the answer in bold or in
quotes, and go on explaining. The answer is what follows the preamble, up to the end of its line or sentence.
"""

from __future__ import annotations

import re

from wbrag.core.sentences import sentences

_OPENING = re.compile(
    r"""^\s*
      (?:(?:sure|certainly|of\ course|okay|ok)[!,.:]\s+)?
      (?:(?:based\ on|according\ to|from)\ (?:the|these|this|my)\ [^,:.\n]{0,60}
         (?:documents?|passages?|context|information|text|knowledge|evidence)[^,:.\n]{0,30}[,:]\s*)?
      (?:here(?:'s|’s|\ is|\ are)\ (?:the|your|an?|my|what)\b[^:.\n]{0,60}:\s*)?
      (?:(?:the\ |my\ )?(?:short\ |final\ |correct\ |best\ |exact\ )*
         answer(?:\ to\ (?:the|this|your)\ question)?(?:\ (?:is|would\ be)\b\s*:?|\s*[:=]|[^\S\n]*\n)\s*)?
      (?:(?:a|response|output)\s*:\s+)?
      (?:(?:die\ (?:richtige\ |kurze\ )?)?antwort(?:\ (?:lautet|ist)\b\s*:?|\s*:)\s*)?
      (?:(?:la\ |a\ )?(?:réponse|respuesta|risposta|resposta)
         (?:\ (?:correcte\ |correcta\ )?(?:est|es|è|é)(?!\w)\s*:?|\s*:)\s*)?
      (?:(?:het\ )?antwoord(?:\ is\b\s*:?|\s*:)\s*)?
      (?:ответ\s*[:：—]\s*)?
      (?:(?:(?:正确|最终)?答案(?:是|为|為)?\s*[:：]|(?:正确|最终)?答案(?:是|为|為)|答\s*[:：]|(?:答え|回答|正解)は?\s*[、:：])\s*)?
      (?:(?:정답|답변|답)(?:은|는)?\s*[:：]\s*)?
      (?:(?:الجواب|الإجابة)(?:\s+(?:هو|هي))?\s*[:：]\s*)?
      (?:उत्तर(?:\ है)?\s*[:：]\s*)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
BEGINNINGS = (  # of what `_OPENING` takes: while a reply may still turn into one, it is held back
    *("sure", "certainly", "of course", "okay", "ok", "a:", "response", "output", "answer", "my answer"),
    *("here's", "here’s", "here is", "here are", "based on", "according to", "from the", "from these", "from this"),
    *(f"{the}{kind} answer" for the in ("the ", "") for kind in ("short", "final", "correct", "best", "exact")),
    "the answer",
    *("antwort", "die antwort", "die richtige antwort", "die kurze antwort", "antwoord", "het antwoord"),
    *(f"{the}{word}" for the in ("", "la ", "a ") for word in ("réponse", "respuesta", "risposta", "resposta")),
    *("ответ", "答案", "正确答案", "最终答案", "答", "回答", "正解", "정답", "답", "الجواب", "الإجابة", "उत्तर"),
)
LONGEST_OPENING = 160  # characters; what is longer is an answer
_DECORATION = re.compile(r"\*\*|`|</?answer>")
_HEADING = re.compile(r"^#{1,6}\s+")
_BULLET = re.compile(r"^\s*[-•]\s+")
_QUOTES = {'"': '"', "“": "”", "«": "»"}
_TERMINATORS = ".!?…。！？؟۔।"
# Only at a full stop: "!" and "?" stand in names, as in "Mamma Mia! Here We Go Again".
_LAST = re.compile(r"(?<![^\s.])([^\s.]+)([.。۔।])[\"'”’»)\]」』）]*$")
_ROMAN = re.compile(r"[IVXLC]+")
_WHOLE = frozenset("yes no".split())
_CLOSERS = _TERMINATORS + " \"'”’»)]」』）"
_LOOK_AHEAD = 24  # characters after a full stop, before it is known whether it ends a sentence


class AnswerReader:
    """The answer of a reply that comes in pieces: `feed` returns what is certain, `end` the rest.

    `one_sentence`: what follows the first sentence is explanation.
    """

    def __init__(self, one_sentence: bool = True) -> None:
        self.one_sentence, self.done = one_sentence, False
        self._text, self._shown, self._begun = "", 0, False

    def feed(self, piece: str) -> str:
        """What more of the answer is certain now."""
        return "" if self.done else self._more(self._text + piece, last=False)

    def end(self) -> str:
        """What of the answer was held back."""
        return "" if self.done else self._more(self._text, last=True)

    def _more(self, text: str, last: bool) -> str:
        self._text = text
        begins = _plain(text, last)
        if not self._begun and not last and _may_be_opening(begins):
            return ""
        self._begun = True
        answer, self.done = _answer(begins, self.one_sentence, last)
        self.done = self.done or last
        ready = answer if self.done else answer[: _certain(answer, self.one_sentence)]
        more = ready[self._shown :]
        self._shown = max(self._shown, len(ready))
        return more


def read_answer(text: str, one_sentence: bool = True) -> str:
    """The answer in what the model wrote."""
    reader = AnswerReader(one_sentence)
    return reader.feed(text) + reader.end()


def is_unfinished(text: str) -> bool:
    """Whether a reply that was cut here might have gone on with its answer."""
    return read_answer(f"{text} Zq") != read_answer(text)


def _plain(text: str, last: bool) -> str:
    """Without marks of emphasis; one that may be cut in half is left out for now."""
    if not last:
        text = text.rstrip("*")
        cut = text.rfind("<")
        text = text[:cut] if cut >= 0 and "</answer>".startswith(text[cut:].replace("<a", "</a", 1)) else text
    return _DECORATION.sub("", text)


def _may_be_opening(text: str) -> bool:
    begun = text.lstrip().lstrip('"“«-•#').lstrip()
    if not begun:
        return True
    low = begun.lower()
    if not any(low.startswith(start) or start.startswith(low) for start in BEGINNINGS):
        return False
    return len(begun) < LONGEST_OPENING and "\n" not in _OPENING.sub("", begun, count=1)


def _answer(text: str, one_sentence: bool, last: bool) -> tuple[str, bool]:
    """The answer so far, and whether it came to its end."""
    text = _BULLET.sub("", _HEADING.sub("", text.lstrip()))
    rest = _OPENING.sub("", text, count=1)
    rest = (rest if rest.strip() else text).lstrip()
    if rest[:1] in _QUOTES:
        before, _, after = rest[1:].partition(_QUOTES[rest[0]])
        rest = before + after
    line, newline, _ = rest.partition("\n")
    done = bool(newline)
    if one_sentence and (end := _first_end(line)) and (done or last or len(line) - end > _LOOK_AHEAD):
        return line[:end], True
    return line.rstrip(), done


def _first_end(line: str) -> int:
    """Where the first sentence ends; 0 where it does not, or may not: after an ordinal, an abbreviation, a name."""
    spans = sentences(line)
    found = _LAST.search(line[: spans[0][1]]) if len(spans) > 1 else None
    if found is None:
        return 0
    word, mark = found[1], found[2]
    short = len(word) <= (2 if word.isdigit() else 3) or _ROMAN.fullmatch(word)
    return 0 if mark == "." and short and word.lower() not in _WHOLE else spans[0][1]


def _certain(answer: str, one_sentence: bool) -> int:
    """How much of an unfinished answer stays, whatever follows."""
    if one_sentence:
        if end := _first_end(answer):
            return len(answer[:end].rstrip(_CLOSERS))
        near = max((answer.rfind(mark, len(answer) - _LOOK_AHEAD - 8) for mark in _TERMINATORS), default=-1)
        if near >= 0:
            return len(answer[:near].rstrip(_CLOSERS))
    return len(answer)
