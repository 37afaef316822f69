"""Sentences of our own: templates filled from word lists chosen for wide phone coverage.

A sentence belongs to the training or to the test side by its own hash, so the two can never share one.
"""

from __future__ import annotations

import zlib

import numpy as np

_LISTS = {
    "who": (
        "my mother|the old teacher|a young judge|our neighbour|the wise fisherman|your boy|this woman|"
        "the fifth player|a cheerful painter|the village doctor|Barbara|Paul|Vivian|Joshua|Maggie|"
        "the photographer|a quiet poet|the king of thieves|one of the brothers|nobody|everyone in the choir|"
        "the famous pianist|a grey wolf|the youngest daughter|Thomas|Ruth|Oscar|Beth|the choirmaster|"
        "a puppet maker|my employer|the beekeeper"
    ),
    "thing": (
        "a wooden box|the blue umbrella|five fresh apples|a book of maps|the broken violin|some warm bread|"
        "a yellow fish|the big copper bowl|a pair of shoes|the measuring cup|a thick wool blanket|"
        "an old photograph|the oily machine|both garage doors|a small treasure|the path through the woods|"
        "a very loud trumpet|three thin feathers|her voice|the last chocolate|a rough sketch|the coin|"
        "two orange balloons|the bath water|a mouthful of pudding|the vowels|a beige jacket|the whole story|"
        "an unusual vision|the mayor's poem|a bunch of purple flowers|the toy piano"
    ),
    "did": (
        "bought|found|forgot|moved|pushed|showed me|threw away|caught|measured|painted|brought home|polished|"
        "wanted|looked for|laughed about|asked for|dreamed of|watched|fixed|borrowed|put down|gave up|"
        "talked about|washed|hid behind|wrapped|chose|sold|wove|admired|opened|covered|kept|bumped into|"
        "whispered about|jumped over"
    ),
    "will": (
        "carry|choose|open|buy|move|find|watch|fix|wash|measure|describe|bring|borrow|push|wrap|paint|remember|"
        "pull|throw away|enjoy|share|sing about|look at|ask for|improve|weigh|judge|follow|save|pass me"
    ),
    "where": (
        "in the garden|by the river|above the harbour|under the bridge|at the top of the hill|near the sea|"
        "behind the church|in the south of France|between two houses|on the wooden floor|at the market|"
        "in the fog|by the fireplace|on the roof|across the road|inside the theatre|down in the valley|"
        "beyond the village"
    ),
    "when": (
        "this morning|before the storm|on Thursday|every evening|after a long journey|in the month of May|"
        "at noon|when the moon was full|for half an hour|once upon a time|in February|twice a week|"
        "all through the summer|as soon as possible|while we were away|before breakfast|years ago|"
        "until four o'clock"
    ),
    "how": (
        "slowly|with both hands|very carefully|without a word|in a low voice|far too quickly|with great joy|"
        "softly|like a fool|on purpose|out of pure boredom|with some effort|as usual|beautifully|in a hurry|"
        "bravely"
    ),
    "is": (
        "beautiful|very heavy|too small|quite smooth|warm and soft|full of pepper|rather funny|worth a fortune|"
        "made of marble|impossible to move|sharp as a knife|older than you think|empty|purple|available|obvious|"
        "thoroughly boring|about to fall|surprisingly good|a matter of opinion|covered with moss|unfair"
    ),
    "say": (
        "oh|well|wow|you know|maybe|of course|believe me|above all|in fact|by the way|to be fair|after all|"
        "as a rule|frankly|hooray|my goodness|whatever happens|good morning|bye for now|for example"
    ),
    "fact": (
        "we move forward|the water was cool|few people knew|my voice is gone|both of them were amazed|"
        "it may rain|the bells were ringing|nothing ever changes|she found the map|he never came back|"
        "they all jumped up|I owe you a favour|the boys would not obey|the bus was empty|somebody has to pay|"
        "you should hear them sing|the whole shop smelled of coffee|our ship was lost|the fog will vanish|"
        "everybody was watching"
    ),
    "number": (
        "seven|forty five|one thousand and two|eleven|sixty three|nineteen|four hundred|thirty eight|twelve|"
        "ninety nine|two and a half|a million|fifty four|zero|twenty six|eight"
    ),
    "many": (
        "pebbles|mushrooms|passengers|bubbles|chairs|wolves|paper boats|birthday cards|violins|judges|onions|"
        "puppies|buttons|thieves|garages|peaches|yogurts|waves|kings|moths|shells|yachts"
    ),
}
_WORDS = {key: tuple(words.split("|")) for key, words in _LISTS.items()}

_TEMPLATES = (
    "{who} {did} {thing} {where}.",
    "{when}, {who} {did} {thing}.",
    "{say}, {who} {did} {thing} {how}.",
    "do you think {who} will {will} {thing}?",
    "why would {who} {will} {thing} {when}?",
    "please {will} {thing} {how}.",
    "{thing} {where} is {is}.",
    "{who} told me that {thing} is {is}.",
    "{fact}, and {fact}.",
    "{fact}, but {who} {did} {thing}.",
    "{say}, {fact}.",
    "there were {number} {many} {where}.",
    "{number}, {number}, {number}, that makes {number} {many}.",
    "if {fact}, {who} will {will} {thing}.",
    "{who} saw {number} {many}, {say}, {when}.",
    "not {thing}, but {thing}!",
    "{when} {fact}, so we {did} {thing}.",
    "could you {will} {number} {many} {when}?",
    "{who} and {who} {did} {number} {many} {where}.",
    "what {who} {did} was {is}, {say}.",
    "I will {will} {thing} {when}, {say}.",
    "{how}, {who} {did} the {many}.",
)
TEST_SHARE = 0.1


def is_test_sentence(text: str) -> bool:
    """Whether a sentence is kept for testing: a tenth of all, by hash."""
    return zlib.crc32(text.encode()) % 1000 < TEST_SHARE * 1000


def sentence(rng: np.random.Generator, *, test: bool) -> str:
    """A random sentence of the training (or test) side."""
    while True:
        text = str(rng.choice(_TEMPLATES))
        while "{" in text:
            key = text[text.index("{") + 1 : text.index("}")]
            text = text.replace("{" + key + "}", str(rng.choice(_WORDS[key])), 1)
        if is_test_sentence(text) == test:
            return text
