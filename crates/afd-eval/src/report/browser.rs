//! A browser of answers within the page: every candidate, what each ranker makes of it, and what each
//! would choose.

use serde::Serialize;

use super::{at_equal_distances, html::escape};
use crate::{
    golden::GoldenRow,
    inputs::{Data, Ranker},
};

/// The answers to some prompts.
pub(crate) struct Browser {
    samples: Samples,
    total: usize,
}

/// What the page's script reads.
#[derive(Serialize)]
struct Samples {
    rankers: Vec<String>,
    prompts: Vec<Prompt>,
}

#[derive(Serialize)]
struct Prompt {
    /// In the test split, from 1.
    number: usize,
    prompt: String,
    answers: Vec<Candidate>,
}

#[derive(Serialize)]
struct Candidate {
    who: String,
    text: String,
    golden: f64,
    /// By each ranker, of the answers that they choose among.
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<f64>>,
}

/// The answers to `count` prompts at equal distances in the test split, or to all.
pub(super) fn browser(
    data: &Data<'_>,
    golden: &[GoldenRow],
    rankers: &[&Ranker],
    count: usize,
) -> Option<Browser> {
    let total = data.asked.dialogues.len();
    let numbers = at_equal_distances(count, total);
    let prompt = |number: usize| {
        let (dialogue, rewards) = (&data.asked.dialogues[number], &golden[number]);
        let candidate = |who: &str, text: &str, golden: f64| Candidate {
            who: who.to_owned(),
            text: text.trim().to_owned(),
            golden: short(golden),
            scores: None,
        };
        let mut answers = vec![
            candidate(
                "demonstration",
                &dialogue.demonstration,
                rewards.demonstration,
            ),
            candidate("init", &data.init.shown[&number][0], rewards.init[0]),
        ];
        for policy in &data.policies {
            let first = &policy.answers.shown[&number][0];
            let golden = rewards.policy(&policy.name)[0];
            answers.push(candidate(&policy.name, first, golden));
        }
        let of_sft = data.sft.shown[&number].iter().zip(&rewards.sft);
        answers.extend(of_sft.enumerate().map(|(index, (text, golden))| {
            let scores = rankers
                .iter()
                .map(|ranker| short(ranker.scores[number][index]));
            Candidate {
                scores: Some(scores.collect()),
                ..candidate(&format!("sft {}", index + 1), text, *golden)
            }
        }));
        Prompt {
            number: number + 1,
            prompt: dialogue.prompt.trim().to_owned(),
            answers,
        }
    };
    (numbers.len() > 0 && !rankers.is_empty()).then(|| Browser {
        samples: Samples {
            rankers: rankers.iter().map(|ranker| ranker.name.clone()).collect(),
            prompts: numbers.map(prompt).collect(),
        },
        total,
    })
}

/// Four decimals: who is best is decided by more in the evaluation, and the page stays small.
fn short(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

impl Browser {
    /// What it is, in words.
    pub(super) fn caption(&self) -> String {
        format!(
            "The answers to {} of {} prompts: all of SFT's, which rankers choose among, and the first of \
             every other policy. What a ranker loses against the best answer stands to the right.",
            self.samples.prompts.len(),
            self.total
        )
    }

    /// Its part of the page. Data stands in a block that no browser runs, without a `<` in it.
    pub(super) fn html(&self) -> String {
        let json = serde_json::to_string(&self.samples).unwrap_or_default();
        format!(
            "<section id=\"browser\">\n<p>{}</p>\n<div class=\"controls\">\n\
             <label>Search <input id=\"search\" type=\"search\"></label>\n\
             <label>Chosen by <select id=\"ranker\"></select></label>\n\
             <label>Order <select id=\"order\"><option value=\"number\">as they come</option>\
             <option value=\"regret\">most lost first</option>\
             <option value=\"chosen\">worst choice first</option></select></label>\n\
             <span id=\"count\"></span>\n</div>\n\
             <noscript><p>The browser of answers needs JavaScript; the examples below do not.</p>\
             </noscript>\n<div id=\"list\"></div>\n\
             <button id=\"more\" type=\"button\" hidden>More</button>\n</section>\n\
             <script type=\"application/json\" id=\"samples\">{}</script>\n",
            escape(&self.caption()),
            harmless(&json)
        )
    }
}

/// JSON that can end no element and begin none: what HTML might read is written by its number.
fn harmless(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe += &format!("\\u{:04x}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// With a text that would be a script, if anything read it.
    pub(in crate::report) fn hostile(text: &str) -> Browser {
        Browser {
            samples: Samples {
                rankers: vec![text.to_owned()],
                prompts: vec![Prompt {
                    number: 1,
                    prompt: text.to_owned(),
                    answers: vec![Candidate {
                        who: text.to_owned(),
                        text: text.to_owned(),
                        golden: 1.0,
                        scores: Some(vec![0.5]),
                    }],
                }],
            },
            total: 1,
        }
    }

    #[test]
    fn data_cannot_end_their_element_and_are_read_back_whole() {
        let evil = "</script><script>alert(1)</script><!-- \u{2028} & \"quoted\"";
        let html = hostile(evil).html();
        let (_, rest) = html.split_once("id=\"samples\">").unwrap();
        let (json, after) = rest.split_once('<').unwrap();
        assert_eq!(after, "/script>\n");
        let read: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(read["prompts"][0]["answers"][0]["text"], evil);
    }
}
