"""The village: its own three plots (out of reach, a basket for grandmother, lost in the fog) and its grammar."""

from __future__ import annotations

from functools import cache

from happyllm_support.text.grammar import Grammar
from happyllm_support.text.grammar_rules import Item, Variable
from happyllm_support.text.storyworld_lexicon import HELPER_AT, HELPERS, SNACKS, SPOTS, TOOLS, VILLAGE
from happyllm_support.text.storyworld_plots import (
    GIFT,
    LOST,
    TRUTH,
    Plot,
    Question,
    beats_of,
    differs,
    line,
    shared_variables,
)

STUCK = Plot(
    "stuck",
    wants=(
        line("One day {hero.he} went out with {friend} and {colour.a} {thing}.",
             "一天，{hero.he}带着{thing.one}{colour}的{thing}，和{friend}一起出门。"),
        line("In spring {hero.he} showed {friend} {hero.his} new {colour} {thing}.",
             "春天来了，{hero.he}给{friend}看自己新得的{colour}{thing}。"),
    ),
    beats=(
        (
            line("A gust of wind tore it away and left it {spot}.",
                 "一阵大风把它卷走，扔在了{spot}。"),
            line("Suddenly the wind took the {thing}, and it landed {spot}.",
                 "忽然一阵风刮走了{thing}，它落到了{spot}。"),
        ),
        (
            line("{hero} tried {tool}, {friend} tried {tool2}, but nothing helped.",
                 "{hero}用了{tool}，{friend}用了{tool2}，都够不着。", trait={"brave": 3.0, "clever": 3.0}),
            line("{friend} brought {tool} and then {tool2}, all in vain.",
                 "{friend}先拿来{tool}，又拿来{tool2}，全是白费力气。", trait={"shy": 3.0}),
        ),
        (
            line("\"Give me {snack} and I will fetch it,\" said {helper.a}.",
                 "“给我{snack}，我就去拿。”一只{helper}说。"),
            line("{helper.A} came and said, \"I can get it for some {snack}.\"",
                 "一只{helper}走过来说：“给我一点{snack}，我拿得到。”"),
        ),
        (
            line("{hero} promised, and the {helper} {helper.way} and got the {colour} {thing}.",
                 "{hero}答应了，{helper}就{helper.way}，把{colour}的{thing}拿了回来。"),
            line("{friend} had {snack}, so the {helper} {helper.way} and got the {thing}.",
                 "{friend}正好有{snack}，{helper}就{helper.way}，取回了{thing}。"),
        ),
        (
            line("They all ate {snack} together, and {hero} held the {colour} {thing} tight.",
                 "大家一起吃{snack}，{hero}紧紧抓着{thing.that}{colour}的{thing}。"),
            line("Ever since, {hero} and {friend} bring the {helper} {snack} every Sunday.",
                 "从那以后，每个星期天{hero}和{friend}都给{helper}送{snack}。"),
            line("The {helper} got its {snack}, and {friend} tied the {colour} {thing} to {hero}'s hand.",
                 "{helper}得到了{snack}，{friend}把{colour}的{thing}系在了{hero}的手上。"),
        ),
    ),
    questions=(
        Question("Where did the {thing} land?", "{spot.Cap}.", "{thing}落到了哪里？", "{spot}。"),
        Question("Who fetched the {thing}?", "The {helper}.", "谁取回了{thing}？", "{helper}。"),
        Question("What did the {helper} want?", "{snack.Cap}.", "{helper}想要什么？", "{snack}。"),
        Question("Who was with {hero}?", "{friend}.", "谁和{hero}在一起？", "{friend}。"),
        Question("What colour was the {thing}?", "{colour.Cap}.", "{thing}是什么颜色的？", "{colour}。"),
    ),
)  # fmt: skip

SHARE = Plot(
    "share",
    wants=(
        line("{hero.He} was carrying {n} {food} to {hero.his} grandmother.",
             "{hero.he}要给奶奶送{n}个{food}。"),
        line("{hero.His} grandmother was ill, so {hero.he} picked {n} {food} for her.",
             "奶奶生病了，{hero.he}摘了{n}个{food}要送去。"),
    ),
    beats=(
        (
            line("{friend} was sitting {place} and had eaten nothing all day.",
                 "{friend}坐在{place}，一整天什么也没吃。"),
            line("On the way {hero.he} met {friend} {place}. \"I am so hungry,\" said {friend}.",
                 "路上，{hero.he}在{place}遇见了{friend}。“我好饿啊。”{friend}说。"),
        ),
        (
            line("{hero} wanted to keep them all, but then {hero.he} gave {friend.him} {m}.",
                 "{hero}本来想都留着，但还是给了{friend.he}{m}个。", trait={"clever": 3.0}),
            line("{hero} thought for a moment and gave {friend} {m} of the {food}.",
                 "{hero}想了想，分给{friend}{m}个{food}。"),
            line("Without a word {hero.he} held out {m} {food}.",
                 "{hero.he}一句话也没说，递过去{m}个{food}。", trait={"shy": 4.0}),
        ),
        (
            line("Soon it began to rain, and {friend} gave {hero.him} {friend.his} {colour} coat.",
                 "不久下起了雨，{friend}把自己{colour}的外套给了{hero.he}。"),
            line("When a cold wind came up, {friend} put {colour.a} coat around {hero}'s shoulders.",
                 "刮起冷风的时候，{friend}给{hero}披上了一件{colour}的外套。"),
        ),
        (
            line("\"Only {k}?\" asked the grandmother. {hero} pointed at the {colour} coat.",
                 "“只有{k}个？”奶奶问。{hero}指了指那件{colour}的外套。"),
            line("The grandmother counted {k} {food}, heard about {friend}, and smiled at {hero}.",
                 "奶奶数了数，有{k}个{food}。她听说了{friend}的事，对{hero}笑了。"),
            line("So {hero} came with only {k} {food}, but with a new friend, {friend}.",
                 "就这样，{hero}只带来{k}个{food}，却多了一个新朋友{friend}。"),
        ),
    ),
    questions=(
        Question("Who was hungry?", "{friend}.", "谁饿了？", "{friend}。"),
        Question("How many {food} did {hero} give away?", "{m.Cap}.", "{hero}分出去几个{food}？", "{m}个。"),
        Question("How many {food} did the grandmother get?", "{k.Cap}.", "奶奶得到了几个{food}？", "{k}个。"),
        Question("Where was {friend}?", "{place.Cap}.", "{friend}在哪里？", "{place}。"),
        Question("What colour was the coat?", "{colour.Cap}.", "外套是什么颜色的？", "{colour}。"),
    ),
)  # fmt: skip

FOG = Plot(
    "fog",
    wants=(
        line("One evening {hero.he} set out to visit {friend}, who lived {home2}.",
             "一天傍晚，{hero.he}动身去看住在{home2}的{friend}。"),
        line("{hero.He} had promised to visit {friend} {home2} before dark.",
             "{hero.he}答应过天黑前去看{home2}的{friend}。"),
    ),
    beats=(
        (
            line("Halfway there the fog came, and {place} {hero.he} lost the path.",
                 "走到半路起了雾，{hero.he}在{place}迷了路。"),
            line("It grew dark early, and {place} {hero.he} no longer knew the way.",
                 "天早早地黑了，走到{place}，{hero.he}不认得路了。"),
        ),
        (
            line("{hero} sat down to cry, but {animal.a} sat down beside {hero.him}.",
                 "{hero}坐下来想哭，一只{animal}坐到了{hero.he}身边。", trait={"shy": 3.0}),
            line("\"Hello!\" {hero} called into the dark, and only {animal.a} answered.",
                 "“有人吗？”{hero}朝黑暗里喊，只有一只{animal}应了一声。", trait={"brave": 3.0}),
            line("{hero.He} sang a song to keep warm, and {animal.a} listened.",
                 "{hero.he}唱起歌来暖身子，一只{animal}在旁边听着。", trait={"cheerful": 3.0}),
        ),
        (
            line("Then {hero.he} saw {colour.a} light. It was {friend}, with a lamp.",
                 "这时{hero.he}看见一点{colour}的光，是{friend}提着灯来了。"),
            line("{friend} grew worried, lit {colour.a} lamp, and went out to look.",
                 "{friend}放心不下，点起一盏{colour}的灯出来找。"),
        ),
        (
            line("\"I saw your {colour} light,\" said {hero}, and they ran to the house {home2}.",
                 "“我看见了你{colour}的灯光。”{hero}说。两人跑到了{home2}的家。"),
            line("Soon {hero} had hot milk {home2}, and the {animal} slept under the {colour} lamp.",
                 "不久，{hero}在{home2}喝上了热牛奶，那只{animal}睡在{colour}的灯下。"),
            line("Now {friend} lights the {colour} lamp when {hero} comes from the house {home}.",
                 "如今，{hero}每次从{home}的家里过来，{friend}都会点亮{colour}的灯。"),
        ),
    ),
    questions=(
        Question("Whom did {hero} want to visit?", "{friend}.", "{hero}想去看谁？", "{friend}。"),
        Question("Where did {friend} live?", "{home2.Cap}.", "{friend}住在哪里？", "{home2}。"),
        Question("Where did {hero} lose the way?", "{place.Cap}.", "{hero}在哪里迷了路？", "{place}。"),
        Question("Which animal did {hero} meet?", "The {animal}.", "{hero}遇见了什么动物？", "{animal}。"),
        Question("What colour was the light?", "{colour.Cap}.", "灯光是什么颜色的？", "{colour}。"),
    ),
)  # fmt: skip

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
        Variable(name="tool", pool=TOOLS),
        Variable(name="tool2", pool=TOOLS, given=("tool",), weight=differs),
        Variable(name="snack", pool=SNACKS),
    ]
    return Grammar(variables, beats_of(PLOTS), {"en": " ", "zh": ""})
