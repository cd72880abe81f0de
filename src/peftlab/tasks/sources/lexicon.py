"""The words of the demo task: kinds of things in three levels, and what may happen to them.

Every word names a thing whose kinds are sure: any sparrow is a bird, any bird is an animal, and no two words of
one level are each other's kind. Left out are words with a second sense among the listed kinds, and things that
belong to two groups (an azalea is a shrub and a flower; to a botanist wheat is a grass and a herb). Training and
validation share no noun and no verb phrase; their kinds are disjoint inside each part.
"""

Taxonomy = dict[str, dict[str, list[str]]]

TRAIN_KINDS: Taxonomy = {
    "person": {
        "musician": ["pianist", "violinist", "drummer", "guitarist", "cellist", "trumpeter", "organist"],
        "athlete": ["swimmer", "sprinter", "boxer", "wrestler", "gymnast", "skier", "weightlifter"],
        "scientist": ["physicist", "chemist", "biologist", "geologist", "astronomer", "botanist", "zoologist"],
        "relative": ["aunt", "uncle", "cousin", "nephew", "niece", "grandmother", "grandfather"],
        "criminal": ["thief", "robber", "murderer", "burglar", "smuggler", "kidnapper", "pickpocket"],
        "doctor": ["surgeon", "cardiologist", "psychiatrist", "neurologist", "dermatologist"],
        "writer": ["novelist", "poet", "playwright", "essayist", "biographer", "screenwriter"],
        "politician": ["senator", "congressman", "mayor", "chancellor", "governor"],
    },
    "vehicle": {
        "car": ["sedan", "convertible", "limousine", "taxi", "hatchback", "minivan"],
        "boat": ["canoe", "kayak", "yacht", "rowboat", "sailboat", "gondola"],
        "aircraft": ["helicopter", "glider", "jet", "biplane", "airliner", "airship"],
        "cycle": ["bicycle", "tricycle", "unicycle", "motorcycle", "tandem"],
    },
    "food": {
        "fruit": ["apple", "banana", "pear", "mango", "peach", "cherry", "plum", "grape", "strawberry", "lemon"],
        "vegetable": ["carrot", "onion", "cabbage", "turnip", "radish", "leek", "cauliflower", "potato"],
        "cheese": ["cheddar", "brie", "mozzarella", "gouda", "parmesan", "camembert"],
        "pasta": ["spaghetti", "lasagna", "macaroni", "ravioli", "linguine", "penne"],
        "pastry": ["croissant", "eclair", "strudel", "profiterole", "baklava"],
        "sausage": ["salami", "frankfurter", "bratwurst", "chorizo", "pepperoni"],
    },
    "drink": {
        "wine": ["merlot", "chardonnay", "champagne", "riesling", "burgundy", "chianti"],
        "beer": ["lager", "ale", "stout", "pilsner"],
        "cocktail": ["martini", "margarita", "mojito", "daiquiri"],
        "coffee": ["espresso", "latte", "cappuccino", "mocha", "macchiato"],
    },
    "building": {
        "house": ["cottage", "bungalow", "mansion", "villa", "farmhouse", "chalet"],
        "church": ["cathedral", "chapel", "basilica", "minster"],
        "hotel": ["motel", "hostel", "inn"],
        "tower": ["minaret", "belfry", "lighthouse", "skyscraper", "campanile"],
    },
}

VALIDATION_KINDS: Taxonomy = {
    "animal": {
        "bird": ["sparrow", "robin", "eagle", "owl", "parrot", "pigeon", "crow", "falcon", "penguin", "ostrich"],
        "fish": ["trout", "salmon", "shark", "tuna", "cod", "herring", "carp", "eel", "mackerel", "sardine"],
        "insect": ["beetle", "ant", "mosquito", "butterfly", "moth", "wasp", "bee", "grasshopper", "dragonfly"],
        "reptile": ["lizard", "snake", "crocodile", "turtle", "tortoise", "alligator", "iguana", "python"],
        "dog": ["poodle", "beagle", "terrier", "collie", "dachshund", "spaniel", "greyhound", "bulldog"],
        "rodent": ["rat", "squirrel", "hamster", "beaver", "chipmunk", "gerbil"],
        "monkey": ["baboon", "macaque", "marmoset", "mandrill", "capuchin"],
        "cat": ["lion", "tiger", "leopard", "cheetah", "jaguar", "cougar"],
    },
    "plant": {
        "tree": ["oak", "maple", "willow", "birch", "cedar", "elm", "spruce", "poplar", "pine", "redwood"],
        "flower": ["rose", "tulip", "daisy", "lily", "orchid", "daffodil", "marigold", "sunflower", "carnation"],
        "grass": ["bamboo", "wheat", "barley", "rye", "sugarcane"],
    },
    "weapon": {
        "gun": ["pistol", "rifle", "shotgun", "revolver", "musket", "cannon", "howitzer"],
        "sword": ["saber", "rapier", "cutlass", "katana", "scimitar", "broadsword"],
        "spear": ["javelin", "harpoon", "lance", "trident"],
        "bow": ["crossbow", "longbow"],
    },
}

TRAIN_EVENTS: list[str] = [
    "disappeared during the long night",
    "arrived at the market again",
    "was photographed for the magazine",
    "stood behind the old school",
    "cost the village much money",
    "was painted by a student",
    "fell from the bridge yesterday",
    "was mentioned in the report",
    "looked strange in the morning",
    "was moved to another town",
]

VALIDATION_EVENTS: list[str] = [
    "vanished into the dark cave",
    "was drawn on the wall",
    "lay beside the narrow road",
    "was described in a letter",
    "seemed larger than expected",
    "came from a distant island",
    "was kept inside the fort",
    "remained near the lake",
]
