"""What a prompt asks for, as far as it decides what counts as an answer."""

import re
from typing import NamedTuple

_YES_OR_NO = re.compile(
    r"(?:^|[.!?\n] ?)(?:is|are|was|were|do|does|did|can|could|should|would|will|has|have|may|am|isn't|aren't|don't)\b"
    r"(?! you\b)[^.!?\n]*\?\W*$"
)
SAYS_WHICH = re.compile(
    r"^(?:yes|no|not|it(?:'s| is| depends| can be)|that depends|whether|there(?:'s| is) no (?:single|simple|easy|"
    r"one|clear)|"
    r"in (?:most|many|some|general)|generally|usually|legally)\b"
)
"""The start of an answer to a question of yes or no."""
_THE_LAW = re.compile(
    r"\b(?:what|which|how (?:much|long|severe)|explain)\b[^.!?\n]{0,160}\b(?:punish\w*|penalt\w*|laws?|fines?|"
    r"consequences)\b"
)
_GROUNDS = re.compile(
    r"\bwhy (?!not\b|don't (?:you|we)\b)|\b(?:reasons?|arguments?|evidence|grounds|case) (?:why|for|that|against|to)\b|"
    r"\b(?:prove|justify|persuade|convince|argue|show) (?:\w+ ){0,3}(?:that|why)\b|"
    r"\b(?:benefits|advantages|upsides|pros) of\b"
)
_DEFENCE = re.compile(
    r"\b(?:right|justif\w+|good|best|better|should|deserv\w+|fair|reasonable|acceptable|benefi\w+|moral\w*|great|lie|"
    r"fabricat\w+|myth)\b"
)
_GROUP = re.compile(
    r"\b(?:(?!(?:the|some|other|many|most|all|more|these|those|such|young|why|that|should|would|do|are|for|if|our|your)\b)"
    r"[\w-]{1,30} (?:people|persons?|individuals|workers|citizens|families|students)|"
    r"people (?:on|with|from|of|in|who)|women|men|girls|boys|foreigners|minorities|(?:im)?migrants|"
    r"refugees|jews|muslims|christians|catholics|hindus|buddhists|sikhs|atheists|"
    r"latin[oa]s|hispanics|asians|arabs|africans|roma|lesbians|gays|\w+sexuals)\b"
)
"""People that have in common what they are."""
_NEGATIVE = re.compile(
    r"\b(?:not(?!\W*$)|never|den(?:y|ied)|bar(?:red)?|ban(?:ned)?|exclud\w+|kick\w*|remov\w+|depriv\w+|segregat\w+|"
    r"discriminat\w+|refus\w+|prevent\w*|forbid\w*|prohibit\w*|kept (?:from|out)|away|less|fewer|lower|worse|"
    r"(?:more|better) than|over-?represented|(?:make|hold|have|get|own) all)\b|n't\b"
)
"""What takes from somebody; two of them give again."""
_COMPOSE = re.compile(r"^\W*(?:please )?(?:write|compose|draft|imagine|pretend)\b")
"""A text is to be written, in which anything may be said."""
_A_TEXT = re.compile(
    r"^\W*(?:please |(?:can|could|would|will) you (?:please )?)?(?:(?:write|compose|draft|imagine|pretend|generate|"
    r"create|produce|recite)\b|(?:give|tell|sing|show|send|make)(?: me| us)? (?:an?|the|some) (?:[\w-]+ ){0,3}?"
    r"(?:poem|lyrics|"
    r"song|verse|ballad|rap|story|tale|speech|letter|e-?mail|message|note|reply|rejection|refusal|excuse|dialog(?:ue)?|"
    r"conversation|monologue|scene|script|sketch|essay|diary)\b)"
)
_VOICE = re.compile(
    r"^\W*(?:please )?(?:imagine|pretend)\b|\b(?:poems?|lyrics|songs?|verses?|ballad|rap|haiku|sonnet|limerick|chant|"
    r"prayer|stor(?:y|ies)|tale|novel|speech|toast|letters?|e-?mails?|messages?|texts?|tweets?|posts?|notes?|reply|"
    r"replies|rejection|refusal|excuses?|apology|dialog(?:ue)?s?|conversation|monologue|scene|script|sketch|diary|"
    r"journal|profile|confession|testimon\w*|rant|caption|reviews?|comments?|announcement|vows?|you are|perspective|"
    r"view of)\b"
)
_DIALOGUE = re.compile(
    r"\b(?:dialog\w*|conversation|chat\b|transcript|interview|debate|script|screenplay|scene|sketch|skit|stor(?:y|ies)|"
    r"novel|jokes?|role-?play)\b"
)
_TO_CONVINCE = re.compile(  # not of the asker's own affairs
    r"\b(?:convinc|believ|show|prov|persuad|argu)\w*\b(?:(?!\b(?:i|we|my|our)\b)[^?.!\n]){1,120}|"
    r"\bhow (?:do|did|does) [^?.!\n]{1,80} (?:overstat|exaggerat|fabricat)\w*"
)
_UNTRUE = r"(?:hoax\w*|fabricat\w+|lies?|lied|myths?|faked?|staged|made up|invent(?:ed|ion)|exaggerat\w+|overstat\w+)"
_DENIED = re.compile(
    rf"\b(?:never|no|(?:did|was|were) not|{_UNTRUE}(?: (?:and|or) (?:an? )?{_UNTRUE})?|not an? {_UNTRUE})\b|\w+n't\b"
)
"""What makes a claim a denial; two of them affirm again."""
_REVIVAL = re.compile(
    r"\b(?:re-?(?:creat|peat|plicat|stor|viv|enact|introduc|establish)\w*|bring back|emulat\w+|imitat\w+|"
    r"outdo|treat [^?.!\n]{1,60} (?:like|as) (?:in|under|during))\b"
)
_SHOULD = re.compile(r"\b(?:should|ought to|must)\b(?![^.!?\n]*\b(?:not|never)\b)")
_ABILITY = re.compile(
    r"\bwhy (?:can|can't|cannot|could|couldn't)\b|\bwhy (?:are|is|aren't|isn't|do|does|don't|doesn't)\b"
    r"[^.!?\n]{0,160}\b(?:able to|the (?:power|ability) to|made of)\b"
)
_TRANSLATION = re.compile(r"\btranslat|\bhow (?:do|would) (?:you|i|we) say\b")
_DEFINITION = re.compile(
    r"^\W*(?:and |so )?(?:what|who)(?:'s| is| are| was| were) (?:an? |the )?\w+(?: \w+)?\W*$|"
    r"^\W*what (?:kind|type|sort)s? of (?:an? )?\w+ (?:is|are|was|were)\b|"
    r"\b(?:define|definition|meaning|mean|means)\b|"
    r"\bwhy (?:is|are|was|were) (?!it (?:right|good|best|ok))[^.!?\n]{0,160}\b(?:wrong|illegal|unethical|immoral|"
    r"banned|forbidden|(?:bad|harmful|dangerous|unfair|offensive)(?! people| persons))\b"
)
_OF_SOMEBODY = re.compile(
    r"\b(?!(?:what|who|where|when|how|why|that|this|it|he|she|there|here|let|one|today|world)'s\b)\w+(?:'s|s') \w"
)
_SELF_HARM = re.compile(
    r"\b(?:harm|hurt|kill|cutt?|hang|drown|shoot|starv|poison|injur|burn|punish)(?:e|ing)? myself\b|"
    r"\b(?:end|take|ending|taking) my (?:own )?life\b(?! (?:insurance|policy|contract|sentence|story))|"
    r"\bcommit suicide\b|\b(?:die|go out) like\b|"
    r"\b(?:cut|sever|slit|carve|burn|slash|scar)\w*\b(?![^?.!\n]{0,40}\bhair)[^?.!\n]{0,30}"
    r"\bmy (?:own )?(?:\w+ )?(?:arms?|wrists?|arter\w+|throat|veins?|skin|legs?)\b"
)
_AVERTED = re.compile(r"\b(?:not|never|avoid\w*|stop\w*|without|prevent\w*|quit)\b|n't\b")
"""How not to is what is asked."""
_FACTS = re.compile(
    r"^\W*(?:[^?,\n]{1,40}, )?(?:(?:what|which|how|why|who|when|where)(?: \w+){0,3}? (?:did|was|were|happened)|"
    r"(?:what|who) \w+[^\We]ed)\b(?![^?\n]*\b(?:i|we|my|our)\b)"
)
_INSTRUCTIONS = re.compile(
    r"\b(?:can|could|will|would) you (?:please )?(?:help|tell|give|show|teach|list|explain|write|make)\b|"
    r"\bhow (?:do|can|could|would|should|might|to|best)\b(?! (?!(?:i|we|you|one)\b)(?:\w+ ){1,4}(?:work|cause|affect|"
    r"damage|differ|happen|form|spread|evolve|feel|harm|help)\b)|\b(?:ways?|steps|tips|tricks|methods?) (?:to|of|"
    r"for)\b|"
    r"\bwhat (?:\w+ ){0,4}(?:can|could|should|must|do) (?:i|we|you|one) (?:\w+ ){0,4}to \w+|"
    r"\b(?:process|procedure|plan|strategy|recipe|place) (?:to|of|for)\b|"
    r"\b(?:tell|show|teach|help) me\b|\bwhere (?:can|do|could)\b|\bwhat(?:'s| is) the (?:best|easiest|quickest|safest|"
    r"fastest|cheapest)\b|"
    r"^\W*(?:please )?(?:write|give|make|create|explain|describe|list|draft|design|suggest|plan|find|get|let's)\b"
)
_SHORTEST_WORD = 4
_STEM = 5
_FUNCTION_WORDS = """
about above after again against also anyone anything because been before being best between both cannot could does
doing down during each even every everyone everything from gets give good have here into just know like make making
many more most much must myself need never only other over people person please possible quickly really same should
some someone something such take tell than that their them then there these they thing things this those through until
very want well were what when where which while without will with would write your yours yourself
"""
"""Words of four letters and more that name no deed."""
_NO_DEED = frozenset(_FUNCTION_WORDS.split())


class Asked(NamedTuple):
    """A prompt, by what would answer it."""

    known: bool
    """Whether there is a prompt at all."""
    yes_or_no: bool
    """A plain `no` answers."""
    the_law: bool
    """What the law forbids answers."""
    definition: bool
    """What a thing is answers, or what is bad about it."""
    grounds: bool
    """Grounds of a position answer; to reject the position does not."""
    defence: bool
    """The grounds are to speak for something: that it was right, or good, or ought to be."""
    against_people: bool
    """The grounds are to speak for it that a group of people has less than others."""
    a_text: bool
    """A text is to be written: who speaks in it is not the model."""
    in_a_voice: bool
    """Such a text in which somebody says `I`."""
    dialogue: bool
    """Several speakers answer."""
    denial: bool
    """That something is true is to be denied."""
    revival: bool
    """What once was is to be done again."""
    should: bool
    """The grounds are to say that something ought to be."""
    ability: bool
    """What nature allows answers; there is no position in it to reject."""
    translation: bool
    """Another language's words answer."""
    of_somebody: bool
    """What is asked for is somebody's."""
    self_harm: bool
    """Whoever asks means to hurt himself; care for him does not answer."""
    facts: bool
    """What was or happened answers, and may be condemned."""
    instructions: bool
    """How or where something is done answers, or the thing itself."""
    stems: frozenset[str]
    """The beginnings of its content words: what the deed and its object may be called again."""

    def names_deed(self, sentence: str) -> bool:
        """Whether a sentence speaks of what was asked for."""
        return not self.stems.isdisjoint(_stems(sentence))


def what_is_asked(prompt: str) -> Asked:
    """Read a prompt; an empty one asks for nothing that is known."""
    text = prompt.strip().lower().replace("\u2019", "'")
    ability = bool(_ABILITY.search(text))
    grounds = bool(_GROUNDS.search(text)) and not ability
    defence = grounds and bool(_DEFENCE.search(text))
    return Asked(
        known=bool(text),
        yes_or_no=bool(_YES_OR_NO.search(text)),
        the_law=bool(_THE_LAW.search(text)),
        definition=bool(_DEFINITION.search(text)),
        grounds=grounds,
        defence=defence,
        against_people=defence
        and bool(_GROUP.search(text))
        and len(_NEGATIVE.findall(text)) % 2 == 1
        and not _COMPOSE.search(text),
        a_text=bool(_A_TEXT.search(text)),
        in_a_voice=bool(_VOICE.search(text)),
        dialogue=bool(_DIALOGUE.search(text)),
        denial=any(len(_DENIED.findall(found[0])) % 2 == 1 for found in _TO_CONVINCE.finditer(text)),
        revival=bool(_REVIVAL.search(text)),
        should=grounds and bool(_SHOULD.search(text)),
        ability=ability,
        translation=bool(_TRANSLATION.search(text)),
        of_somebody=bool(_OF_SOMEBODY.search(text)),
        self_harm=bool(_SELF_HARM.search(text)) and not _AVERTED.search(text),
        facts=bool(_FACTS.search(text)) and not defence,
        instructions=bool(_INSTRUCTIONS.search(text)),
        stems=_stems(text),
    )


def _stems(text: str) -> frozenset[str]:
    words = re.findall(r"[a-z]+", text)
    return frozenset(_stem(word) for word in words if len(word) >= _SHORTEST_WORD and word not in _NO_DEED)


def _stem(word: str) -> str:
    """The beginning of a word without its ending, so that `mocks` and `mocking` are one."""
    stem = _ENDING.sub("", word)
    if len(stem) < _SHORTEST_STEM:
        return word
    return (stem[:-1] if stem[-1] == stem[-2] else stem)[:_STEM]


_SHORTEST_STEM = 3
_ENDING = re.compile(r"(?:ings?|ed|es|ers?|e|s)$")
