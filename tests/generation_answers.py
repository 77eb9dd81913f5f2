"""Answers to items of the suite of stage 3, written by hand: an instruction, right answers after «+», wrong ones after «-»."""

from __future__ import annotations

_READ = """
Generate a question about a jar of honey.
+ How much honey is in the jar? | Why does honey never go bad? | Where do bees keep their honey? | Is honey sweeter than
  sugar?
- Honey. | Why do wasps sting? | Honey is sweet. | What about honey? | How much milk is in the cup? | Open the jar of honey.
Write a question about the rain in April.
+ Does it rain a lot in April? | Why do we need an umbrella in April? | What do raindrops look like?
- When do roses bloom? | It rains a lot in April. | Rain in April? | Where does the king live?
Ask a question about spiders.
+ How many legs does a spider have? | Why do spiders spin webs? | Are you afraid of spiders? | Dad, do spiders bite?
- Spiders have eight legs. | I ask a question about spiders. | What spiders? | Can you ask a question about spiders?
Make up a question about old castles.
+ Who lived in the castle? | Was there a moat around it? | How thick are the walls of a castle?
- Old castles are cold. | Old castles? | Who lives in the house?
Please write a question about stars.
+ Why do stars twinkle? | How many stars are in the sky? | What is a galaxy?
- The stars are far away. | Stars? | Here are some questions about stars: | Why is the grass green?
Ask something about pirates.
+ Where did pirates hide their treasure? | Did every pirate have a parrot? | What is a pirate?
- Pirates sailed the seas. | Something about pirates. | Where do you live?
Write a question on the subject of camels.
+ What is in a camel's hump? | How long can camels go without water? | Do camels bite?
- Camels live in the desert. | On the subject of camels. | Camels bite?
Create a question on sheep.
+ What do sheep eat? | How do you shear a sheep? | When are lambs born?
- Sheep eat grass. | Create a question on sheep? | What do lions eat?
Think up a question about campfires.
+ How do you light a campfire? | Is the fire hot enough? | At what time should we put out the flames?
- Light a campfire. | A campfire is warm. | How do you make soup?
Write a question about lighthouses that begins with "Why".
+ Why do lighthouses flash? | Why are lighthouses built near the sea?
- How tall is a lighthouse? | Lighthouses are tall. | Why do dogs bark?
Ask a "where" question about penguins.
+ Where do penguins live? | Where does a penguin lay its egg?
- What do penguins eat? | Where do lions live? | Where penguins live.
Write a "who" question about pirates.
+ Who was the most famous pirate? | Who stole the treasure?
- Where did the pirates go? | Who wrote this book?
Write a yes-or-no question about frogs.
+ Can frogs swim? | Is a frog an animal? | Do frogs sleep in winter?
- What do frogs eat? | Frogs can swim. | Can birds fly? | Yes.
Give a yes-or-no question about breakfast.
+ Did you have breakfast? | Is breakfast ready? | Do you like eggs for breakfast?
- What is for breakfast? | Yes or no? | Breakfast is ready.
Write a question to ask a dentist.
+ How often should I brush my teeth? | Will it hurt? | Do I have a cavity?
- You should brush your teeth. | What is the capital of France? | How far is the moon?
Ask a farmer a question.
+ How many cows do you have? | What do pigs eat? | When is the harvest?
- Farmers have cows. | Ask a farmer. | What is the capital of Spain?
Write something that a pupil might ask the teacher during a lesson.
+ May I go to the toilet? | What does this word mean? | Can you explain that again?
- The pupil is in the class. | The teacher asks a question. | How long is the Nile?
Come up with a question for a vet.
+ Is my dog ill? | What should I feed my cat? | Why does my rabbit not eat?
- My dog is ill. | Is the shop open? | A vet helps animals.
Write a question that you might hear in a bakery.
+ How much is a loaf of bread? | Are the rolls fresh? | Would you like a bag for the cake?
- I would like a roll. | Bread is good. | When does the train leave?
Write a question that children ask on a long car journey.
+ Are we there yet? | When do we get home? | How far is it to the sea? | I'm hungry, when do we stop?
- We are there. | Who painted this picture? | The children ask a question.
Make up a quiz question about planets.
+ Which planet is the biggest? | What is the name of the red planet? | How many rings does Saturn have?
- Rings are round. | Mars is a planet. | Which animal is the biggest? | Planets?
Make a quiz question about fruit.
+ Which fruit is yellow and curved? | What colour is a banana? | Does an apple grow on a tree?
- A banana is yellow. | Which river is the longest? | Fruit quiz?
Write a request to a neighbour.
+ Could you please water my plants next week? | Please turn down the music. | Would you mind closing the gate? | Hello! Could
  you lend me your ladder?
- The neighbour is nice. | How are you? | A request to a neighbour. | Turn down the music. | Please write a request to a
  neighbour.
Write a polite request to a waiter.
+ Could I have the menu, please? | I would like a glass of water, please. | Excuse me, may we pay? | A cup of coffee, please.
- The waiter brings the food. | Where do you live? | Thank you very much. | Yes, please.
Generate a request from a child to his mother.
+ Mum, can I have an ice cream? | Please read me a story. | Can you help me with my shoes? | May I go outside?
- I love my mother. | The child asked his mother. | Why is the sky blue? | No.
Come up with a kind request to a gardener.
+ Could you please cut the hedge? | Would you be so kind as to plant some roses? | I would be grateful if you could water the
  lawn.
- The gardener is kind. | What is your name? | Flowers need water.
Write a request that a teacher makes to her class.
+ Please open your books. | Could you all be quiet, please? | Please don't talk.
- Open your books. | The class is loud. | Can you swim? | Who knows the answer?
Write a polite request about noise.
+ Could you please be a little quieter? | Please turn down your music. | Would you mind not shouting? | I'm trying to sleep.
  Could you turn the radio down?
- The noise is loud. | Noise, please. | Could you please pass the salt? | Be quiet. | Why is it so loud?
Make a request about an open window.
+ Could you close the window, please? | Please shut it, it is cold in here. | May I open the window?
- The window is open. | Is the window open? | Please close the book.
Write a polite request about a glass of water.
+ May I have a glass of water, please? | A glass of water, please. | Could you bring me something to drink?
- Water is good. | I drink a glass of water. | Could I have some bread?
Generate a request about feeding the fish.
+ Could you feed the fish while I am away? | Please give the fish some food.
- Feed the fish. | Fish eat worms. | Please feed the cat.
Write a request about buying milk.
+ Can you buy some milk on your way home? | Please bring a bottle of milk. | Could you go to the shop?
- Milk is white. | I buy milk. | Could you open the door?
Make up a polite request about salt at dinner.
+ Could you pass me the salt, please? | Pass the salt, please. | Would you mind passing the salt?
- The salt is on the table. | Salt. | Could you pass the ball?
Give me a request about help with a computer.
+ Could you help me with my computer? | Please show me how to use the printer. | Can you fix my laptop?
- Computers are useful. | The computer is broken. | Please close the gate.
Ask somebody politely to close the door.
+ Could you please close the door? | Please shut the door. | Would you mind closing the door? | Close the door, please.
- Close the door. | The door is closed. | Could you open the window? | Ask somebody politely.
Politely ask a friend to lend you a pen.
+ May I borrow your pen? | Could you lend me a pen, please? | Do you have a pen that I could borrow?
- I have a pen. | My friend lends me a pen. | Give me a book. | Lend you a pen.
Ask your father kindly to read you a story.
+ Dad, could you read me a story? | Please read me something from this book, Dad. | Would you tell me a tale?
- My father reads a story. | Read me a story. | Could you cook dinner?
Politely ask the doctor to explain the pills.
+ Could you explain what these pills do? | Please tell me how to take the medicine.
- The doctor explains the pills. | Pills are small. | Could you open the door?
Think of a polite request that is heard on a train.
+ Could I see your ticket, please? | Excuse me, is it okay if I sit here? | Would you mind moving your bag?
- The train is late. | Tickets! | Where does the lion live?
Write a request for a sign in a park.
+ Please keep off the grass. | Please keep your dog on a leash. | Please use the bins.
- Dogs are fun. | The park is green. | Grass is green.
Give an instruction about cooking.
+ Stir the soup slowly. | First, wash your hands and peel the potatoes. | Do not leave the pan on the stove. | When the water
  boils, add the rice. | Always taste the food before you serve it.
- Cooking is fun. | You cook soup in a pot. | Do you like cooking? | Cook. | Close the door. | Give an instruction about soup.
Write an instruction about crossing a road.
+ Look left and right before you cross. | Wait for the green light. | Never run across the street. | Stop at the kerb and look
  both ways.
- The road is wide. | You cross the road. | Is the road busy? | Crossing a road. | Eat an apple.
Generate an instruction about teeth.
+ Brush your teeth twice a day. | Don't forget to floss. | Visit the dentist once a year. | Use a soft toothbrush.
- Teeth are white. | My teeth are clean. | Brush your hair. | Teeth!
Create an instruction about a houseplant.
+ Water the plant once a week. | Put the pot near a window. | Give it water, but not too much.
- The plant needs water. | Water is wet. | Plants grow. | Feed the cat.
Write a short instruction about dogs.
+ Walk your dog every day. | Never pull a dog by its tail. | Keep the puppy on a leash.
- Dogs bark. | The dog is brown. | Walk to school. | Do dogs bark?
Give me an instruction about tea.
+ Boil the water and pour it over the tea leaves. | Let the tea stand for three minutes. | To make tea, heat some water in a
  kettle.
- Tea is hot. | I drink tea. | Pour the milk. | Tea comes from China.
Come up with an instruction about thunderstorms.
+ Stay inside when there is lightning. | Do not stand under a tree. | In a thunderstorm, close all windows.
- Thunderstorms are loud. | The storm is near. | Stay healthy.
Make an instruction about a picnic.
+ Bring a blanket and some sandwiches. | Pack the basket the day before. | Put the food in the shade.
- We had a picnic. | A picnic is fun. | Bring your passport.
Compose an instruction about clean hands.
+ Wash your hands with soap. | Rinse them under warm water. | Before you eat, wash your hands.
- Clean hands are important. | My hands are clean. | Soap smells good. | Wash the car.
Write an instruction about good sleep.
+ Go to bed early. | Turn off your phone an hour before you sleep. | Keep the bedroom dark and quiet.
- Sleep is good for you. | I sleep well. | Good sleep helps. | Go to school.
Write an instruction for making a sandwich.
+ Spread butter on a slice of bread. | Put some cheese between two slices of bread. | Cut the sandwich in half.
- Bread is good. | The sandwich is ready. | I like cheese. | Cut the grass.
Write an instruction for planting a seed.
+ Dig a small hole in the soil. | Push the seed into the earth and cover it. | Water it every day.
- Seeds are small. | The seed grows. | Dig for gold.
Create an instruction for building a snowman.
+ Roll a big ball of snow. | Give him a carrot for a nose. | Put a hat on his head.
- The snowman is white. | Snow is cold. | Roll the dice.
Write an instruction for tidying a room.
+ Put all the toys in the box. | Make your bed. | Pick up your clothes from the floor.
- The room is tidy. | My room is big. | Put on your coat.
Make an instruction for playing hide-and-seek.
+ Count to twenty and close your eyes. | Hide behind a tree. | Find a good place to hide.
- Hide-and-seek is fun. | We play hide-and-seek. | Open the book.
Write an instruction that a teacher could give a class.
+ Open your books on page ten. | Listen, please! | Write the words in your notebook. | Be quiet!
- The class is quiet. | The teacher is nice. | Boil the eggs.
Write an instruction from a doctor to a patient.
+ Take one pill every morning. | Stay in bed and drink a lot of water. | Open your mouth and say ah.
- The doctor is kind. | You are ill. | I feel sick. | Paint the wall.
Give an instruction to a taxi driver.
+ Turn left at the next corner. | Please take me to the airport. | Stop here, please. | Drive to the station.
- The taxi is yellow. | The driver is fast. | Boil the eggs.
Write a fact about bees.
+ Bees make honey. | A bee has five eyes. | Bees sting. | In summer, bees fly from flower to flower. | A fact about bees is
  that they live in hives.
- Bees. | Do bees make honey? | I like bees. | A fact about bees. | Look at the bees. | Birds can fly. | Bees are things.
State a fact about ice.
+ Ice is frozen water. | Ice floats on water. | When water freezes, it turns into ice.
- Ice is ice. | Water boils at a hundred degrees. | Is ice cold? | Put ice in the glass. | My ice is cold. | Stones are hard.
Give a fact about the moon.
+ The moon goes around the Earth. | The first man landed on the moon in 1969. | There is no air on the moon.
- The moon. | The Earth is round. | I love the moon. | Why is the moon round? | The sun is hot.
Tell me a fact about cows.
+ Cows give milk. | A cow has four stomachs. | Baby cows are called calves, and cows eat grass.
- Milk the cows. | Cows, cows and cows. | Cats drink milk? | The big cow.
Write a fact about London.
+ London is the capital of England. | The Thames flows through London. | Millions of people live in London.
- London. | I went to London. | Where is London? | Paris is in France. | Visit London.
Make up a true statement about winter.
+ Winter is the coldest season. | It often snows in winter. | In winter, the days are short. | Some animals sleep through the
  winter.
- I like winter. | Is winter cold? | Wear a coat in winter. | Winter. | Dogs have four legs.
Say something true about cats.
+ Cats like to catch mice. | A kitten is a young cat. | Most cats sleep a lot. | Cats have whiskers.
- Cats. | Mice like cheese. | Do cats sleep? | My cat is black. | Feed the cat. | Something true about cats.
Say something true about snow.
+ Snow is white. | Snow melts in spring. | No two snowflakes are alike.
- I love snow. | Snow, snow, snow. | Is snow cold? | Sugar is sweet.
Write something that everybody knows about rain.
+ Rain is wet. | Rain falls from clouds. | You need an umbrella when it rains.
- Everybody knows about rain. | Rain. | I hate the rain. | Is rain wet?
Create an example of a polite request.
+ Could you please help me? | Would you mind opening the door? | Please pass me the butter.
- A polite request. | Open the door. | Please. | I am polite. | What time is it?
Give an example of a question.
+ How old are you? | Where is the station? | Is it cold outside?
- A question. | What is a question? | I am ten years old. | Question?
Write an example of a simple instruction.
+ Close the door. | Turn left at the corner. | Wash your hands before dinner.
- The door is closed. | A simple instruction. | Are you there? | Instructions are simple.
Give an example of an apology.
+ I'm sorry that I am late. | Please forgive me. | I apologise for my mistake.
- An apology. | Thank you. | I am happy. | Close the door.
Give an example of a promise.
+ I promise to help you tomorrow. | I will always tell the truth. | I'll be back soon.
- A promise. | You are nice. | The cat is black.
Generate an example of a friendly greeting.
+ Hello, my friend! | Good morning! How are you? | It is so nice to see you.
- A friendly greeting. | Goodbye. | The cat is black.
Create an example of a warning about thin ice.
+ Be careful, the ice is thin! | Do not walk on the lake. | Danger: thin ice!
- Ice is frozen water. | The lake is pretty. | I like ice.
Give one example of a spice.
+ Pepper. | Cinnamon is a spice. | One example of a spice is ginger.
- Salad. | A spice. | Pepper, ginger and salt. | Spice is nice.
Give one example of a feeling.
+ Joy. | Happiness is a feeling. | Fear
- A chair. | A feeling. | Joy and fear.
Write one example of a planet.
+ Mars | Jupiter is a planet. | An example of a planet is the Earth. | One example of a planet is Venus.
- The moon. | A planet. | Mars, Venus, Earth.
"""


def read_by_hand() -> list[tuple[str, list[str], list[str]]]:
    """(instruction, right answers, wrong answers) for each item that was answered."""
    rows: list[str] = []
    for line in _READ.strip().splitlines():
        rows = [*rows[:-1], f"{rows[-1]} {line.strip()}"] if line.startswith("  ") else [*rows, line]
    parts = [row.removeprefix("+ ").removeprefix("- ").split(" | ") for row in rows]
    return [(parts[i][0], parts[i + 1], parts[i + 2]) for i in range(0, len(parts), 3)]
