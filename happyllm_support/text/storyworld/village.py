"""The village: its own three plots (out of reach, a basket for grandmother, lost in the
fog) and its grammar.
"""

from __future__ import annotations

from functools import cache

from happyllm_support.text.storyworld.grammar import Grammar
from happyllm_support.text.storyworld.lexicon import HELPER_AT, HELPERS, SPOTS, VILLAGE
from happyllm_support.text.storyworld.plots import (
    Plot,
    Question,
    beats_of,
    differs,
    line,
    shared_variables,
)
from happyllm_support.text.storyworld.rules import Item, Variable
from happyllm_support.text.storyworld.shared_plots import GIFT, LOST, TRUTH

STUCK = Plot(
    "stuck",
    wants=(
        line(
            "One day {hero.he} went out with {friend} and {colour.a} {thing}.",
            "一天，{hero.he}带着{thing.one}{colour}的{thing}，和{friend}一起出门。",
        ),
        line(
            "In spring {hero.he} showed {friend} {hero.his} new {colour} {thing}.",
            "春天来了，{hero.he}给{friend}看自己新得的{colour}{thing}。",
        ),
    ),
    beats=(
        (
            line(
                "A gust of wind tore it away and left it {spot}.",
                "一阵大风把它卷走，扔在了{spot}。",
            ),
            line(
                "Suddenly the wind took the {thing}, and it landed {spot}.",
                "忽然一阵风刮走了{thing}，它落到了{spot}。",
            ),
        ),
        (
            line(
                "{hero} jumped and {friend} threw stones, but nothing helped.",
                "{hero}使劲跳，{friend}扔石子，都没有用。",
                trait={"brave": 3.0, "clever": 3.0},
            ),
            line(
                "{friend} brought a long stick, but it was too short.",
                "{friend}拿来一根长竹竿，可是还是够不着。",
                trait={"shy": 3.0},
            ),
        ),
        (
            line(
                '"I will fetch it for some cake," said {helper.a}, and it '
                "{helper.way}.",
                "“给我一点蛋糕，我就去拿。”一只{helper}说着，{helper.way}。",
            ),
            line(
                "Then {helper.a} came by, {helper.way}, and got the {thing}.",
                "这时来了一只{helper}，它{helper.way}，取回了{thing}。",
            ),
        ),
        (
            line(
                "They all ate cake together, and {hero} held the {colour} {thing} "
                "tight.",
                "大家一起吃蛋糕，{hero}紧紧抓着{thing.that}{colour}的{thing}。",
            ),
            line(
                "Ever since, {hero} and {friend} bring the {helper} cake every Sunday.",
                "从那以后，每个星期天{hero}和{friend}都给{helper}送蛋糕。",
            ),
            line(
                "The {helper} got some cake, and {friend} tied the {colour} {thing} "
                "to {hero}'s hand.",
                "{helper}吃到了蛋糕，{friend}把{colour}的{thing}系在了{hero}的手上。",
            ),
        ),
    ),
    questions=(
        Question(
            "Where did the {thing} land?",
            "{spot.Cap}.",
            "{thing}落到了哪里？",
            "{spot}。",
        ),
        Question(
            "Who fetched the {thing}?",
            "The {helper}.",
            "谁取回了{thing}？",
            "{helper}。",
        ),
        Question(
            "Who was with {hero}?", "{friend}.", "谁和{hero}在一起？", "{friend}。"
        ),
        Question(
            "What colour was the {thing}?",
            "{colour.Cap}.",
            "{thing}是什么颜色的？",
            "{colour}。",
        ),
    ),
)

SHARE = Plot(
    "share",
    wants=(
        line(
            "{hero.He} was carrying {n} {food} to {hero.his} grandmother.",
            "{hero.he}要给奶奶送{n}个{food}。",
        ),
        line(
            "{hero.His} grandmother was ill, so {hero.he} picked {n} {food} for her.",
            "奶奶生病了，{hero.he}摘了{n}个{food}要送去。",
        ),
    ),
    beats=(
        (
            line(
                "{friend} was sitting {place} and had eaten nothing all day.",
                "{friend}坐在{place}，一整天什么也没吃。",
            ),
            line(
                'On the way {hero.he} met {friend} {place}. "I am so hungry," said '
                "{friend}.",
                "路上，{hero.he}在{place}遇见了{friend}。“我好饿啊。”{friend}说。",
            ),
        ),
        (
            line(
                "{hero} wanted to keep them all, but then {hero.he} gave {friend.him} "
                "half.",
                "{hero}本来想都留着，但还是给了{friend.he}一半。",
                trait={"clever": 3.0},
            ),
            line(
                "{hero} thought for a moment and gave {friend} half of them.",
                "{hero}想了想，分给{friend}一半。",
            ),
            line(
                "Without a word {hero} held out half of them.",
                "{hero}一句话也没说，递过去一半。",
                trait={"shy": 4.0},
            ),
        ),
        (
            line(
                "Soon it began to rain, and {friend} gave {hero.him} {friend.his} "
                "{colour} coat.",
                "不久下起了雨，{friend}把自己{colour}的外套给了{hero.he}。",
            ),
            line(
                "When a cold wind came up, {friend} put {colour.a} coat around "
                "{hero}'s shoulders.",
                "刮起冷风的时候，{friend}给{hero}披上了一件{colour}的外套。",
            ),
        ),
        (
            line(
                '"Only {k}?" asked the grandmother. {hero} pointed at the {colour} '
                "coat.",
                "“只有{k}个？”奶奶问。{hero}指了指那件{colour}的外套。",
            ),
            line(
                "The grandmother counted only {k}, heard about {friend}, and smiled "
                "at {hero}.",
                "奶奶数了数，只有{k}个。她听说了{friend}的事，对{hero}笑了。",
            ),
            line(
                "So {hero} brought only {k} of them, but had a new friend, {friend}.",
                "就这样，{hero}只带来{k}个，却多了一个新朋友{friend}。",
            ),
        ),
    ),
    questions=(
        Question("Who was hungry?", "{friend}.", "谁饿了？", "{friend}。"),
        Question(
            "How many {food} did {hero} give away?",
            "{k.Cap}.",
            "{hero}分出去几个{food}？",
            "{k}个。",
        ),
        Question(
            "How many {food} did the grandmother get?",
            "{k.Cap}.",
            "奶奶得到了几个{food}？",
            "{k}个。",
        ),
        Question(
            "Where was {friend}?", "{place.Cap}.", "{friend}在哪里？", "{place}。"
        ),
        Question(
            "What colour was the coat?",
            "{colour.Cap}.",
            "外套是什么颜色的？",
            "{colour}。",
        ),
    ),
)

FOG = Plot(
    "fog",
    wants=(
        line(
            "One evening {hero.he} set out to visit {friend}, who lived {home2}.",
            "一天傍晚，{hero.he}动身去看住在{home2}的{friend}。",
        ),
        line(
            "{hero.He} had promised to visit {friend} {home2} before dark.",
            "{hero.he}答应过天黑前去看{home2}的{friend}。",
        ),
    ),
    beats=(
        (
            line(
                "Halfway there the fog came, and {place} {hero.he} lost the path.",
                "走到半路起了雾，{hero.he}在{place}迷了路。",
            ),
            line(
                "It grew dark early, and {place} {hero.he} no longer knew the way.",
                "天早早地黑了，走到{place}，{hero.he}不认得路了。",
            ),
        ),
        (
            line(
                "{hero} sat down to cry, but an owl sat down beside {hero.him}.",
                "{hero}坐下来想哭，一只猫头鹰坐到了{hero.he}身边。",
                trait={"shy": 3.0},
            ),
            line(
                '"Hello!" {hero} called into the dark, and only an owl answered.',
                "“有人吗？”{hero}朝黑暗里喊，只有一只猫头鹰应了一声。",
                trait={"brave": 3.0},
            ),
            line(
                "{hero.He} sang a song to keep warm, and an owl listened.",
                "{hero.he}唱起歌来暖身子，一只猫头鹰在旁边听着。",
                trait={"cheerful": 3.0},
            ),
        ),
        (
            line(
                "Then {hero.he} saw {colour.a} light. It was {friend}, with a lamp.",
                "这时{hero.he}看见一点{colour}的光，是{friend}提着灯来了。",
            ),
            line(
                "{friend} grew worried, lit {colour.a} lamp, and went out to look.",
                "{friend}放心不下，点起一盏{colour}的灯出来找。",
            ),
        ),
        (
            line(
                '"I saw your {colour} light," said {hero}, and they ran home hand '
                "in hand.",
                "“我看见了你{colour}的灯光。”{hero}说。两人手拉手跑回了家。",
            ),
            line(
                "Soon {hero} had hot milk, and the {colour} lamp shone on the table.",
                "不久，{hero}喝上了热牛奶，{colour}的灯照着桌子。",
            ),
            line(
                "Now {friend} lights the {colour} lamp whenever {hero} comes to visit.",
                "如今，{hero}每次来做客，{friend}都会点亮{colour}的灯。",
            ),
        ),
    ),
    questions=(
        Question(
            "Whom did {hero} want to visit?",
            "{friend}.",
            "{hero}想去看谁？",
            "{friend}。",
        ),
        Question(
            "Where did {friend} live?",
            "{home2.Cap}.",
            "{friend}住在哪里？",
            "{home2}。",
        ),
        Question(
            "Where did {hero} lose the way?",
            "{place.Cap}.",
            "{hero}在哪里迷了路？",
            "{place}。",
        ),
        Question(
            "What colour was the light?",
            "{colour.Cap}.",
            "灯光是什么颜色的？",
            "{colour}。",
        ),
    ),
)

PLOTS = (LOST, GIFT, TRUTH, STUCK, SHARE, FOG)


def _reaches(helper: Item, spot: Item) -> float:
    return HELPER_AT[spot.key].get(helper.key, 0.0)


@cache
def grammar() -> Grammar:
    """The grammar of the village."""
    variables = [
        *shared_variables(VILLAGE),
        Variable(name="home2", pool=VILLAGE.homes, given=("home",), weight=differs),
        Variable(name="spot", pool=SPOTS),
        Variable(name="helper", pool=HELPERS, given=("spot",), weight=_reaches),
    ]
    return Grammar(variables, beats_of(PLOTS), {"en": " ", "zh": ""})
