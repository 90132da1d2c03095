"""A report in headless Chromium: opened, clicked, looked at, and what it said and asked for meanwhile."""

import base64
import json

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

DESKTOP = (1280, 900)
PHONE = (390, 844)
# A4 between its margins.
PAPER = (718, 1047)


class Page:
    """One tab without network. What goes out and what the console says is kept until somebody asks."""

    def __init__(self, chromium, chromedriver):
        options = Options()
        options.binary_location = str(chromium)
        for flag in [
            "--headless=new",
            # Root and containers cannot have the sandbox. The pages are our own.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            # No name leads anywhere.
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = Service(executable_path=str(chromedriver))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_page_load_timeout(60)
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.command("Network.enable")
        self.command("Network.emulateNetworkConditions", **offline)
        self.size(DESKTOP)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def command(self, name, **arguments):
        """One of Chromium's own commands, which WebDriver has no words for."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def open(self, path):
        """Loads a file; what was logged before is forgotten."""
        self.said(), self.requests()
        address = path.resolve().as_uri()
        self.driver.get(address)
        # On a busy machine the driver may still answer for the page before.
        self.until("return location.href === arguments[0] && document.readyState === 'complete'", address)

    def reload(self):
        self.driver.refresh()

    def said(self):
        """What the console has said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self):
        """The addresses asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def js(self, body, *arguments):
        return self.driver.execute_script(body, *arguments)

    def until(self, body, *arguments):
        """Waits for what an event brings about, which comes after what caused it."""
        WebDriverWait(self.driver, 20, poll_frequency=0.05).until(lambda _: self.js(body, *arguments))

    def settle(self):
        """Half a second for what should never happen."""
        self.driver.execute_async_script("setTimeout(arguments[0], 500)")

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector):
        self.one(selector).click()

    def texts(self, selector):
        """Of every such element, as the document has them and not as they are drawn."""
        return self.js("return Array.from(document.querySelectorAll(arguments[0]), n => n.textContent)", selector)

    def style(self, selector, name):
        """A computed style of the first such element."""
        script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
        return self.js(script, selector, name)

    def size(self, size):
        width, height = size
        mobile = size == PHONE
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )

    def media(self, scheme="light", kind=""):
        """What the system prefers, and whether this is paper (`print`)."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", media=kind, features=features)

    def overflow(self, scrolls=".wide, .plot, pre"):
        """By how many pixels the page is wider than the window, and what sticks out.

        What scrolls on its own may: tables, figures and code. On paper nothing does.
        """
        return self.js("""
            const width = document.documentElement.clientWidth;
            const out = Array.from(document.querySelectorAll("main *")).filter(node =>
                node.getBoundingClientRect().right > width + 0.5 && !node.closest(arguments[0]));
            const name = node => node.tagName.toLowerCase() + (node.id ? "#" + node.id : "");
            return [document.documentElement.scrollWidth - width, out.slice(0, 5).map(name)];
        """, scrolls)

    def picture(self, path):
        """The whole page, also what one would scroll to."""
        size = self.command("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self):
        """The page as a printer gets it."""
        return base64.b64decode(self.command("Page.printToPDF")["data"])
