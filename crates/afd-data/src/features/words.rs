//! The words of a text, in lower case.

/// Runs of letters, digits and combining accents, with apostrophes between them, in lower case;
/// a typographic apostrophe becomes a plain one.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if is_inside(letter) {
            word.extend(letter.to_lowercase());
        } else if matches!(letter, '\'' | '’')
            && !word.is_empty()
            && letters.peek().is_some_and(|&next| is_inside(next))
        {
            word.push('\'');
        } else if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn is_inside(letter: char) -> bool {
    letter.is_alphanumeric() || ('\u{300}'..='\u{36f}').contains(&letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_where_letters_and_digits_do() {
        assert_eq!(
            words(" I can’t, he said: 'no' -- v2.0\n\nÉtude!"),
            ["i", "can't", "he", "said", "no", "v2", "0", "étude"]
        );
        assert_eq!(words("e\u{301}t, ' 's '"), ["e\u{301}t", "s"]);
        assert_eq!(words("日本語。はい"), ["日本語", "はい"]);
        assert!(words("").is_empty() && words(" ... 🙂").is_empty());
    }
}
