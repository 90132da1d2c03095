//! Stage names: paths below the run's directory, each with a scratch directory of its own.

use crate::Error;

/// Refuses names that could leave the run's directory, hide in it, or share a scratch directory.
pub(crate) fn check(stage: &str) -> Result<(), Error> {
    // Scratch directories write `/` as `__`, so that must not appear otherwise.
    if stage.split('/').all(is_plain) && !stage.contains("__") {
        Ok(())
    } else {
        Err(Error::StageName {
            name: stage.to_owned(),
        })
    }
}

/// The name as a single directory, injective on names that passed [`check`].
pub(crate) fn flat(stage: &str) -> String {
    stage.replace('/', "__")
}

/// Whether `pattern` is the stage or a leading part of its name, as `reward` of `reward/init-sft`.
pub(crate) fn matches(stage: &str, pattern: &str) -> bool {
    let rest = stage.strip_prefix(pattern);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_plain(part: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    part.chars().all(inner) && end(part.chars().next()) && end(part.chars().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_paths() {
        for name in ["sft", "reward/init-sft", "policy/best-of-n", "a_b/c.1/D"] {
            assert!(check(name).is_ok(), "{name}");
        }
        // The last four would share a scratch directory with another name.
        for name in [
            "", "/a", "a/", "a//b", ".", "..", "../a", ".lock", "a b", "a\\b", "ä", "a__b", "a_/b",
            "a/_b", "_a",
        ] {
            assert!(check(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_pattern_matches_whole_parts_only() {
        assert!(matches("reward/init-sft", "reward/init-sft"));
        assert!(matches("reward/init-sft", "reward"));
        assert!(!matches("reward/init-sft", "reward/init"));
        assert!(!matches("reward", "reward/init-sft"));
        assert!(!matches("rewards", "reward"));
    }
}
