"""The plots that both domains tell: something lost, a present, a thing that broke."""

from __future__ import annotations

from happyllm_support.text.storyworld.plots import Plot, Question, line

LOST = Plot(
    "lost",
    wants=(
        line(
            "One {day} {hero.he} lost {hero.his} {colour} {thing}.",
            "一个{day}，{hero.he}弄丢了自己{colour}的{thing}。",
        ),
        line(
            "{hero.His} dearest treasure was {colour.a} {thing}, but one {day} it was "
            "gone.",
            "{hero.he}最心爱的宝贝是{thing.one}{colour}的{thing}，可是在一个{day}，"
            "它不见了。",
        ),
    ),
    beats=(
        (
            line(
                "{hero} looked {place}, but there was only {animal.a}.",
                "{hero}去{place}找，可那里只有一只{animal}。",
                trait={"brave": 3.0},
            ),
            line(
                '"Have you seen my {thing}?" {hero.he} asked {animal.a} {place}. '
                "It said nothing.",
                "“你看见我的{thing}了吗？”{hero.he}问{place}的一只{animal}，"
                "可它一声不吭。",
                trait={"curious": 3.0},
            ),
            line(
                "{hero.He} searched {place} and met nobody but {animal.a}.",
                "{hero.he}在{place}找了又找，只遇见一只{animal}。",
            ),
        ),
        (
            line(
                '"I saw something {colour} {place2}," said {friend}.',
                "“我看见{place2}有个{colour}的东西。”{friend}说。",
            ),
            line(
                '"Don\'t cry," said {friend}. "There is something {colour} {place2}."',
                "“别哭，”{friend}说，“{place2}有个{colour}的东西。”",
                trait={"shy": 3.0},
            ),
            line(
                "Then {friend} saw something {colour} {place2}.",
                "后来，{friend}看见{place2}有个{colour}的东西。",
                trait={"cheerful": 3.0},
            ),
        ),
        (
            line(
                "It was the {thing}! The {animal} had been playing with it.",
                "正是{thing.that}{thing}！原来是那只{animal}把它拖来玩的。",
            ),
            line(
                "There lay the {thing}, and the {animal} was fast asleep beside it.",
                "{thing.that}{thing}就在那里，那只{animal}正在旁边呼呼大睡。",
            ),
        ),
        (
            line(
                "{hero} thanked {friend} and carried the {colour} {thing} home.",
                "{hero}谢过{friend}，把{colour}的{thing}带回了家。",
            ),
            line(
                "From that day on, {hero} and {friend} shared the {colour} {thing}.",
                "从那天起，{hero}和{friend}一起分享{thing.that}{colour}的{thing}。",
            ),
            line(
                "{hero} laughed, left the {thing} to the {animal}, and walked home "
                "with {friend}.",
                "{hero}笑了，把{thing}留给了{animal}，和{friend}一起走回家。",
            ),
        ),
    ),
    questions=(
        Question(
            "What did {hero} lose?",
            "{colour.A} {thing}.",
            "{hero}丢了什么？",
            "{thing.one}{colour}的{thing}。",
        ),
        Question(
            "What colour was the {thing}?",
            "{colour.Cap}.",
            "{thing}是什么颜色的？",
            "{colour}。",
        ),
        Question("Who helped {hero}?", "{friend}.", "谁帮助了{hero}？", "{friend}。"),
        Question(
            "Who had taken the {thing}?",
            "The {animal}.",
            "谁拿走了{thing}？",
            "{animal}。",
        ),
    ),
)

GIFT = Plot(
    "gift",
    wants=(
        line(
            "{hero.He} wanted to buy {colour.a} {thing} for {friend}'s birthday.",
            "{hero.he}想给{friend}买{thing.one}{colour}的{thing}当生日礼物。",
        ),
        line(
            "{hero.He} dreamed of giving {friend} {colour.a} {thing} on {friend.his} "
            "birthday.",
            "{hero.he}一心想在{friend}生日那天送{friend.he}{thing.one}{colour}的"
            "{thing}。",
        ),
    ),
    beats=(
        (
            line(
                "But it cost {n} coins, and {hero.he} had only half.",
                "可是它要{n}枚硬币，{hero.he}只有一半。",
            ),
            line(
                "It cost {n} coins. {hero} counted {hero.his} money: only half.",
                "它要{n}枚硬币。{hero}数了数自己的钱，只有一半。",
            ),
        ),
        (
            line(
                "So {hero.he} helped the {worker} {worker.job} for {k} coins.",
                "于是{hero.he}帮{worker}{worker.job}，挣到了{k}枚硬币。",
                trait={"brave": 3.0},
            ),
            line(
                '"Come and {worker.job} for me," said the {worker}, and paid '
                "{hero.him} {k} coins.",
                "“来帮我{worker.job}吧。”{worker}说，然后付给{hero.he}{k}枚硬币。",
                trait={"shy": 3.0},
            ),
            line(
                "The {worker} needed someone to {worker.job} and gave {hero.him} {k} "
                "coins.",
                "{worker}正好要找人{worker.job}，给了{hero.he}{k}枚硬币。",
            ),
        ),
        (
            line(
                "{hero.He} bought the {thing} and hid it {place}.",
                "{hero.he}买下{thing.that}{thing}，藏在了{place}。",
            ),
            line(
                "Now it was enough, and soon the {thing} was hidden {place}.",
                "这下钱够了，{thing}很快就藏到了{place}。",
            ),
        ),
        (
            line(
                "On the birthday {friend} looked {place} and jumped for joy.",
                "生日那天，{friend}去{place}一看，高兴得跳了起来。",
            ),
            line(
                '"Look {place}!" said {hero}, and there {friend} found the '
                "{colour} {thing}.",
                "“去{place}看看！”{hero}说。"
                "{friend}在那里找到了{thing.that}{colour}的{thing}。",
            ),
            line(
                '{friend} found the {thing} and hugged {hero}. "{colour.Cap} is my '
                'favourite colour!"',
                "{friend}找到{thing}，抱住了{hero}。“{colour}是我最喜欢的颜色！”",
            ),
        ),
    ),
    questions=(
        Question(
            "Who got a birthday present?",
            "{friend}.",
            "谁收到了生日礼物？",
            "{friend}。",
        ),
        Question(
            "What was the present?",
            "{colour.A} {thing}.",
            "礼物是什么？",
            "{thing.one}{colour}的{thing}。",
        ),
        Question(
            "Who gave {hero} work?",
            "The {worker}.",
            "谁给了{hero}活儿干？",
            "{worker}。",
        ),
        Question(
            "Where did {hero} hide the {thing}?",
            "{place.Cap}.",
            "{hero}把{thing}藏在哪里？",
            "{place}。",
        ),
        Question(
            "How many coins did {hero} earn?",
            "{k.Cap}.",
            "{hero}挣到了几枚硬币？",
            "{k}枚。",
        ),
    ),
)

TRUTH = Plot(
    "truth",
    wants=(
        line(
            "{friend} had lent {hero.him} {colour.a} {thing}.",
            "{friend}借给{hero.he}{thing.one}{colour}的{thing}。",
        ),
        line(
            "{hero.He} had borrowed {colour.a} {thing} from {friend}.",
            "{hero.he}向{friend}借了{thing.one}{colour}的{thing}。",
        ),
    ),
    beats=(
        (
            line(
                "While {hero.he} was playing with it, the {thing} {thing.broke}.",
                "{hero.he}玩着玩着，{thing}{thing.broke}。",
            ),
            line(
                "{hero} ran too fast, fell over, and it {thing.broke}.",
                "{hero}跑得太快，摔了一跤，它{thing.broke}。",
            ),
        ),
        (
            line(
                "{hero.He} was afraid and hid it {place}.",
                "{hero.he}很害怕，把它藏到了{place}。",
                trait={"shy": 3.0},
            ),
            line(
                "Nobody had seen it, so {hero.he} hid the {thing} {place}.",
                "没有人看见，{hero.he}就把{thing}藏到了{place}。",
                trait={"clever": 3.0},
            ),
        ),
        (
            line(
                "But {hero.he} could not sleep, and in the morning {hero.he} told "
                "{friend}.",
                "可是{hero.he}夜里睡不着，第二天早上告诉了{friend}。",
            ),
            line(
                '"Where is my {thing}?" asked {friend}, and {hero} told the truth.',
                "“我的{thing}呢？”{friend}问。{hero}说了实话。",
                trait={"brave": 3.0},
            ),
            line(
                '"I am sorry," {hero} whispered to {friend}. "Your {thing} is '
                '{place}."',
                "“对不起，”{hero}小声对{friend}说，“你的{thing}在{place}。”",
                trait={"shy": 3.0},
            ),
        ),
        (
            line(
                "{friend} was not angry, and together they mended the {colour} "
                "{thing}.",
                "{friend}没有生气，两人一起补好了{thing.that}{colour}的{thing}。",
            ),
            line(
                '"Then we will mend it," said {friend}, and soon the {colour} '
                "{thing} was as good as new.",
                "“那我们把它补好吧。”{friend}说。不久，"
                "{thing.that}{colour}的{thing}又像新的一样了。",
            ),
        ),
    ),
    questions=(
        Question(
            "Whose {thing} was it?",
            "It belonged to {friend}.",
            "{thing}是谁的？",
            "是{friend}的。",
        ),
        Question(
            "What was borrowed?",
            "{colour.A} {thing}.",
            "借来的是什么？",
            "{thing.one}{colour}的{thing}。",
        ),
        Question(
            "Where did {hero} hide the {thing}?",
            "{place.Cap}.",
            "{hero}把{thing}藏在哪里？",
            "{place}。",
        ),
        Question(
            "What colour was the {thing}?",
            "{colour.Cap}.",
            "{thing}是什么颜色的？",
            "{colour}。",
        ),
    ),
)
