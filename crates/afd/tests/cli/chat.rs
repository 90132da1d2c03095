//! `chat`: a line in, an answer out.

use std::{io::Write, process::Stdio};

use crate::util::{Outcome, afd, base};

#[test]
fn a_chat_answers_line_by_line_and_ends_with_its_input() {
    let chat = |input: &str| {
        let mut call = afd([
            "chat",
            "--temperature",
            "0",
            "--max-new-tokens",
            "12",
            "--model",
        ]);
        call.arg(base()).stdin(Stdio::piped());
        let mut child = call
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let outcome = Outcome::from(child.wait_with_output().unwrap());
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout
    };
    let two = chat("How do I learn to swim?\nAnd then?\n");
    // A prompt for each line, and one that the end of the input answers.
    let turns: Vec<&str> = two.split("> ").collect();
    assert_eq!(turns.len(), 4, "{two}");
    assert!(
        turns[1].trim().len() > 3 && turns[2].trim().len() > 3,
        "{two}"
    );
    assert!(!two.contains("Human:"), "{two}");
    // An empty line ends it as well.
    let one = chat("How do I learn to swim?\n\nAnd then?\n");
    assert_eq!(
        one.split("> ").collect::<Vec<_>>(),
        [turns[0], turns[1], ""]
    );
}
