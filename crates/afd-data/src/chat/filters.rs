//! Jinja's filters and tests, where minijinja's differ: what they take for defaults, how they print.

use minijinja::{
    Environment, Error, Value,
    value::{Rest, ValueKind, ValueOrKwargs},
};

use super::{
    methods::{bind, lines, strip},
    python,
};

type Args = Rest<ValueOrKwargs>;

/// Puts the filters and tests into the environment.
pub(super) fn add(env: &mut Environment<'_>) {
    env.add_filter("tojson", python::to_json);
    env.add_filter("string", |value: &Value| python::str(value));
    env.add_filter("trim", trim);
    env.add_filter("title", title);
    env.add_filter("indent", indent);
    for name in ["default", "d"] {
        env.add_filter(name, default);
    }
    for name in ["escape", "e", "forceescape"] {
        env.add_filter(name, escape);
    }
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_test("sequence", is_sequence);
    env.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    env.add_test("callable", is_callable);
}

/// Arguments by position or name.
pub(super) fn arguments<const N: usize>(
    args: Args,
    names: [&str; N],
) -> Result<[Option<Value>; N], Error> {
    let args: Vec<Value> = args.0.into_iter().map(ValueOrKwargs::into_value).collect();
    bind(&args, names)
}

fn is_on(flag: Option<Value>) -> bool {
    flag.is_some_and(|flag| flag.is_true())
}

fn trim(value: &Value, args: Args) -> Result<String, Error> {
    let [chars] = arguments(args, ["chars"])?;
    let chars = chars.as_ref().and_then(Value::as_str);
    Ok(strip(&python::str(value), chars, true, true).to_owned())
}

/// Words begin after white space, hyphens and opening brackets.
fn title(value: &Value) -> String {
    let mut out = String::new();
    let mut start = true;
    for c in python::str(value).chars() {
        match start {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
        start = python::is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    }
    out
}

fn indent(value: &Value, args: Args) -> Result<String, Error> {
    let [width, first, blank] = arguments(args, ["width", "first", "blank"])?;
    let (first, blank) = (is_on(first), is_on(blank));
    let margin = match width.as_ref().map(|width| (width.as_str(), width.as_i64())) {
        Some((Some(text), _)) => text.to_owned(),
        Some((None, Some(width))) => " ".repeat(usize::try_from(width).unwrap_or(0)),
        _ => " ".repeat(4),
    };
    // As in Jinja: a line end more, so that a last empty line is one of the lines.
    let text = python::str(value) + "\n";
    let mut out = String::new();
    for (i, line) in lines(&text, false).into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let inner = i > 0 && (blank || !line.is_empty());
        if inner || (i == 0 && first) {
            out.push_str(&margin);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn default(value: &Value, args: Args) -> Result<Value, Error> {
    let [default, boolean] = arguments(args, ["default_value", "boolean"])?;
    let missing = value.is_undefined() || (is_on(boolean) && !value.is_true());
    Ok(match missing {
        true => default.unwrap_or_else(|| Value::from("")),
        false => value.clone(),
    })
}

fn escape(value: &Value) -> String {
    let mut out = String::new();
    for c in python::str(value).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn int(value: &Value, args: Args) -> Result<Value, Error> {
    let [default, base] = arguments(args, ["default", "base"])?;
    let base = base.and_then(|base| u32::try_from(base).ok()).unwrap_or(10);
    let parsed = match value.as_str() {
        Some(text) => whole(text, base).or_else(|| number(text).map(|x| x as i64)),
        None => value
            .as_i64()
            .or_else(|| Some(f64::try_from(value.clone()).ok()? as i64)),
    };
    Ok(match parsed {
        Some(n) => Value::from(n),
        None if value.kind() == ValueKind::Bool => Value::from(i64::from(value.is_true())),
        None => default.unwrap_or_else(|| Value::from(0)),
    })
}

fn float(value: &Value, args: Args) -> Result<Value, Error> {
    let [default] = arguments(args, ["default"])?;
    let parsed = match value.as_str() {
        Some(text) => number(text),
        None => f64::try_from(value.clone()).ok(),
    };
    let default = || default.unwrap_or_else(|| Value::from(0.0));
    Ok(parsed.map_or_else(default, Value::from))
}

/// A text as Python's `int` reads it, in bases from 2 to 36.
fn whole(text: &str, base: u32) -> Option<i64> {
    let text = strip(text, None, true, true).replace('_', "");
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        3..=36 => "",
        _ => return None,
    };
    let digits = text.strip_prefix(prefix).unwrap_or(&text);
    i64::from_str_radix(digits, base).ok()
}

fn number(text: &str) -> Option<f64> {
    strip(text, None, true, true).replace('_', "").parse().ok()
}

/// Jinja's `sequence`: whatever has a length and items.
fn is_sequence(value: &Value) -> bool {
    let kinds = [
        ValueKind::String,
        ValueKind::Seq,
        ValueKind::Map,
        ValueKind::Undefined,
    ];
    kinds.contains(&value.kind()) || (value.kind() == ValueKind::Iterable && value.len().is_some())
}

/// Whether a value is a function or a macro.
fn is_callable(value: &Value) -> bool {
    let object = value.as_object().is_some();
    let kind = value.kind();
    object && (kind == ValueKind::Plain || (kind == ValueKind::Map && !python::is_dict(value)))
}
