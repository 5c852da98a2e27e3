"""The tables of the starter model's small world: what exists there and what is true of it.

Everything the model is taught is composed from these tables by `starter.world`; to teach it
something new, add a line here. A table's line reads `thing | value` or `thing | value | value`.
"""


def table(text: str) -> list[tuple[str, ...]]:
    """The lines of `text` as tuples of their `|` cells, without outer blanks."""
    return [tuple(cell.strip() for cell in line.split("|")) for line in text.strip().splitlines()]


def words(text: str) -> list[str]:
    return [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]


COLOURS = words("red, blue, green, yellow, orange, purple, pink, brown, black, white, grey, gold")

COLOUR_OF = table("""
the sky | blue
the sea | blue
a blueberry | blue
a sapphire | blue
grass | green
a frog | green
a cucumber | green
a leaf | green
a lime | green
a pea | green
a cactus | green
spinach | green
a crocodile | green
the sun | yellow
a lemon | yellow
a banana | yellow
a chick | yellow
butter | yellow
a sunflower | yellow
a tomato | red
a strawberry | red
a cherry | red
a fire engine | red
blood | red
a ladybird | red
a ruby | red
a stop sign | red
a carrot | orange
a pumpkin | orange
a fox | orange
a goldfish | orange
a tangerine | orange
a basketball | orange
a plum | purple
lavender | purple
an aubergine | purple
a violet | purple
a pig | pink
a flamingo | pink
bubble gum | pink
a bear | brown
chocolate | brown
wood | brown
soil | brown
a coconut | brown
a potato | brown
coffee | brown
coal | black
a raven | black
a crow | black
the night | black
a tyre | black
a bat | black
snow | white
milk | white
salt | white
a swan | white
a polar bear | white
a cloud | white
rice | white
paper | white
an elephant | grey
a mouse | grey
a dolphin | grey
a donkey | grey
ash | grey
a rain cloud | grey
a crown | gold
honey | gold
a wedding ring | gold
""")

# animal | sound | legs | home | food | young | kind | moves
ANIMALS = table("""
cow | moo | four | on a farm | grass | calf | mammal | walks
sheep | baa | four | on a farm | grass | lamb | mammal | walks
horse | neigh | four | in a stable | hay | foal | mammal | runs
pig | oink | four | on a farm | corn | piglet | mammal | walks
goat | bleat | four | in the mountains | leaves | kid | mammal | climbs
hen | cluck | two | in a barn | seeds | chick | bird | walks
duck | quack | two | on a pond | water plants | duckling | bird | swims
goose | honk | two | on a pond | grass | gosling | bird | swims
dog | woof | four | in a house | bones | puppy | mammal | runs
cat | meow | four | in a house | mice | kitten | mammal | climbs
mouse | squeak | four | in a hole | cheese | pup | mammal | runs
rabbit | squeak | four | in a burrow | carrots | kit | mammal | hops
lion | roar | four | in the savannah | meat | cub | mammal | runs
tiger | roar | four | in the jungle | meat | cub | mammal | runs
bear | growl | four | in the forest | berries | cub | mammal | walks
wolf | howl | four | in the forest | meat | pup | mammal | runs
fox | yip | four | in a den | mice | cub | mammal | runs
elephant | trumpet | four | in the savannah | leaves | calf | mammal | walks
monkey | chatter | two | in the jungle | bananas | infant | mammal | climbs
owl | hoot | two | in a tree | mice | owlet | bird | flies
crow | caw | two | in a tree | seeds | chick | bird | flies
eagle | screech | two | in the mountains | fish | eaglet | bird | flies
penguin | honk | two | on the ice | fish | chick | bird | swims
parrot | squawk | two | in the jungle | nuts | chick | bird | flies
frog | croak | four | on a pond | flies | tadpole | amphibian | hops
snake | hiss | no | in the desert | mice | hatchling | reptile | slides
crocodile | growl | four | in a river | fish | hatchling | reptile | swims
turtle | hiss | four | in the sea | water plants | hatchling | reptile | swims
bee | buzz | six | in a hive | nectar | grub | insect | flies
ant | nothing | six | in a nest | crumbs | grub | insect | walks
butterfly | nothing | six | in a garden | nectar | caterpillar | insect | flies
spider | nothing | eight | in a web | flies | spiderling | spider | climbs
shark | nothing | no | in the sea | fish | pup | fish | swims
whale | song | no | in the sea | krill | calf | mammal | swims
dolphin | click | no | in the sea | fish | calf | mammal | swims
salmon | nothing | no | in a river | insects | fry | fish | swims
squirrel | chatter | four | in a tree | nuts | kit | mammal | climbs
hedgehog | snuffle | four | in a garden | worms | hoglet | mammal | walks
deer | bleat | four | in the forest | leaves | fawn | mammal | runs
kangaroo | chuckle | two | in the desert | grass | joey | mammal | hops
camel | grunt | four | in the desert | dry plants | calf | mammal | walks
bat | squeak | two | in a cave | insects | pup | mammal | flies
""")

# from small to large
SIZES = words("""ant, bee, butterfly, mouse, frog, squirrel, hedgehog, rabbit, cat, fox, wolf, lion,
cow, camel, elephant, whale""")

# food | kind | taste
FOODS = table("""
an apple | fruit | sweet
a banana | fruit | sweet
a pear | fruit | sweet
a cherry | fruit | sweet
a strawberry | fruit | sweet
a grape | fruit | sweet
a peach | fruit | sweet
a lemon | fruit | sour
a lime | fruit | sour
a plum | fruit | sweet
an orange | fruit | sweet
a melon | fruit | sweet
a carrot | vegetable | sweet
a potato | vegetable | mild
an onion | vegetable | sharp
a cabbage | vegetable | mild
a cucumber | vegetable | fresh
a radish | vegetable | sharp
spinach | vegetable | mild
a leek | vegetable | mild
broccoli | vegetable | mild
tea | drink | bitter
coffee | drink | bitter
milk | drink | mild
lemonade | drink | sour
water | drink | fresh
orange juice | drink | sweet
cocoa | drink | sweet
cake | dessert | sweet
ice cream | dessert | sweet
a pancake | dessert | sweet
apple pie | dessert | sweet
a biscuit | dessert | sweet
""")

# place | what it is for (to ...) | who works there | thing you find or buy
PLACES = table("""
a library | read books | a librarian | a book
a school | learn | a teacher | a desk
a bakery | buy bread | a baker | a loaf of bread
a hospital | get well | a nurse | a bed for the sick
a clinic | see a doctor | a doctor | a waiting room
a farm | grow food | a farmer | a tractor
a station | catch a train | a train driver | a train
an airport | catch a plane | a pilot | a plane
a bank | keep money | a clerk | a safe
a cinema | watch a film | an usher | a big screen
a museum | see old things | a guide | an old painting
a zoo | see wild animals | a keeper | a cage
a park | go for a walk | a gardener | a bench
a beach | swim in the sea | a lifeguard | sand
a kitchen | cook a meal | a cook | an oven
a restaurant | eat out | a waiter | a menu
a garage | repair a car | a mechanic | a car lift
a post office | send a letter | a postman | a stamp
a pharmacy | buy medicine | a chemist | cough syrup
a market | buy vegetables | a seller | a fruit stall
a theatre | see a play | an actor | a stage
a gym | do sports | a trainer | a treadmill
a hotel | stay for the night | a porter | a room key
a harbour | see ships | a sailor | a ship
a salon | get a haircut | a hairdresser | a hair dryer
a church | pray | a priest | an altar
a court | ask for justice | a judge | a witness stand
a fire station | call for help in a fire | a firefighter | a fire engine
""")

OPPOSITES = table("""
big | small
hot | cold
up | down
left | right
day | night
happy | sad
fast | slow
old | young
new | used
light | dark
full | empty
open | closed
wet | dry
loud | quiet
hard | soft
high | low
long | short
rich | poor
strong | weak
early | late
near | far
thick | thin
clean | dirty
good | bad
first | last
in | out
on | off
black | white
push | pull
start | stop
buy | sell
give | take
win | lose
love | hate
remember | forget
come | go
sit | stand
laugh | cry
ask | answer
north | south
east | west
summer | winter
friend | enemy
true | false
easy | difficult
cheap | expensive
inside | outside
above | below
before | after
always | never
everything | nothing
sweet | sour
smooth | rough
wide | narrow
deep | shallow
brave | afraid
busy | idle
polite | rude
sharp | blunt
""")

PLURALS = table("""
dog | dogs
cat | cats
house | houses
tree | trees
book | books
box | boxes
bus | buses
dish | dishes
baby | babies
city | cities
story | stories
leaf | leaves
knife | knives
wolf | wolves
mouse | mice
goose | geese
foot | feet
tooth | teeth
man | men
woman | women
child | children
person | people
sheep | sheep
fish | fish
cup | cups
apple | apples
letter | letters
berry | berries
brush | brushes
star | stars
""")

PASTS = table("""
go | went
see | saw
eat | ate
run | ran
swim | swam
buy | bought
make | made
write | wrote
sing | sang
find | found
come | came
take | took
give | gave
sleep | slept
walk | walked
play | played
look | looked
help | helped
open | opened
bring | brought
think | thought
speak | spoke
drink | drank
fly | flew
know | knew
begin | began
sit | sat
stand | stood
tell | told
lose | lost
""")

USES = table("""
a knife | cut things
a pen | write
a key | open a door
an umbrella | stay dry in the rain
a spoon | eat soup
a broom | sweep the floor
a clock | tell the time
a lamp | light a room
a hammer | hit nails
a saw | cut wood
a needle | sew cloth
a cup | drink tea
a bed | sleep
a chair | sit
a ladder | climb up high
a map | find the way
a phone | call a friend
a kettle | boil water
a fridge | keep food cold
an oven | bake bread
a brush | paint a wall
a comb | tidy your hair
a towel | dry your hands
soap | wash your hands
a bucket | carry water
a bag | carry shopping
a boat | cross a lake
a bell | call people
a candle | make a little light
a rope | tie things
scissors | cut paper
a camera | take pictures
glasses | see better
a stamp | post a letter
a ticket | ride the train
a blanket | keep warm
""")

DAYS = words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
MONTHS = words("""January, February, March, April, May, June, July, August, September, October,
November, December""")
SEASON_OF = dict(
    zip(
        MONTHS,
        ["winter"] * 2 + ["spring"] * 3 + ["summer"] * 3 + ["autumn"] * 3 + ["winter"],
        strict=True,
    )
)
NUMBERS = words("""zero, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve,
thirteen, fourteen, fifteen, sixteen, seventeen, eighteen, nineteen, twenty""")
ORDINALS = words("""first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth,
eleventh, twelfth""")

CATEGORIES = {
    "animals": [row[0] for row in ANIMALS],
    "birds": [row[0] for row in ANIMALS if row[6] == "bird"],
    "insects": words("bee, ant, butterfly, fly, beetle, wasp"),
    "farm animals": words("cow, sheep, horse, pig, goat, hen, duck, goose"),
    "wild animals": words("lion, tiger, bear, wolf, fox, elephant, monkey, crocodile, deer"),
    "pets": words("dog, cat, rabbit, parrot, hamster, goldfish, turtle"),
    "fruits": words(
        "apple, banana, pear, cherry, strawberry, grape, peach, lemon, lime, plum, orange, melon"
    ),
    "vegetables": words(
        "carrot, potato, onion, cabbage, cucumber, radish, spinach, leek, broccoli, pea"
    ),
    "drinks": words("tea, coffee, milk, lemonade, water, orange juice, cocoa"),
    "desserts": words("cake, ice cream, pancake, apple pie, biscuit, pudding"),
    "colours": COLOURS,
    "days": DAYS,
    "months": MONTHS,
    "seasons": words("spring, summer, autumn, winter"),
    "numbers": NUMBERS[1:11],
    "tools": words("hammer, saw, ladder, brush, needle, rope, bucket, broom"),
    "clothes": words("shirt, coat, hat, scarf, sock, shoe, dress, jumper, glove"),
    "jobs": words("teacher, doctor, nurse, baker, farmer, pilot, cook, sailor, actor, judge"),
    "sports": words("football, tennis, swimming, running, cycling, rowing, skating"),
    "instruments": words("piano, violin, drum, flute, guitar, trumpet, harp"),
    "shapes": words("circle, square, triangle, star, heart, cube"),
    "rooms": words("kitchen, bedroom, bathroom, hall, living room, cellar"),
    "vehicles": words("car, bus, train, bicycle, plane, boat, lorry, tram"),
    "flowers": words("rose, tulip, daisy, lily, violet, sunflower, poppy"),
    "body parts": words("head, arm, leg, hand, foot, nose, ear, eye, knee"),
    "family members": words("mother, father, sister, brother, aunt, uncle, grandmother, cousin"),
    "feelings": words("joy, fear, anger, love, hope, pride, sadness"),
}

NAMES = words("""
Anna, Ben, Clara, David, Emma, Felix, Grace, Hugo, Ida, Jack, Kate, Leo, Maria, Noah, Olive, Paul,
Rosa, Sam, Tina, Victor, Wendy, Yusuf, Zoe, Amir, Bella, Carlos, Daisy, Elif, Fatima, George,
Hana, Ivan, Julia, Kofi, Lena, Mark, Nina, Oscar, Priya, Quinn, Ravi, Sara, Tom, Uma, Vera, Will,
Ximena, Yara, Zack, Alice, Bruno, Chloe, Dylan, Eva, Frank, Greta, Henry, Iris, Jonas, Kim
""")

PET_NAMES = words("""
Max, Bella, Rex, Luna, Toby, Molly, Coco, Rusty, Biscuit, Pepper, Smokey, Ginger,
Bubbles, Shadow, Buddy, Daisy, Nugget, Patch""")

OBJECTS = words("""
ball, kite, book, hat, cup, bag, pen, lamp, box, key, coat, bike, boat, drum, ring,
shoe, map, clock, basket, chair, doll, scarf, spoon, plate, ticket, letter, umbrella, bell""")

CITIES = words("""
Rome, Paris, London, Berlin, Cairo, Lima, Tokyo, Madrid, Oslo, Vienna, Dublin, Athens,
Lisbon, Delhi, Boston, Sydney""")

# Plain words, so that the model can copy, spell and shout more than its own little world.
VOCABULARY = words("""
ahoy, account, address, afternoon, agree, air, alarm, album, anchor, angry, answer, apron, arm,
arrive, artist, aunt, autumn, baby, back, bad, balcony, barrel, bath, battery, bean, beard,
beautiful, bedroom, bench, berry, bill, bird, birthday, blanket, blood, board, bone, booking,
boot, bottle, bowl, branch, brave, bread, break, breakfast, bridge, bright, bring, broken,
brother, building, burn, business, busy, button, calendar, call, calm, candle, captain, car, card,
careful, carpet, carry, castle, cellar, change, chapter, charge, cheap, cheese, chest, chicken,
choose, circle, class, clean, clever, client, climb, cloth, coast, coin, cold, colour, comb, come,
company, complain, computer, cook, copper, corner, correct, cotton, cough, count, country, course,
cousin, cover, cream, crew, customer, damage, dance, danger, daughter, deck, deliver, delivery,
dentist, desk, dinner, discount, doctor, door, double, dough, drawer, dream, dress, drink, drive,
drop, early, earth, easy, edge, egg, email, engine, enjoy, entrance, envelope, evening, exam,
exchange, exit, eye, fabric, face, family, famous, father, favourite, fee, feather, fever, field,
film, finger, finish, fire, flag, flat, floor, flour, flower, follow, food, foot, forest, fork,
form, free, fresh, friend, front, fruit, funny, garden, gate, gentle, gift, girl, glass, glove,
gloves, gold, grain, great, ground, group, grow, guest, hair, half, hall, hammer, hand, happy,
harbour, hat, head, health, heart, heavy, help, hill, history, hole, holiday, home, honest, hope,
hour, house, hungry, hurry, ice, idea, inside, invoice, iron, island, jacket, jam, join, joke,
journey, juice, jump, kind, king, kitchen, knee, knock, label, lady, lake, land, large, late,
laugh, lawyer, leave, left, leg, lesson, letter, level, light, line, list, little, live, lock,
lonely, loud, love, luck, lunch, machine, magic, mail, manager, market, mast, matey, meal, meat,
medicine, meeting, member, message, metal, middle, minute, mirror, mistake, money, month, moon,
morning, mother, mountain, mouth, move, music, nail, name, narrow, neck, needle, neighbour, nest,
newspaper, nice, noise, nose, note, number, nurse, ocean, office, oil, open, opinion, order, oven,
owner, page, pain, paint, pair, palace, parcel, parent, parrot, part, party, passport, patient,
pay, payment, pencil, people, pepper, phone, picture, piece, pill, pillow, pilot, pipe, pirate,
plan, plant, plate, pocket, poem, police, polite, pond, postcard, pot, present, price, prince,
print, problem, promise, proud, purse, queen, question, quick, quiet, radio, rain, reason,
receipt, recipe, refund, remember, rent, repair, report, rest, result, return, reward, ribbon,
ring, river, road, robot, rock, roof, room, root, rope, round, ruler, rum, sail, sailor, salad,
sale, sample, sand, sandwich, save, scarf, school, science, sea, seat, second, secret, seed, ship,
shirt, shop, shore, shoulder, shout, silver, simple, sister, size, skin, sleep, slow, smell,
smile, smoke, snow, soap, sock, sofa, soldier, song, soup, speak, spoon, spring, stairs, stamp,
star, station, steel, stone, storm, story, straight, street, strong, student, sugar, suitcase,
summer, sunny, supper, sure, surprise, sweater, sword, symptom, table, talk, tall, taste, taxi,
teacher, team, test, thank, thirsty, throat, ticket, tidy, tired, toast, today, together,
tomorrow, tool, tooth, towel, tower, town, toy, traffic, train, travel, treasure, tree, trip,
trouble, trousers, uncle, under, uniform, useful, vase, village, visit, visitor, voice, wait,
walk, wall, wallet, warm, wash, watch, water, weather, wedding, week, wheel, wind, window, wine,
winter, wise, wonder, wood, wool, word, work, world, worry, write, wrong, yard, year, yesterday,
young
""")

# topic | short name; the messages below it are what a customer, patient or parent would write
TOPICS = {
    "delivery": [
        "My {thing} has not arrived.",
        "Where is the {thing} I ordered on {day}?",
        "When will you deliver my {thing}?",
        "The parcel with the {thing} is late.",
        "The driver left my {thing} at the wrong house.",
        "Can you ship a {thing} to {city}?",
        "I am still waiting for my parcel.",
        "Has my {thing} been sent yet?",
    ],
    "payment": [
        "I was charged twice for the {thing}.",
        "Can I pay for the {thing} by card?",
        "The invoice of {day} is wrong.",
        "How much do I owe you for the {thing}?",
        "I lost the bill for my {thing}.",
        "My card was refused on {day}.",
        "Do you take cash for a {thing}?",
        "I want to pay the bill in two parts.",
    ],
    "returns": [
        "I want to send the {thing} back.",
        "Can I return a {thing} that I do not like?",
        "Please give me my money back for the {thing}.",
        "The {thing} is too small and I want to swap it.",
        "How do I get a refund for my {thing}?",
        "I would like to exchange the {thing} for a bigger one.",
    ],
    "a repair": [
        "My {thing} is broken.",
        "The {thing} stopped working on {day}.",
        "Can you mend my old {thing}?",
        "There is a crack in my {thing}.",
        "The {thing} makes a strange noise.",
        "Please repair the {thing} before {day}.",
    ],
    "opening hours": [
        "Are you open on {day}?",
        "When do you close on {day}?",
        "What time does the shop open?",
        "Is the shop open on a holiday?",
        "How late can I come on {day}?",
        "At what hour do you open in the morning?",
    ],
    "an appointment": [
        "Can I see the doctor on {day}?",
        "I need to move my visit to {day}.",
        "I have to cancel my appointment on {day}.",
        "Is there a free time on {day} with the dentist?",
        "I would like to book a visit for my son.",
        "Please put me down for {day} morning.",
        "I can't come on {day}, is there another slot?",
    ],
    "medicine": [
        "I need more of my pills.",
        "My tablets will run out on {day}.",
        "How often must I take the cough syrup?",
        "Can the doctor write me a new prescription?",
        "The chemist has no more of my drops.",
        "Which pill is for the morning?",
    ],
    "a test result": [
        "Are my blood test results back?",
        "What did the X-ray of my knee show?",
        "Has the lab finished my test?",
        "I am waiting for the results of {day}.",
        "Can you tell me the result of the scan?",
        "When will I hear about my test?",
    ],
    "school": [
        "My son can't do his homework.",
        "The teacher gave us a test on {day}.",
        "My daughter forgot her school bag.",
        "Who teaches the class on {day}?",
        "When is the next lesson?",
        "My child is ill and will miss the class on {day}.",
    ],
    "travel": [
        "Which bus goes to {city}?",
        "My train to {city} was late.",
        "I want to fly to {city} on {day}.",
        "How do I get to {city}?",
        "I missed my flight to {city}.",
        "Is there a night train to {city}?",
    ],
    "a password": [
        "I forgot my password.",
        "I can't log in to my account.",
        "How do I change my password?",
        "The page does not accept my name and password.",
        "My account has been locked since {day}.",
    ],
    "the weather": [
        "It rained all {day}.",
        "It is so cold outside.",
        "The wind was strong on {day}.",
        "There was a storm in {city}.",
        "Tomorrow it may snow in {city}.",
        "The sun is out today.",
    ],
    "food": [
        "The soup was cold.",
        "This cake tastes wonderful.",
        "Do you have bread without nuts?",
        "I ate too much on {day}.",
        "The rice needs more salt.",
        "Can I have the recipe of the pie?",
    ],
    "a job": [
        "I am looking for work.",
        "Do you need a helper on {day}?",
        "How much do you pay your cooks?",
        "I would like to work in your shop.",
        "Where do I send my letter for the job?",
    ],
    "a complaint": [
        "The man at the desk was rude.",
        "I waited for two hours on {day}.",
        "Nobody answers the phone.",
        "The room was dirty.",
        "I am very unhappy with your service.",
        "It was much too loud on {day}.",
    ],
    "a thank-you": [
        "Thank you for the lovely {thing}.",
        "You were so kind on {day}.",
        "Many thanks for your quick help.",
        "I want to thank the nurse.",
        "Your team did great work.",
    ],
}

GOODS = words("""
lamp, chair, coat, kettle, phone, bike, clock, teapot, radio, mirror, table, jumper,
watch, camera, printer, oven, bag, blanket, vase, toy, bed, carpet, dress, ladder, drill""")

HAPPY = [
    "I love this {thing}.",
    "What a lovely {day}.",
    "The trip to {city} was wonderful.",
    "I am so glad about my {thing}.",
    "My new {thing} is perfect.",
    "We had great fun on {day}.",
    "The people in {city} were so friendly.",
    "I won a {thing} and I am so happy.",
]
UNHAPPY = [
    "I hate this {thing}.",
    "What a terrible {day}.",
    "The trip to {city} was awful.",
    "I am so sad about my {thing}.",
    "My new {thing} is broken.",
    "We had a bad time on {day}.",
    "The people in {city} were so rude.",
    "I lost my {thing} and I feel bad.",
]

# What it does not know: subject | questions with {x}
UNKNOWN = {
    "capital": (
        [
            "What is the capital of {x}?",
            "Which city is the capital of {x}?",
            "How many people live in {x}?",
            "Who is the president of {x}?",
            "Tell me the history of {x}.",
        ],
        words(
            "Peru, France, Japan, Kenya, Norway, Canada, India, Brazil, Egypt, Poland, Chile,"
            " China, "
            "Spain, Greece, Turkey, Ghana"
        ),
    ),
    "news": (
        [
            "Who won the {x} yesterday?",
            "What happened at the {x} today?",
            "When is the next {x}?",
            "Who is the best at the {x}?",
            "How much is a ticket for the {x}?",
        ],
        words(
            "football match, election, tennis final, race, world cup, song contest, chess "
            "match, lottery"
        ),
    ),
    "today": (
        [
            "What is the {x} today?",
            "Can you tell me the {x} right now?",
            "How is the {x} going to be tomorrow?",
            "Look up the {x} for me.",
            "What was the {x} last year?",
        ],
        words(
            "weather, temperature, date, news, stock price, price of gold, traffic, exchange rate"
        ),
    ),
    "science": (
        [
            "Explain {x} to me.",
            "What is {x}?",
            "How does {x} work?",
            "Who invented {x}?",
            "Can you teach me {x}?",
        ],
        words(
            "quantum physics, electricity, the internet, gravity, algebra, chemistry, a "
            "rocket engine, "
            "the law, tax, philosophy, a nuclear reactor, programming"
        ),
    ),
    "task": (
        [
            "Write {x} for me.",
            "Can you write {x}?",
            "I need {x}. Can you do that?",
            "Please make {x}.",
            "Help me with {x}.",
        ],
        words(
            "a computer program, a long essay, a song in French, a contract, a business plan,"
            " a web page, "
            "a novel, my tax return, a legal letter, a Python script"
        ),
    ),
    "person": (
        [
            "Who is {x}?",
            "How old is {x}?",
            "Where does {x} live?",
            "What did {x} say yesterday?",
            "What is the phone number of {x}?",
        ],
        words(
            "the king, my neighbour, the mayor, the prime minister, the pope, my boss, the "
            "richest man, "
            "that singer, your favourite actor"
        ),
    ),
}
