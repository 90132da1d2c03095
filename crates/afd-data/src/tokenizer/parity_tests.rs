//! Ids and decoded texts against transformers, on tokenizers of every kind and awkward texts.
//!
//! `testdata/tokenizers/make.py` made the files; it says with which versions, and what the keys
//! of `cases.json` mean.

use std::{collections::BTreeMap, io::Write};

use super::*;

#[derive(Deserialize)]
struct Cases {
    texts: BTreeMap<String, String>,
    tokenizers: BTreeMap<String, BTreeMap<String, Case>>,
}

#[derive(Deserialize)]
struct Case {
    ids: Vec<u32>,
    begin: Vec<u32>,
    text: Option<String>,
    plain: Option<String>,
}

/// The files of this crate, or those that `cargo xtask parity` has just made.
fn testdata() -> PathBuf {
    let made = std::env::var_os("AFD_PARITY").map(PathBuf::from);
    made.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"))
}

/// Tells `cargo xtask parity` how many texts differ, of which none may.
fn record(what: &str, differing: usize) {
    if std::env::var_os("AFD_PARITY").is_none() {
        return;
    }
    let path = testdata().join("results.tsv");
    let mut options = std::fs::File::options();
    let mut file = options.create(true).append(true).open(path).unwrap();
    // One write: tests run side by side.
    let line = format!("{what}\t{differing:e}\t0e0\n");
    file.write_all(line.as_bytes()).unwrap();
}

/// What differs, if anything: where, and a few of the ids from there.
fn difference(tokenizer: &Tokenizer, ours: &[u32], theirs: &[u32]) -> Option<String> {
    let equal = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    let from_there = |ids: &[u32]| -> Vec<_> {
        let few = ids[equal..].iter().take(6);
        few.map(|&id| (id, tokenizer.inner.id_to_token(id)))
            .collect()
    };
    (ours != theirs).then(|| {
        format!(
            "from id {equal} on {:?}, in transformers {:?}",
            from_there(ours),
            from_there(theirs)
        )
    })
}

fn ids_differ(tokenizer: &Tokenizer, text: &str, case: &Case) -> Option<String> {
    let bare = tokenizer.encode(text).unwrap();
    // A begin token that stands in the text is not put there again, as transformers would.
    let begins = case.ids.starts_with(&case.begin);
    let begin = if begins { &[][..] } else { &case.begin };
    let full = [begin, &case.ids].concat();
    let mut differ = difference(tokenizer, &bare, &case.ids)
        .or_else(|| difference(tokenizer, &tokenizer.encode_prompt(text).unwrap(), &full));
    if !(tokenizer.prepends_space && text.starts_with(' ')) {
        let answer = tokenizer.encode_completion(text).unwrap();
        differ = differ.or_else(|| difference(tokenizer, &answer, &case.ids));
    }
    let (placed, places) = tokenizer.encode_places(text).unwrap();
    assert!(places.iter().all(|place| place.end <= text.len()));
    differ.or_else(|| difference(tokenizer, &placed, &case.ids))
}

fn texts_differ(tokenizer: &Tokenizer, text: &str, case: &Case) -> Option<String> {
    let ids = [case.begin.as_slice(), &case.ids].concat();
    let ours = [
        tokenizer.inner.decode(&ids, false).unwrap(),
        tokenizer.decode(&ids).unwrap(),
    ];
    let theirs = [&case.text, &case.plain].map(|other| other.as_deref().unwrap_or(text));
    let mut pairs = ours.iter().zip(theirs);
    let (ours, theirs) = pairs.find(|(ours, theirs)| ours != theirs)?;
    Some(format!("{ours:?}, in transformers {theirs:?}"))
}

#[test]
fn token_ids_are_those_of_transformers() {
    let directory = testdata().join("tokenizers");
    let cases = std::fs::read_to_string(directory.join("cases.json")).unwrap();
    let cases: Cases = serde_json::from_str(&cases).unwrap();
    assert!(cases.tokenizers.len() >= 8 && cases.texts.len() >= 60);

    let mut first = None;
    for (name, of_texts) in &cases.tokenizers {
        let tokenizer = Tokenizer::load(&directory.join(name)).unwrap();
        assert_eq!(of_texts.len(), cases.texts.len(), "{name}");
        for (what, differ) in [
            ("token ids", ids_differ as fn(&_, &_, &_) -> _),
            ("decoded texts", texts_differ),
        ] {
            let mut differing = 0;
            for (key, case) in of_texts {
                let text = &cases.texts[key];
                if let Some(difference) = differ(&tokenizer, text, case) {
                    differing += 1;
                    let told = || format!("{what} of {name}, {key:?} ({text:?}): {difference}");
                    first.get_or_insert_with(told);
                }
            }
            record(&format!("{name}: {what}"), differing);
        }
    }
    assert_eq!(first, None, "the first text that differs");
}
