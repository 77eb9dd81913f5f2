"""Whether an English sentence asks, states, requests or orders something. Rules, not a parser.

Each function takes one sentence and returns "" when it is of that mood, else the reason in a few words. Nothing here
knows what the sentence should be about: `forms` asks that.
"""

from __future__ import annotations

import re

from cai_bootstrap.evals import english

_QUOTES = "\"'“”‘’«» \n"
_OPEN_END = frozenset("a an the and or but because my your his her their our its very".split())
"""A sentence whose last word is one of these broke off."""

_PREPOSITIONS = frozenset(
    """about above across after against along among around as at before behind below beneath beside between beyond by
    despite down during except for from if in inside into like near of off on once onto opposite out outside over past
    since than through till to toward towards under unless unlike until up upon when whenever while with within without
    because although though where wherever whether""".split()
)
"""Words that open a clause or a phrase before the main one."""
_CLOSED = _PREPOSITIONS | frozenset(
    """a an the i you he she it we they me him us them my your his its our their this that these those there here what
    which who whom whose why how and or but so yes no not all any both each either every few half many more most much
    neither nobody none nothing one only other others our several some somebody someone something such another enough
    everybody everyone everything anybody anyone anything almost nearly even often sometimes usually today tomorrow
    yesterday twice rather quite very too also maybe perhaps just""".split()
    + list(english.QUESTION_AUXILIARIES)
    + list(english.NUMBER_WORDS)
)
"""Words that are no bare verb whatever follows."""
_DETERMINERS = frozenset(
    """a an the my your his her its our their this these those each every all some any both no one two three four five
    six ten half enough another it them him me us yourself yourselves""".split()
)
"""What follows a verb as its object, or begins one, and never a noun that begins a sentence."""
_FINITE = frozenset(
    """is are was were has have had can could will would may might must should does do did isnt arent wasnt werent
    doesnt dont didnt cant wont boils freezes flows falls comes makes helps tastes runs goes needs keeps gives looks
    feels turns grows lives moves works means travels floats melts dries rises burns breaks contains covers dissolves
    rusts smells shows brings takes gets becomes lasts costs carries holds protects causes begins starts stays tells
    sounds plays eats drinks drives consists belongs depends happens weighs reaches changes""".split()
)
"""Verbs in forms that need a subject before them."""
_ADVERBS = frozenset(
    """please first firstly second secondly third next then now finally lastly always never carefully slowly gently quickly
    kindly just simply also only afterwards again once quietly politely lightly well softly evenly regularly everyone
    children kids students""".split()
)
"""What may stand before the verb of an order."""

ORDERS = frozenset(
    """accept add admit adjust aim air allow answer apologise apologize apply arrange arrive ask attach avoid bake bandage be
    beat begin bend blend blow boil bookmark borrow bow break breathe bring brush build burn bury button buy calculate call calm
    capture care carry carve catch celebrate change charge chase check cheer chew choose chop clap clean clear climb close
    collect colour color comb combine come compare complete compose connect consider continue cook cool copy count cover
    crack crawl create cross crouch crush cut cycle dance decide decorate defend deliver describe design dig dip discover discuss
    dissolve divide do donate drain draw dream dress drink drive drizzle drop dry dunk dust eat empty enjoy enter erase examine
    exercise explain explore express face fasten feed feel fetch fill find finish fish fix flip float flour flush focus fold follow forgive
    freeze fry garnish gather get give glue go grab grate grease greet grill grow guard guess guide hand handle hang harvest heat
    help hide hit hold hop hug hurry identify imagine inform insert invite iron join jump keep kick knead kneel knit knock label
    land lay lead lean learn leave lend let lift light line list listen load lock look loosen lower make march mark mash massage measure
    meet melt mend milk mind mix moisten mop move mow name note notice obey observe offer oil open order organise organize pack paint
    park pass paste pat pause pay peel pet pick pin place plan plant play plough plug point polish pour practise practice praise
    prepare press prick protect prune pull pump put raise rake read recycle reduce relax remember remind remove repair repeat
    replace reply report rescue respect rest return reuse ride ring rinse roast roll row rub run sail salt save say scatter
    scoop score scrape scrub seal search season see select send separate serve set sew shake share sharpen shop show shuffle shut sift sign
    simmer sing sit sketch skip sleep slice slide slow smell smile soak sow spell spend spin spoon spray spread sprinkle squeeze stack stamp
    stand start state stay steam steer step stick stir stop store straighten strain stretch study suggest support sweep swim swing switch take
    talk tap taste teach tear tell thank think throw tidy tie tighten toast touch trace train translate trim trust try tuck
    turn twist unlock unpack unplug untie use vacuum visit wait wake walk warm warn wash watch water wave wear weed weigh whisk
    whisper wind wipe wish wrap write zip""".split()
)
"""Verbs that orders begin with."""
_NOUNS_TOO = frozenset(
    """air answer bake button call care cheer chop clean clear close climb colour color cook cool copy cover cut cycle dance dream dress
    drink drive drop dry dust empty exercise face feed fish flour focus fold freeze glue grease guard guess guide hand harvest heat
    help hug iron knit label land lead light line list lock look march mark massage measure milk mind mix move name note offer
    oil open order pack paint park paste pay pet pin place plan plant play plough plug point polish practice praise press pump
    read report rescue respect rest return ride ring roast roll row run sail salt score search season set shake share shop show sign
    sleep slice slide slow smell smile spell spin spoon spray stamp stand start state steam step stick stop store study support swim
    swing switch talk tap taste tear tie toast touch trace train trust turn twist vacuum visit wait walk warm wash watch water wave weed
    wind wish wrap zip""".split()
)
"""Those of `ORDERS` that may also be the noun or adjective with which a statement begins («Water is wet»)."""
_MORE_VERBS = frozenset(
    """absorb attract blink breed bury cause communicate compete consist create crawl depend destroy develop digest dissolve divide
    double erupt evaporate expand explode feature fear flood flower graze hatch hibernate hum hunt inhabit invent
    last lay link locate lose measure migrate mine mirror nest orbit pollinate power predict press process produce react
    recycle reflect repair replace reproduce rise roam rotate rust shed shrink sink soften spoil sprout store strike supply
    survive sustain sting swallow tell thrive transport trap vary vibrate weigh wither
    stung wound spun shrank shrunk sank sunk struck strove bred laid lit fed led bled sped lent bent hung
    dug dealt felt knelt leapt meant swore tore woven bitten eaten given known shown seen born""".split()
)

_VERBS = _MORE_VERBS | (ORDERS - _NOUNS_TOO)

_ASKERS = english.QUESTION_WORDS | english.QUESTION_AUXILIARIES
_CLAUSE_END = re.compile(r"[,;:]\s+|\s+[–—-]\s+")
_GREETS = re.compile(
    r"^(?:hello|hi|hey|dear|excuse me|sorry|pardon(?: me)?|good (?:morning|day|afternoon|evening)|oh|well|so|okay|ok|mum|mom|dad)\b"
)

_WHOM = r"(?:you|i|we|someone|somebody|anyone|anybody|everyone|everybody|one of you|all of you|the \w+|mr \w+|mrs \w+)"
_ASKS_TO_DO = re.compile(
    rf"\b(?:could|would|can|will|may|might|wont|cant|couldnt) {_WHOM} (?:(?:please|kindly|possibly|perhaps|maybe|all|just) )*\w+"
)
_ASKS_A_FAVOUR = re.compile(
    r"\b(?:would|do) you (?:please )?mind\b|\bwould it be (?:possible|okay|ok|all right|alright)\b"
    r"|\bis it (?:possible|okay|ok|all right|alright) (?:if|to|for|that)\b|\bis there any (?:chance|way)\b|\bany chance\b"
    r"|\bdo you think (?:that )?(?:you|i|we) (?:could|can|might)\b|\bdo you have .* (?:i|we) (?:can|could|may|might)\b"
    r"|\b(?:i would|id|we would|wed) (?:really |very much |also )?(?:like|love|appreciate|be (?:\w+ )?(?:grateful|glad|happy|thankful|pleased))\b"
    r"|\b(?:i|we) (?:was |am |were |are )?wonder(?:ed|ing)? (?:if|whether)\b|\bim wondering (?:if|whether)\b"
    r"|\b(?:may|might|can|could) i (?:please )?(?:ask|have|get|borrow|use)\b|\bi (?:beg|ask|urge|request|invite) (?:of )?you\b"
    r"|\bi (?:need|want) you(?:r help)?\b.*\bplease\b|\b(?:i|we) (?:need|could use) your help\b|\bit would be (?:\w+ )?(?:nice|great|kind|lovely|helpful|good) (?:if|of) you\b"
)
_ABILITY = re.compile(r"\b(?:can|will|cant|wont) you (?:[a-z]+ ?){1,2}$")
"""«Can you swim?» asks whether, not that; one of `_FAVOURS` after it asks that."""
_FAVOURS = re.compile(
    r"\byou (?:help|come|stop|wait|hurry|listen|stay|drive|move|leave|repeat|explain|slow|speak up|join|call)\b"
    r"|\b(?:me|us|my|our|the|a|it|him|her|them|this|that)\b"
)
_TELLS = re.compile(
    r"^(?:he|she|they|it|people|(?:the|a|my|your|his|her) (?:\w+ )?\w+) (?:\w+ )?(?:said|asked|says|asks|told|tells|wants|wanted|is|are|was|were)\b"
)
_NO_REQUEST = frozenset("yes no oh thanks thank ok okay sure nothing".split())


def asks(sentence: str) -> str:
    """Whether a sentence is one question, in a question's form."""
    text = sentence.strip(_QUOTES)
    if not text.endswith("?") or text.count("?") != 1:
        return "not one question"
    tokens = _main_clause(text)
    if not tokens or not _opens_like_a_question(tokens):
        return "not in the form of a question"
    if len(tokens) < 2 or len(english.plain(text).split()) < 3:
        return "says nothing of its own"
    if tokens[-1] in _OPEN_END or (tokens[-1] in _ASKERS and tokens[-1] not in ("do", "have", "can", "will", "is", "are")):
        return "breaks off"
    if (
        tokens[0] in english.QUESTION_AUXILIARIES
        or has_verb(" ".join(tokens))
        or tokens[0] in ("whats", "wheres", "whos", "hows")
    ):
        return ""
    return "asks nothing" if len(tokens) < 4 or tokens[1] in ("about", "the", "a", "an") else ""


def question_opening(sentence: str) -> str:
    """The word with which a question's main clause begins, in lower case: «Dad, why …?» begins with why."""
    tokens = _main_clause(sentence.strip(_QUOTES))
    return tokens[0] if tokens else ""


def states(sentence: str) -> str:
    """Whether a sentence states something that need not be about anyone in the room: no question, no order, no «I like»."""
    text = sentence.strip(_QUOTES)
    if "?" in text:
        return "a question"
    if reason := _broken(text):
        return reason
    tokens = english.plain(text).split()
    if "i" in tokens or tokens[0] in ("he", "she", "my", "im", "ive", "id", "ill") or "my" in tokens:
        return "personal"
    if tokens[0] in ("lets", "please") or ("please" in tokens and "to" not in tokens) or _is_plain_order(tokens):
        return "an order"
    return "" if len(tokens) >= 2 and has_verb(text) else "not a sentence"


def requests(sentence: str) -> str:
    """Whether a sentence asks somebody to do or give something, politely or by a question."""
    text = sentence.strip(_QUOTES)
    said = english.plain(text)
    tokens = said.split()
    if reason := _broken(text):
        return reason
    if _TELLS.search(said):
        return "tells of somebody"
    if _ASKS_A_FAVOUR.search(said):
        return "" if len(tokens) >= 4 else "says nothing of its own"
    asked = _ASKS_TO_DO.search(said)
    if asked and _begins(said, text, asked.start()):
        if "please" in tokens or not _ABILITY.search(said[asked.start() :]) or _FAVOURS.search(said[asked.start() :]):
            return "" if len(tokens) >= 3 else "says nothing of its own"
        return "asks whether, not to do it"
    if "please" not in tokens or "to please" in said or tokens[0] in _NO_REQUEST:
        return "requests nothing"
    rest = [token for token in tokens if token != "please"]
    if tokens[-1] == "please":
        # «Two tickets to London, please.» needs no verb.
        return "" if len(rest) >= 2 else "says nothing of its own"
    after = [token for token in tokens[tokens.index("please") + 1 :] if token not in _ADVERBS]
    if after and (orders(" ".join(after) + ".") == "" or (after[0] == "do" and len(after) > 1)):
        return ""
    return "" if orders(text) == "" else "requests nothing"


def orders(sentence: str) -> str:
    """Whether a sentence tells somebody to do something: an imperative, maybe after «First», «Please» or «To make tea,»."""
    text = sentence.strip(_QUOTES)
    if "?" in text:
        return "a question"
    if reason := _broken(text):
        return reason
    clauses = [english.plain(clause).split() for clause in _CLAUSE_END.split(text)]
    clauses = [clause for clause in clauses if clause]
    for number, clause in enumerate(clauses):
        tokens = clause
        while tokens and tokens[0] in _ADVERBS and (len(tokens) > 1 or number + 1 < len(clauses)):
            tokens = tokens[1:]
        if not tokens:
            continue
        if _is_order(tokens, alone=len(clauses) == number + 1):
            return ""
        if tokens[0] not in _PREPOSITIONS and not _GREETS.search(" ".join(tokens)) and len(tokens) > 3:
            break
    else:
        # «Before you cook wash your hands.»: without its comma the verb has to be found by its object.
        tokens = english.plain(text).split()
        if tokens[0] in _PREPOSITIONS and len(clauses) == 1:
            follows = zip(tokens[2:], tokens[3:], strict=False)
            if any(verb in ORDERS and verb not in _NOUNS_TOO and object_ in _DETERMINERS for verb, object_ in follows):
                return ""
    return "not an order"


def has_verb(text: str) -> bool:
    """Whether some word is a form of a verb that is known here or in `english`."""
    return english.has_verb(text) or any(_bases(token) & _VERBS for token in english.plain(text).split())


def greets(sentence: str) -> bool:
    """Whether a sentence only leads in: a greeting, an «Excuse me.»."""
    said = english.plain(sentence)
    return bool(_GREETS.search(said)) and "?" not in sentence and len(said.split()) <= 5 and "please" not in said


def _broken(text: str) -> str:
    """Why a text is no whole sentence; "" when it may be one."""
    if not re.search(r"[.!?…]$", text):
        return "does not end like a sentence"
    tokens = english.plain(text).split()
    return "breaks off" if not tokens or tokens[-1] in _OPEN_END - {"her"} or text.endswith(("...", "…")) else ""


def _main_clause(text: str) -> list[str]:
    """The words from the clause on with which the question begins, after «On a cold day,» or «Excuse me,»."""
    clauses = [english.plain(clause) for clause in _CLAUSE_END.split(text)]
    for i, clause in enumerate(clauses):
        tokens = clause.split()
        if tokens and _opens_like_a_question(tokens) and (tokens[0] not in _PREPOSITIONS or i + 1 == len(clauses)):
            return " ".join(clauses[i:]).split()
        leads = tokens and (tokens[0] in _PREPOSITIONS or len(tokens) <= 2 or _GREETS.search(clause))
        if not leads:
            break
    return english.plain(text).split()


def _opens_like_a_question(tokens: list[str]) -> bool:
    if tokens[0] in ("and", "but", "so") and len(tokens) > 1:
        tokens = tokens[1:]
    if tokens[0] in _ASKERS:
        return True
    return tokens[0] in _PREPOSITIONS and not english.QUESTION_WORDS.isdisjoint(tokens[1:3])


def _begins(said: str, text: str, start: int) -> bool:
    """Whether what begins at `start` of the plain sentence begins it, or follows a clause or a short address."""
    before = said[:start].split()
    return len(before) <= 2 or before[0] in _PREPOSITIONS or bool(_CLAUSE_END.search(text)) or bool(_GREETS.search(said))


def _is_order(tokens: list[str], *, alone: bool) -> bool:
    """Whether a clause begins with a bare verb that has no subject."""
    first, following = tokens[0], tokens[1:]
    if first in ("do", "dont") or tokens[:2] == ["do", "not"]:
        return len(following) >= 1 and following[0] not in ("you", "we", "they", "i")
    if first in ORDERS:
        if following and following[0] in _DETERMINERS:
            return True
        return not (first in _NOUNS_TOO and any(token in _FINITE for token in following[:3])) and (bool(following) or alone)
    odd = (
        first in _CLOSED
        or first.endswith(("ing", "ed", "ly", "ness", "tion"))
        or (first.endswith("s") and not first.endswith("ss"))
    )
    return not odd and bool(following) and following[0] in _DETERMINERS - {"no", "one", "all"}


def _is_plain_order(tokens: list[str]) -> bool:
    """Whether a sentence can only be an order: statements may begin with a noun or adjective that is a verb as well."""
    while len(tokens) > 1 and tokens[0] in _ADVERBS - {"only", "once", "children", "kids", "students", "everyone"}:
        tokens = tokens[1:]
    if tokens[0] in ("do", "dont"):
        return True
    if tokens[0] not in ORDERS or any(token in _FINITE for token in tokens[1:3]):
        return False
    return tokens[0] not in _NOUNS_TOO or (len(tokens) > 1 and tokens[1] in _DETERMINERS | _PREPOSITIONS - {"like", "from"})


def _bases(token: str) -> set[str]:
    """What `token` may be a form of."""
    bases = {token}
    if token.endswith("s"):
        bases |= {token[:-1], token[:-2], token[:-3] + "y"}
    if token.endswith("ed"):
        bases |= {token[:-1], token[:-2]}
    if token.endswith("ing"):
        bases |= {token[:-3], token[:-3] + "e", token[:-4]}
    return bases
