"""Verbs, and what they look like: which words orders begin with, and what else shows that a sentence has a verb."""

from __future__ import annotations

import itertools

from cai_bootstrap.evals import english

ORDERS = frozenset(
    """accept add adjust admit aim air allow answer apologise apologize apply arrange arrive ask attach avoid bake
    bandage bathe be beat begin bend bite blend blow boil bookmark borrow bounce bow braid break breathe bring brush
    build burn bury button buy calculate call calm capture care carry carve catch celebrate change charge chase check
    cheer chew choose chop clap clean clear click climb close collect color colour comb combine come compare complete
    compose concentrate connect consider continue cook cool copy cough count cover crack crawl create cross crouch
    crush curl cut cycle dance decide decorate defend deliver describe design dial dice dig dip discover discuss
    dissolve divide do donate drain drape draw dream dress dribble drink drive drizzle drop dry dunk dust eat empty
    enjoy enter erase examine exercise explain explore express face fasten feed feel fetch fill find finish fish fix
    flip float flour flush fly focus fold follow forget forgive freeze fry garnish gather get give glue go grab grate
    grease greet grill grip grow guard guess guide hand handle hang harvest heat help hesitate hide hike hit hoist
    hold hop hug hurry identify imagine inflate inform insert install invite iron jog join jump keep kick kiss knead
    kneel knit knock knot label lace land lay lead lean learn leave lend let lie lift light line list listen load lock
    look loosen lose lower make march marinate mark mash massage measure meet melt mend milk mind mix moisten mop move
    mow name note notice obey observe offer oil open order organise organize pack paddle paint panic park pass paste
    pat pause pay peel pet pick pin pitch place plan plant play plough plug point polish pour practice practise praise
    prepare press prick protect prune pull pump put raise rake read recite recycle reduce refill relax remember remind
    remove repair repeat replace reply report rescue respect rest return reuse ride ring rinse roast roll row rub run
    sail salt save say scatter scoop score scrape scroll scrub seal search season see select send separate serve set
    sew shake share sharpen shave shop shout show shuffle shut sift sign simmer sing sit skate sketch ski skip sleep
    slice slide slow smell smile snap sneeze soak sort sow speak spell spend spin spit spoon spray spread sprinkle
    squeeze stack stamp stand start state stay steam steer step stick stir stop store straighten strain stretch strip
    study suggest support swallow sweep swim swing switch take talk tap taste teach tear tell thank think throw tidy
    tie tighten tilt toast toss touch trace train translate trim trust try tuck turn twist type unlock unpack unplug
    untie use vacuum visit wait wake walk warm warn wash watch water wave wear weed weigh whisk whisper wind wipe wish
    wrap write yell zip""".split()
)
"""Verbs that orders begin with."""
NOUNS_TOO = frozenset(
    """air answer bake bite button call care cheer chop clean clear click climb close color colour cook cool copy
    cough cover curl cut cycle dance dial dice dream dress drink drive drop dry dust empty exercise face feed
    fish flour fly focus fold freeze glue grease guard guess guide hand harvest heat help hike hug iron kiss
    knit knot label lace land lead lie light line list lock look march mark massage measure milk mind mix move
    name note offer oil open order pack paddle paint panic park paste pay pet pin pitch place plan plant play
    plough plug point polish practice praise press pump read report rescue respect rest return ride ring roast
    roll row run sail salt score search season set shake share shop show sign skate ski sleep slice slide slow
    smell smile snap sort spell spin spoon spray stamp stand start state steam step stick stop store strip
    study support swim swing switch talk tap taste tear tie toast touch trace train trust turn twist type
    vacuum visit wait walk warm wash watch water wave weed wind wish wrap zip""".split()
)
"""Those of `ORDERS` that may also be the noun or adjective with which a statement begins («Water is wet»)."""
FINITE = frozenset(
    """is are was were has have had can could will would may might must should does do did isnt arent wasnt werent doesnt
    dont didnt cant wont boils freezes flows falls comes makes helps tastes runs goes needs keeps gives looks feels
    turns grows lives moves works means travels floats melts dries rises burns breaks contains covers dissolves rusts
    smells shows brings takes gets becomes lasts costs carries holds protects causes begins starts stays tells sounds
    plays eats drinks drives consists belongs depends happens weighs reaches changes""".split()
)
"""Verbs in forms that need a subject before them."""
_OTHERS = frozenset(
    """absorb attract bent bitten bled blink born bred breed bury cause communicate compete consist crawl create dealt
    depend destroy develop digest dissolve divide double dug eaten erupt evaporate expand explode fear feature fed felt
    flood flower given graze hatch hibernate hum hung hunt inhabit invent knelt known laid last lay leapt led lent link
    lit locate lose meant measure migrate mine mirror nest orbit pollinate power predict press process produce react
    recycle reflect repair replace reproduce rise roam rotate rust sank seen shed shown shrank shrink shrunk sink soften
    sped spoil sprout spun sting store strike strove struck stung sunk supply survive sustain swallow swore tell thrive
    tore transport trap vary vibrate weigh wither wound woven""".split()
)
_VERBS = _OTHERS | (ORDERS - NOUNS_TOO)


def has_verb(text: str) -> bool:
    """Whether some word is a form of a verb that is known here or in `english`."""
    tokens = english.plain(text).split()
    if english.has_verb(text) or any(_bases(token) & _VERBS for token in tokens):
        return True
    # «The heart pumps blood.»: a word that may be a noun is taken for a verb between a subject and what follows.
    return any(
        token.endswith("s") and _bases(token) & NOUNS_TOO and following not in ("and", "or", "of")
        for token, following in itertools.pairwise(tokens[1:])
    )


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
