//! Python's methods of texts, dictionaries and lists, where pycompat's differ or are missing.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Tuple, ValueKind},
};
use minijinja_contrib::pycompat;

use super::python::{is_space, pairs};

/// Calls `value.method(args)`.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let own = match (value.kind(), value.as_str()) {
        (_, Some(text)) => of_text(text, method, args)?,
        (ValueKind::Map, _) => of_dict(value, method, args)?,
        (ValueKind::Seq | ValueKind::Iterable, _) => of_list(value, method, args)?,
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// Arguments by position or name; `None` where an argument is left out or `none`.
pub(super) fn bind<const N: usize>(
    args: &[Value],
    names: [&str; N],
) -> Result<[Option<Value>; N], Error> {
    let (positional, kwargs) = match args.split_last() {
        Some((last, rest)) if last.is_kwargs() => (rest, Some(Kwargs::try_from(last.clone())?)),
        _ => (args, None),
    };
    if positional.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut bound = [const { None }; N];
    for (i, name) in names.iter().enumerate() {
        let named = match &kwargs {
            Some(kwargs) => kwargs.get::<Option<Value>>(name)?,
            None => None,
        };
        let value = positional.get(i).cloned().or(named);
        bound[i] = value.filter(|value| !value.is_none());
    }
    kwargs.map_or(Ok(()), |kwargs| kwargs.assert_all_used())?;
    Ok(bound)
}

/// A text that must be given.
fn text_of(value: Option<&Value>) -> Result<&str, Error> {
    let text = value.and_then(Value::as_str);
    text.ok_or_else(|| invalid("a text is expected here"))
}

fn whole(value: Option<Value>) -> Result<Option<i64>, Error> {
    value.map(i64::try_from).transpose()
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn list(items: impl IntoIterator<Item = impl Into<Value>>) -> Value {
    Value::from(items.into_iter().map(Into::into).collect::<Vec<Value>>())
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let [set] = bind(args, ["chars"])?;
            let set = set.as_ref().map(|set| text_of(Some(set))).transpose()?;
            Value::from(strip(text, set, method != "rstrip", method != "lstrip"))
        }
        "split" | "rsplit" => {
            let [separator, most] = bind(args, ["sep", "maxsplit"])?;
            let separator = separator.as_ref().map(|s| text_of(Some(s))).transpose()?;
            let most = whole(most)?.and_then(|most| usize::try_from(most).ok());
            list(split(text, separator, most, method == "rsplit")?)
        }
        "splitlines" => {
            let [keep] = bind(args, ["keepends"])?;
            list(lines(text, keep.is_some_and(|keep| keep.is_true())))
        }
        "partition" | "rpartition" => {
            let [separator] = bind(args, ["sep"])?;
            let separator = text_of(separator.as_ref())?;
            let found = if method == "partition" {
                text.find(separator)
            } else {
                text.rfind(separator)
            };
            let parts = match (found, method) {
                (Some(at), _) => [&text[..at], separator, &text[at + separator.len()..]],
                (None, "partition") => [text, "", ""],
                (None, _) => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "removeprefix" => {
            let [prefix] = bind(args, ["prefix"])?;
            Value::from(text.strip_prefix(text_of(prefix.as_ref())?).unwrap_or(text))
        }
        "removesuffix" => {
            let [suffix] = bind(args, ["suffix"])?;
            Value::from(text.strip_suffix(text_of(suffix.as_ref())?).unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let [what, start, end] = bind(args, ["sub", "start", "end"])?;
            let (offset, part) = window(text, whole(start)?, whole(end)?);
            let what = text_of(what.as_ref())?;
            if method == "count" {
                return Ok(Some(Value::from(part.matches(what).count())));
            }
            let at = if method.starts_with('r') {
                part.rfind(what)
            } else {
                part.find(what)
            };
            match at {
                Some(at) => Value::from(offset + part[..at].chars().count()),
                None if method.ends_with("find") => Value::from(-1),
                None => return Err(invalid("substring not found")),
            }
        }
        "join" => {
            let [items] = bind(args, ["iterable"])?;
            let items: Vec<Value> = items.unwrap_or_default().try_iter()?.collect();
            let texts = items.iter().map(|item| text_of(Some(item)));
            Value::from(texts.collect::<Result<Vec<_>, _>>()?.join(text))
        }
        "title" => Value::from(title(text)),
        "isspace" => Value::from(!text.is_empty() && text.chars().all(is_space)),
        "swapcase" => {
            let swap = |c: char| match c.is_uppercase() {
                true => c.to_lowercase().to_string(),
                false => c.to_uppercase().to_string(),
            };
            Value::from(text.chars().map(swap).collect::<String>())
        }
        "zfill" | "ljust" | "rjust" | "center" => {
            let [width, fill] = bind(args, ["width", "fillchar"])?;
            let width = whole(width)?.ok_or_else(|| invalid("a width is expected here"))?;
            let fill = fill.as_ref().map_or(Ok(" "), |fill| text_of(Some(fill)))?;
            Value::from(pad(text, method, width, fill))
        }
        _ => return Ok(None),
    }))
}

/// The text without white space, or without the characters of `set`, at the ends wanted.
pub(super) fn strip<'a>(text: &'a str, set: Option<&str>, left: bool, right: bool) -> &'a str {
    let cut = |c: char| set.map_or_else(|| is_space(c), |set| set.contains(c));
    let text = if left {
        text.trim_start_matches(cut)
    } else {
        text
    };
    if right {
        text.trim_end_matches(cut)
    } else {
        text
    }
}

/// At most `most` cuts, from the end if `backwards`.
fn split<'a>(
    text: &'a str,
    separator: Option<&str>,
    most: Option<usize>,
    backwards: bool,
) -> Result<Vec<&'a str>, Error> {
    let Some(separator) = separator else {
        return Ok(split_space(text, most, backwards));
    };
    if separator.is_empty() {
        return Err(invalid("empty separator"));
    }
    let parts = most.map_or(usize::MAX, |most| most.saturating_add(1));
    Ok(if backwards {
        let mut parts: Vec<&str> = text.rsplitn(parts, separator).collect();
        parts.reverse();
        parts
    } else {
        text.splitn(parts, separator).collect()
    })
}

/// Words; after `most` cuts the rest is one, with its inner white space.
fn split_space(text: &str, most: Option<usize>, backwards: bool) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = strip(text, None, !backwards, backwards);
    while !rest.is_empty() {
        let cut = match backwards {
            _ if most == Some(words.len()) => None,
            false => rest.find(is_space),
            true => rest.rfind(is_space),
        };
        let (word, more) = match cut {
            None => (rest, ""),
            Some(at) if backwards => {
                let word = &rest[at..];
                (strip(word, None, true, false), &rest[..at])
            }
            Some(at) => rest.split_at(at),
        };
        words.push(word);
        rest = strip(more, None, !backwards, backwards);
    }
    if backwards {
        words.reverse();
    }
    words
}

/// Python's lines: more characters than a line feed end one.
pub(super) fn lines(text: &str, keep: bool) -> Vec<&str> {
    const ENDS: &[char] = &[
        '\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}',
        '\u{2029}',
    ];
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(ENDS).unwrap_or(rest.len());
        let end = match &rest[at..] {
            end if end.starts_with("\r\n") => 2,
            end => end.chars().next().map_or(0, char::len_utf8),
        };
        lines.push(&rest[..if keep { at + end } else { at }]);
        rest = &rest[at + end..];
    }
    lines
}

/// The part from character `start` to `end`, as slices count, and where it begins.
fn window(text: &str, start: Option<i64>, end: Option<i64>) -> (usize, &str) {
    let length = text.chars().count() as i64;
    let place = |at: i64| (if at < 0 { at + length } else { at }).clamp(0, length) as usize;
    let (start, end) = (start.map_or(0, place), end.map_or(length as usize, place));
    let byte = |at: usize| {
        text.char_indices()
            .nth(at)
            .map_or(text.len(), |(byte, _)| byte)
    };
    (start, &text[byte(start)..byte(end).max(byte(start))])
}

/// `str.title()`: a letter is upper case after everything that is none.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        inside = c.is_alphabetic();
    }
    out
}

fn pad(text: &str, method: &str, width: i64, fill: &str) -> String {
    let missing = usize::try_from(width).unwrap_or(0);
    let missing = missing.saturating_sub(text.chars().count());
    match method {
        "ljust" => format!("{text}{}", fill.repeat(missing)),
        "rjust" => format!("{}{text}", fill.repeat(missing)),
        "center" => {
            let left = missing / 2 + (missing & usize::try_from(width).unwrap_or(0) & 1);
            format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left))
        }
        _ => {
            let sign = text.starts_with(['+', '-']);
            let (sign, digits) = text.split_at(usize::from(sign));
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
    }
}

fn of_dict(dict: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let pairs = || pairs(dict).into_iter();
    Ok(Some(match method {
        "items" => {
            let [] = bind(args, [])?;
            list(pairs().map(|(key, value)| Value::from(Tuple::from([key, value]))))
        }
        "keys" => {
            let [] = bind(args, [])?;
            list(pairs().map(|(key, _)| key))
        }
        "values" => {
            let [] = bind(args, [])?;
            list(pairs().map(|(_, value)| value))
        }
        "copy" => {
            let [] = bind(args, [])?;
            Value::from_pairs(pairs())
        }
        _ => return Ok(None),
    }))
}

fn of_list(items: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "index" => {
            let [what] = bind(args, ["value"])?;
            let what = what.unwrap_or(Value::from(()));
            let at = items.try_iter()?.position(|item| item == what);
            Value::from(at.ok_or_else(|| invalid("the value is not in the list"))?)
        }
        "copy" => {
            let [] = bind(args, [])?;
            list(items.try_iter()?)
        }
        _ => return Ok(None),
    }))
}
