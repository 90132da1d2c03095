"""Copies of a report in which every answer is an attack.

The attacks stand where answers stand, escaped as the report's writer escapes them
(`crates/afd-eval/src/report/html.rs: escape`, `browser.rs: harmless`). That these are the same rules
is checked on the report itself: its own texts, read and escaped again, must come out as they stand.
"""

import html
import json
import re

ATTACK = (
    "<script>window.pwned=1</script><img src=x onerror=\"window.pwned=1\">"
    "</script><script>window.pwned=1</script><!--<svg onload='window.pwned=1'>&lt;b&gt; \u2028 `${window.pwned=1}`"
)
# Asks for something outside, so that it shows whether that would be noticed.
UNESCAPED = '<script>window.pwned=1</script><img src="http://afd.invalid/x" onerror="window.pwned=1">'

DATA = re.compile(r'(<script type="application/json" id="samples">)([^<]*)(</script>)')
TEXT = re.compile(r'(<div class="text(?: prompt)?">)([^<]*)(</div>)')
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def samples(report):
    """The data of the browser of answers, or None."""
    found = DATA.search(report)
    return json.loads(found[2]) if found else None


def hostile(report):
    """With the attack in place of every prompt, answer, name of a policy and name of a ranker."""
    data = samples(report)
    data["rankers"] = [ATTACK for _ in data["rankers"]]
    for prompt in data["prompts"]:
        prompt["prompt"] = ATTACK
        for answer in prompt["answers"]:
            answer["who"] = answer["text"] = ATTACK
    report = DATA.sub(lambda found: found[1] + as_data(data) + found[3], report)
    return TEXT.sub(lambda found: found[1] + as_text(ATTACK) + found[3], report)


def careless(report):
    """As a writer that escapes nothing would have left it: the page's own policy is all that is left."""
    return report.replace("</main>", f'<div class="text">{UNESCAPED}</div></main>', 1)


def defenceless(report):
    """Without that policy too: here the attack must succeed, or looking for it proves nothing."""
    return POLICY.sub("", careless(report))


def escaped_otherwise(report):
    """The report's own texts that its writer escaped by other rules than ours."""
    block = DATA.search(report)[2]
    other = [text for text in strings(json.loads(block)) if as_data(text) not in block]
    return other + [text for _, text, _ in TEXT.findall(report) if as_text(html.unescape(text)) != text]


def strings(value):
    """Every string in what JSON holds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


def as_data(value):
    """JSON that neither ends an element nor begins one."""
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", written)


def as_text(text):
    """Between tags."""
    for plain, safe in [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&#39;")]:
        text = text.replace(plain, safe)
    return text
