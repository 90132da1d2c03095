//! What was asked, and of whom: files of samples, checked against each other.

use std::{collections::BTreeMap, path::Path};

use afd_data::records::{Example, JsonlReader, Sample};

use super::{EvalInputs, groups::Groups, policy};
use crate::Error;

/// A prompt, and what the demonstrator answered.
pub(crate) struct Dialogue {
    pub(crate) prompt: String,
    pub(crate) demonstration: String,
}

/// The answers of a policy.
pub(crate) struct SampleFile<'a> {
    /// Whose they are, in words.
    pub(crate) policy: &'a str,
    pub(crate) path: &'a Path,
    /// To each prompt.
    pub(crate) answers: usize,
}

/// The prompts, and files with answers to each of them.
pub(crate) struct Asked<'a> {
    pub(crate) dialogues: Vec<Dialogue>,
    pub(crate) init: SampleFile<'a>,
    pub(crate) sft: SampleFile<'a>,
    /// In the order of [`EvalInputs::policies`].
    pub(crate) policies: Vec<SampleFile<'a>>,
}

impl<'a> Asked<'a> {
    /// Reads all samples once, and holds those of a prompt at a time.
    pub(crate) fn read(inputs: &EvalInputs<'a>) -> Result<Self, Error> {
        policy::check_names(inputs)?;
        let (sft, prompts) = sample_file("the SFT policy", inputs.sft_samples)?;
        if prompts.len() < 2 {
            return Err(Error::TooFewPrompts {
                path: sft.path.into(),
                got: prompts.len(),
            });
        }
        let dialogues = dialogues(inputs, prompts)?;
        let other = |policy, path| {
            let (file, prompts) = sample_file(policy, path)?;
            same_prompts(path, &prompts, sft.path, &dialogues)?;
            Ok::<_, Error>(file)
        };
        let init = other("the initial policy", inputs.init_samples)?;
        let policies = inputs.policies.iter();
        let policies = policies
            .map(|policy| other(&policy.name, &policy.samples))
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            dialogues,
            init,
            sft,
            policies,
        })
    }

    /// All policies: the initial one, SFT's, those made from it.
    pub(crate) fn files(&self) -> impl Iterator<Item = &SampleFile<'a>> {
        [&self.init, &self.sft].into_iter().chain(&self.policies)
    }

    /// The answers to each prompt in turn, those of each policy in the order of [`files`](Self::files).
    pub(crate) fn answers(
        &self,
    ) -> Result<impl Iterator<Item = Result<Vec<Vec<Sample>>, Error>>, Error> {
        let files = self.files().map(|file| Groups::open(file.path));
        let mut files = files.collect::<Result<Vec<_>, Error>>()?;
        Ok(std::iter::from_fn(move || {
            files.iter_mut().map(Iterator::next).collect()
        }))
    }

    /// As many answers to a prompt as every policy has.
    pub(crate) fn fewest_answers(&self) -> usize {
        let policies = self.policies.iter().map(|file| file.answers);
        policies.fold(self.init.answers.min(self.sft.answers), usize::min)
    }
}

/// A file of samples and its prompts.
fn sample_file<'a>(
    policy: &'a str,
    path: &'a Path,
) -> Result<(SampleFile<'a>, Vec<String>), Error> {
    let (mut prompts, mut answers) = (Vec::new(), 0);
    for group in Groups::open(path)? {
        let group = group?;
        answers = group.len();
        prompts.extend(group.into_iter().next().map(|sample| sample.prompt));
    }
    let file = SampleFile {
        policy,
        path,
        answers,
    };
    Ok((file, prompts))
}

/// The prompts with their demonstrations.
fn dialogues(inputs: &EvalInputs<'_>, prompts: Vec<String>) -> Result<Vec<Dialogue>, Error> {
    let mut demonstrations = BTreeMap::new();
    for example in JsonlReader::<Example>::open(inputs.test)? {
        let example = example?;
        demonstrations.extend(example.completion.map(|text| (example.prompt, text)));
    }
    let with_demonstration = |(number, prompt): (usize, String)| {
        let missing = || Error::NoDemonstration {
            path: inputs.test.into(),
            samples: inputs.sft_samples.into(),
            prompt: number + 1,
        };
        let demonstration = demonstrations.remove(&prompt).ok_or_else(missing)?;
        Ok(Dialogue {
            prompt,
            demonstration,
        })
    };
    prompts
        .into_iter()
        .enumerate()
        .map(with_demonstration)
        .collect()
}

/// Checks the prompts of `path` against those that were asked, as `other` has them.
pub(super) fn same_prompts(
    path: &Path,
    prompts: &[impl AsRef<str>],
    other: &Path,
    asked: &[Dialogue],
) -> Result<(), Error> {
    if prompts.len() != asked.len() {
        return Err(Error::PromptCount {
            path: path.into(),
            other: other.into(),
            expected: asked.len(),
            got: prompts.len(),
        });
    }
    let mut pairs = prompts.iter().zip(asked);
    match pairs.position(|(prompt, asked)| prompt.as_ref() != asked.prompt) {
        Some(number) => Err(Error::PromptsDiffer {
            path: path.into(),
            other: other.into(),
            prompt: number + 1,
        }),
        None => Ok(()),
    }
}
