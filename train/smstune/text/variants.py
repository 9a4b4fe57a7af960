"""Variants of Chinese characters: tables of our own, and those in Unicode.

Written for this project (Apache-2.0) from spam messages and the composition of characters; no list
by anyone else was used. ``unicodedata`` is Python's copy of the Unicode Character Database
(Unicode licence v3).
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable

# Characters that look alike at a glance, in groups; any may be replaced by another of its group.
_ALIKE = """
微徽徵 信伩 货贷贺 款欵 账帐 银根 卡咔 加伽 未末 日曰 己已巳 人入八 土士 大太犬 千干于 天夭 王玉主
田由甲申 白自 目且 力刀 几儿 又叉 公么 今令 午牛 木本 折拆 析拆 买卖 免兔 兑悦 博搏傅 彩釆 票漂
赌睹 场扬 娱误 没设 注住 册删 网冈 址扯 点占 击去 领颔 取趣 奖桨 品晶 积枳 换唤 规现 全金 财材
发友 正止 理埋 低抵 无兀 押抽 额颌 度席 提堤 检捡 码吗 密蜜 澄登 录绿 连莲 冻栋 结桔 逾愉 期斯
开升 级极 客容 务夕 电甩 话活 系糸 请清 收攻 包句 快块 递涕 费贵 员贝 召台 嫌兼 职织 返反 利刹
佣拥 存荐 停亭 号另 请情 元兄 名各 问间 间问 侍待 侯候 治冶 活括 贪贫 幕墓 辨辩 微薇 贷袋
"""
# A character followed by its components. Here the left component is no word by itself.
_BOUND = """
信亻言 付亻寸 代亻弋 什亻十 位亻立 你亻尔 们亻门 他亻也 保亻呆 借亻昔 值亻直 做亻故 件亻牛 任亻壬
作亻乍 住亻主 优亻尤 价亻介 份亻分 仅亻又 停亻亭 便亻更 债亻责 体亻本 何亻可 使亻吏 供亻共 储亻诸
修亻攸 传亻专 佣亻用 化亻匕 行彳亍 往彳主 征彳正 彻彳切 法氵去 注氵主 活氵舌 没氵殳 汽氵气 洗氵先
油氵由 清氵青 消氵肖 湖氵胡 沙氵少 池氵也 港氵巷 汇氵匚 酒氵酉 洋氵羊 海氵每 沟氵勾 治氵台 打扌丁
找扌戈 投扌殳 抽扌由 拍扌白 提扌是 抢扌仓 持扌寺 招扌召 挂扌圭 折扌斤 抖扌斗 拉扌立 押扌甲 扣扌口
批扌比 指扌旨 按扌安 接扌妾 扫扌彐 护扌户 抵扌氐 拨扌发 拦扌兰 证讠正 请讠青 话讠舌 订讠丁 询讠旬
让讠上 许讠午 认讠人 识讠只 记讠己 计讠十 试讠式 该讠亥 课讠果 诈讠乍 访讠方 评讠平 诚讠成 说讠兑
讯讠卂 设讠殳 谢讠射 语讠吾 读讠卖 调讠周 钱钅戋 银钅艮 铁钅失 销钅肖 错钅昔 铺钅甫 钟钅中 链钅连
饭饣反 饮饣欠 馆饣官 红纟工 给纟合 结纟吉 约纟勺 级纟及 线纟戋 纪纟己 组纟且 维纟隹 绍纟召 续纟卖
情忄青 快忄夬 性忄生 怕忄白 惊忄京 恢忄灰 独犭虫 狗犭句 神礻申 社礻土 视礻见 祝礻兄 福礻畐 补衤卜
初衤刀 冲冫中 冻冫东 决冫夬 况冫兄 次冫欠 冷冫令 净冫争 准冫隹
限阝艮 院阝完 际阝示 险阝佥 除阝余 附阝付 队阝人 阶阝介 陈阝东 阳阝日
"""
_FREE = """
机木几 赌贝者 财贝才 贷代贝 赚贝兼 购贝勾 贩贝反 账贝长 赔贝咅 码石马 权木又 税禾兑 科禾斗 利禾刂
私禾厶 和禾口 短矢豆 转车专 输车俞 轻车圣 软车欠 明日月 时日寸 晚日免 如女口 好女子 妈女马 她女也
娱女吴 嫖女票 胖月半 股月殳 服月艮 期其月 朋月月 加力口 动云力 助且力 功工力 切七刀 到至刂 刷尸刂
别另刂 彩采彡 相木目 楼木娄 校木交 格木各 林木木 样木羊 极木及 村木寸 理王里 球王求 现王见 玩王元
地土也 场土汤 址土止 城土成 块土夬 炸火乍 炮火包 烟火因 灯火丁 哪口那 吗口马 吧口巴 呢口尼 吃口乞
唱口昌 叫口丩 故古攵 收丩攵 效交攵 政正攵 超走召 起走己 射身寸 配酉己 歌哥欠 欢又欠 款士示欠
张弓长 强弓虽 骗马扁 验马佥 骑马奇 驻马主 部立口阝 群君羊 颗果页 领令页 项工页
"""
_LATIN = "aаɑ eеє oоο cсϲ pрρ xхх iіı jј sѕ yу hһ AΑА BΒВ EΕЕ HΗН KΚК MΜМ OΟО0 PΡР TΤТ XΧХ 0oO 1lI"


def _groups(*lines: str) -> dict[str, list[str]]:
    """Return for each character the rest of its groups, in the order of the table."""
    alike: dict[str, list[str]] = {}
    for group in " ".join(lines).split():
        for character in group:
            variants = alike.setdefault(character, [])
            variants += [
                variant for variant in group if variant != character and variant not in variants
            ]
    return {character: variants for character, variants in alike.items() if variants}


def _parts(lines: str) -> dict[str, str]:
    return {entry[0]: entry[1:] for entry in lines.split() if len(entry) > 2}


#: The components of a character whose first one is no word, so that joining them is safe.
BOUND_PARTS = _parts(_BOUND)
#: The components of every character that can be written as its components.
PARTS = _parts(_FREE) | BOUND_PARTS


@functools.cache
def look_alikes() -> dict[str, list[str]]:
    """Return for each character those that look like it.

    These are our own groups, and the radicals and compatibility ideographs that Unicode decomposes
    to one character (⼈ and 人, 金 and 金): they look the same but have other code points.
    """
    alike = _groups(_ALIKE, _LATIN)
    for code in (*range(0x2E80, 0x2FE0), *range(0xF900, 0xFB00), *range(0x2F800, 0x2FA20)):
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1 and plain != chr(code):
            alike.setdefault(plain, []).append(chr(code))
    return alike


def is_han(text: str) -> bool:
    """Return whether ``text`` is one unified Chinese character of the basic block."""
    return len(text) == 1 and "一" <= text <= "鿿"


def common_characters() -> Iterable[str]:
    """Yield the 3,755 characters of GB 2312 level 1, which everyone reads."""
    for row in range(0xB0, 0xD8):
        for cell in range(0xA1, 0xFF):
            try:
                yield bytes((row, cell)).decode("gb2312")
            except UnicodeDecodeError:
                continue
