"""The words of the story world: everything that can fill a gap, in English and Chinese,
for both domains.

Each word brings the forms that the sentences ask for: `{hero.he}` is she or he in
English and 她 or 他 in Chinese; `{thing.one}` is the measure word that Chinese puts
before it, 一只风筝, 一条围巾. Traits, colours, numbers and times of day are shared by
the two domains; names, homes, places, things, animals, workers and foods are not.
"""

from __future__ import annotations

from dataclasses import dataclass

from happyllm_support.text.storyworld.rules import Item


def _item(
    en: str,
    zh: str,
    en_forms: dict[str, str] | None = None,
    zh_forms: dict[str, str] | None = None,
) -> Item:
    return Item(
        en,
        {
            "en": {"": en, "Cap": capitalised(en), **(en_forms or {})},
            "zh": {"": zh, **(zh_forms or {})},
        },
    )


def with_article(words: str) -> str:
    """Put the indefinite article before words: "owl" -> "an owl"."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def capitalised(words: str) -> str:
    """Begin words with a capital letter: "a hen" -> "A hen"."""
    return words[0].upper() + words[1:]


def _girl(en: str, zh: str) -> Item:
    forms = {
        "he": "she",
        "He": "She",
        "him": "her",
        "his": "her",
        "His": "Her",
        "girl": "girl",
    }
    return _item(en, zh, forms, {"he": "她", "girl": "小女孩"})


def _boy(en: str, zh: str) -> Item:
    forms = {
        "he": "he",
        "He": "He",
        "him": "him",
        "his": "his",
        "His": "His",
        "girl": "boy",
    }
    return _item(en, zh, forms, {"he": "他", "girl": "小男孩"})


def _described(en: str, zh: str) -> Item:
    return _item(en, zh, {"a": with_article(en), "A": capitalised(with_article(en))})


def _thing(en: str, zh: str, measure: str, broke_en: str, broke_zh: str) -> Item:
    return _item(
        en,
        zh,
        {"broke": broke_en},
        {"one": f"一{measure}", "that": f"那{measure}", "broke": broke_zh},
    )


def _helper(en: str, zh: str, way_en: str, way_zh: str) -> Item:
    """An animal that helps, with the way in which it gets to what is out of reach."""
    one = with_article(en)
    forms = {"a": one, "A": capitalised(one), "way": way_en}
    return _item(en, zh, forms, {"way": way_zh})


def _worker(en: str, zh: str, job_en: str, job_zh: str) -> Item:
    return _item(en, zh, {"job": job_en}, {"job": job_zh})


TRAITS = (
    _described("brave", "勇敢"),
    _described("shy", "害羞"),
    _described("cheerful", "开朗"),
    _described("curious", "好奇"),
    _described("clever", "聪明"),
)
COLOURS = (
    _described("red", "红色"),
    _described("blue", "蓝色"),
    _described("green", "绿色"),
    _described("yellow", "黄色"),
    _described("white", "白色"),
    _described("orange", "橙色"),
)
DAYS = (
    _item("rainy morning", "下雨的早上"),
    _item("cold evening", "寒冷的傍晚"),
    _item("summer afternoon", "夏天的午后"),
)
NUMBERS = {
    value: Item(str(value), {"en": {"": en, "Cap": capitalised(en)}, "zh": {"": zh}})
    for value, en, zh in (
        (2, "two", "两"),
        (3, "three", "三"),
        (4, "four", "四"),
        (5, "five", "五"),
        (6, "six", "六"),
        (8, "eight", "八"),
        (10, "ten", "十"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """The words that belong to one domain."""

    heroes: tuple[Item, ...]
    friends: tuple[Item, ...]
    homes: tuple[Item, ...]
    places: tuple[Item, ...]
    things: tuple[Item, ...]
    animals: tuple[Item, ...]
    workers: tuple[Item, ...]
    foods: tuple[Item, ...]


VILLAGE = Lexicon(
    heroes=(
        _girl("Lily", "莉莉"),
        _girl("Anna", "安娜"),
        _girl("Mia", "米娅"),
        _girl("Emma", "艾玛"),
        _girl("Rosa", "罗莎"),
        _girl("Nina", "妮娜"),
        _boy("Tom", "汤姆"),
        _boy("Max", "麦克斯"),
        _boy("Leo", "利奥"),
        _boy("Sam", "山姆"),
        _boy("Jack", "杰克"),
        _boy("Peter", "彼得"),
    ),
    friends=(
        _girl("Ella", "埃拉"),
        _girl("Ruby", "露比"),
        _girl("Molly", "莫莉"),
        _girl("Daisy", "黛西"),
        _girl("Lucy", "露西"),
        _girl("Amy", "艾米"),
        _boy("Oscar", "奥斯卡"),
        _boy("Hugo", "雨果"),
        _boy("Tim", "蒂姆"),
        _boy("Oliver", "奥利弗"),
        _boy("Bob", "鲍勃"),
        _boy("Eddie", "埃迪"),
    ),
    homes=(
        _item("by the river", "河边"),
        _item("on the hill", "山坡上"),
        _item("next to the mill", "磨坊旁边"),
        _item("at the edge of the forest", "森林边上"),
    ),
    places=(
        _item("behind the barn", "谷仓后面"),
        _item("under the bridge", "小桥下面"),
        _item("beside the well", "水井旁边"),
        _item("in the tall grass", "草丛里"),
        _item("under the apple tree", "苹果树下"),
        _item("by the pond", "池塘边"),
    ),
    things=(
        _thing("kite", "风筝", "只", "tore", "破了"),
        _thing("ball", "皮球", "个", "got a hole", "破了"),
        _thing("scarf", "围巾", "条", "tore", "破了"),
        _thing("hat", "草帽", "顶", "tore", "破了"),
        _thing("umbrella", "雨伞", "把", "got a hole", "破了"),
        _thing("flag", "小旗", "面", "tore", "破了"),
        _thing("basket", "篮子", "个", "got a hole", "破了"),
        _thing("lantern", "灯笼", "盏", "got a hole", "破了"),
    ),
    animals=(_described("cat", "小猫"), _described("fox", "狐狸")),
    workers=(
        _worker("baker", "面包师", "carry flour", "搬面粉"),
        _worker("farmer", "农夫", "feed the goats", "喂山羊"),
        _worker("tailor", "裁缝", "sew on buttons", "缝扣子"),
        _worker("gardener", "园丁", "water the roses", "浇玫瑰花"),
    ),
    foods=(
        _item("apples", "苹果"),
        _item("pears", "梨"),
        _item("plums", "李子"),
        _item("peaches", "桃子"),
    ),
)

HARBOUR = Lexicon(
    heroes=(
        _girl("Clara", "克拉拉"),
        _girl("Ivy", "艾薇"),
        _girl("Maya", "玛雅"),
        _girl("Nora", "诺拉"),
        _girl("Zoe", "佐伊"),
        _girl("Alice", "爱丽丝"),
        _boy("Noah", "诺亚"),
        _boy("Felix", "菲利克斯"),
        _boy("Henry", "亨利"),
        _boy("Luke", "卢克"),
        _boy("Daniel", "丹尼尔"),
        _boy("Simon", "西蒙"),
    ),
    friends=(
        _girl("Sophie", "苏菲"),
        _girl("Grace", "格蕾丝"),
        _girl("Stella", "斯特拉"),
        _girl("Hazel", "黑兹尔"),
        _girl("Vera", "薇拉"),
        _girl("Julia", "朱莉娅"),
        _boy("Arthur", "亚瑟"),
        _boy("Theo", "西奥"),
        _boy("Martin", "马丁"),
        _boy("Owen", "欧文"),
        _boy("Jonas", "约纳斯"),
        _boy("Victor", "维克多"),
    ),
    homes=(
        _item("above the fish market", "鱼市楼上"),
        _item("beside the lighthouse", "灯塔旁边"),
        _item("on an old ferry", "一艘旧渡船上"),
        _item("at the end of the pier", "码头尽头"),
    ),
    places=(
        _item("among the rocks", "礁石中间"),
        _item("under the jetty", "栈桥下面"),
        _item("behind the boatyard", "船坞后面"),
        _item("in the dunes", "沙丘里"),
        _item("beside the big anchor", "大铁锚旁边"),
        _item("by the salt shed", "盐仓旁边"),
    ),
    things=(
        _thing("raincoat", "雨衣", "件", "tore", "破了"),
        _thing("bucket", "水桶", "只", "got a hole", "破了"),
        _thing("blanket", "毯子", "条", "tore", "破了"),
        _thing("net", "渔网", "张", "tore", "破了"),
        _thing("sweater", "毛衣", "件", "tore", "破了"),
        _thing("cushion", "坐垫", "个", "got a hole", "破了"),
        _thing("toy boat", "玩具船", "条", "got a hole", "破了"),
        _thing("sailor's cap", "水手帽", "顶", "tore", "破了"),
    ),
    animals=(
        _described("seagull", "海鸥"),
        _described("crab", "螃蟹"),
        _described("otter", "水獭"),
        _described("pelican", "鹈鹕"),
    ),
    workers=(
        _worker("fisherman", "渔夫", "mend the nets", "补网"),
        _worker("captain", "船长", "scrub the deck", "擦甲板"),
        _worker("cook", "厨师", "peel potatoes", "削土豆"),
        _worker("boatbuilder", "造船匠", "sand the planks", "磨木板"),
    ),
    foods=(
        _item("herrings", "鲱鱼"),
        _item("sardines", "沙丁鱼"),
        _item("shrimps", "大虾"),
        _item("mussels", "贻贝"),
    ),
)

# Where the wind puts a thing in the village, and who can get it from there.
SPOTS = (
    _item("high up in a tree", "高高的树上"),
    _item("on the roof of the school", "学校的屋顶上"),
    _item("in the middle of the lake", "湖中央"),
    _item("deep in a thorn bush", "荆棘丛深处"),
)
HELPERS = (
    _helper("squirrel", "松鼠", "climbed up", "爬了上去"),
    _helper("owl", "猫头鹰", "flew up", "飞了上去"),
    _helper("duck", "鸭子", "swam out", "游了过去"),
    _helper("mouse", "老鼠", "crept in", "钻了进去"),
    _helper("hedgehog", "刺猬", "crept in", "钻了进去"),
)
HELPER_AT = {
    "high up in a tree": {"squirrel": 2.0, "owl": 1.0},
    "on the roof of the school": {"squirrel": 1.0, "owl": 2.0},
    "in the middle of the lake": {"duck": 1.0},
    "deep in a thorn bush": {"mouse": 1.0, "hedgehog": 1.0},
}
