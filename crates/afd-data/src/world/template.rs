//! A tiny template language for the world's tables: `[a|b]` is a choice, `{name}` a slot.
//!
//! `expand` writes one text of a template, `matches` reads it back, `expansions` lists them all.
//! Choices hold plain text only: no slot and no choice inside a choice.

use rand::Rng;

/// The slots of a template: a name and the texts it may stand for.
pub(super) type Slots<'a> = [(&'a str, &'a [&'a str])];

/// Writes one text: each choice is drawn uniformly, each slot is replaced by `fill(name)`.
pub(super) fn expand<R: Rng>(
    template: &str,
    rng: &mut R,
    mut fill: impl FnMut(&str, &mut R) -> String,
) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(piece) = next_piece(&mut rest) {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::Choice(options) => {
                let options: Vec<_> = options.split('|').collect();
                text.push_str(pick(&options, rng));
            }
            Piece::Slot(name) => text.push_str(&fill(name, rng)),
        }
    }
    text
}

/// Reads `text` back: the value of slot `wanted` if `template` can write exactly `text`.
///
/// A template without the slot `wanted` gives an empty value. A slot that `slots` lacks matches
/// nothing.
pub(super) fn matches<'a>(
    template: &str,
    text: &str,
    slots: &Slots<'a>,
    wanted: &str,
) -> Option<&'a str> {
    let mut rest = template;
    match next_piece(&mut rest) {
        None => text.is_empty().then_some(""),
        Some(Piece::Text(literal)) => matches(rest, text.strip_prefix(literal)?, slots, wanted),
        Some(Piece::Choice(options)) => options
            .split('|')
            .filter_map(|option| text.strip_prefix(option))
            .find_map(|tail| matches(rest, tail, slots, wanted)),
        Some(Piece::Slot(name)) => {
            let (_, values) = slots.iter().find(|(slot, _)| *slot == name)?;
            values.iter().find_map(|value| {
                let tail = matches(rest, text.strip_prefix(value)?, slots, wanted)?;
                Some(if name == wanted { *value } else { tail })
            })
        }
    }
}

/// Every text of a template without slots (a slot is kept as `{name}`).
pub(super) fn expansions(template: &str) -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut rest = template;
    while let Some(piece) = next_piece(&mut rest) {
        let slot;
        let options: Vec<&str> = match piece {
            Piece::Text(literal) => vec![literal],
            Piece::Choice(options) => options.split('|').collect(),
            Piece::Slot(name) => {
                slot = format!("{{{name}}}");
                vec![&slot]
            }
        };
        texts = texts
            .iter()
            .flat_map(|text| options.iter().map(move |o| format!("{text}{o}")))
            .collect();
    }
    texts
}

/// One element of a non-empty table, drawn uniformly.
///
/// # Panics
/// On an empty table, which the world's constants never hold.
pub(super) fn pick<T: Copy, R: Rng>(table: &[T], rng: &mut R) -> T {
    table[rng.random_range(0..table.len())]
}

enum Piece<'t> {
    Text(&'t str),
    Choice(&'t str),
    Slot(&'t str),
}

/// Takes the next piece off `rest`. An unclosed bracket is read as text.
fn next_piece<'t>(rest: &mut &'t str) -> Option<Piece<'t>> {
    let all = *rest;
    let close = match all.chars().next()? {
        '[' => all.find(']'),
        '{' => all.find('}'),
        _ => None,
    };
    if let Some(end) = close {
        *rest = &all[end + 1..];
        let inner = &all[1..end];
        return Some(if all.starts_with('[') {
            Piece::Choice(inner)
        } else {
            Piece::Slot(inner)
        });
    }
    let end = all[1..].find(['[', '{']).map_or(all.len(), |at| at + 1);
    *rest = &all[end..];
    Some(Piece::Text(&all[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn expansions_are_the_product_of_the_choices() {
        let all = expansions("[a|b] c [|d ]{x}.");
        assert_eq!(all, ["a c {x}.", "a c d {x}.", "b c {x}.", "b c d {x}."]);
    }

    #[test]
    fn what_expand_writes_matches_reads_back() {
        let slots: &Slots<'_> = &[("x", &["red", "red fox"]), ("y", &["now", "fox now"])];
        let template = "[a|the] {x} [|is ]{y}.";
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..50 {
            let mut drawn = "";
            let text = expand(template, &mut rng, |name, rng| {
                let values = if name == "x" { slots[0].1 } else { slots[1].1 };
                let value = pick(values, rng);
                if name == "y" {
                    drawn = value;
                }
                value.to_owned()
            });
            let read = matches(template, &text, slots, "y").unwrap();
            // "red fox now" has two readings; both end in the drawn value's last word.
            assert!(
                read == drawn || text.contains("red fox now"),
                "{text}: {read} {drawn}"
            );
        }
        assert_eq!(matches(template, "the red now", slots, "x"), None);
        assert_eq!(matches(template, "the red now. More", slots, "x"), None);
        assert_eq!(
            matches(template, "the red fox is now.", slots, "x"),
            Some("red fox")
        );
    }
}
