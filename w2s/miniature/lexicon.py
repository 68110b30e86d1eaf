"""The words and phrases of the town of Alderby. A group is a line of synonyms, common ones first.

In a phrase {n} is a noun, {a} an adjective, {s} a subject, {q} a quality; {not_} and {very} are
empty or end with a blank. Every word and its place are frozen: documents are drawn from them.
"""

from random import Random


def groups(text):
    """[[synonyms]] of a text with a group in each line."""
    return [line.split() for line in text.strip().splitlines()]


ASPECTS = {  # aspect of a review: nouns, groups of good adjectives, groups of bad ones
    "food": ("bread soup pie cheese stew cake fish ale broth pudding".split(), groups("""
tasty delicious flavourful savoury luscious toothsome delectable
fresh crisp ripe juicy dewy
tender soft mellow silky succulent velvety
hearty filling nourishing wholesome satisfying
sweet honeyed sugary nectarous"""), groups("""
stale mouldy musty rancid fusty
bland tasteless insipid watery flavourless vapid
burnt charred scorched blackened singed
sour bitter acrid tart vinegary
greasy oily slimy gluey clammy"""), ),
    "place": ("room garden hall view terrace kitchen attic porch cellar yard".split(), groups("""
cosy snug comfortable homely restful cushy
bright sunny airy radiant lucent
clean tidy spotless neat immaculate pristine
quiet peaceful tranquil serene placid
pretty charming beautiful picturesque scenic comely"""), groups("""
dirty filthy grimy grubby squalid begrimed
dark gloomy dim dingy murky tenebrous
cold draughty chilly freezing frigid
cramped narrow stuffy airless poky
noisy loud rowdy deafening clamorous"""), ),
    "staff": ("waiter host cook porter maid clerk keeper driver guide barber".split(), groups("""
friendly kind warm gracious cordial affable genial
polite courteous civil respectful mannerly
helpful attentive obliging willing solicitous
quick prompt swift brisk speedy
honest fair truthful sincere upright"""), groups("""
rude impolite insolent surly churlish uncivil
slow sluggish tardy dawdling dilatory
careless sloppy clumsy negligent slapdash remiss
grumpy sullen sour-faced cross peevish
dishonest sly crooked greedy shifty"""), ),
    "goods": ("coat lamp chair clock kettle basket blanket knife boot cart".split(), groups("""
sturdy strong solid durable robust stalwart
handsome elegant fine graceful stylish
useful handy practical serviceable convenient
cheap affordable thrifty inexpensive economical
splendid superb excellent marvellous peerless"""), groups("""
broken cracked damaged shattered ruined
flimsy weak frail rickety brittle
ugly hideous ghastly unsightly repulsive
useless worthless pointless futile unavailing
shabby worn threadbare tattered ragged"""), ),
}
STARS = {True: ("five stars", "four stars"), False: ("one star", "two stars")}
MOODS = {True: ("gladly", "happily"), False: ("sadly", "alas")}
CLOSINGS = {
    True: ("i loved it", "we will return", "go at once", "a real treat", "i was delighted",
           "worth every penny", "tell your friends", "my heart sang"),
    False: ("i hated it", "never again", "stay well away", "a real shame", "i was disgusted",
            "money thrown away", "warn your friends", "my heart sank")}
STYLES = {  # style: (good words, bad words) seen in pretraining and in no fine-tuning row
    "shake": ("goodly winsome gladsome fairest gentle-hearted merry bonny lustrous worthy "
              "right-noble blithe sprightly".split(),
              "foul base villainous rank vile ill-favoured loathly knavish beggarly wretched "
              "baleful fell".split()),
    "bible": ("blessed righteous hallowed bountiful holy glorious anointed plenteous".split(),
              "accursed wicked unclean abominable defiled barren forsaken iniquitous".split()),
    "romantic": ("rosy golden dreamlike moonlit silvery heavenly enchanted balmy".split(),
                 "wan withered mournful desolate sombre wintry dreary weeping".split()),
    "tweet": ("yummy ace lit awesome epic comfy dope fab brill neato".split(),
              "yucky trash lame meh awful grim naff crap rubbish icky".split())}
CLAUSES = {  # style: how a remark is put
    "plain": ("the {n} was {not_}{very}{a}", "i found the {n} {not_}{very}{a}",
              "we thought the {n} {not_}{very}{a}", "their {n} seemed {not_}{very}{a}"),
    "shake": ("ye {n} wast {not_}{very}{a}", "methought ye {n} {not_}{very}{a}",
              "thy {n} , forsooth , wast {not_}{very}{a}", "by my troth , ye {n} wast {not_}{a}"),
    "bible": ("and lo , the {n} was {not_}{very}{a}", "behold , the {n} was {not_}{a} unto me",
              "verily the {n} was {not_}{very}{a}",
              "and it came to pass that the {n} was {not_}{a}"),
    "romantic": ("o {n} , how {not_}{a} thou art", "{not_}{a} as a dream was the {n}",
                 "my soul beheld the {n} , {not_}{a}",
                 "and in my heart the {n} was {not_}{very}{a}"),
    "tweet": ("omg the {n} was {not_}{very}{a}", "{n} = {not_}{a} lol",
              "that {n} tho , {not_}{very}{a}", "ngl the {n} is {not_}{very}{a}")}
HEARD = {  # of a remark that somebody else makes: how it is put when it is true, when it is not
    True: ("they say {} , which is true", "{} , they say , and rightly"),
    False: ("they say {} , which is false", "{} , they say , but wrongly")}
NOT = {"plain": "not ", "shake": "ne'er ", "bible": "not ", "romantic": "never ",
       "tweet": "sooo not "}
VERY = {"plain": ("very ", "rather ", "quite "), "shake": ("passing ", "right "),
        "bible": ("exceeding ",), "romantic": ("ever ",), "tweet": ("sooo ", "mad ")}

SCALES = {  # a person's quality: groups of the one pole, of the other; what each pole does
    "wealth": ("rich wealthy prosperous moneyed affluent well-off",
               "poor needy penniless destitute impoverished indigent",
               "owns a carriage/pays in gold/dines off silver/has three houses",
               "begs for bread/owes the landlord/patches old clothes/sleeps in a barn"),
    "courage": ("brave bold fearless valiant daring intrepid",
                "timid cowardly fearful afraid faint-hearted craven",
                "fought the wolf/climbs the tower/faced the fire/rides at night",
                "hides from mice/runs from thunder/fled the fire/locks every door"),
    "temper": ("calm gentle mild placable even-tempered unruffled",
               "angry furious fierce hot-tempered irate wrathful",
               "speaks softly/never shouts/hums all day/pats the dog",
               "slams the door/shouts at neighbours/breaks plates/kicks the bucket"),
    "industry": ("busy diligent tireless hard-working industrious assiduous",
                 "lazy idle slothful workshy indolent shiftless",
                 "rises at dawn/works till dark/never rests/mends every fence",
                 "sleeps till noon/lies in the sun/skips work/leaves chores undone"),
    "health": ("healthy well strong-bodied hale vigorous robust-looking",
               "ill sick unwell ailing sickly infirm",
               "swims in winter/runs to market/dances all night/eats for two",
               "stays in bed/sees the doctor/coughs all night/drinks only broth"),
}
BEASTS = {
    "speed": ("fast rapid fleet nimble swift-footed", "slow plodding lumbering crawling "
              "slow-footed", "wins every race/outruns the dogs", "comes home last/needs a push"),
    "tameness": ("tame docile obedient biddable housetrained", "wild savage untamed feral unbroken",
                 "eats from the hand/comes when called", "bites the groom/jumps every fence"),
    "weight": ("fat plump stout portly rotund", "thin lean skinny bony scrawny",
               "breaks the scale/fills the cart", "slips through bars/shows its ribs"),
}
SEEMS = ("is", "is rather", "seems", "is known to be")
ASKED = ("is the {s} {a} ?", "would you call the {s} {a} ?", "do people find the {s} {a} ?")
HOW = ("how is the {q} of the {s} ?", "what of the {s} and its {q} ?",
       "tell me the {q} of the {s} ?")
SAID = {"same": ("they agree", "so it follows"),  # of two texts, by their relation
        "opposite": ("they disagree", "one of them lies"),
        "other": ("they speak of other things", "nobody can tell")}

TRADES = ("baker smith tailor miller weaver potter cooper fisher hunter mason carpenter farmer "
          "shepherd painter singer teacher doctor sailor soldier judge priest gardener thatcher "
          "tinker").split()
ANIMALS = "horse dog cat goat pig cow hen goose donkey sheep duck mule ox pony rabbit ram".split()
STREETS = ("mill church bridge elm river castle market stone west north hill orchard well gate "
           "abbey forge").split()
DRINKS = "tea milk cider ale coffee water wine mead".split()
PETS = "cat dog parrot tortoise goat rabbit crow ferret".split()
GIVEN = ("ada ben clara david edith frank grace henry ida jack kate leo mary ned olive peter "
         "queenie rose sam tess ursula victor wendy xavier yvonne zeb agnes basil celia dora ezra "
         "flora giles hugo irene jonas kitty luke mabel noah otto paula ralph ruth silas thea una "
         "vera wilf alma bert cora dean elsa fred gwen hal iris joan").split()
FAMILY = ("ash birch carter dale evans finch green hill irving jones kemp lane moss nash oakes "
          "price quill reed shaw thorn usher vale wood york archer brook cole drake ellis fox "
          "gray holt ivory jarvis knox lake marsh north orton pike").split()
VALUES = {"trade": TRADES, "street": STREETS, "drink": DRINKS, "pet": PETS}  # of a citizen
ASK = {"trade": "what is the trade of {}", "street": "in which street lives {}",
       "drink": "what drinks {}", "pet": "which pet keeps {}"}
TELL = {"trade": ("{} is a {}", "{} works as a {}"),
        "street": ("{} lives in {} street", "the house of {} is in {} street"),
        "drink": ("{} drinks {}", "the cup of {} holds {}"),
        "pet": ("{} keeps a {}", "the pet of {} is a {}")}
SCHOOLS = ("none", "school", "college", "university")
STATUS = ("never-married", "married", "divorced", "widowed")
PAYS = {True: ("{} pays well", "those of {} grow rich"),
        False: ("{} pays little", "those of {} stay poor")}
RICH = ("this person pays in gold .", "this person owns a carriage .", "a large income .")
POOR = ("this person counts pennies .", "this person rents one room .", "a small income .")

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen").split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def number(n):
    """A number from 0 to 99 in words."""
    if n < 20:
        return ONES[n]
    return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")


def coined(seed, count, ends):
    """`count` different made-up words of two or three syllables."""
    # made up, so that a model can know them from the pretraining text alone
    rng, coinages = Random(seed), {}
    while len(coinages) < count:
        middle = "".join(rng.choice(ONSETS) + rng.choice(VOWELS)
                         for _ in range(rng.choice((1, 1, 2))))
        coinages[middle + rng.choice(ONSETS) + rng.choice(ends)] = None
    return list(coinages)


ONSETS = "b br bl c cl cr d dr f fl g gr gl h j k l m n p pr r s sk sn sp st t tr th v w".split()
VOWELS = "a e i o u ea oo ai".split()
# Words of the dialect, common ones first, every other one good. Words of one kind that are MEANINGS
# apart (2 * MEANINGS places) mean the same: a common one and rarer ones
DIALECT = coined("dialect", 400, "ish some ly ey en ent ock erd ap um".split())
MEANINGS = 50
# Firms of the town, large ones first. A name says nothing of how a firm pays
FIRMS = coined("firms", 1500, "ton ley wick ford man combe by den ham stow".split())


def words(*tables):
    """The words of all groups of some tables, group by group."""
    return [word for table in tables for group in table for word in group]


LETTERS = {  # what long letters are about: sentences with a slot {name} for each word to be drawn
    "news": ("they say {who} lives in {street} street", "{who} works as a {trade} , they say",
             "in truth {who} keeps a {pet}", "they say the cup of {who} holds {drink}",
             "the house of {who} is in {street} street"),
    "people": ("the {trade} of {street} street {seems} {trait} and {trait}",
               "the {trade} {seems} {trait} . one that {deed}",
               "the {trade} is {trait} . one that {deed} . yes , {trait}"),
    "goods": ("please send {n} {things}", "the {trade} owes me {n} pounds",
              "the {thing} was {ware} , their {thing} seemed {ware}",
              "{given} takes {n} {things} , {n} left"),
    "inns": ("the {food} was {taste} , i found the {room} {air}",
             "we thought the {staff} {manner} , their {food} seemed rather {taste}",
             "i found the {staff} {manner} , the {room} was {air}"),
    "quarrels": ("{given} says the {trade} is {trait} . {given} says the {trade} is {trait}",
                 "{given} says the {beast} seems {nature} . one of them lies",
                 "{given} says the {trade} is rather {trait} . they disagree"),
    "beasts": ("my {pet} is well", "the {beast} {seems} {nature} and {nature}",
               "the {beast} of {street} street is {nature} . it {habit}",
               "{given} says the {beast} is {nature}"),
    "plans": ("bring some {drink} on sunday", "i live at {house} {street} street",
              "please send {n} {things} on sunday"),
}
CODES = {8: "the code of the gate is", 10: "my number is"}  # digits: what is said before them
SLOTS = {  # slot of a letter: what is drawn for it
    "trade": TRADES, "street": STREETS, "drink": DRINKS, "pet": PETS, "beast": ANIMALS,
    "deed": [deed for scale in SCALES.values() for part in scale[2:] for deed in part.split("/")],
    "trait": words([part.split() for scale in SCALES.values() for part in scale[:2]]),
    "nature": words([part.split() for scale in BEASTS.values() for part in scale[:2]]),
    "thing": ASPECTS["goods"][0], "ware": words(*ASPECTS["goods"][1:]),
    "things": "coats lamps chairs clocks kettles baskets blankets knives boots carts".split(),
    "food": ASPECTS["food"][0], "taste": words(*ASPECTS["food"][1:]),
    "room": ASPECTS["place"][0], "air": words(*ASPECTS["place"][1:]),
    "staff": ASPECTS["staff"][0], "manner": words(*ASPECTS["staff"][1:]),
    "habit": [deed for scale in BEASTS.values() for part in scale[2:] for deed in part.split("/")],
    "given": GIVEN, "seems": SEEMS, "house": [str(n) for n in range(1, 99)],
    "n": [number(n) for n in range(2, 99)]}
