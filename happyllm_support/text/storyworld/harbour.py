"""The harbour, held out for fine-tuning: its three own plots (a bottle, a storm, a
rescue) and its grammar.
"""

from __future__ import annotations

from functools import cache

from happyllm_support.text.storyworld.grammar import Grammar
from happyllm_support.text.storyworld.lexicon import HARBOUR
from happyllm_support.text.storyworld.plots import (
    Plot,
    Question,
    beats_of,
    line,
    shared_variables,
)
from happyllm_support.text.storyworld.shared_plots import GIFT, LOST, TRUTH

BOTTLE = Plot(
    "bottle",
    wants=(
        line(
            "One morning {hero.he} found {colour.a} bottle {place}.",
            "一天早上，{hero.he}在{place}捡到一只{colour}的瓶子。",
        ),
        line(
            "The tide had left {colour.a} bottle {place}, and {hero.he} pulled out "
            "the cork.",
            "潮水把一只{colour}的瓶子留在{place}，{hero.he}拔出了瓶塞。",
        ),
    ),
    beats=(
        (
            line(
                'In it was a letter: "I am {friend}. I live on an island and have '
                'nobody to play with."',
                "里面有一封信：“我是{friend}，我住在一个小岛上，没有人陪我玩。”",
            ),
            line(
                '"Please write to me," said the letter inside. "My name is {friend}."',
                "“请给我写信。”里面的信上写着，“我叫{friend}。”",
            ),
        ),
        (
            line(
                "{hero} wrote back and waited {n} days, but no answer came.",
                "{hero}写了回信，等了{n}天，可是没有回音。",
                trait={"shy": 3.0},
            ),
            line(
                "{hero} sent {n} letters in bottles, and every one of them drifted "
                "back.",
                "{hero}用瓶子寄出{n}封信，可是全都漂了回来。",
                trait={"cheerful": 3.0},
            ),
        ),
        (
            line(
                "Then {animal.a} took the letter in its mouth and set off across the "
                "water.",
                "后来，一只{animal}叼起信，渡海而去。",
            ),
            line(
                '"Could you take it there?" {hero.he} asked {animal.a}, and it set '
                "off at once.",
                "“你能送过去吗？”{hero.he}问一只{animal}，它马上就出发了。",
                trait={"brave": 3.0},
            ),
        ),
        (
            line(
                "A week later {friend} stood {place}, with the {animal} and "
                "{colour.a} flower.",
                "一个星期后，{friend}站在{place}，身边是那只{animal}，"
                "手里拿着一朵{colour}的花。",
            ),
            line(
                "In spring {friend} came in a little boat and asked for the child "
                "with the {colour} bottle.",
                "春天，{friend}坐着小船来了，要找那个捡到{colour}瓶子的孩子。",
            ),
            line(
                "Now {hero} and {friend} write every week, and the {animal} gets a "
                "fish for each letter.",
                "现在{hero}和{friend}每个星期都通信，每送一封信，"
                "那只{animal}就得到一条鱼。",
            ),
        ),
    ),
    questions=(
        Question(
            "Who wrote the letter in the bottle?",
            "{friend}.",
            "瓶子里的信是谁写的？",
            "{friend}。",
        ),
        Question(
            "What colour was the bottle?",
            "{colour.Cap}.",
            "瓶子是什么颜色的？",
            "{colour}。",
        ),
        Question("Where was the bottle?", "{place.Cap}.", "瓶子在哪里？", "{place}。"),
        Question(
            "Who carried the letter?", "The {animal}.", "谁去送信？", "{animal}。"
        ),
    ),
)

STORM = Plot(
    "storm",
    wants=(
        line(
            "One calm morning {hero.he} rowed out with {friend} in {colour.a} boat.",
            "一个风平浪静的早上，{hero.he}和{friend}划着一条{colour}的小船出海。",
        ),
        line(
            "{hero.His} boat was {colour}, and {hero.he} often went fishing in it "
            "with {friend}.",
            "{hero.he}有一条{colour}的小船，常和{friend}一起划出去钓鱼。",
        ),
    ),
    beats=(
        (
            line(
                "Then a storm broke, and the waves took the oars and the {thing}.",
                "忽然起了风暴，海浪夺走了船桨和{thing}。",
            ),
            line(
                "Suddenly the sky turned black, and they lost the oars and the "
                "{thing}.",
                "忽然天色一片漆黑，船桨和{thing}都被冲走了。",
            ),
        ),
        (
            line(
                '"Hold on to me!" shouted {hero}, and {friend} held on.',
                "“抓紧我！”{hero}喊道，{friend}紧紧抓住了。",
                trait={"brave": 3.0},
            ),
            line(
                "{hero} was very quiet, and {friend} counted {n} waves out loud.",
                "{hero}一声不吭，{friend}大声数着浪头，数了{n}个。",
                trait={"shy": 3.0},
            ),
            line(
                "{hero} and {friend} sang as loud as they could.",
                "{hero}和{friend}使出全身力气唱歌。",
                trait={"cheerful": 3.0},
            ),
        ),
        (
            line(
                "The {worker} heard them and lit a fire {place}.",
                "{worker}听见了，在{place}点起一堆火。",
            ),
            line(
                "From the shore the {worker} saw the {colour} boat and lit a fire "
                "{place}.",
                "岸上的{worker}看见那条{colour}的小船，就在{place}点起一堆火。",
            ),
        ),
        (
            line(
                "They paddled with their hands until they fell into the {worker}'s "
                "arms.",
                "两人用手划水，一直划到岸边，扑进了{worker}的怀里。",
            ),
            line(
                "The fire showed them the way, and at midnight the {colour} boat came "
                "ashore.",
                "火光指明了方向，半夜里，{colour}的小船终于靠了岸。",
            ),
        ),
        (
            line(
                "The next day {friend} found the {thing}, and {hero} put it back into "
                "the {colour} boat.",
                "第二天，{friend}找到了{thing}，{hero}把它放回了{colour}的小船。",
            ),
            line(
                "The {thing} was gone, but now {hero} and {friend} always ask the "
                "{worker} about the weather.",
                "{thing}没有了，不过从此以后，"
                "{hero}和{friend}出海前总要向{worker}打听天气。",
            ),
        ),
    ),
    questions=(
        Question(
            "Who was in the boat with {hero}?",
            "{friend}.",
            "谁和{hero}一起在船上？",
            "{friend}。",
        ),
        Question(
            "What colour was the boat?",
            "{colour.Cap}.",
            "小船是什么颜色的？",
            "{colour}。",
        ),
        Question("Who lit a fire?", "The {worker}.", "谁点起了火？", "{worker}。"),
        Question("Where was the fire?", "{place.Cap}.", "火堆在哪里？", "{place}。"),
        Question(
            "What was lost besides the oars?",
            "The {thing}.",
            "除了船桨，还丢了什么？",
            "{thing}。",
        ),
    ),
)

RESCUE = Plot(
    "rescue",
    wants=(
        line(
            "One day {hero.he} heard {animal.a} crying {place}.",
            "一天，{hero.he}听见一只{animal}在{place}叫唤。",
        ),
        line(
            "The tide had gone out and left {animal.a} behind {place}, too weak to "
            "move.",
            "潮水退了，把一只{animal}留在了{place}，它动弹不得。",
        ),
    ),
    beats=(
        (
            line(
                "It was caught in {colour.a} string.", "它被一根{colour}的绳子缠住了。"
            ),
            line(
                "{colour.A} string was wound around it.",
                "一根{colour}的绳子紧紧地缠着它。",
            ),
        ),
        (
            line(
                "{hero} ran to fetch {friend}, and together they undid {n} knots.",
                "{hero}跑去叫来{friend}，两人一起解开了{n}个结。",
                trait={"shy": 3.0},
            ),
            line(
                "{friend} held it still while {hero} undid {n} knots.",
                "{friend}轻轻按住它，{hero}解开了{n}个结。",
                trait={"clever": 3.0},
            ),
        ),
        (
            line(
                "For a week they fed it {food}, and then they let it go.",
                "两人喂了它一个星期{food}，然后放它走了。",
            ),
            line(
                "It stayed all summer, ate a great many {food}, and then it was gone.",
                "它住了一个夏天，吃了好多{food}，后来就不见了。",
            ),
        ),
        (
            line(
                "One evening {friend}'s {thing} fell into the water.",
                "一天傍晚，{friend}的{thing}掉进了海里。",
            ),
            line(
                "In autumn the wind blew {friend}'s {thing} into the sea.",
                "秋天，风把{friend}的{thing}吹进了海里。",
            ),
        ),
        (
            line(
                "Up came the {animal} with the {thing}, and {hero} knew it by a bit "
                "of {colour} string.",
                "那只{animal}带着{thing}浮出水面，{hero}看见一小截{colour}的绳子，"
                "认出了它。",
            ),
            line(
                '"Look!" cried {hero}. There was the {animal} again, bringing back '
                "the {thing}.",
                "“快看！”{hero}喊道。又是那只{animal}，它把{thing}送回来了。",
            ),
        ),
    ),
    questions=(
        Question(
            "Which animal did {hero} save?",
            "The {animal}.",
            "{hero}救了什么动物？",
            "{animal}。",
        ),
        Question("Who helped {hero}?", "{friend}.", "谁帮助了{hero}？", "{friend}。"),
        Question(
            "What colour was the string?",
            "{colour.Cap}.",
            "绳子是什么颜色的？",
            "{colour}。",
        ),
        Question("How many knots were there?", "{n.Cap}.", "一共有几个结？", "{n}个。"),
        Question(
            "What fell into the sea?", "The {thing}.", "什么掉进了海里？", "{thing}。"
        ),
    ),
)

PLOTS = (LOST, GIFT, TRUTH, BOTTLE, STORM, RESCUE)


@cache
def grammar() -> Grammar:
    """The grammar of the harbour."""
    return Grammar(shared_variables(HARBOUR), beats_of(PLOTS), {"en": " ", "zh": ""})
