//! How Python writes values: `str()`, `repr()` and `json.dumps`, which templates see by printing.

use std::fmt::Write;

use minijinja::{
    Error, ErrorKind, Value,
    value::{Rest, ValueKind, ValueOrKwargs},
};

use super::filters::arguments;

/// Python's `str.strip()` set: Rust's white space and four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str(value)`; an undefined value is empty.
pub(super) fn str(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => repr(value),
    }
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> String {
    let list = |open: &str, close: &str| {
        let items: Option<Vec<String>> = value
            .try_iter()
            .ok()
            .map(|items| items.map(|item| repr(&item)).collect());
        items.map_or_else(
            || value.to_string(),
            |items| format!("{open}{}{close}", items.join(", ")),
        )
    };
    match value.kind() {
        ValueKind::Undefined => "Undefined".to_owned(),
        ValueKind::String => value.as_str().map_or_else(String::new, repr_str),
        ValueKind::Number if !value.is_integer() => {
            f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
        }
        ValueKind::Map if is_dict(value) => {
            let pairs = pairs(value);
            let pairs = pairs
                .iter()
                .map(|(k, v)| format!("{}: {}", repr(k), repr(v)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        ValueKind::Seq if value.is_tuple() && value.len() == Some(1) => list("(", ",)"),
        ValueKind::Seq if value.is_tuple() => list("(", ")"),
        ValueKind::Seq | ValueKind::Iterable => list("[", "]"),
        _ => value.to_string(),
    }
}

/// Whether a map is a dictionary, not a macro or another object with attributes.
pub(super) fn is_dict(value: &Value) -> bool {
    let text = value.to_string();
    text.starts_with('{')
}

/// Keys and values in order.
pub(super) fn pairs(value: &Value) -> Vec<(Value, Value)> {
    let pairs = value.as_object().and_then(|map| map.try_iter_pairs());
    pairs.into_iter().flatten().collect()
}

/// A float in its shortest form, with an exponent where Python takes one.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) || value == 0.0 {
        let plain = value.to_string();
        let point = if plain.contains('.') { "" } else { ".0" };
        return plain + point;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            c if is_printable(c) => out.push(c),
            c => escape(&mut out, u32::from(c)),
        }
    }
    out.push(quote);
    out
}

/// Whether Rust prints a character as it is; not the first of its text, where it would not print
/// a combining one.
fn is_printable(c: char) -> bool {
    let text = String::from_iter(['a', c]);
    c == '"' || c == '\'' || (text.escape_debug().count() == 2 && !is_space(c))
}

fn escape(out: &mut String, code: u32) {
    let escaped = match code {
        0..=0xff => format!("\\x{code:02x}"),
        0x100..=0xffff => format!("\\u{code:04x}"),
        _ => format!("\\U{code:08x}"),
    };
    out.push_str(&escaped);
}

/// The filter `tojson` of transformers: `json.dumps` without escaping for HTML.
pub(super) fn to_json(value: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = arguments(args, names)?;
    let indent = indent.map(|indent| match indent.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(
            indent
                .as_i64()
                .map_or(0, |n| usize::try_from(n).unwrap_or(0)),
        ),
    });
    let separators = match separators {
        Some(pair) => [
            str(&pair.get_item_by_index(0)?),
            str(&pair.get_item_by_index(1)?),
        ],
        None => [if indent.is_some() { "," } else { ", " }, ": "].map(String::from),
    };
    let is_on = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let mut json = Json {
        out: String::new(),
        ensure_ascii: is_on(ensure_ascii),
        sort_keys: is_on(sort_keys),
        indent,
        separators,
    };
    json.value(value, 0)?;
    Ok(Value::from(json.out))
}

/// `json.dumps` under way.
struct Json {
    out: String,
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    /// Between items, and between a key and its value.
    separators: [String; 2],
}

impl Json {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Map if is_dict(value) => return self.map(value, depth),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items('[', ']', depth, items.len(), |json, i| {
                    json.value(&items[i], depth + 1)
                })?;
            }
            kind => {
                let message = format!("a value of type {kind} is not JSON serializable");
                return Err(Error::new(ErrorKind::BadSerialization, message));
            }
        }
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut pairs = pairs(value);
        if self.sort_keys {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self.items('{', '}', depth, pairs.len(), |json, i| {
            let (key, value) = &pairs[i];
            match key.kind() {
                ValueKind::None => json.text("null"),
                ValueKind::Bool => json.text(if key.is_true() { "true" } else { "false" }),
                ValueKind::Number => json.text(&number(key)),
                _ => json.text(&str(key)),
            }
            let [_, colon] = &json.separators;
            json.out.push_str(colon);
            json.value(value, depth + 1)
        })
    }

    fn items(
        &mut self,
        open: char,
        close: char,
        depth: usize,
        count: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for i in 0..count {
            if i > 0 {
                let [comma, _] = &self.separators;
                self.out.push_str(comma);
            }
            self.line(depth + 1);
            item(self, i)?;
        }
        if count > 0 {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\0'..='\u{1f}' => self.unicode(c),
                c if self.ensure_ascii && c > '~' => self.unicode(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn unicode(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _ = write!(self.out, "\\u{unit:04x}");
        }
    }
}

/// A number as JSON, where the floats that are none have names of their own.
fn number(value: &Value) -> String {
    match repr(value).as_str() {
        "nan" => "NaN".to_owned(),
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        text => text.to_owned(),
    }
}
