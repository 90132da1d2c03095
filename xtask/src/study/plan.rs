//! Which runs a study has, and the folder of each.

use crate::error::Error;

/// The runs: every case with every seed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) seeds: Vec<u64>,
    pub(super) cases: Vec<Case>,
}

/// One value of the sweep, or the only case of a study without one.
#[derive(Debug)]
pub(super) struct Case {
    /// `KEY=VALUE`, as `--set` takes it.
    pub(super) assignment: Option<String>,
    /// Below the study's folder; empty without a sweep.
    pub(super) folder: String,
}

/// The values that one key of the configuration takes in turn.
#[derive(Debug, Clone)]
pub(crate) struct Sweep {
    pub(super) key: String,
    values: Vec<String>,
}

/// Reads `KEY=VALUE,VALUE,…`.
pub(super) fn parse_sweep(text: &str) -> Result<Sweep, Error> {
    let wrong = || Error::Sweep { given: text.into() };
    let (key, values) = text.split_once('=').ok_or_else(wrong)?;
    let values: Vec<String> = values.split(',').map(str::to_owned).collect();
    if key.is_empty() || values.iter().any(String::is_empty) {
        return Err(wrong());
    }
    Ok(Sweep {
        key: key.to_owned(),
        values,
    })
}

impl Plan {
    /// Refuses what would count a run twice or make two runs share a folder.
    pub(super) fn new(seeds: &[u64], sweep: Option<&Sweep>) -> Result<Plan, Error> {
        for (index, seed) in seeds.iter().enumerate() {
            if seeds[..index].contains(seed) {
                return Err(Error::Twice {
                    what: "seed",
                    value: seed.to_string(),
                });
            }
        }
        let mut cases: Vec<Case> = Vec::new();
        match sweep {
            None => cases.push(Case {
                assignment: None,
                folder: String::new(),
            }),
            Some(sweep) => {
                for value in &sweep.values {
                    cases.push(new_case(&cases, &sweep.key, value)?);
                }
            }
        }
        Ok(Plan {
            seeds: seeds.to_vec(),
            cases,
        })
    }
}

fn new_case(others: &[Case], key: &str, value: &str) -> Result<Case, Error> {
    let assignment = format!("{key}={value}");
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_=.".contains(c);
    let folder: String = assignment
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect();
    for other in others {
        let first = other.assignment.clone().unwrap_or_default();
        if first == assignment {
            return Err(Error::Twice {
                what: "the value",
                value: assignment,
            });
        }
        if other.folder == folder {
            return Err(Error::SameFolder {
                first,
                second: assignment,
                folder,
            });
        }
    }
    Ok(Case {
        assignment: Some(assignment),
        folder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seeds: &[u64], sweep: &str) -> Result<Plan, Error> {
        Plan::new(seeds, Some(&parse_sweep(sweep)?))
    }

    #[test]
    fn a_sweep_has_a_folder_per_value() {
        let plan = plan(&[0, 1], "data.files=a/b,c=d").unwrap();
        let folders: Vec<&str> = plan.cases.iter().map(|c| c.folder.as_str()).collect();
        assert_eq!(folders, ["data.files=a_b", "data.files=c=d"]);
        assert_eq!(plan.cases[0].assignment.as_deref(), Some("data.files=a/b"));
    }

    #[test]
    fn without_a_sweep_there_is_one_case_in_the_study_folder() {
        let plan = Plan::new(&[7], None).unwrap();
        assert_eq!(plan.cases.len(), 1);
        assert_eq!(plan.cases[0].folder, "");
        assert_eq!(plan.cases[0].assignment, None);
    }

    #[test]
    fn what_is_not_a_sweep_is_refused() {
        for text in [
            "world.quality",
            "=1,2",
            "world.quality=",
            "world.quality=1,,2",
        ] {
            assert!(
                matches!(parse_sweep(text), Err(Error::Sweep { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn runs_that_would_count_twice_are_refused() {
        assert!(matches!(
            plan(&[1, 2, 1], "a=1"),
            Err(Error::Twice { what: "seed", .. })
        ));
        assert!(matches!(plan(&[0], "a=1,1"), Err(Error::Twice { .. })));
        assert!(matches!(
            plan(&[0], "a=x/y,x_y"),
            Err(Error::SameFolder { .. })
        ));
    }
}
