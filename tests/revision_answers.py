"""Answers to items of the revision suite, written by hand: (draft, right revisions, wrong ones)."""

READ_BY_HAND = [
    # fix
    (
        "The waiter brought us two galsses of juice.",
        ["The waiter brought us two glasses of juice.", "the waiter brought us two glasses of juice"],
        [
            "The waiter brought us two galses of juice.",
            "The waiter brought us juice.",
            "glasses",
            "The waiter brought galsses.",
        ],
    ),
    (
        "My uncle sells frehs fish at the harbour.",
        ['"My uncle sells fresh fish at the harbour."', "Corrected: My uncle sells fresh fish at the harbour."],
        ["My uncle sells fish at the harbour.", "My uncle sells fresh fish at teh harbuor.", "fresh"],
    ),
    (
        "A sqiurrel hid its nuts under the oak.",
        ["A squirrel hid its nuts under the oak.", "The squirrel hid its nuts under the oak."],
        ["A sqirrel hid its nuts under the oak.", "A squirrel.", "A rabbit hid its nuts under the oak."],
    ),
    (
        "The children built a snwman in the yard.",
        ["The children built a snowman in the yard.", "Here is the sentence: The children built a snowman in the yard."],
        ["The children built a snoman in the yard.", "The children built in the yard.", "The children are happy."],
    ),
    (
        "He forgot his umbrela on the bus.",
        ["He forgot his umbrella on the bus.", "He forgot his umbrella on the bus. It was red."],
        ["He forgot his umbrrella on the bus.", "He forgot it.", "Umbrella."],
    ),
    (
        "The bakker gets up before sunrise.",
        ["The baker gets up before sunrise.", "Sure! The baker gets up before sunrise."],
        ["The baker gets up.", "The backer gets up before sunrise.", "Bakker is a name."],
    ),
    (
        "She is my best freind at work.",
        ["She is my best friend at work.", "She's my best friend at work."],
        ["She is my best frend at work.", "She is at work.", "She is my best boss at work."],
    ),
    (
        "We recieved a parcel from Italy.",
        ["We received a parcel from Italy.", "We received the parcel from Italy."],
        ["We recived a parcel from Italy.", "We got a letter.", "We received received a parcel from Italy."],
    ),
    (
        "My brother play chess with his teacher.",
        ["My brother plays chess with his teacher.", "My brother played chess with his teacher."],
        ["My brothers play chess.", "My brother chess with his teacher.", "My brother is playing football outside."],
    ),
    (
        "He don't like cold soup.",
        ["He doesn't like cold soup.", "He does not like cold soup.", "He didn't like cold soup."],
        ["He don't like soup.", "He likes cold soup.", "He do not like cold soup."],
    ),
    (
        "I is tired after the long walk.",
        ["I am tired after the long walk.", "I was tired after the long walk.", "I'm tired after the long walk."],
        ["I are tired after the long walk.", "I tired after the long walk.", "The walk is long."],
    ),
    (
        "Yesterday we go to the zoo.",
        ["Yesterday we went to the zoo.", "We went to the zoo yesterday."],
        ["Yesterday we goes to the zoo.", "We went.", "Yesterday we will go to the zoo."],
    ),
    (
        "Tomorrow I visited my cousin in Leeds.",
        [
            "Tomorrow I will visit my cousin in Leeds.",
            "I will visit my cousin in Leeds tomorrow.",
            "Tomorrow I'm going to visit my cousin in Leeds.",
        ],
        ["Tomorrow I visiting my cousin in Leeds.", "I have a cousin in Leeds.", "Tomorrow I visited my uncle in Leeds."],
    ),
    (
        "The farmer feeds the the hens at dawn.",
        ["The farmer feeds the hens at dawn.", "The farmer feeds his hens at dawn."],
        ["The farmer farmer feeds the hens at dawn.", "The farmer feeds the the hens.", "The farmer sleeps at dawn."],
    ),
    (
        "My grandmother bakes bakes bread on Saturdays.",
        ["My grandmother bakes bread on Saturdays.", "My grandmother bakes bread on Saturdays. She is nice."],
        ["My grandmother bread on Saturdays.", "My grandmother bakes.", "On Saturdays my grandmother bakes bakes bread."],
    ),
    (
        "He is doctor in a small village.",
        ["He is a doctor in a small village.", "He is the doctor in a small village.", "He's a doctor in a small village."],
        ["He is doctor in small village.", "He is in a small village.", "A doctor."],
    ),
    (
        "I saw owl in the old barn.",
        ["I saw an owl in the old barn.", "I saw the owl in the old barn."],
        ["I saw owl in a old barn.", "I saw an owl.", "an"],
    ),
    (
        "She ate a apple on the way home.",
        ["She ate an apple on the way home.", "She ate the apple on the way home."],
        ["She ate apple on the way home.", "She ate an orange at school.", "She eats a apple on the way home."],
    ),
    (
        "we met at the bus stop.",
        ["We met at the bus stop.", '"We met at the bus stop."'],
        ["we met at the bus stop!", "We waited.", "At the bus stop we met."],
    ),
    (
        "Last year i learned to ski.",
        ["Last year I learned to ski.", "Last year, I learned to ski.", "I learned to ski last year."],
        ["last year i learned to ski", "I like to ski.", "Last year I went home."],
    ),
    (
        "Where did you put my scarf.",
        ["Where did you put my scarf?", "Where did you put my scarf? I am cold."],
        ["Where did you put my scarf!", "Where is it?", "You put my scarf there."],
    ),
    (
        "Do you take sugar in your tea.",
        ["Do you take sugar in your tea?"],
        ["Do you take sugar in your tea", "I take sugar in my tea.", "Do you like cake?"],
    ),
    (
        "She has two childs.",
        ["She has two children.", "She has two children. They are small."],
        ["She has two childrens.", "She has two child.", "She has two dogs."],
    ),
    (
        "Many leaf fell from the tree.",
        ["Many leaves fell from the tree.", "Many leaves fell from that tree."],
        ["Many leafs fell from the tree.", "Leaves are green.", "Many leaf falls from the tree."],
    ),
    (
        "She is looking her lost earring.",
        ["She is looking for her lost earring.", "She's looking for her lost earring."],
        ["She is looking at her friend.", "She lost her earring.", "for"],
    ),
    (
        "I can here the sea from my room.",
        ["I can hear the sea from my room.", "I can hear the sea from the room."],
        ["I can her the sea from my room.", "I can see the sea from my room.", "My room is here."],
    ),
    (
        "The soup is to hot to eat.",
        ["The soup is too hot to eat.", "The soup's too hot to eat."],
        ["The soup is hot.", "The soup is two hot to eat.", "The soup is to hot too eat."],
    ),
    (
        "A whale is a fish.",
        ["A whale is a mammal.", "The whale is a mammal."],
        ["A whale is a bird.", "A mammal is a fish.", "A whale is a big fish."],
    ),
    (
        "There are nine days in a week.",
        ["There are seven days in a week.", "There are 7 days in a week."],
        ["There are eight days in a week.", "There are days in a week.", "A week is long."],
    ),
    (
        "Tom is the younger brother.",
        ["Tom is the older brother.", "Tom is the elder brother."],
        ["Ben is the older brother.", "Tom is the youngest brother.", "Tom was born."],
    ),
    # clearer
    (
        "The road is wet, the road is wet.",
        ["The road is wet.", "The road is wet. Drive slowly."],
        ["The road is wet and the road is wet.", "The road.", "The road is dry."],
    ),
    (
        "My brother is a nurse, he is a nurse.",
        ["My brother is a nurse.", "Your brother is a nurse."],
        ["My brother, he is a nurse, a nurse.", "He is a nurse, he is.", "My brother is a doctor."],
    ),
    (
        "We eat breakfast at seven and at seven we eat breakfast.",
        ["We eat breakfast at seven.", "At seven we eat breakfast.", "At seven, we eat breakfast."],
        ["We eat breakfast at seven and at seven we eat.", "We eat.", "Breakfast is good."],
    ),
    (
        "Birds have wings, and wings are what birds have.",
        ["Birds have wings.", "The birds have wings."],
        ["Birds have wings and birds have wings.", "Birds can fly.", "Wings have birds."],
    ),
    (
        "The shop is, you know, sort of closed today.",
        ["The shop is closed today.", "Today the shop is closed."],
        ["The shop is sort of closed today.", "You know, the shop is closed today.", "The shop is open today."],
    ),
    (
        "Basically, what I mean is that the lift is broken.",
        ["The lift is broken.", "the lift is broken"],
        ["Basically, the lift is broken.", "What I mean is this.", "The lift is, um, broken."],
    ),
    (
        "At the end of the day, actually, frogs need water.",
        ["Frogs need water.", "Frogs need the water."],
        ["Actually, frogs need water.", "Frogs are green.", "At the end of the day frogs need water."],
    ),
    (
        "barks dog the at the cat.",
        ["The dog barks at the cat.", "The cat barks at the dog.", "The dog barked at the cat. It was loud."][:2],
        ["barks the dog at the cat.", "dog the barks the at cat.", "The dog sleeps."],
    ),
    (
        "to school she walks every day.",
        ["She walks to school every day.", "Every day she walks to school.", "Every day, she walks to school."],
        ["she to walks school day every.", "She walks.", "to school every day she walks she."],
    ),
    (
        "blue his is car new.",
        ["His new car is blue.", "His blue car is new."],
        ["His car blue new is.", "car is his new blue.", "His car is fast."],
    ),
    (
        "The postman xq zz comes at ten.",
        ["The postman comes at ten.", "The postman comes at ten. He is late."],
        ["The postman xq comes at ten.", "The postman comes.", "xq zz"],
    ),
    (
        "She reads banana the newspaper seven on the train.",
        ["She reads the newspaper on the train.", "She reads a newspaper on the train."],
        ["She reads the newspaper seven on the train.", "She eats a banana on the train.", "She reads."],
    ),
    (
        "Due to the fact that it is raining, we stay inside.",
        ["Because it is raining, we stay inside.", "We stay inside because it's raining.", "It is raining, so we stay inside."],
        ["Due to the fact that it rains, we stay inside.", "It is raining.", "We go out because it is raining."],
    ),
    (
        "She is a person who is very kind.",
        ["She is very kind.", "She is a very kind person.", "She's very kind."],
        ["She is a person who is kind.", "She is a person.", "She is very tall."],
    ),
    (
        "At this point in time I have no money.",
        ["I have no money now.", "I have no money.", "Now I have no money.", "I don't have any money."],
        ["At this point in time I am poor.", "Money is good.", "I have money now."],
    ),
    (
        "In the event that you get lost, call me.",
        ["If you get lost, call me.", "Call me if you get lost."],
        ["In the event you get lost, call me.", "Call me.", "If you get hungry, eat something."],
    ),
    (
        "I live in Bath, no, sorry, I mean in York.",
        ["I live in York.", "I live in York. It is nice."],
        ["I live in Bath.", "I live in Bath and York.", "York is a city."],
    ),
    (
        "Turn left, I mean right, at the church.",
        ["Turn right at the church.", "At the church, turn right."],
        ["Turn left at the church.", "Turn at the church.", "Turn right, I mean left, at the church."],
    ),
    # feedback
    (
        "The door is open.",
        ["Is the door open?", "Why is the door open?"],
        ["The door is open?", "The door is open.", "Make it a question.", "Is the window open?"],
    ),
    (
        "You have a sister.",
        ["Do you have a sister?", "Have you got a sister?"],
        ["You have a sister?", "Do you have a dog?", "You have a sister and a brother."],
    ),
    (
        "The cat is sitting on the wall.",
        ["The dog is sitting on the wall.", "A dog is sitting on the wall."],
        ["The cat and the dog are sitting on the wall.", "The dog is sleeping.", "dog"],
    ),
    (
        "He drinks a cup of tea at work.",
        ["He drinks a cup of coffee at work.", "He drinks coffee at work."],
        ["He drinks a cup of tea and coffee at work.", "He drinks coffee.", "He drinks a cup of milk at work."],
    ),
    (
        "Pass me the salt.",
        ["Please pass me the salt.", "Pass me the salt, please.", "Could you please pass me the salt?"],
        ["Please.", "Pass me the salt now.", "Please pass me the pepper."],
    ),
    (
        "She sings in the shower.",
        ["She sang in the shower.", "She was singing in the shower."],
        ["She will sing in the shower.", "She sang.", "She sings in the shower now."],
    ),
    (
        "They won the match.",
        ["They will win the match.", "They'll win the match.", "They are going to win the match."],
        ["They win.", "They won the match yesterday.", "They will play football."],
    ),
    (
        "We won first prize.",
        ["We won first prize!", "We won the first prize!"],
        ["We won first prize.", "We won!", "Use an exclamation mark!"],
    ),
    (
        "Mind the step.",
        ["MIND THE STEP.", "MIND THE STEP"],
        ["Mind The Step.", "MIND THE step.", "STEP"],
    ),
    (
        "We are having pancakes.",
        ["Today we are having pancakes.", "Today, we are having pancakes.", "Today we're having pancakes."][:2],
        ["We are having pancakes today.", "Today is Monday.", "Today."],
    ),
    (
        "He can swim.",
        ["He cannot swim.", "He can't swim.", "He can not swim.", "He is not able to swim."],
        ["He can swim well.", "He cannot run.", "He can."],
    ),
    (
        "A dog is digging in the sand.",
        ["Two dogs are digging in the sand.", "Two dogs dig in the sand."],
        ["A dog is digging in the sand with two dogs.", "Two cats are digging in the sand.", "Two dogs are asleep."],
    ),
    (
        "He has a cold.",
        ["I have a cold.", "I have a cold. I feel ill."],
        ["She has a cold.", "I have a dog.", "He has a cold, too."],
    ),
    (
        "She bought a green umbrella.",
        ["She bought an umbrella.", "She bought the umbrella."],
        ["She bought a red umbrella.", "She bought the green umbrella.", "An umbrella is green."],
    ),
    (
        "A horse is standing in the field.",
        ["A white horse is standing in the field.", "A horse is standing in the field. It is white."],
        ["The horse is white.", "A black horse is standing in the field.", "A horse is standing in the field today."],
    ),
    (
        "Our teacher is not here.",
        [
            "Our teacher is not here because he is ill.",
            "Our teacher isn't here because he's ill.",
            "Our teacher is ill, so he is not here.",
        ],
        ["Our teacher is here.", "He is ill.", "Our teacher is not here because he is late."],
    ),
    (
        "An elephant is a big animal.",
        ["An elephant is a large animal.", "An elephant is a huge animal.", "Elephants are large animals."],
        ["An elephant is a small animal.", "An elephant is a very big animal.", "large"],
    ),
    # helpful
    (
        "I really have no idea.",
        ["You find shells on the beach.", "On the beach.", "By the sea.", "Shells are on the shore."],
        ["I don't know.", "You find shells somewhere.", "Where do you find shells?", "In the kitchen."],
    ),
    (
        "A gardener does many different things.",
        ["A gardener plants flowers.", "He looks after a garden.", "He grows trees and mows the lawn."],
        ["A gardener works a lot.", "A gardener does many things.", "I cannot say."],
    ),
    (
        "Why do you ask about the seasons?",
        ["Autumn comes after summer.", "Fall.", "After summer comes autumn."],
        ["Winter comes after summer.", "Summer comes after spring.", "Why do you ask?"],
    ),
    (
        "My bike has a flat tyre.",
        ["The sun goes down in the west.", "In the west.", "Behind the horizon."],
        ["In the east.", "The sun goes down.", "My bike is broken."],
    ),
    (
        "Owls eat mice.",
        ["Owls sleep in trees.", "In a hollow tree.", "They sleep in old barns."],
        ["Owls eat mice at night.", "Owls sleep during the day.", "I'm not sure."],
    ),
    (
        "Everybody can tell you that.",
        ["You sit on a chair.", "A chair is for sitting.", "To sit on."],
        ["A chair is a chair.", "A chair is made of wood.", "It is for people."],
    ),
]
"""Each draft stands in one item of the suite."""

READ_LATER = [
    (
        "The tarin to the coast leaves at noon.",
        ["The train to the coast leaves at noon", "The train to the coast leaves at noon!"],
        ["The train leaves at noon.", "The tarin to the coast leaves at twelve.", "The train to the cost leaves at noon."],
    ),
    (
        "She keeps her jewls in a small box.",
        ["She keeps her jewels in a small box."],
        ["She keeps her jewells in a small box.", "She has a small box.", "She keeps her jewels."],
    ),
    (
        "Every Wednsday we go to the pool.",
        ["Every Wednesday we go to the pool.", "We go to the pool every Wednesday."],
        ["Every Wensday we go to the pool.", "Every day we go to the pool."],
    ),
    (
        "The monnkey swings from branch to branch.",
        ["The monkey swings from branch to branch."],
        ["The monkey swings.", "The money swings from branch to branch."],
    ),
    (
        "They waited untill the rain stopped.",
        ["They waited until the rain stopped.", "They waited till the rain stopped."],
        ["They waited until.", "They waited untl the rain stopped."],
    ),
    (
        "You was right about the weather.",
        ["You were right about the weather."],
        ["You right about the weather.", "You was wrong about the weather.", "You were wrong about the weather."],
    ),
    (
        "These shoes is too small for me.",
        ["These shoes are too small for me."],
        ["This shoes is too small for me.", "These shoes too small for me.", "The shoes fit me."],
    ),
    (
        "When I was small, I am afraid of the dark.",
        ["When I was small, I was afraid of the dark.", "I was afraid of the dark when I was small."],
        ["When I am small, I am afraid of the dark.", "I was small.", "When I was small, I was afraid of the."],
    ),
    (
        "They built their house of of stone.",
        ["They built their house of stone.", "They built their house out of stone."],
        ["They built their house.", "They built their house of of wood."],
    ),
    (
        "You can can stay with us tonight.",
        ["You can stay with us tonight.", "You may stay with us tonight."],
        ["You can can stay."],
    ),
    (
        "There is fly in my soup.",
        ["There is a fly in my soup.", "There's a fly in my soup."],
        ["There is fly in soup.", "There is a hair in my soup.", "A fly is."],
    ),
    (
        "My shoes under the bed.",
        ["My shoes are under the bed.", "My shoes were under the bed."],
        ["My shoes under my bed.", "My shoes."],
    ),
    (
        "I am good drawing horses.",
        ["I am good at drawing horses.", "I'm good at drawing horses."],
        ["I am drawing horses.", "I am good horses."],
    ),
    (
        "A pear of gloves lay on the bench.",
        ["A pair of gloves lay on the bench."],
        ["A pear lay on the bench.", "A par of gloves lay on the bench."],
    ),
    (
        "After autumn comes spring.",
        ["After autumn comes winter.", "Winter comes after autumn."],
        ["After autumn comes summer.", "After winter comes spring."],
    ),
    (
        "Penguins can fly.",
        ["Penguins cannot fly.", "Penguins can't fly."],
        ["Penguins can swim.", "Penguins can fly high.", "No penguin can fly."],
    ),
    (
        "Carrots grow on trees.",
        ["Carrots grow in the ground.", "Carrots grow under the ground."],
        ["Carrots grow.", "Carrots grow on bushes."],
    ),
    (
        "It is cold in the cellar and it is cold there.",
        ["It is cold in the cellar.", "It's cold in the cellar."],
        ["It is cold in the cellar and it is cold.", "It is cold.", "It is cold there."],
    ),
    (
        "The stars are bright tonight, tonight the stars are bright.",
        ["The stars are bright tonight."],
        ["The stars are bright tonight, tonight.", "The stars are bright."],
    ),
    (
        "So, er, anyway, the bus stops here.",
        ["The bus stops here."],
        ["Anyway, the bus stops here.", "So the bus stops, er, here."],
    ),
    (
        "Um, could you, like, close the window?",
        ["Could you close the window?", "Could you please close the window?", "Can you close the window?"],
        ["Um, could you close the window?", "Could you open the window?"],
    ),
    (
        "we the train for waited.",
        ["We waited for the train."],
        ["We the train waited for.", "We waited.", "the train waited for we."],
    ),
    (
        "sheep the grass eat green.",
        ["The sheep eat green grass.", "Sheep eat the green grass.", "The sheep eat the green grass."],
        ["The grass eat green sheep.", "sheep eat the grass green the."],
    ),
    (
        "like children ice cream most.",
        ["Most children like ice cream.", "Children like ice cream most."],
        ["Like most children ice cream.", "Children like cream."],
    ),
    ("Horses potato like potato carrots.", ["Horses like carrots."], ["Horses like potato carrots.", "Horses like potatoes."]),
    (
        "There are many people who like music.",
        ["Many people like music.", "A lot of people like music.", "Lots of people like music."],
        ["There are many people.", "Music is nice."],
    ),
    (
        "What I want to say to you is that dinner is ready.",
        ["Dinner is ready.", "The dinner is ready."],
        ["I want to say that dinner is ready.", "What I want to say is dinner."],
    ),
    ("He made the decision to sell his car.", ["He decided to sell his car."], ["He made the decision.", "He sold."]),
    (
        "It is on the shelf, wait, no, it is in the drawer.",
        ["It is in the drawer.", "It's in the drawer."],
        ["It is on the shelf.", "It is in the drawer, no, on the shelf."],
    ),
    (
        "He can play the guitar.",
        ["Can he play the guitar?", "Does he play the guitar?"],
        ["He can play the guitar?", "Can he play?"],
    ),
    ("It is time to go.", ["Is it time to go?"], ["It is time to go?", "Is it late?"]),
    ("Shut the window.", ["Please shut the window.", "Shut the window please."], ["Shut the window!", "Please."]),
    ("He is at home.", ["He was at home.", "He had been at home."], ["He is home.", "He will be at home.", "He was."]),
    (
        "We moved to a bigger flat.",
        ["We will move to a bigger flat.", "We'll move to a bigger flat."],
        ["We move to a bigger flat.", "We will move."],
    ),
    ("Nobody was hurt.", ["Luckily, nobody was hurt.", "Luckily nobody was hurt."], ["Nobody was hurt, luckily.", "Luckily."]),
    (
        "This box is heavy.",
        ["This box is not heavy.", "This box isn't heavy."],
        ["This box is light.", "This box is very heavy."],
    ),
    (
        "The child was playing outside.",
        ["The children were playing outside.", "Three children were playing outside.", "The children played outside."],
        ["The child and the dog were playing.", "The childs were playing outside."],
    ),
    (
        "This tree is very old.",
        ["All the trees are very old.", "All the trees here are very old."],
        ["These tree is very old.", "Trees are old."],
    ),
    (
        "He ate seven pancakes.",
        ["He ate pancakes.", "He ate some pancakes.", "He ate many pancakes."],
        ["He ate eight pancakes.", "He ate."],
    ),
    (
        "They bought a painting.",
        ["They bought a painting in Paris.", "In Paris, they bought a painting."],
        ["They went to Paris.", "Paris is nice. They bought it."],
    ),
    (
        "A hare is a very fast runner.",
        ["A hare is a very quick runner.", "A hare is a very speedy runner."],
        ["A hare is a very slow runner.", "A hare runs fast."],
    ),
    (
        "The winner had a happy face.",
        ["The winner had a glad face.", "The winner had a joyful face.", "The winner had a cheerful face."],
        ["The winner had a sad face.", "The winner was happy."],
    ),
]
"""Written when the verifiers stood, by the same hand but without a look at the goals. Of 173 answers 12 were misjudged at
first, 10 of them right ones; goals and rules were then mended. One is still: «You stay can with us» passes for a sentence."""
