"""What `cargo xtask browser` does to a report in headless Chromium.

`check.py REPORT --chromium PATH --chromedriver PATH [--screenshots DIR]` opens a copy of the report
without network, reads it, uses all that can be used in it, looks at it on a desk, on a phone and on
paper, and does the same to copies whose answers are attacks. Each check is a line; any that fails
makes the exit code 1. Screenshots are for people.
"""

import argparse
import pathlib
import re
import sys
import tempfile

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

import hostile
from page import DESKTOP, PAPER, PHONE, Page

# Prompts that the browser of answers lists before one asks for more.
PAGE = 20
# Whether every prompt that is open has its answers.
FILLED = "return !document.querySelector('#list > details[open] > .body:empty')"


class Checks:
    """Their results, told as they come."""

    def __init__(self):
        self.passed, self.failed = 0, []

    def __call__(self, holds, what, found=""):
        if holds:
            self.passed += 1
            print(f"ok      {what}")
        else:
            self.failed.append(what)
            print(f"FAILED  {what}" + (f": {found}" if found != "" else ""))

    def group(self, function, *arguments):
        """What is not there to go on with is a check that failed, and no end to the others."""
        print(f"\n{function.__doc__.splitlines()[0]}")
        try:
            function(self, *arguments)
        except (WebDriverException, LookupError, ValueError) as error:
            self(False, f"{function.__name__}: it cannot go on", f"{type(error).__name__} {error}".splitlines()[0])


def read(check, page):
    """Reading the report."""
    check(page.one("h1").text != "", "it has a title")
    check(len(page.one(".lead").text) > 40, "the finding stands on top", page.one(".lead").text)
    rows = page.js("""
        return Array.from(document.querySelector("main table").rows,
            row => Array.from(row.cells, cell => cell.innerText.trim()))""")
    check(len(rows) > 2, "the main table has rows", rows)
    check(len({len(row) for row in rows}) == 1, "all its rows are of one length", rows)
    empty = [row for row in rows if not all(row)]
    check(not empty, "no cell of it is empty", empty)

    figures = page.js("""
        return Array.from(document.querySelectorAll("figure"), figure => {
            const svg = figure.querySelector("svg"), box = svg ? svg.getBoundingClientRect() : {};
            const drawn = svg ? Array.from(svg.querySelectorAll(".series, .mark, .area, .whisker, .level, rect")) : [];
            const extent = drawn.map(node => node.getBoundingClientRect());
            return {
                caption: figure.querySelector("figcaption").innerText,
                width: box.width, height: box.height,
                drawn: extent.filter(box => box.width + box.height > 0).length,
                cut: Array.from(svg ? svg.querySelectorAll("text") : []).filter(text =>
                    text.getBoundingClientRect().right > box.right + 1).map(text => text.textContent),
                broken: svg ? /NaN|undefined|Infinity/.test(svg.outerHTML) : true,
            };
        })""")
    check(len(figures) > 0, "it has figures")
    for figure in figures:
        sound = figure["width"] > 300 and figure["height"] > 100 and figure["drawn"] > 0 and not figure["broken"]
        check(sound and figure["caption"], f"figure: {figure['caption'][:60]}", figure)
        check(not figure["cut"], "its names fit into it", figure["cut"])


def best(answers, score):
    """The place of the first of the best among those that rankers choose from."""
    scored = [(score(answer), -place) for place, answer in enumerate(answers) if "scores" in answer]
    return -max(scored)[1]


def golden(answer):
    return answer["golden"]


def chosen(prompt, ranker):
    return prompt["answers"][best(prompt["answers"], lambda answer: answer["scores"][ranker])]


def lost(prompt, ranker):
    """What a ranker's choice lacks against the best answer."""
    ceiling = prompt["answers"][best(prompt["answers"], golden)]
    return golden(ceiling) - golden(chosen(prompt, ranker))


def ordered(prompts, order, ranker):
    keys = {
        "number": lambda prompt: 0,
        "regret": lambda prompt: -lost(prompt, ranker),
        "chosen": lambda prompt: golden(chosen(prompt, ranker)),
    }
    return sorted(prompts, key=lambda prompt: (keys[order](prompt), prompt["number"]))


def listed(page):
    """The numbers of the prompts in the list, and what each says was lost."""
    numbers = page.js('return Array.from(document.querySelectorAll("#list > details"), n => +n.dataset.number)')
    values = page.texts("#list .lost")
    return numbers, [0.0 if text == "best chosen" else float(text.replace("−", "")) for text in values]


def counted(page):
    return [int(number) for number in re.findall(r"\d+", page.one("#count").text)]


def walk(check, page, data):
    """Going through the prompts."""
    prompts = data["prompts"]
    numbers, _ = listed(page)
    check(numbers == [prompt["number"] for prompt in prompts[:PAGE]], "prompts are listed in their order", numbers)
    for place, prompt in enumerate(prompts[:3]):
        box = page.all("#list > details")[place]
        box.find_element("css selector", "summary").click()
        page.until(FILLED)
        shown = page.js(
            "return Array.from(arguments[0].querySelectorAll('.answer .text'), n => n.textContent)", box
        )
        same = sorted(shown) == sorted(answer["text"] for answer in prompt["answers"])
        check(same, f"prompt {prompt['number']} opens with all {len(prompt['answers'])} answers", shown)
        badges = [badge.text for badge in box.find_elements("css selector", ".badge")]
        check(sorted(badges) == ["best by golden", "chosen"], "one is the choice, one the best", badges)
        who = page.js("return arguments[0].querySelector('.chosen b').textContent", box)
        check(who == chosen(prompt, 0)["who"], "the choice is the ranker's", who)
        box.find_element("css selector", ".scores summary").click()
        scores = [span.is_displayed() for span in box.find_elements("css selector", ".scores[open] span")]
        check(scores == [True] * len(data["rankers"]), "all its scores open", scores)
        summary = box.find_element("css selector", "summary")
        summary.send_keys(Keys.ENTER)
        check(box.get_attribute("open") is None, "it closes by the keyboard")
    while page.one("#more").is_displayed():
        before = len(page.all("#list > details"))
        page.click("#more")
        if len(page.all("#list > details")) == before:
            break
    check(len(listed(page)[0]) == len(prompts), "“More” leads to all of them", len(listed(page)[0]))


def filters(check, page, data):
    """Searching and ordering."""
    prompts, total = data["prompts"], len(data["prompts"])
    texts = [
        "\n".join([prompt["prompt"]] + [answer["text"] for answer in prompt["answers"]]).lower() for prompt in prompts
    ]
    having = lambda *words: [text for text in texts if all(word in text for word in words)]
    words = sorted({word for text in texts for word in re.findall(r"[a-z]{4,}", text)})
    rare = min(words, key=lambda word: (len(having(word)), word))
    other = next((word for word in re.findall(r"[a-z]{4,}", having(rare)[0]) if word != rare), rare)

    search = page.one("#search")
    for typed, expected in [
        (rare, len(having(rare))),
        (f"{other.upper()} {rare}", len(having(rare, other))),
        ("no prompt has these words: xqzxqz", 0),
        ("", total),
    ]:
        search.send_keys(Keys.CONTROL, "a")
        search.send_keys(typed or Keys.BACKSPACE)
        check(counted(page) == [expected, total], f"“{typed}” finds {expected} of {total}", counted(page))
        shown = len(page.all("#list > details"))
        check(shown == min(expected, PAGE), f"and lists {min(expected, PAGE)}", shown)

    orders = [option.get_attribute("value") for option in Select(page.one("#order")).options]
    rankers = [option.text for option in Select(page.one("#ranker")).options]
    check(rankers == data["rankers"], "every ranker can be chosen", rankers)
    for ranker, name in enumerate(rankers):
        Select(page.one("#ranker")).select_by_index(ranker)
        wrong = []
        for order in orders:
            Select(page.one("#order")).select_by_value(order)
            expected = ordered(prompts, order, ranker)[:PAGE]
            numbers, values = listed(page)
            near = all(abs(lost(prompt, ranker) - value) < 0.006 for prompt, value in zip(expected, values))
            if not near or numbers != [prompt["number"] for prompt in expected]:
                wrong.append(order)
        check(not wrong, f"by {name}: {len(orders)} orders and what was lost", wrong)


def switches(check, page):
    """Switching texts and theme."""
    was = page.one("#blur").text
    filtered = lambda: page.style(".text", "filter") != "none"
    before = filtered()
    page.click("#blur")
    check(filtered() != before and page.one("#blur").text != was, "texts blur and the button says so")
    page.click("#blur")
    check(filtered() == before and page.one("#blur").text == was, "and back")

    for scheme in ["light", "dark"]:
        # Which forgets what the switch was set to.
        page.reload()
        page.media(scheme)
        colours = lambda: (page.style("body", "backgroundColor"), page.style("body", "color"))
        first = colours()
        light = brightness(first[0]) > brightness(first[1])
        check(light == (scheme == "light"), f"where the system is {scheme}, so is the page", first)
        page.click("#theme")
        second = colours()
        turned = brightness(second[0]) > brightness(second[1])
        check(turned != light, "the switch turns it over", second)
        page.media(scheme, kind="print")
        check(brightness(colours()[1]) < 100, "on paper the ink is dark all the same", colours())
        page.media(scheme)
        page.click("#theme")
        check(colours() == first, "and back", colours())
    page.media("light")


def brightness(colour):
    red, green, blue = [float(number) for number in re.findall(r"[\d.]+", colour)[:3]]
    return (red + green + blue) / 3


def looks(check, page, screenshots):
    """Looking at it on a desk, on a phone and on paper."""
    for summary in page.all("#list > details > summary")[:2]:
        summary.click()
    page.until(FILLED)
    for name, size in [("desktop", DESKTOP), ("phone", PHONE)]:
        page.size(size)
        for scheme in ["light", "dark"]:
            page.media(scheme)
            wide, out = page.overflow()
            check(wide <= 0 and not out, f"{name}, {scheme}: {size[0]} pixels are enough", (wide, out))
            if screenshots:
                page.picture(screenshots / f"{name}-{scheme}.png")
    page.size(PAPER)
    page.media("light", kind="print")
    wide, out = page.overflow(scrolls="svg")
    check(wide <= 0 and not out, "paper cuts nothing off", (wide, out))
    for what in ["#browser", "#theme", "#blur"]:
        check(not page.one(what).is_displayed(), f"paper has no {what}")
    missing = [figure.text for figure in page.all("figure") if not figure.is_displayed()]
    check(not missing, "paper has every figure", missing)
    if screenshots:
        page.picture(screenshots / "print.png")
    page.media("light")
    printed = page.pdf()
    check(printed.startswith(b"%PDF") and len(printed) > 10_000, "it can be printed", len(printed))
    if screenshots:
        (screenshots / "print.pdf").write_bytes(printed)


def quiet(check, page, address):
    """What it said and asked for meanwhile."""
    said, requests = page.said(), page.requests()
    check(not said, "the console is empty", said)
    check(set(requests) == {address}, "nothing was asked for but the file", sorted(set(requests)))
    check(len(page.driver.window_handles) == 1, "no window opened")


def attacked(check, page, screenshots):
    """Answers that are attacks."""
    check(page.js("return window.pwned") is None, "nothing ran on opening it")
    while page.one("#more").is_displayed():
        page.click("#more")
    page.js("for (const node of document.querySelectorAll('#list > details')) node.open = true")
    page.until(FILLED)
    page.js("for (const node of document.querySelectorAll('#list .scores')) node.open = true")
    for what in ["#list .text", "#list .who b", ".text", "#ranker option"]:
        texts = page.texts(what)
        shown = len(texts) > 0 and set(texts) == {hostile.ATTACK}
        check(shown, f"all {len(texts)} of {what} show the attack as it was written", set(texts))
    for selector in ["#ranker", "#order"]:
        for index in range(len(Select(page.one(selector)).options)):
            Select(page.one(selector)).select_by_index(index)
    page.one("#search").send_keys(hostile.ATTACK[:30])
    check(counted(page)[0] == counted(page)[1], "it can be searched for", counted(page))
    page.click("#blur")
    page.click("#blur")
    page.settle()
    check(page.js("return window.pwned") is None, "nothing ran with every answer open")
    made = page.js('return document.querySelectorAll("img, iframe, object, [onerror], [onload]").length')
    check(made == 0, "no element came of it", made)
    for name, size in [("phone", PHONE), ("desktop", DESKTOP)]:
        page.size(size)
        wide, out = page.overflow()
        check(wide <= 0 and not out, f"{name}: {size[0]} pixels are enough", (wide, out))
    if screenshots:
        page.picture(screenshots / "attacked.png")


def guarded(check, page, folder, report):
    """The page's own policy, and whether these checks would notice."""
    page.open(write(folder / "careless.html", hostile.careless(report)))
    page.settle()
    check(page.js("return window.pwned") is None, "unescaped, the attack is stopped by the policy")
    check(page.said(), "and the console says so")
    page.open(write(folder / "defenceless.html", hostile.defenceless(report)))
    page.until("return window.pwned === 1")
    check(page.js("return window.pwned") == 1, "without the policy it succeeds, which is noticed")
    asked = page.requests()
    check("http://afd.invalid/x" in asked, "so is what it asks for", asked)


def write(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return path


def run(check, page, report, folder, screenshots):
    # In a folder of its own, so that it can need nothing beside it.
    copy = write(folder / "report.html", report)
    page.media("light")
    page.open(copy)
    check.group(read, page)
    data = hostile.samples(report)
    without = re.search(r"\bbrowser_prompts = 0\b", report) is not None
    check((data is None) == without, "it has a browser of answers, if it was to have one")
    if data is None:
        check.group(quiet, page, copy.as_uri())
        return
    check.group(walk, page, data)
    check.group(filters, page, data)
    check.group(switches, page)
    check.group(quiet, page, copy.as_uri())
    page.open(copy)
    check.group(looks, page, screenshots)
    check.group(quiet, page, copy.as_uri())

    other = hostile.escaped_otherwise(report)
    check(not other, "its writer escapes as hostile.py does", other[:3])
    page.size(DESKTOP)
    copy = write(folder / "attacked.html", hostile.hostile(report))
    page.open(copy)
    check.group(attacked, page, screenshots)
    check.group(quiet, page, copy.as_uri())
    check.group(guarded, page, folder, report)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--chromium", type=pathlib.Path, required=True)
    parser.add_argument("--chromedriver", type=pathlib.Path, required=True)
    parser.add_argument("--screenshots", type=pathlib.Path)
    args = parser.parse_args()
    if args.screenshots:
        args.screenshots.mkdir(parents=True, exist_ok=True)
    report = args.report.read_bytes().decode("utf-8")
    check = Checks()
    with tempfile.TemporaryDirectory() as folder, Page(args.chromium, args.chromedriver) as page:
        print(f"{page.driver.capabilities['browserName']} {page.driver.capabilities['browserVersion']}")
        run(check, page, report, pathlib.Path(folder).resolve(), args.screenshots)
    print(f"\n{check.passed} checks passed, {len(check.failed)} failed")
    for what in check.failed:
        print(f"  {what}")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
