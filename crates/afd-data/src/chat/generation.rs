//! The tag `{% generation %}`, which Jinja lacks, rewritten to one it has.
//!
//! Python's Jinja keeps the line end after `{% raw %}`, minijinja drops it: here it gets a `+`.
//!
//! transformers makes the tag a call block, and so is it here: `{% call mark() %} … {% endcall %}`,
//! which keeps white space, scopes and line numbers as they are. The function is called with the
//! block as `caller` and gives its text back, between [`OPEN`] and [`CLOSE`] where positions are
//! wanted.

use std::ops::Range;

/// What the blocks call where only the text is wanted.
pub(super) const PLAIN: &str = "__generation__";
/// What the blocks call where their places are wanted.
pub(super) const MARKED: &str = "__marked_generation__";

/// Stands before the text of a block: a code point that Unicode sets aside for no character.
pub(super) const OPEN: char = '\u{fdd0}';
/// Stands after the text of a block.
pub(super) const CLOSE: char = '\u{fdd1}';

/// The source with each generation block as a call of `function`, and how many there are.
///
/// Only the name between the tag's delimiters changes. Comments, the content of raw blocks and
/// texts between quotes are left alone.
pub(super) fn rewrite(source: &str, function: &str) -> (String, usize) {
    let mut out = String::with_capacity(source.len());
    let mut count = 0;
    let mut rest = source;
    while let Some(at) = next_tag(rest) {
        let (text, tag) = rest.split_at(at);
        out.push_str(text);
        let length = tag_length(tag);
        let (tag, after) = tag.split_at(length);
        match block_name(tag) {
            Some(name) if tag[name.clone()] == *"generation" => {
                count += 1;
                out.extend([
                    &tag[..name.start],
                    "call ",
                    function,
                    "()",
                    &tag[name.end..],
                ]);
            }
            Some(name) if tag[name.clone()] == *"endgeneration" => {
                out.extend([&tag[..name.start], "endcall", &tag[name.end..]]);
            }
            Some(name) if tag[name.clone()] == *"raw" => push_raw(&mut out, tag),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    (out, count)
}

/// A raw block, with the line end after its first tag kept.
fn push_raw(out: &mut String, block: &str) {
    let (tag, rest) = block.split_at(block.find("%}").unwrap_or(block.len()));
    let plus = if tag.ends_with(['-', '+']) { "" } else { "+" };
    out.extend([tag, plus, rest]);
}

/// Where the next `{{`, `{%` or `{#` stands.
fn next_tag(text: &str) -> Option<usize> {
    let pairs = text.as_bytes().windows(2);
    pairs
        .into_iter()
        .position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'))
}

/// The length of the tag at the start of `text`; that of a raw block runs to its end. A tag
/// without end takes all there is: the template's parser will say so.
fn tag_length(text: &str) -> usize {
    let end = match text.as_bytes()[1] {
        b'#' => text[2..].find("#}").map(|at| at + 4),
        b'%' => match expression_end(text, "%}") {
            Some(end) if is_raw(&text[..end]) => Some(end + raw_length(&text[end..])),
            end => end,
        },
        _ => expression_end(text, "}}"),
    };
    end.unwrap_or(text.len())
}

/// Where the tag ends whose expression begins after two bytes: quotes may hold its end, and open
/// braces of the expression are closed first.
fn expression_end(text: &str, close: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (2, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            _ if depth == 0 && text.is_char_boundary(at) && text[at..].starts_with(close) => {
                return Some(at + close.len());
            }
            quote @ (b'"' | b'\'') => at = string_end(bytes, at, quote),
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The index of the quote that ends the string opened at `start`.
fn string_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

/// The place of a block tag's first word within it.
fn block_name(tag: &str) -> Option<Range<usize>> {
    let inner = tag.strip_prefix("{%")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    let word = inner.trim_start();
    let start = tag.len() - word.len();
    let length = word
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(word.len());
    Some(start..start + length)
}

fn is_raw(tag: &str) -> bool {
    block_name(tag).is_some_and(|name| tag[name] == *"raw")
}

/// The length of a raw block's content and its end tag.
fn raw_length(text: &str) -> usize {
    let mut at = 0;
    while let Some(found) = text[at..].find("{%") {
        at += found;
        let end = text[at..].find("%}").map_or(text.len(), |end| at + end + 2);
        let tag = &text[at..end];
        if block_name(tag).is_some_and(|name| tag[name] == *"endraw") {
            return end;
        }
        at += 2;
    }
    text.len()
}

/// A marked text without its marks, and the byte ranges between them; those within others count
/// as part of the outer one. `None` if the marks are not in pairs.
pub(super) fn take_marks(marked: &str) -> Option<(String, Vec<Range<usize>>)> {
    let mut text = String::with_capacity(marked.len());
    let mut ranges = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    for c in marked.chars() {
        match c {
            OPEN => {
                start = if depth == 0 { text.len() } else { start };
                depth += 1;
            }
            CLOSE => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    ranges.push(start..text.len());
                }
            }
            c => text.push(c),
        }
    }
    (depth == 0).then_some((text, ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(source: &str) -> String {
        rewrite(source, "f").0
    }

    #[test]
    fn tags_keep_their_white_space_control() {
        assert_eq!(
            rewritten("a{%- generation -%} b {%endgeneration+%}"),
            "a{%- call f() -%} b {%endcall+%}"
        );
    }

    #[test]
    fn what_is_no_tag_is_left_alone() {
        for text in [
            "{# {% generation %} #}",
            "{% raw +%}{% generation %}{% endgeneration %}{% endraw %}",
            "{%- raw -%} {{ {% generation %} {%- endraw -%}",
            "{{ '{% generation %}' }}",
            "{{ \"\\\"{% generation %}\" }}",
            "{{ {'a': {'}}': '{% generation %}'}} }}",
            "{% set x = '%}{% generation %}' %}",
            "{% set generation = 1 %}{{ generation }}{% if generation %}{% endif %}",
            "{% generations %}",
            "{ % generation % }",
            "a { b {",
            // An expression that never ends: the parser will say so.
            "'{{{% generation %}",
        ] {
            assert_eq!(rewrite(text, "f"), (text.to_owned(), 0));
        }
    }

    #[test]
    fn a_tag_after_the_end_of_such_a_part_is_found() {
        for before in [
            "{# '#}",
            "{% raw +%}'{% endraw %}",
            "{{ {'a': {}} }}",
            "{{ 'é}}' }}",
            "{ { ",
        ] {
            let text = format!("{before}{{% generation %}}");
            assert_eq!(rewritten(&text), format!("{before}{{% call f() %}}"));
        }
    }

    #[test]
    fn a_raw_block_keeps_its_first_line_end() {
        assert_eq!(
            rewritten("{% raw %}\n{% endraw %}{%- raw -%}\n{% endraw %}"),
            "{% raw +%}\n{% endraw %}{%- raw -%}\n{% endraw %}"
        );
    }

    #[test]
    fn marks_become_ranges() {
        let (text, ranges) = take_marks("a\u{fdd0}bé\u{fdd1}c\u{fdd0}\u{fdd1}").unwrap();
        assert_eq!((text.as_str(), ranges), ("abéc", vec![1..4, 5..5]));
        let (text, ranges) = take_marks("\u{fdd0}a\u{fdd0}b\u{fdd1}\u{fdd1}").unwrap();
        assert_eq!(
            (text.as_str(), ranges.len(), &ranges[0]),
            ("ab", 1, &(0..2))
        );
        assert!(take_marks("\u{fdd1}\u{fdd0}").is_none());
        assert!(take_marks("\u{fdd0}").is_none());
    }
}
