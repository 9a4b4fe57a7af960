"""The page to try a model in a real browser: by keyboard, on a phone, with nothing from outside."""

from __future__ import annotations

import shutil

import pytest
from serving import serving

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
]
EVIL = "<img src=x onerror=\"document.title='taken'\"> 点击 http://yh-app.example/k2p"
LONG = "https://example.com/" + "a" * 300
KEY = "a-key"


@pytest.fixture(scope="module")
def served(learned_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with serving(folder, learned_run, headers={"X-API-Key": KEY}, SMSTUNE_API_KEY=KEY) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        # Root, as in a container, has no sandbox.
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=[(390, "dark"), (1280, "light")], ids=["phone", "desktop"])
def page(browser, served, request):
    """Open the page; afterwards nothing was asked from elsewhere and no script complained."""
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    asked, complaints = [], []
    page.on("request", lambda one: asked.append(one.url))
    page.on("pageerror", lambda one: complaints.append(str(one)))
    page.on("console", lambda one: complaints.append(one.text))
    page.goto(served.address)
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
    assert {f"{served.address}/{name}" for name in ("page.css", "page.js")} <= set(asked)
    assert all(url.startswith((served.address, "data:,")) for url in asked)
    assert complaints == []


def focused(page):
    return page.evaluate("document.activeElement.id || document.activeElement.className")


def type_and_classify(page, *lines, key=KEY):
    """Use the keyboard alone, from the top of the page."""
    page.keyboard.press("Tab")
    assert focused(page) == "texts"
    page.keyboard.insert_text("\n".join(lines))
    page.keyboard.press("Tab")
    assert focused(page) == "key"
    page.keyboard.insert_text(key)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")


def test_by_keyboard_alone(page, served):
    texts = ["彩票中奖率百分百，加微信 abc_1388", LONG]
    type_and_classify(page, texts[0], "", texts[1])
    page.get_by_text("2 messages answered.").wait_for()
    answers = served.client.post("/v1/classify", json={"texts": texts}).json()["answers"]
    shown = page.locator("#results > li")
    for at, answer in enumerate(answers):
        heading = shown.nth(at).get_by_role("heading").inner_text()
        assert heading == f"{answer['label']}, {100 * answer['score']:.1f} %"
        assert shown.nth(at).locator(".message").inner_text() == answer["text"]
        scores = shown.nth(at).locator(".scores li")
        assert scores.count() == len(answer["scores"])
        assert answer["label"] in scores.first.inner_text()
    assert shown.first.locator("mark").all_inner_texts() == ["[WECHAT]"]
    wide, *_, narrow = shown.first.locator(".bar span").all()
    assert wide.bounding_box()["width"] > 2 * narrow.bounding_box()["width"]

    page.keyboard.press("Tab")
    assert focused(page) == "explain"
    page.keyboard.press("Enter")
    shown.first.get_by_text("Red parts support").wait_for()
    found = served.client.post("/v1/explain", json={"text": texts[0]}).json()
    strongest = max(found["pieces"], key=lambda piece: abs(piece["score"] or 0))
    coloured = shown.first.locator("[title]").all()
    titles = [float(one.get_attribute("title").replace("−", "-")) for one in coloured]
    assert max(titles, key=abs) == pytest.approx(strongest["score"], abs=0.006)
    assert strongest["text"] in shown.first.locator(".explanation").inner_text()
    assert all("rgba" in one.evaluate("one => one.style.background") for one in coloured)


def test_markup_in_a_message_is_text(page):
    type_and_classify(page, EVIL)
    page.get_by_text("1 message answered.").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("Red parts support").wait_for()
    assert page.locator(".message").inner_text().startswith("<img src=x onerror=")
    assert page.locator("img").count() == 0
    assert page.title() != "taken"


def test_everything_has_a_name(page):
    for name in ("Messages, one per line", "API key"):
        assert page.get_by_label(name).count() == 1
    assert page.get_by_role("button", name="Classify").count() == 1
    assert page.get_by_role("status").count() == 1


def test_ctrl_enter_and_colours_that_can_be_read(page):
    page.get_by_label("API key").fill(KEY)
    page.get_by_label("Messages").fill("您好")
    page.keyboard.press("Control+Enter")
    page.get_by_text("1 message answered.").wait_for()
    for css in ("body", "p", "button[type=submit]", ".explain", "summary", "textarea"):
        for one in page.locator(css).all():
            assert one.evaluate(CONTRAST) >= 4.5, css


# The contrast of text and what is behind it, by WCAG 2.2; a background may be translucent.
CONTRAST = """element => {
  const numbers = (css) => css.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (node) => {
    const [r, g, b, alpha = 1] = numbers(getComputedStyle(node).backgroundColor);
    if (alpha === 1) return [r, g, b];
    const under = background(node.parentElement);
    return [r, g, b].map((value, channel) => alpha * value + (1 - alpha) * under[channel]);
  };
  const text = luminance(numbers(getComputedStyle(element).color).slice(0, 3));
  const behind = luminance(background(element));
  return (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
}"""  # noqa: E501


def test_a_wrong_key_is_told(browser, served):
    page = browser.new_page()
    page.goto(served.address)
    type_and_classify(page, "您好", key="wrong")
    page.get_by_text("Expected the server's API key").wait_for()
    page.close()
