//! The Jinja that transformers renders chat templates with: its options, functions and filters.

use chrono::{DateTime, Local, NaiveDateTime, format::StrftimeItems};
use minijinja::{
    Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, Rest},
};
use minijinja_contrib::globals;

use super::{
    filters,
    generation::{CLOSE, MARKED, OPEN, PLAIN},
    methods, python,
};

/// What a template said through `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

/// An environment without templates; `now` is the moment `strftime_now` tells, `None` the present.
pub(super) fn environment(now: Option<i64>) -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()?;
    env.set_syntax(syntax);
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_formatter(write_value);
    env.set_unknown_method_callback(methods::call);

    env.add_function("raise_exception", raise_exception);
    env.add_function("strftime_now", move |format: &str| strftime(now, format));
    env.add_function(PLAIN, |state: &mut State<'_, '_>, kwargs: Kwargs| {
        caller(state, &kwargs)
    });
    env.add_function(MARKED, |state: &mut State<'_, '_>, kwargs: Kwargs| {
        caller(state, &kwargs).map(|text| format!("{OPEN}{text}{CLOSE}"))
    });
    env.add_function("cycler", |items: Rest<Value>| globals::cycler(items.0));
    env.add_function("joiner", globals::joiner);
    filters::add(&mut env);
    Ok(env)
}

fn write_value(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.write_str(text),
        None => out.write_str(&python::str(value)),
    }
    .map_err(Error::from)
}

fn raise_exception(message: &Value) -> Result<Value, Error> {
    let message = python::str(message);
    let error = Error::new(ErrorKind::InvalidOperation, message.clone());
    Err(error.with_source(Raised(message)))
}

/// The text of a call block.
fn caller(state: &mut State<'_, '_>, kwargs: &Kwargs) -> Result<String, Error> {
    let block: Value = kwargs.get("caller")?;
    Ok(python::str(&block.call(state, &[])?))
}

fn strftime(now: Option<i64>, format: &str) -> Result<String, Error> {
    let now: NaiveDateTime = match now {
        Some(seconds) => DateTime::from_timestamp(seconds, 0)
            .unwrap_or_default()
            .naive_utc(),
        None => Local::now().naive_local(),
    };
    let items = StrftimeItems::new(format).parse();
    let items = items.map_err(|_| {
        let message = format!("strftime_now does not know the format {format:?}");
        Error::new(ErrorKind::InvalidOperation, message)
    })?;
    Ok(now.format_with_items(items.iter()).to_string())
}
